\set ECHO none
-- Who is who: roles and principals, assume(), and that functions and row level security agree. What
-- is set up is committed, so that each role acts in transactions of its own; the end removes it.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
DROP EXTENSION IF EXISTS aurora;
CREATE EXTENSION aurora;
DROP ROLE IF EXISTS regress_nina, regress_max, regress_mia, regress_bot, regress_sol, regress_root, regress_gate,
    regress_gate_root;

SELECT plan(86);

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

CREATE ROLE regress_nina;
CREATE ROLE regress_max;
CREATE ROLE regress_mia;
CREATE ROLE regress_bot;
CREATE ROLE regress_sol;
CREATE ROLE regress_root IN ROLE aurora_admin;
CREATE ROLE regress_gate IN ROLE aurora_gateway;
CREATE ROLE regress_gate_root IN ROLE aurora_gateway, aurora_admin;
GRANT regress_mia TO regress_gate;

SELECT aurora.add_company('North') AS north, aurora.add_company('South', currency => 'EUR') AS south \gset
SELECT aurora.set_rate('EUR', 1.1, 'North'), aurora.set_rate('USD', 0.9, 'South') \gset ignored_
CREATE TEMPORARY TABLE staff AS
    SELECT * FROM (VALUES ('North', 'nina', 'regress_nina', 'admin'), ('North', 'max', 'regress_max', 'manager'),
                          ('North', 'mia', 'regress_mia', 'member'), ('North', 'bot', 'regress_bot', 'agent'),
                          ('North', 'pool', NULL, 'member'), ('South', 'mia', 'regress_mia', 'member'),
                          ('South', 'sol', 'regress_sol', 'manager'), ('South', 'zoe', NULL, 'member')
                  ) AS s (company, owner, login_role, trust);
GRANT SELECT ON staff TO PUBLIC;
SELECT count(aurora.add_principal(owner, company, login_role, trust)) AS principals,
       count(aurora.add_item(format('%s''s in %s', owner, company), owner => owner, company => company)) AS items,
       max(aurora.add_item(format('%s''s deal in %s', owner, company), owner => owner, company => company, kind => 'deal',
                           amount => 1000 * length(owner))) AS deals
    FROM staff \gset ignored_
SELECT item_id AS item_of_pool FROM aurora.item WHERE title = 'pool''s in North' \gset
SELECT item_id AS item_of_mia FROM aurora.item WHERE title = 'mia''s in North' \gset

-- For each owner: do the functions and row level security show the same items, and is what shows none refused.
CREATE FUNCTION pg_temp.disagreements() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    o text;
    by_policy text;
    by_surface text;
    by_agenda text;
    by_quadrants text;
    result text := '';
BEGIN
    FOR o IN SELECT DISTINCT owner FROM staff UNION ALL SELECT 'stranger' LOOP
        SELECT string_agg(title, ', ' ORDER BY title COLLATE "C") INTO by_policy FROM aurora.item WHERE owner = o;
        BEGIN
            SELECT string_agg(title, ', ' ORDER BY title COLLATE "C") INTO by_surface FROM aurora.surface(1000, o);
        EXCEPTION WHEN insufficient_privilege OR invalid_parameter_value THEN
            by_surface := NULL;
        END;
        BEGIN
            SELECT string_agg(title, ', ' ORDER BY title COLLATE "C") INTO by_agenda FROM aurora.agenda('human', 1000, o);
        EXCEPTION WHEN insufficient_privilege OR invalid_parameter_value THEN
            by_agenda := NULL;
        END;
        BEGIN
            SELECT string_agg(a.title, ', ' ORDER BY a.title COLLATE "C") INTO by_quadrants
                FROM unnest(enum_range(NULL::aurora.item_quadrant)) q, aurora.quadrant(q::text, 1000, o) a;
        EXCEPTION WHEN insufficient_privilege OR invalid_parameter_value THEN
            by_quadrants := NULL;
        END;
        IF (by_surface, by_agenda, by_quadrants) IS DISTINCT FROM (by_policy, by_policy, by_policy) THEN
            result := result || format('%s: policy %s, surface %s, agenda %s, quadrants %s; ', o, by_policy, by_surface,
                                       by_agenda, by_quadrants);
        END IF;
    END LOOP;
    RETURN coalesce(nullif(result, ''), 'none');
END
$$;
CREATE FUNCTION pg_temp.owners_seen() RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(DISTINCT c.name || ':' || i.owner, ' ' ORDER BY c.name || ':' || i.owner), 'none')
    FROM aurora.item i JOIN aurora.company c USING (company_id)
$$;

-- ---- a member ----

BEGIN;
SET LOCAL ROLE regress_mia;
SELECT is(pg_temp.rows_of(format($$ SELECT company_id = %s, owner, trust, assumed FROM aurora.whoami() $$, :north)),
          '(t,mia,member,f) (f,mia,member,f)', 'a login role stands for a principal in each of its companies');
SELECT is(aurora.current_owner(), 'mia', 'its owner name is that of its first company');
SELECT is(aurora.current_company_id(), :north, 'its company is the first');
SELECT is(aurora.caller(), 'regress_mia', 'caller() is the role');
SELECT ok(NOT aurora.administers_all(), 'a member administers nothing');
SELECT is(pg_temp.owners_seen(), 'North:mia South:mia', 'a member sees its own rows, in all of its companies');
SELECT is(pg_temp.disagreements(), 'none', 'for a member functions and row level security agree on each owner');
SELECT is((SELECT count(*) FROM aurora.surface(10)), 4::bigint, 'its surface is over all of its companies');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'max') $$),
          '42501 | permission denied for owner "max" | Managers see all owners of their company; others see their own.',
          'a member who asks for another owner''s surface is refused');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'stranger') $$),
          '42501 | permission denied for owner "stranger" | Managers see all owners of their company; others see their own.',
          'and is not told whether that owner exists');
SELECT throws_ok($$ SELECT aurora.agenda('human', 10, 'max') $$, '42501', NULL, 'so with agenda()');
SELECT throws_ok($$ SELECT aurora.quadrant('Q1_DO_NOW', 10, 'max') $$, '42501', NULL, 'so with quadrant()');
SELECT is(pg_temp.error_of($$ SELECT aurora.company_surface(10, 'North') $$),
          '42501 | permission denied for the items of all owners | Managers may ask for them. aurora.surface() shows your own.',
          'a member has no surface of the company');
SELECT throws_ok(format('SELECT aurora.explain(%s)', :item_of_pool), 'P0002', NULL, 'another''s item is not explained');
SELECT throws_ok(format($$ SELECT aurora.item_score(%s, 'pool', 0, now(), now()) $$, :north), '42501', NULL,
                 'item_score() refuses another''s weights');
SELECT throws_ok(format($$ SELECT * FROM aurora.explain_features(%s, 'pool', 0, now(), now()) $$, :north), '42501', NULL,
                 'explain_features() refuses another''s weights');
SELECT is(pg_temp.error_of(format('SELECT aurora.complete(%s)', :item_of_pool)),
          format('P0002 | there is no item %s that the caller may see | aurora.items lists them.', :item_of_pool),
          'another''s item cannot be completed, and its existence is not told');
SELECT throws_ok(format('SELECT aurora.snooze(%s, now() + interval ''1 day'')', :item_of_pool), 'P0002', NULL, 'nor snoozed');
SELECT throws_ok(format('SELECT aurora.delegate(%s, ''mia'')', :item_of_pool), 'P0002', NULL, 'nor taken over');
SELECT throws_ok(format('SELECT aurora.add_dependency(%s, %s)', :item_of_mia, :item_of_pool), 'P0002', NULL,
                 'nor waited for');
SELECT throws_ok($$ SELECT aurora.undo(item_id) FROM aurora.item WHERE false UNION ALL SELECT aurora.undo() $$, 'P0002', NULL,
                 'who has done nothing has nothing to undo');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x', owner => 'max') $$),
          '42501 | permission denied for owner "max" | Managers see all owners of their company; others see their own.',
          'a member adds no item for another');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_weight('vip', 1, owner => 'max') $$),
          '42501 | permission denied for owner "max" | Managers see all owners of their company; others see their own.',
          'a member sets no weight of another');
SELECT throws_ok($$ SELECT aurora.set_weight('vip', 1) $$, '42501', NULL, 'nor of the company');
SELECT lives_ok($$ SELECT aurora.set_weight('vip', 1, owner => 'mia') $$, 'but its own');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_company(sla_hours => 1) $$),
          '42501 | permission denied to change this company | Principals with trust "admin" and members of aurora_admin may.',
          'a member changes no settings');
SELECT throws_ok($$ SELECT aurora.set_rate('GBP', 1) $$, '42501', NULL, 'nor rates');
SELECT throws_ok($$ SELECT aurora.set_kind('visit') $$, '42501', NULL, 'nor kinds');
SELECT throws_ok($$ SELECT aurora.add_principal('mia', trust => 'admin') $$, '42501', NULL, 'nor its own trust');
SELECT throws_ok($$ SELECT aurora.add_company('Mine') $$, '42501', NULL, 'nor adds companies');
SELECT throws_ok($$ SELECT aurora.assume('North', 'nina') $$, '42501', NULL, 'nor assumes a principal');
SELECT throws_ok($$ SET aurora.owner = 'nina' $$, '42602', NULL, 'no setting can be made up that might tell who one is');
SELECT throws_ok($$ UPDATE aurora.item SET owner = 'mia' $$, '42501', NULL, 'tables are not written past the functions');
SELECT throws_ok($$ INSERT INTO aurora.item_cell VALUES (1) $$, '42501', NULL, 'the registry of cells is out of reach');
ROLLBACK;

CREATE FUNCTION public.regress_definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
    SELECT aurora.current_owner() || ' ' || aurora.administers_all() || ' ' || (SELECT count(*) FROM aurora.surface(10))
$$;
BEGIN;
SET LOCAL ROLE regress_mia;
SELECT is(public.regress_definer(), 'mia false 4', 'inside a SECURITY DEFINER function the caller stays who it is');
CREATE FUNCTION pg_temp.peek(title text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN
    IF title NOT LIKE 'mia''s%' THEN
        RAISE EXCEPTION 'seen: %', title;
    END IF;
    RETURN true;
END
$$;
SELECT is((SELECT count(*) FROM aurora.item WHERE pg_temp.peek(title)), 4::bigint,
          'a function in a query is not shown what the policy hides');
SELECT is((SELECT count(*) FROM aurora.items WHERE pg_temp.peek(title)), 4::bigint, 'nor in a view');
ROLLBACK;
DROP FUNCTION public.regress_definer();

-- ---- an agent, a manager, an admin, one without a company, an administrator ----

BEGIN;
SET LOCAL ROLE regress_bot;
SELECT is(pg_temp.owners_seen(), 'North:bot', 'an agent sees its own rows');
SELECT is(pg_temp.disagreements(), 'none', 'for an agent functions and row level security agree on each owner');
SELECT throws_ok($$ SELECT aurora.company_surface() $$, '42501', NULL, 'an agent has no surface of the company');
ROLLBACK;

BEGIN;
SET LOCAL ROLE regress_max;
SELECT is(pg_temp.owners_seen(), 'North:bot North:max North:mia North:nina North:pool',
          'a manager sees all rows of its company, and none of others');
SELECT is(pg_temp.disagreements(), 'none', 'for a manager functions and row level security agree on each owner');
SELECT is((SELECT count(*) FROM aurora.company_surface(100)), 10::bigint, 'a manager has the surface of the company');
SELECT is(pg_temp.error_of($$ SELECT aurora.company_surface(10, 'South') $$),
          '22023 | there is no company "South" that the caller belongs to | '
          'SELECT name FROM aurora.company lists the companies.', 'and of no other');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'zoe') $$),
          '22023 | there is no owner "zoe" | Owners: "bot", "max", "mia", "nina", "pool".',
          'of owners elsewhere a manager hears that there are none, and which there are');
SELECT throws_ok($$ SELECT aurora.set_company(sla_hours => 1) $$, '42501', NULL, 'a manager changes no settings');
SELECT lives_ok($$ SELECT aurora.add_item('x', owner => 'pool') $$, 'a manager adds items for others');
SELECT lives_ok(format('SELECT aurora.complete(%s)', :item_of_pool), 'and acts on them');
SELECT is((SELECT acted_by FROM aurora.item_history WHERE item_id = :item_of_pool), 'max', 'the history tells who it was');
SELECT throws_ok($$ SELECT aurora.add_item('x', owner => 'zoe') $$, '22023', NULL, 'but not for owners elsewhere');
ROLLBACK;

BEGIN;
SET LOCAL ROLE regress_nina;
SELECT is(pg_temp.disagreements(), 'none', 'for an admin functions and row level security agree on each owner');
SELECT is((aurora.set_company(sla_hours => 3)).sla_hours, 3::numeric, 'an admin changes the settings of its company');
SELECT throws_ok($$ SELECT aurora.set_company('South', sla_hours => 3) $$, '22023', NULL, 'and of no other');
SELECT lives_ok($$ SELECT aurora.set_rate('GBP', 1.3) $$, 'an admin sets rates');
SELECT lives_ok($$ SELECT aurora.add_principal('new') $$, 'an admin adds principals');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_principal('evil', login_role => 'regress_mia') $$),
          '42501 | permission denied to map a login role | Members of aurora_admin may; others add principals without a login role.',
          'but maps no login role');
SELECT throws_ok($$ SELECT aurora.add_company('x') $$, '42501', NULL, 'nor adds companies');
ROLLBACK;

BEGIN;
SET LOCAL ROLE regress_root;
SELECT ok(aurora.administers_all(), 'a member of aurora_admin administers all');
SELECT is(pg_temp.owners_seen(),
          'North:bot North:max North:mia North:nina North:pool South:mia South:sol South:zoe', 'and sees all');
SELECT is(pg_temp.disagreements(), 'none', 'for an administrator functions and row level security agree on each owner');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'stranger') $$),
          '22023 | there is no owner "stranger" | Owners: "bot", "max", "mia", "nina", "pool", "mia", "sol", "zoe".',
          'an unknown owner is an error whose hint lists those that there are');
ROLLBACK;

-- ---- one role after another in a transaction ----

BEGIN;
SELECT aurora.add_item('by an administrator', owner => 'max', company => 'North') AS ignored \gset
SELECT (aurora.set_company('North', sla_hours => 2)).sla_hours AS ignored \gset
SET LOCAL ROLE regress_mia;
SELECT throws_ok($$ SELECT aurora.add_item('x', owner => 'max', company => 'North') $$, '42501', NULL,
                 'after SET ROLE a member adds no item for another, though the role before could');
SELECT throws_ok($$ SELECT aurora.set_company('North', sla_hours => 1) $$, '42501', NULL,
                 'after SET ROLE a member changes no settings, though the role before could');
ROLLBACK;

-- ---- assume() ----

BEGIN;
SET LOCAL ROLE regress_gate;
SELECT is_empty('SELECT FROM aurora.whoami()', 'a gateway is nobody by itself');
SELECT is(pg_temp.owners_seen(), 'none', 'and sees nothing');
SELECT is(pg_temp.disagreements(), 'none', 'functions and row level security agree on that');
SELECT is(pg_temp.error_of($$ SELECT aurora.assume('North', 'zoe') $$),
          '22023 | there is no principal "zoe" in company "North" | An administrator adds one with aurora.add_principal().',
          'a principal that is not there cannot be assumed');
SAVEPOINT nobody;
SELECT aurora.assume('North', 'mia') AS ignored \gset
SELECT is(pg_temp.rows_of(format($$ SELECT company_id = %s, owner, trust, assumed FROM aurora.whoami() $$, :north)),
          '(t,mia,member,t)', 'a gateway stands for the principal that it assumes, in that company');
SELECT is(pg_temp.owners_seen(), 'North:mia', 'it sees what that principal sees there');
SELECT is(pg_temp.disagreements(), 'none', 'functions and row level security agree on each owner');
SELECT lives_ok($$ SELECT aurora.assume('North', 'mia') $$, 'assuming the same again does no harm');
SELECT is(pg_temp.error_of($$ SELECT aurora.assume('North', 'nina') $$),
          '25000 | this transaction has already assumed another principal | Assume once at the start of each transaction.',
          'another cannot be assumed in the same transaction');
SELECT throws_ok($$ SELECT aurora.assume('South', 'mia') $$, '25000', NULL, 'not even the same name in another company');
SAVEPOINT later;
SELECT aurora.assume('North', 'mia') AS ignored \gset
ROLLBACK TO later;
SELECT is(aurora.current_owner(), 'mia', 'rolling back to a later savepoint does not forget it');
SELECT aurora.add_item('mine') AS ignored \gset
SELECT throws_ok($$ SELECT aurora.add_item('x', owner => 'max') $$, '42501', NULL, 'it has that principal''s rights only');
SET LOCAL ROLE regress_mia;
SELECT is(pg_temp.error_of('SELECT aurora.current_owner()'),
          '42501 | the role has changed since this transaction assumed a principal | '
          'Assume a principal and stay with the role that did.', 'another role does not inherit it');
SELECT throws_ok('SELECT count(*) FROM aurora.item', '42501', NULL, 'row level security does not either');
ROLLBACK TO nobody;
SELECT is(aurora.current_owner(), NULL, 'rolling back to the savepoint before forgets it');
SELECT aurora.assume('North', 'mia') AS ignored \gset
COMMIT;

BEGIN;
SET LOCAL ROLE regress_gate;
SELECT is(aurora.current_owner(), NULL, 'a commit forgets the principal');
SAVEPOINT first;
SELECT aurora.assume('North', 'nina') AS ignored \gset
SELECT lives_ok($$ SELECT aurora.add_item('for another', owner => 'max') $$, 'an admin who is assumed adds for another');
ROLLBACK TO first;
SELECT aurora.assume('North', 'mia') AS ignored \gset
SELECT throws_ok($$ SELECT aurora.add_item('x', owner => 'max') $$, '42501', NULL,
                 'nothing is left of the rights of a principal that was forgotten');
ROLLBACK;

BEGIN;
SET LOCAL ROLE regress_gate;
SAVEPOINT inner_one;
SELECT aurora.assume('North', 'mia') AS ignored \gset
RELEASE inner_one;
SELECT is(aurora.current_owner(), 'mia', 'a released savepoint does not forget it');
ROLLBACK;
BEGIN;
SET LOCAL ROLE regress_gate;
SELECT is(aurora.current_owner(), NULL, 'a rollback forgets it');
ROLLBACK;

BEGIN;
SET LOCAL ROLE regress_gate_root;
SELECT aurora.assume('North', 'mia') AS ignored \gset
SELECT ok(NOT aurora.administers_all(), 'who assumes a member is no administrator until the transaction ends');
SELECT throws_ok($$ SELECT aurora.add_company('x') $$, '42501', NULL, 'and adds no company');
SELECT is(pg_temp.disagreements(), 'none', 'and sees that member''s rows only');
ROLLBACK;

-- No finish() here: what it counts by was rolled back.
DROP EXTENSION aurora;
DROP OWNED BY regress_nina, regress_max, regress_mia, regress_bot, regress_sol, regress_root, regress_gate, regress_gate_root;
DROP ROLE regress_nina, regress_max, regress_mia, regress_bot, regress_sol, regress_root, regress_gate, regress_gate_root;
