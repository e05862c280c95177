\set ECHO none
-- Companies, principals, settings and rates: what administrators do, and the first use.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS aurora;
CREATE EXTENSION aurora;

BEGIN;
SELECT plan(63);

-- What a statement raises, as "SQLSTATE | message | detail | hint".
CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, CASE WHEN state !~ '^23' THEN nullif(detail, '') END, nullif(hint, ''));
END
$$;

-- The rows of a query as text, in its order.
CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;

CREATE ROLE regress_stranger;
CREATE ROLE regress_administrator IN ROLE aurora_admin;
CREATE ROLE regress_dana;
CREATE ROLE regress_bot;

-- ---- the first use ----

SELECT is_empty('SELECT FROM aurora.company', 'a new extension has no company');
SELECT is(aurora.current_owner(), NULL, 'before the first use an administrator is no principal');

SAVEPOINT unused;
SET LOCAL ROLE regress_stranger;
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x') $$), '42501 | permission denied for schema aurora',
          'a role outside the group roles reaches nothing');
RESET ROLE;
GRANT aurora_user TO regress_stranger;
SET LOCAL ROLE regress_stranger;
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x') $$),
          '42501 | role "regress_stranger" is not a principal of any company | '
          'An administrator adds it with aurora.add_principal(owner, company, login_role).',
          'a user who is no principal does not make the default company');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface() $$),
          '42501 | role "regress_stranger" is not a principal of any company | '
          'An administrator adds it with aurora.add_principal(owner, company, login_role).',
          'a user who is no principal has no surface');
SELECT is_empty('SELECT FROM aurora.whoami()', 'a user who is no principal is nobody');
SELECT is_empty('SELECT FROM aurora.company', 'a user who is no principal sees no company');
RESET ROLE;
SELECT is_empty('SELECT FROM aurora.company', 'reading and failing made no company');
ROLLBACK TO unused;

SELECT is_empty('SELECT FROM aurora.surface(10)', 'before the first use an administrator''s surface is empty');
SELECT is_empty('SELECT FROM aurora.company', 'reading a surface makes no company');
SELECT aurora.add_item('The first thing') AS first_item \gset
SELECT is(pg_temp.rows_of('SELECT name, currency, big_threshold, sla_hours, important_points, revenue_unit FROM aurora.company'),
          '(default,USD,50000,2,16,1000)',
                  'the first add_item makes the company "default" with default settings');
SELECT is(pg_temp.rows_of('SELECT owner = current_user, login_role = current_user, trust::text FROM aurora.principal'),
          '(t,t,admin)', 'its principal is the calling administrator');
SELECT is(pg_temp.rows_of('SELECT owner = current_user, trust, assumed FROM aurora.whoami()'),
          '(t,admin,f)',
                  'whoami() tells so');
SELECT is(pg_temp.rows_of('SELECT rank, title FROM aurora.surface(10)'),
          '(1,"The first thing")',
                  'surface(10) works in the next line');
SELECT is(aurora.make_default_company(), NULL, 'there is one default company only');
SELECT lives_ok($$ SELECT aurora.add_item('The second thing') $$, 'the second add_item uses the same company');
SELECT is((SELECT count(*) FROM aurora.company), 1::bigint, 'and makes no other');
SET LOCAL ROLE regress_administrator;
SELECT lives_ok($$ SELECT aurora.add_item('x', owner => (SELECT owner FROM aurora.principal)) $$,
                'another administrator means the only company when it names none');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x') $$),
          '22023 | whose item it is is not clear: the caller is no principal of this company | '
          'Name the owner, or add the caller with aurora.add_principal().',
          'but has to say whose item it is');
RESET ROLE;

-- ---- companies ----

SELECT aurora.add_company('Acme', currency => 'EUR', big_threshold => 9000, sla_hours => 4, important_points => 20,
                          revenue_unit => 100) AS acme \gset
SELECT is(pg_temp.rows_of('SELECT currency, big_threshold, sla_hours, important_points, revenue_unit FROM aurora.company WHERE name = ''Acme'''),
          '(EUR,9000,4,20,100)',
                  'add_company() sets what it is given');
SELECT throws_ok($$ SELECT aurora.add_company('Acme') $$, '23505', NULL, 'names of companies are unique');
SELECT throws_ok($$ SELECT aurora.add_company('') $$, '23514', NULL, 'a company has a name');
SELECT throws_ok($$ SELECT aurora.add_company(NULL) $$, '23502', NULL, 'a company''s name is not null');
SELECT throws_ok($$ SELECT aurora.add_company('x', currency => 'eur') $$, '23514', NULL, 'a currency is an ISO 4217 code');
SELECT throws_ok($$ SELECT aurora.add_company('x', big_threshold => 0) $$, '23514', NULL, 'the big threshold is above 0');
SELECT throws_ok($$ SELECT aurora.add_company('x', big_threshold => 'NaN') $$, '23514', NULL, 'the big threshold is a number');
SELECT throws_ok($$ SELECT aurora.add_company('x', sla_hours => 0) $$, '23514', NULL, 'the SLA is above 0 hours');
SELECT throws_ok($$ SELECT aurora.add_company('x', sla_hours => 8761) $$, '23514', NULL, 'the SLA is at most a year');
SELECT throws_ok($$ SELECT aurora.add_company('x', important_points => -1) $$, '23514', NULL,
                 'important points are not negative');
SELECT throws_ok($$ SELECT aurora.add_company('x', revenue_unit => 0) $$, '23514', NULL, 'the revenue unit is above 0');
SELECT throws_ok($$ SELECT aurora.add_company('x', revenue_unit => 'Infinity') $$, '23514', NULL,
                 'the revenue unit is finite');

SELECT is((aurora.set_company('Acme', sla_hours => 6)).sla_hours, 6::numeric, 'set_company() changes a setting');
SELECT is(pg_temp.rows_of('SELECT currency, big_threshold, sla_hours FROM aurora.company WHERE name = ''Acme'''),
          '(EUR,9000,6)', 'and leaves what it is not given');
SELECT throws_ok($$ SELECT aurora.set_company('Acme', sla_hours => -1) $$, '23514', NULL,
                 'set_company() refuses what the table refuses');
SELECT is((aurora.set_company('Acme', name => 'Acme GmbH')).name, 'Acme GmbH', 'a company can be renamed');
SELECT is((aurora.set_company('Acme GmbH', name => 'Acme')).name, 'Acme', 'and back');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_company('Nowhere', sla_hours => 1) $$),
          '22023 | there is no company "Nowhere" that the caller belongs to | Companies: ''Acme'', ''default''.',
          'an unknown company is an error whose hint lists the companies');

SAVEPOINT two_companies;
SET LOCAL ROLE regress_administrator;
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x', owner => 'dana') $$),
          '22023 | which company is meant is not clear | Name one: ''Acme'', ''default''.',
          'of several companies an administrator who belongs to none has to name one');
ROLLBACK TO two_companies;

-- ---- principals ----

SELECT is(pg_temp.rows_of($$ SELECT owner, login_role::text, trust::text, display_name, email
                     FROM aurora.add_principal('dana', 'Acme', 'regress_dana', 'manager', 'Dana D.', 'dana@acme.example') $$),
          '(dana,regress_dana,manager,"Dana D.",dana@acme.example)',
                  'add_principal() adds a principal with all it is given');
SELECT ok(pg_has_role('regress_dana', 'aurora_user', 'MEMBER'), 'its login role becomes a member of aurora_user');
SELECT ok(NOT pg_has_role('regress_dana', 'aurora_admin', 'MEMBER'), 'and of no other group role');
SELECT lives_ok($$ SELECT aurora.add_principal('bot', 'Acme', 'regress_bot', 'agent') $$, 'an agent is a principal, too');
SELECT ok(pg_has_role('regress_bot', 'aurora_agent', 'MEMBER') AND NOT pg_has_role('regress_bot', 'aurora_user', 'MEMBER'),
          'an agent''s login role becomes a member of aurora_agent instead');
SELECT is(pg_temp.rows_of($$ SELECT login_role::text, trust::text, display_name, email
                     FROM aurora.add_principal('dana', 'Acme', trust => 'admin') $$),
          '(regress_dana,admin,"Dana D.",dana@acme.example)',
                  'again changes the same principal and leaves what is not given');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_principal('x', 'Acme', trust => 'god') $$),
          '22023 | there is no trust level "god" | Trust levels: agent, member, manager, admin.',
          'an unknown trust level is an error whose hint lists them');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_principal('x', 'Acme', 'regress_nobody') $$),
          '42704 | role "regress_nobody" does not exist | Create it first: CREATE ROLE regress_nobody LOGIN;',
          'a login role that is not there is an error that tells how to make it');
SELECT throws_ok($$ SELECT aurora.add_principal('', 'Acme') $$, '23514', NULL, 'a principal has a name');
SELECT throws_ok($$ SELECT aurora.add_principal('other', 'Acme', 'regress_dana') $$, '23505', NULL,
                 'a login role stands for one principal of a company');
SELECT lives_ok($$ SELECT aurora.add_principal('dana', 'default', 'regress_dana') $$,
                'and may stand for a principal in each of several companies');

-- ---- rates ----

SELECT lives_ok($$ SELECT aurora.set_rate('USD', 0.92, 'Acme') $$, 'a rate is set');
SELECT lives_ok($$ SELECT aurora.set_rate('USD', 0.90, 'Acme') $$, 'and changed');
SELECT is(pg_temp.rows_of($$ SELECT currency, rate FROM aurora.currency_rate $$),
          '(USD,0.90)',
                  'of one currency there is one rate');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_rate('EUR', 1, 'Acme') $$),
          '22023 | EUR is the company''s own currency | Its rate is 1. Rates are for other currencies.',
          'the company''s own currency has no rate');
SELECT throws_ok($$ SELECT aurora.set_rate('GBP', 0, 'Acme') $$, '23514', NULL, 'a rate is above 0');
SELECT throws_ok($$ SELECT aurora.set_rate('GBP', -1, 'Acme') $$, '23514', NULL, 'a rate is not negative');
SELECT throws_ok($$ SELECT aurora.set_rate('GBP', 'NaN', 'Acme') $$, '23514', NULL, 'a rate is a number');
SELECT throws_ok($$ SELECT aurora.set_rate('GBP', NULL, 'Acme') $$, '23502', NULL, 'a rate is not null');
SELECT throws_ok($$ SELECT aurora.set_rate('pounds', 1, 'Acme') $$, '23514', NULL, 'a rate is of an ISO 4217 currency');
SELECT is(aurora.company_amount(:acme, 100, 'USD'), 90.00, 'company_amount() converts by the rate');
SELECT is(aurora.company_amount(:acme, 100, 'EUR'), 100::numeric, 'company_amount() leaves the own currency');
SELECT is(aurora.company_amount(:acme, 100, 'JPY'), NULL, 'company_amount() is null without a rate');

-- ---- roles that are there are kept ----

ALTER ROLE aurora_monitor CONNECTION LIMIT 7;
DROP EXTENSION aurora;
CREATE EXTENSION aurora;
SELECT is((SELECT rolconnlimit FROM pg_roles WHERE rolname = 'aurora_monitor'), 7,
          'CREATE EXTENSION does not alter a role that is there');
SELECT ok(pg_has_role('regress_dana', 'aurora_user', 'MEMBER'), 'members of the group roles stay members');

SELECT * FROM finish();
ROLLBACK;
