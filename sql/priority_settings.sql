\set ECHO none
-- Kinds, weights, and what changed settings do to items that are there.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(95);

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

SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Other') AS other \gset
SELECT aurora.add_principal('dana', 'Acme'), aurora.add_principal('sam', 'Acme'), aurora.add_principal('zoe', 'Other') \gset ignored_

-- ---- kinds ----

SELECT is(pg_temp.rows_of($$ SELECT kind, half_life, stall_limit, default_deadline, kind_offset FROM aurora.builtin_kinds() $$),
          '(deal,"7 days","14 days","730 days",0) (email,04:00:00,00:00:00,"3 days",2) (meeting,12:00:00,00:00:00,"7 days",4) '
          '(task,"3 days",00:00:00,"14 days",4) (incident,01:00:00,00:00:00,01:00:00,8) (chore,"2 days",00:00:00,"14 days",0)',
          'the built-in kinds are these');
SELECT is(pg_temp.rows_of($$ SELECT kind, base, source FROM aurora.kinds WHERE company = 'Acme' ORDER BY kind_no $$),
          '(deal,deal,built-in) (email,email,built-in) (meeting,meeting,built-in) (task,task,built-in) (incident,incident,built-in) '
          '(chore,chore,built-in)', 'a new company has the built-in kinds');
SELECT lives_ok($$ SELECT aurora.set_kind('deal', half_life => '5 days', company => 'Acme') $$, 'a built-in kind can be changed');
SELECT lives_ok($$ SELECT aurora.set_kind('visit', base => 'meeting', kind_offset => 7, company => 'Acme') $$, 'a kind can be added');
SELECT lives_ok($$ SELECT aurora.set_kind('errand', company => 'Acme') $$, 'without a base');
SELECT lives_ok($$ SELECT aurora.set_kind('visit', half_life => '1 hour', company => 'Acme') $$, 'and changed');
SELECT is(pg_temp.rows_of($$ SELECT kind, base, half_life, kind_offset, source FROM aurora.kinds
                             WHERE company = 'Acme' AND source <> 'built-in' ORDER BY kind_no $$),
          '(deal,deal,"5 days",0,changed) (visit,meeting,01:00:00,7,added) (errand,task,"3 days",4,added)',
          'aurora.kinds shows what is in effect: what was left out stays, and comes from the base');
SELECT is(pg_temp.rows_of($$ SELECT kind FROM aurora.kinds WHERE company = 'Other' AND source <> 'built-in' $$), 'none',
          'another company has none of it');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_kind('x', base => 'visit', company => 'Acme') $$),
          '22023 | kind "x" cannot behave like "visit" | It can behave like deal, email, meeting, task, incident, chore.',
          'a kind behaves like a built-in one only');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_kind('deal', base => 'task', company => 'Acme') $$),
          '22023 | kind "deal" cannot behave like "task" | A built-in kind is its own base.', 'a built-in kind stays itself');
SELECT throws_ok(format('SELECT aurora.set_kind(%L, company => ''Acme'', %s)', kind, setting), '23514', NULL,
                 format('refused: kind %L, %s', kind, setting))
    FROM (VALUES (1, 'x', 'half_life => ''35 seconds'''), (2, 'x', 'half_life => ''366 days'''), (3, 'x', 'stall_limit => ''-1 second'''),
                 (4, 'x', 'default_deadline => ''3651 days'''), (5, 'x', 'kind_offset => 101'), (6, 'x', 'kind_offset => ''NaN'''),
                 (7, 'Big', 'kind_offset => 0'), (8, '', 'kind_offset => 0'), (9, 'a-b', 'kind_offset => 0')) v (n, kind, setting) ORDER BY n;
SELECT lives_ok($$ SELECT aurora.set_kind('kind' || n, company => 'Acme') FROM generate_series(1, 56) n $$, 'a company has 58 kinds of its own');
SELECT is(pg_temp.error_of($$ SELECT aurora.set_kind('one_more', company => 'Acme') $$),
          '54000 | this company has as many kinds as it can have | A company has at most 58 kinds of its own. Use an existing one.', 'and no more');
SELECT is((SELECT kind_no FROM aurora.kinds WHERE company = 'Acme' AND kind = 'kind56'), 63::smallint, 'numbers of kinds end at 63');
SELECT aurora.add_item('last kind', 'kind56', 'dana', 'Acme') AS last_kind \gset
SELECT is(pg_temp.rows_of($$ SELECT kind, title FROM aurora.surface(10, 'dana') $$), '(kind56,"last kind")', 'the last kind works like the first');
DELETE FROM aurora.item WHERE item_id = :last_kind;
DELETE FROM aurora.company_kind WHERE kind LIKE 'kind%';

-- ---- weights ----

SELECT is(pg_temp.rows_of('SELECT name, value, min_value, max_value FROM aurora.builtin_weights()'),
          '(revenue,40,0,200) (vip,15,0,200) (risk,5,0,50) (boost,4,0,50) (urgency,40,0,200)', 'the built-in weights are these');
SELECT is((SELECT count(*) FROM aurora.weights WHERE company = 'Acme' AND owner IS NULL), 5 + 8 * 2::bigint,
          'each kind adds an offset and a half-life to a company''s weights');
SELECT is((SELECT count(*) FROM aurora.weights WHERE company = 'Acme' AND source <> 'default'), 0::bigint, 'all are defaults at first');
SELECT is(pg_temp.rows_of($$ SELECT name, value FROM aurora.weights WHERE company = 'Acme' AND owner = 'dana' AND name IN ('half_life.deal', 'offset.visit') ORDER BY 1 $$),
          '(half_life.deal,120) (offset.visit,7)', 'defaults of a changed kind are the changed ones');
SELECT lives_ok($$ SELECT aurora.set_weight('vip', 20, company => 'Acme') $$, 'a weight is set for a company');
SELECT lives_ok($$ SELECT aurora.set_weight('vip', 30, 'dana', 'Acme') $$, 'or for an owner');
SELECT lives_ok($$ SELECT aurora.set_weight('half_life.visit', 0.01, 'dana', 'Acme') $$, 'a half-life is a weight, in hours');
SELECT lives_ok($$ SELECT aurora.set_weight('offset.deal', -100, 'dana', 'Acme') $$, 'so is the offset of a kind');
SELECT is(pg_temp.rows_of($$ SELECT coalesce(owner, 'company'), value, default_value, source FROM aurora.weights WHERE company = 'Acme' AND name = 'vip' ORDER BY owner NULLS FIRST $$),
          '(company,20,15,company) (dana,30,15,owner) (sam,20,15,company)', 'an owner''s weight goes before the company''s, that before the default');
SELECT lives_ok($$ SELECT aurora.set_weight('vip', 31, 'dana', 'Acme') $$, 'a weight can be set again');
SELECT is(pg_temp.error_of(format('SELECT aurora.set_weight(%L, %s, company => ''Acme'')', name, value)),
          format('22003 | %s is out of range for the weight "%s" | It is from %s; the default is %s.', trim(both '''' FROM lower(value)), name, range, standard),
          format('the weight %s refuses %s', name, value))
    FROM (VALUES (1, 'revenue', '-1', '0 to 200', '40'), (2, 'revenue', '201', '0 to 200', '40'), (3, 'vip', '200.5', '0 to 200', '15'),
                 (4, 'risk', '51', '0 to 50', '5'), (5, 'boost', '51', '0 to 50', '4'), (6, 'urgency', '201', '0 to 200', '40'),
                 (7, 'offset.deal', '-101', '-100 to 100', '0'), (8, 'offset.visit', '101', '-100 to 100', '7'),
                 (9, 'half_life.deal', '0', '0.01 to 8760', '120'), (10, 'half_life.email', '8761', '0.01 to 8760', '4')) v (n, name, value, range, standard) ORDER BY n;
SELECT throws_ok(format('SELECT aurora.set_weight(''vip'', %s, company => ''Acme'')', value), '22003', NULL, 'a weight refuses ' || value)
    FROM unnest(ARRAY['NULL', '''NaN''', '''Infinity''']) value;
SELECT is(pg_temp.error_of(format('SELECT aurora.set_weight(%L, 1, company => ''Acme'')', name)),
          format('22023 | there is no weight "%s" | Weights: revenue, vip, risk, boost, urgency, offset.<kind>, half_life.<kind>. '
                 'Kinds: deal, email, meeting, task, incident, chore, visit, errand.', name), format('there is no weight %s', name))
    FROM unnest('{luck,offset.none,half_life.,VIP}'::text[]) name;
SELECT is(pg_temp.rows_of($$ SELECT owner, name, old_value, new_value, changed_by = current_user FROM aurora.weight_change ORDER BY change_id $$),
          '(,vip,,20,t) (dana,vip,,30,t) (dana,half_life.visit,,0.01,t) (dana,offset.deal,,-100,t) (dana,vip,30,31,t)', 'each change is logged, what was refused is not');
SELECT is(aurora.reset_weights('dana', 'Acme'), 3, 'reset_weights() tells how many it removed');
SELECT is(aurora.reset_weights('dana', 'Acme'), 0, 'a second time none');
SELECT is((SELECT string_agg(DISTINCT source, ' ' ORDER BY source) FROM aurora.weights WHERE company = 'Acme' AND owner = 'dana'), 'company default',
          'the owner''s are gone, the company''s stay');
SELECT is((SELECT count(*) FROM aurora.weight_change WHERE new_value IS NULL), 3::bigint, 'resetting is logged, too');
SELECT is(aurora.reset_weights(company => 'Acme'), 1, 'the company''s are reset by themselves');

SELECT aurora.add_item('VIP', 'chore', 'dana', 'Acme', vip => true) AS vip, aurora.add_item('Money', 'chore', 'dana', 'Acme', amount => 40000) AS money \gset
CREATE FUNCTION pg_temp.titles(owner text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(s.title, ' ' ORDER BY s.rank) FROM aurora.surface(10, $1) s
$$;
SELECT is(pg_temp.titles('dana'), 'VIP Money', 'by default the VIP comes first');
SELECT aurora.set_weight('vip', 0, 'dana', 'Acme') AS ignored \gset
SELECT is(pg_temp.titles('dana'), 'Money VIP', 'a weight holds at once');
SELECT is((SELECT count(*) FROM aurora.placement_run), 0::bigint, 'and moves no item');
SELECT is((SELECT string_agg(title, ' ' ORDER BY rank) FROM aurora.company_surface(10, 'Acme')), 'VIP Money', 'the company''s surface goes by the company''s weights');
SELECT aurora.reset_weights('dana', 'Acme') AS ignored \gset
SELECT is(pg_temp.titles('dana'), 'VIP Money', 'a reset holds at once, too');

-- ---- changed settings move items, in batches ----

DELETE FROM aurora.item;
DELETE FROM aurora.placement_run;
SELECT count(aurora.add_item('item ' || n, (ARRAY['deal', 'email', 'visit', 'chore'])[1 + n % 4], 'dana', 'Acme', amount => n * 997, vip => n % 7 = 0,
                             currency => CASE WHEN n % 2 = 0 THEN 'USD' END)) AS ignored FROM generate_series(1, 100) n \gset
UPDATE aurora.item SET state = 'done' WHERE title = 'item 100';
CREATE FUNCTION pg_temp.misplaced() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM aurora.item i WHERE i.state = 'open' AND aurora.item_is_misplaced(i) $$;
-- Applies all and says whether it took more than one batch.
CREATE FUNCTION pg_temp.apply() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    batches int := 0;
BEGIN
    WHILE aurora.apply_settings_batch(10) LOOP
        batches := batches + 1;
        IF batches > 1000 THEN
            RAISE EXCEPTION 'it does not end';
        END IF;
    END LOOP;
    RETURN batches > 1;
END
$$;
SELECT ok(NOT aurora.apply_settings_batch(), 'with nothing changed there is nothing to do');
SELECT is((aurora.set_company('Acme', big_threshold => 30000)).big_threshold, 30000::numeric, 'a new threshold is set');
SELECT is((SELECT count(*) FROM aurora.placement_run WHERE company_id = :acme), 1::bigint, 'and asks for items to be moved');
SELECT cmp_ok(pg_temp.misplaced(), '>', 0::bigint, 'which stand by the old setting so far');
SELECT aurora.add_item('new', 'deal', 'dana', 'Acme', amount => 30000) AS fresh \gset
SELECT ok((SELECT f.big FROM aurora.item i, aurora.cell_features(i.cell) f WHERE i.item_id = :fresh), 'new items stand by the new one at once');
SELECT ok(aurora.apply_settings_batch(10), 'a batch moves some');
SELECT is((SELECT i.title FROM aurora.placement_run r JOIN aurora.item i ON i.item_id = r.last_item_id), 'item 10', 'and notes how far it came');
SELECT ok(pg_temp.apply(), 'the next go on');
SELECT is(pg_temp.misplaced(), 0::bigint, 'until none is misplaced');
SELECT is_empty('SELECT FROM aurora.placement_run', 'then nothing is left to do');
SELECT set_eq('SELECT item_id FROM aurora.surface(1000, ''dana'')', 'SELECT item_id FROM aurora.item WHERE state = ''open''', 'and the surface shows all of them');
SELECT is((SELECT count(*) FROM aurora.item i, aurora.cell_features(i.cell) f WHERE f.big AND i.amount < 30000 OR NOT f.big AND i.amount >= 30000 AND i.state = 'open'), 0::bigint,
          'those over the new threshold are big, and no others');
CREATE TEMPORARY TABLE change (n int, what text, statement text);
INSERT INTO change VALUES
    (1, 'the SLA', $$ SELECT aurora.set_company('Acme', sla_hours => 8) $$), (2, 'the revenue unit', $$ SELECT aurora.set_company('Acme', revenue_unit => 10) $$),
    (3, 'a kind''s stall limit', $$ SELECT aurora.set_kind('visit', default_deadline => '1 day', company => 'Acme') $$),
    (4, 'a built-in kind''s deadline', $$ SELECT aurora.set_kind('chore', default_deadline => '0', company => 'Acme') $$);
CREATE FUNCTION pg_temp.after(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    misplaced_before bigint;
BEGIN
    EXECUTE statement;
    misplaced_before := pg_temp.misplaced();
    PERFORM pg_temp.apply();
    RETURN format('%s, then %s', CASE WHEN misplaced_before > 0 THEN 'some' ELSE 'none' END, pg_temp.misplaced());
END
$$;
SELECT is(pg_temp.after(statement), 'some, then 0', 'items follow a change of ' || what) FROM change ORDER BY n;
SELECT aurora.set_rate('JPY', 0.01, 'Acme') AS ignored \gset
SELECT aurora.add_item('yen', 'deal', 'dana', 'Acme', amount => 1000000, currency => 'JPY') AS yen \gset
SELECT is(pg_temp.after($$ SELECT aurora.set_rate('JPY', 0.02, 'Acme') $$), 'some, then 0', 'items follow a change of a rate');
SELECT is((SELECT f.revenue_level FROM aurora.item i, aurora.cell_features(i.cell) f WHERE i.item_id = :yen), 22, 'with the value that it gives: 20,000 is 21.9 half-octaves over 10');
SELECT is(pg_temp.after($$ SELECT aurora.set_rate('EUR', 2, 'Acme'), aurora.set_company('Acme', currency => 'EUR') $$), 'some, then 0', 'items follow a change of the currency');
SELECT is(pg_temp.rows_of($$ SELECT currency, round(rate, 4) FROM aurora.currency_rate ORDER BY currency $$), '(JPY,0.0100) (USD,0.5000)', 'and rates are converted');
SELECT throws_ok($$ SELECT aurora.set_company('Acme', currency => 'CHF') $$, '22023', NULL, 'a currency without a rate is refused');
SELECT lives_ok($$ SELECT aurora.complete(item_id) FROM aurora.item WHERE state = 'open' AND title LIKE 'item 1_' $$, 'whatever was changed, items can be completed');

-- ---- crowded groups, and the sweep of cells ----

DELETE FROM aurora.item;
SELECT aurora.sweep_cells() AS ignored \gset
SELECT is_empty('SELECT FROM aurora.item_cell', 'with no items all cells are swept');
SELECT count(aurora.add_item('thread ' || n, 'email', 'dana', 'Acme', group_key => 'crowd', received_at => '2026-01-01'::timestamptz + n * interval '1 hour')) AS ignored FROM generate_series(1, 20) n \gset
SELECT count(aurora.add_item('single ' || n, 'email', 'dana', 'Acme', group_key => 'g' || n, received_at => '2026-01-01'::timestamptz + n * interval '1 hour')) AS ignored FROM generate_series(1, 5) n \gset
CREATE TEMPORARY TABLE before_slots AS SELECT rank, title, score FROM aurora.surface(100, 'dana', '2026-01-02');
SELECT is(aurora.set_groups_apart(20), 1::bigint, 'a group of 20 is set apart when that is asked for');
SELECT is(aurora.set_groups_apart(20), 0::bigint, 'once');
SELECT ok(pg_temp.apply() AND pg_temp.misplaced() = 0, 'its items are moved to cells of their own');
SELECT is((SELECT count(*) FROM aurora.item i, aurora.cell_features(i.cell) f WHERE f.slot > 0), 20::bigint, 'all 20, and no others');
SELECT results_eq($$ SELECT rank, title, score FROM aurora.surface(100, 'dana', '2026-01-02') $$, 'SELECT * FROM before_slots', 'the surface is as before');
UPDATE aurora.item SET state = 'done' WHERE group_key = 'crowd';
SELECT cmp_ok(aurora.sweep_cells(), '>', 0::bigint, 'emptied cells are swept');
SELECT is(aurora.sweep_cells(), 0::bigint, 'once');
SELECT is((SELECT count(*) FROM aurora.surface(100, 'dana', '2026-01-02')), 5::bigint, 'cells with open items are not');
SELECT aurora.set_groups_apart(20) AS ignored \gset
SELECT is_empty('SELECT FROM aurora.crowded_group', 'the number of a group that has gone is free again');
SELECT count(aurora.add_item('g' || g || ' ' || n, 'email', 'dana', 'Acme', group_key => 'group ' || g)) AS ignored FROM generate_series(1, 17) g, generate_series(1, 2 + g % 2) n \gset
SELECT is(aurora.set_groups_apart(2), 15::bigint, 'at most 15 groups of an owner are set apart');
SELECT is((SELECT count(*) FROM aurora.crowded_group s WHERE s.group_key IN (SELECT 'group ' || g FROM generate_series(1, 17, 2) g)), 9::bigint, 'the largest first');

SELECT * FROM finish();
ROLLBACK;
