-- The foundation: roles, the lead, its epoch, and what the library says about itself.

-- ---- roles: created when missing, never altered when there ----

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['aurora_admin', 'aurora_operator', 'aurora_user', 'aurora_agent',
                                     'aurora_node', 'aurora_monitor', 'aurora_gateway'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA aurora TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node,
    aurora_monitor, aurora_gateway;

-- ---- the lead ----

CREATE FUNCTION aurora.require_lead() RETURNS void
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_require_lead';
COMMENT ON FUNCTION aurora.require_lead() IS 'Raises 25006 with a hint that names the lead when this node is a standby.';

CREATE FUNCTION aurora.library_preloaded() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_library_preloaded';
COMMENT ON FUNCTION aurora.library_preloaded() IS 'Did shared_preload_libraries load aurora, so that its workers run.';

CREATE FUNCTION aurora.announce_missing() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'aurora_announce_missing';
COMMENT ON FUNCTION aurora.announce_missing() IS 'When this transaction commits, a NOTICE tells what does not run in this database; CREATE EXTENSION asks for it.';

CREATE FUNCTION aurora.lead_duty() RETURNS boolean
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_lead_duty_sql';
COMMENT ON FUNCTION aurora.lead_duty() IS
    'True where what only the lead does may run: on the lead, unless it has heard of a newer epoch, or asks for a synchronous standby and has none.';

CREATE FUNCTION aurora.lead_duty_reason() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_lead_duty_reason';
COMMENT ON FUNCTION aurora.lead_duty_reason() IS 'Why lead_duty() is false; null when it is true.';

CREATE FUNCTION aurora.current_timeline() RETURNS int
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_current_timeline';
COMMENT ON FUNCTION aurora.current_timeline() IS 'The timeline that this node writes, or replays as a standby.';

CREATE TABLE aurora.lead_epoch (
    epoch_no bigint PRIMARY KEY,
    timeline int NOT NULL,
    id uuid NOT NULL,
    lead text COLLATE "C",
    began_at timestamptz NOT NULL,
    system_identifier bigint NOT NULL
);
COMMENT ON TABLE aurora.lead_epoch IS 'The reigns of leads, one row for each: whoever takes up the lead''s duties after a promotion or a restore begins one.';
COMMENT ON COLUMN aurora.lead_epoch.epoch_no IS 'Counts the epochs; the highest is in force.';
COMMENT ON COLUMN aurora.lead_epoch.timeline IS 'Timeline of the write-ahead log that the lead writes.';
COMMENT ON COLUMN aurora.lead_epoch.id IS 'Random, since two promotions can pick the same timeline.';
COMMENT ON COLUMN aurora.lead_epoch.lead IS 'Name of the node that became the lead.';
COMMENT ON COLUMN aurora.lead_epoch.began_at IS 'When it took up the duties, by its own clock.';
COMMENT ON COLUMN aurora.lead_epoch.system_identifier IS 'Identifier of the cluster; a dump that is restored elsewhere begins an epoch of its own.';

SELECT pg_catalog.pg_extension_config_dump('aurora.lead_epoch', '');

CREATE FUNCTION aurora.epoch(OUT timeline int, OUT id uuid, OUT lead text, OUT began_at timestamptz,
                             OUT system_identifier bigint) RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.timeline, e.id, e.lead, e.began_at, e.system_identifier
    FROM aurora.lead_epoch e ORDER BY e.epoch_no DESC LIMIT 1
$$;
COMMENT ON FUNCTION aurora.epoch() IS
    'The epoch in force: cursors, claims and outbound calls carry its timeline and id. Nulls before a lead has taken up its duties.';

CREATE FUNCTION aurora.take_up_lead(node_name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    here bigint := (SELECT c.system_identifier FROM pg_control_system() c);
    last aurora.lead_epoch;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM set_config('synchronous_commit', 'local', true);
    SELECT e.* INTO last FROM aurora.lead_epoch e ORDER BY e.epoch_no DESC LIMIT 1;
    IF last.timeline = aurora.current_timeline() AND last.system_identifier = here THEN
        RETURN false;
    END IF;
    INSERT INTO aurora.lead_epoch (epoch_no, timeline, id, lead, began_at, system_identifier)
        VALUES (coalesce(last.epoch_no, 0) + 1, aurora.current_timeline(), gen_random_uuid(), node_name,
                clock_timestamp(), here);
    RETURN true;
END
$$;
COMMENT ON FUNCTION aurora.take_up_lead(text) IS
    'Begins an epoch when this lead writes another timeline, or is another cluster, than the last one; true when it did. The worker does this before its first duty.';

ALTER TABLE aurora.lead_epoch ENABLE ROW LEVEL SECURITY;
CREATE POLICY lead_epoch_everyone ON aurora.lead_epoch USING (true);
COMMENT ON POLICY lead_epoch_everyone ON aurora.lead_epoch IS 'Who may read the table sees all of it.';
REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.lead_epoch TO aurora_admin, aurora_operator, aurora_monitor;
GRANT EXECUTE ON FUNCTION aurora.require_lead, aurora.library_preloaded, aurora.lead_duty, aurora.lead_duty_reason,
    aurora.current_timeline, aurora.epoch
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.take_up_lead TO aurora_admin;

SELECT aurora.announce_missing();
