-- What bench/jobs and bench/soak_jobs say to aurora, all of it. Each statement has a name for their
-- clients; :'queue' is replaced by the queue's name.

-- name: setup
SELECT aurora.add_queue(:'queue');

-- name: submit
-- $1 payload
SELECT aurora.submit_job(:'queue', $1::jsonb);

-- name: submit_notify
SELECT aurora.submit_job(:'queue', $1::jsonb), pg_notify('bench_jobs', '');

-- name: submit_low
SELECT aurora.submit_job(:'queue', $1::jsonb, class => 'low');

-- name: submit_high
SELECT aurora.submit_job(:'queue', $1::jsonb, class => 'high');

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
