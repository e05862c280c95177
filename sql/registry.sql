\set ECHO none
-- Nodes: how they are registered, drained, maintained and removed, by whom, and what the lead takes of
-- what their agents report. In a database of its own, where no agent works.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_registry;
CREATE DATABASE regress_registry;
\connect regress_registry
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;

BEGIN;
SELECT plan(170);

-- What a statement raises, as "SQLSTATE | message | hint".
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
-- May a role do this; what it did is undone.
CREATE FUNCTION pg_temp.may(role name, statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE statement;
    RAISE SQLSTATE 'ZZ001';
EXCEPTION
    WHEN insufficient_privilege THEN RETURN false;
    WHEN SQLSTATE 'ZZ001' THEN RETURN true;
END
$$;
-- Which of the roles may do this.
CREATE FUNCTION pg_temp.who_may(statement text) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(r, ' ' ORDER BY r COLLATE "C") FILTER (WHERE pg_temp.may(('regress_' || r)::name, statement)), 'nobody')
    FROM unnest(ARRAY['admin', 'agent', 'gateway', 'monitor', 'node', 'operator', 'plain', 'user']) r
$$;
-- A heartbeat of a standby that is well, with changes.
CREATE FUNCTION pg_temp.heartbeat(instance text DEFAULT 'first', changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('instance', instance, 'is_lead', 0, 'beat', 0, 'timeline', 1, 'receive_lsn', pg_current_wal_lsn(),
                              'replay_lsn', pg_current_wal_lsn(), 'wal_receiver', 'streaming', 'version', '1.0',
                              'extension_version', '1.0', 'postgres_version', '15.1', 'started_age_us', 60000000, 'incarnation', 'run one',
                              'agent_port', 9998, 'drops', 0, 'skew_us', 1500000, 'round_trip_us', 2500) || changes
$$;
CREATE SEQUENCE pg_temp.batch;
-- Reports with a new batch: "rejected: why".
CREATE FUNCTION pg_temp.report(node text, messages jsonb DEFAULT '[]', instance text DEFAULT 'first') RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(': ', r.rejected, r.rejection)
    FROM aurora.report_heartbeat(node, pg_temp.heartbeat(instance), messages, nextval('pg_temp.batch')) r
$$;
CREATE FUNCTION pg_temp.capabilities(node text) RETURNS jsonb LANGUAGE sql AS $$ SELECT n.capabilities FROM aurora.nodes n WHERE n.name = node $$;

CREATE ROLE regress_plain;
CREATE ROLE regress_admin IN ROLE aurora_admin;
CREATE ROLE regress_operator IN ROLE aurora_operator;
CREATE ROLE regress_user IN ROLE aurora_user;
CREATE ROLE regress_agent IN ROLE aurora_agent;
CREATE ROLE regress_node LOGIN IN ROLE aurora_node;
CREATE ROLE regress_monitor IN ROLE aurora_monitor;
CREATE ROLE regress_gateway IN ROLE aurora_gateway;
GRANT USAGE ON SEQUENCE pg_temp.batch TO PUBLIC;

-- ---- registering ----

SELECT is_empty('SELECT FROM aurora.nodes', 'a new extension has no node');
SELECT is(pg_temp.rows_of($$ SELECT name, role, address, login_role, drained_at, maintenance_until, registered_at = now()
                             FROM aurora.register_node('alpha') $$), '(alpha,backup,,aurora_node_alpha,,,t)',
          'a node is a backup unless said otherwise');
SELECT is(pg_temp.rows_of($$ SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolpassword
                             FROM pg_authid WHERE rolname = 'aurora_node_alpha' $$), '(t,f,f,f,f,f,)',
          'its login role is made, may log in and nothing else, and has no password');
SELECT ok(pg_has_role('aurora_node_alpha', 'aurora_node', 'MEMBER'), 'and is a member of aurora_node');
SELECT is(pg_temp.rows_of($$ SELECT name, role, address, login_role FROM aurora.register_node('alpha', 'edge', '10.0.0.1') $$),
          '(alpha,edge,10.0.0.1,aurora_node_alpha)', 'registering it again changes what is given');
SELECT is(pg_temp.rows_of($$ SELECT name, role, address, login_role FROM aurora.register_node('alpha') $$),
          '(alpha,edge,10.0.0.1,aurora_node_alpha)', 'and leaves what is not');
SELECT is(pg_temp.rows_of($$ SELECT login_role FROM aurora.register_node('beta', 'compute', '2001:db8::1', 'regress_node') $$), '(regress_node)',
          'a node can log in with a role that is there');
SELECT is(pg_temp.rows_of($$ SELECT role, login_role FROM aurora.register_node('beta', 'backup') $$), '(backup,regress_node)',
          'and keeps it when it is registered again');
CREATE ROLE regress_newcomer LOGIN;
SELECT lives_ok($$ SELECT aurora.register_node('gamma', login_role => 'regress_newcomer') $$, 'a role that is no member of aurora_node');
SELECT ok(pg_has_role('regress_newcomer', 'aurora_node', 'MEMBER'), 'becomes one');
SELECT lives_ok(format('SELECT aurora.register_node(%L)', name), format('"%s%s" is a name', left(name, 20), CASE WHEN length(name) > 20 THEN '...' ELSE '' END))
    FROM (VALUES ('a'), ('7'), ('x-1--y'), (repeat('a', 63))) n (name);
SELECT is((SELECT login_role::text FROM aurora.node WHERE length(name) = 63), 'aurora_node_' || repeat('a', 51), 'the role of a long name is cut to what a role''s name may be');
SELECT is(pg_temp.error_of(format('SELECT aurora.register_node(%L)', name)),
          format('22023 | "%s" is not a name for a node or a service | '
                 'A DNS label is wanted: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end.', name), title || ' is no name')
    FROM (VALUES ('Alpha', 'one with upper case'), ('-alpha', 'one with a leading hyphen'), ('alpha-', 'one with a trailing hyphen'),
                 (repeat('a', 64), 'one of 64 characters'), ('', 'an empty one'), ('al_pha', 'one with an underscore'), ('al.pha', 'one with a dot'),
                 ('al pha', 'one with a space'), (E'alpha\n', 'one with a line end'), ('älpha', 'one with an umlaut'),
                 ('a"; DROP ROLE x; --', 'one with SQL')) n (name, title);
SELECT is(pg_temp.error_of('SELECT aurora.register_node(NULL)') ~ '^22023 \| "" is not a name', true, 'null is no name');
SELECT is(pg_temp.error_of($$ SELECT aurora.register_node('delta', 'lead') $$),
          '22023 | there is no node role "lead" | Roles: backup, compute, edge. Which node is the lead is not registered: it is the one that is not a standby.',
          'nobody is registered as the lead');
SELECT is(pg_temp.error_of($$ SELECT aurora.register_node('delta', 'Backup') $$) ~ '^22023 \| there is no node role "Backup"', true,
          'an unknown role is an error whose hint lists them');
SELECT is(pg_temp.error_of($$ SELECT aurora.register_node('delta', login_role => 'aurora_node_alpha') $$),
          '23505 | role "aurora_node_alpha" is the login role of another node | Each node logs in with a role of its own.',
          'two nodes do not share a login role');
SELECT is(pg_temp.error_of($$ SELECT aurora.register_node('alpha', login_role => 'regress_node') $$) ~ '^23505', true, 'not by a change either');
SELECT throws_ok($$ SELECT aurora.register_node('delta', address => '10.0.0.0/24') $$, '23514', NULL, 'an address is of a machine, not of a network');
SELECT throws_ok($$ SELECT aurora.register_node('delta', login_role => 'pg_delta') $$, '42939', NULL, 'roles that Postgres keeps to itself are not made');
CREATE ROLE regress_powerful LOGIN;
SELECT is(pg_temp.error_of(format('ALTER ROLE regress_powerful NOSUPERUSER NOREPLICATION NOCREATEROLE NOCREATEDB NOBYPASSRLS;
                                 ALTER ROLE regress_powerful %s;
                                 SELECT aurora.register_node(''delta'', login_role => ''regress_powerful'')', power)),
          '22023 | role "regress_powerful" cannot log in, or may do too much for a node | A node''s role needs LOGIN and nothing else.',
          format('a role with %s is none for a node', power))
    FROM unnest(ARRAY['SUPERUSER', 'REPLICATION', 'CREATEROLE', 'CREATEDB', 'BYPASSRLS', 'NOLOGIN']) power;
SELECT alike(pg_temp.error_of(format('GRANT %I TO regress_powerful;
                                    SELECT aurora.register_node(''delta'', login_role => ''regress_powerful'')', of_role)),
             '22023 | role "regress_powerful" cannot log in, or may do too much for a node | %', format('nor is a member of %s', of_role))
    FROM unnest(ARRAY['aurora_admin', 'aurora_user', 'pg_read_all_data', 'regress_plain']) of_role;
SELECT is_empty($$ SELECT FROM aurora.node WHERE name = 'delta' $$, 'what failed has registered nothing');
SELECT is_empty($$ SELECT FROM pg_roles WHERE rolname = 'aurora_node_delta' $$, 'and made no role');

-- ---- who may what ----

SELECT is(pg_temp.who_may($$ SELECT aurora.register_node('delta') $$), 'admin', 'administrators register nodes');
SELECT is(pg_temp.who_may($$ SELECT aurora.drain_node('alpha') $$), 'admin operator', 'operators drain them');
SELECT is(pg_temp.who_may($$ SELECT aurora.maintenance('alpha') $$), 'admin operator', 'have nobody mind them');
SELECT is(pg_temp.who_may($$ SELECT aurora.remove_node('alpha') $$), 'admin operator', 'remove them');
SELECT is(pg_temp.who_may($$ SELECT aurora.set_capability('alpha', 'gpu', 'true') $$), 'admin operator', 'and say what they have');
SELECT is(pg_temp.who_may($$ SELECT aurora.forget_transitions() $$), 'admin operator', 'and forget old history');
SELECT is(pg_temp.who_may($$ SELECT count(*) FROM aurora.nodes n, aurora.node_transitions t, aurora.topology p $$),
          'admin agent gateway monitor node operator user', 'whoever is of aurora sees the mesh');
SELECT is(pg_temp.who_may($$ SELECT count(*) FROM aurora.node_services s, aurora.recoveries r, aurora.connectivity c $$),
          'admin agent gateway monitor node operator user', 'its services and APIs');
SELECT is(pg_temp.who_may($$ SELECT count(*) FROM aurora.health() h, aurora.promotion_candidates() p, aurora.agent_status() a, aurora.epoch() e $$),
          'admin agent gateway monitor node operator user', 'how all is');
SELECT is(pg_temp.who_may($$ SELECT aurora.lead_duty(), aurora.node_uptime('alpha', '1 day') $$),
          'admin agent gateway monitor node operator user', 'and may ask for the lead''s duty and uptimes');
SELECT is(pg_temp.who_may($$ SELECT aurora.report_connectivity('stripe', 'healthy') $$), 'admin agent gateway operator user',
          'all but monitors and nodes may say how an API answers');
SELECT is(pg_temp.who_may($$ SELECT aurora.report_heartbeat('new', pg_temp.heartbeat()) $$), 'nobody',
          'nobody but nodes reports, and a node that is one already not about another');
SELECT is(pg_temp.who_may($$ SELECT aurora.report_heartbeat('beta', pg_temp.heartbeat()) $$), 'node', 'it reports about itself');
SELECT is(pg_temp.who_may($$ SELECT aurora.judge_nodes() $$), 'nobody', 'nobody judges but the lead''s agent');
SELECT is(pg_temp.who_may($$ UPDATE aurora.node SET role = 'edge' $$), 'nobody', 'nobody writes the tables past the functions');
SELECT is(pg_temp.who_may($$ SELECT aurora.receive_capability('alpha', '{"name": "x", "value": 1}') $$), 'nobody',
          'nor gives the lead messages past the reports');
SELECT is(pg_temp.who_may($$ SELECT aurora.put_heartbeat(n, pg_temp.heartbeat(), 1) FROM aurora.node n $$), 'nobody', 'nor heartbeats');
SELECT is(pg_temp.who_may($$ SELECT aurora.take_up_lead('alpha') $$), 'admin', 'administrators may begin an epoch');

-- ---- draining, maintenance, capabilities ----

SELECT aurora.drain_node('alpha') AS ignored \gset
SELECT is((SELECT drained FROM aurora.nodes WHERE name = 'alpha'), true, 'drain_node() drains');
UPDATE aurora.node SET drained_at = now() - interval '1 day' WHERE name = 'alpha';
SELECT aurora.drain_node('alpha') AS ignored \gset
SELECT is((SELECT drained_at FROM aurora.node WHERE name = 'alpha'), now() - interval '1 day', 'again leaves since when');
SELECT aurora.drain_node('alpha', false) AS ignored \gset
SELECT is((SELECT drained FROM aurora.nodes WHERE name = 'alpha'), false, 'and ends it');
SELECT aurora.drain_node('alpha', NULL) AS ignored \gset
SELECT is((SELECT drained FROM aurora.nodes WHERE name = 'alpha'), true, 'null drains, too');
SELECT aurora.drain_node('alpha', false) AS ignored \gset
SELECT is(aurora.maintenance('alpha'), now() + interval '1 hour', 'maintenance() tells until when; an hour unless said otherwise');
SELECT is(aurora.maintenance('alpha', '2 days', 'new disks'), now() + interval '2 days', 'it can be made longer');
SELECT is((SELECT maintenance_reason FROM aurora.node WHERE name = 'alpha'), 'new disks', 'with a reason');
SELECT is(aurora.maintenance('alpha', '0'), NULL, 'a duration of 0 ends it');
SELECT is((SELECT concat(maintenance_until, maintenance_reason) FROM aurora.node WHERE name = 'alpha'), '', 'with its reason');
SELECT is(pg_temp.error_of(format('SELECT aurora.maintenance(''alpha'', %L)', duration)),
          '22023 | maintenance lasts from 0 to a year | A duration of 0 ends it.', format('it does not last for %s', coalesce(duration, 'null')))
    FROM (VALUES ('-1 second'), ('1 year 1 second'), (NULL)) d (duration);
SELECT is(pg_temp.error_of(statement), '22023 | there is no node "omega" | Nodes: 7, a, ' || repeat('a', 63) || ', alpha, beta, gamma, x-1--y.',
          regexp_replace(statement, '^SELECT aurora\.(\w+).*', '\1') || '() wants a node that is there, and tells which are')
    FROM unnest(ARRAY['SELECT aurora.drain_node(''omega'')', 'SELECT aurora.maintenance(''omega'')', 'SELECT aurora.remove_node(''omega'')',
                      'SELECT aurora.set_capability(''omega'', ''x'', ''1'')']) statement;

SELECT count(aurora.set_capability('alpha', name, value)) AS ignored
    FROM (VALUES ('gpu', '"A100"'::jsonb), ('cpu_cores', '64'), ('ssd', 'true'), ('model:llama3/8b', '0.5')) c (name, value) \gset
SELECT is(pg_temp.capabilities('alpha'), '{"gpu": "A100", "ssd": true, "cpu_cores": 64, "model:llama3/8b": 0.5}'::jsonb,
          'a capability is a text, a number or a boolean');
SELECT is(pg_temp.rows_of($$ SELECT as_number, as_text, as_boolean, declared FROM aurora.node_capability WHERE name = 'cpu_cores' $$), '(64,,,t)', 'and typed');
SELECT aurora.set_capability('alpha', 'cpu_cores', '"many"'), aurora.set_capability('alpha', 'gpu', 'null'), aurora.set_capability('alpha', 'ssd', NULL) \gset ignored_
SELECT is(pg_temp.capabilities('alpha'), '{"cpu_cores": "many", "model:llama3/8b": 0.5}'::jsonb, 'it can change its type, and null takes it back');
SELECT is(pg_temp.error_of(format('SELECT aurora.set_capability(''alpha'', ''gpu'', %L)', value)),
          '22023 | capability "gpu" is neither a number nor a text nor a boolean | Give one scalar, as JSON.', value || ' is none')
    FROM unnest(ARRAY['[1]', '{"a": 1}']) value;
SELECT throws_ok(format('SELECT aurora.set_capability(''alpha'', %L, ''1'')', name), '23514', NULL, format('"%s" is no name for one', left(name, 10)))
    FROM unnest(ARRAY['GPU', '', 'a b', repeat('a', 81)]) name;
SELECT throws_ok($$ SELECT aurora.set_capability('alpha', 'n', '1e400') $$, '22003', NULL, 'a number that no machine could hold is refused');

-- ---- reporting ----

SET LOCAL ROLE regress_node;
SELECT is(pg_temp.report('beta'), '0', 'a node reports about itself');
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('alpha') $$),
          '42501 | role "regress_node" may not report about node "alpha" | It is the login role of node "beta": set aurora.node_name there.',
          'but not about another');
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('delta') $$) ~ '^42501', true, 'nor about one that nobody knows');
RESET ROLE;
CREATE ROLE regress_self LOGIN IN ROLE aurora_node;
SET LOCAL ROLE regress_self;
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('alpha') $$),
          '42501 | role "regress_self" may not report about node "alpha" | Another role is that node''s; see aurora.node, or register it again with aurora.register_node().',
          'a role that is of no node yet takes over none');
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('Self') $$) ~ '^22023', true, 'nor does it take a bad name');
SELECT is(pg_temp.report('self'), '0', 'under a free name it registers itself');
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('self-two') $$) ~ '^42501', true, 'once');
RESET ROLE;
-- As that of a lead, which needs no login until it is one no more.
INSERT INTO aurora.node (name) VALUES ('former'), ('other');
CREATE ROLE aurora_node_former LOGIN IN ROLE aurora_node;
SET LOCAL ROLE aurora_node_former;
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('other') $$) ~ '^42501', true, 'nor does a role take a node without one');
SELECT is(pg_temp.report('former'), '0', 'unless it is named after it');
RESET ROLE;
SELECT is((SELECT login_role FROM aurora.node WHERE name = 'former'), 'aurora_node_former', 'and then keeps it');
SELECT is(pg_temp.rows_of($$ SELECT role, login_role FROM aurora.node WHERE name = 'self' $$), '(backup,regress_self)', 'as a backup, with its role');
SELECT is(pg_temp.report('alpha'), '0', 'a superuser reports about any');
SELECT is(pg_temp.rows_of($$ SELECT last_heartbeat > now(), lag_bytes < 10000, lag_seconds, timeline, version, postgres_version, clock_skew_seconds, lost_reports
                             FROM aurora.nodes WHERE name = 'alpha' $$), '(t,t,0,1,1.0,15.1,1.5,0)', 'what it reports is in the view');
SELECT is(pg_temp.rows_of($$ SELECT instance, is_lead, wal_receiver, extension_version, agent_port, round_trip_ms,
                                    round(extract(epoch FROM clock_timestamp() - started_at)) FROM aurora.node_status WHERE node = 'alpha' $$),
          '(first,f,streaming,1.0,9998,2.5,60)', 'and in the table');

SELECT is((SELECT heartbeats_in_row FROM aurora.node_status WHERE node = 'alpha'), 1::bigint, 'the first heartbeat is one in a row');
SELECT pg_temp.report('alpha') AS ignored \gset
SELECT is((SELECT heartbeats_in_row FROM aurora.node_status WHERE node = 'alpha'), 2::bigint, 'the next one the second');
UPDATE aurora.node_status SET heartbeat_at = heartbeat_at - interval '5 seconds' WHERE node = 'alpha';
SELECT pg_temp.report('alpha') AS ignored \gset
SELECT is((SELECT heartbeats_in_row FROM aurora.node_status WHERE node = 'alpha'), 1::bigint, 'after one that was missed it is one again');

SELECT throws_ok(format('SELECT aurora.report_heartbeat(''alpha'', %L, ''[]'', 4711)', heartbeat), state, NULL, title)
    FROM (VALUES (pg_temp.heartbeat() - 'instance', '23502', 'a heartbeat without an instance is refused'),
                 (pg_temp.heartbeat('x', '{"replay_lsn": "far"}'), '22P02', 'one with a bad position, too'),
                 (pg_temp.heartbeat('first', '{"timeline": "one"}'), '22P02', 'one with a bad number'),
                 (pg_temp.heartbeat('first', '{"drops": 1e30}'), '22003', 'and one with a number too big')) h (heartbeat, state, title);

-- ---- lag ----

INSERT INTO aurora.lead_heartbeat (beat, at, watching_since) VALUES (100, clock_timestamp() - interval '0.5 seconds', now());
CREATE FUNCTION pg_temp.microseconds(at timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT (extract(epoch FROM at - timestamptz '2000-01-01 00:00:00Z') * 1000000)::bigint
$$;
-- The lag of a standby that has seen this many of the lead's 100 heartbeats, which came every two seconds.
CREATE FUNCTION pg_temp.lag(seen int, caught_up boolean DEFAULT false) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
    PERFORM aurora.report_heartbeat('alpha', pg_temp.heartbeat('first', jsonb_build_object('beat', seen, 'beat_at',
                                                                 pg_temp.microseconds((SELECT at FROM aurora.lead_heartbeat) - (100 - seen) * interval '2 seconds')) || CASE WHEN caught_up THEN '{"replay_lsn": "FFFFFFFF/0"}'
                                                                                       ELSE '{"replay_lsn": "0/1"}' END::jsonb));
    RETURN (SELECT round(lag_seconds::numeric) FROM aurora.node_status WHERE node = 'alpha');
END
$$;
UPDATE aurora.lead_heartbeat SET at = clock_timestamp() - interval '1 second';
SELECT is(pg_temp.lag(100), 0::numeric, 'who has the lead''s last heartbeat does not lag');
SELECT is(pg_temp.lag(101), 0::numeric, 'nor who seems to have a later one');
SELECT is(pg_temp.lag(99), 1::numeric, 'who lacks the last one lags by its age');
SELECT is(pg_temp.lag(95), 9::numeric, 'who lacks five lags by the age of the first that it lacks');
SELECT aurora.report_heartbeat('alpha', pg_temp.heartbeat('first', jsonb_build_object('beat', 95, 'replay_lsn', '0/1',
           'beat_at', pg_temp.microseconds(clock_timestamp() - interval '1 hour')))) AS ignored \gset
SELECT is((SELECT round(lag_seconds::numeric) FROM aurora.node_status WHERE node = 'alpha'), 3598::numeric, 'also when the lead did not write them every two seconds');
SELECT aurora.report_heartbeat('alpha', pg_temp.heartbeat('first', jsonb_build_object('beat', 95, 'replay_lsn', '0/1',
           'beat_at', pg_temp.microseconds(clock_timestamp() + interval '1 hour')))) AS ignored \gset
SELECT is((SELECT lag_seconds FROM aurora.node_status WHERE node = 'alpha'), 0::real, 'a lag is never negative');
SELECT is(pg_temp.lag(95, true), 0::numeric, 'who has all of the write-ahead log does not lag');
SELECT cmp_ok((SELECT lag_bytes FROM aurora.node_status WHERE node = 'alpha'), '=', 0::bigint, 'by no byte');

-- ---- messages ----

SELECT is(pg_temp.report('alpha', '[{"kind": "capability", "body": {"name": "memory_bytes", "value": 1024}},
                                    {"kind": "capability", "body": {"name": "cpu_cores", "value": 8}}]'), '0', 'a node says what it has');
SELECT is(pg_temp.capabilities('alpha'), '{"cpu_cores": "many", "memory_bytes": 1024, "model:llama3/8b": 0.5}'::jsonb, 'which does not change what an operator has said');
SELECT alike(pg_temp.report('self', jsonb_build_array(jsonb_build_object('kind', 'capability', 'body', jsonb_build_object('name', 'c1', 'value', repeat('a', length))))),
             rejected, format('a text of %s characters', length))
    FROM (VALUES (1000, '0'), (1001, '1: capability: new row % violates check constraint "node_capability_as_text_check"')) t (length, rejected);
SELECT is(pg_temp.report('self', (SELECT jsonb_agg(jsonb_build_object('kind', 'capability', 'body', jsonb_build_object('name', 'c' || i, 'value', i))) FROM generate_series(1, 501) i)),
          '1: capability: a node has at most 500 capabilities', 'of these it has at most 500');
SELECT is(pg_temp.report('alpha', jsonb_build_array(message, '{"kind": "capability", "body": {"name": "after", "value": 1}}'::jsonb)), rejected, title)
    FROM (VALUES ('{"kind": "weather", "body": {}}'::jsonb, '1: weather: the lead takes no messages of kind "weather"', 'an unknown kind is counted, with the reason'),
                 ('{"body": {}}', '1: : the lead takes no messages of kind ""', 'so is a message without a kind'),
                 ('{"kind": "", "body": {}}', '1: : the lead takes no messages of kind ""', 'with an empty one'),
                 ('{"kind": "Capability", "body": {}}', '1: Capability: the lead takes no messages of kind "Capability"', 'with upper case'),
                 ('{"kind": "capability(text, jsonb); --"}', '1: capability(text, jsonb); --: the lead takes no messages of kind "capability(text, jsonb); --"', 'with SQL'),
                 ('{"kind": "cap\nability"}', E'1: cap\nability: the lead takes no messages of kind "cap\nability"', 'with a line end'),
                 ('{"kind": 5, "body": {}}', '1: 5: the lead takes no messages of kind "5"', 'a number for a kind'),
                 ('7', '1: : the lead takes no messages of kind ""', 'a number for a message'),
                 ('{"kind": "capability"}', '1: capability: capability "" is neither a number nor a text nor a boolean', 'a message without a body'),
                 ('{"kind": "capability", "body": 7}', '1: capability: capability "" is neither a number nor a text nor a boolean', 'one whose body is no object'),
                 ('{"kind": "capability", "body": {"name": "Bad Name", "value": 1}}',
                  '1: capability: new row for relation "node_capability" violates check constraint "node_capability_name_check"', 'one with a bad name'),
                 ('{"kind": "probe", "body": {"to": "beta", "attempt_age_us": 0}}',
                  '1: probe: null value in column "failures" of relation "node_probe" violates not-null constraint', 'and one without what is wanted')) m (message, rejected, title);
SELECT is(pg_temp.capabilities('alpha') -> 'after', '1', 'the message after a bad one is taken');
SELECT is((SELECT lost_reports FROM aurora.nodes WHERE name = 'alpha'), 12::numeric, 'what could not be taken is counted');
SELECT is(pg_temp.report('alpha', (SELECT jsonb_agg('{"kind": "weather"}'::jsonb) FROM generate_series(1, 500))),
          '500: weather: the lead takes no messages of kind "weather"', 'of many bad ones the first reason is told');
SELECT is(pg_temp.report('alpha', '[{"kind": "messages", "body": [{"kind": "capability", "body": {"name": "nested", "value": 1}}]}]'),
          '1: messages: the lead takes no messages of kind "messages"', 'messages do not come within a message');
SELECT is(pg_temp.capabilities('alpha') ? 'nested', false, 'and are not taken so');
SELECT is(pg_temp.report('alpha', '[{"kind": "probe", "body": {"to": "beta", "failures": 2, "attempt_age_us": 1000000}}]'), '0', 'a node tells of its probes');
SELECT is(pg_temp.rows_of($$ SELECT from_node, to_node, address, rtt_ms, last_success, round(extract(epoch FROM clock_timestamp() - last_attempt)), failures
                             FROM aurora.topology $$), '(alpha,beta,2001:db8::1,,,1,2)', 'which make the topology');
SELECT pg_temp.report('alpha', '[{"kind": "probe", "body": {"to": "beta", "failures": 0, "attempt_age_us": 0, "rtt_us": 1500, "success_age_us": 0}},
                                 {"kind": "probe", "body": {"to": "nobody", "failures": 0, "attempt_age_us": 0}},
                                 {"kind": "probe", "body": {"to": "alpha", "failures": 0, "attempt_age_us": 0}}]') AS rejected \gset
SELECT is(pg_temp.rows_of($$ SELECT from_node, to_node, rtt_ms, last_success IS NOT NULL, failures FROM aurora.topology $$), '(alpha,beta,1.5,t,0)',
          'probes of unknown nodes and of itself are left out');

-- How many messages of these batches are taken, which another run of the same agent sends.
CREATE FUNCTION pg_temp.batches(incarnation text, VARIADIC batches bigint[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    taken text[] := '{}';
BEGIN
    FOR i IN 1 .. array_length(batches, 1) LOOP
        taken := taken || (SELECT r.rejected::text FROM aurora.report_heartbeat('alpha',
            pg_temp.heartbeat('first', jsonb_build_object('incarnation', incarnation, 'agent_port', i)), '[{"kind": "weather"}]', batches[i]) r);
    END LOOP;
    RETURN array_to_string(taken, ' ');
END
$$;
SELECT is(pg_temp.batches('run two', 4711, 4711, 4712), '1 0 1', 'a batch that comes twice is taken once');
SELECT is((SELECT agent_port FROM aurora.node_status WHERE node = 'alpha'), 3, 'with the last heartbeat');
SELECT is(pg_temp.batches('run two', 4711), '0', 'one older than the last is not taken');
SELECT is(pg_temp.rows_of($$ SELECT agent_port, last_batch FROM aurora.node_status WHERE node = 'alpha' $$), '(3,4712)', 'nor its heartbeat');
SELECT is(pg_temp.batches('run two', 4712), '0', 'the last one again');
SELECT is(pg_temp.rows_of($$ SELECT agent_port, last_batch FROM aurora.node_status WHERE node = 'alpha' $$), '(1,4712)', 'has a new heartbeat');
SELECT is(pg_temp.batches('run three', 1, 1, 2), '1 0 1', 'another run of the agent counts anew');
SELECT is(pg_temp.batches('run three', NULL, NULL), '1 1', 'a batch without a number is taken in any case');
SELECT aurora.report_heartbeat('self', pg_temp.heartbeat('first', jsonb_build_object('incarnation', repeat('n', 100), 'version', repeat('v', 100),
           'extension_version', repeat('e', 100), 'postgres_version', repeat('p', 100), 'wal_receiver', repeat('w', 100)))) AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT length(incarnation), length(version), length(extension_version), length(postgres_version), length(wal_receiver)
                             FROM aurora.node_status WHERE node = 'self' $$), '(64,64,64,64,64)', 'the texts of a heartbeat are cut to what has room');
INSERT INTO aurora.node (name) VALUES ('wordy');
SELECT is((SELECT string_agg(r.rejected || coalesce(': ' || r.rejection, ''), ', ' ORDER BY time) FROM generate_series(1, 2) time,
           aurora.report_heartbeat('wordy', pg_temp.heartbeat(repeat('i', 100), jsonb_build_object('incarnation', repeat('n', 100))), '[{"kind": "weather"}]', time / time) r),
          '1: weather: the lead takes no messages of kind "weather", 0', 'which makes no other machine and no other run of one with long ones');

-- ---- two machines under one name ----

SELECT is(pg_temp.report('alpha', '[{"kind": "capability", "body": {"name": "of_second", "value": 1}}]', 'second'),
          '1: another machine reports as node "alpha"', 'a second machine under the same name is refused');
SELECT is(pg_temp.rows_of($$ SELECT instance, conflict_at > now() FROM aurora.node_status WHERE node = 'alpha' $$), '(first,t)', 'the first stays, the conflict is noted');
SELECT is(pg_temp.capabilities('alpha') ? 'of_second', false, 'nothing of the second is taken');
SELECT is(pg_temp.report('alpha'), '0', 'the first goes on');
SELECT pg_temp.report('alpha') AS ignored \gset
SELECT aurora.judge_nodes() AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT state, reason FROM aurora.nodes WHERE name = 'alpha' $$), '(degraded,"another machine reports under its name")',
          'and is degraded, with the reason');
UPDATE aurora.node_status SET heartbeat_at = clock_timestamp() - interval '7 seconds' WHERE node = 'alpha';
SELECT is(pg_temp.report('alpha', '[]', 'second'), '0', 'when the first has been silent for three heartbeats the second takes its place');
SELECT is((SELECT instance FROM aurora.node_status WHERE node = 'alpha'), 'second', 'as after a machine was replaced');

-- ---- the lead, and removing ----

SELECT is(aurora.take_up_lead(aurora.own_node()), true, 'the lead begins an epoch');
SELECT is(aurora.take_up_lead(aurora.own_node()), false, 'one, while it is the lead');
SELECT is(pg_temp.rows_of('SELECT e.timeline = aurora.current_timeline(), e.lead = aurora.own_node(), e.id IS NOT NULL FROM aurora.epoch() e'), '(t,t,t)', 'which epoch() gives');
SELECT count(r.*) AS ignored FROM generate_series(1, 2) time, aurora.report_heartbeat(aurora.own_node(), pg_temp.heartbeat('lead', '{"is_lead": 1}'), batch => time) r \gset
SELECT is((SELECT beat FROM aurora.lead_heartbeat), 102::bigint, 'the lead''s own heartbeats are what standbys wait for');
SELECT is((SELECT role FROM aurora.nodes WHERE name = aurora.own_node()), 'lead', 'the lead is shown as such');
SELECT is(pg_temp.error_of('SELECT aurora.remove_node(aurora.own_node())'),
          format('55006 | node "%s" is the lead | Promote another one first.', aurora.own_node()), 'and is not removed');
SELECT aurora.remove_node('alpha'), aurora.remove_node('beta'), aurora.remove_node('self') \gset ignored_
SELECT is((SELECT string_agg(name, ' ' ORDER BY name) FROM aurora.node WHERE name IN ('alpha', 'beta', 'gamma', 'self')), 'gamma', 'others are');
SELECT is((SELECT count(*) FROM aurora.node_capability) + (SELECT count(*) FROM aurora.node_probe)
          + (SELECT count(*) FROM aurora.node_transition WHERE node = 'alpha'), 0::bigint, 'with all that they said');
SELECT ok(NOT pg_has_role('regress_self', 'aurora_node', 'MEMBER'), 'their roles may report no more');
SET LOCAL ROLE regress_self;
SELECT is(pg_temp.error_of($$ SELECT pg_temp.report('self') $$) ~ '^42501', true, 'so that a removed node does not register itself again');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_registry;
