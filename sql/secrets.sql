\set ECHO none
-- Secrets: values and their versions, which scope answers and until when, and where a value can be read.
-- In a database of its own, where no worker works.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_secrets;
CREATE DATABASE regress_secrets;
\connect regress_secrets
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;
DROP ROLE IF EXISTS regress_elsewhere, regress_of_acme;
CREATE ROLE regress_elsewhere LOGIN;
CREATE ROLE regress_of_acme;

SELECT plan(164);

CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;
-- What an expression gives, or "SQLSTATE message | detail | hint" of the error that it raises.
CREATE FUNCTION pg_temp.result_of(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
    result text;
BEGIN
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END
$$;
CREATE FUNCTION pg_temp.state_of(expression text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN r ~ '^[0-9A-Z]{5} ' THEN left(r, 5) ELSE 'no error' END FROM pg_temp.result_of(expression) r
$$;
-- Returns when the condition holds, looked at in ever new transactions; says whether it does after a minute.
CREATE PROCEDURE pg_temp.wait_until(condition text, INOUT holds boolean DEFAULT false) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXECUTE 'SELECT ' || condition INTO holds;
        COMMIT;
        EXIT WHEN holds;
        PERFORM pg_sleep(0.1);
    END LOOP;
END
$$;
-- All that EXPLAIN tells of a query, which it also runs.
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    result text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, BUFFERS, TIMING OFF, SETTINGS) ' || query LOOP
        result := result || line || E'\n';
    END LOOP;
    RETURN result;
END
$$;

-- For \gexec: this session takes changed settings between its statements, of which there are a hundred at most.
SET regress.asked = '';
\set reload 'CASE n WHEN 0 THEN $$ DO \'BEGIN PERFORM set_config(\'\'regress.asked\'\', clock_timestamp()::text, false), pg_reload_conf(); END\' $$ ELSE $$ DO \'BEGIN IF pg_conf_load_time() < current_setting(\'\'regress.asked\'\')::timestamptz THEN PERFORM pg_sleep(0.1); END IF; END\' $$ END FROM generate_series(0, 100) n'

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset

-- ---- a value, and the next one ----

SELECT is_empty('SELECT FROM aurora.secrets', 'a new extension has no secret');
SELECT is(pg_temp.state_of($$ aurora.secret('hubspot', 'api_key') $$), '42704', 'what was never put is an error');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.secret_source('hubspot', 'api_key') $$), '(,,,,,,)', 'and comes from nowhere');
SELECT is(aurora.put_secret('hubspot', 'api_key', 'first value'), 1, 'the first value is version 1');
SELECT is(aurora.secret('hubspot', 'api_key'), 'first value', 'it is read back');
SELECT is(aurora.secret('hubspot', 'api_key'), 'first value', 'also from the cache');
SELECT is(aurora.put_secret('hubspot', 'api_key', 'second value'), 2, 'the next value is version 2');
SELECT is(aurora.secret('hubspot', 'api_key'), 'second value', 'and is the one that is read');
SELECT is(aurora.put_secret('hubspot', 'api_key', 'second value'), 3, 'the same value again is a version, too');
SELECT is(pg_temp.rows_of($$ SELECT service, key_name, scope, node, company, version, versions, state, strict, expires_at, expires_soon,
                                    changed_at BETWEEN now() - interval '1 hour' AND now(), changed_by = current_user FROM aurora.secrets $$),
          '(hubspot,api_key,global,,,3,3,active,f,,f,t,t)', 'it is in the view of secrets');
SELECT is(pg_temp.rows_of($$ SELECT service, key_name, scope, node, company, version, state, expires_at, created_by = current_user, deleted_at, deleted_by, destroyed_at
                             FROM aurora.secret_versions ORDER BY version $$),
          '(hubspot,api_key,global,,,1,active,,t,,,) (hubspot,api_key,global,,,2,active,,t,,,) (hubspot,api_key,global,,,3,active,,t,,,)',
          'with each version in that of versions');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.secret_source('hubspot', 'api_key') $$), '(global,,,3,f,,)', 'secret_source() tells which one answers');
SELECT is((SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'aurora.secrets'::regclass AND attnum > 0),
          'service key_name scope node company version versions state strict expires_at expires_soon changed_at changed_by',
          'the view of secrets has no column for a value or a token');
SELECT is((SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'aurora.secret_versions'::regclass AND attnum > 0),
          'service key_name scope node company version state expires_at created_at created_by deleted_at deleted_by destroyed_at key_no',
          'nor has that of versions');
SELECT is((SELECT concat_ws(' ', provolatile, proparallel) FROM pg_proc WHERE oid = 'aurora.secret'::regproc), 'v u',
          'secret() is VOLATILE and PARALLEL UNSAFE, so that no value is folded into a plan');

SELECT aurora.put_secret('ab', 'c', 'of ab'), aurora.put_secret('a', 'bc', 'of a'), aurora.put_secret('AB', 'c', 'of AB'), aurora.put_secret('ab', 'C', 'of C') \gset ignored_
SELECT is(array[aurora.secret('ab', 'c'), aurora.secret('a', 'bc'), aurora.secret('AB', 'c'), aurora.secret('ab', 'C')], array['of ab', 'of a', 'of AB', 'of C'],
          'service and key are apart, and upper case is another name');

SELECT aurora.put_secret('hubspot', 'api_key', 'strict', strict => true) AS ignored \gset
SELECT is((SELECT strict FROM aurora.secrets WHERE service = 'hubspot'), true, 'a secret can be strict');
SELECT is(aurora.secret('hubspot', 'api_key'), 'strict', 'and is read');
SELECT aurora.put_secret('hubspot', 'api_key', 'still') AS ignored \gset
SELECT is((SELECT strict FROM aurora.secret_source('hubspot', 'api_key')), true, 'it stays so unless said otherwise');
SELECT aurora.put_secret('hubspot', 'api_key', 'no more', strict => false) AS ignored \gset
SELECT is((SELECT strict FROM aurora.secrets WHERE service = 'hubspot'), false, 'until it is');

-- ---- the version that a writer expects ----

SELECT is(aurora.put_secret('cas', 'k', 'one', expected_version => 0), 1, 'expecting version 0 makes a secret that is not there');
SELECT is(pg_temp.state_of($$ aurora.put_secret('cas', 'k', 'two', expected_version => 0) $$), '23000', 'and refuses one that is');
SELECT is(aurora.put_secret('cas', 'k', 'two', expected_version => 1), 2, 'expecting the right version puts');
SELECT is(pg_temp.state_of($$ aurora.put_secret('cas', 'k', 'three', expected_version => 1) $$), '23000', 'expecting an older one is a conflict');
SELECT is(pg_temp.state_of($$ aurora.put_secret('cas', 'k', 'three', expected_version => 3) $$), '23000', 'expecting a later one, too');
SELECT is(pg_temp.state_of($$ aurora.put_secret('cas', 'other', 'x', expected_version => 1) $$), '23000', 'so is expecting a version of what is not there');
SELECT is(aurora.put_secret('cas', 'k', 'three', expected_version => NULL), 3, 'expecting nothing puts');
SELECT is(pg_temp.state_of($$ aurora.delete_secret('cas', 'k', expected_version => 2) $$), '23000', 'delete_secret() takes an expected version as well');
SELECT is(aurora.secret('cas', 'k'), 'three', 'a conflict changes nothing');
SELECT is((SELECT version FROM aurora.secrets WHERE service = 'cas'), 3, 'and uses up no version');
SELECT is(aurora.delete_secret('cas', 'k', expected_version => 3), 3, 'with the right one it deletes');

-- ---- delete, undelete, destroy ----

SELECT aurora.put_secret('mail', 'password', 'for all'), aurora.put_secret('mail', 'password', 'for Acme', company => 'Acme') \gset ignored_
SELECT is(aurora.secret('mail', 'password', 'Acme'), 'for Acme', 'a company''s value answers before the one for all');
SELECT is(aurora.secret('mail', 'password'), 'for all', 'and only for that company');
SELECT is(aurora.secret('mail', 'password', 'Bolt'), 'for all', 'not for another');
SELECT is(aurora.delete_secret('mail', 'password', company => 'Acme'), 1, 'delete_secret() tells which version it deleted');
SELECT is(aurora.secret('mail', 'password', 'Acme'), 'for all', 'a deleted value lets the next scope answer');
SELECT is((SELECT scope FROM aurora.secret_source('mail', 'password', 'Acme')), 'global', 'secret_source() tells which that is');
SELECT alike((SELECT passed_over FROM aurora.secret_source('mail', 'password', 'Acme')), '%company%deleted%', 'and which one was passed over, and why');
SELECT is(pg_temp.rows_of($$ SELECT company, state FROM aurora.secrets WHERE service = 'mail' ORDER BY company $$), '(Acme,deleted) (,active)', 'it is deleted in the view');
SELECT is(pg_temp.rows_of($$ SELECT version, state, deleted_at BETWEEN now() - interval '1 hour' AND now(), deleted_by = current_user FROM aurora.secret_versions
                             WHERE service = 'mail' AND company = 'Acme' $$), '(1,deleted,t,t)', 'with when and by whom');
SELECT deleted_at AS before FROM aurora.secret_versions WHERE service = 'mail' AND company = 'Acme' \gset
SELECT aurora.delete_secret('mail', 'password', company => 'Acme') AS ignored \gset
SELECT is((SELECT deleted_at FROM aurora.secret_versions WHERE service = 'mail' AND company = 'Acme'), :'before', 'deleting it again leaves when it was');
SELECT is(pg_temp.state_of($$ aurora.delete_secret('mail', 'passwords') $$), '42704', 'what was never there is not deleted');
SELECT is(aurora.undelete_secret('mail', 'password', company => 'Acme'), 1, 'undelete_secret() tells which version it gave back');
SELECT is(aurora.secret('mail', 'password', 'Acme'), 'for Acme', 'it answers again');
SELECT is((SELECT concat(deleted_at, deleted_by) FROM aurora.secret_versions WHERE service = 'mail' AND company = 'Acme'), '', 'and nothing is left of the deletion');
SELECT aurora.delete_secret('mail', 'password') AS ignored \gset
SELECT is(pg_temp.result_of($$ aurora.secret('mail', 'password') $$) ~ '^42704 .*deleted', true, 'when no scope answers the error tells that it was deleted');
SELECT is(aurora.secret('mail', 'password', 'Acme'), 'for Acme', 'while the company''s own value is left');
SELECT is(aurora.put_secret('mail', 'password', 'anew'), 2, 'what is put after a deletion is the next version');
SELECT is(aurora.secret('mail', 'password'), 'anew', 'and answers');
SELECT is(aurora.undelete_secret('mail', 'password', version => 1), 1, 'an older version can be given back');
SELECT is(aurora.secret('mail', 'password'), 'anew', 'the newest still is the one that answers');
SELECT isnt(pg_temp.state_of($$ aurora.undelete_secret('mail', 'password', version => 7) $$), 'no error', 'a version that never was is not given back');

SELECT aurora.put_secret('mail', 'password', 'third') AS ignored \gset
SELECT is(aurora.destroy_secret('mail', 'password', version => 2), 1::bigint, 'destroy_secret() tells how many values it destroyed');
SELECT is((SELECT string_agg(state, ' ' ORDER BY version) FROM aurora.secret_versions WHERE service = 'mail' AND company IS NULL), 'active destroyed active', 'an older version is destroyed');
SELECT is((SELECT string_agg(concat(v.version, ':', v.token IS NULL, ':', v.destroyed_at IS NULL), ' ' ORDER BY v.version)
           FROM aurora.secret_version v JOIN aurora.secret s USING (secret_id) WHERE s.service = 'mail' AND s.company_id IS NULL),
          '1:f:t 2:t:f 3:f:t', 'with its token');
SELECT is(aurora.secret('mail', 'password'), 'third', 'the newest still answers');
SELECT isnt(pg_temp.state_of($$ aurora.undelete_secret('mail', 'password', version => 2) $$), 'no error', 'what was destroyed is not given back');
SELECT is(aurora.destroy_secret('mail', 'password', version => 3), 1::bigint, 'the newest can be destroyed');
SELECT is(pg_temp.state_of($$ aurora.secret('mail', 'password') $$), '42704', 'then that scope does not answer');
SELECT is((SELECT state FROM aurora.secrets WHERE service = 'mail' AND company IS NULL), 'destroyed', 'and is destroyed in the view');
SELECT is(aurora.put_secret('mail', 'password', 'fourth'), 4, 'another value can be put there');
SELECT is(aurora.destroy_secret('mail', 'password'), 2::bigint, 'without a version all are destroyed, of which two were left');
SELECT is(pg_temp.rows_of($$ SELECT company FROM aurora.secrets WHERE service = 'mail' $$), '(Acme)', 'the secret is gone');
SELECT is_empty($$ SELECT FROM aurora.secret s WHERE s.service = 'mail' AND s.company_id IS NULL $$, 'also from its table');
SELECT is(pg_temp.state_of($$ aurora.secret('mail', 'password') $$), '42704', 'and answers no more');
SELECT is(pg_temp.state_of($$ aurora.destroy_secret('mail', 'password') $$), '42704', 'what is gone is not destroyed again');
SELECT is(aurora.put_secret('mail', 'password', 'begun again'), 1, 'a secret of its name begins at version 1');
SELECT is(aurora.secret('mail', 'password'), 'begun again', 'with its own value');

-- ---- how many versions are kept ----

SELECT count(aurora.put_secret('kept', 'k', 'value ' || i)) AS ignored FROM generate_series(1, 13) i \gset
SELECT is((SELECT concat(min(version), ' ', max(version), ' ', count(*)) FROM aurora.secret_versions WHERE service = 'kept'), '4 13 10', 'the last ten versions are kept');
SELECT is((SELECT concat(version, ' ', versions) FROM aurora.secrets WHERE service = 'kept'), '13 10', 'the view of secrets counts them');
SELECT is((SELECT count(*) FROM aurora.secret_version v JOIN aurora.secret s USING (secret_id) WHERE s.service = 'kept'), 10::bigint, 'of others nothing is left in the table');
ALTER SYSTEM SET aurora.secret_versions_kept = 2;
SELECT :reload \gexec
SELECT aurora.put_secret('kept', 'k', 'value 14') AS ignored \gset
SELECT is((SELECT string_agg(version::text, ' ' ORDER BY version) FROM aurora.secret_versions WHERE service = 'kept'), '13 14', 'aurora.secret_versions_kept says how many');
ALTER SYSTEM RESET aurora.secret_versions_kept;
SELECT :reload \gexec
SELECT is(aurora.secret('kept', 'k'), 'value 14', 'the newest is what is read');

-- ---- expiry ----

SELECT aurora.put_secret('expiry', 'far', 'x', expires_at => now() + interval '1 year'), aurora.put_secret('expiry', 'near', 'x', expires_at => now() + interval '1 hour') \gset ignored_
SELECT is((SELECT string_agg(concat(key_name, ':', state, ':', expires_soon), ' ' ORDER BY key_name) FROM aurora.secrets WHERE service = 'expiry'),
          'far:active:f near:active:t', 'expires_soon tells which secrets expire soon');
SELECT is((SELECT expires_at > now() + interval '364 days' FROM aurora.secret_source('expiry', 'far')), true, 'secret_source() tells until when a value is good');
SELECT is(aurora.secret('expiry', 'near'), 'x', 'until then it is read');
SELECT aurora.put_secret('expiry', 'near', 'y') AS ignored \gset
SELECT is((SELECT concat(expires_at, expires_soon) FROM aurora.secrets WHERE key_name = 'near'), 'f', 'each version has an expiry of its own');
SELECT is(pg_temp.state_of($$ aurora.put_secret('expiry', 'past', 'x', expires_at => now() - interval '1 second') $$), '22023', 'a value that has expired is not put');
SELECT is(pg_temp.state_of(format('aurora.put_secret(''expiry'', ''past'', ''x'', expires_at => %L)', at)), '22023', 'not even at ' || at)
    FROM unnest(ARRAY['-infinity', '1970-01-01 00:00:00Z', '2000-01-01 00:00:00Z', '1999-12-31 23:59:59.999999Z']) at;
SELECT is(concat(aurora.put_secret('expiry', 'never', 'x', expires_at => 'infinity'), ' ', aurora.secret('expiry', 'never')), '1 x', 'one that expires at the end of time is');
SELECT is((SELECT expires_soon FROM aurora.secrets WHERE key_name = 'never'), false, 'which is not soon');
SELECT aurora.put_secret('expiry', 'soon', 'for Acme, for a moment', company => 'Acme', expires_at => clock_timestamp() + interval '1 second') AS ignored,
       aurora.put_secret('expiry', 'soon', 'for all') AS ignored_2 \gset
CALL pg_temp.wait_until($$ aurora.secret('expiry', 'soon', 'Acme') = 'for all' $$) \gset
SELECT ok(:'holds', 'a value that expires lets the next scope answer');
SELECT alike((SELECT passed_over FROM aurora.secret_source('expiry', 'soon', 'Acme')), '%company%expired%', 'secret_source() tells that it was passed over');
SELECT is((SELECT state FROM aurora.secrets WHERE key_name = 'soon' AND company = 'Acme'), 'expired', 'it is expired in the view');
SELECT is((SELECT state FROM aurora.secret_versions WHERE key_name = 'soon' AND company = 'Acme'), 'expired', 'so is the version');
SELECT aurora.delete_secret('expiry', 'soon') AS ignored \gset
SELECT is(pg_temp.result_of($$ aurora.secret('expiry', 'soon', 'Acme') $$) ~ '^42704 .*expired', true, 'when no scope answers the error tells that it has expired');
SELECT is(aurora.put_secret('expiry', 'soon', 'renewed', company => 'Acme'), 2, 'another value can be put');
SELECT is(aurora.secret('expiry', 'soon', 'Acme'), 'renewed', 'and answers');
BEGIN;
SELECT aurora.put_secret('expiry', 'moment', 'x', expires_at => clock_timestamp() + interval '1 second') AS ignored, aurora.secret('expiry', 'moment') AS before \gset
DO $$ BEGIN WHILE clock_timestamp() < (SELECT expires_at FROM aurora.secrets WHERE key_name = 'moment') LOOP PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT is(concat(:'before'::text, ' ', pg_temp.state_of($$ aurora.secret('expiry', 'moment') $$)), 'x 42704', 'a value expires within a transaction, too');
COMMIT;

-- ---- which scope answers: any number of secrets against a slow reference ----

-- A value for each of node and company, in every state that a secret can have, told by "last" below.
SELECT aurora.own_node() AS own_node \gset
SELECT login_role AS ignored FROM aurora.register_node('elsewhere', login_role => 'regress_elsewhere') \gset
SELECT aurora.add_principal('of acme', 'Acme', 'regress_of_acme', 'admin') AS ignored \gset
CREATE TABLE given (secret_id bigint, version int, value text);
SELECT setseed(0.42) AS ignored \gset
CREATE PROCEDURE pg_temp.fill() LANGUAGE plpgsql AS $$
DECLARE
    one record;
    last int;
    text_value text;
BEGIN
    FOR one IN SELECT 'service ' || s AS service, 'key ' || k AS key_name, n.node, c.company
               FROM generate_series(1, 3) s, generate_series(1, 12) k, (VALUES (aurora.own_node()), ('elsewhere'), (NULL)) n (node),
                    (VALUES ('Acme'), ('Bolt'), (NULL)) c (company)
               ORDER BY random() LOOP
        CONTINUE WHEN random() < 0.35;
        FOR turn IN 1 .. 1 + floor(random() * 3)::int LOOP
            text_value := format('%s of %s', gen_random_uuid(), one);
            last := aurora.put_secret(one.service, one.key_name, text_value, one.node, one.company, strict => random() < 0.3,
                                      expires_at => CASE WHEN random() < 0.3 THEN now() + interval '1 day' END);
            INSERT INTO given SELECT secret_id, last, text_value FROM aurora.secret s LEFT JOIN aurora.company c USING (company_id)
                WHERE (s.service, s.key_name) = (one.service, one.key_name) AND s.node IS NOT DISTINCT FROM one.node AND c.name IS NOT DISTINCT FROM one.company;
        END LOOP;
        CASE floor(random() * 10)::int
            WHEN 0 THEN PERFORM aurora.delete_secret(one.service, one.key_name, one.node, one.company);
            WHEN 1 THEN PERFORM aurora.delete_secret(one.service, one.key_name, one.node, one.company), aurora.undelete_secret(one.service, one.key_name, one.node, one.company);
            WHEN 2 THEN PERFORM aurora.destroy_secret(one.service, one.key_name, one.node, one.company, last);
            WHEN 3 THEN PERFORM aurora.destroy_secret(one.service, one.key_name, one.node, one.company);
            WHEN 4 THEN
                UPDATE aurora.secret_version v SET expires_at = now() - interval '1 second' FROM given g
                    WHERE (v.secret_id, v.version) = (g.secret_id, g.version) AND g.value = text_value;
            ELSE NULL;
        END CASE;
    END LOOP;
END
$$;
CALL pg_temp.fill();
-- Every question that can be asked, from a node and with a company or with none.
CREATE VIEW question AS
    SELECT s.service, k.key_name, c.company FROM (SELECT DISTINCT service FROM aurora.secrets WHERE service LIKE 'service %') s,
        (SELECT 'key ' || g AS key_name FROM generate_series(0, 12) g) k, (VALUES ('Acme'), ('Bolt'), (NULL)) c (company);
-- The answer: of the scopes that have a value the nearest one; and which nearer ones have none any more.
CREATE FUNCTION pg_temp.reference(at_node text, of_company text, OUT service text, OUT key_name text, OUT company text, OUT answer text) RETURNS SETOF record LANGUAGE sql AS $$
    WITH candidate AS (
        SELECT q.service, q.key_name, q.company AS asked, s.node, c.name AS company, v.version, s.strict, v.expires_at, g.value,
               v.deleted_at IS NULL AND v.destroyed_at IS NULL AND coalesce(v.expires_at > now(), true) AS answers,
               CASE WHEN s.node IS NOT NULL AND c.name IS NOT NULL THEN 1 WHEN s.node IS NOT NULL THEN 2 WHEN c.name IS NOT NULL THEN 3 ELSE 4 END AS rank
        FROM question q
        JOIN aurora.secret s USING (service, key_name)
        LEFT JOIN aurora.company c USING (company_id)
        JOIN aurora.secret_version v ON (v.secret_id, v.version) = (s.secret_id, s.version)
        JOIN given g ON (g.secret_id, g.version) = (s.secret_id, s.version)
        WHERE coalesce(s.node = at_node, true) AND coalesce(c.name = coalesce(q.company, of_company), c.name IS NULL))
    SELECT q.service, q.key_name, q.company, coalesce((
        SELECT concat_ws('|', c.value, (ARRAY['node+company', 'node', 'company', 'global'])[rank], coalesce(c.node, ''), coalesce(c.company, ''), version, strict, coalesce(expires_at::text, ''),
                         EXISTS (SELECT FROM candidate p WHERE (p.service, p.key_name) = (c.service, c.key_name) AND p.asked IS NOT DISTINCT FROM c.asked AND p.rank < c.rank))
        FROM candidate c WHERE (c.service, c.key_name) = (q.service, q.key_name) AND c.asked IS NOT DISTINCT FROM q.company AND answers
        ORDER BY rank LIMIT 1), 'none')
    FROM question q
$$;
CREATE FUNCTION public.answer(service text, key_name text, company text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    value text;
BEGIN
    value := aurora.secret(service, key_name, company);
    RETURN (SELECT concat_ws('|', value, scope, coalesce(s.node, ''), coalesce(s.source_company, ''), version, strict, coalesce(expires_at::text, ''), passed_over IS NOT NULL)
            FROM aurora.secret_source(service, key_name, company) s);
EXCEPTION WHEN undefined_object THEN
    RETURN concat('none', (SELECT scope FROM aurora.secret_source(service, key_name, company)));
END
$$;
-- What a role is answered, each question twice and in any order, for the cache.
CREATE TABLE answered (service text, key_name text, company text, answer text);
GRANT ALL ON answered TO PUBLIC;
GRANT SELECT ON question TO PUBLIC;
CREATE TABLE asked AS SELECT q.*, gen_random_uuid() AS place FROM question q, generate_series(1, 2);
GRANT SELECT ON asked TO PUBLIC;
SELECT cmp_ok((SELECT count(*) FROM given), '>', 300::bigint, 'hundreds of values are put');
SELECT is((SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM aurora.secrets WHERE service LIKE 'service %'), 'active deleted destroyed expired', 'into every state');
SELECT is((SELECT count(DISTINCT split_part(answer, '|', 2)) FROM pg_temp.reference(:'own_node', NULL)), 5::bigint, 'the reference has answers of every scope, and none');
TRUNCATE answered;
INSERT INTO answered SELECT service, key_name, company, public.answer(service, key_name, company) FROM asked ORDER BY place;
SELECT is_empty(format('(SELECT * FROM answered EXCEPT SELECT * FROM pg_temp.reference(%L, NULL)) UNION ALL (SELECT * FROM pg_temp.reference(%1$L, NULL) EXCEPT SELECT * FROM answered)', :'own_node'),
                'an administrator is answered as the reference says');
SELECT count(aurora.grant_secret('regress_elsewhere', 'service *', company)) AS ignored FROM (VALUES ('Acme'), ('Bolt'), (NULL)) c (company) \gset
TRUNCATE answered;
SET ROLE regress_elsewhere;
INSERT INTO answered SELECT service, key_name, company, public.answer(service, key_name, company) FROM asked ORDER BY place;
RESET ROLE;
SELECT is_empty($$ (SELECT * FROM answered EXCEPT SELECT * FROM pg_temp.reference('elsewhere', NULL)) UNION ALL (SELECT * FROM pg_temp.reference('elsewhere', NULL) EXCEPT SELECT * FROM answered) $$,
                'the login role of another node is answered what is for that node');
SELECT aurora.grant_secret('regress_of_acme', 'service *') AS ignored \gset
TRUNCATE answered;
SET ROLE regress_of_acme;
INSERT INTO answered SELECT service, key_name, company, public.answer(service, key_name, company) FROM asked WHERE company IS DISTINCT FROM 'Bolt' ORDER BY place;
RESET ROLE;
SELECT is_empty(format($$ (SELECT * FROM answered EXCEPT SELECT * FROM pg_temp.reference(%L, 'Acme'))
                          UNION ALL (SELECT * FROM pg_temp.reference(%1$L, 'Acme') WHERE company IS DISTINCT FROM 'Bolt' EXCEPT SELECT * FROM answered) $$, :'own_node'),
                'a principal is answered what is for its company, without naming it');
SELECT cmp_ok((SELECT count(*) FROM answered WHERE company IS NULL AND answer ~ '\|Acme\|'), '>', 0::bigint, 'which some values are');
DELETE FROM aurora.secret s WHERE s.service LIKE 'service %';
SELECT is((SELECT count(*) FROM question), 0::bigint, 'rows that are deleted past the functions are no secrets any more');

-- ---- a company that is no more ----

SELECT aurora.put_secret('gone', 'k', 'of a company', company => 'Bolt') AS ignored, aurora.secret('gone', 'k', 'Bolt') AS ignored_2 \gset
DELETE FROM aurora.company WHERE name = 'Bolt';
SELECT is_empty($$ SELECT FROM aurora.secret WHERE service = 'gone' $$, 'with a company go its secrets');
SELECT is_empty(format('SELECT FROM aurora.secret_data_key WHERE company_id = %s', :bolt), 'and its data keys');
SELECT isnt(pg_temp.state_of($$ aurora.secret('gone', 'k', 'Bolt') $$), 'no error', 'none is answered from the cache');

-- ---- where a value can be read ----

SELECT aurora.put_secret('read', 'k', 'MARKER one') AS ignored \gset
CREATE FUNCTION pg_temp.in_sql() RETURNS text LANGUAGE sql AS $$ SELECT aurora.secret('read', 'k') $$;
CREATE FUNCTION pg_temp.in_stable_sql() RETURNS text LANGUAGE sql STABLE AS $$ SELECT aurora.secret('read', 'k') $$;
CREATE FUNCTION pg_temp.in_plpgsql() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN aurora.secret('read', 'k'); END $$;
CREATE VIEW pg_temp.in_view AS SELECT aurora.secret('read', 'k') AS value;
CREATE FUNCTION pg_temp.everywhere() RETURNS text[] LANGUAGE sql AS $$
    SELECT array[pg_temp.in_sql(), pg_temp.in_stable_sql(), pg_temp.in_plpgsql(), (SELECT value FROM pg_temp.in_view), (SELECT * FROM aurora.secret('read', 'k')),
                 (WITH x AS MATERIALIZED (SELECT aurora.secret('read', 'k') AS value) SELECT value FROM x)]
$$;
PREPARE custom AS SELECT aurora.secret('read', $1);
SET plan_cache_mode = force_generic_plan;
PREPARE generic AS SELECT aurora.secret('read', 'k');
EXECUTE generic \gset ignored_
SELECT is(pg_temp.everywhere(), array_fill('MARKER one'::text, array[6]), 'functions, views and subqueries read a value');
SELECT aurora.put_secret('read', 'k', 'MARKER two') AS ignored \gset
SELECT is(pg_temp.everywhere(), array_fill('MARKER two'::text, array[6]), 'and its next one');
EXECUTE generic \gset generic_
EXECUTE custom ('k') \gset custom_
RESET plan_cache_mode;
SELECT is(array[:'generic_secret', :'custom_secret'], array['MARKER two', 'MARKER two'], 'so do prepared statements, whose plans hold no value');
SELECT is((SELECT count(DISTINCT aurora.secret('read', 'k')) FROM generate_series(1, 1000)), 1::bigint, 'a thousand rows read the same');
SELECT is(pg_temp.result_of($$ aurora.secret('read', 'k', NULL) $$), 'MARKER two', 'a null company is none');

SELECT is(pg_temp.plan_of(query) ~ 'MARKER', false, 'EXPLAIN (ANALYZE, VERBOSE) of ' || title || ' does not show it')
    FROM (VALUES ($$ SELECT aurora.secret('read', 'k') $$, 'a read'), ($$ SELECT * FROM aurora.secret('read', 'k') $$, 'one in FROM'),
                 ($$ SELECT FROM pg_class WHERE relname = aurora.secret('read', 'k') $$, 'a comparison'),
                 ($$ SELECT FROM pg_class ORDER BY aurora.secret('read', 'k'), relname LIMIT 3 $$, 'a sort'),
                 ($$ SELECT * FROM pg_temp.in_view v JOIN pg_class c ON c.relname = v.value $$, 'a view'),
                 ($$ SELECT pg_temp.in_stable_sql() $$, 'a stable function'), ($$ SELECT aurora.put_secret('read', 'copy', aurora.secret('read', 'k')) $$, 'a put'),
                 ($$ VALUES (aurora.secret('read', 'k')), (aurora.secret('read', 'copy')) $$, 'a list')) q (query, title);
SELECT is((SELECT aurora.secret('read', 'copy')), 'MARKER two', 'which were run');
CREATE TABLE of_secret (x text);
SELECT throws_ok($$ CREATE INDEX ON of_secret ((x || aurora.secret('read', 'k'))) $$, '42P17', NULL, 'no index can hold it');
SELECT throws_ok($$ ALTER TABLE of_secret ADD y text GENERATED ALWAYS AS (aurora.secret('read', 'k')) STORED $$, '42P17', NULL, 'nor a generated column');

-- ---- transactions and subtransactions ----

BEGIN;
SELECT aurora.put_secret('transaction', 'k', 'one') AS ignored, aurora.secret('transaction', 'k') AS same_statement \gset
SELECT aurora.secret('transaction', 'k') AS own \gset
SAVEPOINT s;
SELECT aurora.put_secret('transaction', 'k', 'two') AS ignored \gset
SELECT aurora.secret('transaction', 'k') AS inner \gset
ROLLBACK TO s;
SELECT aurora.secret('transaction', 'k') AS after \gset
SAVEPOINT s2;
SELECT aurora.delete_secret('transaction', 'k') AS ignored, pg_temp.state_of($$ aurora.secret('transaction', 'k') $$) AS deleted \gset
RELEASE s2;
SELECT pg_temp.state_of($$ aurora.secret('transaction', 'k') $$) AS released \gset
ROLLBACK;
SELECT is(array[:'same_statement', :'own', :'inner', :'after', :'deleted', :'released'], array['one', 'one', 'two', 'one', '42704', '42704'],
          'a transaction reads what it has put itself, and no more of it what a savepoint took back');
SELECT is(pg_temp.state_of($$ aurora.secret('transaction', 'k') $$), '42704', 'what was rolled back is not there');
SELECT aurora.put_secret('transaction', 'k', 'kept') AS ignored \gset
DO $$
BEGIN
    BEGIN
        PERFORM aurora.put_secret('transaction', 'k', 'rolled back'), aurora.secret('transaction', 'k');
        RAISE 'undo';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
END
$$;
SELECT is(aurora.secret('transaction', 'k'), 'kept', 'nor is it answered from the cache');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT aurora.secret('transaction', 'k') AS before \gset
SELECT aurora.put_secret('transaction', 'k', 'serializable') AS ignored \gset
SELECT aurora.secret('transaction', 'k') AS after \gset
COMMIT;
SELECT is(array[:'before', :'after', aurora.secret('transaction', 'k')], array['kept', 'serializable', 'serializable'], 'a serializable transaction reads its own value');
BEGIN READ ONLY;
SELECT aurora.secret('transaction', 'k') AS in_read_only, pg_temp.state_of($$ aurora.put_secret('transaction', 'k', 'x') $$) AS put_in_read_only \gset
COMMIT;
SELECT is(array[:'in_read_only', :'put_in_read_only'], array['serializable', '25006'], 'a read-only transaction reads, and puts nothing');

-- ---- the cache can be small, or none ----

SELECT count(aurora.put_secret('many', 'k' || i, 'value ' || i)) AS ignored FROM generate_series(1, 300) i \gset
ALTER SYSTEM SET aurora.secret_cache_size = 0;
SELECT :reload \gexec
SELECT is((SELECT count(*) FROM generate_series(1, 300) i, generate_series(1, 3) WHERE aurora.secret('many', 'k' || i) <> 'value ' || i), 0::bigint, 'without a cache reads are right');
ALTER SYSTEM SET aurora.secret_cache_size = 1;
SELECT :reload \gexec
SELECT is((SELECT count(*) FROM generate_series(1, 3), generate_series(1, 300) i WHERE aurora.secret('many', 'k' || i) <> 'value ' || i), 0::bigint, 'with one too small for all, too');
ALTER SYSTEM RESET aurora.secret_cache_size;
SELECT :reload \gexec
SELECT is((SELECT count(*) FROM generate_series(1, 3), generate_series(1, 300) i WHERE aurora.secret('many', 'k' || i) <> 'value ' || i), 0::bigint, 'and with one of the usual size');

-- ---- what makes the cache forget, besides puts ----

SELECT aurora.add_company('Cord') AS ignored, aurora.put_secret('forget', 'k', 'for Acme', company => 'Acme') AS ignored_2, aurora.put_secret('forget', 'k', 'for all') AS ignored_3 \gset
SELECT aurora.put_secret('forget', 'k', 'for Cord', company => 'Cord') AS ignored, aurora.put_secret('forget', 'k', 'elsewhere', 'elsewhere') AS ignored_2 \gset
SELECT aurora.secret('forget', 'k', 'Acme') AS before_acme, aurora.secret('forget', 'k', 'Cord') AS before_cord, aurora.secret('forget', 'k') AS before_none \gset
SELECT (aurora.set_company('Acme', name => 'Once Acme')).name AS ignored, (aurora.set_company('Cord', name => 'Acme')).name AS ignored_2 \gset
SELECT is(array[:'before_acme', :'before_cord', :'before_none', aurora.secret('forget', 'k', 'Acme')], array['for Acme', 'for Cord', 'for all', 'for Cord'], 'when companies change names each keeps its own value');
SELECT aurora.grant_secret('regress_elsewhere', 'forget') AS ignored \gset
SET ROLE regress_elsewhere;
SELECT aurora.secret('forget', 'k') AS before \gset
RESET ROLE;
UPDATE aurora.node SET name = 'moved' WHERE name = 'elsewhere';
SET ROLE regress_elsewhere;
SELECT aurora.secret('forget', 'k') AS after \gset
RESET ROLE;
SELECT is(array[:'before', :'after'], array['elsewhere', 'for all'], 'when a role logs in for another node it reads what is for that one');
SET session_replication_role = replica;
UPDATE aurora.secret_version v SET deleted_at = now() FROM aurora.secret s WHERE s.secret_id = v.secret_id AND s.service = 'forget' AND s.company_id IS NULL AND s.node IS NULL;
RESET session_replication_role;
SELECT is(pg_temp.state_of($$ aurora.secret('forget', 'k') $$), '42704', 'a change by replication counts, too');
SELECT aurora.undelete_secret('forget', 'k') AS ignored, aurora.secret('forget', 'k') AS before \gset
BEGIN;
TRUNCATE aurora.secret CASCADE;
SELECT pg_temp.state_of($$ aurora.secret('forget', 'k') $$) AS truncated \gset
ROLLBACK;
SELECT is(array[:'truncated', aurora.secret('forget', 'k')], array['42704', 'for all'], 'after TRUNCATE nothing is answered; when it is rolled back all is');

-- ---- tokens ----

SELECT count(aurora.put_secret('nonce', 'k' || i % 20, 'always the same')) AS ignored FROM generate_series(1, 200) i \gset
CREATE VIEW pg_temp.token AS
    SELECT s.service, s.key_name, v.version, v.token, decode(translate(v.token, '-_', '+/'), 'base64') AS bytes FROM aurora.secret s JOIN aurora.secret_version v USING (secret_id);
SELECT is((SELECT concat_ws(' ', count(DISTINCT token), count(DISTINCT substr(bytes, 10, 16)), count(DISTINCT substr(bytes, 26, 16))) FROM pg_temp.token WHERE service = 'nonce'), '200 200 200',
          'the same value put 200 times gives 200 tokens, with 200 nonces and 200 ciphertexts');
SELECT is((SELECT string_agg(DISTINCT encode(substr(bytes, 1, 1), 'hex') || ' ' || length(bytes) % 16, ',') FROM pg_temp.token WHERE token IS NOT NULL), '80 9', 'all tokens are of Fernet');
SELECT is_empty($$ SELECT FROM pg_temp.token WHERE position('MARKER'::bytea IN bytes) > 0 OR token LIKE '%TUFSS0VS%' $$, 'and none shows a value');

SELECT (aurora.set_company('Acme', name => 'Cord')).name AS ignored, (aurora.set_company('Once Acme', name => 'Acme')).name AS ignored_2 \gset
SELECT aurora.put_secret('damage', 'hurt', 'hurt'), aurora.put_secret('damage', 'well', 'well'), aurora.put_secret('damage', 'hurt', 'for Acme', company => 'Acme') \gset ignored_
CREATE FUNCTION pg_temp.damaged(damage text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text := 'no error';
BEGIN
    EXECUTE format('UPDATE aurora.secret_version v SET token = %s FROM aurora.secret s
                    WHERE s.secret_id = v.secret_id AND s.key_name = ''hurt'' AND s.company_id IS NOT NULL', damage);
    BEGIN
        PERFORM aurora.secret('damage', 'hurt', 'Acme');
    EXCEPTION WHEN OTHERS THEN
        state := SQLSTATE;
    END;
    RAISE SQLSTATE 'ZZ001';
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
    RETURN state;
END
$$;
SELECT is(pg_temp.damaged('token'), 'no error', 'a token that is as it was is read');
SELECT is((SELECT string_agg(DISTINCT pg_temp.damaged(format($$ overlay(token PLACING CASE substr(token, %s, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM %1$s FOR 1) $$, i)), ' ')
           FROM generate_series(1, (SELECT length(token) FROM pg_temp.token WHERE key_name = 'well')) i), 'XX001', 'one that was changed at any place is corrupted');
SELECT is(pg_temp.damaged(damage), 'XX001', title || ' is corrupted')
    FROM (VALUES ($$ left(token, -1) $$, 'one cut by a character'), ($$ left(token, -4) $$, 'one cut by four'), ($$ token || 'A' $$, 'one longer by a character'),
                 ($$ token || 'AAAA' $$, 'one longer by four'),
                 ($$ '' $$, 'an empty one'), ($$ ' ' || token $$, 'one after a blank'), ($$ token || E'\n' $$, 'one with a line end'), ($$ upper(token) $$, 'one in upper case'),
                 ($$ translate(token, '-_', '+/') || '!' $$, 'one of another alphabet'), ($$ repeat(token, 2) $$, 'one twice'), ($$ 'not a token: ü' $$, 'a text'),
                 ($$ repeat('A', 2000000) $$, 'a very long one'), ($$ (SELECT wrapped FROM aurora.secret_data_key LIMIT 1) $$, 'a wrapped key')) d (damage, title);
UPDATE aurora.secret_version v SET token = left(token, -4) || 'AAA=' FROM aurora.secret s WHERE s.secret_id = v.secret_id AND s.key_name = 'hurt' AND s.company_id IS NOT NULL;
SELECT is(pg_temp.state_of($$ aurora.secret('damage', 'hurt', 'Acme') $$), 'XX001', 'a corrupted value is an error, and no other scope answers for it');
SELECT is(array[aurora.secret('damage', 'well'), aurora.secret('damage', 'hurt')], array['well', 'hurt'], 'others are read as before');
SELECT is((SELECT scope FROM aurora.secret_source('damage', 'hurt', 'Acme')), 'company', 'secret_source() still tells which one it is');
SELECT is(aurora.put_secret('damage', 'hurt', 'healed', company => 'Acme'), 2, 'another value can be put');
SELECT is(aurora.secret('damage', 'hurt', 'Acme'), 'healed', 'and is read');

-- ---- what nodes tell ----

-- Records first to last of a chain as a node writes them, and what the lead then has of it.
CREATE FUNCTION pg_temp.lines(first int, last int) RETURNS jsonb LANGUAGE sql AS $$
    WITH RECURSIVE r (seq, line) AS (
        SELECT 0, ',"hash":"' || repeat('00', 32) || '"}'
        UNION ALL
        SELECT r.seq + 1, b.body || format(',"hash":"%s"}', encode(sha256(aurora.secret_record_told(r.line) || b.body::bytea), 'hex'))
        FROM r CROSS JOIN LATERAL (SELECT format('{"seq":%s,"at":"2026-01-02T03:04:05.000000Z","action":"read","pid":7', r.seq + 1)) b (body) WHERE r.seq < last)
    SELECT jsonb_agg(line ORDER BY seq) FROM r WHERE seq >= first
$$;
CREATE FUNCTION pg_temp.tell(chain text, records jsonb, more jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM aurora.receive_secret_audit('elsewhere', jsonb_build_object('chain', repeat(tell.chain, 32), 'records', records) || more);
    RETURN (SELECT concat_ws(' ', v.records, v.last_seq, v.ok, v.broken_seq, v.problem) FROM aurora.verify_secret_audit('elsewhere') v WHERE v.chain = repeat(tell.chain, 32));
END
$$;
SELECT is(pg_temp.tell('a', pg_temp.lines(1, 3)), '3 3 t', 'records of a node are taken');
SELECT is(pg_temp.tell('a', pg_temp.lines(2, 4)), '4 4 t', 'what comes again is taken once');
SELECT is(pg_temp.tell('a', pg_temp.lines(6, 7)), '4 4 t', 'what goes on behind something that was lost on the way is not taken');
SELECT is(pg_temp.tell('a', pg_temp.lines(4, 8), '{"anew": 1}'), '8 8 t', 'but when the node sends all of it again');
SELECT is(pg_temp.tell('a', pg_temp.lines(10, 11), '{"anew": 1}'), '10 11 f 9 a record is missing', 'what it has no more is missing, and the rest is taken');
SELECT is(pg_temp.tell('b', jsonb_build_array('{"seq":1,"at":"9999-99-99T99:99:99.000000Z","version":"x","pid":{"a":1}}', '{"seq":2,"at":"2026-02-30T03:04:05.000000Z","version":1e99,"pid":-1.5}',
              '{"seq":3,"service":"\u0000"}', 'no record', '{"seq":5,"version":99999999999,"company_id":99999999999}', '[1]', '{"seq":7,"a":' || repeat('[', 100000))), '7 7 f 1 a record was changed', 'records of any sort are kept');
SELECT is(pg_temp.rows_of($$ SELECT seq, version, pid, left(detail, 9) FROM aurora.secret_audit WHERE chain LIKE 'b%' ORDER BY seq $$),
          '(1,,,) (2,,,) (3,,,"{""seq"":3,") (4,,,"no record") (5,,,) (6,,,[1]) (7,,,"{""seq"":7,")', 'and one of them does not keep the others from being seen');
SELECT is((SELECT count(*) FROM aurora.secret_audit WHERE chain LIKE 'b%' AND at > now() - interval '1 day'), 7::bigint, 'with the time at which they came where they tell none');

INSERT INTO aurora.secret_audit_chain (node, chain, head_seq, head_hash, base_hash) VALUES ('elsewhere', repeat('c', 32), 25000, '\x', '\x');
INSERT INTO aurora.secret_audit_record (node, chain, seq, at, record)
    SELECT 'elsewhere', repeat('c', 32), n, CASE WHEN n > 24990 THEN now() ELSE now() - interval '2 years' END, '{}' FROM generate_series(1, 25000) n;
SELECT is(array[aurora.forget_secret_audit(), aurora.forget_secret_audit(), aurora.forget_secret_audit()], array[20000, 4990, 0]::bigint[], 'old records are forgotten in steps');
SELECT is(pg_temp.rows_of($$ SELECT first_seq, head_seq, (SELECT count(*) FROM aurora.secret_audit_record r WHERE r.chain = c.chain) FROM aurora.secret_audit_chain c WHERE chain LIKE 'c%' $$), '(24991,25000,10)', 'and no young ones');

SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_secrets;
DROP ROLE regress_elsewhere, regress_of_acme;
