-- The registry: nodes, what they report, and what they have.

-- ---- types ----

CREATE TYPE aurora.health_state AS ENUM ('up', 'degraded', 'down', 'unknown', 'maintenance');
COMMENT ON TYPE aurora.health_state IS
    'How a node, a service or a component is. degraded: it works, but something is wrong; unknown: nobody can tell; maintenance: it may be as it likes.';

CREATE TYPE aurora.node_role AS ENUM ('backup', 'compute', 'edge');
COMMENT ON TYPE aurora.node_role IS 'What a node is there for when it is not the lead. backup: to take over; compute: to run models; edge: a machine that comes and goes.';

CREATE TYPE aurora.service_kind AS ENUM ('tcp', 'http', 'postgres', 'systemd', 'command');
COMMENT ON TYPE aurora.service_kind IS 'How a service is checked.';

CREATE TYPE aurora.api_state AS ENUM ('healthy', 'degraded', 'down');
COMMENT ON TYPE aurora.api_state IS 'How an API answers.';

-- ---- tables ----

CREATE TABLE aurora.node (
    name text COLLATE "C" PRIMARY KEY,
    role aurora.node_role NOT NULL DEFAULT 'backup',
    address inet,
    login_role name,
    drained_at timestamptz,
    maintenance_until timestamptz,
    maintenance_reason text,
    registered_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT node_name_check CHECK (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT node_address_check CHECK (address IS NULL OR masklen(address) = CASE family(address) WHEN 4 THEN 32 ELSE 128 END),
    CONSTRAINT node_login_role_key UNIQUE (login_role)
);
COMMENT ON TABLE aurora.node IS 'The machines of the mesh. Change them with register_node(), drain_node(), maintenance() and remove_node().';
COMMENT ON COLUMN aurora.node.name IS 'Name of the node, a DNS label; its aurora.node_name.';
COMMENT ON COLUMN aurora.node.role IS 'What it is there for when it is not the lead.';
COMMENT ON COLUMN aurora.node.address IS 'Its address in the mesh, where its agent answers probes.';
COMMENT ON COLUMN aurora.node.login_role IS 'The role with which its agent logs in on the lead; it may report about this node only.';
COMMENT ON COLUMN aurora.node.drained_at IS 'Since when it is to get no new work; null when it may.';
COMMENT ON COLUMN aurora.node.maintenance_until IS 'Until when nobody minds how it is.';
COMMENT ON COLUMN aurora.node.maintenance_reason IS 'Why it is in maintenance.';
COMMENT ON COLUMN aurora.node.registered_at IS 'When it was registered.';

CREATE TABLE aurora.node_status (
    node text COLLATE "C" PRIMARY KEY REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    instance text COLLATE "C" NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    heartbeats_in_row bigint NOT NULL DEFAULT 1,
    is_lead boolean NOT NULL,
    timeline int NOT NULL,
    receive_lsn pg_lsn NOT NULL,
    replay_lsn pg_lsn NOT NULL,
    lag_bytes bigint NOT NULL,
    lag_seconds real NOT NULL,
    wal_receiver text,
    version text NOT NULL,
    extension_version text,
    postgres_version text NOT NULL,
    started_at timestamptz NOT NULL,
    agent_port int NOT NULL,
    clock_skew_seconds real,
    round_trip_ms real,
    drops bigint NOT NULL,
    rejected bigint NOT NULL DEFAULT 0,
    incarnation text COLLATE "C" NOT NULL,
    last_batch bigint NOT NULL,
    conflict_at timestamptz,
    CONSTRAINT node_status_lag_check CHECK (lag_bytes >= 0 AND lag_seconds >= 0),
    CONSTRAINT node_status_drops_check CHECK (drops BETWEEN 0 AND 1e15 AND rejected BETWEEN 0 AND 1e15)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, vacuum_truncate = off);
COMMENT ON TABLE aurora.node_status IS 'The last heartbeat of each node. All times are of the lead''s clock.';
COMMENT ON COLUMN aurora.node_status.node IS 'The node.';
COMMENT ON COLUMN aurora.node_status.instance IS 'Tells one data folder on one machine from another that has taken the same name.';
COMMENT ON COLUMN aurora.node_status.heartbeat_at IS 'When the heartbeat came.';
COMMENT ON COLUMN aurora.node_status.heartbeats_in_row IS 'Heartbeats that came without one missed, up to this one.';
COMMENT ON COLUMN aurora.node_status.is_lead IS 'Was it the lead.';
COMMENT ON COLUMN aurora.node_status.timeline IS 'Timeline that it wrote or replayed.';
COMMENT ON COLUMN aurora.node_status.receive_lsn IS 'Up to where it had the write-ahead log.';
COMMENT ON COLUMN aurora.node_status.replay_lsn IS 'Up to where it had replayed it.';
COMMENT ON COLUMN aurora.node_status.lag_bytes IS 'Write-ahead log that it had not replayed.';
COMMENT ON COLUMN aurora.node_status.lag_seconds IS 'How old the oldest write of the lead''s heartbeat is that it had not replayed; 0 when it had the last one.';
COMMENT ON COLUMN aurora.node_status.wal_receiver IS 'State of its WAL receiver; null when none runs.';
COMMENT ON COLUMN aurora.node_status.version IS 'Version of its library.';
COMMENT ON COLUMN aurora.node_status.extension_version IS 'Version of the extension in its database.';
COMMENT ON COLUMN aurora.node_status.postgres_version IS 'Version of its Postgres.';
COMMENT ON COLUMN aurora.node_status.started_at IS 'When its Postgres was started.';
COMMENT ON COLUMN aurora.node_status.agent_port IS 'UDP port on which its agent answers probes; 0 for none.';
COMMENT ON COLUMN aurora.node_status.clock_skew_seconds IS 'Its clock less the lead''s; null before the second heartbeat.';
COMMENT ON COLUMN aurora.node_status.round_trip_ms IS 'How long its heartbeat took until the lead''s answer.';
COMMENT ON COLUMN aurora.node_status.drops IS 'Reports that it had no room for since its start.';
COMMENT ON COLUMN aurora.node_status.rejected IS 'Messages of it that the lead could not take.';
COMMENT ON COLUMN aurora.node_status.incarnation IS 'Tells one run of its agent from another.';
COMMENT ON COLUMN aurora.node_status.last_batch IS 'Number of the last batch of messages of that run, by which one that comes twice is known.';
COMMENT ON COLUMN aurora.node_status.conflict_at IS 'When another instance last reported under its name.';

CREATE TABLE aurora.node_state (
    node text COLLATE "C" PRIMARY KEY REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    state aurora.health_state NOT NULL,
    since timestamptz NOT NULL,
    reason text,
    next_state aurora.health_state,
    next_since timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE aurora.node_state IS 'How the lead judges each node.';
COMMENT ON COLUMN aurora.node_state.node IS 'The node.';
COMMENT ON COLUMN aurora.node_state.state IS 'How it is.';
COMMENT ON COLUMN aurora.node_state.since IS 'Since when.';
COMMENT ON COLUMN aurora.node_state.reason IS 'Why.';
COMMENT ON COLUMN aurora.node_state.next_state IS 'A state that it shows, but not yet for long enough.';
COMMENT ON COLUMN aurora.node_state.next_since IS 'Since when it shows that.';

CREATE SEQUENCE aurora.node_transition_transition_id_seq;
COMMENT ON SEQUENCE aurora.node_transition_transition_id_seq IS 'Numbers the transitions.';

CREATE TABLE aurora.node_transition (
    transition_id bigint PRIMARY KEY DEFAULT nextval('aurora.node_transition_transition_id_seq'),
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    at timestamptz NOT NULL,
    from_state aurora.health_state,
    to_state aurora.health_state NOT NULL,
    reason text
);
ALTER SEQUENCE aurora.node_transition_transition_id_seq OWNED BY aurora.node_transition.transition_id;
CREATE INDEX node_transition_node_at ON aurora.node_transition (node, at);
COMMENT ON INDEX aurora.node_transition_node_at IS 'A node''s history by time.';
COMMENT ON TABLE aurora.node_transition IS 'How the state of each node changed; uptime is computed from it. Kept for 90 days.';
COMMENT ON COLUMN aurora.node_transition.transition_id IS 'Number of the transition.';
COMMENT ON COLUMN aurora.node_transition.node IS 'The node.';
COMMENT ON COLUMN aurora.node_transition.at IS 'When it changed.';
COMMENT ON COLUMN aurora.node_transition.from_state IS 'State before; null for the first.';
COMMENT ON COLUMN aurora.node_transition.to_state IS 'State after.';
COMMENT ON COLUMN aurora.node_transition.reason IS 'Why.';

CREATE TABLE aurora.node_capability (
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    declared boolean NOT NULL DEFAULT false,
    as_number double precision,
    as_text text,
    as_boolean boolean,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (node, name),
    CONSTRAINT node_capability_name_check CHECK (name ~ '^[a-z0-9_.:/-]{1,80}$'),
    CONSTRAINT node_capability_value_check CHECK (num_nonnulls(as_number, as_text, as_boolean) = 1),
    CONSTRAINT node_capability_as_text_check CHECK (length(as_text) <= 1000)
);
COMMENT ON TABLE aurora.node_capability IS 'What a node has, one typed value in each row.';
COMMENT ON COLUMN aurora.node_capability.node IS 'The node.';
COMMENT ON COLUMN aurora.node_capability.name IS 'Name of the capability, such as cpu_cores or memory_bytes.';
COMMENT ON COLUMN aurora.node_capability.declared IS 'Did an operator say so; its agent does not overwrite that.';
COMMENT ON COLUMN aurora.node_capability.as_number IS 'The value, when it is a number.';
COMMENT ON COLUMN aurora.node_capability.as_text IS 'The value, when it is a text.';
COMMENT ON COLUMN aurora.node_capability.as_boolean IS 'The value, when it is true or false.';
COMMENT ON COLUMN aurora.node_capability.reported_at IS 'When it was last said.';

CREATE TABLE aurora.node_probe (
    from_node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    to_node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    rtt_ms real,
    last_success timestamptz,
    last_attempt timestamptz NOT NULL,
    failures int NOT NULL,
    PRIMARY KEY (from_node, to_node)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = off);
CREATE INDEX node_probe_to_node ON aurora.node_probe (to_node);
COMMENT ON INDEX aurora.node_probe_to_node IS 'Who has probed a node.';
COMMENT ON TABLE aurora.node_probe IS 'The last probe between each pair of nodes that has one.';
COMMENT ON COLUMN aurora.node_probe.from_node IS 'Who asked.';
COMMENT ON COLUMN aurora.node_probe.to_node IS 'Who was asked.';
COMMENT ON COLUMN aurora.node_probe.rtt_ms IS 'Round-trip time of the last answer.';
COMMENT ON COLUMN aurora.node_probe.last_success IS 'When it last answered.';
COMMENT ON COLUMN aurora.node_probe.last_attempt IS 'When it was last asked.';
COMMENT ON COLUMN aurora.node_probe.failures IS 'Attempts since it last answered.';

CREATE TABLE aurora.lead_heartbeat (
    singleton boolean PRIMARY KEY DEFAULT true,
    beat bigint NOT NULL,
    at timestamptz NOT NULL,
    watching_since timestamptz NOT NULL,
    CONSTRAINT lead_heartbeat_singleton_check CHECK (singleton)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0, vacuum_truncate = off);
COMMENT ON TABLE aurora.lead_heartbeat IS 'One row that the lead writes at each heartbeat: a standby that sees it move is in touch, and the lag is measured by it.';
COMMENT ON COLUMN aurora.lead_heartbeat.singleton IS 'There is one row.';
COMMENT ON COLUMN aurora.lead_heartbeat.beat IS 'Counts the heartbeats.';
COMMENT ON COLUMN aurora.lead_heartbeat.at IS 'When it was last written.';
COMMENT ON COLUMN aurora.lead_heartbeat.watching_since IS 'Since when a lead has been watching the nodes without a gap.';

SELECT pg_catalog.pg_extension_config_dump('aurora.node', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_status', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_state', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_transition_transition_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_transition', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_capability', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_probe', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.lead_heartbeat', '');

-- ---- registering ----

CREATE FUNCTION aurora.require_operator() RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (aurora.administers_all() OR aurora.caller_has('aurora_operator')) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to operate the mesh',
            HINT = 'Members of aurora_operator and aurora_admin may.';
    END IF;
    PERFORM aurora.require_lead();
END
$$;
COMMENT ON FUNCTION aurora.require_operator() IS 'Raises 42501 unless the caller may operate the mesh, and 25006 on a standby.';

CREATE FUNCTION aurora.require_node(node text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM aurora.node n WHERE n.name = require_node.node) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no node "%s"', node),
            HINT = coalesce('Nodes: ' || (SELECT string_agg(n.name, ', ' ORDER BY n.name)
                                          FROM (SELECT name FROM aurora.node ORDER BY name LIMIT 20) n) || '.',
                            'Register it with aurora.register_node().');
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_node(text) IS 'Raises 22023 when there is no node of that name.';

CREATE FUNCTION aurora.require_label(name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF name IS NULL OR name !~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" is not a name for a node or a service', name),
            HINT = 'A DNS label is wanted: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_label(text) IS 'Raises 22023 unless the name is a DNS label (RFC 1123).';

CREATE FUNCTION aurora.node_role_of(role text) RETURNS aurora.node_role
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF role <> ALL (enum_range(NULL::aurora.node_role)::text[]) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no node role "%s"', role),
            HINT = 'Roles: ' || array_to_string(enum_range(NULL::aurora.node_role), ', ')
                   || '. Which node is the lead is not registered: it is the one that is not a standby.';
    END IF;
    RETURN role::aurora.node_role;
END
$$;
COMMENT ON FUNCTION aurora.node_role_of(text) IS 'The role of that name. Errors: 22023 unknown.';

CREATE FUNCTION aurora.make_node_role(login_role name) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT aurora.administers_all() THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to make a node''s login role',
            HINT = 'Members of aurora_admin may.';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login_role) THEN
        EXECUTE format('CREATE ROLE %I LOGIN', login_role);
        RAISE NOTICE 'role "%" is made, without a password', login_role
            USING HINT = format('Give it one with \password %I, or let it log in with a certificate; see pg_hba.conf.', login_role);
    ELSIF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = login_role
                  AND (NOT r.rolcanlogin OR r.rolsuper OR r.rolreplication OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls
                       OR EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                                  WHERE m.member = r.oid AND g.rolname <> 'aurora_node'))) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('role "%s" cannot log in, or may do too much for a node', login_role),
            HINT = 'A node''s role needs LOGIN and nothing else.';
    END IF;
    IF NOT pg_has_role(login_role, 'aurora_node', 'MEMBER') THEN
        EXECUTE format('GRANT aurora_node TO %I', login_role);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.make_node_role(name) IS 'Makes the login role of a node when it is missing, and a member of aurora_node. For administrators.';

CREATE FUNCTION aurora.register_node(name text, role text DEFAULT NULL, address inet DEFAULT NULL,
                                     login_role name DEFAULT NULL) RETURNS aurora.node
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.node;
    of_role aurora.node_role := aurora.node_role_of(role);
    used_role name := coalesce(login_role, (SELECT n.login_role FROM aurora.node n WHERE n.name = register_node.name),
                               left('aurora_node_' || name, 63)::name);
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_label(name);
    PERFORM aurora.make_node_role(used_role);
    IF EXISTS (SELECT FROM aurora.node n WHERE n.login_role = used_role AND n.name <> register_node.name) THEN
        RAISE unique_violation USING
            MESSAGE = format('role "%s" is the login role of another node', used_role),
            HINT = 'Each node logs in with a role of its own.';
    END IF;
    INSERT INTO aurora.node AS n (name, role, address, login_role)
        VALUES (name, coalesce(of_role, 'backup'), address, used_role)
        ON CONFLICT ON CONSTRAINT node_pkey DO UPDATE
            SET role = coalesce(of_role, n.role), address = coalesce(excluded.address, n.address),
                login_role = excluded.login_role
        RETURNING n.* INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.register_node(text, text, inet, name) IS
    'Registers a node, or changes the one of that name; what is left null stays. role: backup (the default), compute or edge; address: its address in the mesh. Its login role, aurora_node_<name> unless said otherwise, is made when missing. For administrators. Errors: 22023 bad name or role, 23505 the login role is another node''s.';

CREATE FUNCTION aurora.drain_node(node text, drained boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_operator();
    PERFORM aurora.require_node(node);
    UPDATE aurora.node n SET drained_at = CASE WHEN drained IS NOT FALSE THEN coalesce(n.drained_at, now()) END
        WHERE n.name = drain_node.node;
END
$$;
COMMENT ON FUNCTION aurora.drain_node(text, boolean) IS 'Gives a node no new work, or gives it work again. It stays in the mesh and goes on replicating. For operators.';

CREATE FUNCTION aurora.maintenance(node text, duration interval DEFAULT '1 hour', reason text DEFAULT NULL) RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    until timestamptz;
BEGIN
    PERFORM aurora.require_operator();
    PERFORM aurora.require_node(node);
    IF duration IS NULL OR duration < interval '0' OR duration > interval '1 year' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'maintenance lasts from 0 to a year',
            HINT = 'A duration of 0 ends it.';
    END IF;
    UPDATE aurora.node n SET
        maintenance_until = CASE WHEN duration > interval '0' THEN now() + duration END,
        maintenance_reason = CASE WHEN duration > interval '0' THEN reason END
        WHERE n.name = maintenance.node RETURNING n.maintenance_until INTO until;
    RETURN until;
END
$$;
COMMENT ON FUNCTION aurora.maintenance(text, interval, text) IS
    'Has nobody mind how a node is for a while, and returns until when; its services are not recovered meanwhile. A duration of 0 ends it. For operators.';

CREATE FUNCTION aurora.remove_node(node text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used_role name;
BEGIN
    PERFORM aurora.require_operator();
    PERFORM aurora.require_node(node);
    IF node = aurora.own_node() THEN
        RAISE object_in_use USING
            MESSAGE = format('node "%s" is the lead', node),
            HINT = 'Promote another one first.';
    END IF;
    DELETE FROM aurora.node n WHERE n.name = remove_node.node RETURNING n.login_role INTO used_role;
    IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = used_role) THEN
        EXECUTE format('REVOKE aurora_node FROM %I', used_role);
        RAISE NOTICE 'role "%" is no longer a member of aurora_node', used_role
            USING HINT = format('DROP ROLE %I when nothing else needs it. A replication slot of the node, if it has one, is still there.', used_role);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.remove_node(text) IS
    'Forgets a node with its history, and takes its role''s right to report. Errors: 55006 it is the lead, 22023 unknown. For operators.';

CREATE FUNCTION aurora.set_capability(node text, name text, value jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_operator();
    PERFORM aurora.require_node(node);
    IF value IS NULL OR jsonb_typeof(value) = 'null' THEN
        DELETE FROM aurora.node_capability c WHERE c.node = set_capability.node AND c.name = set_capability.name;
    ELSE
        PERFORM aurora.put_capability(node, name, value, true);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.set_capability(text, text, jsonb) IS
    'Says what a node has: a number, a text or a boolean, as JSON. Null takes it back. For operators.';

CREATE FUNCTION aurora.put_capability(node text, name text, value jsonb, declared boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sort text := jsonb_typeof(value);
BEGIN
    IF sort IS NULL OR sort NOT IN ('number', 'string', 'boolean') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('capability "%s" is neither a number nor a text nor a boolean', name),
            HINT = 'Give one scalar, as JSON.';
    ELSIF NOT declared AND (SELECT count(*) FROM aurora.node_capability c WHERE c.node = put_capability.node
                                                                            AND c.name <> put_capability.name) >= 500 THEN
        RAISE program_limit_exceeded USING MESSAGE = 'a node has at most 500 capabilities';
    END IF;
    INSERT INTO aurora.node_capability AS c (node, name, declared, as_number, as_text, as_boolean, reported_at)
        VALUES (node, name, declared, CASE sort WHEN 'number' THEN value::double precision END,
                CASE sort WHEN 'string' THEN value #>> '{}' END, CASE sort WHEN 'boolean' THEN value::boolean END,
                clock_timestamp())
        ON CONFLICT ON CONSTRAINT node_capability_pkey DO UPDATE
            SET declared = excluded.declared, as_number = excluded.as_number, as_text = excluded.as_text,
                as_boolean = excluded.as_boolean, reported_at = excluded.reported_at
            WHERE put_capability.declared OR NOT c.declared
              AND (c.as_number, c.as_text, c.as_boolean) IS DISTINCT FROM
                  (excluded.as_number, excluded.as_text, excluded.as_boolean);
END
$$;
COMMENT ON FUNCTION aurora.put_capability(text, text, jsonb, boolean) IS
    'Writes one capability of a node; what an operator declared stays as it is.';
