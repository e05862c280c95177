-- Agents: what they read, what they report, and what each has seen itself.

-- ---- what the library tells ----

CREATE FUNCTION aurora.own_node() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_own_node';
COMMENT ON FUNCTION aurora.own_node() IS 'The name of this node: aurora.node_name, or the host''s name.';

CREATE FUNCTION aurora.agent_status(OUT node text, OUT pid int, OUT starts bigint, OUT link text, OUT lead_host text,
                                    OUT answered_seconds_ago double precision, OUT replicated_seconds_ago double precision,
                                    OUT last_error text, OUT listening text, OUT drops bigint, OUT rejected bigint,
                                    OUT last_rejection text, OUT off_duty text, OUT step_seconds_ago double precision,
                                    OUT cut_off boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_agent_status';
COMMENT ON FUNCTION aurora.agent_status() IS
    'This node''s agent: its connection to the lead (link: local, connecting, connected or waiting), when the lead last answered, when a heartbeat of the lead last came by replication, where it answers probes, reports that had no room (drops) or that the lead could not take (rejected; last_rejection is of the last answer), why the lead''s duties do not run here (off_duty), and whether replication has stopped (cut_off). No row without the preloaded library.';

CREATE FUNCTION aurora.local_peers(OUT node text, OUT address text, OUT port int, OUT rtt_ms double precision,
                                   OUT asked_seconds_ago double precision, OUT answered_seconds_ago double precision,
                                   OUT failures int, OUT timeline int, OUT receive_lsn pg_lsn, OUT replay_lsn pg_lsn,
                                   OUT detail text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 20 AS 'MODULE_PATHNAME', 'aurora_local_peers';
COMMENT ON FUNCTION aurora.local_peers() IS 'What this node''s agent has seen of its peers by its own probes.';

CREATE FUNCTION aurora.local_services(OUT service text, OUT is_api boolean, OUT state text, OUT since_seconds_ago double precision,
                                      OUT checked_seconds_ago double precision, OUT latency_ms double precision, OUT detail text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'aurora_local_services';
COMMENT ON FUNCTION aurora.local_services() IS 'What this node''s agent has found of the services and APIs that it checks.';

CREATE FUNCTION aurora.local_reports(OUT kind text, OUT key text, OUT body jsonb, OUT reported_seconds_ago double precision,
                                     OUT delivered boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'aurora_local_reports';
COMMENT ON FUNCTION aurora.local_reports() IS 'The latest reports that programs of this node made for the lead, and whether they have arrived.';

CREATE FUNCTION aurora.hand_to_agent(kind text, key text, body jsonb) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_hand_to_agent';
COMMENT ON FUNCTION aurora.hand_to_agent(text, text, jsonb) IS
    'Hands a report to this node''s agent, which takes it to the lead, where aurora.receive_<kind>() gets it; a later one of the same key takes its place. False when there is no room, which is counted. Errors: 55000 no preloaded library, 54000 too long.';

-- ---- what an agent reads ----

CREATE FUNCTION aurora.agent_state(node text, OUT beat bigint, OUT wal_receiver text, OUT extension_version text,
                                   OUT address text, OUT maintenance int, OUT timeline int, OUT began_us bigint, OUT id uuid,
                                   OUT beat_at_us bigint)
    RETURNS record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT h.beat FROM aurora.lead_heartbeat h), (SELECT r.status FROM pg_stat_get_wal_receiver() r),
           (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'aurora'),
           coalesce(host(n.address), ''), (n.maintenance_until > now())::int, p.timeline,
           (extract(epoch FROM p.began_at - timestamptz '2000-01-01 00:00:00Z') * 1000000)::bigint, p.id,
           (SELECT extract(epoch FROM h.at - timestamptz '2000-01-01 00:00:00Z') * 1000000 FROM aurora.lead_heartbeat h)::bigint
    FROM (SELECT) x LEFT JOIN aurora.node n ON n.name = agent_state.node CROSS JOIN aurora.epoch() p
$$;
COMMENT ON FUNCTION aurora.agent_state(text) IS 'What an agent reads at each turn. began_us, beat_at_us: microseconds since 2000.';

CREATE FUNCTION aurora.agent_peers(of_node text) RETURNS TABLE (node text, address text, port int)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.name, coalesce(host(n.address), ''), s.agent_port
    FROM aurora.node n JOIN aurora.node_status s ON s.node = n.name
    WHERE n.name <> of_node AND n.address IS NOT NULL AND s.agent_port <> 0
    ORDER BY s.is_lead DESC, n.name
$$;
COMMENT ON FUNCTION aurora.agent_peers(text) IS 'The peers that a node''s agent probes, the lead first.';

-- ---- what an agent reports ----

CREATE FUNCTION aurora.reporting_node(node text) RETURNS aurora.node
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.node;
    who name := aurora.caller();
    super boolean := (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = who);
BEGIN
    SELECT n.* INTO result FROM aurora.node n WHERE n.name = reporting_node.node;
    IF aurora.is_assuming() THEN
        IF node = aurora.assumed_node() THEN
            RETURN result;
        END IF;
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to report about node "%s"', node),
            HINT = coalesce('The key is that of node "' || aurora.assumed_node() || '".', 'It takes the key of that node.');
    END IF;
    IF FOUND AND (super OR result.login_role = who) THEN
        RETURN result;
    ELSIF FOUND AND result.login_role IS NULL AND who = left('aurora_node_' || node, 63)
          AND NOT EXISTS (SELECT FROM aurora.node n WHERE n.login_role = who) THEN
        -- It has been the lead until now, which needs no login.
        UPDATE aurora.node n SET login_role = who WHERE n.name = reporting_node.node RETURNING n.* INTO result;
        RETURN result;
    ELSIF NOT FOUND AND (super OR NOT EXISTS (SELECT FROM aurora.node n WHERE n.login_role = who)) THEN
        PERFORM aurora.require_label(node);
        INSERT INTO aurora.node AS n (name, login_role) VALUES (node, CASE WHEN NOT super THEN who END)
            RETURNING n.* INTO result;
        RETURN result;
    END IF;
    RAISE insufficient_privilege USING
        MESSAGE = format('role "%s" may not report about node "%s"', who, node),
        HINT = coalesce('It is the login role of node "' || (SELECT n.name FROM aurora.node n WHERE n.login_role = who)
                        || '": set aurora.node_name there.',
                        'Another role is that node''s; see aurora.node, or register it again with aurora.register_node().');
END
$$;
COMMENT ON FUNCTION aurora.reporting_node(text) IS
    'The node that a report of the caller is about; registers it when the caller is of no node yet and the name is free. Errors: 42501 another''s node.';

CREATE FUNCTION aurora.refuse_double(status aurora.node_status, instance text, interval_s real) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF status.instance <> instance AND status.heartbeat_at > clock_timestamp() - make_interval(secs => 3 * interval_s) THEN
        RAISE unique_violation USING
            MESSAGE = format('another machine reports as node "%s"', status.node),
            HINT = 'Each node has a name of its own: set aurora.node_name, outside the data folder.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.refuse_double(aurora.node_status, text, real) IS 'Raises 23505 when another instance has reported under that name within three heartbeats.';

CREATE FUNCTION aurora.setting_seconds(setting text) RETURNS real
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT extract(epoch FROM current_setting(setting)::interval)::real
$$;
COMMENT ON FUNCTION aurora.setting_seconds(text) IS 'A setting that is a time, in seconds.';

CREATE FUNCTION aurora.put_heartbeat(of_node aurora.node, h jsonb, batch bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := clock_timestamp();
    interval_s real := aurora.setting_seconds('aurora.heartbeat_interval');
    old aurora.node_status;
    lead aurora.lead_heartbeat;
    behind bigint;
    bytes bigint := greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), (h->>'replay_lsn')::pg_lsn), 0);
    fresh boolean;
BEGIN
    SELECT s.* INTO old FROM aurora.node_status s WHERE s.node = of_node.name FOR UPDATE;
    fresh := NOT FOUND OR batch IS NULL OR old.incarnation IS DISTINCT FROM coalesce(left(h->>'incarnation', 64), '') OR old.last_batch < batch;
    IF NOT fresh AND old.last_batch > batch THEN
        RETURN false;
    END IF;
    PERFORM aurora.refuse_double(old, left(h->>'instance', 64), interval_s);
    SELECT l.* INTO lead FROM aurora.lead_heartbeat l;
    behind := greatest(coalesce(lead.beat - (h->>'beat')::bigint, 0), 0);
    INSERT INTO aurora.node_status AS s (node, instance, heartbeat_at, is_lead, timeline, receive_lsn, replay_lsn,
            lag_bytes, lag_seconds, wal_receiver, version, extension_version, postgres_version, started_at, agent_port,
            clock_skew_seconds, round_trip_ms, drops, incarnation, last_batch)
        VALUES (of_node.name, left(h->>'instance', 64), at, h->>'is_lead' = '1', (h->>'timeline')::int, (h->>'receive_lsn')::pg_lsn,
            (h->>'replay_lsn')::pg_lsn, bytes,
            CASE WHEN h->>'is_lead' = '1' OR behind = 0 OR bytes = 0 THEN 0
                 WHEN behind = 1 THEN greatest(extract(epoch FROM at - lead.at), 0)
                 ELSE greatest(extract(epoch FROM at - timestamptz '2000-01-01 00:00:00Z') - (h->>'beat_at')::double precision / 1e6
                               - interval_s, 0) END,
            nullif(left(h->>'wal_receiver', 64), ''), left(h->>'version', 64), nullif(left(h->>'extension_version', 64), ''),
            left(h->>'postgres_version', 64),
            at - make_interval(secs => (h->>'started_age_us')::double precision / 1e6), (h->>'agent_port')::int,
            (h->>'skew_us')::double precision / 1e6, (h->>'round_trip_us')::double precision / 1e3,
            (h->>'drops')::bigint, coalesce(left(h->>'incarnation', 64), ''), coalesce(batch, 0))
        ON CONFLICT ON CONSTRAINT node_status_pkey DO UPDATE SET
            instance = excluded.instance, heartbeat_at = excluded.heartbeat_at,
            heartbeats_in_row = CASE WHEN s.heartbeat_at > at - make_interval(secs => 2 * interval_s)
                                     THEN s.heartbeats_in_row + 1 ELSE 1 END,
            is_lead = excluded.is_lead, timeline = excluded.timeline, receive_lsn = excluded.receive_lsn,
            replay_lsn = excluded.replay_lsn, lag_bytes = excluded.lag_bytes, lag_seconds = excluded.lag_seconds,
            wal_receiver = excluded.wal_receiver, version = excluded.version,
            extension_version = excluded.extension_version, postgres_version = excluded.postgres_version,
            started_at = CASE WHEN abs(extract(epoch FROM s.started_at - excluded.started_at)) < 2
                              THEN s.started_at ELSE excluded.started_at END,
            agent_port = excluded.agent_port, clock_skew_seconds = excluded.clock_skew_seconds,
            round_trip_ms = excluded.round_trip_ms, drops = excluded.drops, incarnation = excluded.incarnation, last_batch = excluded.last_batch;
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION aurora.put_heartbeat(aurora.node, jsonb, bigint) IS
    'Writes a node''s heartbeat; false when its batch of messages has been here before, and an older one than the last changes nothing. The lag is the age of the first heartbeat of the lead that the node had not replayed, by the lead''s clock alone. Errors: 23505 another instance reports under that name.';

CREATE FUNCTION aurora.beat_lead() RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO aurora.lead_heartbeat AS l (beat, at, watching_since) VALUES (1, clock_timestamp(), clock_timestamp())
        ON CONFLICT ON CONSTRAINT lead_heartbeat_pkey DO UPDATE SET beat = l.beat + 1, at = clock_timestamp()
$$;
COMMENT ON FUNCTION aurora.beat_lead() IS 'Writes the lead''s own heartbeat, which standbys get by replication.';

CREATE FUNCTION aurora.take_messages(node text, messages jsonb, batch_age_us bigint, OUT rejected int, OUT rejection text) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    message jsonb;
    receiver regprocedure;
BEGIN
    rejected := 0;
    -- In one order, so that two nodes that speak of the same things do not wait for each other in a circle.
    FOR message IN SELECT m FROM jsonb_array_elements(messages) WITH ORDINALITY a(m, place) ORDER BY m->>'kind', m->'body'->>'api', place LOOP
        BEGIN
            receiver := CASE WHEN message->>'kind' ~ '^[a-z_]{1,40}$'
                             THEN to_regprocedure(format('aurora.receive_%s(text, jsonb)', message->>'kind')) END;
            IF receiver IS NULL THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('the lead takes no messages of kind "%s"', left(message->>'kind', 40));
            END IF;
            EXECUTE format('SELECT aurora.receive_%s($1, $2)', message->>'kind') USING node,
                CASE WHEN message ? 'age_us' THEN jsonb_build_object('age_us', message->'age_us') ELSE '{}' END
                || (message->'body') || jsonb_build_object('batch_age_us', batch_age_us);
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR undefined_function OR program_limit_exceeded THEN
            rejected := rejected + 1;
            rejection := coalesce(rejection, left(format('%s: %s', message->>'kind', SQLERRM), 200));
        END;
    END LOOP;
    IF rejected > 0 THEN
        UPDATE aurora.node_status s SET rejected = s.rejected + take_messages.rejected
            WHERE s.node = take_messages.node;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.take_messages(text, jsonb, bigint) IS
    'Gives each message of a node, {kind, body}, to aurora.receive_<kind>(node, body): this is where a capability takes what its part on the nodes has to say. Ages in it are of when the batch was put together. A bad message is counted and left out; it does not stop the others.';

CREATE FUNCTION aurora.note_double(node text, instance text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE aurora.node_status s SET conflict_at = clock_timestamp()
        WHERE s.node = note_double.node AND s.instance <> note_double.instance
          AND (s.conflict_at IS NULL OR s.conflict_at < clock_timestamp() - interval '5 seconds')
$$;
COMMENT ON FUNCTION aurora.note_double(text, text) IS 'Notes that another instance reports under a node''s name.';

CREATE FUNCTION aurora.report_heartbeat(node text, heartbeat jsonb, messages jsonb DEFAULT '[]', batch bigint DEFAULT NULL,
                                        OUT now_us bigint, OUT suspects text, OUT epoch_timeline int,
                                        OUT epoch_began_us bigint, OUT epoch_id uuid, OUT rejected int, OUT rejection text)
    RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    of_node aurora.node;
BEGIN
    PERFORM aurora.require_lead();
    -- A heartbeat may be lost with a crash, messages may not; neither waits for a standby.
    PERFORM set_config('synchronous_commit', CASE WHEN messages = '[]' THEN 'off' ELSE 'local' END, true);
    of_node := aurora.reporting_node(node);
    rejected := 0;
    SELECT (extract(epoch FROM clock_timestamp() - timestamptz '2000-01-01 00:00:00Z') * 1000000)::bigint,
           e.timeline, (extract(epoch FROM e.began_at - timestamptz '2000-01-01 00:00:00Z') * 1000000)::bigint, e.id
        INTO now_us, epoch_timeline, epoch_began_us, epoch_id FROM aurora.epoch() e;
    BEGIN
        IF aurora.put_heartbeat(of_node, heartbeat, batch) THEN
            SELECT r.rejected, r.rejection INTO rejected, rejection FROM aurora.take_messages(node, messages, coalesce((heartbeat->>'batch_age_us')::bigint, 0)) r;
        END IF;
    EXCEPTION WHEN unique_violation THEN
        PERFORM aurora.note_double(node, left(heartbeat->>'instance', 64));
        rejected := 1;
        rejection := SQLERRM;
        RETURN;
    END;
    IF heartbeat->>'is_lead' = '1' AND node = aurora.own_node() THEN
        PERFORM aurora.beat_lead();
    END IF;
    SELECT string_agg(s.node, ',') INTO suspects FROM aurora.suspects() s WHERE s.node <> report_heartbeat.node;
END
$$;
COMMENT ON FUNCTION aurora.report_heartbeat(text, jsonb, jsonb, bigint) IS
    'What an agent calls on the lead at each heartbeat, with a batch of messages and its number (null: take it in any case). Returns the lead''s clock and the beginning of its epoch (microseconds since 2000), the nodes to probe at once, and how many messages the lead could not take. Members of aurora_node may report about their own node only; one whose role is of no node yet registers itself. Errors: 42501, 22023.';

CREATE FUNCTION aurora.receive_capability(node text, body jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT aurora.put_capability(node, body->>'name', body->'value', false)
$$;
COMMENT ON FUNCTION aurora.receive_capability(text, jsonb) IS 'Takes what a node has: {name, value}, the value a number, a text or a boolean.';

CREATE FUNCTION aurora.age_of_message(body jsonb, key text) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT clock_timestamp() - make_interval(secs => least(greatest(
        ((body->>key)::double precision + coalesce((body->>'batch_age_us')::double precision, 0)) / 1e6, 0), 1e9))
$$;
COMMENT ON FUNCTION aurora.age_of_message(jsonb, text) IS 'A time that a message gives as microseconds ago, by the lead''s clock.';

CREATE FUNCTION aurora.receive_probe(node text, body jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO aurora.node_probe AS p (from_node, to_node, rtt_ms, last_success, last_attempt, failures)
        SELECT receive_probe.node, n.name, (body->>'rtt_us')::double precision / 1e3,
               CASE WHEN body ? 'success_age_us' THEN aurora.age_of_message(body, 'success_age_us') END,
               aurora.age_of_message(body, 'attempt_age_us'), (body->>'failures')::int
        FROM aurora.node n WHERE n.name = body->>'to' AND n.name <> receive_probe.node
        ON CONFLICT ON CONSTRAINT node_probe_pkey DO UPDATE SET
            rtt_ms = coalesce(excluded.rtt_ms, p.rtt_ms), last_success = coalesce(excluded.last_success, p.last_success),
            last_attempt = excluded.last_attempt, failures = excluded.failures
$$;
COMMENT ON FUNCTION aurora.receive_probe(text, jsonb) IS
    'Takes the result of a probe: {to, failures, attempt_age_us, rtt_us, success_age_us}; the last two when it ever answered.';
