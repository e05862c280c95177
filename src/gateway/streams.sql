-- What a gateway reads for the streams that it shows: of many topics and texts at once, for whom
-- open_stream() and the rights to jobs are asked one by one.

CREATE PROCEDURE aurora.wait_published(seen bigint, timeout_ms int, INOUT "position" bigint DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_wait_published';
COMMENT ON PROCEDURE aurora.wait_published(bigint, int, bigint) IS
    'Waits until anything is published in this database, or output of a generation stored, or a job ended, since a position, and gives the position to go on from; up to the time-out (0 to 600000 ms). 0 returns at once. It can return for nothing, and can miss what a prepared transaction did: look by yourself every second. It holds no snapshot while it waits, so it is called by itself; works on a standby. For members of aurora_gateway. Errors: 25001 inside a transaction or function, 55000 no preloaded library, 22023.';

CREATE FUNCTION aurora.open_stream(topic text, after_seq bigint, in_epoch uuid, company text, OUT topic_id bigint, OUT state text,
                                   OUT resume_after bigint, OUT last_seq bigint, OUT epoch uuid) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_open_stream';
COMMENT ON FUNCTION aurora.open_stream(text, bigint, uuid, text) IS
    'May the caller read the topic, and can a cursor go on there: its number, the state and resume_after as cursor_state() has them, the number of its last event, and the epoch of the event that a stream goes on after. A topic that is not there yet has the number null, state continues. Asked at a subscription, and again now and then, since rights can be taken. Errors: 42501, 22023, 22004.';

CREATE FUNCTION aurora.topic_heads(topic_ids bigint[]) RETURNS TABLE (topic_id bigint, first_seq bigint, last_seq bigint, epoch uuid)
    LANGUAGE c STABLE PARALLEL RESTRICTED STRICT ROWS 100 AS 'MODULE_PATHNAME', 'aurora_topic_heads';
COMMENT ON FUNCTION aurora.topic_heads(bigint[]) IS
    'Where topics stand: the oldest event that is kept, the last one, and its epoch. Those that are not there are left out. For members of aurora_gateway, which have asked open_stream() for whom they read. Errors: 42501.';

CREATE FUNCTION aurora.topics_there(companies text[], names text[]) RETURNS TABLE (company text, topic text)
    LANGUAGE c STABLE PARALLEL RESTRICTED STRICT ROWS 10 AS 'MODULE_PATHNAME', 'aurora_topics_there';
COMMENT ON FUNCTION aurora.topics_there(text[], text[]) IS
    'Which of the topics are there, each of the company at its place, or of the mesh for an empty text: what many streams wait for is asked for at once, and open_stream() for those that are there. For members of aurora_gateway. Errors: 22023 arrays of different lengths, or longer than 100000; 42501.';

CREATE FUNCTION aurora.topic_events(topic_id bigint, after_seq bigint, max_rows int)
    RETURNS TABLE (seq bigint, epoch uuid, at timestamptz, publisher text, client_id text, payload jsonb)
    LANGUAGE c STABLE PARALLEL RESTRICTED STRICT ROWS 100 AS 'MODULE_PATHNAME', 'aurora_topic_events';
COMMENT ON FUNCTION aurora.topic_events(bigint, bigint, int) IS
    'The events of a topic after a number, in their order, up to max_rows (1 to 10000), but no more than some 4 MB of payloads. For members of aurora_gateway, which have asked open_stream() for whom they read. Errors: 22023, 42501.';

CREATE FUNCTION aurora.submitted_job(INOUT job_id bigint, OUT is_new boolean) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    target record;
BEGIN
    PERFORM aurora.require_lead();
    -- The row's maker tells: another one's job may be younger than this transaction, too.
    SELECT j.company_id, j.submitted_by, j.xmin = pg_current_xact_id_if_assigned()::xid AS is_new INTO target
        FROM aurora.job j WHERE j.job_id = submitted_job.job_id;
    IF NOT FOUND THEN
        SELECT a.company_id, a.submitted_by, false AS is_new INTO target FROM aurora.job_archive a WHERE a.job_id = submitted_job.job_id;
    END IF;
    IF NOT FOUND OR NOT aurora.may_see(target.company_id, target.submitted_by) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'the unique key is that of a job that the caller may not see',
            HINT = 'Unique keys are shared by the company: choose another one.';
    END IF;
    is_new := coalesce(target.is_new, false);
END
$$;
COMMENT ON FUNCTION aurora.submitted_job(bigint) IS
    'Asked behind generate() or submit_job() with a unique key, in the same transaction and not below a savepoint, by who goes on to show the job: was it made, or found with that key. Only what was made is the caller''s to end. Errors: 42501 the job is another one''s, whom the caller may not see; 25006 on a standby.';

CREATE FUNCTION aurora.job_outputs(job_ids bigint[], after_tokens bigint[])
    RETURNS TABLE (job_id bigint, state text, first_token bigint, last_token bigint, text text, restarted boolean, finish_reason text,
                   error text, prompt_tokens bigint, completion_tokens bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    result jsonb;
    usage jsonb;
    began bigint;
    wanted record;
BEGIN
    PERFORM aurora.require_gateway();
    IF cardinality(job_ids) IS DISTINCT FROM cardinality(after_tokens) OR cardinality(job_ids) > 10000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'job_ids and after_tokens are of different lengths, or longer than 10000', HINT = 'Each job has the token after which its text goes on, 0 from the start.';
    END IF;
    FOR wanted IN SELECT u.id, coalesce(u.after, 0) AS after FROM unnest(job_ids, after_tokens) u (id, after) LOOP
        job_id := wanted.id;
        SELECT j.state, j.error, NULL INTO state, error, result FROM aurora.job j WHERE j.job_id = wanted.id;
        IF NOT FOUND THEN
            SELECT a.state, a.error, a.result INTO state, error, result FROM aurora.job_archive a WHERE a.job_id = wanted.id;
            CONTINUE WHEN NOT FOUND;
        END IF;
        usage := result -> 'usage';
        finish_reason := CASE state WHEN 'done' THEN coalesce(result ->> 'finish_reason', 'stop') WHEN 'cancelled' THEN 'cancelled'
                                    WHEN 'dead' THEN 'error' WHEN 'discarded' THEN 'error' END;
        prompt_tokens := aurora.number_or_null(usage, 'prompt_tokens')::bigint;
        completion_tokens := aurora.number_or_null(usage, 'completion_tokens')::bigint;
        SELECT o.token_no, o.began_at INTO last_token, began FROM aurora.generation_output o WHERE o.job_id = wanted.id ORDER BY o.token_no DESC LIMIT 1;
        IF FOUND THEN
            -- A text that began anew after what was read comes whole, and what was read no longer counts.
            restarted := wanted.after < began AND wanted.after > 0;
            first_token := greatest(wanted.after, began);
            SELECT coalesce(string_agg(o.text, '' ORDER BY o.token_no), '') INTO text FROM aurora.generation_output o
                WHERE o.job_id = wanted.id AND o.token_no > first_token;
        ELSE
            -- The pieces are forgotten before the result is.
            restarted := false;
            first_token := 0;
            last_token := CASE WHEN state = 'done' AND result ->> 'text' <> '' THEN greatest(completion_tokens, 1) ELSE 0 END;
            text := CASE WHEN last_token > wanted.after THEN result ->> 'text' ELSE '' END;
        END IF;
        last_token := greatest(last_token, wanted.after);
        IF text <> '' OR restarted OR finish_reason IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION aurora.job_outputs(bigint[], bigint[]) IS
    'Of many jobs what is new in their texts after a token each: the tokens from first_token, not itself, to last_token, which is what to ask after the next time, and their text; restarted: the text began anew, and what was read before no longer counts; finish_reason: the model''s (stop, length, ...), cancelled or error, null while it goes on; error: why, or why the last attempt failed; tokens of a job that is done. Jobs of which nothing is new are left out, as are those that are not there. Works on every replica. For members of aurora_gateway, which know whose jobs they are. Errors: 22023, 42501.';
