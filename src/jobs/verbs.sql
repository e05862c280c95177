-- What is done with jobs.

-- ---- what SQL tells the lanes in shared memory ----

CREATE FUNCTION aurora.next_job_position(queue_id int, class aurora.job_class, company_id int) RETURNS bigint
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_next_job_position';
COMMENT ON FUNCTION aurora.next_job_position(int, aurora.job_class, int) IS 'The place of a job that waits from this transaction''s commit on, behind the company''s others.';

CREATE FUNCTION aurora.job_arrives(queue_id int, class aurora.job_class, "position" bigint) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_job_arrives';
COMMENT ON FUNCTION aurora.job_arrives(int, aurora.job_class, bigint) IS 'Tells that a job waits at that place from this transaction''s commit on.';

CREATE FUNCTION aurora.job_leaves(queue_id int, class aurora.job_class, "position" bigint) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_job_leaves';
COMMENT ON FUNCTION aurora.job_leaves(int, aurora.job_class, bigint) IS 'Tells that this transaction ends the wait of a job at that place; when it is rolled back the job waits there again.';

CREATE FUNCTION aurora.queue_due(queue_id int, at timestamptz) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_queue_due';
COMMENT ON FUNCTION aurora.queue_due(int, timestamptz) IS 'Tells that something of the queue falls due then.';

CREATE FUNCTION aurora.count_job(queue_id int, class aurora.job_class, event text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_count_job';
COMMENT ON FUNCTION aurora.count_job(int, aurora.job_class, text) IS 'Counts an event (submitted, failed, lapsed, cancelled) for job_minute.';

CREATE FUNCTION aurora.ring_news() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'aurora_ring_news';
COMMENT ON FUNCTION aurora.ring_news() IS 'When this transaction commits, wait_published() returns to whoever shows what it changed.';

-- ---- submitting ----

CREATE FUNCTION aurora.submit_job(queue text DEFAULT 'default', payload jsonb DEFAULT '{}', class text DEFAULT 'normal', kind text DEFAULT NULL,
                                  delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, unique_key text DEFAULT NULL,
                                  concurrency_key text DEFAULT NULL, run_after bigint[] DEFAULT NULL, max_attempts int DEFAULT NULL,
                                  company text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_submit_job';
COMMENT ON FUNCTION aurora.submit_job(text, jsonb, text, text, interval, timestamptz, text, text, bigint[], int, text) IS
    'Submits a job and returns its number. class: interactive, normal, batch. kind: what sort, for takers. delay or run_at: not before then. unique_key: while a job with it is live in the queue and company, that one''s number is returned and nothing submitted. concurrency_key: see set_concurrency(). run_after: jobs of the company that must be done first; when one is cancelled so is this. payload: up to 1 MiB. Errors: 22023 bad argument, no such queue, company or job; 42501; 54000 too large; 55000 the queue is drained; 25006 on a standby.';

CREATE FUNCTION aurora.submit_jobs(queue text, payloads jsonb[], class text DEFAULT 'normal', kind text DEFAULT NULL, delay interval DEFAULT NULL,
                                   run_at timestamptz DEFAULT NULL, concurrency_key text DEFAULT NULL, run_after bigint[] DEFAULT NULL,
                                   max_attempts int DEFAULT NULL, company text DEFAULT NULL) RETURNS SETOF bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_submit_jobs';
COMMENT ON FUNCTION aurora.submit_jobs(text, jsonb[], text, text, interval, timestamptz, text, bigint[], int, text) IS
    'Submits a job for each payload, 10,000 at most, and returns their numbers in order. Otherwise as submit_job().';

CREATE FUNCTION aurora.require_ended_blockers(ended bigint[], company_id int) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wrong record;
BEGIN
    SELECT e.job_id, a.state INTO wrong
        FROM unnest(ended) e(job_id)
        LEFT JOIN aurora.job_archive a ON a.job_id = e.job_id AND a.company_id = require_ended_blockers.company_id
        WHERE a.state IS DISTINCT FROM 'done' ORDER BY e.job_id LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = CASE WHEN wrong.state IS NULL THEN format('there is no job %s to run after', wrong.job_id)
                           ELSE format('job %s, which the job is to run after, was %s', wrong.job_id, wrong.state) END,
            HINT = 'A job runs after jobs of the same company, which are live or done.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_ended_blockers(bigint[], int) IS 'Raises 22023 unless all these jobs are in the archive as done.';

CREATE FUNCTION aurora.lock_blockers(run_after bigint[], company_id int) RETURNS bigint[]
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    live bigint[] := '{}';
    blocker bigint;
BEGIN
    FOR blocker IN SELECT j.job_id FROM aurora.job j
                 WHERE j.job_id = ANY (run_after) AND j.company_id = lock_blockers.company_id
                 ORDER BY j.job_id FOR NO KEY UPDATE LOOP
        live := live || blocker;
    END LOOP;
    PERFORM aurora.require_ended_blockers(ARRAY(SELECT DISTINCT r FROM unnest(run_after) r WHERE r <> ALL (live)), company_id);
    UPDATE aurora.job j SET has_dependents = true WHERE j.job_id = ANY (live) AND NOT j.has_dependents;
    RETURN live;
END
$$;
COMMENT ON FUNCTION aurora.lock_blockers(bigint[], int) IS 'Those of the jobs that are not done yet, locked and marked as having dependents. Errors: 22023 one was cancelled, or there is none.';

CREATE FUNCTION aurora.store_job(queue_id int, company_id int, class text, ready_at timestamptz, max_attempts int, submitted_by text, kind text,
                                 unique_key text, concurrency_key text, run_after bigint[], payload jsonb) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    blockers bigint[] := '{}';
    of_class aurora.job_class := class;
    starts_as aurora.job_state;
    made bigint;
BEGIN
    LOOP
        SELECT j.job_id INTO made FROM aurora.job j
            WHERE j.queue_id = store_job.queue_id AND j.company_id = store_job.company_id AND j.unique_key = store_job.unique_key;
        IF FOUND THEN
            RETURN made;
        END IF;
        IF run_after IS NOT NULL AND blockers = '{}' THEN
            blockers := aurora.lock_blockers(run_after, store_job.company_id);
        END IF;
        starts_as := CASE WHEN blockers <> '{}' THEN 'blocked' WHEN store_job.ready_at > clock_timestamp() THEN 'scheduled' ELSE 'waiting' END;
        INSERT INTO aurora.job (company_id, queue_id, class, state, position, ready_at, submitted_at, attempt, max_attempts, blockers,
                                has_dependents, submitted_by, kind, unique_key, concurrency_key, payload)
            VALUES (store_job.company_id, store_job.queue_id, of_class, starts_as,
                    CASE WHEN starts_as = 'waiting' THEN aurora.next_job_position(store_job.queue_id, of_class, store_job.company_id) ELSE 0 END,
                    store_job.ready_at, clock_timestamp(), 0, store_job.max_attempts, cardinality(blockers), false, store_job.submitted_by,
                    store_job.kind, store_job.unique_key, store_job.concurrency_key, store_job.payload)
            ON CONFLICT (queue_id, company_id, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
            RETURNING job_id INTO made;
        EXIT WHEN made IS NOT NULL;
    END LOOP;
    INSERT INTO aurora.job_dependency (company_id, job_id, blocker_id)
        SELECT store_job.company_id, made, b FROM unnest(blockers) b;
    IF starts_as = 'scheduled' THEN
        PERFORM aurora.queue_due(store_job.queue_id, store_job.ready_at);
    END IF;
    PERFORM aurora.count_job(store_job.queue_id, of_class, 'submitted');
    RETURN made;
END
$$;
COMMENT ON FUNCTION aurora.store_job(int, int, text, timestamptz, int, text, text, text, text, bigint[], jsonb) IS
    'Stores a job with a unique key or others to run after, and returns its number, or that of the live one with the key; submit_job() asks this.';

-- ---- taking ----

CREATE FUNCTION aurora.take_jobs(queue text DEFAULT 'default', max_jobs int DEFAULT 1, taker text DEFAULT NULL, lease interval DEFAULT NULL,
                                 finished bigint[] DEFAULT NULL, attempts int[] DEFAULT NULL, results jsonb[] DEFAULT NULL,
                                 company text DEFAULT NULL,
                                 OUT job_id bigint, OUT attempt int, OUT kind text, OUT payload jsonb, OUT lease_until timestamptz,
                                 OUT max_attempts int, OUT class text, OUT company_id int, OUT submitted_by text, OUT submitted_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'aurora_take_jobs';
COMMENT ON FUNCTION aurora.take_jobs(text, int, text, interval, bigint[], int[], jsonb[], text) IS
    'Finishes the jobs given, as finish_job() does, and takes up to max_jobs that can run, in one call; it never waits. Each is the caller''s until lease_until, which renew_lease() moves: finish or fail it by job_id and attempt. taker: a name to show, behind the node''s when the caller is one; lease: the queue''s unless given. finished, attempts, results: arrays of the same length, results may be null. Nothing comes from a paused queue or for a drained node. Errors: 42501, 22023 bad argument or no such queue, 25006 on a standby.';

CREATE PROCEDURE aurora.wait_jobs(queue text DEFAULT 'default', timeout interval DEFAULT '30 seconds', company text DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_wait_jobs';
COMMENT ON PROCEDURE aurora.wait_jobs(text, interval, text) IS
    'Returns when take_jobs() may find something, or after the time, of up to 24 hours. It sleeps without a snapshot. Several who wait are all woken. Errors: 25001 in a transaction block, 55000 without the preloaded library, 42501, 22023, 25006 on a standby.';

CREATE FUNCTION aurora.finish_job(job_id bigint, attempt int, result jsonb DEFAULT NULL) RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_finish_job';
COMMENT ON FUNCTION aurora.finish_job(bigint, int, jsonb) IS
    'Ends a job as done, in the caller''s transaction. True also when this attempt has finished it before. False, with a warning, when the caller no longer has it: the result is kept aside in aurora.refused_results. Errors: 42501, 42704 no such job, 25006 on a standby.';

CREATE FUNCTION aurora.refuse_result(job_id bigint, attempt int, failed boolean, result jsonb, error text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    known record;
    reason text;
BEGIN
    SELECT j.company_id, j.queue_id, j.state, j.attempt, j.taker INTO known FROM aurora.job j WHERE j.job_id = refuse_result.job_id
        UNION ALL
        SELECT a.company_id, a.queue_id, a.state, a.attempt, a.taker FROM aurora.job_archive a WHERE a.job_id = refuse_result.job_id;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no job %s', job_id),
            HINT = 'It may have ended so long ago that the archive has forgotten it.';
    END IF;
    PERFORM aurora.require_taker(known.queue_id, NULL);
    IF known.state = 'done' AND known.attempt = refuse_result.attempt AND NOT failed THEN
        RAISE NOTICE 'job % was finished by this attempt before', job_id;
        RETURN true;
    END IF;
    reason := CASE WHEN known.attempt <> refuse_result.attempt THEN format('attempt %s has it, not %s', known.attempt, refuse_result.attempt)
                   WHEN known.state = 'running' THEN format('%s has it', known.taker)
                   ELSE format('it is %s', known.state) END;
    INSERT INTO aurora.job_refused_result (company_id, job_id, attempt, taker, reason, failed, result, error)
        VALUES (known.company_id, refuse_result.job_id, refuse_result.attempt, aurora.caller(), reason, failed, refuse_result.result, refuse_result.error);
    RAISE WARNING 'the result of job % is refused: %', job_id, reason
        USING HINT = 'It is kept in aurora.refused_results. Renew leases before they run out.';
    RETURN false;
END
$$;
COMMENT ON FUNCTION aurora.refuse_result(bigint, int, boolean, jsonb, text) IS
    'Keeps aside what a taker brings that no longer has the job; true when it has brought the same before.';

CREATE FUNCTION aurora.renew_lease(job_id bigint, attempt int, lease interval DEFAULT NULL, progress real DEFAULT NULL, note text DEFAULT NULL,
                                   OUT lease_until timestamptz, OUT state text) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    held aurora.job;
BEGIN
    PERFORM aurora.require_lead();
    IF NOT renew_lease.progress BETWEEN 0 AND 1 OR NOT lease BETWEEN interval '1 second' AND interval '7 days' OR length(note) > 1000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a lease lasts 1 second to 7 days, progress goes from 0 to 1, and a note has up to 1000 characters';
    END IF;
    SELECT j.* INTO held FROM aurora.job j WHERE j.job_id = renew_lease.job_id FOR NO KEY UPDATE;
    IF NOT FOUND OR held.state <> 'running' OR held.attempt IS DISTINCT FROM renew_lease.attempt THEN
        state := 'lost';
        RETURN;
    END IF;
    PERFORM aurora.require_taker(held.queue_id, held.taker);
    UPDATE aurora.job j SET
        lease_until = clock_timestamp() + coalesce(lease, (SELECT q.lease FROM aurora.job_queue q WHERE q.queue_id = held.queue_id)),
        progress = coalesce(renew_lease.progress, j.progress), note = coalesce(renew_lease.note, j.note)
        WHERE j.job_id = held.job_id RETURNING j.lease_until INTO renew_lease.lease_until;
    PERFORM aurora.queue_due(held.queue_id, lease_until);
    state := CASE WHEN held.cancel_requested_at IS NULL THEN 'running' ELSE 'cancelling' END;
END
$$;
COMMENT ON FUNCTION aurora.renew_lease(bigint, int, interval, real, text) IS
    'Has a job for longer: for the lease given, or the queue''s, from now on. Notes progress, 0 to 1. state: running; cancelling: stop, and fail the job; lost: the caller no longer has it, and lease_until is null. Errors: 42501, 22023 out of range, 25006 on a standby.';

-- ---- the end of an attempt ----

CREATE FUNCTION aurora.archive_slot() RETURNS int
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT r.slot FROM aurora.job_archive_ring r ORDER BY r.filled_from DESC LIMIT 1), 0)
$$;
COMMENT ON FUNCTION aurora.archive_slot() IS 'The place in the archive''s ring that is being filled.';

CREATE FUNCTION aurora.end_job(target aurora.job, how aurora.job_state, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    slot int := aurora.archive_slot();
    ending bigint[] := ARRAY[target.job_id];
    reasons text[] := ARRAY[coalesce(reason, target.error)];
    state_of_these aurora.job_state := how;
    dependents bigint[];
    reasons_of_dependents text[];
    ended aurora.job;
BEGIN
    -- First the job itself, then what was to run after it, then what after those.
    WHILE cardinality(ending) > 0 LOOP
        SELECT coalesce(array_agg(l.job_id), '{}'), coalesce(array_agg(l.reason), '{}') INTO dependents, reasons_of_dependents
            FROM (SELECT j.job_id, format('job %s, which it was to run after, was %s',
                         (SELECT min(d.blocker_id) FROM aurora.job_dependency d WHERE d.job_id = j.job_id AND d.blocker_id = ANY (ending)), state_of_these) AS reason
                  FROM aurora.job j
                  WHERE j.job_id IN (SELECT d.job_id FROM aurora.job_dependency d WHERE d.blocker_id = ANY (ending)) AND j.job_id <> ALL (ending)
                  ORDER BY j.job_id FOR UPDATE OF j) l;
        FOR ended IN DELETE FROM aurora.job j WHERE j.job_id = ANY (ending) RETURNING j.* LOOP
            IF ended.state = 'waiting' THEN
                PERFORM aurora.job_leaves(ended.queue_id, ended.class, ended.position);
            END IF;
            INSERT INTO aurora.job_archive (job_id, company_id, slot, queue_id, class, state, attempt, max_attempts, ready_at, submitted_at,
                                            started_at, finished_at, submitted_by, kind, taker, error, payload)
                VALUES (ended.job_id, ended.company_id, slot, ended.queue_id, ended.class, state_of_these, ended.attempt,
                        ended.max_attempts, ended.ready_at, ended.submitted_at, ended.started_at, clock_timestamp(), ended.submitted_by,
                        ended.kind, ended.taker, reasons[array_position(ending, ended.job_id)], ended.payload);
            PERFORM aurora.count_job(ended.queue_id, ended.class, 'cancelled');
        END LOOP;
        ending := dependents;
        reasons := reasons_of_dependents;
        state_of_these := 'cancelled';
    END LOOP;
    -- The next one with its key may have been held for it.
    IF target.state = 'waiting' AND target.concurrency_key IS NOT NULL THEN
        PERFORM aurora.leave_concurrency(ARRAY[target.queue_id], ARRAY[target.company_id], ARRAY[target.concurrency_key], 0);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.end_job(aurora.job, aurora.job_state, text) IS 'Moves a live job to the archive as cancelled or discarded, and cancels what was to run after it.';

CREATE FUNCTION aurora.end_attempt(target aurora.job, event text, reason text, retry_in interval, final boolean) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    wait interval := retry_in;
    new_state aurora.job_state;
BEGIN
    PERFORM aurora.count_job(target.queue_id, target.class, event);
    IF target.cancel_requested_at IS NOT NULL THEN
        PERFORM aurora.end_job(target, 'cancelled', reason);
        new_state := 'cancelled';
    ELSE
        IF wait IS NULL THEN
            SELECT make_interval(secs => least(extract(epoch FROM q.retry_delay)::float8 * 2 ^ least(target.attempt - 1, 30),
                                               extract(epoch FROM q.retry_delay_max)::float8) * (1 - random() / 2))
                INTO wait FROM aurora.job_queue q WHERE q.queue_id = target.queue_id;
        END IF;
        new_state := CASE WHEN final OR target.attempt >= target.max_attempts THEN 'dead' WHEN wait > interval '0' THEN 'scheduled' ELSE 'waiting' END;
        UPDATE aurora.job j SET
            state = new_state, error = reason, lease_until = NULL, progress = NULL,
            ready_at = CASE WHEN new_state = 'scheduled' THEN clock_timestamp() + wait ELSE clock_timestamp() END,
            position = CASE WHEN new_state = 'waiting' THEN aurora.next_job_position(j.queue_id, j.class, j.company_id) ELSE 0 END
            WHERE j.job_id = target.job_id;
        IF new_state = 'scheduled' THEN
            PERFORM aurora.queue_due(target.queue_id, clock_timestamp() + wait);
        END IF;
    END IF;
    -- Last, as where jobs are finished: who locks dependents and keys in one order never waits in a circle.
    IF target.concurrency_key IS NOT NULL THEN
        PERFORM aurora.leave_concurrency(ARRAY[target.queue_id], ARRAY[target.company_id], ARRAY[target.concurrency_key]);
    END IF;
    RETURN new_state;
END
$$;
COMMENT ON FUNCTION aurora.end_attempt(aurora.job, text, text, interval, boolean) IS
    'What becomes of a running job whose attempt failed or whose lease ran out: it waits for the next (retry_in, or the queue''s backoff), is dead, or was to be cancelled. The backoff is retry_delay * 2 ^ (attempts - 1), capped, less a random part of up to a half.';

CREATE FUNCTION aurora.fail_job(job_id bigint, attempt int, error text DEFAULT NULL, retry_in interval DEFAULT NULL, final boolean DEFAULT false)
    RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    held aurora.job;
BEGIN
    PERFORM aurora.require_lead();
    IF job_id IS NULL OR attempt IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'a job''s number and attempt may not be null';
    ELSIF retry_in < interval '0' OR retry_in > interval '30 days' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a job is retried in 0 to 30 days';
    END IF;
    SELECT j.* INTO held FROM aurora.job j WHERE j.job_id = fail_job.job_id FOR UPDATE;
    IF NOT FOUND OR held.state <> 'running' OR held.attempt IS DISTINCT FROM fail_job.attempt THEN
        PERFORM aurora.refuse_result(job_id, attempt, true, NULL, left(error, 10000));
        RETURN 'refused';
    END IF;
    PERFORM aurora.require_taker(held.queue_id, held.taker);
    RETURN aurora.end_attempt(held, 'failed', left(error, 10000), retry_in, coalesce(final, false));
END
$$;
COMMENT ON FUNCTION aurora.fail_job(bigint, int, text, interval, boolean) IS
    'Ends an attempt as failed and returns what becomes of the job: scheduled or waiting for the next, dead after the last or when final, cancelled when that was asked for, or refused when the caller no longer has it. Errors: 42501, 42704 no such job, 22023 bad retry_in, 25006 on a standby.';

-- ---- what waits for the end of others ----

CREATE FUNCTION aurora.release_dependents(ended bigint[]) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    dependent aurora.job;
    new_state aurora.job_state;
BEGIN
    PERFORM FROM aurora.job j WHERE j.job_id IN (SELECT d.job_id FROM aurora.job_dependency d WHERE d.blocker_id = ANY (ended))
        ORDER BY j.job_id FOR NO KEY UPDATE;
    FOR dependent IN
        WITH gone AS (DELETE FROM aurora.job_dependency d WHERE d.blocker_id = ANY (ended) RETURNING d.job_id)
        UPDATE aurora.job j SET blockers = j.blockers - g.n
            FROM (SELECT gone.job_id, count(*)::int AS n FROM gone GROUP BY gone.job_id) g
            WHERE j.job_id = g.job_id RETURNING j.* LOOP
        CONTINUE WHEN dependent.blockers > 0 OR dependent.state <> 'blocked';
        new_state := CASE WHEN dependent.ready_at > clock_timestamp() THEN 'scheduled' ELSE 'waiting' END;
        UPDATE aurora.job j SET
            state = new_state, ready_at = greatest(j.ready_at, clock_timestamp()),
            position = CASE WHEN new_state = 'waiting' THEN aurora.next_job_position(j.queue_id, j.class, j.company_id) ELSE 0 END
            WHERE j.job_id = dependent.job_id;
        IF new_state = 'scheduled' THEN
            PERFORM aurora.queue_due(dependent.queue_id, dependent.ready_at);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION aurora.release_dependents(bigint[]) IS 'Lets the jobs run that waited for nothing but these.';

CREATE FUNCTION aurora.make_concurrency(queue_id int, company_id int, concurrency_key text, at_once int, may_wait boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    of_keys int := hashtext('aurora.job_concurrency');
    of_this int := hashtext(format('%s %s %s', make_concurrency.queue_id, make_concurrency.company_id, make_concurrency.concurrency_key));
BEGIN
    IF may_wait THEN
        PERFORM pg_advisory_xact_lock(of_keys, of_this);
    ELSIF NOT pg_try_advisory_xact_lock(of_keys, of_this) THEN
        RETURN false;
    END IF;
    INSERT INTO aurora.job_concurrency AS c (company_id, queue_id, concurrency_key, at_once)
        VALUES (make_concurrency.company_id, make_concurrency.queue_id, make_concurrency.concurrency_key, coalesce(make_concurrency.at_once, 1))
        ON CONFLICT ON CONSTRAINT job_concurrency_pkey DO UPDATE SET at_once = excluded.at_once WHERE make_concurrency.at_once IS NOT NULL;
    RETURN true;
END
$$;
COMMENT ON FUNCTION aurora.make_concurrency(int, int, text, int, boolean) IS
    'Notes a concurrency key, and how many with it run at once when that is given. False when another session is doing so and this one may not wait: takers never do, or two that meet two new keys would wait for one another.';

CREATE FUNCTION aurora.enter_concurrency(job_id bigint, queue_id int, company_id int, concurrency_key text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    current record;
BEGIN
    FOR i IN 1 .. 2 LOOP
        SELECT c.running, c.at_once, c.xmin::text = pg_current_xact_id()::xid::text AS is_own INTO current FROM aurora.job_concurrency c
            WHERE c.queue_id = enter_concurrency.queue_id AND c.company_id = enter_concurrency.company_id
              AND c.concurrency_key = enter_concurrency.concurrency_key
            FOR NO KEY UPDATE SKIP LOCKED;
        EXIT WHEN FOUND;
        IF i = 2 OR EXISTS (SELECT FROM aurora.job_concurrency c
                            WHERE c.queue_id = enter_concurrency.queue_id AND c.company_id = enter_concurrency.company_id
                              AND c.concurrency_key = enter_concurrency.concurrency_key)
           OR NOT aurora.make_concurrency(enter_concurrency.queue_id, enter_concurrency.company_id, enter_concurrency.concurrency_key, NULL, false) THEN
            RETURN NULL;
        END IF;
    END LOOP;
    IF current.running >= current.at_once THEN
        UPDATE aurora.job j SET state = 'held' WHERE j.job_id = enter_concurrency.job_id;
        IF NOT FOUND THEN
            RETURN NULL; -- too new for this transaction's snapshot
        END IF;
        IF current.is_own THEN
            RETURN false;
        END IF;
    END IF;
    -- Also when the job is held: who ends another with an older snapshot would not see it, and is to fail instead.
    UPDATE aurora.job_concurrency c SET running = c.running + (current.running < current.at_once)::int
        WHERE c.queue_id = enter_concurrency.queue_id AND c.company_id = enter_concurrency.company_id
          AND c.concurrency_key = enter_concurrency.concurrency_key;
    RETURN current.running < current.at_once;
END
$$;
COMMENT ON FUNCTION aurora.enter_concurrency(bigint, int, int, text) IS
    'May a job with that key be taken: true, and it is counted; false, and it is held until another ends; null when another session is deciding about the key.';

CREATE FUNCTION aurora.lock_concurrency(queue_id int, company_id int, concurrency_key text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
    PERFORM FROM aurora.job_concurrency c
        WHERE c.queue_id = lock_concurrency.queue_id AND c.company_id = lock_concurrency.company_id AND c.concurrency_key = lock_concurrency.concurrency_key
        FOR NO KEY UPDATE SKIP LOCKED;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION aurora.lock_concurrency(int, int, text) IS 'Locks the count of a concurrency key; false, at once, when another session has it.';

CREATE FUNCTION aurora.leave_concurrency(queue_ids int[], company_ids int[], concurrency_keys text[], ended int DEFAULT 1) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    left_key record;
    room int;
    held aurora.job;
BEGIN
    FOR left_key IN SELECT l.queue_id, l.company_id, l.concurrency_key, count(*)::int AS n
                    FROM unnest(queue_ids, company_ids, concurrency_keys) l(queue_id, company_id, concurrency_key)
                    GROUP BY 1, 2, 3 ORDER BY 1, 2, l.concurrency_key COLLATE "C" LOOP
        UPDATE aurora.job_concurrency c SET running = greatest(c.running - left_key.n * ended, 0)
            WHERE c.queue_id = left_key.queue_id AND c.company_id = left_key.company_id AND c.concurrency_key = left_key.concurrency_key
            RETURNING c.at_once - c.running INTO room;
        IF NOT FOUND AND ended > 0 THEN
            RAISE serialization_failure USING
                MESSAGE = format('a job with the concurrency key "%s" was taken after this transaction began', left_key.concurrency_key),
                HINT = 'Its snapshot is too old to see the key. Try again in a new transaction.';
        END IF;
        FOR held IN SELECT j.* FROM aurora.job j
                    WHERE j.queue_id = left_key.queue_id AND j.company_id = left_key.company_id
                      AND j.concurrency_key = left_key.concurrency_key AND j.state = 'held'
                    ORDER BY j.position LIMIT greatest(room, 0) FOR NO KEY UPDATE LOOP
            UPDATE aurora.job j SET state = 'waiting' WHERE j.job_id = held.job_id;
            PERFORM aurora.job_arrives(held.queue_id, held.class, held.position);
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION aurora.leave_concurrency(int[], int[], text[], int) IS 'Counts down running jobs with these keys, and lets as many wait again as may run now.';

-- ---- what people do with jobs ----

CREATE FUNCTION aurora.job_to_change(job_id bigint) RETURNS aurora.job
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    result aurora.job;
BEGIN
    PERFORM aurora.require_lead();
    SELECT j.* INTO result FROM aurora.job j WHERE j.job_id = job_to_change.job_id FOR UPDATE;
    IF FOUND AND (aurora.is_operator() OR aurora.may_see(result.company_id, result.submitted_by)) THEN
        RETURN result;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.job_to_change(bigint) IS 'The live job, locked, when the caller may change it: its own, a manager''s company''s, any for operators; else null.';

CREATE FUNCTION aurora.ended_job_state(job_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result text;
BEGIN
    IF job_id IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'a job''s number may not be null';
    END IF;
    SELECT a.state INTO result FROM aurora.job_archive a
        WHERE a.job_id = ended_job_state.job_id AND (aurora.is_operator() OR aurora.may_see(a.company_id, a.submitted_by));
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no job %s', job_id),
            HINT = 'aurora.jobs shows the jobs that the caller may see.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.ended_job_state(bigint) IS 'How a job in the archive ended. Errors: 42704 there is none that the caller may see.';

CREATE FUNCTION aurora.cancel_job(job_id bigint, reason text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.job := aurora.job_to_change(job_id);
    why text := coalesce(left(reason, 1000), format('cancelled by %s', aurora.caller()));
    how aurora.job_state := CASE WHEN target.state = 'dead' THEN 'discarded' ELSE 'cancelled' END;
BEGIN
    IF target.job_id IS NULL THEN
        RETURN aurora.ended_job_state(job_id);
    ELSIF target.state <> 'running' THEN
        PERFORM aurora.end_job(target, how, why);
        RETURN how;
    END IF;
    UPDATE aurora.job j SET cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp()), error = why WHERE j.job_id = target.job_id;
    PERFORM pg_notify('aurora_cancel', target.job_id::text);
    RETURN 'cancelling';
END
$$;
COMMENT ON FUNCTION aurora.cancel_job(bigint, text) IS
    'Cancels a job and those that were to run after it, and returns how it is now: cancelled, discarded when it was dead, or cancelling when it runs: its taker learns it by renew_lease(), and sooner by NOTIFY aurora_cancel. A job that has ended stays as it is. Errors: 42704 no job that the caller may change, 25006 on a standby.';

CREATE FUNCTION aurora.replay_job(job_id bigint) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    target aurora.job := aurora.job_to_change(job_id);
BEGIN
    IF target.job_id IS NULL OR target.state <> 'dead' THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('job %s is %s, not dead', job_id, coalesce(target.state::text, aurora.ended_job_state(job_id))),
            HINT = 'Jobs are dead after their last attempt. Submit another one.';
    END IF;
    UPDATE aurora.job j SET
        state = 'waiting', ready_at = clock_timestamp(), position = aurora.next_job_position(j.queue_id, j.class, j.company_id),
        max_attempts = j.attempt + (SELECT q.max_attempts FROM aurora.job_queue q WHERE q.queue_id = j.queue_id)
        WHERE j.job_id = target.job_id;
    RETURN 'waiting';
END
$$;
COMMENT ON FUNCTION aurora.replay_job(bigint) IS
    'Has a dead job tried again, as often as its queue says. Attempts are counted on, so that late results of old ones are still told apart. Errors: 55000 it is not dead, 42704 no job that the caller may change, 25006 on a standby.';

CREATE FUNCTION aurora.replay_jobs(queue text, kind text DEFAULT NULL, company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id bigint;
    of_company int := CASE WHEN company IS NOT NULL THEN aurora.company_for(company) END;
    replayed bigint := 0;
BEGIN
    PERFORM aurora.require_lead();
    FOR id IN SELECT j.job_id FROM aurora.job j
              WHERE j.queue_id = aurora.find_queue(queue, company) AND j.state = 'dead' AND (replay_jobs.kind IS NULL OR j.kind = replay_jobs.kind)
                AND (of_company IS NULL OR j.company_id = of_company)
                AND (aurora.is_operator() OR aurora.may_see(j.company_id, j.submitted_by)) ORDER BY j.job_id LOOP
        PERFORM aurora.replay_job(id);
        replayed := replayed + 1;
    END LOOP;
    RETURN replayed;
END
$$;
COMMENT ON FUNCTION aurora.replay_jobs(text, text, text) IS 'Replays all dead jobs of a queue (and kind, and company) that the caller may change, and returns how many.';
