-- Queues: making, changing and stopping them.

CREATE FUNCTION aurora.job_class_labels() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_job_class_labels';
COMMENT ON FUNCTION aurora.job_class_labels() IS 'The classes of jobs as the library knows them.';

CREATE FUNCTION aurora.job_state_labels() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_job_state_labels';
COMMENT ON FUNCTION aurora.job_state_labels() IS 'The states of jobs as the library knows them.';

CREATE FUNCTION aurora.find_queue(queue text, company text DEFAULT NULL) RETURNS int
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_find_queue';
COMMENT ON FUNCTION aurora.find_queue(text, text) IS
    'The number of the queue that a call means: the company''s own (null: the caller''s) before the shared one of that name. Errors: 22023 there is none.';

CREATE FUNCTION aurora.require_taker(queue_id int, taker text) RETURNS void
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_require_taker';
COMMENT ON FUNCTION aurora.require_taker(int, text) IS
    'Raises 42501 unless the caller may take jobs of the queue and, when it is a node, is the taker named (null: any).';

CREATE FUNCTION aurora.ring_queue(queue_id int) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_ring_queue';
COMMENT ON FUNCTION aurora.ring_queue(int) IS 'Has those look who wait for the queue, when this transaction commits.';

CREATE FUNCTION aurora.make_default_queue() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO aurora.job_queue (name, lease, max_attempts, retry_delay, retry_delay_max)
        VALUES ('default', interval '5 minutes', 5, interval '5 seconds', interval '1 hour')
        ON CONFLICT ON CONSTRAINT job_queue_name_key DO NOTHING;
END
$$;
COMMENT ON FUNCTION aurora.make_default_queue() IS 'Makes the shared queue "default", which is there when it is first needed.';

CREATE FUNCTION aurora.is_operator() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
    SELECT aurora.administers_all()
        OR aurora.caller_has('aurora_operator')
$$;
COMMENT ON FUNCTION aurora.is_operator() IS 'Is the caller an operator or an administrator, with nobody assumed.';

CREATE FUNCTION aurora.queue_to_manage(queue text, company text, to_remove boolean DEFAULT false) RETURNS aurora.job_queue
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    result aurora.job_queue;
BEGIN
    PERFORM aurora.require_lead();
    SELECT q.* INTO result FROM aurora.job_queue q WHERE q.queue_id = aurora.find_queue(queue, company);
    IF NOT (aurora.is_operator() OR result.company_id IS NOT NULL AND aurora.may_manage(result.company_id)) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to change queue "%s"', queue),
            HINT = 'Operators may; of a company''s own queue its admins, too.';
    END IF;
    IF to_remove THEN
        LOCK TABLE aurora.job IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    SELECT q.* INTO result FROM aurora.job_queue q WHERE q.queue_id = result.queue_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('queue "%s" has just been removed', queue);
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.queue_to_manage(text, text, boolean) IS
    'The queue, locked, for a caller that may change it; to remove it, once nobody submits a job and with a lock so that nobody does. Errors: 42501, 22023, 25006, 55P03 somebody is in the way for two seconds.';

CREATE FUNCTION aurora.keep_jobs_from_company() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    LOCK TABLE aurora.job IN SHARE ROW EXCLUSIVE MODE;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.keep_jobs_from_company() IS 'Before a company is deleted, waits until nobody submits a job, and keeps others from doing so: jobs are written past foreign keys.';
CREATE TRIGGER company_keep_jobs_away BEFORE DELETE ON aurora.company FOR EACH STATEMENT EXECUTE FUNCTION aurora.keep_jobs_from_company();
COMMENT ON TRIGGER company_keep_jobs_away ON aurora.company IS 'No job of it is left that is being submitted.';

CREATE FUNCTION aurora.add_queue(name text, company text DEFAULT NULL, lease interval DEFAULT '5 minutes', max_attempts int DEFAULT 5,
                                 retry_delay interval DEFAULT '5 seconds', retry_delay_max interval DEFAULT '1 hour',
                                 normal_slack interval DEFAULT '1 minute', batch_slack interval DEFAULT '1 hour') RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_company int := CASE WHEN company IS NOT NULL THEN aurora.company_for(company) END;
    made int;
BEGIN
    PERFORM aurora.require_lead();
    IF NOT (aurora.is_operator() OR of_company IS NOT NULL AND aurora.may_manage(of_company)) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to add a queue',
            HINT = 'Operators add shared queues; admins of a company add its own: name the company.';
    END IF;
    INSERT INTO aurora.job_queue (company_id, name, lease, max_attempts, retry_delay, retry_delay_max, normal_slack, batch_slack)
        VALUES (of_company, name, lease, max_attempts, retry_delay, retry_delay_max, normal_slack, batch_slack)
        ON CONFLICT ON CONSTRAINT job_queue_name_key DO NOTHING RETURNING queue_id INTO made;
    IF made IS NULL THEN
        RAISE duplicate_object USING
            MESSAGE = format('there is a queue "%s" already', name),
            HINT = 'aurora.set_queue() changes it.';
    END IF;
    RETURN made;
END
$$;
COMMENT ON FUNCTION aurora.add_queue(text, text, interval, int, interval, interval, interval, interval) IS
    'Adds a queue and returns its number: of a company, whose principals alone use it, or shared by all, which nodes and operators serve. lease: how long a taker has a job without renewing, 1 second to 7 days; retry_delay doubles with each attempt up to retry_delay_max, less a random part of up to a half; normal_slack and batch_slack: how long after an interactive job one of these classes may run. Errors: 42710 it is there, 42501, 23514 out of range.';

CREATE FUNCTION aurora.set_queue(queue text, company text DEFAULT NULL, lease interval DEFAULT NULL, max_attempts int DEFAULT NULL,
                                 retry_delay interval DEFAULT NULL, retry_delay_max interval DEFAULT NULL,
                                 normal_slack interval DEFAULT NULL, batch_slack interval DEFAULT NULL) RETURNS aurora.job_queue
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.job_queue := aurora.queue_to_manage(queue, company);
BEGIN
    UPDATE aurora.job_queue q SET
        lease = coalesce(set_queue.lease, q.lease), max_attempts = coalesce(set_queue.max_attempts, q.max_attempts),
        retry_delay = coalesce(set_queue.retry_delay, q.retry_delay), retry_delay_max = coalesce(set_queue.retry_delay_max, q.retry_delay_max),
        normal_slack = coalesce(set_queue.normal_slack, q.normal_slack), batch_slack = coalesce(set_queue.batch_slack, q.batch_slack)
        WHERE q.queue_id = result.queue_id RETURNING q.* INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.set_queue(text, text, interval, int, interval, interval, interval, interval) IS
    'Changes a queue''s settings; what is left null stays. Jobs that are there keep their number of attempts. Errors: 22023 no such queue, 42501, 23514 out of range.';

CREATE FUNCTION aurora.pause_queue(queue text, paused boolean DEFAULT true, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.job_queue := aurora.queue_to_manage(queue, company);
BEGIN
    UPDATE aurora.job_queue q SET paused_at = CASE WHEN paused IS NOT FALSE THEN coalesce(q.paused_at, now()) END
        WHERE q.queue_id = target.queue_id;
    PERFORM aurora.ring_queue(target.queue_id);
END
$$;
COMMENT ON FUNCTION aurora.pause_queue(text, boolean, text) IS
    'Has nothing taken from a queue, or jobs taken again. Jobs that run go on; jobs are still accepted. A node is paused with drain_node(). Errors: 22023 no such queue, 42501.';

CREATE FUNCTION aurora.drain_queue(queue text, drained boolean DEFAULT true, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.job_queue := aurora.queue_to_manage(queue, company);
BEGIN
    UPDATE aurora.job_queue q SET drained_at = CASE WHEN drained IS NOT FALSE THEN coalesce(q.drained_at, now()) END
        WHERE q.queue_id = target.queue_id;
END
$$;
COMMENT ON FUNCTION aurora.drain_queue(text, boolean, text) IS
    'Has a queue accept no more jobs, while those it has are worked off; or accept jobs again. Errors: 22023 no such queue, 42501.';

CREATE FUNCTION aurora.remove_queue(queue text, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.job_queue := aurora.queue_to_manage(queue, company, true);
    live bigint;
BEGIN
    SELECT count(*) INTO live FROM aurora.job j WHERE j.queue_id = target.queue_id;
    IF live > 0 THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('queue "%s" has %s live jobs', queue, live),
            HINT = 'Let it run dry with aurora.drain_queue(), and cancel or replay what is left.';
    END IF;
    DELETE FROM aurora.job_minute m WHERE m.queue_id = target.queue_id;
    DELETE FROM aurora.job_queue q WHERE q.queue_id = target.queue_id;
END
$$;
COMMENT ON FUNCTION aurora.remove_queue(text, text) IS 'Removes a queue without live jobs. The archive keeps those that have ended. Errors: 55000 it has jobs, 22023 no such queue, 42501, 55P03 a job is being submitted.';

CREATE FUNCTION aurora.set_concurrency(queue text, concurrency_key text, at_once int, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_company int;
    target int;
BEGIN
    PERFORM aurora.require_lead();
    of_company := aurora.company_for(company);
    target := aurora.find_queue(queue, company);
    IF NOT (aurora.is_operator() OR aurora.may_manage(of_company)) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to change how many jobs run at once',
            HINT = 'Operators and admins of the company may.';
    END IF;
    IF concurrency_key IS NULL OR at_once IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'the concurrency key, and how many run at once, may not be null';
    ELSIF concurrency_key !~ '^[^[:cntrl:]]{1,200}$' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a concurrency key has 1 to 200 characters, and no control characters';
    END IF;
    PERFORM aurora.make_concurrency(target, of_company, concurrency_key, at_once, true);
    PERFORM aurora.leave_concurrency(ARRAY[target], ARRAY[of_company], ARRAY[concurrency_key], 0);
END
$$;
COMMENT ON FUNCTION aurora.set_concurrency(text, text, int, text) IS
    'How many of a company''s jobs with that concurrency key run at once in a queue; 1 unless set. Errors: 22023 no such queue or company, or no key that a job can have, 42501, 23514 out of range.';
