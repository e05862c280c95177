\set ECHO none
-- Services and APIs: what is checked, what nodes say about it, and what the mesh makes of that. In a
-- database of its own, where no agent works.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_registry_services;
CREATE DATABASE regress_registry_services;
\connect regress_registry_services
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;

BEGIN;
SELECT plan(165);

CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(hint, ''));
END
$$;
CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;
CREATE FUNCTION pg_temp.seconds_ago(at timestamptz) RETURNS numeric LANGUAGE sql AS $$ SELECT round(extract(epoch FROM clock_timestamp() - at)) $$;
CREATE SEQUENCE pg_temp.batch;
-- A node reports with messages of one kind: "rejected: why".
CREATE FUNCTION pg_temp.say(node text, kind text, VARIADIC bodies jsonb[]) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(': ', r.rejected, r.rejection)
    FROM aurora.report_heartbeat(node, jsonb_build_object('instance', 'first', 'is_lead', 0, 'beat', 0, 'timeline', 1, 'receive_lsn', '0/1', 'replay_lsn', '0/1',
             'wal_receiver', 'streaming', 'version', '1.0', 'postgres_version', '15.1', 'started_age_us', 1, 'agent_port', 9998, 'drops', 0),
         (SELECT jsonb_agg(jsonb_build_object('kind', kind, 'body', body)) FROM unnest(bodies) body), nextval('pg_temp.batch')) r
$$;

CREATE ROLE regress_operator IN ROLE aurora_operator;
CREATE ROLE regress_user IN ROLE aurora_user;
INSERT INTO aurora.node (name) VALUES ('alpha'), ('beta'), ('gamma');
INSERT INTO aurora.node_state (node, state, since) VALUES ('alpha', 'up', now()), ('beta', 'up', now()), ('gamma', 'up', now());

-- ---- adding services ----

SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.add_service('alpha', 'web', 'http', 'http://localhost:8080/health') $$),
          '(alpha,web,http,http://localhost:8080/health,200,00:00:10,00:00:03,3,2,f)', 'a service is checked every ten seconds, is down after three failures and back after two successes');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.add_service('alpha', 'web', 'tcp', 'localhost:8080', 0, '1 minute', '1 s', 5, 1, true) $$),
          '(alpha,web,tcp,localhost:8080,0,00:01:00,00:00:01,5,1,t)', 'unless said otherwise, also later');
SELECT is(aurora.add_service('beta', 'kind-' || array_position(enum_range(NULL::aurora.service_kind), kind::aurora.service_kind), kind, target) IS NOT NULL, true, format('%s is checked at "%s"', kind, target))
    FROM (VALUES ('tcp', 'example.com:5432'), ('tcp', '[::1]:80'), ('tcp', '10.0.0.1:65535'), ('http', 'https://example.com'), ('http', 'http://[::1]:8080/a?b=c@d'),
                 ('postgres', 'host=/run/postgresql dbname=shop'), ('postgres', 'hostaddr=10.0.0.1 port=5433 user=check sslmode=require'), ('postgres', 'host=10.0.0.1 port=5433 user=check'), ('postgres', 'host=2001:db8::1 dbname=shop'), ('postgres', 'port=5433 host=10.0.0.1'),
                 ('systemd', 'postgresql@15-main.service'), ('systemd', 'system-getty\x2dx.slice'), ('command', '')) t (kind, target);
SELECT is((SELECT string_agg(kind::text || ' ' || place, ' ' ORDER BY place) FROM (SELECT s.kind, min(c.kind) AS place FROM aurora.node_service s, aurora.agent_checks('beta') c
           WHERE c.name = s.service AND s.node = 'beta' GROUP BY s.kind) k), 'tcp 0 http 1 postgres 2 systemd 3 command 4', 'kinds are where C has them');
SELECT aurora.add_service('beta', 'disk', 'command', NULL) AS ignored \gset
SELECT is((SELECT target FROM aurora.node_service WHERE service = 'disk'), '', 'a command has no target');

SELECT is(split_part(pg_temp.error_of(format('SELECT aurora.add_service(''alpha'', ''bad'', %L, %L)', kind, target)), ' | For it ', 1),
          format('22023 | "%s" is not a target for a check of kind %s', target, kind), format('%s is not checked at %s', kind, title))
    FROM (VALUES ('tcp', 'example.com', 'a host without a port'), ('tcp', 'example.com:http', 'a port''s name'), ('tcp', 'example.com: 80', 'something with a space'),
                 ('tcp', '', 'nothing'), ('tcp', 'a:b:80', 'an IPv6 address without brackets'), ('tcp', 'example.com:80/x', 'a path'), ('tcp', 'example.com:0', 'port 0'),
                 ('tcp', 'example.com:65536', 'a port past the last'),
                 ('http', 'file:///etc/passwd', 'a file'), ('http', 'gopher://example.com', 'another protocol'), ('http', 'example.com', 'a bare host'),
                 ('http', 'http://', 'no host'), ('http', 'http:///path', 'no host but a path'), ('http', 'http://user:secret@example.com/', 'a URL with a password'),
                 ('http', 'http://user@example.com', 'a URL with a user'), ('http', 'http://example.com/a b', 'a URL with a space'), ('http', E'http://example.com/\nHost: x', 'a URL with a line end'),
                 ('http', ' http://example.com', 'a URL after a space'),
                 ('postgres', 'host=10.0.0.1 password=secret', 'a conninfo with a password'), ('postgres', 'host=::1 password=secret', 'one with an IPv6 address'),
                 ('postgres', 'host=/run password=secret', 'one with a folder'), ('postgres', 'password=secret host=10.0.0.1', 'one that begins with it'),
                 ('postgres', 'postgresql://u:secret@h/db', 'a URL'), ('postgres', 'host=10.0.0.1 passfile=/etc/shadow', 'another file of passwords'),
                 ('postgres', 'host=10.0.0.1 service=x', 'a service file'), ('postgres', 'host=10.0.0.1 options=-cx=y', 'options'), ('postgres', 'host=''/a b''', 'quotes'), ('postgres', '', 'nothing'),
                 ('postgres', 'host=example.com', 'a name to resolve'), ('postgres', 'host=10.0.0.1,example.com', 'one after an address'), ('postgres', 'host=/run,example.com', 'one after a folder'),
                 ('postgres', 'host=cafe', 'one that could be hexadecimal'), ('postgres', 'host=10.0.0.1 host=example.com', 'one given later'),
                 ('systemd', '../../etc/passwd', 'a path'), ('systemd', 'a/b.service', 'a unit with a slash'), ('systemd', 'a b.service', 'a unit with a space'), ('systemd', 'a;reboot', 'a unit with a semicolon'),
                 ('systemd', '', 'nothing'), ('command', '/bin/sh', 'a program of the registry''s choice')) t (kind, target, title);
SELECT alike(pg_temp.error_of($$ SELECT aurora.add_service('alpha', 'bad', 'http', 'ftp://x') $$),
             '% | For it a URL that begins with http:// or https://, without a user, is wanted.', 'the hint tells what is wanted');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_service('alpha', 'bad', 'icmp', 'x') $$),
          '22023 | there is no kind of check "icmp" | Kinds: tcp, http, postgres, systemd, command.', 'an unknown kind is an error whose hint lists them');
SELECT alike(pg_temp.error_of($$ SELECT aurora.add_service('alpha', 'bad', NULL) $$), '22023 |%', 'null is no kind');
SELECT alike(pg_temp.error_of(format('SELECT aurora.add_service(''alpha'', %L, ''tcp'', ''a:1'')', name)), '22023 | "%" is not a name for a node or a service | %', format('"%s" is no name for a service', name))
    FROM unnest(ARRAY['Web', '-web', '', 'a/b', '../x', 'a b']) name;
SELECT alike(pg_temp.error_of($$ SELECT aurora.add_service('omega', 'web', 'tcp', 'a:1') $$), '22023 | there is no node "omega" |%', 'nor does an unknown node have one');
SELECT throws_ok(format('SELECT aurora.add_service(''alpha'', ''bad'', ''http'', ''http://x'', %s)', numbers), '23514', NULL, title || ' is out of range')
    FROM (VALUES ('expect_status => 99', 'status 99'), ('expect_status => 600', 'status 600'), ('check_interval => ''0''', 'an interval of 0'),
                 ('check_interval => ''-1 s''', 'a negative interval'), ('check_interval => ''25 hours''', 'one of 25 hours'), ('timeout => ''0''', 'a timeout of 0'),
                 ('timeout => ''61 s''', 'one of over a minute'), ('fail_threshold => 0', 'a threshold of 0'), ('fail_threshold => 101', 'a threshold of 101'),
                 ('ok_threshold => 0', 'no success'), ('ok_threshold => -1', 'less than none')) n (numbers, title);
SELECT throws_ok(format('SELECT aurora.add_service(''alpha'', ''bad'', ''http'', ''http://x/%s'')', repeat('a', 500)), '23514', NULL, 'a target has less than 500 bytes');
SELECT throws_ok(format('SELECT aurora.add_service(''alpha'', ''bad'', ''http'', ''http://x/%s'')', repeat('ü', 300)), '23514', NULL, 'bytes, not characters, since agents have room for so many');
SELECT is(pg_temp.error_of(format('SELECT aurora.add_service(''alpha'', %L, %L, %L, recover => true)', service, kind, target)),
          '22023 | Postgres is not recovered by a command that runs inside it | Leave that to systemd (Restart=on-failure) or Patroni.', format('%s of kind %s is not recovered', service, kind))
    FROM (VALUES ('shop', 'postgres', 'host=10.0.0.1'), ('shop', 'systemd', 'postgresql.service'), ('shop', 'systemd', 'postgresql@15-main.service'), ('shop', 'systemd', 'postgresql'),
                 ('postgres', 'tcp', 'localhost:5432'), ('postgresql', 'tcp', 'localhost:5432')) s (service, kind, target);
SELECT lives_ok($$ SELECT aurora.add_service('alpha', 'postgres-exporter', 'systemd', 'postgres-exporter.service', recover => true), aurora.remove_service('alpha', 'postgres-exporter') $$,
                'what is only named like it is');
SELECT is_empty($$ SELECT FROM aurora.node_service WHERE service = 'bad' $$, 'what failed has added nothing');
SET LOCAL ROLE regress_user;
SELECT throws_ok($$ SELECT aurora.add_service('alpha', 'mine', 'tcp', 'a:1') $$, '42501', NULL, 'users add no services');
SELECT throws_ok($$ SELECT aurora.remove_service('alpha', 'web') $$, '42501', NULL, 'and remove none');
SELECT throws_ok($$ SELECT aurora.watch_api('stripe', 'https://example.com') $$, '42501', NULL, 'have no API watched');
SELECT throws_ok($$ SELECT aurora.unwatch_api('stripe') $$, '42501', NULL, 'nor forgotten');
SET LOCAL ROLE regress_operator;
SELECT lives_ok($$ SELECT aurora.add_service('gamma', 'ours', 'tcp', 'a:1'), aurora.remove_service('gamma', 'ours'),
                          aurora.watch_api('ours', 'https://example.com'), aurora.unwatch_api('ours') $$, 'operators do all that');
RESET ROLE;
SELECT is(pg_temp.error_of($$ SELECT aurora.remove_service('alpha', 'none') $$), '22023 | node "alpha" has no service "none" | See aurora.node_services.', 'what is not there is not removed');

-- ---- what nodes say of services ----

SELECT is(pg_temp.rows_of($$ SELECT state, since, last_check, latency_ms, checks_24h, failures_24h, availability_24h FROM aurora.node_services WHERE service = 'web' $$), '(unknown,,,,0,0,)',
          'a service that nobody has checked yet is unknown');
SELECT is(pg_temp.say('alpha', 'service', '{"service": "web", "state": "down", "since_age_us": 60000000, "age_us": 5000000, "latency_us": 1500, "checks": 6, "failures": 3,
                                            "latency_sum_us": 9000, "latency_max_us": 4000, "detail": "HTTP status 500"}'), '0', 'a node tells how its service is');
SELECT is(pg_temp.rows_of($$ SELECT state, pg_temp.seconds_ago(since), pg_temp.seconds_ago(last_check), latency_ms, detail, checks_24h, failures_24h, availability_24h, mean_latency_ms, recover
                             FROM aurora.node_services WHERE service = 'web' $$), '(down,60,5,1.5,"HTTP status 500",6,3,50.000,1.5,t)', 'which is in the view');
SELECT is(pg_temp.say('alpha', 'service', '{"service": "web", "state": "down", "since_age_us": 0, "age_us": 0, "latency_us": -1, "checks": 4, "failures": 0,
                                            "latency_sum_us": 6000, "latency_max_us": 3000, "detail": ""}'), '0', 'again');
SELECT is(pg_temp.rows_of($$ SELECT pg_temp.seconds_ago(since), latency_ms, detail, checks_24h, failures_24h, availability_24h FROM aurora.node_services WHERE service = 'web' $$),
          '(60,,,10,3,70.000)', 'since when it is so stays, checks add up');
SELECT is(pg_temp.rows_of($$ SELECT sum(latency_sum_ms), max(latency_max_ms) FROM aurora.service_hour $$), '(15,4)', 'by the hour');
SELECT pg_temp.say('alpha', 'service', '{"service": "web", "state": "up", "since_age_us": 1000000, "age_us": 0, "latency_us": 7, "checks": 1, "failures": 0, "latency_sum_us": 7, "latency_max_us": 7}') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT state, pg_temp.seconds_ago(since) FROM aurora.node_services WHERE service = 'web' $$), '(up,1)', 'a change sets it anew');
UPDATE aurora.service_hour SET hour = hour - interval '25 hours';
SELECT is(pg_temp.rows_of($$ SELECT checks_24h, availability_24h FROM aurora.node_services WHERE service = 'web' $$), '(0,)', 'the view counts one day');
SELECT is(pg_temp.say('alpha', 'service', '{"service": "none", "state": "up"}', '{"service": "kind-1", "state": "up"}', '{}'), '0', 'services that the node does not have, as after they were removed, are left out');
SELECT is(pg_temp.say('alpha', 'service', '{"service": "web", "state": "fine", "since_age_us": 0, "age_us": 0, "checks": 1, "failures": 0, "latency_sum_us": 0, "latency_max_us": 0}'),
          '1: service: invalid input value for enum aurora.health_state: "fine"', 'an unknown state is refused');
SELECT alike(pg_temp.say('alpha', 'service', '{"service": "web", "state": "up", "since_age_us": 0, "age_us": 0, "checks": 1, "failures": 0, "latency_sum_us": 1e300, "latency_max_us": 0}'),
             '1: service: %', 'so is a time that no check could take');
SELECT alike(pg_temp.say('alpha', 'service', '{"service": "web", "state": "up", "since_age_us": 0, "age_us": 0, "latency_sum_us": 0, "latency_max_us": 0}' || counts),
             '1: service: new row % violates check constraint "service_hour_range_check"', format('so are the counts %s', counts))
    FROM (VALUES ('{"checks": -1, "failures": 0}'::jsonb), ('{"checks": 1, "failures": 2}'), ('{"checks": 2000000000, "failures": 0}'), ('{"checks": 1, "failures": 0, "latency_sum_us": -5}')) c (counts);
SELECT alike(pg_temp.say('alpha', 'service', jsonb_build_object('service', 'web', 'state', 'up', 'since_age_us', 0, 'age_us', 0, 'checks', 1, 'failures', 0, 'latency_sum_us', 0, 'latency_max_us', 0,
                                                                'detail', repeat('a', 501))), '1: service: new row % violates check constraint "node_service_status_detail_check"', 'and a detail that is too long');
SELECT lives_ok('SELECT * FROM aurora.node_services', 'which would be in the way of all readers');
DELETE FROM aurora.service_hour;
SELECT is(pg_temp.rows_of($$ SELECT component, state, reason FROM aurora.health_services() WHERE component LIKE '% alpha' $$), '("service web on alpha",up,)', 'health() has each service');
UPDATE aurora.node_state SET state = 'down' WHERE node = 'alpha';
SELECT is((SELECT state::text FROM aurora.node_services WHERE service = 'web'), 'unknown', 'of a node that is down nobody knows how its services are');
UPDATE aurora.node_state SET state = 'up' WHERE node = 'alpha';
SELECT aurora.remove_service('alpha', 'web') AS ignored \gset
SELECT is((SELECT count(*) FROM aurora.node_service_status) + (SELECT count(*) FROM aurora.service_hour), 0::bigint, 'with a service its history goes');

SELECT is(pg_temp.say('alpha', 'recovery', '{"service": "web", "attempt": 2, "exit_status": 1, "timed_out": 0, "age_us": 3000000, "duration_us": 250000, "output": "restarted"}'), '0', 'a node tells of recoveries');
SELECT is(pg_temp.rows_of('SELECT node, service, pg_temp.seconds_ago(at), attempt, exit_status, timed_out, duration_ms, output FROM aurora.recoveries'), '(alpha,web,3,2,1,f,250,restarted)', 'which are in the view');
SELECT alike(pg_temp.say('alpha', 'recovery', '{"service": "web"}'), '1: recovery: null value%', 'what is not complete is refused');

-- ---- watching APIs ----

SELECT is(pg_temp.rows_of($$ SELECT api, url, expect_status, check_interval, timeout, verdict FROM aurora.watch_api('stripe', 'https://api.stripe.com/healthcheck') $$),
          '(stripe,https://api.stripe.com/healthcheck,0,00:00:30,00:00:05,)', 'an API is requested every 30 seconds');
SELECT is(pg_temp.rows_of($$ SELECT name, is_api, kind, target, expect_status, interval_ms, timeout_ms, fail_threshold, ok_threshold, recover FROM aurora.agent_checks('gamma') $$),
          '(stripe,1,1,https://api.stripe.com/healthcheck,0,30000,5000,3,2,0)', 'by the agent of every node');
SELECT is(pg_temp.error_of(format('SELECT aurora.watch_api(''bad'', %L)', url)),
          format('22023 | "%s" is not a URL that an agent could request | It begins with http:// or https:// and names no user.', url), format('"%s" is not watched', url))
    FROM unnest(ARRAY['file:///etc/passwd', 'http://user:secret@example.com', 'example.com', 'http://a b', '', NULL]) url;
SELECT throws_ok(format('SELECT aurora.watch_api(''bad'', ''http://x'', %s)', numbers), '23514', NULL, title || ' is out of range')
    FROM (VALUES ('expect_status => 1000', 'a status of 1000'), ('check_interval => ''0.5 s''', 'an interval below a second'), ('timeout => ''2 minutes''', 'a timeout of two minutes')) n (numbers, title);
SELECT is(pg_temp.error_of($$ SELECT aurora.unwatch_api('none') $$), '22023 | there is no API "none" | See aurora.connectivity.', 'what is not watched is not forgotten');

-- ---- how APIs answer ----

SELECT is(pg_temp.error_of($$ SELECT aurora.report_connectivity('stripe', 'fine') $$), '22023 | there is no API status "fine" | Statuses: healthy, degraded, down.', 'an unknown status is an error whose hint lists them');
SELECT alike(pg_temp.error_of(format('SELECT aurora.report_connectivity(''stripe'', ''healthy'', %L)', latency)), '22023 | a latency lies between 0 and a day |%', 'a latency of ' || latency || ' is none')
    FROM unnest(ARRAY['-1', 'NaN', 'Infinity', '86400001']) latency;
SELECT alike(pg_temp.error_of($$ SELECT aurora.report_connectivity('Stripe API', 'healthy') $$), '22023 |%', 'an API''s name is a DNS label');
SET LOCAL ROLE regress_user;
SELECT lives_ok($$ SELECT aurora.report_connectivity('openai', 'degraded', 812.5, repeat('slow ', 100)) $$, 'users report on APIs, also on new ones');
SELECT is(pg_temp.rows_of($$ SELECT node = aurora.own_node(), api, status, latency_ms, length(detail), reported_by, verdict FROM aurora.connectivity $$),
          '(t,openai,degraded,812.5,200,regress_user,degraded)', 'as of this node, cut to what has room');
RESET ROLE;
-- Reports of alpha, beta and gamma on an API, and the verdict.
CREATE FUNCTION pg_temp.verdict(VARIADIC statuses text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM aurora.api WHERE api = 'test';
    FOR i IN 1 .. array_length(statuses, 1) LOOP
        PERFORM pg_temp.say((ARRAY['alpha', 'beta', 'gamma'])[i], 'connectivity', jsonb_build_object('api', 'test', 'status', statuses[i], 'reported_by', 'bot', 'age_us', 0));
    END LOOP;
    RETURN (SELECT a.verdict FROM aurora.api a WHERE a.api = 'test');
END
$$;
SELECT is(pg_temp.verdict(VARIADIC string_to_array(statuses, ' ')), verdict, format('%s: %s for the mesh', statuses, verdict))
    FROM (VALUES ('healthy', 'healthy'), ('degraded', 'degraded'), ('down', 'down'), ('healthy down', 'degraded'), ('degraded down', 'degraded'), ('down down', 'down'),
                 ('healthy healthy down', 'healthy'), ('healthy degraded down', 'degraded'), ('healthy down down', 'degraded'), ('down down down', 'down'),
                 ('degraded down down', 'degraded')) v (statuses, verdict);
SELECT is(pg_temp.rows_of($$ SELECT node, api, status, reported_by, verdict FROM aurora.connectivity WHERE api = 'test' ORDER BY node $$),
          '(alpha,test,degraded,bot,degraded) (beta,test,down,bot,degraded) (gamma,test,down,bot,degraded)', 'the view has each node''s report and the verdict');
SELECT is(pg_temp.rows_of($$ SELECT component, state FROM aurora.health_apis() WHERE component = 'api test' $$), '("api test",degraded)', 'health() has the verdict');

SELECT is(pg_temp.verdict('healthy'), 'healthy', 'a report');
SELECT pg_temp.say('alpha', 'connectivity', '{"api": "test", "status": "down", "reported_by": "bot", "age_us": 60000000, "latency_ms": 9}') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT status, latency_ms, verdict FROM aurora.connectivity WHERE api = 'test' $$), '(healthy,,healthy)', 'is not changed by an older one that comes later');
SELECT pg_temp.say('beta', 'connectivity', '{"api": "test", "status": "down", "reported_by": "bot", "age_us": 120000000}'),
       pg_temp.say('beta', 'connectivity', '{"api": "test", "status": "down", "reported_by": "bot", "age_us": 60000000, "latency_us": -1}') \gset ignored_
SELECT is(pg_temp.rows_of($$ SELECT pg_temp.seconds_ago(since), pg_temp.seconds_ago(reported_at), latency_ms, verdict FROM aurora.connectivity WHERE api = 'test' AND node = 'beta' $$), '(120,60,,degraded)',
          'a later one that says the same leaves since when');
UPDATE aurora.api_status SET reported_at = now() - interval '11 minutes' WHERE api = 'test' AND node = 'beta';
SELECT pg_temp.say('alpha', 'connectivity', '{"api": "test", "status": "healthy", "reported_by": "bot", "age_us": 0}') AS ignored \gset
SELECT is((SELECT verdict::text FROM aurora.api WHERE api = 'test'), 'healthy', 'reports of more than ten minutes ago have no say');
SELECT is(pg_temp.say('gamma', 'connectivity', '{"api": "late", "status": "healthy", "reported_by": "bot", "age_us": 900000000}'), '0', 'a node that was cut off brings old reports');
SELECT is((SELECT verdict::text FROM aurora.api WHERE api = 'late'), NULL, 'from which it does not follow that the API is down');
SELECT is(pg_temp.rows_of($$ SELECT state FROM aurora.health_apis() WHERE component = 'api late' $$), '(unknown)', 'but that nobody knows');
UPDATE aurora.api_status SET reported_at = now() - interval '11 minutes' WHERE api = 'test';
SELECT aurora.judge_api('test') AS ignored \gset
SELECT is((SELECT verdict::text FROM aurora.api WHERE api = 'test'), 'healthy', 'without a recent report a verdict stays');
SELECT is(pg_temp.say('alpha', 'connectivity', '{"api": "removed", "status": "healthy", "reported_by": "agent", "age_us": 0}'), '0', 'an agent''s report on an API that is no longer watched');
SELECT is_empty($$ SELECT FROM aurora.api WHERE api = 'removed' $$, 'does not bring it back');
SELECT is(pg_temp.say('alpha', 'connectivity', '{"api": "Bad API", "status": "healthy", "reported_by": "bot"}', '{"api": "test", "status": "fine", "reported_by": "bot"}', '{}'),
          '3: connectivity: new row for relation "api" violates check constraint "api_api_check"', 'bad reports are refused');
SELECT alike(pg_temp.say('alpha', 'connectivity', jsonb_build_object('api', 'test', 'status', 'healthy', 'reported_by', 'bot', 'age_us', 0, 'detail', repeat('a', 501))),
             '1: connectivity: new row % violates check constraint "api_status_detail_check"', 'so is a detail that is too long');
SELECT aurora.unwatch_api('test') AS ignored \gset
SELECT is_empty($$ SELECT FROM aurora.connectivity WHERE api = 'test' $$, 'unwatch_api() forgets an API with its reports');
INSERT INTO aurora.api (api) SELECT 'many-' || i FROM generate_series(1, 500 - (SELECT count(*)::int FROM aurora.api)) i;
SELECT is(pg_temp.error_of($$ SELECT aurora.report_connectivity('one-more', 'healthy') $$),
          '54000 | there are reports on 500 APIs already | Forget some with aurora.unwatch_api().', 'there are at most 500');
SELECT is(pg_temp.say('alpha', 'connectivity', '{"api": "one-more", "status": "healthy", "reported_by": "bot", "age_us": 0}'),
          '1: connectivity: there are reports on 500 APIs already', 'whoever reports');
SELECT lives_ok($$ SELECT aurora.report_connectivity('many-1', 'healthy') $$, 'of which each can be reported on');

SELECT * FROM finish();
ROLLBACK;
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_registry_services;
