\set ECHO none
-- The gateway: API keys, sessions and passwords, streams, webhooks and metrics. What is set up is
-- committed, so that each request acts in a transaction of its own; the end removes it.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS aurora CASCADE;
CREATE EXTENSION aurora;
DROP EXTENSION IF EXISTS pgcrypto;
SET timezone = 'UTC';
CREATE ROLE regress_gate LOGIN IN ROLE aurora_gateway;
CREATE ROLE regress_ann LOGIN;
CREATE ROLE regress_nora LOGIN IN ROLE aurora_node;
CREATE ROLE regress_olga LOGIN IN ROLE aurora_operator;
CREATE ROLE regress_mona LOGIN IN ROLE aurora_monitor;

SELECT plan(126);

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

-- The result of an expression, or its error, for who has a key; everything is undone.
CREATE FUNCTION pg_temp.by_key(key text, expression text, route text DEFAULT 'GET /x', node text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE 'SET LOCAL ROLE regress_gate';
        PERFORM aurora.assume_key(sha256(key::bytea), route, node, 0);
        EXECUTE 'SELECT (' || expression || ')::text' INTO result;
        RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = coalesce(result, 'null');
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'P0099' THEN SQLERRM ELSE SQLSTATE END;
    END;
END
$$;
CREATE FUNCTION pg_temp.by_session(token text, csrf text, is_write boolean, expression text, route text DEFAULT 'GET /x') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE 'SET LOCAL ROLE regress_gate';
        PERFORM aurora.assume_session(token, csrf, is_write, route, 0);
        EXECUTE 'SELECT (' || expression || ')::text' INTO result;
        RAISE EXCEPTION USING ERRCODE = 'P0099', MESSAGE = coalesce(result, 'null');
    EXCEPTION WHEN OTHERS THEN
        RETURN CASE SQLSTATE WHEN 'P0099' THEN SQLERRM ELSE SQLSTATE END;
    END;
END
$$;

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset
SELECT count(aurora.add_principal(o, c, r::name, t)) AS ignored
    FROM (VALUES ('ann', 'Acme', 'regress_ann', 'member'), ('boss', 'Acme', NULL, 'admin'), ('bot', 'Acme', NULL, 'agent'),
                 ('bob', 'Bolt', NULL, 'member'), ('gone', 'Acme', NULL, 'member')) p (o, c, r, t) \gset
SELECT aurora.register_node('one', login_role => 'regress_nora') AS ignored, aurora.register_node('two') AS ignored \gset

-- ---- keys ----

SELECT aurora.add_api_key('of ann', owner => 'ann', company => 'Acme') AS ann, aurora.add_api_key('of boss', owner => 'boss', company => 'Acme') AS boss,
       aurora.add_api_key('of bot', 'agent', 'bot', 'Acme') AS bot, aurora.add_api_key('of bob', owner => 'bob', company => 'Bolt') AS bob,
       aurora.add_api_key('of one', 'node', node => 'one') AS one, aurora.add_api_key('of two', 'node', node => 'two') AS two,
       aurora.add_api_key('eyes', 'monitor') AS eyes, aurora.add_api_key('of gone', owner => 'gone', company => 'Acme') AS gone,
       aurora.add_api_key('narrow', owner => 'ann', company => 'Acme', routes => '{GET /api/priorities/*,* /api/secrets}') AS narrow,
       aurora.add_api_key('short', owner => 'ann', company => 'Acme', lasts => '1 hour') AS short \gset
SELECT matches(:'ann'::text, '^aur_[A-Za-z0-9_-]{43}$', 'a key is a prefix and 43 characters');
SELECT isnt(:'ann'::text, :'boss'::text, 'and another one each time');
SELECT is((SELECT count(*) FROM aurora.api_key k WHERE k::text LIKE '%' || :'ann' || '%' OR k::text LIKE '%' || substr(:'ann', 5) || '%'), 0::bigint, 'its text is stored nowhere');
SELECT is((SELECT key_hash FROM aurora.api_key WHERE name = 'of ann'), sha256(convert_to(:'ann', 'UTF8')), 'but its SHA-256');
SELECT is((SELECT string_agg(concat_ws(' ', name, role, company, owner, node, is_valid, created_by), ', ' ORDER BY key_id) FROM aurora.api_keys WHERE name LIKE 'of %'),
          format('of ann user Acme ann t %1$s, of boss user Acme boss t %1$s, of bot agent Acme bot t %1$s, of bob user Bolt bob t %1$s, of one node one t %1$s, of two node two t %1$s, of gone user Acme gone t %1$s', current_user),
          'aurora.api_keys shows them to administrators');
SELECT is(pg_temp.by_key(:'boss', 'SELECT count(*) FROM aurora.api_keys'), '6', 'to who manages a company its own');
SELECT is(pg_temp.by_key(:'ann', $$ SELECT string_agg(name, ', ' ORDER BY name) FROM aurora.api_keys $$), 'narrow, of ann, short', 'and to others theirs');
SELECT is(pg_temp.by_key(:'eyes', 'SELECT count(*) FROM aurora.api_keys'), '0', 'to a monitor none');

SELECT is(pg_temp.by_key(:'ann', 'SELECT w::text FROM aurora.whoami() w'), format('(%s,ann,member,t)', :acme), 'by a key one is its principal');
SELECT is(pg_temp.by_key(:'bot', 'aurora.current_owner()'), 'bot', 'an agent, too');
SELECT is(pg_temp.by_key(:'one', 'concat_ws('' '', aurora.assumed_node(), aurora.current_owner(), aurora.is_assuming(), aurora.administers_all())'), 'one t f', 'or a node, which is no principal');
SELECT is(pg_temp.by_key(:'eyes', 'concat_ws('' '', aurora.assumed_node(), aurora.current_owner(), aurora.is_assuming(), aurora.administers_all())'), 't f', 'or a monitor, which is nobody');
SET ROLE regress_gate;
SELECT a::text AS row_of_user FROM aurora.assume_key(sha256(:'ann'), 'GET /x', NULL, 0) a \gset
SELECT a::text AS row_of_node FROM aurora.assume_key(sha256(:'one'), 'GET /x', 'one', 0) a \gset
SELECT count(*) AS nobody FROM aurora.whoami() \gset
BEGIN;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'ann'), 'GET /x', NULL, 1234) \gset
SELECT current_setting('statement_timeout') AS within \gset
COMMIT;
SELECT current_setting('statement_timeout') AS after \gset
RESET ROLE;
SELECT is(:'row_of_user'::text, format('(1,user,%s,Acme,ann,)', :acme), 'assume_key() says who that is');
SELECT is(:'row_of_node'::text, '(5,node,,,,one)', 'or which node');
SELECT is(:nobody, 0, 'and after the transaction one is nobody again');
SELECT is(ARRAY[:'within', :'after'], ARRAY['1234ms', '0'], 'the statement time-out is set until the transaction ends');

SELECT is(pg_temp.by_key(:'one', '1', node => 'one'), '1', 'a node may say which it is');
SELECT is(pg_temp.by_key(:'one', '1', node => 'two'), '42501', 'not another');
SELECT is(pg_temp.by_key(:'ann', '1', node => 'one'), '42501', 'and who is none says it is none');
SELECT is(pg_temp.by_key(:'narrow', '1', route => route), have, title)
    FROM (VALUES ('GET /api/priorities/surface', '1', 'a key for some routes is for those that match'), ('POST /api/priorities/surface', '42501', 'by their method'),
                 ('POST /api/secrets', '1', 'of any method where it says so'), ('GET /api/secrets/{service}', '42501', 'and by their path'), (NULL, '42501', 'and not for none')) r (route, have, title);
SELECT is(pg_temp.by_key(:'ann', 'aurora.key_actor()'), '42501', 'internal functions are not for those assumed');

UPDATE aurora.api_key SET expires_at = now() - interval '1 second' WHERE name = 'short';
SELECT is(pg_temp.by_key(:'short', '1'), '28000', 'an expired key is none');
SELECT is(pg_temp.by_key(:'ann' || 'x', '1'), '28000', 'nor is an unknown one');
SELECT aurora.revoke_api_key(key_id) AS ignored FROM aurora.api_keys WHERE name = 'of two' \gset
SELECT is(pg_temp.by_key(:'two', '1'), '28000', 'nor a revoked one');
SELECT is((SELECT concat_ws(' ', is_valid, revoked_by = current_user, revoked_at <= clock_timestamp()) FROM aurora.api_keys WHERE name = 'of two'), 'f t t', 'of which it is known when and by whom');
SELECT revoked_at AS first_revoked FROM aurora.api_keys WHERE name = 'of two' \gset
SELECT aurora.revoke_api_key(key_id) AS ignored FROM aurora.api_keys WHERE name = 'of two' \gset
SELECT is((SELECT revoked_at FROM aurora.api_keys WHERE name = 'of two'), :'first_revoked'::timestamptz, 'revoking it again changes nothing');
DELETE FROM aurora.principal WHERE owner = 'gone';
SELECT is((SELECT count(*) FROM aurora.api_key WHERE name = 'of gone'), 0::bigint, 'a principal that is removed takes its keys with it');
SELECT aurora.register_node('three') AS ignored, aurora.add_api_key('of three', 'node', node => 'three') AS three \gset
SELECT aurora.remove_node('three') AS ignored \gset
SELECT is(pg_temp.by_key(:'three', '1'), '28000', 'so does a node');
SELECT aurora.add_principal('bot', 'Acme', trust => 'member') AS ignored, aurora.add_principal('ann', 'Acme', trust => 'agent') AS ignored \gset
SET ROLE regress_gate;
SELECT role AS demoted FROM aurora.assume_key(sha256(:'ann'), NULL, NULL, 0) \gset
SELECT role AS promoted FROM aurora.assume_key(sha256(:'bot'), NULL, NULL, 0) \gset
RESET ROLE;
SELECT is(ARRAY[:'demoted', :'promoted'], '{agent,agent}', 'who has become an agent has an agent''s key, and an agent''s key stays one');
SELECT aurora.add_principal('bot', 'Acme', trust => 'agent') AS ignored, aurora.add_principal('ann', 'Acme', trust => 'member') AS ignored \gset

-- ---- what a key must be ----

SELECT is(pg_temp.error_of(statement), error, title) FROM (VALUES
    ($$ SELECT aurora.add_api_key('x', 'king', 'ann', 'Acme') $$, '22023 | there is no role of keys "king" | Roles: user, agent, node, monitor.', 'a key has a role that there is'),
    ($$ SELECT aurora.add_api_key('x', owner => 'nobody', company => 'Acme') $$, '22023 | there is no principal "nobody" in this company | Add it with aurora.add_principal().', 'a principal'),
    ($$ SELECT aurora.add_api_key('x', 'node', node => 'nowhere') $$, '22023 | there is no node "nowhere" | Nodes: one, two.', 'or a node'),
    ($$ SELECT aurora.add_api_key('x', 'node') $$, '22023 | a key with the role "node" stands for something else | Name a node for "node", an owner and a company for "user" and "agent", and nothing for "monitor".', 'that it names'),
    ($$ SELECT aurora.add_api_key('x', 'monitor', 'ann', 'Acme') $$, '22023 | a key with the role "monitor" stands for something else | Name a node for "node", an owner and a company for "user" and "agent", and nothing for "monitor".', 'and nothing else'),
    ($$ SELECT aurora.add_api_key('x', 'agent', 'ann', 'Acme') $$, '22023 | "ann" has the trust "member", and the key the role "agent" | Keys with the role "agent" are for principals with trust "agent", and "user" for the others.', 'that fits its trust'),
    ($$ SELECT aurora.add_api_key('x', owner => 'ann', company => 'Acme', routes => '{}') $$, '22023 | a key has 1 to 50 patterns of routes | Leave routes out for all that the role may.', 'a route or all'),
    ($$ SELECT aurora.add_api_key('x', owner => 'ann', company => 'Acme', routes => '{get /x}') $$, '22023 | "get /x" is no pattern of routes | It is a method and a path, with * for any text: "GET /api/priorities/*", "* /api/secrets/*".', 'by method and path'),
    ($$ SELECT aurora.add_api_key('x', owner => 'ann', company => 'Acme', lasts => '-1 day') $$, '22023 | a key lasts longer than nothing and up to 100 years | For example interval ''90 days''; leave it out for ever.', 'a life'),
    ($$ SELECT aurora.add_api_key('', owner => 'ann', company => 'Acme') $$, '23514 | new row for relation "api_key" violates check constraint "api_key_name_check"', 'and a name'),
    ($$ SELECT aurora.revoke_api_key(99999) $$, '42704 | there is no API key 99999 | aurora.api_keys shows those that the caller may revoke.', 'an unknown key is not revoked')) e (statement, error, title);

-- ---- what a node's key gives ----

SELECT is(pg_temp.by_key(:'one', $$ aurora.report_connectivity('mail', 'degraded') $$), '', 'by its key a node reports');
SET ROLE regress_gate;
BEGIN;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'one'), NULL, 'one', 0) \gset
SELECT aurora.report_connectivity('mail', 'degraded') AS ignored \gset
SELECT aurora.require_lead() AS ignored \gset
COMMIT;
RESET ROLE;
SELECT is((SELECT concat_ws(' ', node, status, reported_by) FROM aurora.connectivity WHERE api = 'mail'), 'one degraded one', 'how things are there');
SELECT is(pg_temp.by_key(:'one', $$ SELECT (aurora.reporting_node('two')).name $$), '42501', 'not for others');
SELECT aurora.put_secret('hubspot', 'token', 'everywhere') AS ignored, aurora.put_secret('hubspot', 'token', 'of one', node => 'one') AS ignored, aurora.put_secret('hubspot', 'token', 'of two', node => 'two') AS ignored,
       aurora.grant_secret('regress_nora', 'hubspot') AS ignored \gset
SELECT is(pg_temp.by_key(:'one', $$ aurora.secret('hubspot', 'token') $$), 'of one', 'secrets are as they are for that node');
SELECT is(pg_temp.by_key(:'one', $$ aurora.gpu_node('two') $$), '42501', 'what workers of devices call is not for keys');

SELECT aurora.submit_job('default', company => 'Acme') AS job \gset
SET ROLE regress_gate;
BEGIN;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'one'), NULL, 'one', 0) \gset
SELECT job_id AS taken, attempt FROM aurora.take_jobs('default') \gset
COMMIT;
RESET ROLE;
SELECT is((SELECT taker FROM aurora.jobs WHERE job_id = :taken), 'one', 'a node takes jobs by its key, under its name');
SELECT is(pg_temp.by_key(:'one', format('aurora.finish_job(%s, %s, NULL)', :taken, :attempt)), 'true', 'and finishes them');
SELECT is(pg_temp.by_key(:'eyes', $$ SELECT count(*) FROM aurora.take_jobs('default') $$), '42501', 'a monitor takes none');

-- ---- sessions ----

SELECT is(pg_temp.error_of($$ SELECT aurora.set_password('correct horse', 'ann', 'Acme') $$),
          '55000 | passwords need the extension pgcrypto | Run CREATE EXTENSION pgcrypto in this database on the lead.', 'without pgcrypto there are no passwords, and a hint');
CREATE SCHEMA "odd Place";
CREATE EXTENSION pgcrypto SCHEMA "odd Place";
SELECT aurora.set_password('correct horse', 'ann', 'Acme') AS ignored \gset
SELECT matches(password_hash, '^\$2a\$10\$.{53}$', 'a password is kept as bcrypt hashes it') FROM aurora.principal_password;
SET ROLE regress_gate;
SELECT token, csrf, expires_at, company, owner FROM aurora.log_in('Acme', 'ann', 'correct horse') \gset s_
SELECT token AS other_token, csrf AS other_csrf FROM aurora.log_in('Acme', 'ann', 'correct horse') \gset
SELECT token AS key_token, csrf AS key_csrf FROM aurora.log_in_by_key(sha256(:'narrow')) \gset
SELECT a.role || ' ' || a.company || ' ' || a.owner || ' ' || coalesce(a.key_id::text, 'no key') || ' ' || length(a.session_id::text) AS row_of_session FROM aurora.assume_session(:'s_token', NULL, false, NULL, 0) a \gset
RESET ROLE;
SELECT is(ARRAY[:'s_company', :'s_owner'], '{Acme,ann}', 'with the right password one is logged in');
SELECT ok(:'s_expires_at'::timestamptz BETWEEN now() + interval '11 hours 50 minutes' AND now() + interval '12 hours 10 minutes', 'for aurora.session_lifetime');
SELECT matches(:'s_token'::text, '^[A-Za-z0-9_-]{108}$', 'by a token');
SELECT is(:'row_of_session'::text, 'user Acme ann no key 36', 'assume_session() says who that is');
SELECT is(pg_temp.by_session(:'s_token', NULL, false, 'aurora.current_owner()'), 'ann', 'by a session one is its principal');
SELECT is(pg_temp.by_session(:'s_token', :'s_csrf', true, 'aurora.current_owner()'), 'ann', 'for writes with its CSRF token');
SELECT is(pg_temp.by_session(:'s_token', csrf, true, '1'), '42501', title)
    FROM (VALUES (NULL, 'not without'), ('', 'nor with an empty one'), (:'other_csrf', 'nor with that of another session'), (left(:'s_csrf', -1), 'nor with a shorter one'), (:'s_csrf' || 'x', 'nor with a longer one')) c (csrf, title);
SELECT is(pg_temp.by_session(:'s_token', NULL, NULL, '1'), '42501', 'what may be a write is one');
SELECT is(pg_temp.by_session(:'key_token', :'key_csrf', true, 'aurora.current_owner()', 'GET /api/priorities/surface'), 'ann', 'a session by a key is for the key''s routes');
SELECT is(pg_temp.by_session(:'key_token', :'key_csrf', true, '1', 'GET /nodes'), '42501', 'and no others');
SELECT is(pg_temp.error_of($$ SET LOCAL ROLE regress_gate; SELECT * FROM aurora.log_in('Acme', 'ann', 'wrong horse') $$), pg_temp.error_of($$ SET LOCAL ROLE regress_gate; SELECT * FROM aurora.log_in('Nowhere', 'nobody', 'wrong horse') $$),
          'a wrong password and an unknown owner are told alike');
RESET ROLE;
SELECT is(pg_temp.error_of(format($$ SET LOCAL ROLE regress_gate; SELECT * FROM aurora.log_in_by_key(sha256(%L)) $$, key)), error, title)
    FROM (VALUES (:'bot', '42501 | a key with the role "agent" begins no session | Sessions are for people; send the key itself with each request.', 'agents have no sessions'),
                 (:'one', '42501 | a key with the role "node" begins no session | Sessions are for people; send the key itself with each request.', 'nor have nodes'),
                 ('no key', '28000 | this is no valid API key | It is unknown, expired or revoked; aurora.add_api_key() makes one.', 'nor who has no key')) k (key, error, title);
RESET ROLE;

SET ROLE regress_gate;
SELECT aurora.log_out(:'other_token') AS ignored, aurora.log_out('no token') AS ignored, aurora.log_out(NULL) AS ignored \gset
RESET ROLE;
SELECT is(pg_temp.by_session(:'other_token', :'other_csrf', true, '1'), '28000', 'who has logged out is out');
SELECT is(pg_temp.by_session(:'s_token', NULL, false, '1'), '1', 'in that session only');
SELECT is((SELECT count(*) FROM aurora.session_revocation), 1::bigint, 'of which a row is kept');
SELECT aurora.revoke_api_key(key_id) AS ignored FROM aurora.api_keys WHERE name = 'narrow' \gset
SELECT is(pg_temp.by_session(:'key_token', :'key_csrf', true, '1', 'GET /api/priorities/surface'), '28000', 'a key that is revoked takes its sessions with it');
SELECT aurora.set_password('battery staple', 'ann', 'Acme') AS ignored \gset
SELECT is(pg_temp.by_session(:'s_token', NULL, false, '1'), '28000', 'a new password ends all sessions');
SET ROLE regress_gate;
SELECT token AS new_token FROM aurora.log_in('Acme', 'ann', 'battery staple') \gset
RESET ROLE;
SELECT is(pg_temp.by_session(:'new_token', NULL, false, '1'), '1', 'but not those that it begins');
SELECT aurora.revoke_sessions('ann', 'Acme') AS ignored \gset
SELECT is(pg_temp.by_session(:'new_token', NULL, false, '1'), '28000', 'revoke_sessions() ends all');
SET ROLE regress_gate;
SELECT token AS old_key_token FROM aurora.log_in('Acme', 'ann', 'battery staple') \gset
RESET ROLE;
SELECT aurora.rotate_session_keys() AS ignored \gset
SELECT is(pg_temp.by_session(:'old_key_token', NULL, false, '1'), '1', 'what an older key has signed is good');
SELECT aurora.rotate_session_keys(true) AS ignored \gset
SELECT is(pg_temp.by_session(:'old_key_token', NULL, false, '1'), '28000', 'until that key is forgotten');
SELECT is((SELECT count(*) FROM aurora.session_key), 1::bigint, 'which leaves the new one');
UPDATE aurora.session_revocation SET expires_at = now() - interval '2 hours';
SELECT is(aurora.run_duty('trim_sessions'), 1::bigint, 'revocations of what has expired are forgotten');
UPDATE aurora.session_key SET created_at = now() - interval '40 days';
SELECT aurora.run_duty('trim_sessions') AS ignored \gset
SELECT is((SELECT count(*) FROM aurora.session_key), 2::bigint, 'an old key gets a successor by itself');
UPDATE aurora.session_key SET created_at = now() - interval '14 hours' WHERE key_no = (SELECT max(key_no) FROM aurora.session_key);
SELECT is(aurora.run_duty('trim_sessions'), 1::bigint, 'and is forgotten when the last session that it signed is over');
SELECT is(pg_temp.error_of(statement), error, title) FROM (VALUES
    ($$ SELECT aurora.set_password('short', 'ann', 'Acme') $$, '22023 | a password has at least 8 characters and at most 72 bytes | Null takes the password away.', 'a password is no short one'),
    ($$ SELECT aurora.set_password(repeat('ü', 40), 'ann', 'Acme') $$, '22023 | a password has at least 8 characters and at most 72 bytes | Null takes the password away.', 'nor longer than bcrypt reads'),
    ($$ SELECT aurora.set_password('correct horse', 'bot', 'Acme') $$, '22023 | "bot" is an agent, which does not log in | Agents have API keys.', 'agents have none')) e (statement, error, title);
SELECT aurora.set_password(NULL, 'ann', 'Acme') AS ignored \gset
SELECT matches(pg_temp.error_of($$ SET LOCAL ROLE regress_gate; SELECT * FROM aurora.log_in('Acme', 'ann', 'battery staple') $$), '^28000', 'who has no password cannot log in');
RESET ROLE;

-- ---- streams ----

SELECT count(aurora.publish('chat', to_jsonb(n), company => 'Acme')) AS ignored FROM generate_series(1, 3) n \gset
SELECT topic_id AS chat FROM aurora.topic WHERE name = 'chat' \gset
SELECT is(pg_temp.by_key(:'ann', $$ SELECT concat_ws(' ', s.topic_id, s.state, s.resume_after, s.last_seq, s.epoch IS NOT NULL) FROM aurora.open_stream('chat', 2, NULL, NULL) s $$),
          :'chat' || ' continues 2 3 t', 'open_stream() says where a topic stands for who may read it');
SELECT is(pg_temp.by_key(:'ann', $$ SELECT concat_ws(' ', coalesce(s.topic_id::text, 'none'), s.state, s.resume_after, s.last_seq) FROM aurora.open_stream('quiet', 0, NULL, NULL) s $$),
          'none continues 0 0', 'also where there is none yet');
SELECT is(pg_temp.by_key(:'ann', $$ SELECT s.state || s.resume_after FROM aurora.open_stream('chat', 9, NULL, NULL) s $$), 'lost3', 'or that what was read is of no history');
SELECT is(pg_temp.by_key(:'bob', $$ SELECT s.topic_id FROM aurora.open_stream('chat', 0, NULL, 'Acme') s $$), '22023', 'another company''s topic is not opened');
SET ROLE regress_gate;
SELECT string_agg(concat_ws(' ', first_seq, last_seq, epoch IS NOT NULL), ', ') AS heads FROM aurora.topic_heads(ARRAY[:chat, 999]) \gset
SELECT string_agg(concat_ws(' ', seq, payload, publisher IS NOT NULL, epoch IS NOT NULL), ', ') AS rows FROM aurora.topic_events(:chat, 1, 10) \gset
SELECT count(*) AS one_row FROM aurora.topic_events(:chat, 0, 1) \gset
SELECT count(*) AS nothing FROM aurora.job_outputs('{999}', '{0}') \gset
RESET ROLE;
SELECT is(:'heads'::text, '1 3 t', 'topic_heads() gives those topics that are there');
SELECT is(:'rows'::text, '2 2 t t, 3 3 t t', 'topic_events() gives events after a number');
SELECT is(:one_row, 1, 'as many as are asked for');
SELECT is(:nothing, 0, 'job_outputs() has nothing of a job that is not there');
SET ROLE regress_gate;
SELECT string_agg(t.company || '/' || t.topic, ' ') AS there FROM aurora.topics_there('{Acme,Acme,Bolt,"",Nobody}', '{chat,quiet,chat,chat,chat}') t \gset
RESET ROLE;
SELECT is(:'there'::text, 'Acme/chat', 'topics_there() finds those that are there, of many');
SELECT is(pg_temp.error_of($$ SELECT * FROM aurora.topics_there('{Acme}', '{}') $$), '22023 | companies and names are of different lengths', 'each with its company');
BEGIN;
SET LOCAL ROLE regress_gate;
SELECT key_id AS ignored FROM aurora.assume_key(sha256(:'ann'::bytea), 'POST /x', NULL, 0) \gset
SELECT s.job_id AS made, s.is_new FROM aurora.submit_job('default', unique_key => 'k') j (id), aurora.submitted_job(j.id) s \gset
COMMIT;
SELECT is(:'is_new'::boolean, true, 'a job that was submitted with a unique key was made');
SELECT is(pg_temp.by_key(:'ann', $$ SELECT concat_ws(' ', s.job_id, s.is_new) FROM aurora.submit_job('default', unique_key => 'k') j (id), aurora.submitted_job(j.id) s $$),
          :'made' || ' f', 'or found');
SELECT is(pg_temp.by_key(:'boss', $$ SELECT s.is_new FROM aurora.submit_job('default', unique_key => 'k') j (id), aurora.submitted_job(j.id) s $$), 'false', 'by who may see it');
SELECT is(pg_temp.by_key(:'bot', $$ SELECT s.is_new FROM aurora.submit_job('default', unique_key => 'k') j (id), aurora.submitted_job(j.id) s $$), '42501', 'but by no other');
SELECT is(pg_temp.by_key(:'bot', $$ aurora.submit_job('default', unique_key => 'k') $$), :'made', 'who learns the number from submit_job()');
SELECT aurora.cancel_job(:made) AS ignored \gset
SELECT is(pg_temp.error_of($$ SELECT * FROM aurora.topic_events(1, 0, 0) $$), '22023 | between 1 and 10000 events can be read at once', 'no rows are not asked for');

-- ---- positions ----

SELECT aurora.write_position() AS written \gset
CALL aurora.wait_for_lsn(:'written', 0) \gset
SELECT is(:'arrived'::boolean, true, 'a lead has what it wrote');
CALL aurora.wait_for_lsn('FFFFFFFF/0', 10) \gset
SELECT is(:'arrived'::boolean, false, 'and not what nobody wrote');
SELECT is(pg_temp.error_of($$ CALL aurora.wait_for_lsn('0/1', 0) $$),
          '25001 | wait_for_lsn() cannot wait inside a transaction | Call it by itself, outside a transaction block and outside functions: CALL aurora.wait_for_lsn(...).', 'one waits outside a transaction');
SELECT is(pg_temp.error_of($$ CALL aurora.wait_published(0, 0) $$),
          '25001 | wait_published() cannot wait inside a transaction | Call it by itself, outside a transaction block and outside functions: CALL aurora.wait_published(...).', 'for news, too');

-- ---- webhooks ----

SELECT aurora.add_webhook('hubspot', 'Acme') AS ignored, aurora.add_webhook('hubspot', 'Acme') AS ignored, aurora.add_webhook('google') AS ignored \gset
SELECT matches(pg_temp.error_of($$ SELECT aurora.add_webhook('hubspot', 'Bolt') $$), '^23505', 'a provider sends for one company');
SET ROLE regress_gate;
SELECT aurora.store_webhook('hubspot', '{"x-signature": "abc"}', '\x00ff', '192.0.2.1') AS first, aurora.store_webhook('google', '{}', '', NULL) AS second \gset
RESET ROLE;
SELECT is((SELECT concat_ws(' ', provider, company, headers, body, remote, verified_at IS NULL) FROM aurora.webhooks WHERE webhook_id = :first),
          'hubspot Acme {"x-signature": "abc"} \x00ff 192.0.2.1 t', 'a webhook is kept as it came');
SELECT is(pg_temp.by_key(:'boss', 'SELECT string_agg(provider, '' '') FROM aurora.webhooks'), 'hubspot', 'who manages the company sees it');
SELECT is(pg_temp.by_key(:'ann', 'SELECT count(*) FROM aurora.webhooks'), '0', 'others do not');
SELECT aurora.verify_webhook(:first, true) AS ignored, aurora.verify_webhook(:first, false) AS ignored \gset
SELECT is((SELECT is_genuine FROM aurora.webhooks WHERE webhook_id = :first), true, 'the first verdict on it stays');
SELECT is((SELECT concat_ws(' ', unverified, received) FROM aurora.webhook_provider WHERE provider = 'hubspot'), '0 1', 'and is counted once');
UPDATE aurora.webhook SET received_at = now() - interval '31 days';
SELECT is(aurora.run_duty('trim_webhooks'), 2::bigint, 'old ones are forgotten');
SELECT is((SELECT sum(unverified) FROM aurora.webhook_provider), 0::numeric, 'and no longer counted');
SELECT aurora.remove_webhook('google') AS ignored \gset
SELECT is(pg_temp.error_of($$ SET LOCAL ROLE regress_gate; SELECT aurora.store_webhook('google', '{}', '', NULL) $$), '42704 | there is no provider "google" of webhooks | aurora.add_webhook() adds one.', 'who is no provider sends nothing');
RESET ROLE;

-- ---- metrics ----

SELECT is_empty($$ SELECT name FROM aurora.metrics() WHERE name !~ '^aurora_[a-z_]+$' OR (type = 'counter') <> (name ~ '_total$') OR unit <> '' AND name !~ (unit || '$') OR help !~ '\.$' OR labels IS NULL OR value IS NULL $$,
                'metrics are named as Prometheus wants it');
SELECT is_empty($$ SELECT name, labels FROM aurora.metrics() GROUP BY name, labels HAVING count(*) > 1 $$, 'each sample is there once');
SELECT is((SELECT value FROM aurora.metrics() WHERE name = 'aurora_api_keys' AND labels = '{"role": "node", "state": "revoked"}'), 1::double precision, 'and tells the truth');
SELECT isnt(pg_temp.by_key(:'eyes', 'SELECT count(*) FROM aurora.metrics()'), '42501', 'a monitor''s key reads them');
SELECT is(pg_temp.by_key(:'boss', 'SELECT count(*) FROM aurora.metrics()'), '42501', 'no person''s does');
SET ROLE regress_mona;
SELECT count(*) > 0 AS by_role FROM aurora.metrics() \gset
RESET ROLE;
SELECT ok(:'by_role'::boolean, 'members of aurora_monitor do');

SELECT aurora.remove_company('Acme') AS ignored \gset
SELECT is((SELECT count(*) FROM aurora.api_key WHERE company_id = :acme), 0::bigint, 'a company that is removed takes its keys with it');
SELECT is((SELECT count(*) FROM aurora.webhook_provider), 0::bigint, 'and its providers');

SELECT * FROM finish();
DROP EXTENSION aurora CASCADE;
DROP EXTENSION pgcrypto;
DROP SCHEMA "odd Place";
DROP ROLE regress_gate, regress_ann, regress_nora, regress_olga, regress_mona, aurora_node_two, aurora_node_three;
