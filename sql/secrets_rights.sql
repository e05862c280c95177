\set ECHO none
-- Who may read, write and export which secrets, who may grant that, and what those try who may not. What
-- is set up is committed, so that each role acts in transactions of its own. In a database of its own.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_secrets_rights;
CREATE DATABASE regress_secrets_rights;
\connect regress_secrets_rights
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;
DROP ROLE IF EXISTS regress_plain, regress_admin, regress_operator, regress_user, regress_agent, regress_node, regress_monitor, regress_gateway,
    regress_boss, regress_member, regress_bolt, regress_both, regress_parent, regress_heir, regress_barred, regress_again, regress_renamed, regress_attacker, regress_other_gateway, regress_mighty;
CREATE ROLE regress_plain;
CREATE ROLE regress_admin IN ROLE aurora_admin;
CREATE ROLE regress_operator IN ROLE aurora_operator;
CREATE ROLE regress_user IN ROLE aurora_user;
CREATE ROLE regress_agent IN ROLE aurora_agent;
CREATE ROLE regress_node LOGIN IN ROLE aurora_node;
CREATE ROLE regress_monitor IN ROLE aurora_monitor;
CREATE ROLE regress_gateway IN ROLE aurora_gateway;
CREATE ROLE regress_boss;
CREATE ROLE regress_member;
CREATE ROLE regress_bolt;
CREATE ROLE regress_both;
CREATE ROLE regress_parent IN ROLE aurora_user;
CREATE ROLE regress_heir IN ROLE regress_parent;
CREATE ROLE regress_barred NOINHERIT IN ROLE regress_parent, aurora_agent;
CREATE ROLE regress_attacker;
CREATE ROLE regress_other_gateway IN ROLE aurora_gateway;
GRANT CREATE ON SCHEMA public TO regress_attacker;

SELECT plan(298);

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
-- The same for a role, of an error the SQLSTATE; what is done stays.
CREATE FUNCTION pg_temp.as_role(role name, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    SET LOCAL ROLE NONE;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
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
    FROM unnest(ARRAY['admin', 'agent', 'boss', 'gateway', 'member', 'monitor', 'node', 'operator', 'plain', 'user']) r
$$;
-- Does nobody but administrators get that far; the administrator's would not be undone.
CREATE FUNCTION pg_temp.only_admin_may(statement text) RETURNS boolean LANGUAGE sql AS $$
    SELECT NOT bool_or(pg_temp.may(('regress_' || r)::name, statement)) FROM unnest(ARRAY['agent', 'boss', 'gateway', 'member', 'monitor', 'node', 'operator', 'plain', 'user']) r
$$;

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset
SELECT count(aurora.add_principal(owner, company, login_role, trust)) AS ignored
    FROM (VALUES ('boss', 'Acme', 'regress_boss', 'admin'), ('member', 'Acme', 'regress_member', 'manager'), ('bolt', 'Bolt', 'regress_bolt', 'admin'),
                 ('both', 'Acme', 'regress_both', 'member'), ('both', 'Bolt', 'regress_both', 'member'), ('nologin', 'Acme', NULL, 'member'), ('assumed boss', 'Acme', NULL, 'admin')
         ) p (owner, company, login_role, trust) \gset
SELECT aurora.own_node() AS own_node \gset
SELECT aurora.put_secret('hubspot', 'k', 'for all'), aurora.put_secret('hubspot', 'k', 'for Acme', company => 'Acme'), aurora.put_secret('hubspot', 'k', 'for Bolt', company => 'Bolt'),
       aurora.put_secret('stripe', 'k', 'for all'), aurora.put_secret('local', 'k', 'for all'), aurora.put_secret('local', 'k', 'for this node', :'own_node'),
       aurora.put_secret('local', 'k', 'for Acme here', :'own_node', 'Acme'), aurora.put_secret('only acme', 'k', 'for Acme', company => 'Acme'), aurora.put_secret('only bolt', 'k', 'for Bolt', company => 'Bolt') \gset ignored_

-- ---- without a grant ----

SELECT is(pg_temp.who_may(statement), allowed, title)
    FROM (VALUES ($$ SELECT aurora.secret('hubspot', 'k') $$, 'admin boss', 'without a grant administrators read, and who administers a company what is its own'),
                 ($$ SELECT aurora.secret('hubspot', 'k', 'Acme') $$, 'admin boss', 'also when they name the company'),
                 ($$ SELECT aurora.secret('stripe', 'k') $$, 'admin', 'what is for all only administrators do'),
                 ($$ SELECT 1 $$, 'admin agent boss gateway member monitor node operator plain user', 'while the test itself keeps nobody from anything'),
                 ($$ SELECT * FROM aurora.secret_source('hubspot', 'k') $$, 'admin boss', 'the same is so with secret_source()'),
                 ($$ SELECT * FROM aurora.secret_source('stripe', 'k') $$, 'admin boss', 'which tells who administers a company what its own would fall back on'),
                 ($$ SELECT aurora.put_secret('hubspot', 'k', 'x') $$, 'admin', 'administrators put'),
                 ($$ SELECT aurora.put_secret('hubspot', 'k', 'x', company => 'Acme') $$, 'admin boss', 'and for a company who administers it'),
                 ($$ SELECT aurora.put_secret('hubspot', 'k', 'x', 'elsewhere', 'Acme') $$, 'admin boss', 'on any node'),
                 ($$ SELECT aurora.put_secret('hubspot', 'k', 'x', 'elsewhere') $$, 'admin', 'but not for all companies'),
                 ($$ SELECT aurora.delete_secret('hubspot', 'k') $$, 'admin', 'administrators delete'),
                 ($$ SELECT aurora.delete_secret('hubspot', 'k', company => 'Acme') $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.destroy_secret('hubspot', 'k') $$, 'admin', 'administrators destroy'),
                 ($$ SELECT aurora.destroy_secret('hubspot', 'k', company => 'Acme') $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.destroy_secret('hubspot', 'k', version => 1) $$, 'admin', 'a version, too'),
                 ($$ SELECT aurora.grant_secret('regress_plain', '*') $$, 'admin', 'administrators grant'),
                 ($$ SELECT aurora.grant_secret('regress_plain', '*', 'Acme') $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.revoke_secret('regress_plain', '*') $$, 'admin', 'administrators revoke'),
                 ($$ SELECT aurora.revoke_secret('regress_plain', '*', 'Acme') $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.import_secrets_env('hubspot', 'A=1') $$, 'admin', 'administrators import'),
                 ($$ SELECT aurora.import_secrets_env('hubspot', 'A=1', company => 'Acme') $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.import_secrets_json('{"hubspot": {"a": "1"}}') $$, 'admin', 'also from JSON'),
                 ($$ SELECT aurora.import_secrets_json('{"hubspot": {"a": "1"}}', company => 'Acme') $$, 'admin boss', 'into a company who administers it'),
                 ($$ SELECT aurora.export_secrets() $$, 'admin', 'administrators export'),
                 ($$ SELECT aurora.export_secrets('*', 'Acme') $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.export_secrets(plain => true) $$, 'admin', 'administrators export values'),
                 ($$ SELECT aurora.export_secrets('*', 'Acme', true) $$, 'admin boss', 'and who administers the company'),
                 ($$ SELECT aurora.rotate_secrets_key() $$, 'admin', 'administrators rotate keys'),
                 ($$ SELECT * FROM aurora.secret_audit $$, 'admin boss gateway member user', 'administrators see the audit, and companies theirs'),
                 ($$ SELECT * FROM aurora.verify_secret_audit() $$, 'admin', 'administrators verify it'),
                 ($$ SELECT * FROM aurora.verify_secret_audit_file() $$, 'admin', 'also on the node'),
                 ($$ SELECT * FROM aurora.secret_audit_status() $$, 'admin monitor operator', 'who minds the nodes sees how it is'),
                 ($$ SELECT * FROM aurora.secret_cache $$, 'admin monitor operator', 'and how the caches are'),
                 ($$ SELECT * FROM aurora.secret_key_ring() $$, 'admin', 'administrators see the ids of the keys'),
                 ($$ SELECT * FROM aurora.secret_keys $$, 'admin operator', 'operators what they wrap'),
                 ($$ SELECT * FROM aurora.secret_rotation $$, 'admin monitor operator', 'and how far a rotation is'),
                 ($$ SELECT * FROM aurora.health_secrets() $$, 'admin agent boss gateway member monitor node operator user', 'whoever is of aurora sees how all is')
         ) s (statement, allowed, title);
SELECT ok(pg_temp.only_admin_may($$ SELECT aurora.restart_secret_audit('test') $$), 'only administrators begin the audit anew');
SELECT ok(pg_temp.only_admin_may($$ SELECT aurora.forget_secret_audit() $$), 'or forget what is old of it');

-- The names that a role sees in a view, or that it may not look.
CREATE FUNCTION pg_temp.seen(role name, view text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.as_role(role, format('(SELECT coalesce(string_agg(DISTINCT service || coalesce('' of '' || company, ''''), '', '' ORDER BY service || coalesce('' of '' || company, '''')), ''none'') FROM aurora.%I)', view))
$$;
SELECT is(pg_temp.seen('regress_admin', view), 'hubspot, hubspot of Acme, hubspot of Bolt, local, local of Acme, only acme of Acme, only bolt of Bolt, stripe', 'an administrator sees all names in ' || view)
    FROM unnest(ARRAY['secrets', 'secret_versions']) view;
SELECT is(pg_temp.seen('regress_boss', view), 'hubspot of Acme, local of Acme, only acme of Acme', 'who administers a company sees its names in ' || view)
    FROM unnest(ARRAY['secrets', 'secret_versions']) view;
SELECT ok(pg_temp.seen(('regress_' || role)::name, view) IN ('none', '42501'), format('%s sees no name in %s', role, view))
    FROM unnest(ARRAY['secrets', 'secret_versions', 'secret_grants', 'secret_rights']) view, unnest(ARRAY['plain', 'user', 'agent', 'node', 'monitor', 'gateway', 'member']) role;

-- ---- tables and what is inside ----

SELECT is(pg_temp.as_role(role, '(SELECT coalesce(string_agg(DISTINCT coalesce(company, ''none''), '' ''), ''no record'') FROM aurora.secret_audit)') IN ('no record', '42501'), true, role || ' sees no record of the audit')
    FROM unnest(ARRAY['regress_plain', 'regress_user', 'regress_agent', 'regress_node', 'regress_gateway', 'regress_member', 'regress_monitor', 'regress_operator']::name[]) role;

CREATE TEMPORARY VIEW secret_table AS SELECT oid, relname, relkind FROM pg_class
    WHERE relnamespace = 'aurora'::regnamespace AND relname LIKE 'secret%' AND relkind IN ('r', 'p', 'm', 'S');
SELECT cmp_ok((SELECT count(*) FROM secret_table WHERE relkind = 'r'), '>=', 4::bigint, 'there are tables of secrets');
SELECT is_empty($$ SELECT t.relname, r FROM secret_table t, unnest(ARRAY['admin', 'agent', 'gateway', 'monitor', 'node', 'operator', 'user']) r
                   WHERE t.relkind = 'r' AND (has_table_privilege('aurora_' || r, t.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                                              OR has_any_column_privilege('aurora_' || r, t.oid, 'INSERT, UPDATE, REFERENCES')) $$, 'no group role may write one');
SELECT is_empty($$ SELECT t.relname, r FROM secret_table t, unnest(ARRAY['admin', 'agent', 'gateway', 'monitor', 'node', 'operator', 'user']) r
                   WHERE t.relname IN ('secret_version', 'secret_data_key')
                     AND (has_column_privilege('aurora_' || r, t.oid, CASE t.relname WHEN 'secret_version' THEN 'token' ELSE 'wrapped' END, 'SELECT')) $$, 'nor read a token or a wrapped key');
SELECT is_empty($$ SELECT t.relname, r FROM secret_table t, unnest(ARRAY['admin', 'agent', 'gateway', 'monitor', 'node', 'operator', 'user']) r
                   WHERE t.relkind = 'S' AND has_sequence_privilege('aurora_' || r, t.oid, 'USAGE, UPDATE') $$, 'nor use a sequence');
ANALYZE;
SELECT is_empty($$ SELECT r, s.tablename FROM unnest(ARRAY['user', 'agent', 'monitor', 'member', 'boss']) r,
                          (VALUES ('secret'), ('secret_version'), ('secret_data_key'), ('secret_grant'), ('secret_audit_record')) s (tablename)
                   WHERE pg_temp.as_role(('regress_' || r)::name, format('(SELECT count(*) FROM pg_stats WHERE schemaname = ''aurora'' AND tablename = %L)', s.tablename)) NOT IN ('0', '42501') $$,
                'what ANALYZE has seen of them is nobody''s');
SELECT is_empty($$ SELECT p.oid::regprocedure, a.grantee::regrole FROM pg_proc p, aclexplode(p.proacl) a
                   WHERE p.pronamespace = 'aurora'::regnamespace AND p.proname ~ 'secret|data_key|export|grant_' AND a.grantee <> p.proowner AND p.proname <> ALL (ARRAY[
                       'put_secret', 'secret', 'secret_source', 'delete_secret', 'undelete_secret', 'destroy_secret', 'grant_secret', 'revoke_secret', 'import_secrets_env', 'import_secrets_json',
                       'export_secrets', 'secret_key_ring', 'rotate_secrets_key', 'verify_secret_audit', 'verify_secret_audit_file', 'secret_audit_status', 'restart_secret_audit', 'forget_secret_audit', 'health_secrets',
                       'may_secret', 'grant_holds', 'secret_scope', 'secret_state', 'secret_key_opens', 'local_secret_cache']) $$,
                'no function is granted but those that are made for callers, and what their views ask');
SELECT is((SELECT string_agg(t::text, ' ') FROM unnest(enum_range(NULL::aurora.secret_right)) t), 'read write export', 'there are three rights');

-- ---- a grant, and what it does not give ----

SELECT aurora.grant_secret('regress_user', 'hubspot') AS ignored \gset
SELECT is(pg_temp.as_role('regress_user', $$ aurora.secret('hubspot', 'k') $$), 'for all', 'a grant of read lets a role read what is of no company');
SELECT is(pg_temp.as_role('regress_user', $$ (SELECT scope FROM aurora.secret_source('hubspot', 'k')) $$), 'global', 'and ask where it comes from');
SELECT is(pg_temp.seen('regress_user', 'secrets'), 'hubspot', 'it sees the name');
SELECT is(pg_temp.as_role('regress_user', $$ jsonb_array_length(aurora.export_secrets('hubspot') -> 'secrets') $$), '1', 'and may export the token, which tells no value');
SELECT is(pg_temp.as_role('regress_user', expression), '42501', 'it does not ' || title)
    FROM (VALUES ($$ aurora.secret('stripe', 'k') $$, 'read another service'), ($$ aurora.put_secret('hubspot', 'k', 'x') $$, 'put'),
                 ($$ aurora.put_secret('hubspot', 'new', 'x') $$, 'put a new key'),
                 ($$ aurora.delete_secret('hubspot', 'k') $$, 'delete'), ($$ aurora.undelete_secret('hubspot', 'k') $$, 'undelete'), ($$ aurora.destroy_secret('hubspot', 'k') $$, 'destroy'),
                 ($$ aurora.export_secrets('hubspot', plain => true) $$, 'export values'), ($$ aurora.export_secrets('*') $$, 'export all'),
                 ($$ aurora.grant_secret('regress_plain', 'hubspot') $$, 'pass it on'),
                 ($$ aurora.import_secrets_env('hubspot', 'K=1') $$, 'import'), ($$ aurora.import_secrets_json('{"hubspot": {"k": "1"}}') $$, 'import from JSON')) e (expression, title);
SELECT ok(pg_temp.as_role('regress_user', $$ aurora.secret('hubspot', 'k', 'Acme') $$) IN ('42501', '22023'), 'nor read a company''s');
SELECT is(pg_temp.as_role('regress_user', $$ aurora.secret('hubspot', 'missing') $$), '42704', 'with a right to the service it hears what is missing');
SELECT is(pg_temp.rows_of($$ SELECT grantee, service, company, may, holds, granted_at <= now(), granted_by = current_user FROM aurora.secret_grants $$), '(regress_user,hubspot,,read,t,t,t)', 'the grant is in the view');
SELECT is(pg_temp.rows_of($$ SELECT role, service, company, may, granted_to FROM aurora.secret_rights WHERE role = 'regress_user' $$), '(regress_user,hubspot,,read,regress_user)', 'and among the rights');
SELECT lives_ok($$ SELECT aurora.grant_secret('regress_user', 'hubspot') $$, 'it can be granted again');
SELECT is((SELECT count(*) FROM aurora.secret_grants), 1::bigint, 'and is one grant still');
SELECT is(aurora.revoke_secret('regress_user', 'hubspot', may => 'write'), false, 'revoke_secret() tells that there was no such grant');
SELECT is(aurora.revoke_secret('regress_user', 'hub*'), false, 'nor one of that pattern');
SELECT is(pg_temp.as_role('regress_user', $$ aurora.secret('hubspot', 'k') $$), 'for all', 'which leaves others');
SELECT is(aurora.revoke_secret('regress_user', 'hubspot'), true, 'revoke_secret() takes a grant back');
SELECT is(pg_temp.as_role('regress_user', $$ aurora.secret('hubspot', 'k') $$), '42501', 'and the value is not read any more, though it was before in this session');
SELECT is(pg_temp.seen('regress_user', 'secrets') IN ('none', '42501'), true, 'nor its name seen');

SELECT aurora.grant_secret('regress_agent', 'stripe', may => 'write') AS ignored \gset
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.put_secret('stripe', 'k', 'by an agent') $$), '2', 'a grant of write lets a role put');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.put_secret('stripe', 'new', 'by an agent') $$), '1', 'new keys, too');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.import_secrets_env('stripe', 'A=1') $$), '1', 'import');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.delete_secret('stripe', 'k') $$), '2', 'delete');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.undelete_secret('stripe', 'k') $$), '2', 'undelete');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.destroy_secret('stripe', 'new') $$), '1', 'and destroy');
SELECT is(pg_temp.as_role('regress_agent', expression), '42501', 'it does not ' || title)
    FROM (VALUES ($$ aurora.secret('stripe', 'k') $$, 'read'), ($$ aurora.export_secrets('stripe', plain => true) $$, 'export values'),
                 ($$ aurora.put_secret('hubspot', 'k', 'x') $$, 'write to another service'),
                 ($$ aurora.import_secrets_json('{"stripe": {"k": "1"}, "hubspot": {"k": "1"}}') $$, 'import what is partly of another service'),
                 ($$ aurora.grant_secret('regress_agent', 'stripe') $$, 'grant itself more')) e (expression, title);
SELECT ok(pg_temp.as_role('regress_agent', $$ aurora.put_secret('stripe', 'k', 'x', company => 'Acme') $$) IN ('42501', '22023'), 'nor put into a company');
SELECT is((SELECT created_by FROM aurora.secret_versions WHERE service = 'stripe' AND version = 2), 'regress_agent', 'the view tells who it was');
SELECT is((SELECT version FROM aurora.secrets WHERE service = 'stripe' AND key_name = 'k'), 2, 'what was refused in part has put nothing');

SELECT aurora.grant_secret('regress_operator', 'stripe', may => 'export') AS ignored \gset
SELECT is(pg_temp.as_role('regress_operator', $$ aurora.export_secrets('stripe', plain => true) -> 'stripe' ->> 'k' $$), 'by an agent', 'a grant of export lets a role export values');
SELECT is(pg_temp.as_role('regress_operator', expression), '42501', 'it does not ' || title)
    FROM (VALUES ($$ aurora.export_secrets('*', plain => true) $$, 'export all'), ($$ aurora.export_secrets('hubspot', plain => true) $$, 'export another service'),
                 ($$ aurora.put_secret('stripe', 'k', 'x') $$, 'put'), ($$ aurora.delete_secret('stripe', 'k') $$, 'delete')) e (expression, title);
SELECT count(*) AS ignored FROM aurora.secret_grants g, aurora.revoke_secret(g.grantee, g.service, g.company, g.may::text) \gset
SELECT is_empty('SELECT FROM aurora.secret_grants', 'all grants can be taken back as the view shows them');

-- ---- an import opens nothing for who may not read all ----

-- Tokens bear no names: whoever could import them under a name of his own would read them.
SELECT aurora.export_secrets('stripe')::text AS stolen, aurora.grant_secret('regress_agent', 'mine'), aurora.grant_secret('regress_agent', 'mine', may => 'write'),
       aurora.export_secrets('*', 'Bolt')::text AS of_bolt \gset
SELECT is(pg_temp.as_role('regress_agent', format('aurora.import_secrets_json(%L)', replace(:'stolen', '"stripe"', '"mine"'))), '42501', 'who may put does not import what others have exported, under a name that it may read');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.secret('mine', 'k') $$), '42704', 'so that it is not opened');
SELECT is(pg_temp.as_role('regress_boss', format('aurora.import_secrets_json(%L)', replace(:'of_bolt', '"Bolt"', '"Acme"'))), '42501', 'who administers a company does not import what is of another');
SELECT is(pg_temp.as_role('regress_agent', $$ aurora.import_secrets_json('{"format": "aurora secrets 1", "keys": [], "secrets": []}') $$), '42501', 'it imports no export at all');
SELECT is(pg_temp.as_role('regress_admin', format('aurora.import_secrets_json(%L)', replace(:'stolen', '"stripe"', '"imported"'))), '2', 'an administrator, who may read all, does');
SELECT aurora.revoke_secret('regress_agent', 'mine'), aurora.revoke_secret('regress_agent', 'mine', may => 'write'), aurora.destroy_secret('imported', 'k'), aurora.destroy_secret('imported', 'A') \gset ignored_

SELECT aurora.grant_secret('regress_node', '*', 'Acme') AS ignored \gset
SELECT is(pg_temp.as_role('regress_node', $$ aurora.secret('hubspot', 'k', 'Acme') $$), 'for Acme', 'a grant for a company lets a role read what is of that company');
SELECT is(pg_temp.as_role('regress_node', $$ aurora.secret('local', 'k', 'Acme') $$), 'for Acme here', 'also what is of a node, too');
SELECT is(pg_temp.as_role('regress_node', $$ aurora.secret('stripe', 'k', 'Acme') $$), '42501', 'where what answers is for all it is refused');
SELECT is(pg_temp.as_role('regress_node', $$ aurora.secret('hubspot', 'k') $$), '42501', 'without the company, too');
SELECT ok(pg_temp.as_role('regress_node', $$ aurora.secret('hubspot', 'k', 'Bolt') $$) IN ('42501', '22023'), 'and with another');
SELECT is(pg_temp.as_role('regress_node', $$ aurora.secret('missing', 'k', 'Acme') $$), '42704', 'of its own it hears what is missing');
SELECT aurora.revoke_secret('regress_node', '*', 'Acme'), aurora.grant_secret('regress_node', '*') \gset ignored_
SELECT is(pg_temp.as_role('regress_node', $$ aurora.secret('local', 'k') $$), 'for this node', 'a grant for no company reads what is of a node');
SELECT ok(pg_temp.as_role('regress_node', $$ aurora.secret('local', 'k', 'Acme') $$) IN ('42501', '22023'), 'and does not fall through to it where a company''s value answers');
SELECT aurora.revoke_secret('regress_node', '*') AS ignored \gset

-- ---- patterns ----

-- Does a grant for this pattern let a role read this service.
CREATE FUNCTION pg_temp.matches(pattern text, service text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    read text;
BEGIN
    PERFORM aurora.put_secret(service, 'pattern', 'x'), aurora.grant_secret('regress_user', pattern);
    read := pg_temp.as_role('regress_user', format('aurora.secret(%L, ''pattern'')', service));
    PERFORM aurora.revoke_secret('regress_user', pattern);
    RETURN CASE read WHEN 'x' THEN 'yes' WHEN '42501' THEN 'no' ELSE read END;
END
$$;
SELECT is(pg_temp.matches(pattern, service), matches, format('"%s" is %sa pattern for "%s"', pattern, CASE matches WHEN 'yes' THEN '' ELSE 'not ' END, service))
    FROM (VALUES ('*', 'anything', 'yes'), ('hub*', 'hubspot', 'yes'), ('hub*', 'hub', 'yes'), ('hub*', 'github', 'no'), ('*hub', 'github', 'yes'), ('*hub', 'hubs', 'no'),
                 ('a*c', 'abc', 'yes'), ('a*c', 'ac', 'yes'),
                 ('a*c', 'abcd', 'no'), ('a**b', 'ab', 'yes'), ('*a*b*', 'xaybz', 'yes'), ('*a*a*', 'a', 'no'), ('a*a', 'a', 'no'), ('*ab', 'aab', 'yes'), ('a', 'ab', 'no'),
                 ('a', 'A', 'no'), ('A*', 'abc', 'no'),
                 ('a%', 'abc', 'no'), ('a%', 'a%', 'yes'), ('%', 'x', 'no'), ('a_c', 'abc', 'no'), ('a_c', 'a_c', 'yes'), ('a.c', 'abc', 'no'), ('a.c', 'a.c', 'yes'),
                 ('.*', 'abc', 'no'), ('.*', '.x', 'yes'),
                 ('a\', 'a\', 'yes'), ('a\*', 'a\bc', 'yes'), ('a\*', 'a*', 'no'), ('\*', 'x', 'no'), ('a?c', 'abc', 'no'), ('a?c', 'a?c', 'yes'), ('[ab]', 'a', 'no'),
                 ('[ab]', '[ab]', 'yes'), ('a+', 'aa', 'no'),
                 ('(a|b)', 'a', 'no'), ('^a', 'a', 'no'), ('a$', 'a', 'no'), ('{a,b}', 'a', 'no'), ('a''b*', 'a''bc', 'yes'), ('a"b', 'a"b', 'yes'), ('grün*', 'grünspan', 'yes'),
                 ('gr*n', 'grün', 'yes'), ('*ü', 'grü', 'yes'),
                 ('日*', '日本', 'yes'), ('*', 'a*b', 'yes'), ('a*b', 'a*b', 'yes')) p (pattern, service, matches);
SELECT is(pg_temp.matches(repeat('*a', 99) || '*b', repeat('a', 200)), 'no', 'a pattern of many stars is looked at in no time');
SELECT is(pg_temp.result_of(format('aurora.grant_secret(''regress_user'', %L)', pattern)) ~ '^22023 ', true, title || ' is no pattern')
    FROM (VALUES ('', 'an empty text'), (repeat('a', 201), 'one of 201 characters'), (' a', 'one with a blank before'), ('a ', 'one with a blank after'),
                 (E'a\nb', 'one with a line end'), (E'a\x01', 'one with a control character')) p (pattern, title);
SELECT is(pg_temp.result_of($$ aurora.grant_secret('regress_user', 'a', may => 'steal') $$) ~ '^22023 ', true, 'there is no right to steal');
SELECT is(pg_temp.result_of($$ aurora.grant_secret('regress_user', 'a', may => 'READ') $$) ~ '^22023 ', true, 'nor one in upper case');
SELECT is(pg_temp.result_of($$ aurora.grant_secret('regress_noone', 'a') $$) ~ '^42704 ', true, 'a role that is not there is granted nothing');
SELECT is(pg_temp.result_of($$ aurora.grant_secret('regress_user', 'a', 'Nowhere') $$) ~ '^(22023|42501) ', true, 'nor is there a grant for a company that is not there');
SELECT is(pg_temp.result_of(format('aurora.%s', expression)) ~ '^22004 ', true, expression || ' lacks what it must have')
    FROM unnest(ARRAY['grant_secret(NULL, ''a'')', 'grant_secret(''regress_user'', NULL)', 'grant_secret(''regress_user'', ''a'', may => NULL)',
                      'revoke_secret(NULL, ''a'')', 'revoke_secret(''regress_user'', NULL)', 'revoke_secret(''regress_user'', ''a'', may => NULL)']) expression;
SELECT is_empty('SELECT FROM aurora.secret_grants', 'none of these has granted anything');

-- ---- a role through another; roles that go and come ----

SELECT aurora.grant_secret('regress_parent', 'hubspot') AS ignored \gset
SELECT is(pg_temp.as_role('regress_heir', $$ aurora.secret('hubspot', 'k') $$), 'for all', 'a member of a role has its rights');
SELECT is(pg_temp.rows_of($$ SELECT role, service, may, granted_to FROM aurora.secret_rights WHERE role IN ('regress_heir', 'regress_barred', 'regress_plain') $$), '(regress_heir,hubspot,read,regress_parent)',
          'the view of rights tells by which role');
SELECT is(pg_temp.as_role('regress_barred', $$ aurora.secret('hubspot', 'k') $$), '42501', 'one that does not inherit has not');
SET SESSION AUTHORIZATION regress_barred;
SELECT pg_temp.result_of($$ aurora.secret('hubspot', 'k') $$) AS before \gset
SET ROLE regress_parent;
SELECT aurora.secret('hubspot', 'k') AS as_parent \gset
RESET ROLE;
SELECT pg_temp.result_of($$ aurora.secret('hubspot', 'k') $$) AS after \gset
RESET SESSION AUTHORIZATION;
SELECT is(array[left(:'before', 5), :'as_parent', left(:'after', 5)], array['42501', 'for all', '42501'], 'until it sets that role, and only so long, whatever the session has cached');
REVOKE regress_parent FROM regress_heir;
SELECT is(pg_temp.as_role('regress_heir', $$ aurora.secret('hubspot', 'k') $$), '42501', 'who leaves the role loses them at once');
SELECT aurora.revoke_secret('regress_parent', 'hubspot') AS ignored \gset

CREATE ROLE regress_again IN ROLE aurora_user;
SELECT aurora.grant_secret('regress_again', '*'), aurora.grant_secret('regress_again', '*', 'Acme'), aurora.grant_secret('regress_again', '*', may => 'write') \gset ignored_
SELECT is(pg_temp.as_role('regress_again', $$ aurora.secret('hubspot', 'k') $$), 'for all', 'a role with a grant');
DROP ROLE regress_again;
CREATE ROLE regress_again IN ROLE aurora_user;
SELECT is(pg_temp.as_role('regress_again', $$ aurora.secret('hubspot', 'k') $$), '42501', 'that is dropped and made again has it no more');
SELECT is(pg_temp.as_role('regress_again', $$ aurora.put_secret('hubspot', 'k', 'x') $$), '42501', 'nor that of write');
SELECT is_empty($$ SELECT FROM aurora.secret_rights WHERE role = 'regress_again' $$, 'and no rights');
SELECT is(pg_temp.as_role('regress_again', $$ (SELECT count(*) FROM aurora.secrets) $$), '0', 'and sees no name');
SELECT lives_ok($$ SELECT aurora.grant_secret('regress_again', 'stripe') $$, 'it can be granted something anew');
SELECT is(pg_temp.as_role('regress_again', $$ aurora.secret('hubspot', 'k') $$), '42501', 'which does not bring back the rest');
SELECT aurora.grant_secret('regress_again', 'hubspot') AS ignored \gset
ALTER ROLE regress_again RENAME TO regress_renamed;
CREATE ROLE regress_again IN ROLE aurora_user;
SELECT is(pg_temp.as_role('regress_again', $$ aurora.secret('hubspot', 'k') $$), '42501', 'who takes the name of a role that was renamed does not get its rights');
DROP ROLE regress_renamed;
SELECT count(*) AS ignored FROM aurora.secret_grants g, aurora.revoke_secret(g.grantee, g.service, g.company, g.may::text) \gset

-- ---- who administers a company ----

SELECT is(pg_temp.as_role('regress_boss', $$ aurora.grant_secret('regress_member', '*', 'Acme') $$), '', 'who administers a company grants what is of that company');
SELECT is(pg_temp.as_role('regress_member', $$ aurora.secret('hubspot', 'k') $$), 'for Acme', 'the colleague reads it, without naming the company');
SELECT is(pg_temp.as_role('regress_member', expression), '42501', 'and does not ' || title)
    FROM (VALUES ($$ aurora.secret('stripe', 'k') $$, 'reach what is for all'), ($$ aurora.put_secret('hubspot', 'k', 'x', company => 'Acme') $$, 'put'),
                 ($$ aurora.grant_secret('regress_plain', '*', 'Acme') $$, 'pass it on')) e (expression, title);
SELECT is(pg_temp.seen('regress_member', 'secrets'), 'hubspot of Acme, local of Acme, only acme of Acme', 'nor see other names');
SELECT is(pg_temp.as_role('regress_boss', expression), '42501', 'who administers a company does not ' || title)
    FROM (VALUES ($$ aurora.grant_secret('regress_boss', '*') $$, 'grant itself what is for all'), ($$ aurora.grant_secret('regress_member', 'hubspot') $$, 'nor others'),
                 ($$ aurora.secret('stripe', 'k') $$, 'read it'),
                 ($$ aurora.revoke_secret('regress_admin', '*') $$, 'revoke grants of it'), ($$ aurora.export_secrets(plain => true) $$, 'export it')) e (expression, title);
SELECT ok(pg_temp.as_role('regress_boss', expression) IN ('42501', '22023'), 'nor does it ' || title)
    FROM (VALUES ($$ aurora.grant_secret('regress_boss', '*', 'Bolt') $$, 'grant what is of another company'), ($$ aurora.secret('only bolt', 'k', 'Bolt') $$, 'read that'),
                 ($$ aurora.put_secret('only bolt', 'k', 'x', company => 'Bolt') $$, 'put'), ($$ aurora.export_secrets('*', 'Bolt') $$, 'export'),
                 ($$ aurora.destroy_secret('only bolt', 'k', company => 'Bolt') $$, 'or destroy')) e (expression, title);
SELECT is(pg_temp.as_role('regress_boss', $$ aurora.export_secrets('*', 'Acme', true) -> 'only acme' ->> 'k' $$), 'for Acme', 'it exports its own company''s values');
SELECT is(pg_temp.as_role('regress_boss', $$ aurora.export_secrets('*', 'Acme', true)::text ~ 'for all|Bolt|this node' $$), 'false', 'and no others');
SELECT is(pg_temp.seen('regress_boss', 'secret_grants'), '* of Acme', 'it sees the grants of its company');
SELECT aurora.grant_secret('regress_bolt', 'x', 'Bolt'), aurora.grant_secret('regress_bolt', 'y') \gset ignored_
SELECT is(pg_temp.seen('regress_boss', 'secret_grants'), '* of Acme', 'and of no other');
SELECT is(pg_temp.as_role('regress_boss', $$ aurora.revoke_secret('regress_member', '*', 'Acme') $$), 'true', 'it revokes them');
SELECT is(pg_temp.as_role('regress_member', $$ aurora.secret('hubspot', 'k') $$), '42501', 'and its colleague reads no more');
SELECT aurora.grant_secret('regress_both', '*', 'Acme') AS ignored \gset
SELECT is(pg_temp.as_role('regress_both', $$ aurora.secret('hubspot', 'k', 'Acme') $$), 'for Acme', 'who is in two companies reads where it has a grant');
SELECT is(pg_temp.as_role('regress_both', $$ aurora.secret('hubspot', 'k', 'Bolt') $$), '42501', 'and not in the other');
SELECT is(pg_temp.as_role('regress_both', $$ aurora.secret('hubspot', 'k') $$), '22023', 'and has to say in which it asks');

-- ---- what exists is not told ----

-- The error with the names taken out.
CREATE FUNCTION pg_temp.error_without_names(role name, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    result := regexp_replace(pg_temp.result_of(expression), 'hubspot|missing|deleted one|expired one', 'NAME', 'g');
    SET LOCAL ROLE NONE;
    RETURN result;
END
$$;
SELECT aurora.put_secret('deleted one', 'k', 'x'), aurora.delete_secret('deleted one', 'k'), aurora.put_secret('expired one', 'k', 'x', expires_at => now() + interval '1 hour') \gset ignored_
UPDATE aurora.secret_version SET expires_at = now() - interval '1 second' WHERE expires_at IS NOT NULL;
SELECT is((SELECT string_agg(DISTINCT left(e, 5) || CASE WHEN e ~ 'NAME' THEN ' tells the name' ELSE '' END, ', ') || ' ' || count(DISTINCT e)
           FROM unnest(ARRAY['hubspot', 'missing', 'deleted one', 'expired one']) service, pg_temp.error_without_names(role, format(expression, service)) e),
          '42501 tells the name 1', format('%s gets the same error of %s whether or not the secret exists', role, regexp_replace(expression, '\(.*', '()')))
    FROM (VALUES ('regress_user'::name), ('regress_member')) r (role),
         (VALUES ('aurora.secret(%L, ''k'')'), ('(SELECT scope FROM aurora.secret_source(%L, ''k''))'), ('aurora.put_secret(%L, ''k'', ''x'', expected_version => 0)'), ('aurora.delete_secret(%L, ''k'')'),
                 ('aurora.undelete_secret(%L, ''k'')'), ('aurora.destroy_secret(%L, ''k'')')) e (expression);
SELECT is((SELECT count(DISTINCT pg_temp.as_role('regress_plain', format('aurora.secret(%L, ''k'')', s))) FROM unnest(ARRAY['hubspot', 'missing']) s), 1::bigint, 'so does who is nothing of aurora');

-- ---- code of the attacker, and code that it calls ----

GRANT aurora_user TO regress_attacker;
SET ROLE regress_attacker;
CREATE TABLE public.loot (what text, result text);
CREATE FUNCTION public.try(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
CREATE FUNCTION public.definer(expression text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT public.try(expression) $$;
CREATE FUNCTION public.note() RETURNS void LANGUAGE sql AS $$
    INSERT INTO public.loot SELECT e, public.try(e) FROM unnest(ARRAY['aurora.secret(''stripe'', ''k'')', 'aurora.export_secrets(plain => true)', 'aurora.grant_secret(''regress_attacker'', ''*'')',
        'aurora.put_secret(''stripe'', ''k'', ''x'')', 'aurora.destroy_secret(''stripe'', ''k'')', '(SELECT count(*) FROM aurora.secrets)', '(SELECT scope FROM aurora.secret_source(''stripe'', ''k''))']) e
$$;
CREATE FUNCTION public.take(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM public.note();
    RETURN $1;
END
$$;
CREATE TABLE public.bait (x int);
INSERT INTO public.bait VALUES (1);
CREATE INDEX ON public.bait (public.take(x));
DELETE FROM public.loot;
RESET ROLE;
SELECT aurora.secret('stripe', 'k') AS ignored \gset
ANALYZE public.bait;
SELECT cmp_ok((SELECT count(*) FROM public.loot), '>=', 7::bigint, 'an index''s function runs when a superuser analyzes the table');
SELECT is_empty($$ SELECT * FROM public.loot WHERE result NOT IN ('42501', '0') $$, 'and reaches no secret, in the cache or not');
-- What such a function does is undone, should it succeed.
CREATE FUNCTION pg_temp.by_definer(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    result := public.definer(expression);
    RAISE SQLSTATE 'ZZ001';
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
    RETURN result;
END
$$;
SELECT is(pg_temp.by_definer(expression), gives, 'a SECURITY DEFINER function of the attacker that a superuser calls does not ' || title)
    FROM (VALUES ($$ aurora.secret('stripe', 'k') $$, '42501', 'read'), ($$ (SELECT scope FROM aurora.secret_source('stripe', 'k')) $$, '42501', 'ask where it comes from'),
                 ($$ (SELECT count(*) FROM aurora.secrets) $$, '0', 'see names'),
                 ($$ aurora.rotate_secrets_key() $$, '42501', 'rotate keys')) e (expression, gives, title);
CREATE FUNCTION public.of_superuser() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT public.try('aurora.secret(''stripe'', ''k'')') $$;
SELECT is(public.of_superuser(), 'by an agent', 'a SECURITY DEFINER function of a superuser reads for a superuser');
SELECT is(pg_temp.as_role('regress_attacker', 'public.of_superuser()'), '42501', 'and not for the attacker');
SELECT aurora.grant_secret('regress_agent', 'stripe') AS ignored \gset
CREATE FUNCTION public.of_agent() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT public.try('aurora.secret(''stripe'', ''k'')') $$;
ALTER FUNCTION public.of_agent() OWNER TO regress_agent;
SELECT is(public.of_agent(), 'by an agent', 'one of a role with a grant reads as that role, which so lends what it has');
CREATE VIEW public.of_superuser_view AS SELECT public.try('aurora.secret(''stripe'', ''k'')') AS value;
GRANT SELECT ON public.of_superuser_view TO PUBLIC;
SELECT is(pg_temp.as_role('regress_attacker', '(SELECT value FROM public.of_superuser_view)'), '42501', 'a superuser''s view reads for the attacker with the attacker''s rights');

-- So many principals that plans begin with the companies.
INSERT INTO aurora.principal (company_id, owner, login_role, trust)
    SELECT company_id, 'principal ' || n, 'regress_principal_' || n, CASE WHEN n % 10 = 0 THEN 'admin' ELSE 'member' END::aurora.trust FROM aurora.company, generate_series(1, 2000) n;
ANALYZE aurora.principal, aurora.company;
SELECT aurora.grant_secret('regress_attacker', 'stripe') AS ignored \gset
SET ROLE regress_attacker;
CREATE FUNCTION public.peek(place text, VARIADIC seen text[]) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    INSERT INTO public.loot SELECT place, s FROM unnest(seen) s;
    RETURN true;
END
$$;
DELETE FROM public.loot;
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT attrelid::regclass AS view, attname, string_agg(format('%I::text', attname), ', ') OVER (PARTITION BY attrelid) AS all_columns FROM pg_attribute
             WHERE attrelid IN ('aurora.secrets'::regclass, 'aurora.secret_versions'::regclass, 'aurora.secret_grants'::regclass, 'aurora.secret_rights'::regclass) AND attnum > 0 LOOP
        EXECUTE format('SELECT FROM %s WHERE public.peek(%L, %I::text)', c.view, c.view || '.' || c.attname, c.attname);
        EXECUTE format('SELECT FROM %s WHERE public.peek(%L, %s)', c.view, c.view || '.all', c.all_columns);
    END LOOP;
END
$$;
RESET ROLE;
SELECT cmp_ok((SELECT count(*) FROM public.loot WHERE result = 'stripe'), '>=', 2::bigint, 'a function in a query on the views is shown what the caller may see');
-- Names of roles are no secret, since pg_roles shows them.
SELECT is_empty($$ SELECT DISTINCT what, result FROM public.loot WHERE result ~ 'hubspot|local|only|Acme|Bolt|deleted|expired' OR what ~ 'grants' AND result ~ 'regress_' AND result <> 'regress_attacker' $$, 'and nothing else');
SELECT is(pg_temp.as_role('regress_attacker', $$ (SELECT count(DISTINCT service) FROM aurora.secrets WHERE 1 / (CASE service WHEN 'stripe' THEN 1 ELSE 0 END) > 0) $$), '1', 'no division by zero tells of rows that it may not see');
SELECT is(pg_temp.as_role('regress_attacker', $$ (SELECT count(DISTINCT service) FROM aurora.secret_versions WHERE (CASE service WHEN 'stripe' THEN '1' ELSE service END)::int > 0) $$), '1', 'no cast does');
SELECT aurora.revoke_secret('regress_attacker', 'stripe') AS ignored \gset

-- ---- a gateway and whom it assumes ----

SELECT aurora.grant_secret('regress_gateway', 'stripe'), aurora.grant_secret('regress_member', 'hubspot', 'Acme'), aurora.put_secret('hubspot', 'k', 'for Acme', company => 'Acme') \gset ignored_
SELECT is(pg_temp.as_role('regress_gateway', $$ aurora.secret('stripe', 'k') $$), 'by an agent', 'a gateway reads what it is granted itself');
CREATE FUNCTION pg_temp.assumed(company text, owner text, expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    SET LOCAL ROLE regress_gateway;
    PERFORM aurora.assume(company, owner);
    result := left(pg_temp.result_of(expression), 40);
    RAISE SQLSTATE 'ZZ001';
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
    RETURN CASE WHEN result ~ '^[0-9A-Z]{5} ' THEN left(result, 5) ELSE result END;
END
$$;
SELECT is(pg_temp.assumed('Acme', 'member', $$ aurora.secret('hubspot', 'k') $$), 'for Acme', 'when it assumes a principal it reads what that one''s role is granted');
SELECT is(pg_temp.assumed('Acme', 'boss', $$ aurora.secret('only acme', 'k') $$), 'for Acme', 'or what that one administers');
SELECT is(pg_temp.assumed('Acme', 'assumed boss', $$ aurora.secret('only acme', 'k') $$), 'for Acme', 'also without a role');
SELECT is(pg_temp.assumed('Acme', 'assumed boss', $$ aurora.put_secret('only acme', 'k', 'x', company => 'Acme') $$), '2', 'and puts it');
SELECT is(pg_temp.assumed('Acme', owner, expression), '42501', title)
    FROM (VALUES ('member', $$ aurora.secret('stripe', 'k') $$, 'what the gateway itself is granted is out of reach meanwhile'),
                 ('nologin', $$ aurora.secret('hubspot', 'k') $$, 'a principal without a role and a grant reads nothing'),
                 ('nologin', $$ aurora.secret('stripe', 'k') $$, 'not by the gateway''s grant either'),
                 ('boss', $$ aurora.grant_secret('regress_gateway', '*') $$, 'who administers a company grants nothing for all'),
                 ('member', $$ aurora.export_secrets('hubspot', 'Acme', true) $$, 'read is not export')) e (owner, expression, title);
SELECT ok(pg_temp.assumed('Acme', 'both', $$ aurora.secret('hubspot', 'k', 'Bolt') $$) IN ('42501', '22023'), 'a principal of two companies is that of one while it is assumed');
BEGIN;
SET LOCAL ROLE regress_gateway;
SELECT aurora.assume('Acme', 'member') AS ignored, aurora.secret('hubspot', 'k') AS first \gset
COMMIT;
BEGIN;
SET LOCAL ROLE regress_gateway;
SELECT aurora.assume('Acme', 'nologin') AS ignored, pg_temp.result_of($$ aurora.secret('hubspot', 'k') $$) AS second \gset
COMMIT;
BEGIN;
SET LOCAL ROLE regress_gateway;
SELECT aurora.assume('Bolt', 'bolt') AS ignored, aurora.secret('hubspot', 'k') AS third \gset
COMMIT;
BEGIN;
SET LOCAL ROLE regress_gateway;
SELECT pg_temp.result_of($$ aurora.secret('hubspot', 'k') $$) AS fourth \gset
COMMIT;
SELECT is(array[:'first', left(:'second', 5), :'third', left(:'fourth', 5)], array['for Acme', '42501', 'for Bolt', '42501'],
          'from one transaction to the next it reads as whom it assumes, whatever was cached');
BEGIN;
SET LOCAL ROLE regress_gateway;
SELECT aurora.assume('Acme', 'member') AS ignored, aurora.secret('hubspot', 'k') AS before \gset
SET LOCAL ROLE regress_other_gateway;
SELECT left(pg_temp.result_of($$ aurora.secret('hubspot', 'k') $$), 5) AS after \gset
ROLLBACK;
SELECT is(array[:'before', :'after'], array['for Acme', '42501'], 'another role does not inherit whom it has assumed');

-- ---- one session, one role after another ----

SELECT aurora.secret('stripe', 'k') AS as_superuser \gset
SET ROLE regress_user;
SELECT left(pg_temp.result_of($$ aurora.secret('stripe', 'k') $$), 5) AS as_user \gset
SET ROLE regress_agent;
SELECT aurora.secret('stripe', 'k') AS as_agent \gset
RESET ROLE;
SELECT aurora.revoke_secret('regress_agent', 'stripe') AS ignored \gset
SET ROLE regress_agent;
SELECT left(pg_temp.result_of($$ aurora.secret('stripe', 'k') $$), 5) AS as_agent_later \gset
RESET ROLE;
SELECT is(array[:'as_superuser', :'as_user', :'as_agent', :'as_agent_later'], array['by an agent', '42501', 'by an agent', '42501'], 'a cached value is for whom it was read, and not after a revoke');
SELECT aurora.grant_secret('regress_agent', 'stripe') AS ignored \gset
SET ROLE regress_agent;
PREPARE reading AS SELECT aurora.secret('stripe', 'k') AS read;
EXECUTE reading \gset first_
RESET ROLE;
SELECT is(:'first_read'::text, 'by an agent', 'a prepared statement reads');
SET ROLE regress_user;
SELECT throws_ok('EXECUTE reading', '42501', NULL, 'and not for another role');
RESET ROLE;
CREATE ROLE regress_mighty SUPERUSER;
SET ROLE regress_mighty;
SELECT aurora.secret('stripe', 'k') AS mighty \gset
RESET ROLE;
ALTER ROLE regress_mighty NOSUPERUSER;
SELECT is(array[:'mighty', pg_temp.as_role('regress_mighty', $$ aurora.secret('stripe', 'k') $$)], array['by an agent', '42501'], 'who is no superuser any more reads no more');
GRANT aurora_admin TO regress_mighty;
SELECT is(pg_temp.as_role('regress_mighty', $$ aurora.secret('stripe', 'k') $$), 'by an agent', 'an administrator does');
REVOKE aurora_admin FROM regress_mighty;
SELECT is(pg_temp.as_role('regress_mighty', $$ aurora.secret('stripe', 'k') $$), '42501', 'until it is none any more');
SELECT pg_temp.as_role('regress_boss', $$ aurora.secret('only acme', 'k') $$) AS boss, (aurora.add_principal('boss', 'Acme', trust => 'manager')).owner AS ignored \gset
SELECT is(array[:'boss', pg_temp.as_role('regress_boss', $$ aurora.secret('only acme', 'k') $$)], array['for Acme', '42501'], 'so does who administers a company, until its trust is less');
SELECT current_user AS me, aurora.grant_secret('pg_database_owner', 'stripe') AS ignored \gset
ALTER DATABASE regress_secrets_rights OWNER TO regress_user;
SELECT pg_temp.as_role('regress_user', $$ aurora.secret('stripe', 'k') $$) AS owner \gset
ALTER DATABASE regress_secrets_rights OWNER TO :"me";
SELECT is(array[:'owner', pg_temp.as_role('regress_user', $$ aurora.secret('stripe', 'k') $$)], array['by an agent', '42501'], 'and who owns the database, while it does');
SELECT aurora.revoke_secret('pg_database_owner', 'stripe') AS ignored \gset
BEGIN;
SELECT aurora.revoke_secret('regress_agent', 'stripe') AS ignored \gset
SELECT pg_temp.as_role('regress_agent', $$ aurora.secret('stripe', 'k') $$) AS revoked \gset
ROLLBACK;
SELECT is(array[:'revoked', pg_temp.as_role('regress_agent', $$ aurora.secret('stripe', 'k') $$)], array['42501', 'by an agent'], 'a revoke that is rolled back has taken nothing');

SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_secrets_rights;
DROP ROLE regress_plain, regress_admin, regress_operator, regress_user, regress_agent, regress_node, regress_monitor, regress_gateway,
    regress_boss, regress_member, regress_bolt, regress_both, regress_parent, regress_heir, regress_barred, regress_again, regress_attacker, regress_other_gateway, regress_mighty;
