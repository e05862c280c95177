-- What people see of jobs.

CREATE VIEW aurora.jobs WITH (security_invoker = true) AS
    SELECT j.job_id, c.name AS company, q.name AS queue, j.class, j.state, j.kind, j.attempt, j.max_attempts, j.submitted_at, j.submitted_by,
           j.ready_at, j.started_at, j.lease_until, NULL::timestamptz AS finished_at, j.cancel_requested_at, j.taker, j.progress, j.note, j.error,
           j.payload, NULL::jsonb AS result, j.unique_key, j.concurrency_key, j.blockers
    FROM aurora.job j LEFT JOIN aurora.company c USING (company_id) LEFT JOIN aurora.job_queue q USING (queue_id)
    UNION ALL
    SELECT a.job_id, c.name, q.name, a.class, a.state, a.kind, a.attempt, a.max_attempts, a.submitted_at, a.submitted_by,
           a.ready_at, a.started_at, NULL, a.finished_at, NULL, a.taker, NULL, NULL, a.error,
           a.payload, a.result, NULL, NULL, 0
    FROM aurora.job_archive a LEFT JOIN aurora.company c USING (company_id) LEFT JOIN aurora.job_queue q USING (queue_id);
COMMENT ON VIEW aurora.jobs IS 'The jobs, live and ended, that the caller may see: its own, managers those of their company.';
COMMENT ON COLUMN aurora.jobs.job_id IS 'Number of the job.';
COMMENT ON COLUMN aurora.jobs.company IS 'Whose job it is.';
COMMENT ON COLUMN aurora.jobs.queue IS 'The queue; null when it has been removed.';
COMMENT ON COLUMN aurora.jobs.class IS 'How pressing it is.';
COMMENT ON COLUMN aurora.jobs.state IS 'How it is, or ended.';
COMMENT ON COLUMN aurora.jobs.kind IS 'What sort of job.';
COMMENT ON COLUMN aurora.jobs.attempt IS 'How often it has been taken.';
COMMENT ON COLUMN aurora.jobs.max_attempts IS 'How often it may be.';
COMMENT ON COLUMN aurora.jobs.submitted_at IS 'When it was submitted.';
COMMENT ON COLUMN aurora.jobs.submitted_by IS 'Principal, or role, that submitted it.';
COMMENT ON COLUMN aurora.jobs.ready_at IS 'Since when, or from when on, it can run.';
COMMENT ON COLUMN aurora.jobs.started_at IS 'When it was taken last.';
COMMENT ON COLUMN aurora.jobs.lease_until IS 'Until when its taker has it.';
COMMENT ON COLUMN aurora.jobs.finished_at IS 'When it ended.';
COMMENT ON COLUMN aurora.jobs.cancel_requested_at IS 'Since when its taker is asked to stop.';
COMMENT ON COLUMN aurora.jobs.taker IS 'Who has it, or had it last.';
COMMENT ON COLUMN aurora.jobs.progress IS 'How far it is, from 0 to 1.';
COMMENT ON COLUMN aurora.jobs.note IS 'What the taker says about its progress.';
COMMENT ON COLUMN aurora.jobs.error IS 'Why the last attempt failed, or it was cancelled.';
COMMENT ON COLUMN aurora.jobs.payload IS 'What is to be done.';
COMMENT ON COLUMN aurora.jobs.result IS 'What came of it.';
COMMENT ON COLUMN aurora.jobs.unique_key IS 'Only one live job has it.';
COMMENT ON COLUMN aurora.jobs.concurrency_key IS 'Only so many jobs with it run at once.';
COMMENT ON COLUMN aurora.jobs.blockers IS 'Jobs that must be done first.';

CREATE VIEW aurora.refused_results WITH (security_invoker = true) AS
    SELECT r.job_id, c.name AS company, r.attempt, r.refused_at, r.taker, r.reason, r.failed, r.result, r.error
    FROM aurora.job_refused_result r LEFT JOIN aurora.company c USING (company_id);
COMMENT ON VIEW aurora.refused_results IS 'Results of takers that no longer had the job.';
COMMENT ON COLUMN aurora.refused_results.job_id IS 'The job.';
COMMENT ON COLUMN aurora.refused_results.company IS 'Whose job it is.';
COMMENT ON COLUMN aurora.refused_results.attempt IS 'The attempt that the taker had.';
COMMENT ON COLUMN aurora.refused_results.refused_at IS 'When it came.';
COMMENT ON COLUMN aurora.refused_results.taker IS 'The role that brought it.';
COMMENT ON COLUMN aurora.refused_results.reason IS 'Why it was refused.';
COMMENT ON COLUMN aurora.refused_results.failed IS 'Did the taker say that it failed.';
COMMENT ON COLUMN aurora.refused_results.result IS 'What came of it.';
COMMENT ON COLUMN aurora.refused_results.error IS 'Why it failed.';

-- ---- depths ----

CREATE FUNCTION aurora.lane_rate(queue_id int, class aurora.job_class) RETURNS double precision
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT sum(m.taken) / greatest(extract(epoch FROM now() - greatest(min(m.minute), now() - interval '5 minutes')), 1)
    FROM aurora.job_minute m
    WHERE m.queue_id = $1 AND m.class = $2 AND m.minute > now() - interval '5 minutes' AND m.taken > 0
      AND EXISTS (SELECT FROM aurora.job_queue q WHERE q.queue_id = $1 AND (q.company_id IS NULL OR aurora.is_member(q.company_id) OR aurora.is_operator()))
$$;
COMMENT ON FUNCTION aurora.lane_rate(int, aurora.job_class) IS 'Jobs of a queue and class taken in a second, over the last five minutes; null when none was.';

CREATE FUNCTION aurora.queue_depths(OUT queue_id int, OUT class aurora.job_class, OUT waiting bigint, OUT running bigint, OUT scheduled bigint,
                                    OUT blocked bigint, OUT held bigint, OUT dead bigint, OUT oldest_ready_at timestamptz) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT q.queue_id, k.class, count(*) FILTER (WHERE j.state = 'waiting'), count(*) FILTER (WHERE j.state = 'running'),
           count(*) FILTER (WHERE j.state = 'scheduled'), count(*) FILTER (WHERE j.state = 'blocked'),
           count(*) FILTER (WHERE j.state = 'held'), count(*) FILTER (WHERE j.state = 'dead'),
           min(j.ready_at) FILTER (WHERE j.state = 'waiting')
    FROM aurora.job_queue q CROSS JOIN unnest(enum_range(NULL::aurora.job_class)) k(class)
    LEFT JOIN aurora.job j ON j.queue_id = q.queue_id AND j.class = k.class
    WHERE q.company_id IS NULL OR aurora.is_member(q.company_id) OR aurora.is_operator()
    GROUP BY q.queue_id, k.class
$$;
COMMENT ON FUNCTION aurora.queue_depths() IS 'How many jobs of each state the queues have that the caller may use, of all companies together.';

CREATE VIEW aurora.queue WITH (security_invoker = true) AS
    SELECT q.name AS queue, c.name AS company, d.class, d.waiting, d.running, d.scheduled, d.blocked, d.held, d.dead,
           now() - d.oldest_ready_at AS oldest,
           round((r.rate * 60)::numeric, 1) AS taken_per_minute,
           CASE WHEN d.waiting = 0 THEN interval '0' ELSE make_interval(secs => d.waiting / r.rate) END AS eta,
           q.paused_at IS NOT NULL AS paused, q.drained_at IS NOT NULL AS drained
    FROM aurora.queue_depths() d JOIN aurora.job_queue q USING (queue_id) LEFT JOIN aurora.company c USING (company_id)
    CROSS JOIN LATERAL (SELECT aurora.lane_rate(d.queue_id, d.class) AS rate) r
    ORDER BY q.name, c.name, d.class;
COMMENT ON VIEW aurora.queue IS 'How long the queues are, by class.';
COMMENT ON COLUMN aurora.queue.queue IS 'The queue.';
COMMENT ON COLUMN aurora.queue.company IS 'The company that alone uses it; null when it is shared.';
COMMENT ON COLUMN aurora.queue.class IS 'The class.';
COMMENT ON COLUMN aurora.queue.waiting IS 'Jobs that can be taken.';
COMMENT ON COLUMN aurora.queue.running IS 'Jobs under a lease.';
COMMENT ON COLUMN aurora.queue.scheduled IS 'Jobs that wait for their time.';
COMMENT ON COLUMN aurora.queue.blocked IS 'Jobs that run after others.';
COMMENT ON COLUMN aurora.queue.held IS 'Jobs that wait for others with their concurrency key.';
COMMENT ON COLUMN aurora.queue.dead IS 'Jobs that failed for the last time; replay_jobs() has them tried again.';
COMMENT ON COLUMN aurora.queue.oldest IS 'For how long the one that has waited longest could have run.';
COMMENT ON COLUMN aurora.queue.taken_per_minute IS 'Jobs taken in a minute, over the last five; null when none was.';
COMMENT ON COLUMN aurora.queue.eta IS 'When a job that is submitted now would start, at that rate; null when none was taken lately.';
COMMENT ON COLUMN aurora.queue.paused IS 'Is nothing taken from it.';
COMMENT ON COLUMN aurora.queue.drained IS 'Does it accept no jobs.';

CREATE FUNCTION aurora.job_position(job_id bigint, OUT ahead bigint, OUT eta interval) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    target aurora.job;
BEGIN
    SELECT j.* INTO target FROM aurora.job j
        WHERE j.job_id = job_position.job_id AND (aurora.is_operator() OR aurora.may_see(j.company_id, j.submitted_by));
    IF NOT FOUND THEN
        PERFORM aurora.ended_job_state(job_id);
        RETURN;
    ELSIF target.state <> 'waiting' THEN
        RETURN;
    END IF;
    SELECT count(*) INTO ahead FROM aurora.job j
        WHERE j.queue_id = target.queue_id AND j.class = target.class AND j.state = 'waiting'
          AND (j.position, j.job_id) < (target.position, target.job_id);
    eta := make_interval(secs => (ahead + 1) / aurora.lane_rate(target.queue_id, target.class));
END
$$;
COMMENT ON FUNCTION aurora.job_position(bigint) IS
    'How many jobs of its queue and class are taken before a waiting one, and when it starts at the rate of the last five minutes; nulls for a job that does not wait. Errors: 42704 no job that the caller may see.';

CREATE FUNCTION aurora.health_jobs() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'jobs', (CASE WHEN s.overdue > 0 OR s.dead > 0 THEN 'degraded' ELSE 'up' END)::aurora.health_state,
           nullif(concat_ws(', ', CASE WHEN s.overdue > 0 THEN format('%s leases ran out and nobody sees to it', s.overdue) END,
                            CASE WHEN s.dead > 0 THEN format('%s jobs are dead: see aurora.jobs', s.dead) END), '')
    FROM (SELECT (SELECT count(*) FROM aurora.job j WHERE j.state = 'running' AND j.lease_until < now() - interval '30 seconds') AS overdue,
                 (SELECT count(*) FROM aurora.job j WHERE j.state = 'dead') AS dead) s
    WHERE EXISTS (SELECT FROM aurora.job_queue)
$$;
COMMENT ON FUNCTION aurora.health_jobs() IS 'How the job queue is, where there is one; health() asks.';
