\set ECHO none
-- Items: what columns take, how they are placed, and add_item().
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(85);

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
-- A number from 0 to 1 that looks random and is always the same.
CREATE FUNCTION pg_temp.die(name text, n bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || left(md5(name || n), 8))::bit(32)::bigint / 4294967296.0::double precision
$$;
CREATE FUNCTION pg_temp.pick(name text, n bigint, choices text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT choices[1 + floor(pg_temp.die(name, n) * cardinality(choices))::int]
$$;

SELECT aurora.add_company('Acme', currency => 'EUR', big_threshold => 20000, sla_hours => 6, revenue_unit => 500) AS acme \gset
SELECT count(aurora.add_principal(owner, 'Acme')) AS ignored FROM unnest('{dana,sam,bot}'::text[]) owner \gset
SELECT aurora.set_rate('USD', 0.9, 'Acme'), aurora.set_rate('JPY', 0.006, 'Acme') \gset ignored_
SELECT aurora.set_kind('visit', base => 'meeting', half_life => '6 hours', company => 'Acme'),
       aurora.set_kind('lead', base => 'deal', stall_limit => '1 day', kind_offset => -3, company => 'Acme'),
       aurora.set_kind('outage', base => 'incident', company => 'Acme'),
       aurora.set_kind('letter', base => 'email', default_deadline => '1 mon 2 days', company => 'Acme'),
       aurora.set_kind('idea', base => 'chore', default_deadline => '0', company => 'Acme') \gset ignored_
SELECT count(aurora.add_person(email, vip => vip, importance => importance, company => 'Acme')) AS ignored
    FROM (VALUES ('vip@x.example', true, 0), ('boss@x.example', true, 2), ('news@x.example', false, -2)) p (email, vip, importance) \gset

-- ---- what the columns take ----

-- A minimal row with some columns set: the SQLSTATE, or none.
CREATE FUNCTION pg_temp.insert(columns text, vals text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO aurora.item (company_id, owner, title%s) SELECT company_id, ''dana'', ''t''%s FROM aurora.company
                    WHERE name = ''Acme''', ', ' || columns, ', ' || vals);
    RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SELECT is(pg_temp.insert(columns, vals), result, format('%s %s: %s', columns, vals, CASE result WHEN 'ok' THEN 'taken' ELSE 'refused' END))
FROM (VALUES
    (1, 'level', '''human''', 'ok'), (2, 'level', '''agent''', 'ok'), (3, 'level', '''self''', 'ok'),
    (4, 'level', '''other''', '22P02'), (5, 'kind', '''deal''', 'ok'), (6, 'kind', '''none''', '22023'),
    (7, 'kind', 'NULL', '23502'), (8, 'amount', '0', 'ok'), (9, 'amount', '-5', 'ok'), (10, 'amount', '1e18', 'ok'),
    (11, 'amount', '1.1e18', '23514'), (12, 'amount', '''NaN''', '23514'), (13, 'amount', '''Infinity''', '23514'),
    (14, 'amount', '''-Infinity''', '23514'), (15, 'win_chance', '0', 'ok'), (16, 'win_chance', '1', 'ok'),
    (17, 'win_chance', '1.01', '23514'), (18, 'win_chance', '-0.01', '23514'), (19, 'win_chance', '''NaN''', '23514'),
    (20, 'due_at', '''2027-01-01''', 'ok'), (21, 'due_at', '''infinity''', '23514'), (22, 'due_at', '''-infinity''', '23514'),
    (23, 'received_at', '''infinity''', '23514'), (24, 'received_at', 'NULL', '23502'),
    (25, 'last_activity_at', '''-infinity''', '23514'), (26, 'snooze_until', '''infinity''', '23514'),
    (27, 'risk', '0', 'ok'), (28, 'risk', '3', 'ok'), (29, 'risk', '4', '23514'), (30, 'risk', '-1', '23514'),
    (31, 'boost', '-2', 'ok'), (32, 'boost', '2', 'ok'), (33, 'boost', '3', '23514'), (34, 'boost', '-3', '23514'),
    (35, 'severity', '1', 'ok'), (36, 'severity', '5', 'ok'), (37, 'severity', '0', '23514'), (38, 'severity', '6', '23514'),
    (39, 'amount, currency', '1, ''USD''', 'ok'), (40, 'amount, currency', '1, ''GBP''', '22023'),
    (41, 'amount, currency', '1, ''usd''', '22023'), (42, 'provider', '''hubspot''', '23514'),
    (43, 'external_id', '''1''', '23514'), (44, 'provider, external_id', '''hubspot'', ''1''', 'ok'),
    (45, 'provider, external_id', '''hubspot'', ''1''', '23505'), (46, 'state', '''done''', 'ok'),
    (47, 'state', '''lost''', '22P02'), (48, 'outcome', '''won''', 'ok'), (49, 'open_blockers', '-1', 'ok'),
    (50, 'details', 'NULL', '23502'), (51, 'details', '''{"a": 1}''', 'ok')) c (n, columns, vals, result)
ORDER BY n;
SELECT throws_ok(format($$ INSERT INTO aurora.item (company_id, owner, title) VALUES (%s, 'nobody', 't') $$, :acme), '23503', NULL,
                 'an item''s owner is a principal of the company');
SELECT throws_ok($$ INSERT INTO aurora.item (company_id, owner, title) VALUES (-1, 'dana', 't') $$, '22023', NULL,
                 'an item''s company is there');
SELECT throws_ok($$ SELECT aurora.add_item('', company => 'Acme', owner => 'dana') $$, '23514', NULL, 'a title is not empty');
SELECT throws_ok($$ SELECT aurora.add_item(repeat('x', 1001), company => 'Acme', owner => 'dana') $$, '23514', NULL,
                 'a title has at most 1,000 characters');
SELECT isnt(pg_temp.error_of($$ SELECT aurora.add_item('far off', company => 'Acme', owner => 'dana', kind => 'deal',
                                                       received_at => '294276-12-31') $$) || '; '
            || pg_temp.error_of($$ SELECT count(act_by::text) FROM aurora.item $$), 'no error; 22008 | timestamp out of range',
          'a deadline beyond what timestamps can hold does not get into the table');
DELETE FROM aurora.item WHERE company_id = :acme;

-- ---- placement, against the documented formula in plain SQL ----

CREATE TEMPORARY TABLE random_item AS
    SELECT n, pg_temp.pick('kind', n, '{deal,email,meeting,task,incident,chore,visit,lead,outage,letter,idea}') AS kind,
           CASE WHEN pg_temp.die('has amount', n) < 0.75 THEN
               CASE WHEN n % 4 = 0 THEN round((500 * 2 ^ (floor(pg_temp.die('octave', n) * 34) / 2.0))::numeric, 4)
                    ELSE round((100 * 10 ^ (pg_temp.die('amount', n) * 6))::numeric, 2) END END AS amount,
           pg_temp.pick('currency', n, '{EUR,USD,JPY,NULL}') AS currency,
           CASE WHEN pg_temp.die('has chance', n) < 0.3 THEN pg_temp.die('chance', n) END AS win_chance,
           CASE WHEN pg_temp.die('has due', n) < 0.5 THEN timestamptz '2026-01-01' + pg_temp.die('due', n) * interval '60 days' END AS due_at,
           timestamptz '2026-01-01' - pg_temp.die('received', n) * interval '90 days' AS received_at,
           CASE WHEN pg_temp.die('has activity', n) < 0.5 THEN timestamptz '2026-01-01' - pg_temp.die('activity', n) * interval '9 days' END AS last_activity_at,
           CASE WHEN n % 3 = 0 THEN pg_temp.die('vip', n) < 0.5 END AS vip,
           floor(pg_temp.die('risk', n) * 4)::int AS risk,
           CASE WHEN n % 5 < 2 THEN floor(pg_temp.die('boost', n) * 5)::int - 2 END AS boost,
           CASE WHEN n % 2 = 0 THEN 1 + floor(pg_temp.die('severity', n) * 5)::int END AS severity,
           CASE WHEN n % 3 > 0 THEN pg_temp.pick('sender', n, '{vip@x.example,boss@x.example,news@x.example,other@x.example}') END AS sender
    FROM generate_series(1, 600) n;
UPDATE random_item SET currency = NULL WHERE currency = 'NULL';

-- Half-octaves counted by comparing squares, so that the edges are exact.
CREATE FUNCTION pg_temp.expected_level(value numeric, unit numeric) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value >= unit THEN (SELECT least(31, 1 + max(k)) FROM generate_series(0, 30) k
                                         WHERE (value / unit) * (value / unit) >= 2::numeric ^ k)
                ELSE 0 END
$$;
CREATE TEMPORARY VIEW expected AS
    SELECT r.n, k.kind_no, k.base,
           e.euros >= 20000 AS big, pg_temp.expected_level(e.euros * coalesce(r.win_chance, 1)::numeric, 500) AS revenue_level,
           coalesce(r.vip, p.vip, false) AS vip, coalesce(r.boost, p.importance, 0) AS boost, r.risk,
           k.base = 'incident' AND r.severity = 1 AS severe,
           least(r.due_at,
                 CASE WHEN k.base = 'email' AND coalesce(r.vip, p.vip, false) THEN r.received_at + interval '6 hours' END,
                 CASE WHEN k.stall_limit > '0' THEN r.last_activity_at + extract(epoch FROM k.stall_limit) * interval '1 second' END,
                 CASE WHEN k.default_deadline > '0' AND r.due_at IS NULL THEN r.received_at + extract(epoch FROM k.default_deadline) * interval '1 second' END,
                 'infinity') AS act_by
    FROM random_item r
    JOIN aurora.kinds k ON k.company_id = (SELECT company_id FROM aurora.company WHERE name = 'Acme') AND k.kind = r.kind
    LEFT JOIN aurora.person p ON p.company_id = k.company_id AND p.email = r.sender
    CROSS JOIN LATERAL (SELECT r.amount * CASE r.currency WHEN 'USD' THEN 0.9 WHEN 'JPY' THEN 0.006 ELSE 1 END AS euros) e;
CREATE TEMPORARY VIEW placed AS
    SELECT i.external_id::int AS n, f.kind_no, f.big, f.revenue_level, f.vip, f.boost, f.risk, f.severe, f.slot, i.act_by
    FROM aurora.item i, aurora.cell_features(i.cell) f WHERE i.provider = 'random';
CREATE TEMPORARY VIEW wanted AS
    SELECT n, kind_no, coalesce(big, false) AS big, coalesce(revenue_level, 0) AS revenue_level, vip, boost, risk,
           coalesce(severe, false) AS severe, 0 AS slot, act_by FROM expected;
CREATE TEMPORARY VIEW misplaced AS
    SELECT n FROM (SELECT * FROM wanted EXCEPT SELECT * FROM placed) w
    UNION SELECT n FROM (SELECT * FROM placed EXCEPT SELECT * FROM wanted) p;

SELECT is((SELECT count(aurora.add_item('item ' || n, kind, 'dana', 'Acme', provider => 'random', external_id => n::text,
                                        sender => sender, amount => amount, currency => currency, win_chance => win_chance,
                                        due_at => due_at, received_at => received_at, last_activity_at => last_activity_at,
                                        vip => vip, risk => risk, boost => boost, severity => severity))
           FROM random_item), 600::bigint, '600 items that look random are added');
SELECT is(pg_temp.rows_of('SELECT n FROM misplaced ORDER BY n'), 'none',
          'add_item() places each as the documented formula says');
SELECT is_empty('SELECT i FROM aurora.item i WHERE aurora.item_is_misplaced(i)', 'none is misplaced');
SELECT is((SELECT count(DISTINCT revenue_level) FROM placed), 32::bigint, 'all 32 revenue levels were among them');
SELECT ok(bool_or(big) AND bool_or(NOT big) AND bool_or(vip) AND bool_or(severe) AND bool_or(act_by = 'infinity'),
          'and big and small, VIPs, severe incidents, and some without any deadline') FROM placed;
SELECT count(aurora.add_item('edge', 'deal', 'dana', 'Acme', amount => amount)) AS ignored
    FROM unnest('{499.99,500,707.10,707.11,999.99,1000,1414.21,1414.22,19999.99,20000}'::numeric[]) amount \gset
SELECT is(pg_temp.rows_of($$ SELECT amount, f.revenue_level, f.big FROM aurora.item i CROSS JOIN LATERAL aurora.cell_features(i.cell) f
                             WHERE i.title = 'edge' ORDER BY amount $$),
          '(499.99,0,f) (500,1,f) (707.10,1,f) (707.11,2,f) (999.99,2,f) (1000,3,f) (1414.21,3,f) (1414.22,4,f) '
          '(19999.99,11,f) (20000,11,t)', 'levels change at half-octaves from the unit, big at its threshold');

-- ---- senders ----

SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x', 'magic', 'dana', 'Acme') $$),
          '22023 | there is no kind "magic" | Kinds: deal, email, meeting, task, incident, chore, visit, lead, outage, letter, idea. '
          'Add one with aurora.set_kind().', 'an unknown kind is an error whose hint lists the kinds');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x', 'deal', 'dana', 'Acme', amount => 5, currency => 'GBP') $$),
          '22023 | company "Acme" has no rate for the currency GBP | '
          'Set what one GBP is worth in EUR: SELECT aurora.set_rate(''GBP'', ...).',
          'a currency without a rate is an error that names it');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x', owner => 'dana', company => 'Acme', level => 'alien') $$),
          '22023 | there is no level "alien" | Levels: human, agent, self.',
          'an unknown level is an error whose hint lists the levels');
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('x', owner => 'nobody', company => 'Acme') $$),
          '22023 | there is no owner "nobody" in this company | Owners: ''bot'', ''dana'', ''sam''.',
          'an unknown owner is an error whose hint lists the owners');
SELECT aurora.add_item('from a VIP', 'email', 'dana', 'Acme', sender => 'VIP@x.example', received_at => '2026-01-01 12:00') AS letter \gset
SELECT is(pg_temp.rows_of(format('SELECT vip, boost, sender, act_by FROM aurora.item WHERE item_id = %s', :letter)),
          '(t,0,vip@x.example,"2026-01-01 18:00:00+00")', 'a sender is known in any case, and a VIP''s mail is due within the SLA');
SELECT aurora.add_person('vip@x.example', vip => false, company => 'Acme') AS ignored \gset
SELECT is(pg_temp.rows_of(format('SELECT vip, act_by FROM aurora.item WHERE item_id = %s', :letter)),
          '(f,"2026-01-04 12:00:00+00")', 'who is no VIP any more has open mail moved');
SELECT aurora.complete(:letter), aurora.add_person('vip@x.example', vip => true, company => 'Acme') \gset ignored_
SELECT is((SELECT vip FROM aurora.item WHERE item_id = :letter), false, 'what has ended stays as it was');
SELECT throws_ok($$ SELECT aurora.add_person('x@x.example', importance => 3, company => 'Acme') $$, '23514', NULL,
                 'importance is from -2 to 2');
SELECT throws_ok($$ SELECT aurora.add_person('', company => 'Acme') $$, '23514', NULL, 'a person has an address');

-- ---- add_item() again ----

SELECT aurora.add_item('Deal', 'deal', 'dana', 'Acme', provider => 'hubspot', external_id => '42', amount => 100, risk => 2,
                       boost => 1, url => 'https://x.example/42', due_at => '2026-03-01', group_key => 'g', details => '{"a": 1, "b": 2}') AS deal \gset
SELECT is(aurora.add_item('Deal!', owner => 'dana', company => 'Acme', provider => 'hubspot', external_id => '42', amount => 800, details => '{"b": 3}'),
          :deal::bigint, 'a repeat of provider and external id is the same item');
SELECT is(pg_temp.rows_of(format('SELECT owner, kind, title, amount, currency, risk, boost, url, group_key, details FROM aurora.item
                                  WHERE item_id = %s', :deal)),
          '(dana,deal,Deal!,800,EUR,2,1,https://x.example/42,g,"{""a"": 1, ""b"": 3}")',
          'it takes what is given, leaves what is not, and merges details');
SELECT is((SELECT f.revenue_level FROM aurora.item i, aurora.cell_features(i.cell) f WHERE item_id = :deal), 2,
          'and the item moves to its new cell');
SELECT isnt(aurora.add_item('Deal', 'deal', 'dana', 'Acme', provider => 'salesforce', external_id => '42'), :deal::bigint,
            'another provider''s id is another item');
SELECT isnt(aurora.add_item('Same title', owner => 'dana', company => 'Acme'), aurora.add_item('Same title', owner => 'dana', company => 'Acme'),
            'without an external id each call adds an item');
SELECT aurora.complete(:deal) AS ignored \gset
SELECT aurora.add_item('Deal again', owner => 'dana', company => 'Acme', provider => 'hubspot', external_id => '42') AS ignored \gset
SELECT is((SELECT state::text FROM aurora.item WHERE item_id = :deal), 'done', 'a repeat does not open what has ended');
SELECT aurora.add_item('For Sam', owner => 'sam', company => 'Acme', provider => 'hubspot', external_id => '42') AS ignored \gset
SELECT is((SELECT owner FROM aurora.item WHERE item_id = :deal), 'sam'::text, 'a repeat that names an owner hands it over');
CREATE ROLE regress_dana;
SELECT aurora.add_principal('dana', 'Acme', 'regress_dana') AS ignored \gset
SET LOCAL ROLE regress_dana;
SELECT is(pg_temp.error_of($$ SELECT aurora.add_item('Mine now', provider => 'hubspot', external_id => '42') $$),
          '42501 | permission denied to change the item 42 of hubspot | It is another owner''s.',
          'another owner''s item is not changed by a repeat');
RESET ROLE;
SELECT is((SELECT title FROM aurora.item WHERE item_id = :deal), 'For Sam', 'and stays as it was');

-- ---- COPY ----

DELETE FROM aurora.item WHERE provider = 'random';
CREATE TEMPORARY TABLE bulk AS
    SELECT :acme AS company_id, 'dana'::text AS owner, kind, 'item ' || n AS title, amount, currency, win_chance, due_at, received_at,
           last_activity_at, vip, risk, boost, severity, sender, 'random'::text AS provider, n::text AS external_id FROM random_item;
SELECT format('%s/aurora_regress_%s.copy', current_setting('data_directory'), pg_backend_pid()) AS bulk_file \gset
COPY bulk TO :'bulk_file';
COPY aurora.item (company_id, owner, kind, title, amount, currency, win_chance, due_at, received_at, last_activity_at, vip, risk,
                  boost, severity, sender, provider, external_id) FROM :'bulk_file';
SELECT is((SELECT count(*) FROM placed), 600::bigint, 'COPY loads the 600 items');
SELECT is(pg_temp.rows_of('SELECT n FROM misplaced ORDER BY n'), 'none', 'and places each as add_item() does');
SELECT is_empty($$ SELECT i.title FROM aurora.item i WHERE state = 'open' AND i.item_id NOT IN
                   (SELECT s.item_id FROM aurora.company_surface(1000, 'Acme') s) AND group_key IS NULL $$,
                'and all of them are on the surface');
UPDATE aurora.item SET cell = 0, act_by = 'infinity', placed_at = '2000-01-01' WHERE provider = 'random';
SELECT is(pg_temp.rows_of('SELECT n FROM misplaced ORDER BY n'), 'none', 'an update cannot misplace an item');
SELECT throws_ok('SELECT aurora.place_item()', '39P01', NULL, 'the trigger''s function is no function for others');

SELECT * FROM finish();
ROLLBACK;
