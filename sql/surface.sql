\set ECHO none
-- The rules of the surface one by one: order, lane, quadrants, groups, snoozing, levels, several
-- companies, why and explain.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(108);

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
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', state, message, nullif(detail, ''), nullif(hint, ''));
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
-- The time that all of this is asked at.
CREATE FUNCTION pg_temp.at() RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$ SELECT timestamptz '2026-05-01 12:00' $$;

SELECT aurora.add_company('Acme') AS acme \gset
SELECT aurora.add_principal('dana', 'Acme'), aurora.add_principal('sam', 'Acme'), aurora.set_rate('EUR', 2, 'Acme'),
       aurora.add_person('grace@x.example', 'Grace', true, company => 'Acme'),
       aurora.set_kind('idea', base => 'chore', default_deadline => '0', company => 'Acme') \gset ignored_

-- What the surface says of an item that is alone on it; times are as seen from then.
CREATE FUNCTION pg_temp.alone(what text, kind text, due interval DEFAULT NULL, amount numeric DEFAULT NULL, risk int DEFAULT NULL, vip boolean DEFAULT NULL,
                              severity int DEFAULT NULL, received interval DEFAULT '-1 minute', active interval DEFAULT NULL, sender text DEFAULT NULL,
                              boost int DEFAULT NULL, win_chance double precision DEFAULT NULL, currency text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    id bigint := aurora.add_item('alone', kind, 'sam', 'Acme', amount => amount, risk => risk, vip => vip, severity => severity, due_at => pg_temp.at() + due,
                                 received_at => pg_temp.at() + received, last_activity_at => pg_temp.at() + active, sender => sender, boost => boost,
                                 win_chance => win_chance, currency => currency);
    result text;
BEGIN
    EXECUTE format('SELECT string_agg((%s)::text, '' '') FROM aurora.surface(10, ''sam'', pg_temp.at()) s', what) INTO result;
    DELETE FROM aurora.item WHERE item_id = id;
    RETURN result;
END
$$;

-- ---- lane 0 ----

SELECT is(pg_temp.alone('lane', 'incident', severity => 1), '0', 'an incident of severity 1 is in lane 0');
SELECT is(pg_temp.alone('lane', 'incident', severity => 1, due => '1 year', received => '1 year'), '0', 'whatever its deadline');
SELECT is(pg_temp.alone('lane', 'incident', severity => 2), '1', 'one of severity 2 is not');
SELECT is(pg_temp.alone('lane', 'incident'), '1', 'nor one without severity');
SELECT is(pg_temp.alone('lane', 'task', severity => 1), '1', 'nor a task of severity 1');
SELECT is(pg_temp.alone('lane', 'deal', '7 days', 50000), '0', 'a big deal is in lane 0 one half-life before its deadline');
SELECT is(pg_temp.alone('lane', 'deal', '7 days 1 microsecond', 50000), '1', 'and not a moment before');
SELECT is(pg_temp.alone('lane', 'deal', '-400 days', 50000), '0', 'and for as long as it is overdue');
SELECT is(pg_temp.alone('lane', 'deal', '7 days', 49999.99), '1', 'a deal below the threshold is not');
SELECT is(pg_temp.alone('lane', 'deal', '7 days', 50000, win_chance => 0.01), '0', 'a small chance makes a deal no smaller than it is');
SELECT is(pg_temp.alone('lane', 'deal', '7 days', 25000, currency => 'EUR'), '0', 'the threshold is in the company''s currency');
SELECT is(pg_temp.alone('lane', 'task', '3 days', 50000), '0', 'a big task is in lane 0 one half-life of tasks before its deadline');
SELECT is(pg_temp.alone('lane', 'task', '3 days 1 microsecond', 50000), '1', 'and not before');
SELECT is(pg_temp.alone('lane', 'deal', '100 days', 50000, risk => 2), '0', 'a big deal at risk 2 is in lane 0 at any time');
SELECT is(pg_temp.alone('lane', 'deal', '100 days', 50000, risk => 1), '1', 'at risk 1 it is not');
SELECT is(pg_temp.alone('lane', 'deal', '-1 day', 49999, risk => 3), '1', 'a small deal at risk is not');
SELECT is(pg_temp.alone('lane', 'deal', '100 days', 50000, active => '-7 days'), '0', 'a big deal silent for its stall limit less a half-life is in lane 0 by itself');
SELECT is(pg_temp.alone('lane', 'email', vip => true, received => '-1 hour'), '0', 'a VIP''s mail is in lane 0 when half of the SLA is gone');
SELECT is(pg_temp.alone('lane', 'email', vip => true, received => '-59 minutes -59.999999 seconds'), '1', 'and not a moment before');
SELECT is(pg_temp.alone('lane', 'email', received => '-3 days'), '1', 'another''s mail is not');
SELECT is(pg_temp.alone('lane', 'task', '-1 day', vip => true), '1', 'a VIP''s task is not');
SELECT aurora.set_weight('half_life.deal', 24, 'sam', 'Acme') AS ignored \gset
SELECT is(pg_temp.alone('lane', 'deal', '1 day', 50000) || pg_temp.alone('lane', 'deal', '1 day 1 microsecond', 50000), '01', 'the half-life is the owner''s');
SELECT aurora.reset_weights('sam', 'Acme') AS ignored \gset

-- ---- score, quadrant ----

SELECT is(pg_temp.alone('score', 'task', '0'), '32.000', 'a task at its deadline has 4 + 40 x 0.7 points');
SELECT is(pg_temp.alone('score', 'task', '3 days'), '18.000', 'one half-life before, half of that urgency');
SELECT is(pg_temp.alone('score', 'task', '-3 days'), '38.000', 'one half-life after, 1 - 0.3 / 2');
SELECT is(pg_temp.alone('score', 'task', '-3000 days'), '44.000', 'long after, all of it');
SELECT is(pg_temp.alone('score', 'chore', '100 years', received => '100 years'), '0.000', 'long before, none');
SELECT is(pg_temp.alone('score', 'deal', '14 days', 50000), '22.484', 'a deal of 50,000 has revenue level 12: 40 x 12 / 31, and 7 of urgency');
SELECT is(pg_temp.alone('score', 'deal', '14 days', 100000, win_chance => 0.5), '22.484', 'so has one of 100,000 at even odds');
SELECT is(pg_temp.alone('score', 'email', received => '0', vip => true), '36.799', 'VIP mail just in: 2 + 15 + 40 x 0.7 x 2^-0.5');
SELECT is(pg_temp.alone('score', 'task', '0', risk => 3, boost => -2), '39.000', 'risk 3 adds 15, boost -2 takes 8');
SELECT is(pg_temp.alone('score', 'deal', '0', 1e12), '68.000', 'no revenue counts more than level 31');
SELECT is(pg_temp.alone('score', 'deal', '0', -5000), '28.000', 'no revenue counts less than none');
SELECT is(pg_temp.alone('quadrant', 'task', '3 days'), 'Q3_DELEGATE', 'one half-life before its deadline an item is urgent');
SELECT is(pg_temp.alone('quadrant', 'task', '3 days 1 microsecond'), 'Q4_ELIMINATE', 'and not a moment before');
SELECT is(pg_temp.alone('quadrant', 'deal', '7 days', 50000), 'Q1_DO_NOW', 'what is big is important');
SELECT is(pg_temp.alone('quadrant', 'deal', '30 days', 50000), 'Q2_SCHEDULE', 'urgent or not');
SELECT is(pg_temp.alone('quadrant', 'chore', '30 days', vip => true, received => '30 days'), 'Q2_SCHEDULE', 'a VIP is important');
SELECT aurora.set_weight('offset.task', 16, 'sam', 'Acme') AS ignored \gset
SELECT is(pg_temp.alone('quadrant', 'task', '30 days', received => '30 days'), 'Q2_SCHEDULE', 'static points at the threshold are important');
SELECT aurora.set_weight('offset.task', 15.999, 'sam', 'Acme') AS ignored \gset
SELECT is(pg_temp.alone('quadrant', 'task', '30 days', received => '30 days'), 'Q4_ELIMINATE', 'below they are not');
SELECT aurora.reset_weights('sam', 'Acme') AS ignored \gset

-- ---- deadlines ----

SELECT is(pg_temp.alone('slack', 'email', vip => true, received => '-30 minutes'), '01:30:00', 'VIP mail is to be answered within the SLA');
SELECT is(pg_temp.alone('slack', 'email', '1 hour', vip => true, received => '-30 minutes'), '01:00:00', 'a due time before that goes first');
SELECT is(pg_temp.alone('slack', 'email', received => '-30 minutes'), '2 days 23:30:00', 'other mail within its default');
SELECT is(pg_temp.alone('slack', 'deal', '10 days', active => '-16 days'), '-2 days', 'a silent deal is overdue after the stall limit');
SELECT is(pg_temp.alone('slack IS NULL AND act_by = ''infinity''', 'idea'), 'true', 'what has no deadline at all has no slack');

-- ---- why ----

SELECT is(pg_temp.alone('why', 'deal', '1 day', 82000, active => '-9 days'), 'deal of $82,000 silent for 9 days; closes tomorrow', 'why: a deal');
SELECT is(pg_temp.alone('why', 'deal', '-3 days', 1234567.5, currency => 'EUR'), 'deal of EUR 1,234,568; was to close 3 days ago', 'why: an overdue deal in another currency');
SELECT is(pg_temp.alone('why', 'email', sender => 'grace@x.example', received => '-3 hours -20 minutes'), 'VIP email from Grace waiting for 3 hours', 'why: mail of a VIP that is known');
SELECT is(pg_temp.alone('why', 'email', sender => 'x@x.example', received => '-20 days'), 'email from x@x.example waiting for 2 weeks', 'why: mail of somebody');
SELECT is(pg_temp.alone('why', 'meeting', '40 minutes'), 'meeting; begins in 40 minutes', 'why: a meeting');
SELECT is(pg_temp.alone('why', 'meeting', '-1 minute'), 'meeting; began 1 minute ago', 'why: a meeting that has begun');
SELECT is(pg_temp.alone('why', 'task', '-2 days', 64.5), 'task worth $64.50; was due 2 days ago', 'why: an overdue task');
SELECT is(pg_temp.alone('why', 'task', '30 seconds'), 'task; due now', 'why: a task due within the minute');
SELECT is(pg_temp.alone('why', 'task', '-20 hours'), 'task; was due yesterday', 'why: a task of yesterday');
SELECT is(pg_temp.alone('why', 'task', '100 days'), 'task; due on 2026-08-09', 'why: a task far off');
SELECT is(pg_temp.alone('why', 'incident', severity => 1, received => '-20 minutes', risk => 3, boost => 1), 'severity 1 incident open for 20 minutes; at great risk; raised', 'why: an incident');
SELECT is(pg_temp.alone('why', 'task', '5 hours', risk => 2, boost => -1), 'task; due in 5 hours; at risk; lowered', 'why: a task at risk');

-- ---- the whole row, and explain() ----

SELECT aurora.add_item('Harbor', 'deal', 'dana', 'Acme', amount => 82000.50, risk => 1, due_at => pg_temp.at() + interval '1 day', received_at => pg_temp.at() - interval '30 days',
                       last_activity_at => pg_temp.at() - interval '9 days', boost => -1) AS harbor \gset
SELECT is(pg_temp.rows_of($$ SELECT rank, kind, title, quadrant, score, amount, currency, act_by, slack, lane, lane0_left_out FROM aurora.surface(10, 'dana', pg_temp.at()) $$),
          '(1,deal,Harbor,Q1_DO_NOW,43.134,82000.50,USD,"2026-05-02 12:00:00+00","1 day",0,0)', 'a row of the surface');
SELECT is((SELECT item_id FROM aurora.surface(10, 'dana', pg_temp.at())), :harbor::bigint, 'with the item''s id');
SELECT is(pg_temp.rows_of(format('SELECT feature, value, points FROM aurora.explain(%s, pg_temp.at())', :harbor)),
          '(revenue,"level 13, big",16.774) (vip,no,0.000) (risk,1,5.000) (boost,-1,-4.000) (kind,deal,0.000) (urgency,0.6340,25.360)', 'explain() has a row for each feature');
SELECT is((SELECT sum(points) FROM aurora.explain(:harbor, pg_temp.at())), 43.134, 'and the points add up to the score');
SELECT is((SELECT count(*) FROM aurora.explain(:harbor, pg_temp.at()) WHERE coalesce(formula, '') = ''), 0::bigint, 'each says how it comes about');
SELECT throws_ok('SELECT aurora.explain(-1)', 'P0002', 'there is no item -1 that the caller may see', 'an unknown item is not explained');
DELETE FROM aurora.item;

-- ---- order, groups, snoozing, levels ----

CREATE FUNCTION pg_temp.add(title text, due interval, group_key text DEFAULT NULL, level text DEFAULT 'human', company text DEFAULT 'Acme', kind text DEFAULT 'task',
                            amount numeric DEFAULT NULL, owner text DEFAULT 'dana', severity int DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT aurora.add_item(title, kind, owner, company, level, group_key => group_key, due_at => pg_temp.at() + due, received_at => pg_temp.at(), amount => amount, severity => severity)
$$;
CREATE FUNCTION pg_temp.titles(owner text DEFAULT 'dana', at timestamptz DEFAULT pg_temp.at(), top_n int DEFAULT 10) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(s.title, ' ' ORDER BY s.rank), 'none') FROM aurora.surface(top_n, owner, at) s
$$;
SELECT pg_temp.add('later', '2 days'), pg_temp.add('sooner', '1 day'), pg_temp.add('overdue', '-1 day'), pg_temp.add('severe', '1 day', kind => 'incident', severity => 1),
       pg_temp.add('two', '-2000 days'), pg_temp.add('one', '-2001 days'), pg_temp.add('three', '-2000 days'), pg_temp.add('idea', NULL, kind => 'idea') \gset ignored_
SELECT is(pg_temp.titles(), 'severe one two three overdue sooner later idea', 'the order is by lane, score, act_by and id');
SELECT is(pg_temp.titles(top_n => 3), 'severe one two', 'the first are the first of all');
SELECT is((SELECT string_agg(rank::text, ' ' ORDER BY rank) FROM aurora.surface(10, 'dana', pg_temp.at())), '1 2 3 4 5 6 7 8', 'ranks count from 1');
SELECT is((SELECT count(DISTINCT score) FROM aurora.surface(4, 'dana', pg_temp.at()) WHERE rank > 1), 1::bigint, 'scores of what is long overdue are the same');
DELETE FROM aurora.item;

SELECT pg_temp.add('a', '1 day', 'thread'), pg_temp.add('b', '2 days', 'thread'), pg_temp.add('c', '3 days', 'thread'), pg_temp.add('d', '4 days', 'other'), pg_temp.add('e', '5 days') \gset
SELECT is(pg_temp.titles(), 'a d e', 'of a group the best is shown');
SELECT item_id AS a FROM aurora.item WHERE title = 'a' \gset
SELECT aurora.complete(:a) AS ignored \gset
SELECT is(pg_temp.titles(), 'b d e', 'when it is done the next best');
UPDATE aurora.item SET snooze_until = pg_temp.at() + interval '1 hour' WHERE title IN ('b', 'e');
SELECT is(pg_temp.titles(), 'c d', 'what is snoozed is hidden, its group is not');
SELECT is(pg_temp.titles(at => pg_temp.at() + interval '59 minutes 59.999999 seconds'), 'c d', 'until the very second');
SELECT is(pg_temp.titles(at => pg_temp.at() + interval '1 hour'), 'b d e', 'then it is back, also before its group');
UPDATE aurora.item SET snooze_until = NULL, level = 'agent' WHERE title = 'c';
UPDATE aurora.item SET snooze_until = NULL, level = 'self' WHERE title = 'd';
UPDATE aurora.item SET snooze_until = NULL WHERE title IN ('b', 'e');
SELECT is(pg_temp.titles(), 'b e', 'the surface shows level human');
SELECT is(pg_temp.rows_of(format($$ SELECT %L, title FROM aurora.agenda(%1$L, 10, 'dana', pg_temp.at()) $$, level)), result, 'agenda() shows level ' || level)
    FROM (VALUES (1, 'human', '(human,b) (human,e)'), (2, 'agent', '(agent,c)'), (3, 'self', '(self,d)')) l (n, level, result) ORDER BY n;
SELECT pg_temp.add('important', '30 days', 'thread', kind => 'deal', amount => 60000) AS ignored \gset
SELECT is(pg_temp.titles(), 'b e', 'a group shows its best only, also when another is important');
SELECT is(pg_temp.rows_of(format($$ SELECT title, quadrant FROM aurora.quadrant(%L, 10, 'dana', pg_temp.at()) $$, q)), result, 'quadrant() shows the best of the group within ' || q)
    FROM (VALUES (1, 'Q1_DO_NOW', 'none'), (2, 'Q2_SCHEDULE', '(important,Q2_SCHEDULE)'), (3, 'Q3_DELEGATE', '(b,Q3_DELEGATE)'), (4, 'Q4_ELIMINATE', '(e,Q4_ELIMINATE)')) v (n, q, result) ORDER BY n;
DELETE FROM aurora.item;

-- ---- what does not fit ----

SELECT count(pg_temp.add('severe', NULL, kind => 'incident', severity => 1)) AS ignored FROM generate_series(1, 130) \gset
SELECT is((SELECT string_agg(DISTINCT lane0_left_out::text, ',') FROM aurora.surface(top_n, 'dana', pg_temp.at())), left_out,
          format('of 130 rows of lane 0, %s asked for, %s are said to be left out', top_n, left_out))
    FROM (VALUES (10, '100'), (30, '100'), (31, '99'), (129, '1'), (130, '0'), (200, '0')) v (top_n, left_out) ORDER BY top_n;
DELETE FROM aurora.item;

-- ---- several owners and companies ----

SELECT aurora.add_company('Euro', currency => 'EUR') AS euro, aurora.add_company('Yen', currency => 'JPY') AS yen \gset
SELECT aurora.add_principal('dual', 'Acme'), aurora.add_principal('dual', 'Euro'), aurora.add_principal('triple', 'Acme'), aurora.add_principal('triple', 'Yen') \gset ignored_
SELECT pg_temp.add('20,000 euro', '1 day', company => 'Euro', owner => 'dual', kind => 'deal', amount => 20000), pg_temp.add('30,000 dollars', '1 day', owner => 'dual', kind => 'deal', amount => 30000) \gset ignored_
SELECT is(pg_temp.rows_of($$ SELECT title, amount, currency, score FROM aurora.surface(10, 'dual', pg_temp.at()) $$),
          '("20,000 euro",20000,EUR,39.554) ("30,000 dollars",30000,USD,38.263)', 'an owner in two companies has one surface, compared in the first one''s currency');
SELECT is(pg_temp.rows_of($$ SELECT title, score FROM aurora.company_surface(10, 'Euro', pg_temp.at()) $$), '("20,000 euro",36.973)', 'in the company itself its own currency counts');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'triple') $$),
          '22023 | company "Acme" has no rate for the currency JPY | Company "Yen" counts in it, and both are asked for. | Set what one JPY is worth in USD with aurora.set_rate().',
          'without a rate between companies the surface of both is an error that names the currency');
SELECT pg_temp.add('tied, first', '1 day', company => 'Euro', owner => 'dual', group_key => 'same key'), pg_temp.add('tied, second', '1 day', owner => 'dual', group_key => 'same key') \gset ignored_
SELECT is((SELECT count(*) FROM aurora.surface(10, 'dual', pg_temp.at()) WHERE kind = 'task'), 2::bigint, 'the same group key in two companies is two groups');
SELECT is((SELECT string_agg(title, '; ' ORDER BY rank) FROM aurora.surface(10, 'dual', pg_temp.at()) WHERE kind = 'task'), 'tied, first; tied, second',
          'ties go by id, also over companies');
DELETE FROM aurora.item;
SELECT pg_temp.add('dana''s', '2 days', 'shared'), pg_temp.add('sam''s', '1 day', 'shared', owner => 'sam'), pg_temp.add('sam''s other', '3 days', owner => 'sam') \gset ignored_
SELECT is(pg_temp.rows_of($$ SELECT rank, owner, title FROM aurora.company_surface(10, 'Acme', pg_temp.at()) $$), '(1,sam,sam''s) (2,sam,"sam''s other")',
          'the company''s surface is over all owners, a group with its best among them');
SELECT is(pg_temp.titles('dana') || ', ' || pg_temp.titles('sam'), 'dana''s, sam''s sam''s other', 'each owner''s own shows its own');

-- ---- what is refused ----

SELECT is(pg_temp.error_of(format('SELECT %s', call)), format('22023 | %s rows cannot be asked for | Ask for 1 to 1000 rows.', n), call || ' is refused')
    FROM unnest('{0,1001,-1}'::int[]) WITH ORDINALITY AS v (n, place),
         LATERAL (VALUES (1, format('aurora.surface(%s, ''dana'')', n)), (2, format('aurora.agenda(''human'', %s, ''dana'')', n)),
                         (3, format('aurora.quadrant(''Q1_DO_NOW'', %s, ''dana'')', n)), (4, format('aurora.company_surface(%s, ''Acme'')', n))) c (k, call)
    WHERE n = 0 OR k = 1 ORDER BY place, k;
SELECT lives_ok($$ SELECT aurora.surface(1000, 'dana') $$, '1,000 rows can be asked for');
SELECT is((SELECT count(*) FROM aurora.surface(NULL, 'dana', NULL)), 1::bigint, 'null means ten rows, and now');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'nobody') $$) ~ '^22023 \| there is no owner "nobody" \| Owners: "dana", "dual", "sam", "triple"', true,
          'an unknown owner is an error whose hint lists the owners');
SELECT throws_ok($$ SELECT aurora.quadrant('q1_do_now') $$, '22023', 'there is no quadrant "q1_do_now"', 'quadrants are written as they are');
SELECT throws_ok($$ SELECT aurora.quadrant(NULL) $$, '22023', NULL, 'null is no quadrant');
SELECT throws_ok($$ SELECT aurora.agenda(NULL) $$, '22023', NULL, 'null is no level');
SELECT is(pg_temp.error_of($$ SELECT aurora.surface(10, 'dana', 'infinity') $$), '22008 | the time asked about must be finite | Leave it out to ask about now.', 'an infinite time is refused');
SELECT throws_ok($$ SELECT aurora.company_surface(10, 'Nowhere') $$, '22023', NULL, 'an unknown company is an error');

SELECT * FROM finish();
ROLLBACK;
