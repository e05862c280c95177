-- What bench/jobs and bench/soak_jobs say to aurora, all of it. Each statement has a name for their
-- clients; :'queue' is replaced by the queue's name.

-- name: setup
SELECT aurora.add_queue(:'queue', normal_slack => '2 seconds');

-- name: submit
-- $1 payload
SELECT aurora.submit_job(:'queue', $1::jsonb);

-- name: submit_notify
SELECT aurora.submit_job(:'queue', $1::jsonb), pg_notify('bench_jobs', '');

-- name: submit_low
SELECT aurora.submit_job(:'queue', $1::jsonb, class => 'normal');

-- name: submit_high
SELECT aurora.submit_job(:'queue', $1::jsonb, class => 'interactive');

-- name: submit_many
-- $1 payloads
SELECT aurora.submit_jobs(:'queue', $1::jsonb[]);

-- name: take
-- $1 how many at most, $2 jobs that are done, $3 their attempts; gives job, attempt, payload
SELECT job_id, attempt, payload FROM aurora.take_jobs(:'queue', $1::int, finished => $2::bigint[], attempts => $3::int[]);

-- name: finish
-- $1 jobs, $2 their attempts
SELECT job_id FROM aurora.take_jobs(:'queue', 0, finished => $1::bigint[], attempts => $2::int[]);

-- name: wait
CALL aurora.wait_jobs(:'queue', interval '1 second');

-- name: listen
LISTEN bench_jobs;

-- The soak writes in the same transaction into bench.submitted and bench.log, see bench/soak_jobs.sql.

-- name: soak_setup
SELECT aurora.add_queue(:'queue', max_attempts => 1000);

-- name: soak_submit
-- $1 payloads, $2 their numbers
INSERT INTO bench.submitted (job, number)
SELECT job, number FROM ROWS FROM (aurora.submit_jobs(:'queue', $1::jsonb[]), unnest($2::bigint[])) AS made (job, number);

-- name: soak_submitted
-- $1 a number
SELECT count(*) FROM bench.submitted WHERE number = $1::bigint;

-- name: soak_finished
SELECT count(*) FROM bench.log WHERE what = 'finish';

-- name: soak_take
-- $1 how many at most, $2 jobs that are done, $3 their attempts; gives job, attempt, payload
WITH done AS (
    INSERT INTO bench.log (what, job, attempt) SELECT 'finish', job, attempt FROM unnest($2::bigint[], $3::int[]) AS held (job, attempt)
), taken AS MATERIALIZED (
    SELECT job_id, attempt, payload
    FROM aurora.take_jobs(:'queue', $1::int, lease => interval '3 seconds', finished => $2::bigint[], attempts => $3::int[])
), noted AS (
    INSERT INTO bench.log (what, job, attempt) SELECT 'claim', job_id, attempt FROM taken
)
SELECT job_id, attempt, payload FROM taken;

-- name: soak_fail
-- $1 job, $2 attempt
WITH noted AS (
    INSERT INTO bench.log (what, job, attempt) VALUES ('fail', $1::bigint, $2::int)
)
SELECT aurora.fail_job($1::bigint, $2::int, 'this one fails');

-- name: soak_done
SELECT count(*) FROM aurora.jobs WHERE queue = :'queue' AND state = 'done';

-- name: soak_left
SELECT count(*) FROM aurora.jobs WHERE queue = :'queue' AND state <> 'done';
