\set ECHO none
-- What a user tries in order to see or change more than it may.

SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS aurora CASCADE;
CREATE EXTENSION aurora;
SET timezone = 'UTC';
CREATE ROLE regress_attacker;
CREATE ROLE regress_attacked;
CREATE ROLE regress_operator IN ROLE aurora_operator;
CREATE ROLE regress_gate IN ROLE aurora_gateway, aurora_operator, aurora_admin;
CREATE SCHEMA attack AUTHORIZATION regress_attacker;

SELECT plan(22);

SELECT aurora.add_company('Acme') AS acme \gset
SELECT count(aurora.add_principal(o, 'Acme', o::name, t)) AS ignored
    FROM (VALUES ('regress_attacker', 'member'), ('regress_attacked', 'member')) p (o, t) \gset
SELECT aurora.add_principal('bot', 'Acme', trust => 'agent') AS ignored \gset
SELECT aurora.add_item('secret', owner => 'regress_attacked', company => 'Acme') AS secret,
       aurora.add_item('own', owner => 'regress_attacker', company => 'Acme') AS own \gset
SELECT aurora.set_weight('vip', 3, 'regress_attacked', 'Acme') AS ignored \gset

-- ---- code of the attacker that an administrator runs ----

SET ROLE regress_attacker;
CREATE TABLE attack.loot (administers boolean, items bigint, principals bigint);
CREATE TABLE attack.bait (x int);
CREATE FUNCTION attack.note() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attack.loot SELECT aurora.administers_all(), (SELECT count(*) FROM aurora.item), (SELECT count(*) FROM aurora.whoami());
END
$$;
CREATE FUNCTION attack.take(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM attack.note();
    RETURN $1;
END
$$;
INSERT INTO attack.bait VALUES (1);
CREATE INDEX ON attack.bait (attack.take(x));
DELETE FROM attack.loot;
CREATE FUNCTION attack.try_all() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY['aurora.is_operator()', $q$ aurora.add_api_key('x', 'monitor') $q$, $q$ aurora.add_queue('x') $q$,
                                     $q$ aurora.add_api_key('x', owner => 'regress_attacked', company => 'Acme') $q$] LOOP
        BEGIN
            EXECUTE 'SELECT ' || statement INTO statement;
            INSERT INTO attack.grabbed VALUES (statement);
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO attack.grabbed VALUES (SQLSTATE);
        END;
    END LOOP;
END
$$;
CREATE FUNCTION attack.grab(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM attack.try_all();
    RETURN $1;
END
$$;
CREATE TABLE attack.grabbed (what text);
CREATE TABLE attack.trap (x int);
INSERT INTO attack.trap VALUES (1);
CREATE INDEX ON attack.trap (attack.grab(x));
DELETE FROM attack.grabbed;
CREATE FUNCTION attack.helpful() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ SELECT aurora.is_operator() $$;
GRANT USAGE ON SCHEMA attack TO PUBLIC;
CREATE FUNCTION attack.innocent() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM aurora.item';
RESET ROLE;
ANALYZE attack.bait;
ANALYZE attack.trap;
SELECT is((SELECT string_agg(what, ' ') FROM attack.grabbed), 'false 42501 42501 22023', 'in maintenance nobody is an operator or adds keys');
SELECT isnt((SELECT count(*) FROM attack.loot), 0::bigint, 'an index''s function runs when an administrator analyzes the table');
SELECT is((SELECT bool_or(administers) FROM attack.loot), false, 'and is no administrator');
SELECT is((SELECT max(items) FROM attack.loot), 0::bigint, 'and sees no items');
SELECT is((SELECT max(principals) FROM attack.loot), 0::bigint, 'and is nobody');
SELECT is(attack.innocent(), 1::bigint, 'a SECURITY DEFINER function of a user sees its owner''s rows, whoever calls it');

-- ---- reads and writes beside one's own ----

CREATE FUNCTION pg_temp.state_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SET ROLE regress_attacker;
SELECT pg_temp.state_of(format($$ SELECT * FROM aurora.owner_surface(%s, 'regress_attacked') $$, :acme)) AS of_another,
       (SELECT count(*) FROM aurora.owner_surface(:acme, 'regress_attacker')) AS of_self,
       (SELECT count(*) FROM aurora.weight_override) AS weights, (SELECT count(*) FROM aurora.weight_change) AS changes,
       pg_temp.state_of($$ SELECT aurora.add_person('x@example.com', vip => true) $$) AS make_vip,
       pg_temp.state_of($$ SELECT aurora.add_person('y@example.com', 'Y') $$) AS make_person,
       pg_temp.state_of($$ SELECT aurora.put_weight(1, 'x', 'vip', 1) $$) AS internal \gset
RESET ROLE;
SELECT is(:'of_another'::text, '42501', 'owner_surface() refuses another''s owner');
SELECT is(:of_self, 1, 'and gives one''s own');
SELECT is(:weights, 0, 'a colleague''s weights are not seen');
SELECT is(:changes, 0, 'nor when they changed');
SELECT is(:'make_vip'::text, '42501', 'only managers say who is a VIP');
SELECT is(:'make_person'::text, 'no error', 'anybody may add a person');
SELECT is(:'internal'::text, '42501', 'internal functions are not for users');

-- ---- an operator that is led into a trap, and a gateway that is one itself ----

SET ROLE regress_operator;
SELECT attack.helpful() \gset
SELECT aurora.is_operator() AS operates \gset
RESET ROLE;
SELECT is(:'helpful'::boolean, false, 'a SECURITY DEFINER function of a user is no operator, whoever calls it');
SELECT is(:'operates'::boolean, true, 'who is one');
SET ROLE regress_gate;
BEGIN;
SELECT aurora.assume('Acme', 'regress_attacker') AS ignored \gset
SELECT aurora.administers_all() OR aurora.is_operator() OR aurora.caller_has('aurora_operator') OR aurora.caller_has('aurora_gateway') AS more,
       pg_temp.state_of($$ SELECT aurora.drain_node('x') $$) AS drains, pg_temp.state_of($$ SELECT aurora.add_api_key('x', 'monitor') $$) AS adds \gset
COMMIT;
RESET ROLE;
SELECT is(:'more'::boolean, false, 'a gateway has nothing of its own while it has assumed somebody');
SELECT is(ARRAY[:'drains', :'adds'], '{42501,42501}', 'nor operates the mesh');

-- ---- extreme values ----

SELECT throws_ok($$ SELECT aurora.item_is_misplaced(jsonb_populate_record(NULL::aurora.item, '{"company_id": 1}')) $$, '22004', NULL,
                 'a row that is none of aurora.item is refused');
SELECT throws_ok($$ SELECT aurora.set_company('Acme', revenue_unit => 1e400) $$, '23514', NULL, 'a setting that no number can hold is refused');
SELECT throws_ok($$ SELECT aurora.set_kind('task', half_life => '-1 year 360 days 36 seconds', company => 'Acme') $$, '23514', NULL,
                 'a half-life is as long as its seconds say');
SELECT throws_ok($$ SELECT aurora.apply_settings_batch(0) $$, '22023', NULL, 'a batch has rows');

-- ---- undo from elsewhere ----

SELECT aurora.snooze(:own, now() + interval '1 day') AS ignored \gset
SET timezone = 'Asia/Tokyo';
SELECT is(aurora.undo(:own), :own::bigint, 'what was done in one time zone is undone from another');

SELECT * FROM finish();
DROP EXTENSION aurora CASCADE;
DROP SCHEMA attack CASCADE;
DROP ROLE regress_attacker, regress_attacked, regress_operator, regress_gate;
