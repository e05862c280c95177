\set ECHO none
-- What the job queue is given that it cannot do: each is refused with a SQLSTATE and a message that tells
-- why, and changes nothing. In a database of its own.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_jobs_input;
CREATE DATABASE regress_jobs_input;
\connect regress_jobs_input
SET client_min_messages = error;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;

SELECT plan(155);

-- What an expression gives, or "SQLSTATE message" of the error that it raises.
CREATE FUNCTION pg_temp.result_of(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
CREATE FUNCTION pg_temp.state_of(expression text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN r ~ '^[0-9A-Z]{5} ' THEN left(r, 5) ELSE 'no error' END FROM pg_temp.result_of(expression) r
$$;
SELECT aurora.add_company('Acme') AS acme, aurora.add_company('Bolt') AS bolt, aurora.add_queue('q') AS q, aurora.add_queue('own', 'Acme') AS own \gset

-- ---- submitting ----

SELECT is(pg_temp.result_of(format('aurora.submit_job(%s)', arguments)), error, 'refused: ' || title)
    FROM (VALUES ($$ 'nowhere', company => 'Acme' $$, '22023 there is no queue "nowhere"', 'a queue that is not there'),
                 ($$ '', company => 'Acme' $$, '22023 there is no queue ""', 'a queue without a name'),
                 ($$ NULL, company => 'Acme' $$, '22004 a job''s queue may not be null', 'no queue'),
                 ($$ 'q', NULL, company => 'Acme' $$, '22004 a job''s payload may not be null', 'no payload'),
                 ($$ 'q', class => 'urgent', company => 'Acme' $$, '22023 there is no class of jobs "urgent"', 'a class that is not there'),
                 ($$ 'q', class => 'Normal', company => 'Acme' $$, '22023 there is no class of jobs "Normal"', 'one in other letters'),
                 ($$ 'q', class => '', company => 'Acme' $$, '22023 there is no class of jobs ""', 'an empty one'),
                 ($$ 'q', company => 'Coil' $$, '22023 there is no company "Coil" that the caller belongs to', 'a company that is not there'),
                 ($$ 'q', company => '' $$, '22023 there is no company "" that the caller belongs to', 'a company without a name'),
                 ($$ 'q' $$, '22023 which company is meant is not clear', 'no company where there are several'),
                 ($$ 'own', company => 'Bolt' $$, '22023 there is no queue "own"', 'another company''s queue'),
                 ($$ 'q', delay => '-1 second', company => 'Acme' $$, '22023 a job''s delay may not be negative', 'a negative delay'),
                 ($$ 'q', delay => '-1 microsecond', company => 'Acme' $$, '22023 a job''s delay may not be negative', 'one that is hardly negative'),
                 ($$ 'q', delay => '1 day -25 hours', company => 'Acme' $$, '22023 a job''s delay may not be negative', 'one that is negative together'),
                 ($$ 'q', delay => '1 s', run_at => now(), company => 'Acme' $$, '22023 a job has a delay or a time to run at, not both', 'a delay and a time'),
                 ($$ 'q', run_at => 'infinity', company => 'Acme' $$, '22023 a job''s time to run may not be infinite', 'a time that never comes'),
                 ($$ 'q', run_at => '-infinity', company => 'Acme' $$, '22023 a job''s time to run may not be infinite', 'a time before all others'),
                 ($$ 'q', delay => '300000 years', company => 'Acme' $$, '22008 timestamp out of range', 'a delay past all times'),
                 ($$ 'q', max_attempts => 0, company => 'Acme' $$, '22023 a job is tried 1 to 1000 times', 'no attempts'),
                 ($$ 'q', max_attempts => -1, company => 'Acme' $$, '22023 a job is tried 1 to 1000 times', 'fewer'),
                 ($$ 'q', max_attempts => 1001, company => 'Acme' $$, '22023 a job is tried 1 to 1000 times', 'too many'),
                 ($$ 'q', kind => '', company => 'Acme' $$, '22023 a job''s kind has 1 to 200 characters', 'an empty kind'),
                 ($$ 'q', kind => repeat('ü', 201), company => 'Acme' $$, '22023 a job''s kind has 1 to 200 characters', 'too long a kind'),
                 ($$ 'q', kind => E'a\nb', company => 'Acme' $$, '22023 a job''s kind may have no control characters', 'a kind of two lines'),
                 ($$ 'q', kind => E'a\x7f', company => 'Acme' $$, '22023 a job''s kind may have no control characters', 'a kind with a deleted character'),
                 ($$ 'q', unique_key => '', company => 'Acme' $$, '22023 a job''s unique key has 1 to 200 characters', 'an empty unique key'),
                 ($$ 'q', unique_key => repeat('k', 201), company => 'Acme' $$, '22023 a job''s unique key has 1 to 200 characters', 'too long a unique key'),
                 ($$ 'q', unique_key => E'\t', company => 'Acme' $$, '22023 a job''s unique key may have no control characters', 'a unique key of a tabulator'),
                 ($$ 'q', concurrency_key => '', company => 'Acme' $$, '22023 a job''s concurrency key has 1 to 200 characters', 'an empty concurrency key'),
                 ($$ 'q', concurrency_key => repeat('k', 1000000), company => 'Acme' $$, '22023 a job''s concurrency key has 1 to 200 characters', 'a million characters of one'),
                 ($$ 'q', concurrency_key => E'\x1b[2J', company => 'Acme' $$, '22023 a job''s concurrency key may have no control characters', 'what would clear a terminal'),
                 ($$ 'q', run_after => ARRAY[1, NULL], company => 'Acme' $$, '22023 a job runs after at most 1000 others, none of them null', 'nothing to run after'),
                 ($$ 'q', run_after => ARRAY[[1, 2], [3, 4]], company => 'Acme' $$, '22023 a job runs after at most 1000 others, none of them null', 'a square to run after'),
                 ($$ 'q', run_after => ARRAY(SELECT generate_series(1, 1001)::bigint), company => 'Acme' $$, '22023 a job runs after at most 1000 others, none of them null', 'too many to run after'),
                 ($$ 'q', run_after => ARRAY[-1], company => 'Acme' $$, '22023 there is no job -1 to run after', 'a job that is not there to run after'),
                 ($$ 'q', to_jsonb(repeat('x', 1048577)), company => 'Acme' $$, '54000 the job''s payload is too large', 'a payload over a megabyte'),
                 ($$ 'q', to_jsonb(repeat('x', 100000000)), company => 'Acme' $$, '54000 the job''s payload is too large', 'a hundred of them'),
                 ($$ 'q', to_jsonb(repeat('x', 1048577)), unique_key => 'k', company => 'Acme' $$, '54000 the job''s payload is too large', 'one with a key, too')
         ) c (arguments, error, title);
SELECT is_empty('SELECT FROM aurora.job', 'nothing of this is there');
SELECT isnt(pg_temp.state_of(format('aurora.submit_job(%s)', arguments)), '22023', 'accepted: ' || title)
    FROM (VALUES ($$ 'q', to_jsonb(repeat('x', 1048500)), company => 'Acme' $$, 'a payload of nearly a megabyte'),
                 ($$ 'q', 'null', company => 'Acme' $$, 'null as JSON'), ($$ 'q', '[]', company => 'Acme' $$, 'an empty array'),
                 ($$ 'q', class => NULL, company => 'Acme' $$, 'no class'), ($$ 'q', delay => '0', company => 'Acme' $$, 'no delay'),
                 ($$ 'q', kind => repeat('ü', 200), company => 'Acme' $$, '200 letters of two bytes'), ($$ 'q', unique_key => repeat('🔑', 200), company => 'Acme' $$, 'or of four'),
                 ($$ 'q', kind => $k$ ' " \ $1 %s {} ; -- $k$, company => 'Acme' $$, 'punctuation'), ($$ 'q', run_after => '{}', company => 'Acme' $$, 'nothing to run after'),
                 ($$ 'q', max_attempts => 1000, company => 'Acme' $$, 'as many attempts as may be')) c (arguments, title);
SELECT is((SELECT count(*) FROM aurora.job), 10::bigint, 'all these are there');
SELECT count(aurora.cancel_job(job_id)) FROM aurora.job \gset ignored_

SELECT is(pg_temp.result_of(format('(SELECT count(*) FROM aurora.submit_jobs(%s))', arguments)), error, 'of several refused: ' || title)
    FROM (VALUES ($$ 'q', NULL, company => 'Acme' $$, '22004 the jobs'' payloads may not be null', 'no payloads'),
                 ($$ 'q', ARRAY['1', NULL]::jsonb[], company => 'Acme' $$, '22004 a job''s payload may not be null', 'one that has none'),
                 ($$ 'q', ARRAY(SELECT '1'::jsonb FROM generate_series(1, 10001)), company => 'Acme' $$, '54000 at most 10000 jobs are submitted at once', 'too many'),
                 ($$ 'q', ARRAY['1', to_jsonb(repeat('x', 1048577))]::jsonb[], company => 'Acme' $$, '54000 the job''s payload is too large', 'one that is too large'),
                 ($$ 'nowhere', ARRAY['1']::jsonb[], company => 'Acme' $$, '22023 there is no queue "nowhere"', 'a queue that is not there'),
                 ($$ 'q', ARRAY['1']::jsonb[], 'urgent', company => 'Acme' $$, '22023 there is no class of jobs "urgent"', 'a class that is not there'),
                 ($$ 'q', ARRAY['1']::jsonb[], delay => '-1 s', company => 'Acme' $$, '22023 a job''s delay may not be negative', 'a negative delay'),
                 ($$ 'q', ARRAY['1', '2']::jsonb[], run_after => ARRAY[-1], company => 'Acme' $$, '22023 there is no job -1 to run after', 'a job that is not there to run after')) c (arguments, error, title);
SELECT is((SELECT count(*) FROM aurora.job), 0::bigint, 'none of them is there');

-- ---- taking ----

SELECT aurora.submit_job('q', company => 'Acme') AS job \gset
SELECT is(pg_temp.result_of(format('(SELECT count(*) FROM aurora.take_jobs(%s))', arguments)), error, 'taking is refused: ' || title)
    FROM (VALUES ($$ 'nowhere' $$, '22023 there is no queue "nowhere"', 'a queue that is not there'), ($$ NULL $$, '22004 the queue may not be null', 'no queue'),
                 ($$ 'q', company => 'Coil' $$, '22023 there is no company "Coil" that the caller belongs to', 'a company that is not there'),
                 ($$ 'q', -1 $$, '22023 0 to 10000 jobs are taken at once', 'fewer than none'), ($$ 'q', 10001 $$, '22023 0 to 10000 jobs are taken at once', 'too many'),
                 ($$ 'q', lease => '0' $$, '22023 a lease lasts 1 second to 7 days', 'no lease'), ($$ 'q', lease => '-1 hour' $$, '22023 a lease lasts 1 second to 7 days', 'a negative one'),
                 ($$ 'q', lease => '0.999 seconds' $$, '22023 a lease lasts 1 second to 7 days', 'one that is too short'), ($$ 'q', lease => '7 days 1 microsecond' $$, '22023 a lease lasts 1 second to 7 days', 'or too long'),
                 ($$ 'q', lease => '178000000 years' $$, '22023 a lease lasts 1 second to 7 days', 'much too long'),
                 ($$ 'q', taker => '' $$, '22023 a job''s taker has 1 to 200 characters', 'a taker without a name'), ($$ 'q', taker => repeat('x', 201) $$, '22023 a job''s taker has 1 to 200 characters', 'with too long a one'),
                 ($$ 'q', taker => E'a\rb' $$, '22023 a job''s taker may have no control characters', 'or with control characters'),
                 ($$ 'q', finished => ARRAY[1] $$, '22023 there must be as many attempts, and results if any, as finished jobs', 'finished jobs without attempts'),
                 ($$ 'q', finished => ARRAY[1], attempts => '{}' $$, '22023 there must be as many attempts, and results if any, as finished jobs', 'with none'),
                 ($$ 'q', finished => ARRAY[1, 2], attempts => ARRAY[1] $$, '22023 there must be as many attempts, and results if any, as finished jobs', 'with fewer'),
                 ($$ 'q', finished => ARRAY[1], attempts => ARRAY[1, 2] $$, '22023 there must be as many attempts, and results if any, as finished jobs', 'with more'),
                 ($$ 'q', finished => ARRAY[1], attempts => ARRAY[1], results => ARRAY['1', '2']::jsonb[] $$, '22023 there must be as many attempts, and results if any, as finished jobs', 'with more results'),
                 ($$ 'q', finished => ARRAY[1], attempts => ARRAY[1], results => '{}' $$, '22023 there must be as many attempts, and results if any, as finished jobs', 'with an empty array of them'),
                 ($$ 'q', finished => ARRAY[NULL]::bigint[], attempts => ARRAY[1] $$, '22004 a job''s number and attempt may not be null', 'a finished job without a number'),
                 ($$ 'q', finished => ARRAY[1], attempts => ARRAY[NULL]::int[] $$, '22004 a job''s number and attempt may not be null', 'or an attempt'),
                 ($$ 'q', finished => ARRAY[999999], attempts => ARRAY[1] $$, '42704 there is no job 999999', 'a finished job that is not there')) c (arguments, error, title);
SELECT is((SELECT row(state, attempt)::text FROM aurora.jobs WHERE job_id = :job), '(waiting,0)', 'nothing is taken');
SELECT is((SELECT count(*) FROM aurora.take_jobs('q', 0)), 0::bigint, 'none may be taken');
SELECT is((SELECT count(*) FROM aurora.take_jobs('q', 0, finished => '{}')), 0::bigint, 'or finished');
SELECT is((SELECT count(*) FROM aurora.take_jobs('q', NULL, NULL, NULL, NULL, NULL, NULL, NULL)), 1::bigint, 'nulls are as nothing given: one is taken');
SELECT is((SELECT taker FROM aurora.jobs WHERE job_id = :job), 'postgres', 'by the role');

-- ---- finishing, failing, renewing ----

SELECT is(pg_temp.result_of(format(call, :job)), error, 'refused: ' || title)
    FROM (VALUES ('aurora.finish_job(NULL, 1)', '22004 a job''s number and attempt may not be null', 'finishing no job'), ('aurora.finish_job(%s, NULL)', '22004 a job''s number and attempt may not be null', 'or no attempt'),
                 ('aurora.finish_job(999999, 1)', '42704 there is no job 999999', 'finishing a job that is not there'), ('aurora.finish_job(-9223372036854775808, 1)', '42704 there is no job -9223372036854775808', 'or cannot be'),
                 ('aurora.fail_job(NULL, 1)', '22004 a job''s number and attempt may not be null', 'failing no job'), ('aurora.fail_job(%s, NULL)', '22004 a job''s number and attempt may not be null', 'or no attempt'),
                 ('aurora.fail_job(999999, 1)', '42704 there is no job 999999', 'failing a job that is not there'),
                 ($$ aurora.fail_job(%s, 1, retry_in => '-1 s') $$, '22023 a job is retried in 0 to 30 days', 'a retry in the past'), ($$ aurora.fail_job(%s, 1, retry_in => '31 days') $$, '22023 a job is retried in 0 to 30 days', 'or too far ahead'),
                 ($$ aurora.renew_lease(%s, 1, '0') $$, '22023 a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters', 'no lease'),
                 ($$ aurora.renew_lease(%s, 1, '8 days') $$, '22023 a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters', 'too long a lease'),
                 ($$ aurora.renew_lease(%s, 1, progress => 1.01) $$, '22023 a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters', 'more than all'),
                 ($$ aurora.renew_lease(%s, 1, progress => -0.1) $$, '22023 a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters', 'less than nothing'),
                 ($$ aurora.renew_lease(%s, 1, progress => 'nan') $$, '22023 a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters', 'what is no number'),
                 ($$ aurora.renew_lease(%s, 1, note => repeat('x', 1001)) $$, '22023 a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters', 'too long a note'),
                 ('aurora.cancel_job(999999)', '42704 there is no job 999999', 'cancelling a job that is not there'), ('aurora.cancel_job(NULL)', '22004 a job''s number may not be null', 'or none'),
                 ('aurora.replay_job(999999)', '42704 there is no job 999999', 'replaying a job that is not there'), ('aurora.replay_job(NULL)', '22004 a job''s number may not be null', 'or none'),
                 ($$ aurora.replay_jobs('nowhere') $$, '22023 there is no queue "nowhere"', 'replaying a queue that is not there'), ('aurora.replay_jobs(NULL)', '22004 the queue may not be null', 'or none'),
                 ('aurora.job_position(NULL)', '22004 a job''s number may not be null', 'the position of none')) c (call, error, title);
SELECT is((SELECT row(state, attempt, error)::text FROM aurora.jobs WHERE job_id = :job), '(running,1,)', 'the job is as it was');
SELECT is((SELECT row(state, lease_until)::text FROM aurora.renew_lease(id, attempt)), '(lost,)', 'nobody has ' || title)
    FROM (VALUES (999999::bigint, 1, 'a job that is not there'), (NULL, 1, 'none'), (:job, 2, 'the next attempt'), (:job, 0, 'the one before'), (:job, NULL, 'no attempt')) c (id, attempt, title);
SELECT is(aurora.finish_job(:job, 2, '"early"'), false, 'an attempt that was not made is refused');
SELECT is(aurora.fail_job(:job, 0), 'refused', 'also when it fails');
SELECT is((SELECT count(*) FROM aurora.refused_results), 2::bigint, 'and kept aside');
SELECT is(aurora.fail_job(:job, 1, repeat('x', 1000000), final => true), 'dead', 'an error may be long');
SELECT is((SELECT length(error) FROM aurora.jobs WHERE job_id = :job), 10000, 'and is cut');
SELECT is(aurora.cancel_job(:job, repeat('x', 1000000)), 'discarded', 'so may a reason');
SELECT is((SELECT length(error) FROM aurora.jobs WHERE job_id = :job), 1000, 'which is cut, too');

-- ---- queues ----

SELECT is(pg_temp.result_of('aurora.' || call), error, 'refused: ' || title)
    FROM (VALUES ($$ add_queue('q') $$, '42710 there is a queue "q" already', 'a second queue of the same name'), ($$ add_queue('own', 'Acme') $$, '42710 there is a queue "own" already', 'of a company, too'),
                 ($$ add_queue('x', 'Coil') $$, '22023 there is no company "Coil" that the caller belongs to', 'a queue of a company that is not there'),
                 ($$ remove_queue('nowhere') $$, '22023 there is no queue "nowhere"', 'removing a queue that is not there'), ($$ pause_queue('nowhere') $$, '22023 there is no queue "nowhere"', 'pausing one'),
                 ($$ drain_queue('nowhere') $$, '22023 there is no queue "nowhere"', 'draining one'), ($$ set_queue('nowhere') $$, '22023 there is no queue "nowhere"', 'setting one'),
                 ($$ set_concurrency('nowhere', 'k', 2, 'Acme') $$, '22023 there is no queue "nowhere"', 'keys of one'), ($$ pause_queue(NULL) $$, '22004 the queue may not be null', 'pausing none'),
                 ($$ set_concurrency('q', 'k', 2, 'Coil') $$, '22023 there is no company "Coil" that the caller belongs to', 'keys of a company that is not there')) c (call, error, title);
SELECT is(pg_temp.state_of('aurora.' || call), state, format('%s: %s', state, title))
    FROM (VALUES ($$ add_queue(NULL) $$, '23502', 'a queue without a name'), ($$ add_queue('') $$, '23514', 'an empty name'), ($$ add_queue('a b') $$, '23514', 'a name with a blank'), ($$ add_queue('Ä') $$, '23514', 'with a letter of another alphabet'),
                 ($$ add_queue(E'a\nb') $$, '23514', 'of two lines'), ($$ add_queue(repeat('x', 101)) $$, '23514', 'of more than 100 characters'), ($$ add_queue('x', lease => '0') $$, '23514', 'no lease'),
                 ($$ add_queue('x', lease => '8 days') $$, '23514', 'too long a lease'), ($$ add_queue('x', max_attempts => 0) $$, '23514', 'no attempts'), ($$ add_queue('x', max_attempts => 1001) $$, '23514', 'too many attempts'),
                 ($$ add_queue('x', retry_delay => '-1 s') $$, '23514', 'a negative delay'), ($$ add_queue('x', retry_delay => '2 h') $$, '23514', 'one that is longer than the longest'),
                 ($$ add_queue('x', retry_delay_max => '31 days') $$, '23514', 'a longest that is too long'), ($$ set_queue('q', lease => '0') $$, '23514', 'setting no lease'), ($$ set_queue('q', retry_delay => '2 h') $$, '23514', 'setting too long a delay'),
                 ($$ set_concurrency('q', 'k', 0, 'Acme') $$, '23514', 'none at once'), ($$ set_concurrency('q', 'k', 100001, 'Acme') $$, '23514', 'too many at once'),
                 ($$ set_concurrency('q', NULL, 1, 'Acme') $$, '22004', 'no key'), ($$ set_concurrency('q', 'k', NULL, 'Acme') $$, '22004', 'no number'),
                 ($$ set_concurrency('q', '', 2, 'Acme') $$, '22023', 'an empty key'), ($$ set_concurrency('q', repeat('k', 201), 2, 'Acme') $$, '22023', 'too long a key'), ($$ set_concurrency('q', E'a\nb', 2, 'Acme') $$, '22023', 'a key of two lines')) c (call, state, title);
SELECT is((SELECT string_agg(name, ' ' ORDER BY queue_id) FROM aurora.job_queue), 'q own', 'the queues are as they were');
SELECT is(aurora.add_queue('A.b-c:d_9') > 0, true, 'a name may have letters, digits and a few signs');

-- ---- waiting ----

CREATE PROCEDURE pg_temp.wait_in(block text, INOUT state text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE block;
    state := 'no error';
EXCEPTION WHEN OTHERS THEN
    state := SQLSTATE || ' ' || SQLERRM;
END
$$;
SET client_min_messages = warning;
\set VERBOSITY terse
\set ON_ERROR_STOP 0
CALL aurora.wait_jobs('nowhere');
CALL aurora.wait_jobs(NULL);
CALL aurora.wait_jobs('q', NULL);
CALL aurora.wait_jobs('q', '-1 s');
CALL aurora.wait_jobs('q', '25 hours');
CALL aurora.wait_jobs('q', company => 'Coil');
CALL aurora.wait_jobs('own', company => 'Bolt');
BEGIN;
CALL aurora.wait_jobs('q', '1 s');
ROLLBACK;
CALL aurora.wait_jobs('q', '0');
CALL aurora.wait_jobs('q', '10 ms');
CALL pg_temp.wait_in($$ CALL aurora.wait_jobs('q', '1 s') $$, NULL);
DO $$ BEGIN CALL aurora.wait_jobs('q', '1 ms'); RAISE WARNING 'a block may wait'; END $$;
SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_jobs_input;
