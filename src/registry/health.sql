-- Health: how each node is, judged by the lead, and how everything is.

-- ---- the judgement ----

CREATE TYPE aurora.node_evidence AS (
    state aurora.health_state,
    is_lead boolean,
    in_maintenance boolean,
    heard boolean,
    silent_s double precision,
    heartbeats_in_row bigint,
    peers_failed int,
    peers_answered int,
    peers_to_ask int,
    lead_failed boolean,
    lead_answered boolean,
    most_vanished boolean,
    flapping boolean,
    trouble text
);
COMMENT ON TYPE aurora.node_evidence IS
    'What is known of a node at one time. state: as judged before; silent_s: seconds since its last heartbeat, or since a lead began to watch; peers_failed, peers_answered: peers, the lead not among them, that have probed it since; peers_to_ask: peers that could; most_vanished: it is one of most nodes that fell silent at once; trouble: what is wrong although it reports.';

CREATE FUNCTION aurora.judge_evidence(e aurora.node_evidence, interval_s double precision,
                                      OUT state aurora.health_state, OUT reason text) RETURNS record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.verdict[1]::aurora.health_state, j.verdict[2] FROM (SELECT CASE
        WHEN e.in_maintenance THEN ARRAY['maintenance', NULL]
        WHEN NOT e.heard THEN ARRAY['unknown', 'it has not reported yet']
        WHEN e.silent_s < 3 * interval_s THEN CASE
            WHEN e.state IN ('down', 'unknown') AND e.heartbeats_in_row < 2 THEN ARRAY[e.state::text, NULL]
            WHEN e.flapping THEN ARRAY['degraded', 'it goes up and down: 3 times or more in 10 minutes']
            WHEN e.trouble IS NOT NULL THEN ARRAY['degraded', e.trouble]
            ELSE ARRAY['up', NULL] END
        WHEN e.is_lead THEN ARRAY['degraded', 'it is the lead and runs, but its agent does not report']
        WHEN e.state = 'down' THEN ARRAY['down', NULL]
        WHEN e.most_vanished THEN ARRAY['unknown', 'most nodes fell silent at once: the lead may be the one that is cut off']
        WHEN e.peers_failed > 0 AND e.peers_failed >= e.peers_answered
            THEN ARRAY['down', 'no heartbeat, and its peers get no answer']
        WHEN e.peers_answered > 0 THEN ARRAY['degraded', 'no heartbeat, but peers get answers: the way to the lead, or its Postgres']
        WHEN e.peers_to_ask > 0 AND e.silent_s < 5 * interval_s THEN ARRAY[e.state::text, NULL]
        WHEN e.lead_failed THEN ARRAY['down', 'no heartbeat, no answer to the lead, and no peer to ask']
        WHEN e.lead_answered THEN ARRAY['degraded', 'no heartbeat, but its agent answers the lead']
        WHEN e.silent_s < 5 * interval_s THEN ARRAY[e.state::text, NULL]
        ELSE ARRAY['down', 'no heartbeat, and nobody who could ask'] END AS verdict) j
$$;
COMMENT ON FUNCTION aurora.judge_evidence(aurora.node_evidence, double precision) IS
    'How a node is by what is known of it; a reason of null with the state of before means that nothing has changed. Down takes three missed heartbeats and a peer that gets no answer, or that there is no peer to ask; up again takes two heartbeats in a row.';

CREATE FUNCTION aurora.suspects(OUT node text) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.node FROM aurora.node_status s JOIN aurora.node_state t ON t.node = s.node
    WHERE t.state <> 'maintenance'
      AND s.heartbeat_at < clock_timestamp() - make_interval(secs => 1.5 * aurora.setting_seconds('aurora.heartbeat_interval'))
      AND s.heartbeat_at > clock_timestamp() - interval '10 minutes'
    ORDER BY s.heartbeat_at DESC LIMIT 20
$$;
COMMENT ON FUNCTION aurora.suspects() IS 'Nodes whose heartbeat is late, which peers are to probe at once.';

CREATE FUNCTION aurora.trouble_of(s aurora.node_status, of_lead aurora.node_status, at timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT nullif(concat_ws('; ',
        CASE WHEN s.conflict_at > at - interval '15 seconds' THEN 'another machine reports under its name' END,
        CASE WHEN NOT s.is_lead AND s.wal_receiver IS DISTINCT FROM 'streaming' THEN 'it does not stream from the lead' END,
        CASE WHEN s.lag_seconds > aurora.setting_seconds('aurora.lag_limit')
             THEN 'it lags by more than ' || current_setting('aurora.lag_limit') END,
        CASE WHEN abs(s.clock_skew_seconds) > aurora.setting_seconds('aurora.clock_skew_limit')
             THEN 'its clock is off by more than ' || current_setting('aurora.clock_skew_limit') END,
        CASE WHEN s.version <> of_lead.version THEN format('its library is %s, the lead''s is %s', s.version, of_lead.version) END,
        CASE WHEN s.is_lead AND s.node <> of_lead.node THEN 'it is a lead of its own' END), '')
$$;
COMMENT ON FUNCTION aurora.trouble_of(aurora.node_status, aurora.node_status, timestamptz) IS
    'What is wrong with a node that reports, as one text; null when nothing is.';

CREATE FUNCTION aurora.node_evidences(at timestamptz, OUT node text, OUT evidence aurora.node_evidence) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH setting AS (
        SELECT aurora.setting_seconds('aurora.heartbeat_interval') AS interval_s,
               coalesce((SELECT l.watching_since FROM aurora.lead_heartbeat l), at) AS watching_since,
               aurora.own_node() AS lead
    ), seen AS (
        SELECT n.name, n.maintenance_until > at IS TRUE AS in_maintenance, n.address, s AS status, t.state,
               n.name = c.lead AS is_lead,
               extract(epoch FROM at - greatest(s.heartbeat_at, c.watching_since)) AS silent_s
        FROM aurora.node n CROSS JOIN setting c
        LEFT JOIN aurora.node_status s ON s.node = n.name LEFT JOIN aurora.node_state t ON t.node = n.name
    ), late AS (
        SELECT count(*) FILTER (WHERE v.silent_s >= 3 * c.interval_s) AS silent, count(*) AS counted
        FROM seen v CROSS JOIN setting c
        WHERE NOT v.is_lead AND NOT v.in_maintenance AND v.silent_s IS NOT NULL
          AND (v.state IN ('up', 'degraded') OR v.state = 'unknown' AND (v.status).heartbeat_at > at - interval '1 day')
    ), asked AS (
        SELECT p.to_node, count(*) FILTER (WHERE p.from_node <> c.lead AND p.failures > 0)::int AS peers_failed,
               count(*) FILTER (WHERE p.from_node <> c.lead AND p.failures = 0)::int AS peers_answered,
               bool_or(p.from_node = c.lead AND p.failures > 0) AS lead_failed,
               bool_or(p.from_node = c.lead AND p.failures = 0) AS lead_answered
        FROM aurora.node_probe p CROSS JOIN setting c JOIN seen v ON v.name = p.to_node JOIN seen f ON f.name = p.from_node
        WHERE v.silent_s >= c.interval_s AND f.silent_s < 3 * c.interval_s
          AND p.last_attempt > at - make_interval(secs => least(v.silent_s, 30) - c.interval_s / 2)
        GROUP BY p.to_node
    ), flaps AS (
        SELECT t.node FROM aurora.node_transition t
        WHERE t.to_state = 'down' AND t.at > node_evidences.at - interval '10 minutes'
        GROUP BY t.node HAVING count(*) >= 3 AND max(t.at) > node_evidences.at - interval '5 minutes'
    )
    SELECT v.name, ROW(coalesce(v.state, 'unknown'), v.is_lead, v.in_maintenance, (v.status).node IS NOT NULL,
                       v.silent_s, (v.status).heartbeats_in_row, coalesce(a.peers_failed, 0), coalesce(a.peers_answered, 0),
                       CASE WHEN v.address IS NULL OR (v.status).agent_port = 0 THEN 0 ELSE (
                            SELECT count(*) FROM seen o WHERE o.name <> v.name AND NOT o.is_lead AND o.address IS NOT NULL
                              AND (o.status).agent_port > 0 AND o.silent_s < 3 * c.interval_s)::int END,
                       coalesce(a.lead_failed, false), coalesce(a.lead_answered, false),
                       l.silent >= 3 AND l.silent * 2 > l.counted, f.node IS NOT NULL,
                       aurora.trouble_of(v.status, (SELECT o.status FROM seen o WHERE o.is_lead), at))::aurora.node_evidence
    FROM seen v CROSS JOIN setting c CROSS JOIN late l
    LEFT JOIN asked a ON a.to_node = v.name LEFT JOIN flaps f ON f.node = v.name
$$;
COMMENT ON FUNCTION aurora.node_evidences(timestamptz) IS 'What the lead knows of each node at a time.';

CREATE FUNCTION aurora.change_state(of_node text, to_state aurora.health_state, reason text, at timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before aurora.node_state;
    why text := left(reason, 300);
BEGIN
    SELECT t.* INTO before FROM aurora.node_state t WHERE t.node = of_node;
    INSERT INTO aurora.node_state AS t (node, state, since, reason) VALUES (of_node, to_state, at, why)
        ON CONFLICT ON CONSTRAINT node_state_pkey DO UPDATE
            SET state = excluded.state, since = CASE WHEN t.state = excluded.state THEN t.since ELSE excluded.since END,
                reason = excluded.reason, next_state = NULL, next_since = NULL;
    IF before.state IS NOT DISTINCT FROM to_state THEN
        RETURN;
    END IF;
    INSERT INTO aurora.node_transition (node, at, from_state, to_state, reason)
        VALUES (of_node, at, before.state, to_state, why);
    PERFORM pg_notify('aurora_node', jsonb_build_object('node', of_node, 'from', before.state, 'to', to_state,
                                                        'reason', why)::text);
    PERFORM aurora.note_event(NULL, 'mesh/nodes', jsonb_build_object('node', of_node, 'from', before.state, 'to', to_state,
                                                                     'reason', why));
END
$$;
COMMENT ON FUNCTION aurora.change_state(text, aurora.health_state, text, timestamptz) IS
    'Puts a node into a state; a change is a row of node_transition, a notification on channel aurora_node and an event of topic mesh/nodes.';

CREATE FUNCTION aurora.close_gap(at timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last timestamptz := (SELECT l.at FROM aurora.lead_heartbeat l);
    allowed interval := greatest(interval '10 seconds', 5 * current_setting('aurora.heartbeat_interval')::interval);
    n record;
BEGIN
    IF last IS NULL OR at BETWEEN last - allowed AND last + allowed THEN
        RETURN;
    END IF;
    FOR n IN SELECT t.node, t.since, s.is_lead FROM aurora.node_state t LEFT JOIN aurora.node_status s ON s.node = t.node
             WHERE t.state IN ('up', 'degraded') LOOP
        PERFORM aurora.change_state(n.node, CASE WHEN n.is_lead THEN 'down' ELSE 'unknown' END::aurora.health_state,
                                    CASE WHEN n.is_lead THEN 'it was the lead, and fell silent'
                                         ELSE 'no lead was watching' END, greatest(n.since, least(last, at)));
    END LOOP;
    UPDATE aurora.node_status s SET heartbeat_at = least(s.heartbeat_at, at), heartbeats_in_row = 0;
    UPDATE aurora.lead_heartbeat l SET at = close_gap.at, watching_since = close_gap.at;
END
$$;
COMMENT ON FUNCTION aurora.close_gap(timestamptz) IS
    'When no lead has watched for 10 seconds and five heartbeats, or the clock was set back by as much: nodes count as unknown for that time, the lead of then as down, and all get three heartbeats'' time to report anew.';

CREATE FUNCTION aurora.judge_nodes(at timestamptz DEFAULT clock_timestamp()) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    interval_s real := aurora.setting_seconds('aurora.heartbeat_interval');
    n record;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM aurora.close_gap(at);
    FOR n IN SELECT v.node, t.state AS before, t.reason AS before_reason, t.next_state, t.next_since, j.state, j.reason
             FROM aurora.node_evidences(at) v CROSS JOIN LATERAL aurora.judge_evidence(v.evidence, interval_s) j
             LEFT JOIN aurora.node_state t ON t.node = v.node
             WHERE t.state IS NULL OR t.state <> j.state OR t.next_state IS NOT NULL
                OR t.reason IS DISTINCT FROM j.reason AND NOT (j.reason IS NULL AND j.state <> 'up') LOOP
        IF n.before IN ('up', 'degraded') AND n.state IN ('up', 'degraded') AND n.before <> n.state THEN
            -- Between these two a state must last for two heartbeats, so that one late look changes nothing.
            IF n.next_state IS DISTINCT FROM n.state THEN
                UPDATE aurora.node_state t SET next_state = n.state, next_since = at WHERE t.node = n.node;
                CONTINUE;
            ELSIF n.next_since > at - make_interval(secs => 2 * interval_s) THEN
                CONTINUE;
            END IF;
        ELSIF n.before = n.state AND (n.reason IS NOT DISTINCT FROM n.before_reason
                                      OR n.reason IS NULL AND n.state <> 'up') THEN
            UPDATE aurora.node_state t SET next_state = NULL, next_since = NULL WHERE t.node = n.node;
            CONTINUE;
        END IF;
        BEGIN
            PERFORM aurora.change_state(n.node, n.state, n.reason, at);
        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
            RAISE WARNING 'node "%" cannot be judged: %', n.node, SQLERRM;
        END;
    END LOOP;
    RETURN (SELECT string_agg(s.node, ',') FROM aurora.suspects() s);
END
$$;
COMMENT ON FUNCTION aurora.judge_nodes(timestamptz) IS
    'Judges how all nodes are, and returns those to probe at once, with commas between. The lead''s agent does this by itself.';

CREATE FUNCTION aurora.forget_transitions(keep interval DEFAULT '90 days') RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    forgotten bigint;
BEGIN
    PERFORM aurora.require_operator();
    IF keep IS NULL OR keep < interval '1 day' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'at least one day is kept', HINT = 'The default is 90 days.';
    END IF;
    -- The last one before that time says how the node was then.
    DELETE FROM aurora.node_transition t WHERE t.at < (
        SELECT max(b.at) FROM aurora.node_transition b WHERE b.node = t.node AND b.at < now() - keep);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    DELETE FROM aurora.recovery r WHERE r.at < now() - keep;
    DELETE FROM aurora.service_hour h WHERE h.hour < now() - keep;
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION aurora.forget_transitions(interval) IS 'Deletes history of nodes and services that is older, and returns the number of transitions deleted.';

-- ---- how nodes are, as each node sees it ----

CREATE FUNCTION aurora.node_uptime(node text, span interval, at timestamptz DEFAULT now()) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH phase AS (
        SELECT t.to_state AS state, greatest(t.at, node_uptime.at - span) AS from_at,
               least(coalesce(lead(t.at) OVER (ORDER BY t.at, t.transition_id), node_uptime.at), node_uptime.at) AS to_at
        FROM aurora.node_transition t
        WHERE t.node = node_uptime.node
          AND t.at >= coalesce((SELECT max(b.at) FROM aurora.node_transition b
                                WHERE b.node = node_uptime.node AND b.at <= node_uptime.at - span), '-infinity')
    )
    SELECT round((100 * coalesce(sum(extract(epoch FROM to_at - from_at)) FILTER (WHERE state IN ('up', 'degraded')), 0)
                  / nullif(sum(extract(epoch FROM to_at - from_at)) FILTER (WHERE state IN ('up', 'degraded', 'down')), 0))::numeric, 3)
    FROM phase WHERE to_at > from_at
$$;
COMMENT ON FUNCTION aurora.node_uptime(text, interval, timestamptz) IS
    'Percent of a span up to a time in which a node was up or degraded, of the time in which it was known to be that or down; null when it never was. Computed from the transitions, so it is exact.';

CREATE FUNCTION aurora.seen_from_here(OUT node text, OUT state aurora.health_state, OUT since timestamptz, OUT reason text,
                                      OUT observed_by text) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.name,
           CASE WHEN a.cut_off IS NOT TRUE THEN coalesce(t.state, 'unknown')
                WHEN n.name = a.node THEN 'degraded'
                WHEN p.failures > 0 THEN 'down'
                WHEN p.answered_seconds_ago < 60 THEN CASE WHEN n.name = e.lead THEN 'degraded' ELSE 'up' END::aurora.health_state
                WHEN t.state = 'maintenance' THEN t.state
                ELSE 'unknown' END,
           CASE WHEN a.cut_off IS NOT TRUE THEN t.since
                WHEN p.failures > 0 THEN clock_timestamp() - make_interval(secs => p.answered_seconds_ago)
                WHEN n.name IN (a.node, e.lead) THEN clock_timestamp() - make_interval(secs => a.replicated_seconds_ago) END,
           CASE WHEN a.cut_off IS NOT TRUE THEN t.reason
                WHEN n.name = a.node THEN 'nothing comes from the lead by replication'
                WHEN p.failures > 0 THEN 'it does not answer this node''s probes'
                WHEN p.answered_seconds_ago < 60 AND n.name = e.lead THEN 'it answers probes, but nothing comes by replication' END,
           CASE WHEN a.cut_off THEN a.node ELSE e.lead END
    FROM aurora.node n CROSS JOIN aurora.epoch() e LEFT JOIN aurora.node_state t ON t.node = n.name
    LEFT JOIN aurora.agent_status() a ON true LEFT JOIN aurora.local_peers() p ON p.node = n.name
$$;
COMMENT ON FUNCTION aurora.seen_from_here() IS
    'How each node is: as the lead judged, or, on a node that is cut off from the lead, as its own agent has seen. since is null where that is not known.';

CREATE VIEW aurora.nodes WITH (security_invoker = true) AS
    SELECT n.name, CASE WHEN n.name = e.lead THEN 'lead' ELSE n.role::text END AS role, n.address, h.state, h.since, h.reason,
           s.heartbeat_at AS last_heartbeat, s.lag_bytes,
           CASE WHEN a.cut_off AND n.name = a.node
                THEN a.replicated_seconds_ago::real ELSE s.lag_seconds END AS lag_seconds,
           s.timeline, s.version, s.postgres_version,
           (SELECT jsonb_object_agg(c.name, coalesce(to_jsonb(c.as_number), to_jsonb(c.as_text), to_jsonb(c.as_boolean)))
            FROM aurora.node_capability c WHERE c.node = n.name) AS capabilities,
           aurora.node_uptime(n.name, '24 hours') AS uptime_24h, aurora.node_uptime(n.name, '7 days') AS uptime_7d,
           aurora.node_uptime(n.name, '30 days') AS uptime_30d,
           (SELECT count(*) FROM aurora.node_transition t
            WHERE t.node = n.name AND t.to_state = 'down' AND t.at > now() - interval '24 hours') AS flaps,
           n.drained_at IS NOT NULL AS drained, s.clock_skew_seconds, s.drops::numeric + s.rejected AS lost_reports, h.observed_by
    FROM aurora.node n CROSS JOIN aurora.epoch() e JOIN aurora.seen_from_here() h ON h.node = n.name
    LEFT JOIN aurora.node_status s ON s.node = n.name LEFT JOIN aurora.agent_status() a ON true;
COMMENT ON VIEW aurora.nodes IS 'The nodes of the mesh and how they are. On a node that is cut off from the lead: as that node has seen itself.';
COMMENT ON COLUMN aurora.nodes.name IS 'Name of the node.';
COMMENT ON COLUMN aurora.nodes.role IS 'lead for the lead; else what the node is there for.';
COMMENT ON COLUMN aurora.nodes.address IS 'Address in the mesh.';
COMMENT ON COLUMN aurora.nodes.state IS 'How it is.';
COMMENT ON COLUMN aurora.nodes.since IS 'Since when.';
COMMENT ON COLUMN aurora.nodes.reason IS 'Why, when it is not simply up.';
COMMENT ON COLUMN aurora.nodes.last_heartbeat IS 'When the lead last heard from it.';
COMMENT ON COLUMN aurora.nodes.lag_bytes IS 'Write-ahead log that it had not replayed at its last heartbeat.';
COMMENT ON COLUMN aurora.nodes.lag_seconds IS 'Age of the oldest heartbeat of the lead that it had not replayed then.';
COMMENT ON COLUMN aurora.nodes.timeline IS 'Timeline that it writes or replays.';
COMMENT ON COLUMN aurora.nodes.version IS 'Version of its aurora library.';
COMMENT ON COLUMN aurora.nodes.postgres_version IS 'Version of its Postgres.';
COMMENT ON COLUMN aurora.nodes.capabilities IS 'What it has, by name.';
COMMENT ON COLUMN aurora.nodes.uptime_24h IS 'Percent of the last 24 hours in which it was up or degraded.';
COMMENT ON COLUMN aurora.nodes.uptime_7d IS 'The same over 7 days.';
COMMENT ON COLUMN aurora.nodes.uptime_30d IS 'The same over 30 days.';
COMMENT ON COLUMN aurora.nodes.flaps IS 'How often it went down in the last 24 hours.';
COMMENT ON COLUMN aurora.nodes.drained IS 'Is it to get no new work.';
COMMENT ON COLUMN aurora.nodes.clock_skew_seconds IS 'Its clock less the lead''s.';
COMMENT ON COLUMN aurora.nodes.lost_reports IS 'Reports of it that had no room, or that the lead could not take.';
COMMENT ON COLUMN aurora.nodes.observed_by IS 'Who says so: the lead, or this node when it is cut off.';

CREATE VIEW aurora.node_transitions WITH (security_invoker = true) AS
    SELECT t.node AS name, t.at, t.from_state, t.to_state, t.reason FROM aurora.node_transition t;
COMMENT ON VIEW aurora.node_transitions IS 'How the states of nodes changed.';
COMMENT ON COLUMN aurora.node_transitions.name IS 'Name of the node.';
COMMENT ON COLUMN aurora.node_transitions.at IS 'When.';
COMMENT ON COLUMN aurora.node_transitions.from_state IS 'State before.';
COMMENT ON COLUMN aurora.node_transitions.to_state IS 'State after.';
COMMENT ON COLUMN aurora.node_transitions.reason IS 'Why.';

-- ---- promotion ----

CREATE FUNCTION aurora.promotion_candidates(OUT rank bigint, OUT name text, OUT role text, OUT state aurora.health_state,
                                            OUT timeline int, OUT receive_lsn pg_lsn, OUT replay_lsn pg_lsn,
                                            OUT behind_bytes numeric, OUT eligible boolean, OUT reason text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH seen AS (
        SELECT n.name, n.role, n.drained_at, h.state, n.name = e.lead AS is_lead,
               CASE WHEN n.name = aurora.own_node() THEN aurora.current_timeline()
                    ELSE coalesce(CASE WHEN p.answered_seconds_ago < 60 THEN p.timeline END, s.timeline) END AS timeline,
               CASE WHEN n.name = aurora.own_node() AND pg_is_in_recovery()
                    THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                    ELSE greatest(p.receive_lsn, s.receive_lsn) END AS receive_lsn,
               CASE WHEN n.name = aurora.own_node() AND pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                    ELSE greatest(p.replay_lsn, s.replay_lsn) END AS replay_lsn
        FROM aurora.node n CROSS JOIN aurora.epoch() e JOIN aurora.seen_from_here() h ON h.node = n.name
        JOIN aurora.node_status s ON s.node = n.name LEFT JOIN aurora.local_peers() p ON p.node = n.name
    ), judged AS (
        SELECT v.*, CASE WHEN v.state = 'down' THEN 'it is down' WHEN v.state = 'maintenance' THEN 'it is in maintenance'
                         WHEN v.state = 'unknown' THEN 'nobody knows how it is' WHEN v.drained_at IS NOT NULL THEN 'it is drained'
                    END AS against
        FROM seen v WHERE v.is_lead IS NOT TRUE
    )
    SELECT row_number() OVER (ORDER BY j.against IS NOT NULL, j.timeline DESC, j.receive_lsn DESC, j.role, j.name),
           j.name, j.role::text, j.state, j.timeline, j.receive_lsn, j.replay_lsn,
           max(j.receive_lsn) OVER () - j.receive_lsn, j.against IS NULL, j.against
    FROM judged j
    ORDER BY 1
$$;
COMMENT ON FUNCTION aurora.promotion_candidates() IS
    'Which standby to promote when the lead is lost, the most advanced first; positions are as recent as this node''s probes. behind_bytes: write-ahead log that it lacks of what the most advanced has. Call it on any standby that still runs.';

-- ---- how everything is ----

CREATE TYPE aurora.component_health AS (component text, state aurora.health_state, reason text);
COMMENT ON TYPE aurora.component_health IS 'How one component is, and why.';

CREATE FUNCTION aurora.health_rank(state aurora.health_state) RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE state WHEN 'up' THEN 0 WHEN 'maintenance' THEN 1 WHEN 'unknown' THEN 2 WHEN 'degraded' THEN 3 ELSE 4 END
$$;
COMMENT ON FUNCTION aurora.health_rank(aurora.health_state) IS 'From best, 0, to worst, 4.';

CREATE FUNCTION aurora.health_agent() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'agent', CASE WHEN a.pid IS NULL OR a.step_seconds_ago > 15 THEN 'down'
                         WHEN a.link NOT IN ('local', 'connected') OR coalesce(a.last_error, a.last_rejection) IS NOT NULL
                              OR a.listening LIKE 'could not%'
                              THEN 'degraded' ELSE 'up' END::aurora.health_state,
           CASE WHEN a.pid IS NULL THEN 'it does not run'
                WHEN a.step_seconds_ago > 15 THEN 'it hangs'
                WHEN coalesce(a.last_error, a.last_rejection) IS NOT NULL THEN coalesce(a.last_error, a.last_rejection)
                WHEN a.link NOT IN ('local', 'connected') THEN 'it has no connection to the lead'
                WHEN a.listening LIKE 'could not%' THEN a.listening END
    FROM aurora.agent_status() a
    UNION ALL
    SELECT 'agent', 'unknown', 'aurora is not in shared_preload_libraries: no agent runs'
    WHERE NOT aurora.library_preloaded()
$$;
COMMENT ON FUNCTION aurora.health_agent() IS 'How this node''s agent is; health() asks.';

CREATE FUNCTION aurora.health_lead() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'lead', CASE WHEN aurora.lead_duty() THEN 'up' ELSE 'degraded' END::aurora.health_state, aurora.lead_duty_reason()
    WHERE NOT pg_is_in_recovery()
    UNION ALL
    SELECT 'lead', coalesce(h.state, 'unknown'), h.reason
    FROM aurora.epoch() e LEFT JOIN aurora.seen_from_here() h ON h.node = e.lead WHERE pg_is_in_recovery()
$$;
COMMENT ON FUNCTION aurora.health_lead() IS 'How the lead is; health() asks.';

CREATE FUNCTION aurora.health_replication() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'replication', CASE WHEN a.cut_off THEN 'down' ELSE 'up' END::aurora.health_state,
           CASE WHEN a.cut_off THEN 'nothing has come from the lead for some time' END
    FROM aurora.agent_status() a WHERE pg_is_in_recovery()
    UNION ALL
    SELECT 'replication', CASE WHEN count(*) FILTER (WHERE r.wal_status IN ('lost', 'unreserved')) > 0 THEN 'degraded' ELSE 'up' END::aurora.health_state,
           string_agg(format('slot %s is %s', r.slot_name, r.wal_status), '; ') FILTER (WHERE r.wal_status IN ('lost', 'unreserved'))
    FROM pg_replication_slots r HAVING NOT pg_is_in_recovery()
$$;
COMMENT ON FUNCTION aurora.health_replication() IS 'How replication is, to this standby or from this lead; health() asks.';

CREATE FUNCTION aurora.health_nodes() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'node ' || h.node, coalesce(h.state, 'unknown'), h.reason FROM aurora.seen_from_here() h
$$;
COMMENT ON FUNCTION aurora.health_nodes() IS 'How each node is; health() asks.';

CREATE FUNCTION aurora.health() RETURNS SETOF aurora.component_health
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part regproc;
    found aurora.component_health[] := '{}';
    more aurora.component_health[];
BEGIN
    FOR part IN SELECT p.oid FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'aurora'
                WHERE p.prorettype = 'aurora.component_health'::regtype AND p.proname LIKE 'health\_%' AND p.pronargs = 0
                ORDER BY p.proname LOOP
        BEGIN
            EXECUTE format('SELECT array_agg(h) FROM %s() h', part) INTO more;
        EXCEPTION WHEN OTHERS THEN
            more := ARRAY[ROW(replace(part::text, 'aurora.health_', ''), 'unknown', SQLERRM)::aurora.component_health];
        END;
        found := found || coalesce(more, '{}');
    END LOOP;
    -- One node, service or API that is down leaves the whole degraded; the names of these have a space.
    RETURN QUERY SELECT 'verdict', s.state, nullif(concat_ws(', ', VARIADIC ARRAY(
            SELECT format('%s is %s', g.component, g.state) FROM unnest(found) g
            WHERE g.state <> 'up' ORDER BY aurora.health_rank(g.state) DESC, g.component LIMIT 5)), '')
        FROM unnest(found) f CROSS JOIN LATERAL (
            SELECT CASE WHEN f.state = 'down' AND f.component LIKE '% %' THEN 'degraded' ELSE f.state END AS state) s
        ORDER BY aurora.health_rank(s.state) DESC LIMIT 1;
    RETURN QUERY SELECT f.* FROM unnest(found) f ORDER BY f.component;
END
$$;
COMMENT ON FUNCTION aurora.health() IS
    'How everything is, as this node sees it: first the verdict, which is the worst state of all (where one node, service or API that is down counts as degraded) with what is not up, then a row for each component. Asks every function health_*() of the extension.';
