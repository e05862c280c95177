-- What happens to jobs by time.

CREATE FUNCTION aurora.settle_queue(queue_id int, max_jobs int DEFAULT 1000) RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    due aurora.job;
BEGIN
    PERFORM aurora.require_lead();
    FOR due IN SELECT j.* FROM aurora.job j
               WHERE j.queue_id = settle_queue.queue_id AND j.state = 'scheduled' AND j.ready_at <= clock_timestamp()
               ORDER BY j.ready_at LIMIT max_jobs FOR NO KEY UPDATE SKIP LOCKED LOOP
        UPDATE aurora.job j SET state = 'waiting', position = aurora.next_job_position(j.queue_id, j.class, j.company_id)
            WHERE j.job_id = due.job_id;
    END LOOP;
    FOR due IN SELECT j.* FROM aurora.job j
               WHERE j.queue_id = settle_queue.queue_id AND j.state = 'running' AND j.lease_until <= clock_timestamp()
               ORDER BY j.company_id, j.concurrency_key, j.job_id LIMIT max_jobs FOR UPDATE SKIP LOCKED LOOP
        -- Whoever settles may be a taker, which does not wait for one who has the key.
        CONTINUE WHEN due.concurrency_key IS NOT NULL AND NOT aurora.lock_concurrency(due.queue_id, due.company_id, due.concurrency_key);
        PERFORM aurora.end_attempt(due, 'lapsed', format('the lease of %s ran out', due.taker), interval '0', false);
    END LOOP;
    RETURN coalesce(least(
        (SELECT min(j.ready_at) FROM aurora.job j WHERE j.queue_id = settle_queue.queue_id AND j.state = 'scheduled'),
        (SELECT min(j.lease_until) FROM aurora.job j WHERE j.queue_id = settle_queue.queue_id AND j.state = 'running')), 'infinity');
END
$$;
COMMENT ON FUNCTION aurora.settle_queue(int, int) IS
    'Ends the delays and leases of a queue that are over, and returns when the next one is. Takers, waiters and the worker do this.';

CREATE FUNCTION aurora.add_job_counts(queue_id int, class text, submitted bigint, taken bigint, done bigint, failed bigint, lapsed bigint,
                                      cancelled bigint, wait_ms bigint, run_ms bigint) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO aurora.job_minute AS m (queue_id, class, minute, submitted, taken, done, failed, lapsed, cancelled, wait_ms, run_ms)
        VALUES ($1, $2::aurora.job_class, date_trunc('minute', now()), $3, $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT ON CONSTRAINT job_minute_pkey DO UPDATE SET
            submitted = m.submitted + excluded.submitted, taken = m.taken + excluded.taken, done = m.done + excluded.done,
            failed = m.failed + excluded.failed, lapsed = m.lapsed + excluded.lapsed, cancelled = m.cancelled + excluded.cancelled,
            wait_ms = m.wait_ms + excluded.wait_ms, run_ms = m.run_ms + excluded.run_ms
$$;
COMMENT ON FUNCTION aurora.add_job_counts(int, text, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint) IS 'Adds to the counts of the minute.';

CREATE FUNCTION aurora.rotate_job_archive(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    keep interval;
    filled aurora.job_archive_ring;
    next_slot int;
    forgotten bigint;
BEGIN
    PERFORM aurora.require_lead();
    IF at > clock_timestamp() AND NOT aurora.administers_all() THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to forget what is not old yet',
            HINT = 'Administrators may name a time to come.';
    END IF;
    keep := make_interval(days => current_setting('aurora.job_retention')::int);
    DELETE FROM aurora.job_minute m WHERE m.minute < at - interval '2 days';
    DELETE FROM aurora.job_refused_result r WHERE r.refused_at < at - keep;
    DELETE FROM aurora.job_concurrency c WHERE c.running = 0 AND c.at_once = 1;
    SELECT r.* INTO filled FROM aurora.job_archive_ring r ORDER BY r.filled_from DESC LIMIT 1 FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO aurora.job_archive_ring (slot, filled_from) VALUES (0, at);
        RETURN 0;
    ELSIF filled.filled_from > at - keep / 7 THEN
        RETURN 0;
    END IF;
    next_slot := (filled.slot + 1) % 8;
    SELECT greatest(c.reltuples, 0) INTO forgotten FROM pg_class c WHERE c.oid = format('aurora.job_archive_%s', next_slot)::regclass;
    EXECUTE format('TRUNCATE aurora.job_archive_%s', next_slot);
    INSERT INTO aurora.job_archive_ring AS r (slot, filled_from) VALUES (next_slot, at)
        ON CONFLICT ON CONSTRAINT job_archive_ring_pkey DO UPDATE SET filled_from = excluded.filled_from;
    RETURN forgotten;
END
$$;
COMMENT ON FUNCTION aurora.rotate_job_archive(timestamptz) IS
    'Goes on to the next place in the archive''s ring when a seventh of aurora.job_retention is over, emptying it first, and returns about how many jobs were forgotten. TRUNCATE waits for readers two seconds at most; the next run tries again. Errors: 55P03 readers in the way, 25006 on a standby.';
