-- Services of a node: what is checked, how it is, and what was done about it.

CREATE TABLE aurora.node_service (
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    service text COLLATE "C" NOT NULL,
    kind aurora.service_kind NOT NULL,
    target text COLLATE "C" NOT NULL,
    expect_status int NOT NULL DEFAULT 200,
    check_interval interval NOT NULL DEFAULT '10 seconds',
    timeout interval NOT NULL DEFAULT '3 seconds',
    fail_threshold int NOT NULL DEFAULT 3,
    ok_threshold int NOT NULL DEFAULT 2,
    recover boolean NOT NULL DEFAULT false,
    PRIMARY KEY (node, service),
    CONSTRAINT node_service_service_check CHECK (service ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT node_service_target_check CHECK (octet_length(target) < 500),
    CONSTRAINT node_service_expect_status_check CHECK (expect_status = 0 OR expect_status BETWEEN 100 AND 599),
    CONSTRAINT node_service_check_interval_check CHECK (check_interval BETWEEN '200 milliseconds' AND '1 day'),
    CONSTRAINT node_service_timeout_check CHECK (timeout BETWEEN '10 milliseconds' AND '1 minute'),
    CONSTRAINT node_service_fail_threshold_check CHECK (fail_threshold BETWEEN 1 AND 100),
    CONSTRAINT node_service_ok_threshold_check CHECK (ok_threshold BETWEEN 1 AND 100),
    CONSTRAINT node_service_recover_check CHECK (NOT (recover AND kind = 'postgres'))
);
COMMENT ON TABLE aurora.node_service IS 'The services that each node''s agent checks. Change them with add_service() and remove_service().';
COMMENT ON COLUMN aurora.node_service.node IS 'The node whose agent checks it.';
COMMENT ON COLUMN aurora.node_service.service IS 'Name of the service, a DNS label; also the argument of the node''s own commands.';
COMMENT ON COLUMN aurora.node_service.kind IS 'How it is checked.';
COMMENT ON COLUMN aurora.node_service.target IS 'tcp: host:port; http: URL; postgres: conninfo with an address and without a password; systemd: unit; command: empty, the node''s aurora.check_command gets the service''s name.';
COMMENT ON COLUMN aurora.node_service.expect_status IS 'http: the status wanted; 0 for any below 500.';
COMMENT ON COLUMN aurora.node_service.check_interval IS 'Time between two checks.';
COMMENT ON COLUMN aurora.node_service.timeout IS 'How long a check may take.';
COMMENT ON COLUMN aurora.node_service.fail_threshold IS 'Failures in a row after which it is down.';
COMMENT ON COLUMN aurora.node_service.ok_threshold IS 'Successes in a row after which it is no longer down.';
COMMENT ON COLUMN aurora.node_service.recover IS 'Is the node''s aurora.recovery_command run when it is down.';

CREATE TABLE aurora.node_service_status (
    node text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    state aurora.health_state NOT NULL,
    since timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    latency_ms real,
    detail text,
    PRIMARY KEY (node, service),
    CONSTRAINT node_service_status_detail_check CHECK (length(detail) <= 500),
    FOREIGN KEY (node, service) REFERENCES aurora.node_service ON UPDATE CASCADE ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE aurora.node_service_status IS 'How each service was when its node last said so.';
COMMENT ON COLUMN aurora.node_service_status.node IS 'The node.';
COMMENT ON COLUMN aurora.node_service_status.service IS 'The service.';
COMMENT ON COLUMN aurora.node_service_status.state IS 'How it is.';
COMMENT ON COLUMN aurora.node_service_status.since IS 'Since when.';
COMMENT ON COLUMN aurora.node_service_status.checked_at IS 'When it was last checked.';
COMMENT ON COLUMN aurora.node_service_status.latency_ms IS 'How long the last check took.';
COMMENT ON COLUMN aurora.node_service_status.detail IS 'Why the last check failed.';

CREATE TABLE aurora.service_hour (
    node text COLLATE "C" NOT NULL,
    service text COLLATE "C" NOT NULL,
    hour timestamptz NOT NULL,
    checks bigint NOT NULL,
    failures bigint NOT NULL,
    latency_sum_ms double precision NOT NULL,
    latency_max_ms double precision NOT NULL,
    PRIMARY KEY (node, service, hour),
    CONSTRAINT service_hour_range_check CHECK (checks BETWEEN 0 AND 1e9 AND failures BETWEEN 0 AND checks
        AND latency_sum_ms BETWEEN 0 AND 1e12 AND latency_max_ms BETWEEN 0 AND 1e12),
    FOREIGN KEY (node, service) REFERENCES aurora.node_service ON UPDATE CASCADE ON DELETE CASCADE
) WITH (fillfactor = 70);
COMMENT ON TABLE aurora.service_hour IS 'The checks of each service by the hour. Kept for 90 days.';
COMMENT ON COLUMN aurora.service_hour.node IS 'The node.';
COMMENT ON COLUMN aurora.service_hour.service IS 'The service.';
COMMENT ON COLUMN aurora.service_hour.hour IS 'Beginning of the hour.';
COMMENT ON COLUMN aurora.service_hour.checks IS 'Checks made.';
COMMENT ON COLUMN aurora.service_hour.failures IS 'Checks that failed.';
COMMENT ON COLUMN aurora.service_hour.latency_sum_ms IS 'Time that all of them took.';
COMMENT ON COLUMN aurora.service_hour.latency_max_ms IS 'Time that the longest took.';

CREATE TABLE aurora.recovery (
    node text COLLATE "C" NOT NULL REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    at timestamptz NOT NULL,
    service text COLLATE "C" NOT NULL,
    attempt int NOT NULL,
    exit_status int NOT NULL,
    timed_out boolean NOT NULL,
    duration_ms double precision NOT NULL,
    output text,
    PRIMARY KEY (node, at, service),
    CONSTRAINT recovery_output_check CHECK (length(output) <= 4000)
);
COMMENT ON TABLE aurora.recovery IS 'Each run of a node''s recovery command. Kept for 90 days.';
COMMENT ON COLUMN aurora.recovery.node IS 'The node.';
COMMENT ON COLUMN aurora.recovery.at IS 'When the command was started.';
COMMENT ON COLUMN aurora.recovery.service IS 'The service that was down.';
COMMENT ON COLUMN aurora.recovery.attempt IS 'Which attempt it was since the service was last up for ten minutes.';
COMMENT ON COLUMN aurora.recovery.exit_status IS 'The command''s exit status; 128 and the signal when it was killed; 127 when it could not be run.';
COMMENT ON COLUMN aurora.recovery.timed_out IS 'Was it killed because it took over two minutes.';
COMMENT ON COLUMN aurora.recovery.duration_ms IS 'How long it ran.';
COMMENT ON COLUMN aurora.recovery.output IS 'The end of what it printed.';

SELECT pg_catalog.pg_extension_config_dump('aurora.node_service', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.node_service_status', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.service_hour', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.recovery', '');

-- ---- adding and removing ----

CREATE FUNCTION aurora.check_target_error(kind aurora.service_kind, target text) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE kind
        WHEN 'tcp' THEN CASE WHEN target !~ '^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$'
                              OR substring(target FROM '[0-9]+$')::int NOT BETWEEN 1 AND 65535 THEN 'host:port is wanted' END
        WHEN 'http' THEN CASE WHEN target !~ '^https?://[^\s/@]+(/\S*)?$' THEN 'a URL that begins with http:// or https://, without a user, is wanted' END
        WHEN 'systemd' THEN CASE WHEN target !~ '^[A-Za-z0-9:_.@\\-]{1,250}$' THEN 'the name of a unit is wanted' END
        WHEN 'postgres' THEN CASE WHEN target !~ '^\s*((host=(/[^\s,''\\]*|[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*)|(hostaddr|port|dbname|user|sslmode)=[^\s''\\]*)(\s+|$))+$'
                                  THEN 'a conninfo of host, hostaddr, port, dbname, user and sslmode is wanted, the host an address or the folder of a socket; a Postgres that asks for a password is up' END
        ELSE CASE WHEN target <> '' THEN 'none is wanted: the node''s aurora.check_command gets the name of the service' END END
$$;
COMMENT ON FUNCTION aurora.check_target_error(aurora.service_kind, text) IS 'What is wrong with the target of a check; null when nothing is.';

CREATE FUNCTION aurora.add_service(node text, service text, kind text, target text DEFAULT '', expect_status int DEFAULT 200,
                                   check_interval interval DEFAULT '10 seconds', timeout interval DEFAULT '3 seconds',
                                   fail_threshold int DEFAULT 3, ok_threshold int DEFAULT 2, recover boolean DEFAULT false)
    RETURNS aurora.node_service
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.node_service;
    wrong text;
BEGIN
    PERFORM aurora.require_operator();
    PERFORM aurora.require_node(node);
    PERFORM aurora.require_label(service);
    IF kind IS NULL OR kind <> ALL (enum_range(NULL::aurora.service_kind)::text[]) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no kind of check "%s"', kind),
            HINT = 'Kinds: ' || array_to_string(enum_range(NULL::aurora.service_kind), ', ') || '.';
    END IF;
    wrong := aurora.check_target_error(kind::aurora.service_kind, coalesce(target, ''));
    IF wrong IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" is not a target for a check of kind %s', target, kind), HINT = 'For it ' || wrong || '.';
    ELSIF recover AND (kind = 'postgres' OR service ~ '^(postgres|postgresql)$' OR kind = 'systemd' AND target ~ '^postgresql(@|\.|$)') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'Postgres is not recovered by a command that runs inside it',
            HINT = 'Leave that to systemd (Restart=on-failure) or Patroni.';
    END IF;
    INSERT INTO aurora.node_service AS s VALUES (node, service, kind::aurora.service_kind, coalesce(target, ''), expect_status,
            check_interval, timeout, fail_threshold, ok_threshold, recover)
        ON CONFLICT ON CONSTRAINT node_service_pkey DO UPDATE SET
            kind = excluded.kind, target = excluded.target, expect_status = excluded.expect_status,
            check_interval = excluded.check_interval, timeout = excluded.timeout, fail_threshold = excluded.fail_threshold,
            ok_threshold = excluded.ok_threshold, recover = excluded.recover
        RETURNING s.* INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.add_service(text, text, text, text, int, interval, interval, int, int, boolean) IS
    'Has a node''s agent check a service, or changes how. kind and target: tcp host:port, http URL (expect_status; 0 for any below 500; redirects are not followed), postgres conninfo, systemd unit, command (none: the node''s own aurora.check_command). Down after fail_threshold failures in a row, up again after ok_threshold successes. recover: run the node''s aurora.recovery_command when it is down. For operators. Errors: 22023, 23514 a number out of range.';

CREATE FUNCTION aurora.remove_service(node text, service text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_operator();
    DELETE FROM aurora.node_service s WHERE s.node = remove_service.node AND s.service = remove_service.service;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('node "%s" has no service "%s"', node, service),
            HINT = 'See aurora.node_services.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.remove_service(text, text) IS 'Ends the checks of a service and forgets its history. For operators.';

-- ---- what agents say ----

CREATE FUNCTION aurora.receive_service(node text, body jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checked timestamptz := aurora.age_of_message(body, 'age_us');
BEGIN
    IF NOT EXISTS (SELECT FROM aurora.node_service s WHERE s.node = receive_service.node AND s.service = body->>'service') THEN
        RETURN;
    END IF;
    INSERT INTO aurora.node_service_status AS s (node, service, state, since, checked_at, latency_ms, detail)
        VALUES (node, body->>'service', (body->>'state')::aurora.health_state, aurora.age_of_message(body, 'since_age_us'), checked,
                nullif((body->>'latency_us')::double precision, -1) / 1e3, nullif(body->>'detail', ''))
        ON CONFLICT ON CONSTRAINT node_service_status_pkey DO UPDATE SET
            state = excluded.state, since = CASE WHEN s.state = excluded.state THEN s.since ELSE excluded.since END,
            checked_at = excluded.checked_at, latency_ms = excluded.latency_ms, detail = excluded.detail;
    INSERT INTO aurora.service_hour AS h (node, service, hour, checks, failures, latency_sum_ms, latency_max_ms)
        VALUES (node, body->>'service', date_trunc('hour', checked, 'UTC'), (body->>'checks')::bigint, (body->>'failures')::bigint,
                (body->>'latency_sum_us')::double precision / 1e3, (body->>'latency_max_us')::double precision / 1e3)
        ON CONFLICT ON CONSTRAINT service_hour_pkey DO UPDATE SET
            checks = h.checks + excluded.checks, failures = h.failures + excluded.failures,
            latency_sum_ms = h.latency_sum_ms + excluded.latency_sum_ms,
            latency_max_ms = greatest(h.latency_max_ms, excluded.latency_max_ms);
END
$$;
COMMENT ON FUNCTION aurora.receive_service(text, jsonb) IS
    'Takes how a service is and the checks since the last message: {service, state, since_age_us, age_us, latency_us, checks, failures, latency_sum_us, latency_max_us, detail}.';

CREATE FUNCTION aurora.receive_recovery(node text, body jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO aurora.recovery (node, at, service, attempt, exit_status, timed_out, duration_ms, output)
        VALUES (node, aurora.age_of_message(body, 'age_us'), body->>'service', (body->>'attempt')::int, (body->>'exit_status')::int,
                body->>'timed_out' = '1', (body->>'duration_us')::double precision / 1e3, nullif(body->>'output', ''))
        ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION aurora.receive_recovery(text, jsonb) IS
    'Takes a run of a node''s recovery command: {service, attempt, exit_status, timed_out, age_us, duration_us, output}.';

-- ---- views ----

CREATE VIEW aurora.node_services WITH (security_invoker = true) AS
    SELECT s.node, s.service, s.kind, s.target,
           coalesce(l.state::aurora.health_state, CASE WHEN h.state IN ('down', 'unknown') THEN 'unknown' ELSE t.state END, 'unknown') AS state,
           CASE WHEN l.service IS NOT NULL THEN clock_timestamp() - make_interval(secs => l.since_seconds_ago) ELSE t.since END AS since,
           CASE WHEN l.service IS NOT NULL THEN clock_timestamp() - make_interval(secs => l.checked_seconds_ago) ELSE t.checked_at END AS last_check,
           coalesce(l.latency_ms::real, t.latency_ms) AS latency_ms,
           CASE WHEN l.service IS NOT NULL THEN l.detail ELSE t.detail END AS detail,
           coalesce(d.checks, 0) AS checks_24h, coalesce(d.failures, 0) AS failures_24h,
           round(100 * (1 - d.failures / nullif(d.checks, 0)), 3) AS availability_24h,
           (d.latency_sum_ms / nullif(d.checks, 0))::real AS mean_latency_ms, s.recover
    FROM aurora.node_service s
    JOIN aurora.seen_from_here() h ON h.node = s.node
    LEFT JOIN aurora.node_service_status t ON t.node = s.node AND t.service = s.service
    LEFT JOIN aurora.local_services() l ON s.node = aurora.own_node() AND NOT l.is_api AND l.service = s.service
    LEFT JOIN (SELECT r.node, r.service, sum(r.checks) AS checks, sum(r.failures) AS failures, sum(r.latency_sum_ms) AS latency_sum_ms
               FROM aurora.service_hour r WHERE r.hour > now() - interval '24 hours' GROUP BY r.node, r.service) d
        ON d.node = s.node AND d.service = s.service;
COMMENT ON VIEW aurora.node_services IS 'The services of all nodes and how they are; those of this node as its own agent sees them. unknown where the node is down.';
COMMENT ON COLUMN aurora.node_services.node IS 'The node.';
COMMENT ON COLUMN aurora.node_services.service IS 'The service.';
COMMENT ON COLUMN aurora.node_services.kind IS 'How it is checked.';
COMMENT ON COLUMN aurora.node_services.target IS 'What is checked.';
COMMENT ON COLUMN aurora.node_services.state IS 'How it is. degraded: 5 of the last 20 checks failed.';
COMMENT ON COLUMN aurora.node_services.since IS 'Since when.';
COMMENT ON COLUMN aurora.node_services.last_check IS 'When it was last checked.';
COMMENT ON COLUMN aurora.node_services.latency_ms IS 'How long the last check took.';
COMMENT ON COLUMN aurora.node_services.detail IS 'Why the last check failed.';
COMMENT ON COLUMN aurora.node_services.checks_24h IS 'Checks in the last 24 hours.';
COMMENT ON COLUMN aurora.node_services.failures_24h IS 'Those of them that failed.';
COMMENT ON COLUMN aurora.node_services.availability_24h IS 'Percent of them that did not fail.';
COMMENT ON COLUMN aurora.node_services.mean_latency_ms IS 'Mean time of a check in the last 24 hours.';
COMMENT ON COLUMN aurora.node_services.recover IS 'Is it recovered when it is down.';

CREATE VIEW aurora.recoveries WITH (security_invoker = true) AS
    SELECT r.node, r.service, r.at, r.attempt, r.exit_status, r.timed_out, r.duration_ms, r.output FROM aurora.recovery r;
COMMENT ON VIEW aurora.recoveries IS 'Runs of the nodes'' recovery commands.';
COMMENT ON COLUMN aurora.recoveries.node IS 'The node.';
COMMENT ON COLUMN aurora.recoveries.service IS 'The service that was down.';
COMMENT ON COLUMN aurora.recoveries.at IS 'When the command was started.';
COMMENT ON COLUMN aurora.recoveries.attempt IS 'Which attempt it was.';
COMMENT ON COLUMN aurora.recoveries.exit_status IS 'The command''s exit status.';
COMMENT ON COLUMN aurora.recoveries.timed_out IS 'Was it killed because it took too long.';
COMMENT ON COLUMN aurora.recoveries.duration_ms IS 'How long it ran.';
COMMENT ON COLUMN aurora.recoveries.output IS 'The end of what it printed.';

CREATE FUNCTION aurora.health_services() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('service %s on %s', s.service, s.node), s.state, s.detail FROM aurora.node_services s
$$;
COMMENT ON FUNCTION aurora.health_services() IS 'How each service is; health() asks.';
