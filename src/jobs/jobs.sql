-- The job queue: queues, live jobs, and the archive of those that have ended.

-- ---- types ----

CREATE TYPE aurora.job_class AS ENUM ('interactive', 'normal', 'batch');
COMMENT ON TYPE aurora.job_class IS
    'How pressing a job is: somebody waits for it, it should run within a minute, it may wait an hour. No class starves another.';

CREATE TYPE aurora.job_state AS ENUM ('waiting', 'scheduled', 'blocked', 'held', 'running', 'dead', 'done', 'cancelled', 'discarded');
COMMENT ON TYPE aurora.job_state IS
    'waiting: can be taken now; scheduled: from a time on, by a delay or for a retry; blocked: runs after other jobs; held: as many with its concurrency key run as may; running: taken, under a lease; dead: failed for the last time, can be replayed. Ended: done, cancelled, discarded (was dead).';

-- ---- queues ----

CREATE SEQUENCE aurora.job_queue_queue_id_seq AS int;
COMMENT ON SEQUENCE aurora.job_queue_queue_id_seq IS 'Numbers the queues.';

CREATE TABLE aurora.job_queue (
    queue_id int PRIMARY KEY DEFAULT nextval('aurora.job_queue_queue_id_seq'),
    company_id int REFERENCES aurora.company,
    name text COLLATE "C" NOT NULL,
    lease interval NOT NULL,
    max_attempts int NOT NULL,
    retry_delay interval NOT NULL,
    retry_delay_max interval NOT NULL,
    paused_at timestamptz,
    drained_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    normal_slack interval NOT NULL DEFAULT '1 minute',
    batch_slack interval NOT NULL DEFAULT '1 hour',
    CONSTRAINT job_queue_name_key UNIQUE NULLS NOT DISTINCT (name, company_id),
    CONSTRAINT job_queue_name_check CHECK (name ~ '^[[:alnum:]_.:-]{1,100}$'),
    CONSTRAINT job_queue_lease_check CHECK (lease BETWEEN interval '1 second' AND interval '7 days'),
    CONSTRAINT job_queue_max_attempts_check CHECK (max_attempts BETWEEN 1 AND 1000),
    CONSTRAINT job_queue_slack_check CHECK (normal_slack BETWEEN interval '0' AND batch_slack AND batch_slack <= interval '30 days'),
    CONSTRAINT job_queue_retry_delay_check CHECK (retry_delay BETWEEN interval '0' AND retry_delay_max AND retry_delay_max <= interval '30 days')
) WITH (fillfactor = 50);
ALTER SEQUENCE aurora.job_queue_queue_id_seq OWNED BY aurora.job_queue.queue_id;
COMMENT ON TABLE aurora.job_queue IS 'The queues and their settings. Change them with add_queue(), set_queue(), pause_queue() and drain_queue().';
COMMENT ON COLUMN aurora.job_queue.queue_id IS 'Number of the queue.';
COMMENT ON COLUMN aurora.job_queue.company_id IS 'The company that alone uses it; null for one that all share and nodes serve.';
COMMENT ON COLUMN aurora.job_queue.name IS 'Name by which functions take the queue.';
COMMENT ON COLUMN aurora.job_queue.lease IS 'How long a taker has a job before another may have it, unless it renews.';
COMMENT ON COLUMN aurora.job_queue.max_attempts IS 'How often a job is tried, unless it says otherwise.';
COMMENT ON COLUMN aurora.job_queue.retry_delay IS 'Wait before the second attempt; it doubles with each.';
COMMENT ON COLUMN aurora.job_queue.retry_delay_max IS 'The longest wait between attempts.';
COMMENT ON COLUMN aurora.job_queue.paused_at IS 'Since when nothing is taken from it; null when jobs are.';
COMMENT ON COLUMN aurora.job_queue.drained_at IS 'Since when no job is accepted; null when they are.';
COMMENT ON COLUMN aurora.job_queue.created_at IS 'When it was added.';
COMMENT ON COLUMN aurora.job_queue.normal_slack IS 'How long after an interactive job a normal one may run that could run at the same time.';
COMMENT ON COLUMN aurora.job_queue.batch_slack IS 'The same for a batch job.';

-- ---- live jobs ----

CREATE SEQUENCE aurora.job_job_id_seq;
COMMENT ON SEQUENCE aurora.job_job_id_seq IS 'Numbers the jobs of all companies.';

CREATE TABLE aurora.job (
    job_id bigint NOT NULL DEFAULT nextval('aurora.job_job_id_seq'),
    company_id int NOT NULL REFERENCES aurora.company,
    queue_id int NOT NULL REFERENCES aurora.job_queue,
    class aurora.job_class NOT NULL,
    state aurora.job_state NOT NULL,
    position bigint NOT NULL,
    ready_at timestamptz NOT NULL,
    submitted_at timestamptz NOT NULL,
    attempt int NOT NULL,
    max_attempts int NOT NULL,
    blockers int NOT NULL,
    has_dependents boolean NOT NULL,
    started_at timestamptz,
    lease_until timestamptz,
    cancel_requested_at timestamptz,
    progress real,
    submitted_by text COLLATE "C" NOT NULL,
    kind text COLLATE "C",
    unique_key text COLLATE "C",
    concurrency_key text COLLATE "C",
    taker text COLLATE "C",
    note text,
    error text,
    payload jsonb NOT NULL,
    PRIMARY KEY (job_id, company_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);
ALTER SEQUENCE aurora.job_job_id_seq OWNED BY aurora.job.job_id;
CREATE INDEX job_waiting ON aurora.job (queue_id, class, position, job_id) WHERE state = 'waiting';
CREATE INDEX job_scheduled ON aurora.job (queue_id, ready_at) WHERE state = 'scheduled';
CREATE INDEX job_running ON aurora.job (queue_id, job_id) WHERE state = 'running';
CREATE INDEX job_held ON aurora.job (queue_id, company_id, concurrency_key, position) WHERE state = 'held';
CREATE INDEX job_dead ON aurora.job (queue_id, job_id) WHERE state = 'dead';
CREATE UNIQUE INDEX job_unique ON aurora.job (queue_id, company_id, unique_key) WHERE unique_key IS NOT NULL;
COMMENT ON INDEX aurora.job_waiting IS 'What can be taken, in the order in which it is. Read from a mark on that lies behind what has been taken.';
COMMENT ON INDEX aurora.job_scheduled IS 'What waits for its time.';
COMMENT ON INDEX aurora.job_running IS 'What is under a lease.';
COMMENT ON INDEX aurora.job_dead IS 'What failed as often as it may, to be counted and replayed.';
COMMENT ON INDEX aurora.job_held IS 'What waits for another job with its concurrency key.';
COMMENT ON INDEX aurora.job_unique IS 'One live job for each unique key.';
COMMENT ON TABLE aurora.job IS 'Jobs that have not ended. Read aurora.jobs; write with submit_job(), take_jobs(), finish_job(), fail_job(), cancel_job().';
COMMENT ON COLUMN aurora.job.job_id IS 'Number of the job.';
COMMENT ON COLUMN aurora.job.company_id IS 'Whose job it is.';
COMMENT ON COLUMN aurora.job.queue_id IS 'The queue.';
COMMENT ON COLUMN aurora.job.class IS 'How pressing it is.';
COMMENT ON COLUMN aurora.job.state IS 'How it is.';
COMMENT ON COLUMN aurora.job.position IS 'Place among the waiting of its queue and class: a start tag of start-time fair queueing, so that companies take turns.';
COMMENT ON COLUMN aurora.job.ready_at IS 'Since when, or from when on, it can run.';
COMMENT ON COLUMN aurora.job.submitted_at IS 'When it was submitted.';
COMMENT ON COLUMN aurora.job.attempt IS 'How often it has been taken. With the job''s number it names a lease.';
COMMENT ON COLUMN aurora.job.max_attempts IS 'How often it may be taken.';
COMMENT ON COLUMN aurora.job.blockers IS 'Jobs that must be done first.';
COMMENT ON COLUMN aurora.job.has_dependents IS 'Do others run after it.';
COMMENT ON COLUMN aurora.job.started_at IS 'When it was taken last.';
COMMENT ON COLUMN aurora.job.lease_until IS 'Until when its taker has it.';
COMMENT ON COLUMN aurora.job.cancel_requested_at IS 'Since when its taker is asked to stop.';
COMMENT ON COLUMN aurora.job.progress IS 'How far the taker says it is, from 0 to 1.';
COMMENT ON COLUMN aurora.job.submitted_by IS 'Principal, or role, that submitted it.';
COMMENT ON COLUMN aurora.job.kind IS 'What sort of job, for takers that know several.';
COMMENT ON COLUMN aurora.job.unique_key IS 'Only one job with this key is live in the queue and company.';
COMMENT ON COLUMN aurora.job.concurrency_key IS 'Only so many jobs with this key run at once; see set_concurrency().';
COMMENT ON COLUMN aurora.job.taker IS 'Who has it, or had it last.';
COMMENT ON COLUMN aurora.job.note IS 'What the taker says about its progress.';
COMMENT ON COLUMN aurora.job.error IS 'Why the last attempt failed.';
COMMENT ON COLUMN aurora.job.payload IS 'What is to be done.';

CREATE TABLE aurora.job_dependency (
    company_id int NOT NULL REFERENCES aurora.company,
    job_id bigint NOT NULL,
    blocker_id bigint NOT NULL,
    PRIMARY KEY (job_id, blocker_id, company_id),
    FOREIGN KEY (job_id, company_id) REFERENCES aurora.job ON DELETE CASCADE,
    FOREIGN KEY (blocker_id, company_id) REFERENCES aurora.job (job_id, company_id) ON DELETE CASCADE
);
CREATE INDEX job_dependency_blocker ON aurora.job_dependency (blocker_id);
COMMENT ON INDEX aurora.job_dependency_blocker IS 'The jobs that run after one.';
COMMENT ON TABLE aurora.job_dependency IS 'Which live jobs run after which.';
COMMENT ON COLUMN aurora.job_dependency.company_id IS 'The company of both.';
COMMENT ON COLUMN aurora.job_dependency.job_id IS 'The job that is blocked.';
COMMENT ON COLUMN aurora.job_dependency.blocker_id IS 'The job that must be done first.';

CREATE TABLE aurora.job_concurrency (
    company_id int NOT NULL REFERENCES aurora.company,
    queue_id int NOT NULL REFERENCES aurora.job_queue ON DELETE CASCADE,
    concurrency_key text COLLATE "C" NOT NULL,
    at_once int NOT NULL DEFAULT 1,
    running int NOT NULL DEFAULT 0,
    PRIMARY KEY (queue_id, company_id, concurrency_key),
    CONSTRAINT job_concurrency_check CHECK (at_once BETWEEN 1 AND 100000 AND running >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE aurora.job_concurrency IS 'How many jobs with a concurrency key may run at once, and do.';
COMMENT ON COLUMN aurora.job_concurrency.company_id IS 'The company.';
COMMENT ON COLUMN aurora.job_concurrency.queue_id IS 'The queue.';
COMMENT ON COLUMN aurora.job_concurrency.concurrency_key IS 'The key.';
COMMENT ON COLUMN aurora.job_concurrency.at_once IS 'How many may run at once.';
COMMENT ON COLUMN aurora.job_concurrency.running IS 'How many do.';

-- ---- jobs that have ended ----

CREATE TABLE aurora.job_archive (
    job_id bigint NOT NULL,
    company_id int NOT NULL,
    slot int NOT NULL,
    queue_id int NOT NULL,
    class aurora.job_class NOT NULL,
    state aurora.job_state NOT NULL,
    attempt int NOT NULL,
    max_attempts int NOT NULL,
    ready_at timestamptz NOT NULL,
    submitted_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz NOT NULL,
    submitted_by text COLLATE "C" NOT NULL,
    kind text COLLATE "C",
    taker text COLLATE "C",
    error text,
    payload jsonb NOT NULL,
    result jsonb,
    PRIMARY KEY (job_id, company_id, slot)
) PARTITION BY LIST (slot);
COMMENT ON TABLE aurora.job_archive IS 'Jobs that have ended, in a ring of partitions of which the oldest is emptied when the next is needed; see aurora.job_retention.';
DO $$
DECLARE
    c text;
BEGIN
    FOR slot IN 0..7 LOOP
        EXECUTE format('CREATE TABLE aurora.job_archive_%s PARTITION OF aurora.job_archive FOR VALUES IN (%s)
                        WITH (autovacuum_vacuum_insert_scale_factor = 0.5)', slot, slot);
        EXECUTE format('COMMENT ON TABLE aurora.job_archive_%s IS %L', slot, format('Place %s in the ring of aurora.job_archive.', slot));
        EXECUTE format('SELECT pg_catalog.pg_extension_config_dump(%L, '''')', format('aurora.job_archive_%s', slot));
    END LOOP;
    FOREACH c IN ARRAY ARRAY['', '_0', '_1', '_2', '_3', '_4', '_5', '_6', '_7'] LOOP
        EXECUTE format($c$
            COMMENT ON COLUMN aurora.job_archive%1$s.job_id IS 'Number of the job.';
            COMMENT ON COLUMN aurora.job_archive%1$s.company_id IS 'Whose job it was.';
            COMMENT ON COLUMN aurora.job_archive%1$s.slot IS 'Place in the ring.';
            COMMENT ON COLUMN aurora.job_archive%1$s.queue_id IS 'The queue; it may have been removed since.';
            COMMENT ON COLUMN aurora.job_archive%1$s.class IS 'How pressing it was.';
            COMMENT ON COLUMN aurora.job_archive%1$s.state IS 'How it ended.';
            COMMENT ON COLUMN aurora.job_archive%1$s.attempt IS 'How often it was taken.';
            COMMENT ON COLUMN aurora.job_archive%1$s.max_attempts IS 'How often it might have been.';
            COMMENT ON COLUMN aurora.job_archive%1$s.ready_at IS 'Since when it could run, before the last attempt.';
            COMMENT ON COLUMN aurora.job_archive%1$s.submitted_at IS 'When it was submitted.';
            COMMENT ON COLUMN aurora.job_archive%1$s.started_at IS 'When it was taken last; null if never.';
            COMMENT ON COLUMN aurora.job_archive%1$s.finished_at IS 'When it ended.';
            COMMENT ON COLUMN aurora.job_archive%1$s.submitted_by IS 'Principal, or role, that submitted it.';
            COMMENT ON COLUMN aurora.job_archive%1$s.kind IS 'What sort of job.';
            COMMENT ON COLUMN aurora.job_archive%1$s.taker IS 'Who had it last.';
            COMMENT ON COLUMN aurora.job_archive%1$s.error IS 'Why it failed last, or was cancelled.';
            COMMENT ON COLUMN aurora.job_archive%1$s.payload IS 'What was to be done.';
            COMMENT ON COLUMN aurora.job_archive%1$s.result IS 'What came of it.'; $c$, c);
    END LOOP;
END
$$;

CREATE TABLE aurora.job_archive_ring (
    slot int PRIMARY KEY,
    filled_from timestamptz NOT NULL,
    CONSTRAINT job_archive_ring_slot_check CHECK (slot BETWEEN 0 AND 7)
);
COMMENT ON TABLE aurora.job_archive_ring IS 'Since when each place in the ring of the archive has been filled. The latest is being filled; without a row it is place 0.';
COMMENT ON COLUMN aurora.job_archive_ring.slot IS 'Place in the ring.';
COMMENT ON COLUMN aurora.job_archive_ring.filled_from IS 'Since when jobs that end go there.';

CREATE TABLE aurora.job_refused_result (
    company_id int NOT NULL,
    job_id bigint NOT NULL,
    attempt int NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    taker text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    failed boolean NOT NULL,
    result jsonb,
    error text,
    refused_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
);
COMMENT ON TABLE aurora.job_refused_result IS 'Results of takers that no longer had the job; kept as long as the archive.';
COMMENT ON COLUMN aurora.job_refused_result.company_id IS 'Whose job it is.';
COMMENT ON COLUMN aurora.job_refused_result.job_id IS 'The job.';
COMMENT ON COLUMN aurora.job_refused_result.attempt IS 'The attempt that the taker had.';
COMMENT ON COLUMN aurora.job_refused_result.refused_at IS 'When it came.';
COMMENT ON COLUMN aurora.job_refused_result.taker IS 'The role that brought it.';
COMMENT ON COLUMN aurora.job_refused_result.reason IS 'Why it was refused.';
COMMENT ON COLUMN aurora.job_refused_result.failed IS 'Did the taker say that it failed.';
COMMENT ON COLUMN aurora.job_refused_result.result IS 'What came of it.';
COMMENT ON COLUMN aurora.job_refused_result.error IS 'Why it failed.';
COMMENT ON COLUMN aurora.job_refused_result.refused_no IS 'Numbers the rows.';
COMMENT ON SEQUENCE aurora.job_refused_result_refused_no_seq IS 'Numbers refused results.';

CREATE TABLE aurora.job_minute (
    queue_id int NOT NULL,
    class aurora.job_class NOT NULL,
    minute timestamptz NOT NULL,
    submitted bigint NOT NULL DEFAULT 0,
    taken bigint NOT NULL DEFAULT 0,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    lapsed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    wait_ms bigint NOT NULL DEFAULT 0,
    run_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (queue_id, class, minute)
) WITH (fillfactor = 50);
COMMENT ON TABLE aurora.job_minute IS 'What happened in each minute, by queue and class; kept for two days. Counted in memory and written every few seconds, so a crash loses the last of it.';
COMMENT ON COLUMN aurora.job_minute.queue_id IS 'The queue.';
COMMENT ON COLUMN aurora.job_minute.class IS 'The class.';
COMMENT ON COLUMN aurora.job_minute.minute IS 'Start of the minute.';
COMMENT ON COLUMN aurora.job_minute.submitted IS 'Jobs submitted.';
COMMENT ON COLUMN aurora.job_minute.taken IS 'Jobs taken.';
COMMENT ON COLUMN aurora.job_minute.done IS 'Jobs done.';
COMMENT ON COLUMN aurora.job_minute.failed IS 'Attempts that failed.';
COMMENT ON COLUMN aurora.job_minute.lapsed IS 'Leases that ran out.';
COMMENT ON COLUMN aurora.job_minute.cancelled IS 'Jobs cancelled.';
COMMENT ON COLUMN aurora.job_minute.wait_ms IS 'Milliseconds that those taken had waited since they could run, together.';
COMMENT ON COLUMN aurora.job_minute.run_ms IS 'Milliseconds that those done had run, together.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job_queue_queue_id_seq', 'job_queue', 'job_job_id_seq', 'job', 'job_dependency', 'job_concurrency',
                                'job_archive', 'job_archive_ring', 'job_refused_result', 'job_refused_result_refused_no_seq', 'job_minute'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('aurora.' || name)::regclass, '');
    END LOOP;
END
$$;
