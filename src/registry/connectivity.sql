-- Connectivity: how the APIs of others answer, shared between all nodes.

CREATE TABLE aurora.api (
    api text COLLATE "C" PRIMARY KEY,
    url text COLLATE "C",
    expect_status int NOT NULL DEFAULT 0,
    check_interval interval NOT NULL DEFAULT '30 seconds',
    timeout interval NOT NULL DEFAULT '5 seconds',
    verdict aurora.api_state,
    verdict_since timestamptz,
    CONSTRAINT api_api_check CHECK (api ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT api_url_check CHECK (url ~ '^https?://[^\s/@]+(/\S*)?$' AND octet_length(url) < 500),
    CONSTRAINT api_expect_status_check CHECK (expect_status = 0 OR expect_status BETWEEN 100 AND 599),
    CONSTRAINT api_check_interval_check CHECK (check_interval BETWEEN '1 second' AND '1 day'),
    CONSTRAINT api_timeout_check CHECK (timeout BETWEEN '10 milliseconds' AND '1 minute')
);
COMMENT ON TABLE aurora.api IS 'APIs that somebody reports on or that agents probe, with the verdict of the whole mesh.';
COMMENT ON COLUMN aurora.api.api IS 'Name of the API, a DNS label.';
COMMENT ON COLUMN aurora.api.url IS 'What every agent requests; null when only programs report.';
COMMENT ON COLUMN aurora.api.expect_status IS 'HTTP status wanted; 0 for any below 500, which tells that the API is there.';
COMMENT ON COLUMN aurora.api.check_interval IS 'Time between two requests of one agent.';
COMMENT ON COLUMN aurora.api.timeout IS 'How long a request may take; slower than half of it is degraded.';
COMMENT ON COLUMN aurora.api.verdict IS 'How it is for the mesh: healthy where most nodes find it so, down where none finds it otherwise.';
COMMENT ON COLUMN aurora.api.verdict_since IS 'Since when.';

CREATE TABLE aurora.api_status (
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    api text COLLATE "C" NOT NULL REFERENCES aurora.api ON UPDATE CASCADE ON DELETE CASCADE,
    status aurora.api_state NOT NULL,
    latency_ms real,
    detail text,
    reported_by text COLLATE "C",
    reported_at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (node, api),
    CONSTRAINT api_status_detail_check CHECK (length(detail) <= 500)
) WITH (fillfactor = 50);
COMMENT ON TABLE aurora.api_status IS 'How each API answers on each node, by the last report.';
COMMENT ON COLUMN aurora.api_status.node IS 'The node.';
COMMENT ON COLUMN aurora.api_status.api IS 'The API.';
COMMENT ON COLUMN aurora.api_status.status IS 'How it answers there.';
COMMENT ON COLUMN aurora.api_status.latency_ms IS 'How long it took.';
COMMENT ON COLUMN aurora.api_status.detail IS 'What is wrong.';
COMMENT ON COLUMN aurora.api_status.reported_by IS 'The role that reported; agent for the node''s own agent.';
COMMENT ON COLUMN aurora.api_status.reported_at IS 'When it was reported.';
COMMENT ON COLUMN aurora.api_status.since IS 'Since when it has been so.';

SELECT pg_catalog.pg_extension_config_dump('aurora.api', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.api_status', '');

CREATE FUNCTION aurora.watch_api(api text, url text, expect_status int DEFAULT 0, check_interval interval DEFAULT '30 seconds',
                                 timeout interval DEFAULT '5 seconds') RETURNS aurora.api
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.api;
BEGIN
    PERFORM aurora.require_operator();
    PERFORM aurora.require_label(api);
    IF url IS NULL OR url !~ '^https?://[^\s/@]+(/\S*)?$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" is not a URL that an agent could request', url),
            HINT = 'It begins with http:// or https:// and names no user.';
    END IF;
    INSERT INTO aurora.api AS a (api, url, expect_status, check_interval, timeout)
        VALUES (api, url, expect_status, check_interval, timeout)
        ON CONFLICT ON CONSTRAINT api_pkey DO UPDATE SET url = excluded.url, expect_status = excluded.expect_status,
            check_interval = excluded.check_interval, timeout = excluded.timeout
        RETURNING a.* INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.watch_api(text, text, int, interval, interval) IS
    'Has the agent of every node request a URL now and then, and share how it answers. expect_status 0: any below 500. For operators. Errors: 22023, 23514 a number out of range.';

CREATE FUNCTION aurora.unwatch_api(api text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_operator();
    DELETE FROM aurora.api a WHERE a.api = unwatch_api.api;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no API "%s"', api), HINT = 'See aurora.connectivity.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.unwatch_api(text) IS 'Forgets an API and all reports on it. For operators.';

CREATE FUNCTION aurora.judge_api(of_api text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found aurora.api_state;
BEGIN
    PERFORM FROM aurora.api a WHERE a.api = of_api FOR UPDATE;
    SELECT CASE WHEN count(*) FILTER (WHERE s.status = 'healthy') * 2 > count(*) THEN 'healthy'
                WHEN count(*) FILTER (WHERE s.status <> 'down') = 0 THEN 'down' ELSE 'degraded' END::aurora.api_state
        INTO found FROM aurora.api_status s
        WHERE s.api = of_api AND s.reported_at > clock_timestamp() - interval '10 minutes'
        HAVING count(*) > 0;
    IF found IS NULL THEN
        RETURN;
    END IF;
    UPDATE aurora.api a SET verdict = found, verdict_since = clock_timestamp()
        WHERE a.api = of_api AND a.verdict IS DISTINCT FROM found;
END
$$;
COMMENT ON FUNCTION aurora.judge_api(text) IS 'Brings an API''s verdict up to date with the reports of the last ten minutes; without any it stays.';

CREATE FUNCTION aurora.receive_connectivity(node text, body jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := aurora.age_of_message(body, 'age_us');
BEGIN
    IF body->>'reported_by' = 'agent' AND NOT EXISTS (SELECT FROM aurora.api a WHERE a.api = body->>'api') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM aurora.api a WHERE a.api = body->>'api') THEN
        IF (SELECT count(*) FROM aurora.api) >= 500 THEN
            RAISE program_limit_exceeded USING
                MESSAGE = 'there are reports on 500 APIs already', HINT = 'Forget some with aurora.unwatch_api().';
        END IF;
        INSERT INTO aurora.api (api) VALUES (body->>'api') ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO aurora.api_status AS s (node, api, status, latency_ms, detail, reported_by, reported_at, since)
        VALUES (node, body->>'api', (body->>'status')::aurora.api_state,
                coalesce((body->>'latency_ms')::real, nullif((body->>'latency_us')::double precision, -1) / 1e3),
                nullif(body->>'detail', ''), body->>'reported_by', at, at)
        ON CONFLICT ON CONSTRAINT api_status_pkey DO UPDATE SET
            status = excluded.status, latency_ms = excluded.latency_ms, detail = excluded.detail,
            reported_by = excluded.reported_by, reported_at = excluded.reported_at,
            since = CASE WHEN s.status = excluded.status THEN s.since ELSE excluded.since END
            WHERE s.reported_at <= excluded.reported_at OR s.reported_at > clock_timestamp();
    PERFORM aurora.judge_api(body->>'api');
END
$$;
COMMENT ON FUNCTION aurora.receive_connectivity(text, jsonb) IS
    'Takes how an API answers on a node: {api, status, latency_ms or latency_us, detail, reported_by, age_us}. An older report than the last is left out.';

CREATE FUNCTION aurora.report_connectivity(api text, status text, latency_ms double precision DEFAULT NULL,
                                           detail text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    body jsonb;
    of_node text := coalesce(aurora.assumed_node(), aurora.own_node());
BEGIN
    PERFORM aurora.require_label(api);
    IF status IS NULL OR status <> ALL (enum_range(NULL::aurora.api_state)::text[]) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no API status "%s"', status),
            HINT = 'Statuses: ' || array_to_string(enum_range(NULL::aurora.api_state), ', ') || '.';
    ELSIF latency_ms < 0 OR latency_ms > 86400000 OR latency_ms = 'NaN' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a latency lies between 0 and a day', HINT = 'It is in milliseconds.';
    END IF;
    body := jsonb_build_object('api', api, 'status', status, 'latency_ms', latency_ms,
                               'detail', left(detail, 200), 'reported_by', CASE WHEN aurora.is_assuming() THEN coalesce(aurora.current_owner(), of_node) ELSE aurora.caller() END);
    IF pg_is_in_recovery() THEN
        IF of_node <> aurora.own_node() THEN
            PERFORM aurora.require_lead();
        END IF;
        IF NOT aurora.hand_to_agent('connectivity', api, body) THEN
            RAISE WARNING 'the report had no room, since the lead is away; it was counted as dropped';
        END IF;
    ELSE
        IF NOT EXISTS (SELECT FROM aurora.node n WHERE n.name = of_node) THEN
            INSERT INTO aurora.node (name) VALUES (of_node) ON CONFLICT DO NOTHING;
        END IF;
        PERFORM aurora.receive_connectivity(of_node, body);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.report_connectivity(text, text, double precision, text) IS
    'Tells the mesh how an API answers on this node: status healthy, degraded or down; latency in milliseconds. On a standby the node''s agent takes it to the lead, the last report for each API. With the key of a node it is about that node, and on a standby of another name it goes to the lead (25006). Errors: 22023; 54000 there are 500 APIs already; 55000 on a standby without the preloaded library.';

CREATE VIEW aurora.connectivity WITH (security_invoker = true) AS
    SELECT r.node, r.api, r.status, r.latency_ms, r.detail, r.reported_by, r.reported_at, r.since, a.verdict, a.verdict_since
    FROM (
        SELECT DISTINCT ON (u.node, u.api) u.* FROM (
            SELECT s.node, s.api, s.status, s.latency_ms, s.detail, s.reported_by, s.reported_at, s.since FROM aurora.api_status s
            UNION ALL
            SELECT aurora.own_node(), l.body->>'api', (l.body->>'status')::aurora.api_state, (l.body->>'latency_ms')::real,
                   l.body->>'detail', l.body->>'reported_by', clock_timestamp() - make_interval(secs => l.reported_seconds_ago), NULL
            FROM aurora.local_reports() l WHERE l.kind = 'connectivity' AND pg_is_in_recovery()
            UNION ALL
            SELECT aurora.own_node(), v.service, CASE v.state WHEN 'up' THEN 'healthy' WHEN 'down' THEN 'down' ELSE 'degraded' END::aurora.api_state,
                   v.latency_ms::real, v.detail, 'agent', clock_timestamp() - make_interval(secs => v.checked_seconds_ago),
                   clock_timestamp() - make_interval(secs => v.since_seconds_ago)
            FROM aurora.local_services() v WHERE v.is_api AND v.state <> 'unknown' AND pg_is_in_recovery()
        ) u ORDER BY u.node, u.api, u.reported_at DESC) r
    LEFT JOIN aurora.api a ON a.api = r.api;
COMMENT ON VIEW aurora.connectivity IS 'How each API answers on each node, and for the mesh. What this node knows itself is in it before the lead has it.';
COMMENT ON COLUMN aurora.connectivity.node IS 'The node.';
COMMENT ON COLUMN aurora.connectivity.api IS 'The API.';
COMMENT ON COLUMN aurora.connectivity.status IS 'How it answers on this node.';
COMMENT ON COLUMN aurora.connectivity.latency_ms IS 'How long it took.';
COMMENT ON COLUMN aurora.connectivity.detail IS 'What is wrong.';
COMMENT ON COLUMN aurora.connectivity.reported_by IS 'The role that reported; agent for the node''s own agent.';
COMMENT ON COLUMN aurora.connectivity.reported_at IS 'When.';
COMMENT ON COLUMN aurora.connectivity.since IS 'Since when it has been so there; null for what the lead has not seen yet.';
COMMENT ON COLUMN aurora.connectivity.verdict IS 'How it is for the mesh, by the reports of ten minutes.';
COMMENT ON COLUMN aurora.connectivity.verdict_since IS 'Since when.';

CREATE FUNCTION aurora.health_apis() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'api ' || c.api, CASE WHEN max(c.reported_at) < now() - interval '10 minutes' THEN 'unknown'
                                 WHEN bool_and(c.verdict = 'healthy') THEN 'up'
                                 WHEN bool_and(c.verdict = 'down') THEN 'down' ELSE 'degraded' END::aurora.health_state,
           max(c.detail) FILTER (WHERE c.status <> 'healthy')
    FROM aurora.connectivity c GROUP BY c.api
$$;
COMMENT ON FUNCTION aurora.health_apis() IS 'How each API is for the mesh; health() asks.';

-- ---- what agents check ----

CREATE FUNCTION aurora.agent_checks(of_node text) RETURNS TABLE (name text, is_api int, kind int, target text, expect_status int,
        interval_ms int, timeout_ms int, fail_threshold int, ok_threshold int, recover int)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.service, 0, array_position(enum_range(NULL::aurora.service_kind), s.kind) - 1, s.target, s.expect_status,
           (extract(epoch FROM s.check_interval) * 1000)::int, (extract(epoch FROM s.timeout) * 1000)::int,
           s.fail_threshold, s.ok_threshold, s.recover::int
    FROM aurora.node_service s WHERE s.node = of_node
    UNION ALL
    SELECT a.api, 1, array_position(enum_range(NULL::aurora.service_kind), 'http') - 1, a.url, a.expect_status,
           (extract(epoch FROM a.check_interval) * 1000)::int, (extract(epoch FROM a.timeout) * 1000)::int, 3, 2, 0
    FROM aurora.api a WHERE a.url IS NOT NULL
    ORDER BY 2, 1
$$;
COMMENT ON FUNCTION aurora.agent_checks(text) IS 'What a node''s agent checks: its services, then the watched APIs. kind is the place in service_kind, from 0.';
