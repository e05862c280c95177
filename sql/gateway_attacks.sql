\set ECHO none
-- What somebody tries by keys and sessions in order to be more than these give.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS aurora CASCADE;
CREATE EXTENSION aurora;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
SET timezone = 'UTC';
CREATE ROLE regress_gate LOGIN IN ROLE aurora_gateway;
CREATE ROLE regress_gate_root LOGIN IN ROLE aurora_gateway, aurora_admin, aurora_operator;
CREATE ROLE regress_ann LOGIN;
CREATE ROLE regress_root LOGIN IN ROLE aurora_admin;
CREATE ROLE regress_olga LOGIN IN ROLE aurora_operator;
CREATE ROLE regress_super LOGIN SUPERUSER;
CREATE ROLE regress_nora LOGIN IN ROLE aurora_node;
CREATE ROLE regress_tom LOGIN IN ROLE aurora_node;
CREATE ROLE regress_bot LOGIN;
CREATE ROLE regress_mona LOGIN IN ROLE aurora_monitor;
CREATE SCHEMA attack AUTHORIZATION regress_ann;
GRANT USAGE ON SCHEMA attack TO PUBLIC;

SELECT plan(114);

CREATE FUNCTION pg_temp.state_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
-- The result of an expression, or its error, for who has a key, through a gateway; all is undone.
CREATE FUNCTION pg_temp.by_key(key text, expression text, route text DEFAULT 'GET /x', gate text DEFAULT 'regress_gate') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE 'SET LOCAL ROLE ' || gate;
        PERFORM aurora.assume_key(sha256(key::bytea), route, NULL, 0);
        EXECUTE 'SELECT (' || expression || ')::text' INTO result;
        RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = coalesce(result, 'null');
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'P0099' THEN SQLERRM ELSE SQLSTATE END;
    END;
END
$$;
CREATE FUNCTION pg_temp.by_session(token text, expression text DEFAULT '1', route text DEFAULT 'GET /x') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE 'SET LOCAL ROLE regress_gate';
        PERFORM aurora.assume_session(token, NULL, false, route, 0);
        EXECUTE 'SELECT (' || expression || ')::text' INTO result;
        RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = coalesce(result, 'null');
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'P0099' THEN SQLERRM ELSE SQLSTATE END;
    END;
END
$$;
CREATE FUNCTION pg_temp.as_role(role text, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE 'SET LOCAL ROLE ' || role;
        EXECUTE 'SELECT (' || expression || ')::text' INTO result;
        RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = coalesce(result, 'null');
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'P0099' THEN SQLERRM ELSE SQLSTATE END;
    END;
END
$$;

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset
SELECT count(aurora.add_principal(o, c, r::name, t)) AS ignored
    FROM (VALUES ('ann', 'Acme', 'regress_ann', 'member'), ('boss', 'Acme', NULL, 'admin'), ('bot', 'Acme', 'regress_bot', 'agent'), ('bob', 'Bolt', NULL, 'admin'),
                 ('root', 'Acme', 'regress_root', 'member'), ('olga', 'Acme', 'regress_olga', 'member'), ('super', 'Acme', 'regress_super', 'member')) p (o, c, r, t) \gset
SELECT aurora.register_node('one', login_role => 'regress_nora') AS ignored, aurora.register_node('two', login_role => 'regress_tom') AS ignored,
       aurora.register_node('bare') AS ignored \gset
UPDATE aurora.node SET login_role = NULL WHERE name = 'bare';
SELECT aurora.add_item('of boss', owner => 'boss', company => 'Acme') AS ignored, aurora.add_item('of bob', owner => 'bob', company => 'Bolt') AS ignored,
       aurora.add_item('of ann', owner => 'ann', company => 'Acme') AS ignored \gset
SELECT aurora.add_api_key('ann', owner => 'ann', company => 'Acme') AS ann, aurora.add_api_key('boss', owner => 'boss', company => 'Acme') AS boss,
       aurora.add_api_key('bot', 'agent', 'bot', 'Acme') AS bot, aurora.add_api_key('bob', owner => 'bob', company => 'Bolt') AS bob,
       aurora.add_api_key('root', owner => 'root', company => 'Acme') AS root, aurora.add_api_key('olga', owner => 'olga', company => 'Acme') AS olga,
       aurora.add_api_key('super', owner => 'super', company => 'Acme') AS super, aurora.add_api_key('one', 'node', node => 'one') AS one,
       aurora.add_api_key('two', 'node', node => 'two') AS two, aurora.add_api_key('bare', 'node', node => 'bare') AS bare, aurora.add_api_key('eyes', 'monitor') AS eyes,
       aurora.add_api_key('narrow', owner => 'boss', company => 'Acme', routes => '{* /a}') AS narrow,
       aurora.add_api_key('short', owner => 'boss', company => 'Acme', lasts => '1 hour') AS short \gset
SELECT key_id AS ann_id FROM aurora.api_key WHERE name = 'ann' \gset
SELECT key_id AS bob_id FROM aurora.api_key WHERE name = 'bob' \gset

-- ---- who may assume, and be asked for whom ----

SELECT is(pg_temp.as_role(role, expression), '42501', format('%s may not: %s', role, left(expression, 40)))
    FROM unnest('{regress_ann,regress_bot,regress_nora,regress_mona,regress_olga}'::text[]) role,
         unnest(ARRAY[format('SELECT key_id FROM aurora.assume_key(sha256(%L), NULL, NULL, 0)', :'boss'), $$ SELECT owner FROM aurora.log_in('Acme', 'ann', 'x') $$,
                      format('SELECT owner FROM aurora.log_in_by_key(sha256(%L))', :'boss'), 'SELECT count(*) FROM aurora.topic_events(1, 0, 1)', $$ aurora.store_webhook('x', '{}', '', NULL) $$,
                      $$ SELECT count(*) FROM aurora.job_outputs('{1}', '{0}') $$]) expression;
SELECT is(pg_temp.as_role('regress_gate', expression), '42501', 'a gateway itself may not: ' || left(expression, 40))
    FROM unnest(ARRAY['SELECT count(*) FROM aurora.api_key', 'SELECT count(*) FROM aurora.principal_password', 'aurora.new_api_key()', 'SELECT owner FROM aurora.begin_session(1)',
                      $$ aurora.store_session_key('a', 'b') $$, 'SELECT count(*) FROM aurora.metrics()', $$ aurora.add_api_key('x', 'monitor') $$]) expression;

-- ---- no more than the principal has ----

SELECT is(pg_temp.by_key(key, 'concat_ws('' '', aurora.administers_all(), aurora.is_operator(), aurora.may_manage(' || :bolt || '), (SELECT count(*) FROM aurora.items))', gate => gate), 'f f f 0', title)
    FROM (VALUES (:'root', 'regress_gate', 'an administrator''s key is that of a person'), (:'olga', 'regress_gate', 'so is an operator''s'), (:'super', 'regress_gate', 'and a superuser''s'),
                 (:'root', 'regress_gate_root', 'also where the gateway''s own role is more than that'), (:'one', 'regress_gate_root', 'a node is no administrator either'),
                 (:'eyes', 'regress_gate_root', 'nor is a monitor')) k (key, gate, title);
SELECT is(pg_temp.by_key(key, $$ aurora.drain_node('one') $$, gate => 'regress_gate_root'), '42501', 'nobody operates the mesh by a key: ' || title)
    FROM (VALUES (:'root', 'an administrator'), (:'olga', 'an operator'), (:'one', 'a node'), (:'eyes', 'a monitor')) k (key, title);
SELECT is(pg_temp.by_key(:'bob', $$ SELECT string_agg(title, ', ') FROM aurora.items $$), 'of bob', 'one company''s key sees nothing of another');
SELECT is(pg_temp.by_key(:'bob', $$ aurora.add_item('x', owner => 'ann', company => 'Acme') $$), '22023', 'and does nothing there');
SELECT is(pg_temp.by_key(:'ann', $$ SELECT string_agg(title, ', ') FROM aurora.items $$), 'of ann', 'a member''s key sees its own');
SELECT is(pg_temp.by_key(:'ann', $$ aurora.assume('Acme', 'boss') $$), '25000', 'and becomes nobody else');
SELECT is(pg_temp.by_key(:'ann', format('SELECT key_id FROM aurora.assume_key(sha256(%L), NULL, NULL, 0)', :'boss')), '25000', 'not by another key either');
SELECT is(pg_temp.by_key(:'one', format('SELECT key_id FROM aurora.assume_key(sha256(%L), NULL, NULL, 0)', :'two')), '25000', 'nor does a node');
SELECT is(pg_temp.by_key(:'narrow', $$ SELECT aurora.assume('Acme', 'boss') IS NULL AND aurora.assumed_key() IS NULL $$, 'GET /a'), 'false', 'who assumes the same again has the same key still');
SELECT is(pg_temp.by_key(:'narrow', format($$ SELECT key_id FROM aurora.assume_key(sha256(%L), NULL, NULL, 0) $$, :'boss'), 'GET /a'), '25000', 'and gets no wider one');

-- ---- keys that beget keys ----

SELECT is(pg_temp.by_key(key, expression, 'GET /a'), '42501', title) FROM (VALUES
    (:'ann', $$ aurora.add_api_key('x', owner => 'boss', company => 'Acme') $$, 'a member adds no key for another'),
    (:'narrow', $$ aurora.add_api_key('x') $$, 'a key for some routes adds none at all'),
    (:'narrow', $$ aurora.set_password('correct horse') $$, 'and sets no password'),
    (:'short', $$ aurora.set_password('correct horse') $$, 'a key that expires sets none that would outlast it'),
    (:'one', $$ aurora.add_api_key('x', 'node', node => 'one') $$, 'a node adds none'),
    (:'eyes', $$ aurora.add_api_key('x', 'monitor') $$, 'nor does a monitor'),
    (:'olga', $$ aurora.add_api_key('x', 'node', node => 'one') $$, 'nor an operator by its key'),
    (:'ann', $$ aurora.revoke_sessions('boss', 'Acme') $$, 'a member ends nobody''s sessions'),
    (:'ann', $$ aurora.rotate_session_keys() $$, 'and those of all neither')) k (key, expression, title);
SELECT is(pg_temp.by_key(:'bob', $$ aurora.add_api_key('x', owner => 'ann', company => 'Acme') $$), '22023', 'who manages one company adds none for another');
SELECT is(pg_temp.by_key(:'bot', $$ aurora.add_api_key('x') $$), '22023', 'an agent adds no person''s');
SELECT is(pg_temp.by_key(:'ann', format('aurora.revoke_api_key(%s)', :bob_id)), '42704', 'another company''s key is not revoked');
SET ROLE regress_gate;
BEGIN;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'short'), NULL, NULL, 0) \gset
SELECT aurora.add_api_key('child', lasts => '1 year') AS ignored, aurora.add_api_key('heir') AS ignored \gset
COMMIT;
RESET ROLE;
SELECT is((SELECT count(DISTINCT expires_at) FROM aurora.api_key WHERE name IN ('short', 'child', 'heir')), 1::bigint, 'a key that expires adds none that lasts longer');
SELECT isnt(pg_temp.as_role('regress_olga', $$ aurora.add_api_key('x', 'node', node => 'one') $$), '42501', 'an operator adds those of nodes with a login of its own');
SELECT is(pg_temp.as_role('regress_ann', $$ aurora.add_api_key('x', owner => 'boss') $$), '42501', 'a person none for others, with its own login neither');
SELECT is(pg_temp.as_role('regress_bot', $$ aurora.set_password('correct horse') $$), '42501', 'an agent sets no password');

-- ---- subtransactions, errors, functions of others ----

SET ROLE regress_gate;
BEGIN;
SAVEPOINT s;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'boss'), NULL, NULL, 0) \gset
ROLLBACK TO s;
SELECT count(*) AS after_savepoint FROM aurora.whoami() \gset
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'ann'), NULL, NULL, 0) \gset
SAVEPOINT t;
SELECT pg_temp.state_of('SELECT 1 / 0') AS ignored \gset
ROLLBACK TO t;
SELECT owner AS after_error FROM aurora.whoami() \gset
COMMIT;
SELECT pg_temp.state_of(format($$ SELECT 1 / (SELECT 0 * count(*) FROM aurora.assume_key(sha256(%L), NULL, NULL, 0)) $$, :'boss')) AS ignored \gset
SELECT count(*) AS after_failure FROM aurora.whoami() \gset
BEGIN;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'boss'), NULL, NULL, 0) \gset
PREPARE TRANSACTION 'gateway attack';
SELECT count(*) AS after_prepare FROM aurora.whoami() \gset
ROLLBACK PREPARED 'gateway attack';
RESET ROLE;
SELECT is(:after_savepoint, 0, 'what is assumed in a subtransaction ends when that is undone');
SELECT is(:'after_error'::text, 'ann', 'an error within leaves it as it was');
SELECT is(:after_failure, 0, 'an error in the same statement undoes it');
SELECT is(:after_prepare, 0, 'a prepared transaction takes it along nowhere');

SET ROLE regress_ann;
CREATE FUNCTION attack.see() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT string_agg(title, ', ') FROM aurora.items $$;
CREATE FUNCTION attack.become(key text) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT key_id FROM aurora.assume_key(sha256(key::bytea), NULL, NULL, 0) $$;
RESET ROLE;
SELECT is(pg_temp.by_key(:'boss', 'attack.see()'), '42501', 'a function of somebody else is refused to look as whom a gateway has assumed');
SELECT is(pg_temp.as_role('regress_gate', format('attack.become(%L)', :'boss')), '42501', 'or to assume anybody');
SET ROLE regress_gate_root;
BEGIN;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'boss'), NULL, NULL, 0) \gset
RESET ROLE;
SET ROLE regress_gate;
SELECT pg_temp.state_of('SELECT * FROM aurora.whoami()') AS other_role \gset
COMMIT;
RESET ROLE;
SELECT is(:'other_role'::text, '42501', 'another role does not inherit what was assumed');

-- ---- secrets, and what is remembered of them ----

SELECT aurora.put_secret('mail', 'k', 'for all') AS ignored, aurora.put_secret('mail', 'k', 'for one', node => 'one') AS ignored, aurora.put_secret('mail', 'k', 'for two', node => 'two') AS ignored,
       aurora.put_secret('mail', 'k', 'for bare', node => 'bare') AS ignored \gset
SELECT aurora.grant_secret('regress_nora', 'mail') AS ignored, aurora.grant_secret('regress_tom', 'mail') AS ignored \gset
SELECT is(pg_temp.by_key(key, $$ aurora.secret('mail', 'k') $$), have, title) FROM (VALUES
    (:'one', 'for one', 'a node reads what is for it'), (:'two', 'for two', 'another one in the same session what is for that'), (:'one', 'for one', 'and the first again its own'),
    (:'bare', '42501', 'a node without a role has no grant'), (:'eyes', '42501', 'a monitor reads none'), (:'ann', '42501', 'nor does a person without a grant'),
    (:'super', '42501', 'and who has a superuser''s login reads no more by a key')) k (key, have, title);

-- ---- tokens ----

SELECT aurora.set_password('correct horse', 'ann', 'Acme') AS ignored, aurora.set_password('battery staple', 'boss', 'Acme') AS ignored \gset
SET ROLE regress_gate;
SELECT token FROM aurora.log_in('Acme', 'ann', 'correct horse') \gset
SELECT token AS boss_token FROM aurora.log_in('Acme', 'boss', 'battery staple') \gset
SELECT token AS narrow_token FROM aurora.log_in_by_key(sha256(:'narrow')) \gset
RESET ROLE;
SELECT is(pg_temp.by_session(:'token', 'aurora.current_owner()'), 'ann', 'a token is good');
SELECT is((SELECT count(*) FROM generate_series(1, 108) n, unnest('{A,B,_}'::text[]) c
           WHERE substr(:'token', n, 1) <> c AND pg_temp.by_session(overlay(:'token' PLACING c FROM n FOR 1)) <> '28000'), 0::bigint, 'and with any character changed is none');
SELECT is((SELECT count(*) FROM generate_series(0, 107) n WHERE pg_temp.by_session(left(:'token', n)) <> '28000'), 0::bigint, 'nor is a part of it');
SELECT is(pg_temp.by_session(substr(:'boss_token', 1, 60) || substr(:'token', 61)), '28000', 'nor a part of one and the rest of another');
SELECT is(pg_temp.by_session(t), '28000', 'nor is ' || what) FROM (VALUES (NULL, 'nothing'), (:'token' || 'A', 'a longer one'), (repeat('A', 108), 'one of zeros'), (:'ann', 'a key'), (repeat('ü', 54), 'anything else')) x (t, what);
SELECT is(pg_temp.by_session(:'narrow_token', $$ aurora.add_api_key('x') $$, 'GET /a'), '42501', 'a session by a key for some routes adds no key for more');
SELECT is(pg_temp.by_session(:'token', $$ SELECT owner FROM aurora.assume_session('x', NULL, false, NULL, 0) $$), '28000', 'within a session no other begins');
SELECT is(pg_temp.by_session(:'token', format($$ SELECT owner FROM aurora.assume_session(%L, NULL, false, NULL, 0) $$, :'boss_token')), '25000', 'not with a good token either');
DELETE FROM aurora.item WHERE owner = 'ann';
DELETE FROM aurora.principal WHERE owner = 'ann' AND company_id = :acme;
SELECT aurora.add_principal('ann', 'Acme', 'regress_ann') AS ignored \gset
SELECT is(pg_temp.by_session(:'token'), '28000', 'who comes anew under an old name has no old sessions');
SELECT is(pg_temp.by_key(:'ann', '1'), '28000', 'nor old keys');
SELECT aurora.add_principal('boss', 'Acme', trust => 'agent') AS ignored \gset
SELECT is(pg_temp.by_session(:'boss_token'), '28000', 'who has become an agent has no sessions');
SELECT aurora.add_principal('boss', 'Acme', trust => 'admin') AS ignored \gset

-- ---- passwords ----

DROP EXTENSION pgcrypto;
CREATE FUNCTION public.crypt(text, text) RETURNS text LANGUAGE sql AS $$ SELECT $2 $$;
CREATE FUNCTION public.gen_salt(text, int) RETURNS text LANGUAGE sql AS $$ SELECT 'salt' $$;
SELECT is(pg_temp.as_role('regress_gate', $$ SELECT owner FROM aurora.log_in('Acme', 'boss', 'anything') $$), '55000', 'a function of somebody''s own that is called like pgcrypto''s checks no passwords');
DROP FUNCTION public.crypt, public.gen_salt;
CREATE EXTENSION pgcrypto;
SELECT is(pg_temp.as_role('regress_gate', format($$ SELECT owner FROM aurora.log_in('Acme', 'boss', %L) $$, password)), '28000', 'no password: ' || title)
    FROM (VALUES ('', 'nothing'), (NULL, 'null'), ('battery staplE', 'another case'), (E'battery staple\n', 'with a line''s end'), (repeat('x', 100000), 'a very long one')) p (password, title);

-- ---- webhooks ----

SELECT aurora.add_webhook('hub', 'Acme') AS ignored \gset
SELECT is(pg_temp.as_role('regress_gate', statement), state, title) FROM (VALUES
    ($$ aurora.store_webhook('hub', '{}', decode(repeat('00', 1048577), 'hex'), NULL) $$, '54000', 'a webhook is not too large'),
    ($$ aurora.store_webhook('hub', jsonb_build_object('a', repeat(md5('a'), 1) || (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 4000) n)), '', NULL) $$, '54000', 'nor are its headers'),
    ($$ aurora.store_webhook('hub', '[]', '', NULL) $$, '22023', 'which are an object'),
    ($$ aurora.store_webhook('hub', '{}', NULL, NULL) $$, '22023', 'nor is there none'),
    ($$ aurora.store_webhook(NULL, '{}', '', NULL) $$, '42704', 'of nobody'),
    ($$ aurora.store_webhook('../hub', '{}', '', NULL) $$, '42704', 'or of who is none')) w (statement, state, title);
SELECT is(pg_temp.by_key(:'bob', $$ aurora.remove_webhook('hub') $$), '42704', 'another company''s provider is not removed');
SELECT is(pg_temp.by_key(:'bob', 'SELECT count(*) FROM aurora.webhook_provider'), '0', 'nor seen');

SELECT * FROM finish();
DROP EXTENSION aurora CASCADE;
DROP EXTENSION pgcrypto;
DROP SCHEMA attack CASCADE;
DROP ROLE regress_gate, regress_gate_root, regress_ann, regress_root, regress_olga, regress_super, regress_nora, regress_tom, regress_bot, regress_mona, aurora_node_bare;
