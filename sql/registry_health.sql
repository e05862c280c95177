\set ECHO none
-- How the lead judges nodes: the rules against a slow version of them, a mesh that lives through simulated
-- times, uptime against a slow version, promotion and health(). In a database of its own, where no agent works.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_registry_health;
CREATE DATABASE regress_registry_health;
\connect regress_registry_health
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;

SELECT plan(114);

CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;

-- ---- the rules, against a slow version of them ----

-- The state only, from the words of the documentation.
CREATE FUNCTION pg_temp.state_by_the_book(e aurora.node_evidence, interval_s double precision) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    missed boolean := e.silent_s >= 3 * interval_s;
    missed_five boolean := e.silent_s >= 5 * interval_s;
BEGIN
    IF e.in_maintenance THEN
        RETURN 'maintenance';
    END IF;
    IF NOT e.heard THEN
        RETURN 'unknown';
    END IF;
    IF NOT missed THEN
        -- It reports. Back from down or unknown takes two heartbeats in a row.
        IF e.heartbeats_in_row < 2 THEN
            IF e.state = 'down' THEN
                RETURN 'down';
            ELSIF e.state = 'unknown' THEN
                RETURN 'unknown';
            END IF;
        END IF;
        IF e.flapping OR e.trouble IS NOT NULL THEN
            RETURN 'degraded';
        END IF;
        RETURN 'up';
    END IF;
    -- It is silent. The one who judges runs on the lead, which therefore is not down.
    IF e.is_lead THEN
        RETURN 'degraded';
    END IF;
    IF e.state = 'down' THEN
        RETURN 'down';
    END IF;
    IF e.most_vanished THEN
        RETURN 'unknown';
    END IF;
    -- Peers have asked: the majority is right, and of as many on both sides those who got no answer.
    IF e.peers_failed + e.peers_answered > 0 THEN
        IF e.peers_answered > e.peers_failed THEN
            RETURN 'degraded';
        ELSE
            RETURN 'down';
        END IF;
    END IF;
    -- Peers may still be asking: they are given until the fifth heartbeat is missed.
    IF e.peers_to_ask > 0 AND NOT missed_five THEN
        RETURN e.state;
    END IF;
    -- There is no peer, or none has said anything: what the lead's own probe has found.
    IF e.lead_failed THEN
        RETURN 'down';
    END IF;
    IF e.lead_answered THEN
        RETURN 'degraded';
    END IF;
    IF missed_five THEN
        RETURN 'down';
    END IF;
    RETURN e.state;
END
$$;
CREATE TEMPORARY TABLE judged AS
    SELECT e, j.state::text AS state, j.reason, pg_temp.state_by_the_book(e, 2) AS expected
    FROM enum_range(NULL::aurora.health_state) states, unnest(states) state, (VALUES (false), (true)) l (is_lead),
         (VALUES (0::float8), (5.999), (6), (9.999), (10), (1e6)) s (silent_s), unnest(ARRAY[0, 1, 2]) in_row,
         (VALUES (0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (2, 1)) p (failed, answered), (VALUES (0), (1), (3)) q (to_ask),
         (VALUES (false, false), (true, false), (false, true)) o (lead_failed, lead_answered),
         (VALUES (false), (true)) v (vanished), (VALUES (false, NULL), (true, NULL), (false, 'it limps'), (true, 'it limps')) f (flapping, trouble),
         LATERAL (SELECT ROW(state, is_lead, false, true, silent_s, in_row, failed, answered, to_ask, lead_failed, lead_answered, vanished, flapping, trouble)::aurora.node_evidence AS e) x,
         LATERAL aurora.judge_evidence(x.e, 2) j;
SELECT cmp_ok((SELECT count(*) FROM judged), '>', 50000::bigint, 'every pair of what can be known of a node is tried, and its bounds');
SELECT is_empty('SELECT e, state, expected FROM judged WHERE state IS DISTINCT FROM expected LIMIT 5', 'nodes are judged by the book');
SELECT is_empty($$ SELECT e, state FROM judged WHERE state IS DISTINCT FROM (e).state::text AND state <> 'up' AND reason IS NULL LIMIT 5 $$,
                'a change has a reason, but for the one that all is well');
SELECT is_empty($$ SELECT e, reason FROM judged WHERE state = 'up' AND (e).silent_s < 6 AND reason IS NOT NULL LIMIT 5 $$, 'being up has none');
SELECT is_empty($$ SELECT e, reason FROM judged WHERE state = 'degraded' AND (e).silent_s < 6 AND NOT (e).flapping AND reason <> 'it limps' LIMIT 5 $$,
                'what is wrong with a node is the reason that is shown');
SELECT is((SELECT string_agg(DISTINCT j.state || ': ' || coalesce(j.reason, 'none'), ', ')
           FROM judged, aurora.judge_evidence(jsonb_populate_record(e, '{"in_maintenance": true}'), 2) j WHERE random() < 0.01), 'maintenance: none',
          'in maintenance nothing else matters');
SELECT is((SELECT string_agg(DISTINCT j.state || ': ' || coalesce(j.reason, 'none'), ', ')
           FROM judged, aurora.judge_evidence(jsonb_populate_record(e, '{"heard": false}'), 2) j WHERE random() < 0.01), 'unknown: it has not reported yet',
          'a node that never has reported is unknown');
SELECT is((SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM judged), 'degraded down maintenance unknown up', 'all states occur');
DROP TABLE judged;

-- ---- a mesh in simulated time: its clock shows seconds since 2030 ----

CREATE FUNCTION pg_temp.at(second numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT timestamptz '2030-01-01 00:00:00Z' + make_interval(secs => second::float8)
$$;
-- A heartbeat of a node, as its agent sends them every two seconds.
CREATE FUNCTION pg_temp.beat(nodes text, second numeric, changes jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_node text;
    lead boolean;
BEGIN
    FOREACH of_node IN ARRAY string_to_array(nodes, ' ') LOOP
        lead := of_node = aurora.own_node();
        INSERT INTO aurora.node_status AS s (node, instance, heartbeat_at, is_lead, timeline, receive_lsn, replay_lsn, lag_bytes, lag_seconds,
                wal_receiver, version, postgres_version, started_at, agent_port, clock_skew_seconds, drops, incarnation, last_batch)
            VALUES (of_node, 'first', pg_temp.at(second), lead, 1, '0/0', '0/0', 0, 0, CASE WHEN NOT lead THEN 'streaming' END, '1.0', '15.1',
                    pg_temp.at(0), 9998, 0, 0, 'run one', 0)
            ON CONFLICT ON CONSTRAINT node_status_pkey DO UPDATE SET heartbeat_at = excluded.heartbeat_at,
                heartbeats_in_row = CASE WHEN s.heartbeat_at > excluded.heartbeat_at - interval '4 seconds' THEN s.heartbeats_in_row + 1 ELSE 1 END,
                wal_receiver = excluded.wal_receiver, lag_seconds = 0, clock_skew_seconds = 0, version = '1.0', is_lead = lead;
        UPDATE aurora.node_status s SET lag_seconds = coalesce((changes ->> 'lag')::real, s.lag_seconds), wal_receiver = coalesce(changes ->> 'wal_receiver', s.wal_receiver),
                clock_skew_seconds = coalesce((changes ->> 'skew')::real, s.clock_skew_seconds), version = coalesce(changes ->> 'version', s.version),
                is_lead = coalesce((changes ->> 'is_lead')::boolean, s.is_lead)
            WHERE s.node = of_node;
    END LOOP;
END
$$;
CREATE FUNCTION pg_temp.show() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(t.node || ' ' || t.state, ', ' ORDER BY t.node) FROM aurora.node_state t WHERE t.node <> aurora.own_node()
$$;
-- What the lead judges at a time, while it goes on watching.
CREATE FUNCTION pg_temp.judge(second numeric) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE aurora.lead_heartbeat SET at = pg_temp.at(second);
    PERFORM pg_temp.beat(aurora.own_node(), second);
    PERFORM aurora.judge_nodes(pg_temp.at(second));
    RETURN pg_temp.show();
END
$$;
-- What a peer has found of a node at a time.
CREATE FUNCTION pg_temp.probe(from_node text, to_node text, second numeric, failures int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO aurora.node_probe AS p (from_node, to_node, last_attempt, failures) VALUES (from_node, to_node, pg_temp.at(second), failures)
        ON CONFLICT ON CONSTRAINT node_probe_pkey DO UPDATE SET last_attempt = excluded.last_attempt, failures = excluded.failures
$$;
-- Time passes for a mesh in which these nodes report.
CREATE FUNCTION pg_temp.live(nodes text, first int, last int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    shown text;
BEGIN
    FOR second IN first .. last LOOP
        IF second % 2 = 0 THEN
            PERFORM pg_temp.beat(nodes, second);
        END IF;
        shown := pg_temp.judge(second);
    END LOOP;
    RETURN shown;
END
$$;
CREATE FUNCTION pg_temp.reason(node text) RETURNS text LANGUAGE sql AS $$ SELECT t.reason FROM aurora.node_state t WHERE t.node = $1 $$;
CREATE FUNCTION pg_temp.history(node text, since numeric DEFAULT 0) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat(extract(epoch FROM t.at - pg_temp.at(0))::float8, 's ', t.to_state), ', ' ORDER BY t.at, t.transition_id)
    FROM aurora.node_transition t WHERE t.node = $1 AND t.at >= pg_temp.at(since)
$$;
-- A mesh of these, all up since second 3; the lead watches since 0. Each has an address, so that peers can ask.
CREATE FUNCTION pg_temp.mesh(nodes text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM aurora.node;
    DELETE FROM aurora.lead_heartbeat;
    INSERT INTO aurora.node (name, address) SELECT n, ('10.0.0.' || i)::inet
        FROM unnest(string_to_array(aurora.own_node() || ' ' || nodes, ' ')) WITH ORDINALITY x (n, i);
    INSERT INTO aurora.lead_heartbeat (beat, at, watching_since) VALUES (1, pg_temp.at(0), pg_temp.at(0));
    RETURN pg_temp.live(nodes, 0, 3);
END
$$;
INSERT INTO aurora.lead_epoch (epoch_no, timeline, id, lead, began_at, system_identifier)
    VALUES (1, 1, gen_random_uuid(), aurora.own_node(), pg_temp.at(0), 1);

-- ---- coming up ----

SELECT pg_temp.mesh('a b') AS ignored \gset
INSERT INTO aurora.node (name) VALUES ('c');
SELECT is(pg_temp.judge(3), 'a up, b up, c unknown', 'who has not reported is unknown');
SELECT is(pg_temp.reason('c'), 'it has not reported yet', 'as its reason tells');
SELECT pg_temp.beat('c', 4) AS ignored \gset
SELECT is(pg_temp.judge(4), 'a up, b up, c unknown', 'one heartbeat is not enough');
SELECT pg_temp.beat('c', 6) AS ignored \gset
SELECT is(pg_temp.judge(6), 'a up, b up, c up', 'two in a row are');
SELECT is(pg_temp.reason('c'), NULL, 'being up has no reason');
SELECT is(pg_temp.rows_of($$ SELECT name, at, from_state, to_state, reason FROM aurora.node_transitions WHERE name = 'c' ORDER BY at $$),
          '(c,"2030-01-01 00:00:03+00",,unknown,"it has not reported yet") (c,"2030-01-01 00:00:06+00",unknown,up,)', 'each change is a row');
SELECT is(pg_temp.rows_of($$ SELECT state, since, observed_by = aurora.own_node() FROM aurora.nodes WHERE name = 'c' $$), '(up,"2030-01-01 00:00:06+00",t)', 'and the view shows the last');

-- ---- going down ----

SELECT pg_temp.mesh('a b c') AS ignored \gset
SELECT is(pg_temp.live('b c', 4, 7), 'a up, b up, c up', 'two missed heartbeats are nothing');
SELECT pg_temp.probe('b', 'a', 7.5, 1) AS ignored \gset
SELECT is(pg_temp.judge(7.999), 'a up, b up, c up', 'nor are a peer''s failures before the third');
SELECT is(pg_temp.judge(8), 'a down, b up, c up', 'three, and a peer that gets no answer: down');
SELECT is(pg_temp.reason('a'), 'no heartbeat, and its peers get no answer', 'with the reason');
SELECT is(pg_temp.live('b c', 9, 100), 'a down, b up, c up', 'it stays down');
SELECT pg_temp.beat('a', 101) AS ignored \gset
SELECT is(pg_temp.judge(101), 'a down, b up, c up', 'and still with one heartbeat');
SELECT pg_temp.beat('a', 103) AS ignored \gset
SELECT is(pg_temp.judge(103), 'a up, b up, c up', 'two in a row bring it back');
SELECT is(pg_temp.history('a'), '0s unknown, 2s up, 8s down, 103s up', 'which is its history');

SELECT pg_temp.mesh('a b c') AS ignored \gset
SELECT pg_temp.live('b c', 4, 7) AS ignored, pg_temp.probe('b', 'a', 2, 1) AS ignored_too \gset
SELECT is(pg_temp.judge(8), 'a up, b up, c up', 'what a peer found before the silence does not count');
SELECT is(pg_temp.live('b c', 9, 11), 'a up, b up, c up', 'peers have time to answer');
SELECT is(pg_temp.live('b c', 12, 12), 'a down, b up, c up', 'until the fifth heartbeat is missed');
SELECT is(pg_temp.reason('a'), 'no heartbeat, and nobody who could ask', 'with that reason');

SELECT pg_temp.mesh('a b c') AS ignored \gset
SELECT pg_temp.live('b c', 4, 7), pg_temp.probe('b', 'a', 7, 0), pg_temp.probe('c', 'a', 7, 0) \gset ignored_
SELECT is(pg_temp.live('b c', 8, 11), 'a up, b up, c up', 'when peers get answers nothing changes for two heartbeats');
SELECT is(pg_temp.live('b c', 12, 12), 'a degraded, b up, c up', 'then it is degraded, not down');
SELECT is(pg_temp.reason('a'), 'no heartbeat, but peers get answers: the way to the lead, or its Postgres', 'with the reason');
SELECT pg_temp.probe('b', 'a', 13, 1), pg_temp.probe('c', 'a', 13, 0) \gset ignored_
SELECT is(pg_temp.judge(13), 'a down, b up, c up', 'of as many peers on both sides those who get no answer are believed');

SELECT pg_temp.mesh('a b c d') AS ignored \gset
SELECT pg_temp.live('b c d', 4, 7), pg_temp.probe('b', 'a', 7, 1), pg_temp.probe('c', 'a', 7, 0), pg_temp.probe('d', 'a', 7, 0) \gset ignored_
SELECT is(pg_temp.live('b c d', 8, 13), 'a degraded, b up, c up, d up', 'the majority of peers is right');

SELECT pg_temp.mesh('a') AS ignored \gset
SELECT is(pg_temp.judge(8), 'a up', 'without a peer the lead asks itself');
SELECT pg_temp.probe(aurora.own_node(), 'a', 8.5, 1) AS ignored \gset
SELECT is(pg_temp.judge(9), 'a down', 'and believes what it finds');
SELECT is(pg_temp.reason('a'), 'no heartbeat, no answer to the lead, and no peer to ask', 'with the reason');
SELECT pg_temp.mesh('a') AS ignored \gset
SELECT pg_temp.probe(aurora.own_node(), 'a', 7, 0), pg_temp.judge(8) \gset ignored_
SELECT is(pg_temp.judge(12), 'a degraded', 'an agent that answers the lead but does not report is degraded');
SELECT is(pg_temp.reason('a'), 'no heartbeat, but its agent answers the lead', 'with the reason');
SELECT pg_temp.mesh('a') AS ignored \gset
SELECT is(pg_temp.judge(8), 'a up', 'when nobody can ask');
SELECT is(pg_temp.judge(11.9), 'a up', 'five heartbeats have to be missed');
SELECT is(pg_temp.judge(12), 'a down', 'to be down');

SELECT pg_temp.mesh('a b') AS ignored \gset
SELECT pg_temp.live('b', 4, 7), pg_temp.probe('b', 'a', 7, 1) \gset ignored_
UPDATE aurora.node_status SET heartbeat_at = pg_temp.at(1) WHERE node = 'b';
SELECT is(pg_temp.judge(8), 'a up, b up', 'a peer that is silent itself is not believed');

-- ---- many at once ----

SELECT pg_temp.mesh('a b c d') AS ignored \gset
SELECT pg_temp.live('d', 4, 8), pg_temp.probe('d', 'a', 8, 1), pg_temp.probe('d', 'b', 8, 1), pg_temp.probe('d', 'c', 8, 1) \gset ignored_
SELECT is(pg_temp.live('d', 9, 9), 'a unknown, b unknown, c unknown, d up', 'when three of four fall silent at once nobody is declared down');
SELECT is(pg_temp.reason('a'), 'most nodes fell silent at once: the lead may be the one that is cut off', 'since it may be the lead that is cut off');
SELECT is(pg_temp.live('d', 10, 60), 'a unknown, b unknown, c unknown, d up', 'and that lasts');
SELECT is(pg_temp.live('a b c d', 61, 65), 'a up, b up, c up, d up', 'until they are back');
SELECT is((SELECT count(*) FROM aurora.node_transition WHERE to_state = 'down'), 0::bigint, 'none of which counts as down');

SELECT pg_temp.mesh('a b c d e f') AS ignored \gset
SELECT pg_temp.live('d e f', 4, 7), pg_temp.probe('d', 'a', 7, 1), pg_temp.probe('d', 'b', 7, 1), pg_temp.probe('d', 'c', 7, 1) \gset ignored_
SELECT is(pg_temp.judge(8), 'a down, b down, c down, d up, e up, f up', 'half of the nodes are not most');
SELECT pg_temp.mesh('a b') AS ignored \gset
SELECT is(pg_temp.judge(12), 'a down, b down', 'nor are two');

-- ---- up and degraded ----

SELECT pg_temp.mesh('a') AS ignored \gset
-- The state after a heartbeat every two seconds with these changes.
CREATE FUNCTION pg_temp.live_with(changes jsonb, first int, last int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR second IN first .. last LOOP
        PERFORM pg_temp.beat('a', second, changes), pg_temp.judge(second);
    END LOOP;
    RETURN (SELECT concat_ws(': ', t.state, t.reason) FROM aurora.node_state t WHERE t.node = 'a');
END
$$;
SELECT is(pg_temp.live_with('{"lag": 5}', 4, 20), 'up', 'a lag of 5 s is none to mind');
SELECT is(pg_temp.live_with('{"lag": 5.1}', 21, 24), 'up', 'a longer one is when it lasts');
SELECT is(pg_temp.live_with('{"lag": 5.1}', 25, 25), 'degraded: it lags by more than 5s', 'for two heartbeats');
SELECT is(pg_temp.live_with('{}', 26, 29), 'degraded: it lags by more than 5s', 'and its end, too');
SELECT is(pg_temp.live_with('{}', 30, 30), 'up', 'has to last for two heartbeats');
SELECT is(pg_temp.live_with('{"lag": 6}', 31, 33), 'up', 'a lag that comes');
SELECT is(pg_temp.live_with('{}', 34, 34), 'up', 'and goes');
SELECT is(pg_temp.live_with('{"lag": 6}', 35, 38), 'up', 'and comes again begins anew');
SELECT is(pg_temp.live_with('{"skew": -10}', 39, 60), 'up', 'a clock that is 10 s late is none to mind');
SELECT is(pg_temp.live_with('{"skew": -10.1}', 61, 65), 'degraded: its clock is off by more than 10s', 'a later one is');
SELECT is(pg_temp.live_with('{"skew": 10.1}', 66, 66), 'degraded: its clock is off by more than 10s', 'so is one that is early');
SELECT is(pg_temp.live_with('{"version": "0.9"}', 67, 67), 'degraded: its library is 0.9, the lead''s is 1.0', 'another reason is shown at once');
SELECT is(pg_temp.live_with('{"wal_receiver": "stopping"}', 68, 68), 'degraded: it does not stream from the lead', 'a node that does not stream is degraded');
SELECT is(pg_temp.live_with('{"is_lead": true, "lag": 9}', 69, 69), 'degraded: it lags by more than 5s; it is a lead of its own', 'of several reasons all are shown');
SELECT is(pg_temp.live_with('{}', 70, 80), 'up', 'and in the end all is well');
SELECT is((SELECT string_agg(to_state::text, ' ' ORDER BY transition_id) FROM aurora.node_transition WHERE node = 'a'), 'unknown up degraded up degraded up', 'another reason is no transition');
UPDATE aurora.node_status SET wal_receiver = NULL WHERE node = 'a';
SELECT is((SELECT aurora.trouble_of(a, l, pg_temp.at(80)) FROM aurora.node_status a, aurora.node_status l WHERE a.node = 'a' AND l.node = aurora.own_node()),
          'it does not stream from the lead', 'a node without a WAL receiver does not stream either');

-- ---- flapping ----

SELECT pg_temp.mesh('a') AS ignored \gset
-- Down at the twelfth second of each minute from the first to the last, and back before its end.
CREATE FUNCTION pg_temp.flap(first int, last int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    FOR minute IN first .. last LOOP
        PERFORM pg_temp.live('a', 60 * minute - 20, 60 * minute);
        PERFORM pg_temp.judge(60 * minute + 6), pg_temp.judge(60 * minute + 12);
        PERFORM pg_temp.live('a', 60 * minute + 20, 60 * minute + 30);
    END LOOP;
    RETURN (SELECT concat_ws(': ', t.state, t.reason) FROM aurora.node_state t WHERE t.node = 'a');
END
$$;
SELECT is(pg_temp.flap(1, 2), 'up', 'a node that went down twice is up when it is back');
SELECT is(pg_temp.flap(3, 3), 'degraded: it goes up and down: 3 times or more in 10 minutes', 'after the third time it is degraded');
SELECT is((SELECT flaps FROM aurora.nodes WHERE name = 'a'), 3::bigint, 'which the view counts');
SELECT is(pg_temp.live('a', 211, 491), 'a degraded', 'for five minutes');
SELECT is(pg_temp.live('a', 492, 500), 'a up', 'without another time');

-- ---- maintenance ----

SELECT pg_temp.mesh('a b') AS ignored \gset
UPDATE aurora.node SET maintenance_until = pg_temp.at(30) WHERE name = 'a';
SELECT is(pg_temp.live('b', 4, 29), 'a maintenance, b up', 'in maintenance a node may be silent');
SELECT is(pg_temp.history('a', 3), '4s maintenance', 'without a word');
SELECT is(pg_temp.live('b', 30, 31), 'a down, b up', 'when that has ended it is judged again');
SELECT pg_temp.mesh('a b') AS ignored \gset
UPDATE aurora.node SET maintenance_until = pg_temp.at(30) WHERE name = 'a';
SELECT is(pg_temp.live('a b', 4, 29), 'a maintenance, b up', 'also one that is well is in maintenance');
SELECT is(pg_temp.live('a b', 30, 30), 'a up, b up', 'and up at once when that has ended');

-- ---- when no lead has watched ----

SELECT pg_temp.mesh('a b c') AS ignored \gset
SELECT pg_temp.live('b c', 4, 7), pg_temp.probe('b', 'a', 7, 1), pg_temp.judge(8) \gset ignored_
SELECT aurora.judge_nodes(pg_temp.at(18)) AS ignored \gset
SELECT is_empty($$ SELECT FROM aurora.node_transition WHERE to_state = 'unknown' AND from_state IS NOT NULL $$, 'ten seconds without a look are no gap');
SELECT pg_temp.mesh('a b c') AS ignored \gset
SELECT pg_temp.live('b c', 4, 7), pg_temp.probe('b', 'a', 7, 1), pg_temp.judge(8) \gset ignored_
SELECT aurora.judge_nodes(pg_temp.at(1000)) AS ignored \gset
SELECT is(pg_temp.show(), 'a down, b unknown, c unknown', 'after a longer one nodes are unknown, and one that was down stays down');
SELECT is(pg_temp.history('b', 8), '8s unknown', 'for the time in which nobody watched');
SELECT is(pg_temp.history(aurora.own_node(), 8), '8s down', 'in which the lead was down');
SELECT is(pg_temp.reason('b'), 'no lead was watching', 'with the reason');
SELECT is(pg_temp.live('b', 1001, 1005), 'a down, b up, c unknown', 'who reports again is up');
SELECT is((SELECT reason FROM aurora.node_transition WHERE node = aurora.own_node() AND to_state = 'down'), 'it was the lead, and fell silent', 'the old lead has a reason of its own');
SELECT is((SELECT state::text FROM aurora.node_state WHERE node = aurora.own_node()), 'up', 'the lead, too');
SELECT pg_temp.probe('b', 'c', 1005.5, 1) AS ignored \gset
SELECT is(pg_temp.judge(1006), 'a down, b up, c down', 'who does not is judged after three heartbeats'' time');
SELECT pg_temp.mesh('a b') AS ignored \gset
SELECT pg_temp.live('a b', 4, 30) AS ignored \gset
SELECT aurora.judge_nodes(pg_temp.at(29.9)) AS ignored \gset
SELECT is(pg_temp.show(), 'a up, b up', 'a clock that steps back by a moment is no gap');
SELECT aurora.judge_nodes(pg_temp.at(12)) AS ignored \gset
SELECT is(pg_temp.live('a b', 14, 20), 'a up, b up', 'and one that steps back by much is survived');
SELECT pg_temp.mesh('a') AS ignored, aurora.change_state('a', 'degraded', repeat('ü', 400), pg_temp.at(4)) AS ignored_too \gset
SELECT is(pg_temp.rows_of($$ SELECT length(t.reason), length(s.reason) FROM aurora.node_transition t JOIN aurora.node_state s ON s.node = t.node WHERE t.at = pg_temp.at(4) AND t.node = 'a' $$),
          '(300,300)', 'a reason is cut to what a notification has room for');

-- ---- uptime, against a slow version ----

SELECT pg_temp.mesh('a b') AS ignored \gset
DELETE FROM aurora.node_transition;
SELECT setseed(0.4) AS ignored \gset
INSERT INTO aurora.node (name) SELECT 'r' || i FROM generate_series(1, 40) i;
-- Some change every few seconds, some hardly ever, some at the same time twice.
INSERT INTO aurora.node_transition (node, at, to_state)
    SELECT 'r' || i, pg_temp.at(floor(random() * 1200)::numeric), (enum_range(NULL::aurora.health_state))[1 + floor(random() * 5)]
    FROM generate_series(1, 40) i, generate_series(1, i % 20) j;
-- The state that was in force in the middle of each second.
CREATE TEMPORARY TABLE lived AS
    SELECT n.name, second, s.state
    FROM aurora.node n, generate_series(0, 1499) second,
         LATERAL (SELECT t.to_state::text AS state FROM aurora.node_transition t WHERE t.node = n.name AND t.at <= pg_temp.at(second + 0.5)
                  ORDER BY t.at DESC, t.transition_id DESC LIMIT 1) s
    WHERE n.name LIKE 'r%';
CREATE INDEX ON lived (name, second);
CREATE FUNCTION pg_temp.slow_uptime(of_node text, first int, last int) RETURNS numeric LANGUAGE sql AS $$
    SELECT round(100.0 * count(*) FILTER (WHERE l.state IN ('up', 'degraded')) / nullif(count(*) FILTER (WHERE l.state IN ('up', 'degraded', 'down')), 0), 3)
    FROM lived l WHERE l.name = of_node AND l.second BETWEEN first AND last
$$;
CREATE TEMPORARY TABLE uptime AS
    SELECT n.name, span, second, aurora.node_uptime(n.name, make_interval(secs => span), pg_temp.at(second)) AS uptime,
           pg_temp.slow_uptime(n.name, second - span, second - 1) AS expected
    FROM aurora.node n, unnest(ARRAY[1, 10, 300, 2000]) span, unnest(ARRAY[0, 1, 600, 601, 1200, 1500]) second WHERE n.name LIKE 'r%';
SELECT is_empty('SELECT * FROM uptime WHERE uptime IS DISTINCT FROM expected LIMIT 5', 'uptime is what counting second by second gives');
SELECT cmp_ok((SELECT count(DISTINCT uptime) FROM uptime), '>', 50::bigint, 'of many sorts');
SELECT is(aurora.node_uptime('nobody', '1 day', now()), NULL, 'who has no history has no uptime');
SELECT is(aurora.node_uptime('r19', '0', pg_temp.at(600)), NULL, 'nor has a span of nothing');
INSERT INTO aurora.node (name) VALUES ('broken');
INSERT INTO aurora.node_transition (node, at, to_state) VALUES ('broken', pg_temp.at(0), 'down');
SELECT is(aurora.node_uptime('broken', '1 hour', pg_temp.at(600)), 0.000, 'who was only down has an uptime of 0');
INSERT INTO aurora.node_transition (node, at, to_state) VALUES ('a', now() - interval '100 days', 'up'),
    ('b', now() - interval '100 days', 'down'), ('b', now() - interval '95 days', 'up'), ('b', now() - interval '12 hours', 'down'), ('b', now() - interval '6 hours', 'degraded');
SELECT is(pg_temp.rows_of($$ SELECT uptime_24h, uptime_7d, uptime_30d FROM aurora.nodes WHERE name IN ('a', 'b') ORDER BY name $$),
          '(100.000,100.000,100.000) (75.000,96.429,99.167)', 'the view has it for a day, a week and 30 days');
SELECT throws_ok(format('SELECT aurora.forget_transitions(%L)', keep), '22023', NULL, format('history of %s is kept', coalesce(keep, 'null')))
    FROM (VALUES ('23 hours 59 minutes'), ('-1 day'), (NULL)) k (keep);
SELECT is(aurora.forget_transitions(), 1::bigint, 'history of more than 90 days is forgotten');
SELECT is((SELECT string_agg(t.node || ' ' || t.to_state, ', ' ORDER BY t.node) FROM aurora.node_transition t WHERE t.at < now() - interval '90 days'), 'a up, b up',
          'but for what each node was then');
SELECT is(pg_temp.rows_of($$ SELECT uptime_24h, uptime_7d, uptime_30d FROM aurora.nodes WHERE name IN ('a', 'b') ORDER BY name $$),
          '(100.000,100.000,100.000) (75.000,96.429,99.167)', 'which changes no uptime');

-- ---- promotion ----

SELECT pg_temp.mesh('a b c d e f g h') AS ignored \gset
UPDATE aurora.node SET role = 'edge' WHERE name = 'a';
UPDATE aurora.node SET drained_at = now() WHERE name = 'f';
UPDATE aurora.node_state SET state = 'down' WHERE node = 'g';
UPDATE aurora.node_state SET state = 'maintenance' WHERE node = 'h';
UPDATE aurora.node_state SET state = 'degraded' WHERE node = 'd';
UPDATE aurora.node_status s SET timeline = v.timeline, receive_lsn = v.receive::pg_lsn, replay_lsn = '0/10'
    FROM (VALUES ('a', 2, '0/200'), ('b', 2, '0/200'), ('c', 2, '0/1FF'), ('d', 2, '0/300'), ('e', 1, '0/900'), ('f', 2, '0/400'), ('g', 2, '0/500'), ('h', 2, '0/400'))
         v (node, timeline, receive) WHERE s.node = v.node;
INSERT INTO aurora.node (name) VALUES ('silent');
SELECT is(pg_temp.rows_of('SELECT rank, name, eligible, reason FROM aurora.promotion_candidates()'),
          '(1,d,t,) (2,b,t,) (3,a,t,) (4,c,t,) (5,e,t,) (6,g,f,"it is down") (7,f,f,"it is drained") (8,h,f,"it is in maintenance")',
          'the most advanced goes first: by timeline, by position, a backup before others; who is down, drained or in maintenance last');
SELECT is(pg_temp.rows_of($$ SELECT name, role, state, timeline, receive_lsn, replay_lsn, behind_bytes FROM aurora.promotion_candidates() WHERE name IN ('a', 'd', 'e') ORDER BY rank $$),
          '(d,backup,degraded,2,0/300,0/10,1536) (a,edge,up,2,0/200,0/10,1792) (e,backup,up,1,0/900,0/10,0)', 'with what each has, and what it lacks of the most advanced');
SELECT is((SELECT count(*) FROM aurora.promotion_candidates() WHERE name IN ('silent', aurora.own_node())), 0::bigint, 'never the lead, nor a node that nobody has heard of');

-- ---- how everything is ----

-- What depends on the agent and the settings of this cluster is left out.
CREATE OR REPLACE FUNCTION aurora.health_agent() RETURNS SETOF aurora.component_health LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'agent', 'up'::aurora.health_state, NULL
$$;
SELECT pg_temp.mesh('a b') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT h.component, h.state, h.reason FROM aurora.health() WITH ORDINALITY h WHERE h.component <> 'node ' || aurora.own_node() ORDER BY h.ordinality $$),
          '(verdict,up,) (agent,up,) (lead,up,) ("node a",up,) ("node b",up,) (replication,up,) (secrets,up,)', 'health() begins with the verdict, then tells of each component');
-- The verdict with the reason.
CREATE FUNCTION pg_temp.verdict() RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(': ', h.state, h.reason) FROM aurora.health() h WHERE h.component = 'verdict' $$;
UPDATE aurora.node_state SET state = 'degraded', reason = 'it limps' WHERE node = 'a';
SELECT is(pg_temp.verdict(), 'degraded: node a is degraded', 'the verdict is the worst of all');
SELECT is((SELECT reason FROM aurora.health() WHERE component = 'node a'), 'it limps', 'each component has its own reason');
UPDATE aurora.node_state SET state = 'down' WHERE node = 'b';
SELECT is(pg_temp.verdict(), 'degraded: node b is down, node a is degraded', 'one node that is down leaves the whole degraded; the worst is named first');
UPDATE aurora.node_state SET state = 'maintenance' WHERE node IN ('a', 'b');
SELECT is(pg_temp.verdict(), 'maintenance: node a is maintenance, node b is maintenance', 'maintenance is less than anything wrong');
UPDATE aurora.node_state SET state = 'unknown' WHERE node = 'b';
SELECT is(pg_temp.verdict(), 'unknown: node b is unknown, node a is maintenance', 'but less than what nobody knows');
CREATE OR REPLACE FUNCTION aurora.health_agent() RETURNS SETOF aurora.component_health LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'agent', 'down'::aurora.health_state, 'it hangs'
$$;
SELECT is(pg_temp.verdict(), 'down: agent is down, node b is unknown, node a is maintenance', 'an agent that is down is as bad as can be');
CREATE FUNCTION aurora.health_broken() RETURNS SETOF aurora.component_health LANGUAGE sql VOLATILE AS $$ SELECT 'broken', 'up'::aurora.health_state, (1 / 0)::text $$;
SELECT is((SELECT count(*) FROM aurora.health() WHERE component = 'broken'), 0::bigint, 'functions of others are not asked');
ALTER EXTENSION aurora ADD FUNCTION aurora.health_broken();
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.health() WHERE component = 'broken' $$), '(broken,unknown,"division by zero")', 'a part that fails is unknown, and does not stop the others');
SELECT is((SELECT count(*) FROM aurora.health() WHERE component IN ('verdict', 'lead', 'node a')), 3::bigint, 'which are there');
DELETE FROM aurora.node_state;
SELECT is(pg_temp.rows_of($$ SELECT state, reason FROM aurora.health() WHERE component = 'node a' $$), '(unknown,)', 'a node that nobody has judged is unknown');
SELECT is(pg_temp.rows_of('SELECT s.state, aurora.health_rank(s.state) FROM unnest(enum_range(NULL::aurora.health_state)) s (state) ORDER BY 2'),
          '(up,0) (maintenance,1) (unknown,2) (degraded,3) (down,4)', 'from best to worst');

SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_registry_health;
