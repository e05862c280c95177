\set ECHO none
-- The job queue: what becomes of a job from its submission to the archive, and in which order jobs are
-- taken. In a database of its own, where no worker works.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_jobs;
CREATE DATABASE regress_jobs;
\connect regress_jobs
SET client_min_messages = error;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;

SELECT plan(275);

-- What an expression gives, or "SQLSTATE message" of the error that it raises.
CREATE FUNCTION result_of(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
-- Jobs go by the name that their payload tells.
CREATE FUNCTION submit(queue text, name text, more text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT aurora.submit_job(%L, jsonb_build_object(''name'', %L)%s)', queue, name, ', ' || more) INTO result;
    RETURN result;
END
$$;
CREATE FUNCTION submit_many(queue text, name text, n int, class text DEFAULT 'normal', company text DEFAULT NULL, concurrency_key text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM aurora.submit_jobs(queue, ARRAY(SELECT jsonb_build_object('name', name || i) FROM generate_series(1, n) i), class,
                                            company => company, concurrency_key => concurrency_key)
$$;
CREATE FUNCTION id(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT max(job_id) FROM aurora.jobs WHERE payload ->> 'name' = name $$;
CREATE FUNCTION state(name text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT state FROM aurora.jobs WHERE job_id = id(name) $$;
CREATE FUNCTION attempt(name text) RETURNS int LANGUAGE sql STABLE AS $$ SELECT attempt FROM aurora.jobs WHERE job_id = id(name) $$;
-- The states of all jobs whose names are like the pattern, by name.
CREATE FUNCTION states(pattern text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s', payload ->> 'name', state), ', ' ORDER BY payload ->> 'name' COLLATE "C") FROM aurora.jobs WHERE payload ->> 'name' LIKE pattern
$$;
CREATE FUNCTION take(queue text, n int DEFAULT 1) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(t.payload ->> 'name', ' ' ORDER BY t.ordinality), 'none')
    FROM aurora.take_jobs(queue, n) WITH ORDINALITY t
$$;
CREATE FUNCTION done(name text, result jsonb DEFAULT NULL) RETURNS boolean LANGUAGE sql AS $$ SELECT aurora.finish_job(id(name), attempt(name), result) $$;
CREATE FUNCTION fails(name text, error text DEFAULT 'broken', retry_in interval DEFAULT NULL, final boolean DEFAULT false) RETURNS text LANGUAGE sql AS
    $$ SELECT aurora.fail_job(id(name), attempt(name), error, retry_in, final) $$;
CREATE FUNCTION cancel(name text, reason text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$ SELECT aurora.cancel_job(id(name), reason) $$;
-- Lets time go by for the jobs of a queue, and what falls due happen.
CREATE FUNCTION time_passes(queue text, how_long interval) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    UPDATE aurora.job SET ready_at = ready_at - how_long, lease_until = lease_until - how_long, started_at = started_at - how_long
        WHERE queue_id = aurora.find_queue(queue);
    RETURN aurora.settle_queue(aurora.find_queue(queue));
END
$$;
-- Takes and finishes jobs one by one; gives their names in the order in which they were taken.
CREATE PROCEDURE work_off(queue text, INOUT names text, n int DEFAULT 100000) LANGUAGE plpgsql AS $$
DECLARE
    taken record;
BEGIN
    names := NULL;
    FOR i IN 1 .. n LOOP
        SELECT * INTO taken FROM aurora.take_jobs(queue);
        EXIT WHEN NOT FOUND;
        PERFORM aurora.finish_job(taken.job_id, taken.attempt);
        COMMIT;
        names := concat_ws(' ', names, taken.payload ->> 'name');
    END LOOP;
END
$$;

-- ---- from the submission to the archive ----

SELECT is_empty('SELECT FROM aurora.job_queue', 'at first there is no queue');
SELECT submit('default', 'first', $$ kind => 'mail' $$) AS first \gset
SELECT is((SELECT to_jsonb(j) - 'submitted_at' - 'ready_at' FROM aurora.jobs j WHERE job_id = :first),
          jsonb_build_object('job_id', :first, 'company', 'default', 'queue', 'default', 'class', 'normal', 'state', 'waiting', 'kind', 'mail',
                             'attempt', 0, 'max_attempts', 5, 'submitted_by', 'postgres', 'started_at', NULL, 'lease_until', NULL, 'finished_at', NULL,
                             'cancel_requested_at', NULL, 'taker', NULL, 'progress', NULL, 'note', NULL, 'error', NULL, 'payload', '{"name": "first"}'::jsonb,
                             'result', NULL, 'unique_key', NULL, 'concurrency_key', NULL, 'blockers', 0),
          'the first job makes the default queue and company, and waits');
SELECT ok(submitted_at = ready_at AND submitted_at BETWEEN now() - interval '1 minute' AND now(), 'it could run since it was submitted') FROM aurora.jobs WHERE job_id = :first;
SELECT job_id AS taken, attempt AS attempt FROM aurora.take_jobs(taker => 'worker 1') \gset
SELECT is((SELECT row(job_id, state, attempt, taker, lease_until - started_at)::text FROM aurora.jobs WHERE job_id = :first),
          format('(%s,running,1,"worker 1",00:05:00)', :first), 'a taker has it, for as long as the queue''s lease');
SELECT is(take('default'), 'none', 'nobody else is given it');
SELECT is(aurora.finish_job(:taken, :attempt, '{"sent": true}'), true, 'the taker finishes it');
SELECT is((SELECT row(state, attempt, taker, result, finished_at >= started_at, kind, lease_until, error)::text FROM aurora.jobs WHERE job_id = :first),
          '(done,1,"worker 1","{""sent"": true}",t,mail,,)', 'it is in the archive with its result');
SELECT is_empty('SELECT FROM aurora.job', 'and no longer among the live ones');
SELECT is(aurora.finish_job(:taken, :attempt, '{"sent": true}'), true, 'finishing it again by the same attempt does no harm');
SELECT is((SELECT count(*) FROM aurora.job_archive), 1::bigint, 'and does not archive it twice');
SELECT is_empty('SELECT FROM aurora.refused_results', 'nor keep anything aside');
SELECT is((SELECT count(*) FROM aurora.submit_jobs('default', ARRAY['{"name": "m1"}', '{"name": "m2"}', '{"name": "m3"}']::jsonb[])), 3::bigint, 'submit_jobs() submits several');
SELECT is((SELECT count(*) FROM aurora.submit_jobs('default', '{}'::jsonb[])), 0::bigint, 'or none');
SELECT is(take('default', 2), 'm1 m2', 'they are taken in order');
SELECT is((SELECT string_agg(t.payload ->> 'name', ' ') FROM aurora.take_jobs('default', 5, finished => ARRAY[id('m2'), id('m1')], attempts => ARRAY[1, 1], results => ARRAY['2'::jsonb, NULL]) t), 'm3',
          'one call finishes those done and takes the next');
SELECT is((SELECT string_agg(concat_ws(' ', payload ->> 'name', state, result), ', ' ORDER BY job_id) FROM aurora.jobs WHERE payload ->> 'name' LIKE 'm%'),
          'm1 done, m2 done 2, m3 running', 'each has its own result');
SELECT is((SELECT count(*) FROM aurora.take_jobs('default', 0, finished => ARRAY[id('m3'), id('m3')], attempts => ARRAY[1, 1])), 0::bigint, 'a job may be named twice');
SELECT is(state('m3'), 'done', 'and is finished once');
SELECT submit('default', 'tried', 'max_attempts => 2') \gset ignored_
SELECT is((SELECT max_attempts FROM aurora.jobs WHERE job_id = id('tried')), 2, 'a job is tried as often as it says');
BEGIN;
SELECT submit('default', 'undone') \gset ignored_
ROLLBACK;
CALL work_off('default', NULL) \gset ignored_
BEGIN;
SELECT submit('default', 'mine') AS mine \gset
SELECT take('default') AS seen \gset
COMMIT;
SELECT is(CASE :'seen' WHEN 'mine' THEN 'mine' ELSE take('default') END, 'mine', 'a job can be taken at the latest when the transaction that submits it has ended');
SELECT done('mine') \gset ignored_

-- ---- results of those who no longer have the job ----

SELECT submit('default', 'lost') AS lost \gset
SELECT is(take('default'), 'lost', 'a job is taken');
SELECT time_passes('default', '5 minutes 1 second') \gset ignored_
SELECT is((SELECT row(state, attempt, error, taker)::text FROM aurora.jobs WHERE job_id = :lost), '(waiting,1,"the lease of postgres ran out",postgres)', 'when its lease runs out it waits again');
SELECT is((SELECT row(state, lease_until)::text FROM aurora.renew_lease(:lost, 1)), '(lost,)', 'who had it learns so when he renews');
SELECT is(aurora.finish_job(:lost, 1, '"late"'), false, 'and cannot finish it');
SELECT is((SELECT row(r.job_id, company, attempt, taker, reason, failed, result, error)::text FROM aurora.refused_results r),
          format('(%s,default,1,postgres,"it is waiting",f,"""late""",)', :lost), 'what he brings is kept aside');
SELECT is(take('default'), 'lost', 'another has it');
SELECT is(aurora.finish_job(:lost, 1, '"later"'), false, 'the first cannot finish it then either');
SELECT is(aurora.fail_job(:lost, 1, 'late'), 'refused', 'nor fail it');
SELECT is((SELECT string_agg(concat_ws(' ', reason, failed, result, error), ', ' ORDER BY refused_at) FROM aurora.refused_results), 'it is waiting f "late", attempt 2 has it, not 1 f "later", attempt 2 has it, not 1 t late', 'all of it is kept aside');
SELECT is(aurora.finish_job(:lost, 2, '"right"'), true, 'the second finishes it');
SELECT is(aurora.finish_job(:lost, 1, '"latest"'), false, 'the first cannot when it is done');
SELECT is((SELECT reason FROM aurora.refused_results ORDER BY refused_at DESC LIMIT 1), 'attempt 2 has it, not 1', 'and is told who had it');
SELECT is((SELECT row(state, attempt, result)::text FROM aurora.jobs WHERE job_id = :lost), '(done,2,"""right""")', 'the right result stays');
SELECT is((SELECT count(*) FROM aurora.take_jobs(finished => ARRAY[:lost::bigint], attempts => ARRAY[1])), 0::bigint, 'take_jobs() keeps it aside, too');
SELECT is((SELECT count(*) FROM aurora.refused_results), 5::bigint, 'as finish_job() does');
SELECT is(aurora.fail_job(:lost, 2, 'after all'), 'refused', 'what is done does not fail');
SELECT submit('default', 'over') \gset ignored_
SELECT is(take('default'), 'over', 'when a lease is over and nobody has noticed');
UPDATE aurora.job SET lease_until = now() - interval '1 hour' WHERE job_id = id('over');
SELECT is(done('over'), true, 'its taker finishes the job all the same');

-- ---- leases ----

SELECT submit('default', 'renewed', 'max_attempts => 2') AS renewed \gset
SELECT is((SELECT lease_until BETWEEN clock_timestamp() + interval '50 seconds' AND clock_timestamp() + interval '1 minute' FROM aurora.take_jobs(lease => '1 minute')), true, 'a taker asks for a lease of its own');
SELECT is((SELECT row(state, lease_until BETWEEN clock_timestamp() + interval '4 minutes' AND clock_timestamp() + interval '5 minutes')::text FROM aurora.renew_lease(:renewed, 1)), '(running,t)', 'renewing takes the queue''s');
SELECT is((SELECT row(state, lease_until BETWEEN clock_timestamp() + interval '59 minutes' AND clock_timestamp() + interval '1 hour')::text
           FROM aurora.renew_lease(:renewed, 1, '1 hour', 0.25, 'a quarter')), '(running,t)', 'or what it is given');
SELECT is((SELECT row(progress, note)::text FROM aurora.jobs WHERE job_id = :renewed), '(0.25,"a quarter")', 'progress and note are seen');
SELECT state FROM aurora.renew_lease(:renewed, 1, progress => 0.5) \gset ignored_
SELECT is((SELECT row(progress, note)::text FROM aurora.jobs WHERE job_id = :renewed), '(0.5,"a quarter")', 'what is not given stays');
SELECT time_passes('default', '4 minutes') \gset ignored_
SELECT is(state('renewed'), 'running', 'a renewed lease goes on');
SELECT time_passes('default', '2 minutes') \gset ignored_
SELECT is((SELECT row(state, progress)::text FROM aurora.jobs WHERE job_id = :renewed), '(waiting,)', 'until it is over, too; progress is forgotten');
SELECT is(take('default'), 'renewed', 'it is taken again');
SELECT is((SELECT row(progress, note)::text FROM aurora.jobs WHERE job_id = :renewed), '(,)', 'and begins without a note');
SELECT time_passes('default', '6 minutes') \gset ignored_
SELECT is(state('renewed'), 'dead', 'after its last lease it is dead');
SELECT is(cancel('renewed'), 'discarded', 'and discarded when it is cancelled');

-- ---- delays ----

SELECT submit('default', 'later', 'delay => ''1 hour''') \gset ignored_
SELECT is((SELECT row(state, ready_at - submitted_at)::text FROM aurora.jobs WHERE job_id = id('later')), '(scheduled,01:00:00)', 'a delayed job is scheduled');
SELECT submit('default', 'sooner', 'run_at => now() + interval ''10 minutes'''), submit('default', 'past', 'run_at => ''2001-01-01''') \gset ignored_
SELECT is(state('past'), 'waiting', 'one whose time is over waits');
SELECT is((SELECT ready_at = submitted_at FROM aurora.jobs WHERE job_id = id('past')), true, 'from its submission on');
SELECT is(take('default', 9), 'past', 'what is scheduled is not taken');
SELECT done('past') \gset ignored_
SELECT time_passes('default', '10 minutes') \gset ignored_
SELECT is(take('default', 9), 'sooner', 'until its time has come');
SELECT done('sooner') \gset ignored_
UPDATE aurora.job SET ready_at = now() WHERE job_id = id('later');
SELECT aurora.queue_due(aurora.find_queue('default'), now()) \gset ignored_
SELECT is(take('default', 9), 'later', 'who takes sees by himself to what has fallen due');
SELECT done('later') \gset ignored_

-- ---- unique keys ----

SELECT aurora.add_queue('other') AS other \gset
SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt \gset
SELECT submit('default', 'u', 'unique_key => ''k'', company => ''default''') AS u \gset
SELECT is(submit('default', 'u again', 'unique_key => ''k'', company => ''default'''), :u::bigint, 'a second job with a unique key is the first');
SELECT is((SELECT count(*) FROM aurora.job), 1::bigint, 'and is not there');
SELECT isnt(submit('other', 'u other', 'unique_key => ''k'', company => ''default'''), :u::bigint, 'the same key in another queue is another');
SELECT isnt(submit('default', 'u acme', 'unique_key => ''k'', company => ''Acme'''), :u::bigint, 'or of another company');
SELECT cancel('u acme') \gset ignored_
SELECT is(take('default'), 'u', 'while a job with the key runs');
SELECT is(submit('default', 'u again', 'unique_key => ''k'', company => ''default'''), :u::bigint, 'the key is taken');
SELECT is(fails('u', final => true), 'dead', 'also when it is dead');
SELECT is(submit('default', 'u again', 'unique_key => ''k'', company => ''default'''), :u::bigint, 'and waits to be replayed');
SELECT cancel('u') \gset ignored_
SELECT isnt(submit('default', 'u next', 'unique_key => ''k'', company => ''default'''), :u::bigint, 'when it has ended the key is free');
SELECT submit('default', 'u later', 'unique_key => ''k2'', delay => ''1 hour'', company => ''default''') AS later \gset
SELECT is((SELECT row(state, ready_at > now() + interval '50 minutes')::text FROM aurora.jobs WHERE job_id = :later), '(scheduled,t)', 'a job with a key can be delayed');
SELECT time_passes('default', '1 hour') \gset ignored_
CALL work_off('default', NULL) \gset ignored_
CALL work_off('other', NULL) \gset ignored_

-- ---- retries ----

SELECT aurora.add_queue('retries', max_attempts => 4, retry_delay => '10 seconds', retry_delay_max => '30 seconds') AS retries \gset
SELECT submit('retries', 'r', 'company => ''Acme''') AS r \gset
SELECT is(take('retries'), 'r', 'a job is tried');
SELECT is(fails('r', 'the first time'), 'scheduled', 'when that fails it is scheduled for another attempt');
SELECT is((SELECT row(state, attempt, error, taker, lease_until)::text FROM aurora.jobs WHERE job_id = :r), '(scheduled,1,"the first time",postgres,)', 'and tells why');
SELECT is((SELECT ready_at - clock_timestamp() BETWEEN interval '4 seconds' AND interval '10 seconds' FROM aurora.jobs WHERE job_id = :r), true, 'in the queue''s delay, less up to a half');
SELECT is(take('retries'), 'none', 'and not before');
SELECT time_passes('retries', '10 seconds') \gset ignored_
SELECT is(take('retries'), 'r', 'then it is taken again');
SELECT is(attempt('r'), 2, 'as its second attempt');
SELECT fails('r') \gset ignored_
SELECT is((SELECT ready_at - clock_timestamp() BETWEEN interval '9 seconds' AND interval '20 seconds' FROM aurora.jobs WHERE job_id = :r), true, 'the delay doubles');
SELECT time_passes('retries', '20 seconds') \gset ignored_
SELECT take('retries') \gset ignored_
SELECT fails('r') \gset ignored_
SELECT is((SELECT ready_at - clock_timestamp() BETWEEN interval '14 seconds' AND interval '30 seconds' FROM aurora.jobs WHERE job_id = :r), true, 'up to the longest');
SELECT time_passes('retries', '30 seconds') \gset ignored_
SELECT take('retries') \gset ignored_
SELECT is(fails('r', 'the last time'), 'dead', 'after its last attempt a job is dead');
SELECT is((SELECT row(state, attempt, error, finished_at)::text FROM aurora.jobs WHERE job_id = :r), '(dead,4,"the last time",)', 'and still there');
SELECT is(take('retries'), 'none', 'but not taken');
SELECT is(aurora.replay_job(:r), 'waiting', 'it can be replayed');
SELECT is((SELECT row(attempt, max_attempts)::text FROM aurora.jobs WHERE job_id = :r), '(4,8)', 'as often as the queue says, counted on');
SELECT is(aurora.fail_job(:r, 4, 'late'), 'refused', 'so that who had it is told apart');
SELECT is(take('retries'), 'r', 'it is taken');
SELECT is(fails('r', 'for good', final => true), 'dead', 'a failure can be final');
SELECT is(aurora.replay_jobs('retries', kind => 'other'), 0::bigint, 'dead jobs are replayed by kind');
SELECT is(aurora.replay_jobs('retries', company => 'Bolt'), 0::bigint, 'or company');
SELECT is(aurora.replay_jobs('retries', company => 'Acme'), 1::bigint, 'or all');
SELECT is(aurora.replay_jobs('retries'), 0::bigint, 'but once');
SELECT is(result_of(format('aurora.replay_job(%s)', :r)), format('55000 job %s is waiting, not dead', :r), 'what is not dead cannot be replayed');
SELECT is(take('retries'), 'r', 'a taker');
SELECT is(fails('r', retry_in => '0'), 'waiting', 'may ask for the next attempt at once');
SELECT is(take('retries'), 'r', 'which it then is');
SELECT is(fails('r', retry_in => '1 day'), 'scheduled', 'or when it likes');
SELECT is((SELECT ready_at - clock_timestamp() BETWEEN interval '23 hours' AND interval '1 day' FROM aurora.jobs WHERE job_id = :r), true, 'with no part of it random');
SELECT time_passes('retries', '1 day') \gset ignored_
SELECT is(take('retries'), 'r', 'then it is taken');
SELECT is(done('r', '"at last"'), true, 'and done');
SELECT is((SELECT row(state, error, result)::text FROM aurora.jobs WHERE job_id = :r), '(done,,"""at last""")', 'without an error');
CREATE TABLE delay (delay interval);
DO $$
BEGIN
    FOR i IN 1 .. 60 LOOP
        PERFORM submit('retries', 'j' || i, 'company => ''Acme''');
        COMMIT;
        PERFORM take('retries');
        PERFORM fails('j' || i);
        INSERT INTO delay SELECT ready_at - clock_timestamp() FROM aurora.jobs WHERE job_id = id('j' || i);
        PERFORM cancel('j' || i);
        COMMIT;
    END LOOP;
END
$$;
SELECT ok(count(*) = 60 AND min(delay) > interval '4 seconds' AND max(delay) <= interval '10 seconds' AND max(delay) - min(delay) > interval '1 second', 'delays are jittered, so that what failed together is not retried together') FROM delay;
SELECT aurora.add_queue('patient', max_attempts => 1000, retry_delay => '12 hours', retry_delay_max => '30 days') AS patient \gset
SELECT submit('patient', 'patient', 'company => ''Acme''') AS patient_job \gset
UPDATE aurora.job SET attempt = 500 WHERE job_id = :patient_job;
SELECT take('patient') \gset ignored_
SELECT is(result_of($$ fails('patient') $$), 'scheduled', 'the delay of a late attempt does not overflow');
SELECT is((SELECT ready_at - clock_timestamp() BETWEEN interval '14 days' AND interval '30 days' FROM aurora.jobs WHERE job_id = :patient_job), true, 'it is the longest');
SELECT cancel('patient') \gset ignored_

-- ---- jobs that run after others ----

SELECT aurora.add_queue('after') AS after \gset
SELECT submit('after', 'a1', 'company => ''Acme''') AS a1, submit('after', 'a2', 'company => ''Acme''') AS a2 \gset
SELECT submit('after', 'b', format('run_after => ARRAY[%s, %s, %s], company => ''Acme''', :a1, :a2, :a1)) AS b,
       submit('after', 'b later', format('run_after => ARRAY[%s], delay => ''1 hour'', company => ''Acme''', :a1)) AS b_later \gset
SELECT is((SELECT row(state, blockers)::text FROM aurora.jobs WHERE job_id = :b), '(blocked,2)', 'a job waits for those that it runs after, each once');
SELECT is(take('after', 9), 'a1 a2', 'it is not taken before');
SELECT done('a1') \gset ignored_
SELECT is(states('b%'), 'b blocked, b later scheduled', 'when one is done the others are waited for; a delay goes on');
SELECT is(take('after', 9), 'none', 'nothing is taken');
SELECT is(fails('a2'), 'scheduled', 'a failed attempt');
SELECT is(state('b'), 'blocked', 'lets nothing go');
SELECT time_passes('after', '1 minute') \gset ignored_
SELECT is(take('after', 9), 'a2', 'the next attempt');
SELECT is((SELECT count(*) FROM aurora.take_jobs('after', 0, finished => ARRAY[id('a2')], attempts => ARRAY[attempt('a2')])), 0::bigint, 'does');
SELECT is((SELECT row(state, blockers, ready_at > submitted_at)::text FROM aurora.jobs WHERE job_id = :b), '(waiting,0,t)', 'when all are done it waits, since then');
SELECT is(take('after', 9), 'b', 'and is taken');
SELECT done('b') \gset ignored_
SELECT submit('after', 'c', format('run_after => ARRAY[%s], company => ''Acme''', :a1)) \gset ignored_
SELECT is(state('c'), 'waiting', 'one that runs after what is done already waits at once');
SELECT is(result_of(format($$ aurora.submit_job('after', run_after => ARRAY[%s], company => 'Bolt') $$, :a1)), format('22023 there is no job %s to run after', :a1), 'jobs of another company are not there');
SELECT is(result_of(format($$ aurora.submit_job('after', run_after => ARRAY[%s], company => 'Bolt') $$, id('c'))), format('22023 there is no job %s to run after', id('c')), 'live or done');
SELECT is(cancel('c'), 'cancelled', 'a job is cancelled');
SELECT is(result_of(format($$ aurora.submit_job('after', run_after => ARRAY[%s], company => 'Acme') $$, id('c'))), format('22023 job %s, which the job is to run after, was cancelled', id('c')), 'what was cancelled is no job to run after');
SELECT cancel('b later') \gset ignored_

-- A diamond with a shortcut, and something behind it.
SELECT submit('after', 'd1', 'company => ''Acme''') AS d1 \gset
SELECT submit('after', 'd2', format('run_after => ARRAY[%s], company => ''Acme''', :d1)) AS d2, submit('after', 'd3', format('run_after => ARRAY[%s], company => ''Acme''', :d1)) AS d3 \gset
SELECT submit('after', 'd4', format('run_after => ARRAY[%s, %s, %s], company => ''Acme''', :d1, :d2, :d3)) AS d4 \gset
SELECT submit('after', 'd5', format('run_after => ARRAY[%s], company => ''Acme''', :d4)) AS d5 \gset
SELECT is(result_of($$ cancel('d1') $$), 'cancelled', 'a job is cancelled on which others depend in several ways');
SELECT is(states('d_'), 'd1 cancelled, d2 cancelled, d3 cancelled, d4 cancelled, d5 cancelled', 'all that was to run after it is cancelled');
SELECT is((SELECT string_agg(error, ', ' ORDER BY job_id) FROM aurora.jobs WHERE payload ->> 'name' IN ('d1', 'd2', 'd5')),
          format('cancelled by postgres, job %s, which it was to run after, was cancelled, job %s, which it was to run after, was cancelled', :d1, :d4), 'each tells because of which');
SELECT is_empty('SELECT FROM aurora.job_dependency', 'and no dependency is left');
SELECT submit('after', 'e1', 'company => ''Acme''') AS e1 \gset
SELECT submit('after', 'e2', format('run_after => ARRAY[%s], company => ''Acme''', :e1)) AS e2 \gset
SELECT take('after') \gset ignored_
SELECT is(fails('e1', final => true), 'dead', 'what runs after a job');
SELECT is(state('e2'), 'blocked', 'that is dead stays blocked');
SELECT is(aurora.replay_job(:e1), 'waiting', 'until that is replayed');
SELECT is(take('after', 9), 'e1', 'and taken');
SELECT is(done('e1'), true, 'and done');
SELECT is(take('after', 9), 'e2', 'then it is taken');
SELECT is(cancel('e2'), 'cancelling', 'or, when somebody asks its taker to stop,');
SELECT submit('after', 'e3', format('run_after => ARRAY[%s], company => ''Acme''', :e2)) AS e3 \gset
SELECT is(fails('e2', 'stopped'), 'cancelled', 'is cancelled');
SELECT is(states('e_'), 'e1 done, e2 cancelled, e3 cancelled', 'with what was to run after it');
DO $$
DECLARE
    last bigint := submit('after', 'chain', 'company => ''Acme''');
BEGIN
    FOR i IN 1 .. 1500 LOOP
        last := aurora.submit_job('after', run_after => ARRAY[last], company => 'Acme', kind => 'link');
    END LOOP;
END
$$;
SELECT is(result_of($$ cancel('chain') $$), 'cancelled', 'a long chain can be cancelled');
SELECT is((SELECT count(*) FROM aurora.jobs WHERE kind = 'link' AND state = 'cancelled'), 1500::bigint, 'with all its links');
SELECT is_empty('SELECT FROM aurora.job j JOIN aurora.job_queue q USING (queue_id) WHERE q.name = ''after''', 'and nothing is left');

-- ---- concurrency keys ----

SELECT aurora.add_queue('keys') AS keys \gset
SELECT is(submit_many('keys', 'k', 4, company => 'Acme', concurrency_key => 'key'), 4::bigint, 'jobs share a concurrency key');
SELECT submit('keys', 'free', 'company => ''Acme'''), submit('keys', 'bolt', 'concurrency_key => ''key'', company => ''Bolt''') \gset ignored_
SELECT is((SELECT array_agg(t ORDER BY t) FROM regexp_split_to_table(take('keys', 9), ' ') t), ARRAY['bolt', 'free', 'k1'], 'one of them runs, and what has no key, or another company''s');
SELECT is(states('k_'), 'k1 running, k2 held, k3 held, k4 held', 'the others are held');
SELECT is(take('keys', 9), 'none', 'and not taken');
SELECT is(done('k1'), true, 'when it is done');
SELECT is(take('keys', 9), 'k2', 'the next one is');
SELECT is(fails('k2', retry_in => '1 hour'), 'scheduled', 'or when it fails');
SELECT is(take('keys', 9), 'k3', 'so that its key is free while it waits for the next attempt');
SELECT time_passes('keys', '2 hours') \gset ignored_
SELECT is(states('k_'), 'k1 done, k2 waiting, k3 waiting, k4 waiting', 'a lapsed lease frees the key, too');
SELECT is(take('keys', 1), 'k4', 'what was held keeps its place');
SELECT is((SELECT array_agg(t ORDER BY t) FROM regexp_split_to_table(take('keys', 9), ' ') t), ARRAY['bolt', 'free'], 'others with the key wait; and what ran without one is taken again');
SELECT is(cancel('k2'), 'cancelled', 'what is held can be cancelled');
SELECT is((SELECT running FROM aurora.job_concurrency WHERE company_id = :acme), 1, 'without freeing the key');
SELECT is(cancel('k4'), 'cancelling', 'the one that runs');
SELECT is(fails('k4'), 'cancelled', 'when it stops');
SELECT is(take('keys', 9), 'k3', 'lets the next go');
SELECT is(done('k3'), true, 'which is done');
SELECT is((SELECT running FROM aurora.job_concurrency WHERE company_id = :acme), 0, 'and leaves none running');
SELECT done('free'), done('bolt') \gset ignored_
SELECT aurora.set_concurrency('keys', 'three', 3, 'Acme') \gset ignored_
SELECT submit_many('keys', 't', 6, company => 'Acme', concurrency_key => 'three') \gset ignored_
SELECT is(take('keys', 9), 't1 t2 t3', 'set_concurrency() lets several run at once');
SELECT aurora.set_concurrency('keys', 'three', 4, 'Acme') \gset ignored_
SELECT is(take('keys', 9), 't4', 'or more at any time');
SELECT aurora.set_concurrency('keys', 'three', 2, 'Acme') \gset ignored_
SELECT is((SELECT count(*) FROM aurora.take_jobs('keys', 9, finished => ARRAY[id('t1'), id('t2')], attempts => ARRAY[1, 1])), 0::bigint, 'or fewer');
SELECT is(take('keys', 9), 'none', 'once so many have ended');
SELECT done('t3') \gset ignored_
SELECT is(take('keys', 9), 't5', 'that there is room');
SELECT done('t4'), done('t5') \gset ignored_
SELECT is(take('keys', 9), 't6', 'and all get their turn');
SELECT done('t6') \gset ignored_
SELECT is_empty('SELECT FROM aurora.job_concurrency WHERE running <> 0', 'none is counted that does not run');
-- A job that was let go may be cancelled before it is taken.
SELECT submit_many('keys', 'y', 3, company => 'Acme', concurrency_key => 'key') \gset ignored_
SELECT is(take('keys', 9), 'y1', 'of three with a key the first runs');
SELECT done('y1'), cancel('y2') \gset ignored_
SELECT is(take('keys', 9), 'y3', 'when the next is cancelled before it is taken, the one after it does');
SELECT done('y3') \gset ignored_
-- A dead job holds no key.
SELECT submit_many('keys', 'x', 2, company => 'Acme', concurrency_key => 'key') \gset ignored_
SELECT take('keys', 2) \gset ignored_
SELECT fails('x1', final => true) \gset ignored_
SELECT is(take('keys', 2), 'x2', 'a dead job frees its key');
SELECT done('x2'), cancel('x1') \gset ignored_

-- ---- cancelling ----

SELECT aurora.add_queue('cancel') AS cancel \gset
SELECT submit('cancel', 'waiting', 'company => ''Acme''') AS waiting, submit('cancel', 'scheduled', 'delay => ''1 hour'', company => ''Acme''') \gset ignored_
SELECT submit('cancel', 'blocked', format('run_after => ARRAY[%s], company => ''Acme''', id('scheduled'))) \gset ignored_
SELECT is(cancel(name), 'cancelled', 'a job is cancelled that is ' || name) FROM unnest(ARRAY['waiting', 'blocked', 'scheduled']) name;
SELECT is(take('cancel', 9), 'none', 'and not taken');
SELECT is((SELECT row(state, error, started_at, finished_at IS NOT NULL, attempt)::text FROM aurora.jobs WHERE job_id = id('waiting')), '(cancelled,"cancelled by postgres",,t,0)', 'it is in the archive with who did it');
SELECT is(cancel('waiting'), 'cancelled', 'what is cancelled stays so');
SELECT submit('cancel', 'running', 'company => ''Acme''') \gset ignored_
SELECT take('cancel') \gset ignored_
SELECT is(cancel('running', 'no longer wanted'), 'cancelling', 'the taker of one that runs is asked to stop');
SELECT is((SELECT row(state, cancel_requested_at IS NOT NULL, error)::text FROM aurora.jobs WHERE job_id = id('running')), '(running,t,"no longer wanted")', 'as is seen');
SELECT is((SELECT row(state, lease_until > now())::text FROM aurora.renew_lease(id('running'), 1)), '(cancelling,t)', 'and hears so when it renews');
SELECT is(cancel('running'), 'cancelling', 'asking twice is no more');
SELECT is(fails('running', NULL), 'cancelled', 'when it stops the job is cancelled');
SELECT is((SELECT row(state, taker, error)::text FROM aurora.jobs WHERE job_id = id('running')), '(cancelled,postgres,"cancelled by postgres")', 'with the reason');
SELECT submit('cancel', 'done', 'company => ''Acme''') \gset ignored_
SELECT take('cancel'), cancel('done') \gset ignored_
SELECT is(done('done', '"all the same"'), true, 'a taker that is done before it heard');
SELECT is((SELECT row(state, result, error)::text FROM aurora.jobs WHERE job_id = id('done')), '(done,"""all the same""",)', 'is done');
SELECT is(cancel('done'), 'done', 'and what is done is not cancelled');
SELECT submit('cancel', 'silent', 'company => ''Acme''') \gset ignored_
SELECT take('cancel'), cancel('silent') \gset ignored_
SELECT time_passes('cancel', '10 minutes') \gset ignored_
SELECT is(state('silent'), 'cancelled', 'when a taker is silent its job is cancelled as the lease runs out');
SELECT submit('cancel', 'dead', 'company => ''Acme''') \gset ignored_
SELECT take('cancel') \gset ignored_
SELECT fails('dead', 'it broke', final => true) \gset ignored_
SELECT is(cancel('dead', 'useless'), 'discarded', 'a dead job is discarded');
SELECT is((SELECT row(state, error)::text FROM aurora.jobs WHERE job_id = id('dead')), '(discarded,useless)', 'as the archive tells');
SELECT is(cancel('dead'), 'discarded', 'and stays so');
SELECT is(result_of('aurora.cancel_job(999999999)'), '42704 there is no job 999999999', 'a job that is not there cannot be cancelled');

-- ---- pausing and draining ----

SELECT aurora.add_queue('pause') AS pause \gset
SELECT submit('pause', 'p1', 'company => ''Acme'''), submit('pause', 'p2', 'company => ''Acme''') \gset ignored_
SELECT take('pause') \gset ignored_
SELECT aurora.pause_queue('pause') \gset ignored_
SELECT is(take('pause'), 'none', 'from a paused queue nothing is taken');
SELECT is((SELECT state FROM aurora.renew_lease(id('p1'), 1)), 'running', 'what runs goes on');
SELECT is((SELECT count(*) FROM aurora.take_jobs('pause', 3, finished => ARRAY[id('p1')], attempts => ARRAY[1])), 0::bigint, 'and is finished');
SELECT is(state('p1'), 'done', 'as ever');
SELECT submit('pause', 'p3', 'company => ''Acme''') \gset ignored_
SELECT is((SELECT row(waiting, paused, drained)::text FROM aurora.queue WHERE queue = 'pause' AND class = 'normal'), '(2,t,f)', 'jobs are accepted');
SELECT aurora.pause_queue('pause', false) \gset ignored_
SELECT is(take('pause', 3), 'p2 p3', 'later they are taken');
SELECT aurora.drain_queue('pause') \gset ignored_
SELECT is(result_of($$ aurora.submit_job('pause', company => 'Acme') $$), '55000 queue "pause" accepts no jobs', 'a drained queue accepts no jobs');
SELECT is(result_of($$ (SELECT count(*) FROM aurora.submit_jobs('pause', ARRAY['1']::jsonb[], company => 'Acme')) $$), '55000 queue "pause" accepts no jobs', 'nor several');
SELECT is(fails('p2', retry_in => '0'), 'waiting', 'but works off what it has');
SELECT is(take('pause'), 'p2', 'retries and all');
SELECT is(result_of($$ aurora.remove_queue('pause') $$), '55000 queue "pause" has 2 live jobs', 'a queue with jobs is not removed');
SELECT done('p2'), done('p3') \gset ignored_
SELECT aurora.drain_queue('pause', false) \gset ignored_
SELECT is(submit('pause', 'p4', 'company => ''Acme''') > 0, true, 'later it accepts jobs again');
CALL work_off('pause', NULL) \gset ignored_
SELECT is(result_of($$ aurora.remove_queue('pause') $$), '', 'an empty queue is removed');
SELECT is((SELECT string_agg(format('%s of %s', state, coalesce(queue, 'none')), ', ') FROM aurora.jobs WHERE payload ->> 'name' = 'p4'), 'done of none', 'the archive keeps its jobs');
SELECT is(aurora.add_queue('pause') > 0, true, 'another can have its name');
SELECT is((aurora.set_queue('pause', lease => '1 minute')).lease, interval '1 minute', 'set_queue() changes settings');
SELECT is((SELECT row(lease, max_attempts, retry_delay, retry_delay_max)::text FROM aurora.job_queue WHERE name = 'pause'), '(00:01:00,5,00:00:05,01:00:00)', 'and leaves what it is not given');
SELECT submit('pause', 'p5', 'company => ''Acme''') \gset ignored_
SELECT is((SELECT lease_until <= now() + interval '61 seconds' FROM aurora.take_jobs('pause')), true, 'the next taker has the new lease');
SELECT done('p5') \gset ignored_

-- ---- the order of classes ----

SELECT aurora.add_queue('classes') AS classes \gset
SELECT submit_many('classes', 'b', 3, 'batch', 'Acme'), submit_many('classes', 'n', 3, 'normal', 'Acme'), submit_many('classes', 'i', 3, 'interactive', 'Acme') \gset ignored_
CALL work_off('classes', NULL) \gset
SELECT is(:'names'::text, 'i1 i2 i3 n1 n2 n3 b1 b2 b3', 'of jobs as old as one another the more pressing are taken first');
SELECT submit_many('classes', 'n', 2, 'normal', 'Acme'), submit_many('classes', 'i', 2, 'interactive', 'Acme'), submit_many('classes', 'b', 1, 'batch', 'Acme') \gset ignored_
UPDATE aurora.job SET ready_at = ready_at - interval '59 seconds' WHERE class = 'normal' AND queue_id = :classes;
UPDATE aurora.job SET ready_at = ready_at - interval '3590 seconds' WHERE class = 'batch' AND queue_id = :classes;
CALL work_off('classes', NULL) \gset
SELECT is(:'names'::text, 'i1 i2 n1 n2 b1', 'also when the others have waited for nearly their slack');

-- Somebody always waits for something interactive; and somebody has waited for hours for the others.
CREATE TABLE claim (n int GENERATED ALWAYS AS IDENTITY, class text);
SELECT submit_many('classes', 'n', 30, 'normal', 'Acme'), submit_many('classes', 'b', 30, 'batch', 'Bolt'), submit_many('classes', 'i', 100, 'interactive', 'Acme') \gset ignored_
UPDATE aurora.job SET ready_at = now() - CASE class WHEN 'normal' THEN interval '2 hours' ELSE interval '2 hours 59 minutes 30 seconds' END
                                 + interval '1 minute' * substr(payload ->> 'name', 2)::int WHERE class <> 'interactive' AND queue_id = :classes;
DO $$
BEGIN
    FOR i IN 1 .. 80 LOOP
        INSERT INTO claim (class) SELECT class FROM aurora.take_jobs('classes');
        COMMIT;
    END LOOP;
END
$$;
SELECT is((SELECT count(*) FROM claim WHERE class <> 'interactive'), 20::bigint, 'those that have waited too long have one turn in four');
SELECT is((SELECT string_agg(left(class, 1), '' ORDER BY n) FROM claim WHERE class <> 'interactive'), repeat('bn', 10), 'and among them the one whose deadline is over for longest');
SELECT is_empty($$ SELECT FROM (SELECT count(*) FILTER (WHERE class = 'interactive') OVER (ORDER BY n ROWS 3 PRECEDING) AS i, n FROM claim) w WHERE n >= 4 AND i <> 3 $$, 'and in any four turns three are interactive');
TRUNCATE claim;
UPDATE aurora.job SET ready_at = ready_at - interval '1 day' WHERE class = 'interactive' AND queue_id = :classes AND state = 'waiting';
DO $$
BEGIN
    FOR i IN 1 .. 10 LOOP
        INSERT INTO claim (class) SELECT class FROM aurora.take_jobs('classes');
        COMMIT;
    END LOOP;
END
$$;
SELECT is((SELECT count(*) FROM claim WHERE class = 'interactive'), 10::bigint, 'when what is interactive has waited longest it has all turns');
SELECT count(aurora.cancel_job(job_id)) FROM aurora.jobs WHERE queue = 'classes' AND finished_at IS NULL \gset ignored_
UPDATE aurora.job SET lease_until = now() WHERE queue_id = :classes;
SELECT aurora.settle_queue(:classes) \gset ignored_

-- ---- companies take turns ----

SELECT aurora.add_queue('fair') AS fair \gset
-- How many have been taken when the last of the n jobs of a company is: claims in one's and in tens.
CREATE FUNCTION last_claim(queue text, company int, n int, at_once int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    taken record;
    claims int := 0;
    missing int := n;
BEGIN
    WHILE missing > 0 LOOP
        FOR taken IN SELECT * FROM aurora.take_jobs(queue, at_once) LOOP
            claims := claims + 1;
            missing := missing - (taken.company_id = company)::int;
            IF missing = 0 THEN
                RETURN claims;
            END IF;
        END LOOP;
        EXIT WHEN NOT FOUND;
    END LOOP;
    RETURN NULL;
END
$$;
SELECT submit_many('fair', 'big', 10000, company => 'Acme') \gset ignored_
SELECT submit_many('fair', 'small', 10, company => 'Bolt') \gset ignored_
SELECT cmp_ok(last_claim('fair', :bolt, 10), '<=', 20, 'ten jobs behind ten thousand of another company wait twice as long as alone at most');
SELECT count(*) FROM aurora.take_jobs('fair', 500) \gset ignored_
SELECT submit_many('fair', 'small', 10, company => 'Bolt') \gset ignored_
SELECT cmp_ok(last_claim('fair', :bolt, 10), '<=', 21, 'also when hundreds have been taken meanwhile');
DO $$
BEGIN
    FOR i IN 1 .. 10 LOOP
        PERFORM submit('fair', 'small', 'company => ''Bolt''');
        COMMIT;
    END LOOP;
END
$$;
SELECT cmp_ok(last_claim('fair', :bolt, 10, 7), '<=', 21, 'or they are submitted one by one, and taken by seven');
SELECT is((SELECT string_agg(t.payload ->> 'name', ' ') FROM aurora.take_jobs('fair', 3) t), (SELECT string_agg('big' || i, ' ') FROM generate_series(531, 533) i), 'a company''s jobs are taken in the order in which it submitted them');
-- Two and three companies with much to do have as many turns as one another.
SELECT aurora.add_company('Coil') AS coil \gset
SELECT submit_many('fair', 'bolt', 300, company => 'Bolt'), submit_many('fair', 'coil', 300, company => 'Coil') \gset ignored_
SELECT is((SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n FROM aurora.take_jobs('fair', 90) t GROUP BY company_id) n), '30 30 30', 'three companies with much to do have as many turns as one another');
SELECT is((SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n FROM aurora.take_jobs('fair', 90) t GROUP BY company_id) n), '30 30 30', 'and go on so');
-- A job that comes back takes its turn behind its company's others.
SELECT submit_many('fair', 'dear', 3, 'interactive', 'Coil') \gset ignored_
SELECT is(take('fair'), 'dear1', 'a job');
SELECT is(fails('dear1', retry_in => '0'), 'waiting', 'that is tried again');
SELECT is(take('fair', 3), 'dear2 dear3 dear1', 'comes behind the others of its company');

-- ---- what is shown ----

SELECT aurora.add_queue('shown') AS shown \gset
SELECT submit('shown', 's1', 'company => ''Acme''') \gset ignored_
SELECT submit('shown', 's2', 'company => ''Acme'''), submit('shown', 's3', 'company => ''Bolt'''), submit('shown', 's4', 'delay => ''1 hour'', company => ''Bolt'''),
       submit('shown', 's5', format('run_after => ARRAY[%s], company => ''Acme''', id('s1'))), submit('shown', 's6', 'class => ''batch'', company => ''Acme''') \gset ignored_
SELECT is((SELECT string_agg(q::text, ' ' ORDER BY class) FROM (SELECT class, waiting, running, scheduled, blocked, held, dead FROM aurora.queue WHERE queue = 'shown') q),
          '(interactive,0,0,0,0,0,0) (normal,3,0,1,1,0,0) (batch,1,0,0,0,0,0)', 'the view shows how many of each state there are, by class');
SELECT is((SELECT string_agg(concat_ws(' ', class, oldest >= '0', eta, taken_per_minute, company), ', ' ORDER BY class) FROM aurora.queue WHERE queue = 'shown'),
          'interactive 00:00:00, normal t, batch t', 'how long the oldest has waited; and when nobody takes, not when one would start');
SELECT is((SELECT string_agg(ahead::text, ' ' ORDER BY job_id) FROM aurora.jobs j, aurora.job_position(j.job_id) WHERE queue = 'shown' AND state = 'waiting'), '0 2 1 0', 'a job has a position in its class');
SELECT is((SELECT row(p.*)::text FROM aurora.job_position(id('s4')) p), '(,)', 'but not while it does not wait');
SELECT is(result_of('aurora.job_position(999999999)'), '42704 there is no job 999999999', 'nor when it is not there');
SELECT take('shown') \gset ignored_
SELECT is((SELECT row(p.*)::text FROM aurora.job_position(id('s3')) p), '(0,)', 'it comes nearer');
INSERT INTO aurora.job_minute (queue_id, class, minute, taken) VALUES (:shown, 'normal', date_trunc('minute', now() - interval '1 minute'), 60);
SELECT is((SELECT taken_per_minute BETWEEN 30 AND 60 AND eta BETWEEN interval '1 second' AND interval '4 seconds' FROM aurora.queue WHERE queue = 'shown' AND class = 'normal'), true, 'counts per minute tell how fast jobs are taken, and when one would start');
SELECT is((SELECT eta BETWEEN interval '1 second' AND interval '2 seconds' FROM aurora.job_position(id('s3'))), true, 'also one that waits');
SELECT is((SELECT string_agg(name, ' ') FROM (SELECT DISTINCT queue AS name FROM aurora.queue ORDER BY 1) q), 'after cancel classes default fair keys other patient pause retries shown', 'all queues are shown');
SELECT fails('s1', final => true) \gset ignored_
SELECT is((SELECT row(component, state, detail)::text FROM aurora.health_jobs() h(component, state, detail)), '(jobs,degraded,"1 jobs are dead: see aurora.jobs")', 'health tells of dead jobs');
SELECT cancel('s1') \gset ignored_
SELECT is((SELECT row(component, state, detail)::text FROM aurora.health_jobs() h(component, state, detail)), '(jobs,up,)', 'and is well without');

-- ---- the archive ----

SELECT is((SELECT count(DISTINCT slot) FROM aurora.job_archive), 1::bigint, 'jobs that end go to one place of the ring');
SELECT is(aurora.rotate_job_archive(now()), 0::bigint, 'the first turn begins the ring');
SELECT is(aurora.rotate_job_archive(now() + interval '4 days'), 0::bigint, 'before a seventh of the retention is over it does nothing');
SELECT is((SELECT string_agg(slot::text, ' ') FROM aurora.job_archive_ring), '0', 'so that one place is filled');
SELECT aurora.rotate_job_archive(now() + interval '30 days' / 7 + interval '1 minute') AS ignored \gset
SELECT submit('other', 'in 1', 'company => ''Acme''') \gset ignored_
SELECT cancel('in 1') \gset ignored_
SELECT is((SELECT slot FROM aurora.job_archive WHERE job_id = id('in 1')), 1, 'then the next place is filled');
SELECT count(*) AS in_0 FROM aurora.job_archive_0 \gset
SELECT cmp_ok(:in_0, '>', 1000, 'what ended before is kept');
SELECT count(aurora.rotate_job_archive(now() + i * interval '5 days')) FROM generate_series(2, 7) i \gset ignored_
SELECT is((SELECT string_agg(slot::text, ' ' ORDER BY filled_from) FROM aurora.job_archive_ring), '0 1 2 3 4 5 6 7', 'until all places have been filled');
SELECT is((SELECT count(*) FROM aurora.job_archive_0), :in_0::bigint, 'the first is still there, for the whole of the retention');
ANALYZE aurora.job_archive_0;
SELECT is(aurora.rotate_job_archive(now() + interval '41 days'), :in_0::bigint, 'then it is emptied and filled again');
SELECT is((SELECT string_agg(DISTINCT payload ->> 'name', ' ' ORDER BY payload ->> 'name') FROM aurora.jobs WHERE finished_at IS NOT NULL), 'in 1', 'only what ended later is left');
SELECT is(cancel('in 1'), 'cancelled', 'which is known');
SELECT is(result_of('aurora.finish_job(1, 1)'), '42704 there is no job 1', 'while what is forgotten is not');
SELECT is_empty('SELECT FROM aurora.refused_results', 'refused results are forgotten with it');
SELECT is_empty('SELECT FROM aurora.job_minute', 'and counts');

-- ---- savepoints and transactions ----

SELECT aurora.add_queue('undone') AS undone \gset
SELECT submit('undone', 'v1', 'company => ''Acme''') \gset ignored_
BEGIN;
SELECT is(take('undone'), 'v1', 'a claim');
ROLLBACK;
SELECT is((SELECT row(state, attempt, taker)::text FROM aurora.jobs WHERE job_id = id('v1')), '(waiting,0,)', 'that is rolled back was none');
SELECT is(take('undone'), 'v1', 'and the job can be taken at once');
BEGIN;
SELECT is(done('v1'), true, 'an end');
ROLLBACK;
SELECT is(state('v1'), 'running', 'that is rolled back was none either');
SELECT done('v1') \gset ignored_
SELECT submit('undone', 'locked', 'company => ''Acme'', concurrency_key => ''k''') \gset ignored_
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM (SELECT FROM aurora.job WHERE job_id = id('locked') FOR NO KEY UPDATE) l \gset ignored_
RELEASE a;
SAVEPOINT b;
SELECT is(take('undone'), 'locked', 'a job can be claimed that the transaction has locked before, after a savepoint');
RELEASE b;
COMMIT;
SELECT done('locked') \gset ignored_
SELECT is_empty('SELECT FROM aurora.job_concurrency WHERE running <> 0', 'and its key is free when it is done');
SELECT submit_many('undone', 'w', 3, company => 'Acme') \gset ignored_
BEGIN;
SELECT is(take('undone'), 'w1', 'in a transaction');
SAVEPOINT s;
SELECT is(take('undone', 2), 'w2 w3', 'what is claimed after a savepoint');
ROLLBACK TO s;
SELECT is(take('undone'), 'w2', 'can be claimed again when that is rolled back');
SAVEPOINT s;
SELECT done('w1') \gset ignored_
ROLLBACK TO s;
RELEASE s;
COMMIT;
SELECT is(states('w_'), 'w1 running, w2 running, w3 waiting', 'what is committed is what was not rolled back');
SELECT is(take('undone', 9), 'w3', 'the rest is taken');
SELECT count(done(w)) FROM unnest(ARRAY['w1', 'w2', 'w3']) w \gset ignored_
SELECT submit('undone', 'y', 'company => ''Acme'', delay => ''1 hour''') \gset ignored_
UPDATE aurora.job SET ready_at = now() WHERE job_id = id('y');
SELECT aurora.queue_due(:undone, now()) \gset ignored_
BEGIN;
SAVEPOINT s;
SELECT is(take('undone'), 'y', 'what has fallen due is claimed');
ROLLBACK TO s;
COMMIT;
SELECT is(take('undone'), 'y', 'and falls due again when that is rolled back to a savepoint');
SELECT submit('undone', 'c1', 'company => ''Acme'''), submit('undone', 'c2', 'company => ''Acme''') \gset ignored_
BEGIN;
SELECT cancel('c1') \gset ignored_
SELECT is(take('undone', 9), 'c2', 'a transaction that cancels a job reads past it');
ROLLBACK;
SELECT is(take('undone', 9), 'c1 c2', 'and when it is rolled back the job is found again');
SELECT done('c1') \gset ignored_
SELECT done('c2') \gset ignored_
SELECT fails('y', retry_in => '1 hour') \gset ignored_
UPDATE aurora.job SET ready_at = now() WHERE job_id = id('y');
SELECT aurora.queue_due(:undone, now()) \gset ignored_
BEGIN;
SELECT is(take('undone'), 'y', 'or with the whole');
ROLLBACK;
SELECT is(take('undone'), 'y', 'transaction');
SELECT done('y') \gset ignored_
BEGIN;
SAVEPOINT s;
SELECT submit('undone', 'z', 'company => ''Acme''') \gset ignored_
ROLLBACK TO s;
SELECT submit('undone', 'zz', 'company => ''Acme''') \gset ignored_
COMMIT;
SELECT is(take('undone', 9), 'zz', 'what is submitted after a savepoint that is rolled back was not');
SELECT done('zz') \gset ignored_

BEGIN READ ONLY;
SELECT is(result_of(call), '25006 ' || message, 'a read-only transaction does not ' || title)
    FROM (VALUES ($$ aurora.submit_job('undone', company => 'Acme') $$, 'cannot execute nextval() in a read-only transaction', 'submit'),
                 ($$ (SELECT count(*) FROM aurora.take_jobs('undone')) $$, 'cannot execute take_jobs() in a read-only transaction', 'take'),
                 ($$ aurora.finish_job(1, 1) $$, 'cannot execute finish_job() in a read-only transaction', 'finish')) c (call, message, title);
ROLLBACK;

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM aurora.jobs \gset ignored_
SELECT submit('undone', 'rr', 'company => ''Acme''') \gset ignored_
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is(take('undone'), 'rr', 'stricter transactions submit and take');
SELECT is(done('rr'), true, 'and finish');
COMMIT;
SELECT is(state('rr'), 'done', 'jobs');

SELECT submit('undone', 'p1', 'company => ''Acme''') \gset ignored_
BEGIN;
SELECT take('undone') \gset
PREPARE TRANSACTION 'regress_jobs claim';
SELECT is(take('undone'), 'none', format('a claim, of %s, can be prepared, and nobody else has it', :'take'));
ROLLBACK PREPARED 'regress_jobs claim';
SELECT is(take('undone'), 'p1', 'when it is rolled back it can be taken');
BEGIN;
SELECT done('p1') \gset ignored_
PREPARE TRANSACTION 'regress_jobs end';
COMMIT PREPARED 'regress_jobs end';
SELECT is(state('p1'), 'done', 'an end can be prepared, too');

-- ---- a company is removed, and the extension ----

SELECT aurora.add_queue('own', 'Bolt') AS own \gset
SELECT submit('own', 'o1', 'company => ''Bolt'''), submit('own', 'o2', 'company => ''Bolt'', concurrency_key => ''k''') \gset ignored_
SELECT submit('own', 'o3', format('company => ''Bolt'', run_after => ARRAY[%s]', id('o1'))), submit('undone', 'of Acme', 'company => ''Acme''') \gset ignored_
SELECT count(*) FROM aurora.take_jobs('own', 2, company => 'Bolt') \gset ignored_
SELECT done('o1') \gset ignored_
SELECT cmp_ok(aurora.remove_company('Bolt'), '>', 5::bigint, 'a company can be removed with its jobs and queues');
SELECT is_empty(format('SELECT FROM aurora.%I WHERE company_id = (SELECT %s)', t, :bolt), 'nothing of it is left in ' || t)
    FROM unnest(ARRAY['job', 'job_archive', 'job_queue', 'job_dependency', 'job_concurrency', 'job_refused_result']) t;
SELECT is(take('undone', 9), 'of Acme', 'what is another''s is taken');
DROP EXTENSION aurora;
SELECT is_empty($$ SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'aurora' $$, 'DROP EXTENSION leaves no table');
CREATE EXTENSION aurora;
SELECT is(submit('default', 'anew') > 0, true, 'when it is created again jobs are accepted');
SELECT is(take('default', 9), 'anew', 'and taken');
SELECT is(done('anew'), true, 'and finished');
SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_jobs;
