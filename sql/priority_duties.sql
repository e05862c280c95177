\set ECHO none
-- What the lead does by itself: archiving, sampling, waking, learned chances, and the numbers about it.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(80);

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

SELECT aurora.add_company('Acme') AS acme \gset
SELECT aurora.add_principal('dana', 'Acme'), aurora.add_principal('sam', 'Acme'),
       aurora.set_kind('alarm', base => 'incident', default_deadline => '30 days', kind_offset => 0, company => 'Acme') \gset ignored_
CREATE FUNCTION pg_temp.id(title text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT i.item_id FROM aurora.item i WHERE i.title = $1 $$;
CREATE FUNCTION pg_temp.archived() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(i.title, ', ' ORDER BY i.title COLLATE "C"), 'none') FROM aurora.item i WHERE i.state = 'archived'
$$;
CREATE FUNCTION pg_temp.phase(title text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT p.quadrant || ' for ' || extract(epoch FROM now() - p.since) / 3600 FROM aurora.item_phase p WHERE p.item_id = pg_temp.id($1)
$$;

-- ---- archiving ----

SELECT count(aurora.add_item(title, kind, 'dana', 'Acme', level, amount => amount, vip => vip, due_at => due_at)) AS ignored
    FROM (VALUES ('plain', 'chore', 'human', NULL::numeric, false, NULL::timestamptz), ('big', 'chore', 'human', 50000, false, NULL),
                 ('nearly big', 'chore', 'human', 10000, false, NULL), ('vip', 'chore', 'human', NULL, true, NULL),
                 ('alarm', 'alarm', 'human', NULL, false, NULL), ('blocking', 'chore', 'human', NULL, false, NULL),
                 ('blocked', 'chore', 'human', NULL, false, NULL), ('snoozed', 'chore', 'human', NULL, false, NULL),
                 ('due to come', 'chore', 'human', NULL, false, now() + interval '13 days'), ('agent''s', 'chore', 'agent', NULL, false, NULL),
                 ('urgent', 'task', 'human', NULL, false, now() + interval '1 day'), ('edited', 'chore', 'human', NULL, false, NULL),
                 ('finished', 'chore', 'human', NULL, false, NULL)) i (title, kind, level, amount, vip, due_at) \gset
SELECT aurora.add_dependency(pg_temp.id('blocked'), pg_temp.id('blocking')), aurora.snooze(pg_temp.id('snoozed'), now() + interval '1 hour'),
       aurora.complete(pg_temp.id('finished')) \gset ignored_
-- All were placed three days ago, but the one that was edited an hour ago.
UPDATE aurora.item SET placed_at = now() - interval '3 days';
UPDATE aurora.item SET placed_at = now() - interval '1 hour' WHERE title = 'edited';

SELECT is(aurora.archive_q4(now() - interval '1 day 1 second'), 0::bigint, 'nothing is archived before it has been in Q4 for 48 hours');
SELECT is(aurora.archive_q4(now() - interval '1 day'), 2::bigint, 'after 48 hours without a break an item is archived');
SELECT is(pg_temp.archived(), 'nearly big, plain', 'only from Q4; never big, VIP, incident, blocking, blocked or snoozed ones, nor those due later');
SELECT is(aurora.archive_q4(now() + interval '46 hours 59 minutes 59 seconds'), 0::bigint, 'an edit that moves an item begins the time anew');
SELECT is(aurora.archive_q4(now() + interval '47 hours'), 1::bigint, 'which ends 48 hours later');
SELECT is(pg_temp.archived(), 'edited, nearly big, plain', 'and the item is archived');
SELECT is(pg_temp.rows_of($$ SELECT action, acted_by, "from" ->> 'state', "to" ->> 'state', acted_at = now() - interval '1 day' FROM aurora.item_history
                             WHERE item_id = pg_temp.id('plain') $$), '(archive,aurora,open,archived,t)', 'archiving is in the history');
SELECT is(pg_temp.rows_of($$ SELECT state_by, state_at = now() - interval '1 day' FROM aurora.item WHERE title = 'plain' $$), '(aurora,t)', 'and on the item');
SELECT is((SELECT count(*) FROM aurora.surface(100, 'dana') WHERE title = 'plain'), 0::bigint, 'what is archived is off the surface');
SELECT lives_ok($$ SELECT aurora.restore(pg_temp.id('plain')) $$, 'it can be restored');
SELECT is((SELECT count(*) FROM aurora.surface(100, 'dana') WHERE title = 'plain'), 1::bigint, 'and is on the surface again');
SELECT aurora.archive_q4(now() + interval '47 hours') AS ignored \gset
SELECT is((SELECT state::text FROM aurora.item WHERE title = 'plain'), 'open', 'what was restored is not archived again at the next run');
SELECT aurora.archive_q4(now() + interval '96 hours') AS ignored \gset
SELECT is((SELECT state::text FROM aurora.item WHERE title = 'plain'), 'archived', 'but after another 48 hours in Q4');
UPDATE aurora.item SET state_at = now() - interval '31 days' WHERE title = 'nearly big';
SELECT throws_ok($$ SELECT aurora.restore(pg_temp.id('nearly big')) $$, '55000', NULL, 'after 30 days it cannot be restored');
SELECT is((SELECT count(*) FROM aurora.item_phase WHERE item_id = pg_temp.id('finished')), 0::bigint, 'what has ended has no phase');

-- ---- hysteresis ----

DELETE FROM aurora.item_dependency;
DELETE FROM aurora.item;
SELECT aurora.add_item('edge', 'chore', 'dana', 'Acme', received_at => now()) AS ignored \gset
UPDATE aurora.item SET placed_at = now() - interval '5 days';
-- After the weight has been set and the phase been observed: the phase.
CREATE FUNCTION pg_temp.with_weight(weight text, value double precision) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM aurora.set_weight(weight, value, 'dana', 'Acme');
    PERFORM aurora.observe_phases();
    RETURN pg_temp.phase('edge');
END
$$;
SELECT is(pg_temp.with_weight('offset.chore', 15.9) ~ '^Q4_ELIMINATE for 120', true, 'an item that never was important is in Q4 since it was placed');
SELECT is(pg_temp.with_weight('offset.chore', 16) ~ '^Q2_SCHEDULE for 0', true, 'at the threshold it becomes important');
UPDATE aurora.item_phase SET since = since - interval '1 hour';
SELECT is(pg_temp.with_weight('offset.chore', 14.4) ~ '^Q2_SCHEDULE for 1\.', true, 'down to 90 % of the threshold it stays so');
SELECT is((SELECT important FROM aurora.items WHERE title = 'edge'), false, 'though read anywhere it is not');
SELECT is(pg_temp.with_weight('offset.chore', 14.399) ~ '^Q4_ELIMINATE for 0', true, 'below it falls');
SELECT is(pg_temp.with_weight('half_life.chore', 336) ~ '^Q3_DELEGATE for 0', true, 'one half-life before its deadline it becomes urgent');
UPDATE aurora.item_phase SET since = since - interval '1 hour';
SELECT is(pg_temp.with_weight('half_life.chore', 275) ~ '^Q3_DELEGATE for 1\.', true, 'down to an urgency of 0.30 it stays so');
SELECT is((SELECT urgent FROM aurora.items WHERE title = 'edge'), false, 'though read anywhere it is not');
SELECT is(pg_temp.with_weight('half_life.chore', 274) ~ '^Q4_ELIMINATE for 0', true, 'below it falls');
SELECT is(aurora.observe_phases(), 0::bigint, 'observing again changes nothing');
SELECT aurora.reset_weights('dana', 'Acme') AS ignored \gset

-- ---- waking ----

DELETE FROM aurora.item;
SELECT aurora.add_item('early', owner => 'dana', company => 'Acme') AS early, aurora.add_item('late', owner => 'dana', company => 'Acme', level => 'agent') AS late,
       aurora.add_item('later', owner => 'sam', company => 'Acme') AS later \gset
UPDATE aurora.item SET snooze_until = now() - interval '1 second' WHERE item_id IN (:early, :late);
UPDATE aurora.item SET snooze_until = now() + interval '1 second' WHERE item_id = :later;
SELECT is(pg_temp.rows_of($$ SELECT title FROM aurora.surface(10, 'dana') $$), '(early)', 'an item is on the surface before its snooze was ended');
SELECT is(aurora.wake_snoozed(1), 1::bigint, 'wake_snoozed() ends at most as many as it is told');
SELECT is(aurora.wake_snoozed(), 1::bigint, 'then the rest whose time has come, of all owners and levels');
SELECT is(pg_temp.rows_of('SELECT title FROM aurora.item WHERE snooze_until IS NOT NULL'), '(later)', 'and no other');
SELECT is(pg_temp.rows_of($$ SELECT title FROM aurora.surface(10, 'dana') $$), '(early)', 'the surface is the same after');

-- ---- sampling, and the numbers ----

DELETE FROM aurora.item;
SELECT aurora.set_rate('EUR', 2, 'Acme') AS ignored \gset
SELECT count(aurora.add_item('deal ' || n, 'deal', 'dana', 'Acme', amount => n * 1000, currency => CASE n WHEN 12 THEN 'EUR' ELSE 'USD' END)) AS ignored FROM generate_series(1, 12) n \gset
SELECT aurora.add_item('overdue', 'task', 'sam', 'Acme', due_at => now() - interval '1 day'), aurora.add_item('incident', 'incident', 'sam', 'Acme', severity => 1) \gset ignored_
SELECT is(aurora.sample_surface(), 12::bigint, 'a sample notes the ten of each owner');
SELECT is(aurora.sample_surface(now() + interval '5 minutes'), 12::bigint, 'so does the next');
SELECT is(pg_temp.rows_of($$ SELECT i.title, s.best_rank, s.samples, s.last_at - s.first_at FROM aurora.item_surfaced s JOIN aurora.item i USING (item_id)
                             WHERE s.best_rank = 1 ORDER BY i.title $$), '("deal 12",1,2,00:05:00) (incident,1,2,00:05:00)', 'each item is noted once, with its best rank');
SELECT is((SELECT count(*) FROM aurora.item_surfaced WHERE item_id IN (pg_temp.id('deal 1'), pg_temp.id('deal 2'))), 0::bigint, 'what was below the ten is not');
SELECT aurora.complete(pg_temp.id('deal 12'), 'won'), aurora.complete(pg_temp.id('deal 11'), 'won'), aurora.complete(pg_temp.id('deal 10'), 'lost'),
       aurora.complete(pg_temp.id('deal 1'), 'won') \gset ignored_
CREATE FUNCTION pg_temp.stat(metric text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(concat_ws(' ', s.level, s.quadrant, s.value, s.unit), ', ' ORDER BY s.level, s.quadrant) FROM aurora.priority_stats() s
    WHERE s.metric = $1 AND s.company = 'Acme' AND (s.value > 0 OR s.level IS NULL)
$$;
SELECT is((SELECT count(*) FROM aurora.priority_stats() WHERE company = 'Acme'), 12 + 3 + 5::bigint, 'priority_stats() has a row for each number');
SELECT is(pg_temp.stat('open'), 'human Q3_DELEGATE 2 items, human Q4_ELIMINATE 8 items', 'open items by level and quadrant');
SELECT is(pg_temp.stat('overdue'), 'human 1 items', 'overdue ones by level');
SELECT is(pg_temp.stat('revenue_in_surface'), '44000 USD', 'the amounts on the surfaces, in the company''s currency');
SELECT is(pg_temp.stat('revenue_influenced'), '35000 USD', 'the amounts of won deals that had been on a surface: 12,000 EUR and 11,000 USD');
SELECT is(pg_temp.stat('archived_within_72h'), 'Q4_ELIMINATE percent of those that entered', 'without any that entered Q4 there is no percentage');
UPDATE aurora.item SET placed_at = now() - interval '4 days' WHERE title IN ('deal 2', 'deal 3', 'deal 4', 'deal 5');
SELECT aurora.observe_phases(now() - interval '3 days') AS ignored \gset
UPDATE aurora.item SET risk = 2 WHERE title = 'deal 5';
SELECT aurora.archive_q4(now() - interval '1 day') AS ignored \gset
SELECT is(pg_temp.stat('archived_within_72h'), 'Q4_ELIMINATE 100.0 percent of those that entered', 'three entered Q4 and were archived in time');
SELECT is(pg_temp.stat('archived'), '3 items in 14 days', 'the number that was archived');
SELECT aurora.restore(pg_temp.id('deal 3')) AS ignored \gset
SELECT is(pg_temp.stat('restored'), '1 items in 14 days', 'and restored');
CREATE ROLE regress_sam;
SELECT aurora.add_principal('sam', 'Acme', 'regress_sam') AS ignored \gset
SET LOCAL ROLE regress_sam;
SELECT is(pg_temp.stat('open'), 'human Q3_DELEGATE 2 items', 'a member gets the numbers about its own items');
SELECT is(pg_temp.stat('revenue_influenced'), '0 USD', 'and of nobody else''s');
RESET ROLE;

-- ---- duties ----

SELECT is(pg_temp.rows_of('SELECT duty, runs_by FROM aurora.duties ORDER BY duty COLLATE "C"'),
          '(apply_settings,worker) (archive_q4,pg_cron) (forget_secret_audit,worker) (forget_transitions,worker) (refresh_win_chances,pg_cron) (rotate_generation_output,worker) (rotate_job_archive,worker) (rotate_secrets,worker) (sample_surface,worker) (set_groups_apart,pg_cron) '
          '(sweep_cells,pg_cron) (trim_events,worker) (trim_sessions,worker) (trim_webhooks,worker) (wake_snoozed,worker)', 'the duties are these');
SELECT ok(aurora.run_duty(duty) >= 0, format('duty %s can be run by hand', duty)) FROM aurora.duties ORDER BY duty COLLATE "C";
SELECT is((SELECT count(*) FROM aurora.duties WHERE last_started_at > now() AND last_finished_at >= last_started_at AND last_error IS NULL AND last_rows >= 0), 15::bigint,
          'and each run is noted');
SELECT is(pg_temp.error_of($$ SELECT aurora.run_duty('sleep') $$),
          '22023 | there is no duty "sleep" | Duties: apply_settings, wake_snoozed, sample_surface, forget_transitions, rotate_secrets, forget_secret_audit, rotate_job_archive, rotate_generation_output, trim_events, trim_sessions, trim_webhooks, archive_q4, sweep_cells, set_groups_apart, refresh_win_chances.',
          'an unknown duty is an error whose hint lists the duties');
CREATE ROLE regress_operator IN ROLE aurora_operator;
SET LOCAL ROLE regress_operator;
SELECT is(pg_temp.rows_of($$ SELECT string_agg(d.duty, ' ') FROM aurora.duties d WHERE aurora.run_duty(d.duty) IS NULL $$), '()', 'an operator can run each duty');
SELECT is((SELECT count(*) FROM aurora.item), 0::bigint, 'though it sees no items');
RESET ROLE;
SET LOCAL ROLE regress_sam;
SELECT throws_ok($$ SELECT aurora.run_duty('archive_q4') $$, '42501', NULL, 'a user runs no duty');
SELECT lives_ok('SELECT * FROM aurora.duties', 'but may look at them');
RESET ROLE;
CREATE FUNCTION pg_temp.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no luck'; END $$;
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON aurora.item_phase FOR EACH ROW EXECUTE FUNCTION pg_temp.fail();
DELETE FROM aurora.item_phase;
SET LOCAL client_min_messages = error;
SELECT is(aurora.run_duty('archive_q4'), NULL, 'a duty that fails does not raise');
SET LOCAL client_min_messages = warning;
SELECT is(pg_temp.rows_of($$ SELECT last_rows, last_error FROM aurora.duties WHERE duty = 'archive_q4' $$), '(,"no luck")', 'but is noted with what went wrong');
DROP TRIGGER fail ON aurora.item_phase;
SELECT is(to_regclass('cron.job') IS NULL AND (SELECT bool_or(scheduled) FROM aurora.duties WHERE runs_by = 'pg_cron'), false, 'without pg_cron its duties are not shown as scheduled');
SELECT is(pg_temp.error_of('SELECT aurora.schedule_duties()') LIKE '42704 | pg_cron is not in this database | Install it,%', to_regclass('cron.job') IS NULL,
          'without pg_cron scheduling them is an error that tells what to do');

-- ---- chances, learned from five deals by hand ----

DELETE FROM aurora.item;
INSERT INTO aurora.item (company_id, owner, kind, title, received_at, state, outcome, state_at)
    SELECT :acme, 'dana', 'deal', title, timestamptz '2026-06-01' - opened * interval '1 day', state::aurora.item_state, outcome::aurora.item_outcome,
           timestamptz '2026-06-01' - coalesce(closed, 0) * interval '1 day'
    FROM (VALUES ('won', 30, 'done', 'won', 10), ('lost', 40, 'done', 'lost', 20), ('lost long ago', 50, 'done', 'lost', 35), ('young', 25, 'open', NULL, NULL),
                 ('old', 170, 'open', NULL, NULL)) d (title, opened, state, outcome, closed);
-- Observed 15, 22 and 29 days before: won at age 2, 1 and, more than 14 days ahead, 0 weeks; lost at 2 and 1; old thrice. 2 of 8 are won.
SELECT is(aurora.learn_win_chances('2026-06-01', 'Acme'), 21::bigint, 'chances are learned for ages of 0 to 20 weeks');
SELECT is(pg_temp.rows_of('SELECT age_weeks, at_risk, round(chance::numeric, 6) FROM aurora.win_chance WHERE at_risk > 0 ORDER BY age_weeks'),
          '(0,1,0.238095) (1,2,0.272727) (2,2,0.272727) (20,3,0.217391)', 'they are the share won of those seen at that age, drawn to the mean');
SELECT is((SELECT array_agg(DISTINCT chance) FROM aurora.win_chance WHERE at_risk = 0), '{0.25}', 'and the mean where none was seen');
SELECT is(aurora.apply_win_chances('2026-06-01', 'Acme'), 2::bigint, 'open deals get the chance of their age');
SELECT is(pg_temp.rows_of('SELECT title, round(win_chance::numeric, 6) FROM aurora.item WHERE win_chance IS NOT NULL ORDER BY title'), '(old,0.217391) (young,0.250000)',
          'an old one that of 20 weeks and more');
SELECT is(aurora.apply_win_chances('2026-06-01', 'Acme'), 0::bigint, 'again changes nothing');
SELECT is(aurora.learn_win_chances('2026-05-10', 'Acme'), 0::bigint, 'what closed later was not known then: nothing was observed');
SELECT is_empty('SELECT FROM aurora.win_chance', 'and nothing is kept of what was learned before');
SELECT throws_ok($$ SELECT aurora.learn_win_chances(company => 'Nowhere') $$, '22023', NULL, 'an unknown company is an error');

SELECT * FROM finish();
ROLLBACK;
