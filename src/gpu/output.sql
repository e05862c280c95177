-- Taking requests, and the text that comes back.

-- ---- taking ----

CREATE FUNCTION aurora.take_generations(device int, max_jobs int DEFAULT 1, lease interval DEFAULT NULL, node text DEFAULT NULL,
                                        OUT job_id bigint, OUT attempt int, OUT class text, OUT model text, OUT task text, OUT payload jsonb,
                                        OUT company_id int, OUT partial_text text, OUT partial_tokens int, OUT deadline timestamptz,
                                        OUT lease_until timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 4 AS 'MODULE_PATHNAME', 'aurora_take_generations';
COMMENT ON FUNCTION aurora.take_generations(int, int, interval, text) IS
    'Takes for a device of the caller''s node what it should run now, up to max_jobs and its free slots; explain_claim() says why. It never waits. task: generate or embed. partial_text, partial_tokens: what earlier attempts have stored, to be continued or started anew with restart_output(). deadline: when the job''s time-out is over, null for none. Nothing comes when the queue is paused, the node drained, or the device''s last report old or not ready. node: for operators. Errors: 22023 unknown device or node, 42501, 25006 on a standby.';

CREATE FUNCTION aurora.partial_output(job_id bigint, OUT tokens int, OUT text text) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    last record;
BEGIN
    SELECT o.token_no, o.began_at INTO last FROM aurora.generation_output o WHERE o.job_id = partial_output.job_id ORDER BY o.token_no DESC LIMIT 1;
    tokens := coalesce(last.token_no - last.began_at, 0);
    SELECT coalesce(string_agg(o.text, '' ORDER BY o.token_no), '') INTO text FROM aurora.generation_output o
        WHERE o.job_id = partial_output.job_id AND o.token_no > last.began_at;
END
$$;
COMMENT ON FUNCTION aurora.partial_output(bigint) IS 'The text of a job that is stored and counts, and how many tokens it has.';

CREATE FUNCTION aurora.partial_text(job_id bigint) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT p.text FROM aurora.partial_output(job_id) p $$;
COMMENT ON FUNCTION aurora.partial_text(bigint) IS 'The text of a job that is stored and counts.';

-- ---- what workers write ----

CREATE FUNCTION aurora.append_outputs(job_ids bigint[], attempts int[], after_tokens int[], texts text[], tokens int[],
                                      OUT job_id bigint, OUT state text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 4 AS 'MODULE_PATHNAME', 'aurora_append_outputs';
COMMENT ON FUNCTION aurora.append_outputs(bigint[], int[], int[], text[], int[]) IS
    'Appends a batch of text to each job: so many tokens after that number of tokens, counted over all attempts of a text that is continued. What is there already is passed over, so a batch may come twice. Leases that are half over are renewed by the queue''s. Returns for each job, in order: running; cancelling: stop, and fail it; lost: the caller no longer has it in that attempt, or text before this batch is missing. Errors: 22023 arrays of different lengths, bad numbers; 42501; 25006 on a standby.';

CREATE FUNCTION aurora.rest_of_text(job_id bigint, after_token int, text text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    stored text;
BEGIN
    SELECT string_agg(o.text, '' ORDER BY o.token_no) INTO stored FROM aurora.generation_output o
        WHERE o.job_id = rest_of_text.job_id AND o.token_no > after_token;
    RETURN CASE WHEN starts_with(text, stored) THEN substr(text, length(stored) + 1) END;
END
$$;
COMMENT ON FUNCTION aurora.rest_of_text(bigint, int, text) IS
    'What of a text that follows a token is not stored yet; null when what is stored is another text.';

CREATE FUNCTION aurora.restart_output(job_id bigint, attempt int) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'aurora_restart_output';
COMMENT ON FUNCTION aurora.restart_output(bigint, int) IS
    'The text of a job starts anew: what is stored no longer counts, readers see a restart, and tokens are counted from 0 again. Errors: 55000 the caller does not have the job in that attempt, 42501, 25006 on a standby.';

CREATE FUNCTION aurora.blend(old real, new double precision, n bigint) RETURNS real
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN new IS NULL OR new <> new OR new < 0 THEN old WHEN old IS NULL THEN least(new, 1e15)::real
                ELSE (old + (least(new, 1e15) - old) * greatest(1.0 / (n + 1), 0.1))::real END
$$;
COMMENT ON FUNCTION aurora.blend(real, double precision, bigint) IS 'A mean that goes on with one more value: plain for the first ten, then the new one counts a tenth.';

CREATE FUNCTION aurora.learn_speed(of_node text, of_device int, of_model text, result jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    usage jsonb := result -> 'usage';
    timings jsonb := result -> 'timings';
    prompt double precision := aurora.number_or_null(usage, 'prompt_tokens');
    output double precision := aurora.number_or_null(usage, 'completion_tokens');
    cached double precision := coalesce(aurora.number_or_null(usage, 'cached_tokens'), 0);
    load_ms double precision := nullif(aurora.number_or_null(timings, 'load_ms'), 0);
    prompt_ms double precision := aurora.number_or_null(timings, 'prompt_ms');
    decode_ms double precision := aurora.number_or_null(timings, 'decode_ms');
BEGIN
    -- Few tokens or milliseconds say little of a rate.
    INSERT INTO aurora.gpu_speed AS s (node, device, model, jobs, loads, load_ms, prompt_rate, decode_rate, mean_output, uncached, learned_at)
        VALUES (of_node, of_device, of_model, 1, (load_ms IS NOT NULL)::int, load_ms,
                CASE WHEN prompt - cached >= 16 AND prompt_ms >= 1 THEN (prompt - cached) / prompt_ms * 1000 END,
                CASE WHEN output >= 8 AND decode_ms >= 1 THEN output / decode_ms * 1000 END,
                CASE WHEN decode_ms IS NOT NULL THEN output END, CASE WHEN prompt > 0 THEN greatest(1 - cached / prompt, 0) END, clock_timestamp())
        ON CONFLICT ON CONSTRAINT gpu_speed_pkey DO UPDATE SET
            load_ms = aurora.blend(s.load_ms, excluded.load_ms, s.loads), loads = s.loads + excluded.loads,
            prompt_rate = aurora.blend(s.prompt_rate, excluded.prompt_rate, s.jobs),
            decode_rate = aurora.blend(s.decode_rate, excluded.decode_rate, s.jobs),
            mean_output = aurora.blend(s.mean_output, excluded.mean_output, s.jobs),
            uncached = aurora.blend(s.uncached, excluded.uncached, s.jobs), jobs = s.jobs + 1, learned_at = excluded.learned_at;
END
$$;
COMMENT ON FUNCTION aurora.learn_speed(text, int, text, jsonb) IS 'Learns how fast a model is on a device from the result of a job; what it does not say, or says wrongly, is passed over.';

CREATE FUNCTION aurora.number_or_null(entry jsonb, name text) RETURNS double precision
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN jsonb_typeof(entry -> name) = 'number' AND (entry ->> name)::numeric BETWEEN 0 AND 1e15 THEN (entry ->> name)::double precision END
$$;
COMMENT ON FUNCTION aurora.number_or_null(jsonb, text) IS 'The number of that name in an object; null when there is none from 0 to 1e15.';

CREATE FUNCTION aurora.finish_generation(job_id bigint, attempt int, result jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    held aurora.job;
    embeds boolean;
    at text[];
BEGIN
    PERFORM aurora.require_lead();
    IF jsonb_typeof(result) IS DISTINCT FROM 'object' OR result ->> 'finish_reason' IS NULL AND NOT result ? 'embeddings' THEN
        PERFORM aurora.refuse_request('the result of a request is no object with a finish_reason or embeddings', 'A stream that ended without one has failed: aurora.fail_job().');
    END IF;
    SELECT j.* INTO held FROM aurora.job j WHERE j.job_id = finish_generation.job_id FOR UPDATE;
    IF held.state = 'running' AND held.attempt = finish_generation.attempt AND NOT result ? 'embeddings' THEN
        result := result || jsonb_build_object('text', aurora.partial_text(job_id));
    END IF;
    IF NOT aurora.finish_job(job_id, attempt, result) THEN
        RETURN false;
    END IF;
    PERFORM aurora.ring_news();
    IF held.state = 'running' THEN
        DELETE FROM aurora.generation g WHERE g.job_id = finish_generation.job_id;
        at := regexp_match(held.taker, '^([^/]+)/([0-9]{1,4})$');
        IF at IS NOT NULL AND held.kind IS NOT NULL AND EXISTS (SELECT FROM aurora.node n WHERE n.name = at[1]) THEN
            PERFORM aurora.learn_speed(at[1], at[2]::int, held.kind, result);
        END IF;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION aurora.finish_generation(bigint, int, jsonb) IS
    'Ends a job as done, as finish_job() does. result: finish_reason, usage (prompt_tokens, completion_tokens, cached_tokens), timings (load_ms, prompt_ms, decode_ms, first_token_ms), and embeddings where these were asked for; the text that is stored is added to it, and what the timings tell of the device is learned. Errors: 22023 no result, 42501, 42704 no such job, 25006 on a standby.';

CREATE FUNCTION aurora.give_back_generation(job_id bigint, attempt int, reason text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
BEGIN
    PERFORM aurora.require_lead();
    -- The number of the attempt stays used, since it tells who has the job.
    UPDATE aurora.job j SET max_attempts = j.max_attempts + 1
        WHERE j.job_id = give_back_generation.job_id AND j.state = 'running' AND j.attempt = give_back_generation.attempt AND j.max_attempts < 1000000;
    RETURN aurora.fail_job(job_id, attempt, reason, interval '0');
END
$$;
COMMENT ON FUNCTION aurora.give_back_generation(bigint, int, text) IS
    'Has a job wait again at once, with the text that is stored, when its worker must end: as fail_job(), but it may be taken once more for that. Errors: 42501, 42704 no such job, 25006 on a standby.';

-- ---- what readers see ----

CREATE FUNCTION aurora.output_end(job_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    target record;
BEGIN
    SELECT j.company_id, j.submitted_by, j.state, NULL::jsonb AS result INTO target FROM aurora.job j WHERE j.job_id = output_end.job_id;
    IF NOT FOUND THEN
        SELECT a.company_id, a.submitted_by, a.state, a.result INTO target FROM aurora.job_archive a WHERE a.job_id = output_end.job_id;
    END IF;
    IF NOT FOUND OR NOT aurora.may_see(target.company_id, target.submitted_by) THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no job %s', job_id),
            HINT = 'aurora.jobs shows the jobs that the caller may see.';
    END IF;
    RETURN CASE target.state WHEN 'done' THEN coalesce(target.result ->> 'finish_reason', 'stop') WHEN 'cancelled' THEN 'cancelled'
                             WHEN 'dead' THEN 'error' WHEN 'discarded' THEN 'error' END;
END
$$;
COMMENT ON FUNCTION aurora.output_end(bigint) IS 'Why the text of a job has ended: its finish_reason, cancelled or error; null while it goes on. Errors: 42704 no job that the caller may see.';

CREATE FUNCTION aurora.job_output(job_id bigint, after_token int DEFAULT 0, OUT token_no int, OUT text text, OUT restarted boolean, OUT finish_reason text)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    ended text := aurora.output_end(job_id);
    last record;
BEGIN
    SELECT o.token_no, o.began_at INTO last FROM aurora.generation_output o WHERE o.job_id = job_output.job_id ORDER BY o.token_no DESC LIMIT 1;
    IF NOT FOUND AND ended IS NOT NULL THEN
        -- The pieces are forgotten before the result is.
        SELECT aurora.number_or_null(a.result -> 'usage', 'completion_tokens')::int AS tokens, a.result ->> 'text' AS text
            INTO last FROM aurora.job_archive a WHERE a.job_id = job_output.job_id;
        token_no := CASE WHEN last.text <> '' THEN greatest(last.tokens, 1) ELSE 0 END;
        text := CASE WHEN last.text <> '' AND coalesce(after_token, 0) < token_no THEN last.text END;
        restarted := false;
        IF text IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    ELSE
        RETURN QUERY SELECT o.token_no, o.text, o.token_no = o.began_at, NULL::text FROM aurora.generation_output o
            WHERE o.job_id = job_output.job_id AND o.token_no > coalesce(after_token, 0) AND o.token_no >= last.began_at
            ORDER BY o.token_no;
        token_no := last.token_no;
    END IF;
    IF ended IS NOT NULL THEN
        token_no := coalesce(token_no, 0);
        text := '';
        restarted := false;
        finish_reason := ended;
        RETURN NEXT;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.job_output(bigint, int) IS
    'The text of a job, as far as it is there, behind the token of that number: ask again with the last token_no. restarted: the text begins anew behind this row, and what came before no longer counts. The last row of all has a finish_reason: the model''s (stop, length, ...), cancelled or error. Works on every replica. Errors: 42704 no job that the caller may see.';

-- ---- retention ----

CREATE FUNCTION aurora.rotate_generation_output(at timestamptz DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    keep interval;
    filled aurora.generation_output_ring;
    next_slot int;
    needed boolean;
BEGIN
    PERFORM aurora.require_lead();
    IF at > clock_timestamp() AND NOT aurora.administers_all() THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to forget what is not old yet',
            HINT = 'Administrators may name a time to come.';
    END IF;
    keep := current_setting('aurora.gpu_output_retention')::interval;
    DELETE FROM aurora.generation g WHERE NOT EXISTS (SELECT FROM aurora.job j WHERE j.job_id = g.job_id AND j.company_id = g.company_id);
    SELECT r.* INTO filled FROM aurora.generation_output_ring r ORDER BY r.filled_from DESC LIMIT 1 FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO aurora.generation_output_ring (slot, filled_from) VALUES (0, at);
        RETURN 0;
    ELSIF filled.filled_from > at - keep / 2 THEN
        RETURN 0;
    END IF;
    next_slot := (filled.slot + 1) % 3;
    EXECUTE format('SELECT EXISTS (SELECT FROM aurora.job j WHERE j.queue_id = $1 AND j.attempt > 0
                                   AND EXISTS (SELECT FROM aurora.generation_output_%s o WHERE o.job_id = j.job_id))', next_slot)
        INTO needed USING aurora.make_gpu_queue();
    IF needed THEN
        RETURN 0;
    END IF;
    EXECUTE format('TRUNCATE aurora.generation_output_%s', next_slot);
    INSERT INTO aurora.generation_output_ring AS r (slot, filled_from) VALUES (next_slot, at)
        ON CONFLICT ON CONSTRAINT generation_output_ring_pkey DO UPDATE SET filled_from = excluded.filled_from;
    RETURN 1;
END
$$;
COMMENT ON FUNCTION aurora.rotate_generation_output(timestamptz) IS
    'Goes on to the next place in the ring of streamed text when half of aurora.gpu_output_retention is over, emptying it first, and returns how many places it emptied; it waits while a live job has text there. The archive keeps the whole text of jobs that are done. Errors: 55P03 readers in the way, 25006 on a standby.';
