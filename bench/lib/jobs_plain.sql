-- The textbook queue: one table, a partial index, SKIP LOCKED; a claim commits, a completion commits.
-- Each statement has a name for the clients of bench/jobs; :'queue' is replaced by the queue's name.

-- name: setup
DROP TABLE IF EXISTS job;
CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text NOT NULL,
    priority int NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'waiting',
    attempt int NOT NULL DEFAULT 0,
    created timestamptz NOT NULL DEFAULT now(),
    claimed timestamptz,
    payload jsonb NOT NULL
);
CREATE INDEX job_waiting ON job (queue, priority, id) WHERE state = 'waiting';

-- name: submit
-- $1 payload
INSERT INTO job (queue, payload) VALUES (:'queue', $1::jsonb) RETURNING id;

-- name: submit_notify
WITH made AS (INSERT INTO job (queue, payload) VALUES (:'queue', $1::jsonb) RETURNING id)
SELECT id, pg_notify('bench_jobs', '') FROM made;

-- name: submit_low
INSERT INTO job (queue, priority, payload) VALUES (:'queue', 2, $1::jsonb) RETURNING id;

-- name: submit_high
INSERT INTO job (queue, priority, payload) VALUES (:'queue', 1, $1::jsonb) RETURNING id;

-- name: submit_many
-- $1 payloads
INSERT INTO job (queue, payload) SELECT :'queue', unnest($1::jsonb[]) RETURNING id;

-- name: claim
-- $1 how many at most; gives job, attempt, payload
UPDATE job SET state = 'running', attempt = attempt + 1, claimed = now()
WHERE id = ANY (ARRAY(
    SELECT id FROM job WHERE queue = :'queue' AND state = 'waiting'
    ORDER BY priority, id LIMIT $1::int FOR UPDATE SKIP LOCKED))
RETURNING id, attempt, payload;

-- name: finish
-- $1 jobs, $2 their attempts
DELETE FROM job USING unnest($1::bigint[], $2::int[]) AS done (id, attempt)
WHERE job.id = done.id AND job.attempt = done.attempt;

-- name: listen
LISTEN bench_jobs;
