-- Requests to models: what is asked for, checked as OpenAI's servers do it, and submitted as jobs of the queue "gpu".

CREATE FUNCTION aurora.make_gpu_queue() RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found int;
BEGIN
    SELECT q.queue_id INTO found FROM aurora.job_queue q WHERE q.name = 'gpu' AND q.company_id IS NULL;
    IF found IS NULL THEN
        INSERT INTO aurora.job_queue AS q (name, lease, max_attempts, retry_delay, retry_delay_max)
            VALUES ('gpu', interval '30 seconds', 5, interval '1 second', interval '1 minute')
            ON CONFLICT ON CONSTRAINT job_queue_name_key DO UPDATE SET name = q.name RETURNING q.queue_id INTO found;
    END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION aurora.make_gpu_queue() IS 'The number of the shared queue "gpu", which is made when it is first needed: leases of 30 seconds, five attempts.';

-- ---- checks ----

CREATE FUNCTION aurora.refuse_request(message text, hint text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE invalid_parameter_value USING MESSAGE = message, HINT = coalesce(hint, 'The fields are those of OpenAI''s API.');
END
$$;
COMMENT ON FUNCTION aurora.refuse_request(text, text) IS 'Raises 22023.';

CREATE FUNCTION aurora.check_message(message jsonb, n bigint) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    role text := message ->> 'role';
    content jsonb := message -> 'content';
BEGIN
    IF jsonb_typeof(message) <> 'object' OR role IS NULL OR role NOT IN ('system', 'developer', 'user', 'assistant', 'tool', 'function') THEN
        PERFORM aurora.refuse_request(format('message %s has no role', n), 'Roles: system, developer, user, assistant, tool.');
    ELSIF content IS NULL OR jsonb_typeof(content) = 'null' THEN
        IF role <> 'assistant' OR NOT message ?| ARRAY['tool_calls', 'function_call'] THEN
            PERFORM aurora.refuse_request(format('message %s has no content', n), 'Only an assistant''s message with tool_calls may have none.');
        END IF;
    ELSIF jsonb_typeof(content) = 'array' THEN
        IF EXISTS (SELECT FROM jsonb_array_elements(content) p
                   WHERE jsonb_typeof(p) <> 'object' OR p ->> 'type' IS NULL
                      OR p ->> 'type' = 'text' AND jsonb_typeof(p -> 'text') IS DISTINCT FROM 'string') THEN
            PERFORM aurora.refuse_request(format('message %s has a part without a type, or a text part without text', n));
        END IF;
    ELSIF jsonb_typeof(content) <> 'string' THEN
        PERFORM aurora.refuse_request(format('the content of message %s is neither a text nor a list of parts', n));
    END IF;
    IF role = 'tool' AND jsonb_typeof(message -> 'tool_call_id') IS DISTINCT FROM 'string' THEN
        PERFORM aurora.refuse_request(format('message %s answers a tool call, but has no tool_call_id', n));
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.check_message(jsonb, bigint) IS 'Raises 22023 unless this is a message of a chat.';

CREATE FUNCTION aurora.check_request(request jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stop jsonb := nullif(request -> 'stop', 'null');
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['max_tokens', 'max_completion_tokens', 'seed', 'top_logprobs', 'n'] LOOP
        IF aurora.json_number(request, name, CASE name WHEN 'seed' THEN -9.3e18 WHEN 'top_logprobs' THEN 0 ELSE 1 END,
                              CASE name WHEN 'seed' THEN 1.9e19 WHEN 'top_logprobs' THEN 20 WHEN 'n' THEN 1 ELSE 10000000 END) % 1 <> 0 THEN
            PERFORM aurora.refuse_request(format('"%s" is not an integer', name));
        END IF;
    END LOOP;
    PERFORM aurora.json_number(request, 'temperature', 0, 2), aurora.json_number(request, 'top_p', 0, 1),
            aurora.json_number(request, 'presence_penalty', -2, 2), aurora.json_number(request, 'frequency_penalty', -2, 2);
    IF jsonb_typeof(stop) = 'array' AND (jsonb_array_length(stop) > 4 OR EXISTS (SELECT FROM jsonb_array_elements(stop) s WHERE jsonb_typeof(s) <> 'string'))
       OR jsonb_typeof(stop) NOT IN ('array', 'string') THEN
        PERFORM aurora.refuse_request('"stop" is neither a text nor up to four texts');
    END IF;
    IF request ->> 'stream' IS NOT NULL OR request ->> 'stream_options' IS NOT NULL THEN
        PERFORM aurora.refuse_request('a job has no "stream"', 'Its text streams anyway: read it with aurora.job_output().');
    END IF;
    FOREACH name IN ARRAY ARRAY['model', 'messages', 'prompt', 'input'] LOOP
        IF request ? name THEN
            PERFORM aurora.refuse_request(format('"%s" is no option', name), 'It is an argument of its own.');
        END IF;
    END LOOP;
    IF jsonb_typeof(nullif(request -> 'response_format', 'null')) <> 'object'
       OR request -> 'response_format' ->> 'type' NOT IN ('text', 'json_object', 'json_schema') THEN
        PERFORM aurora.refuse_request('"response_format" has an unknown type', 'Types: text, json_object, json_schema.');
    END IF;
    IF jsonb_typeof(nullif(request -> 'tools', 'null')) <> 'array' THEN
        PERFORM aurora.refuse_request('"tools" is not a list');
    END IF;
    IF jsonb_typeof(nullif(request -> 'logit_bias', 'null')) <> 'object' THEN
        PERFORM aurora.refuse_request('"logit_bias" is not an object of numbers by token');
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.check_request(jsonb) IS 'Raises 22023 when an OpenAI field is of the wrong type or out of range. Fields it does not know pass.';

CREATE FUNCTION aurora.text_tokens(content jsonb) RETURNS bigint
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE jsonb_typeof(content)
        WHEN 'string' THEN octet_length(content #>> '{}') / 4 + 1
        WHEN 'number' THEN 1
        WHEN 'array' THEN (SELECT coalesce(sum(aurora.text_tokens(e)), 0)::bigint FROM jsonb_array_elements(content) e)
        WHEN 'object' THEN CASE WHEN content ? 'content' THEN 4 + aurora.text_tokens(content -> 'content')
                                WHEN content ? 'text' THEN aurora.text_tokens(content -> 'text') ELSE 1000 END
        ELSE 0 END
$$;
COMMENT ON FUNCTION aurora.text_tokens(jsonb) IS 'About how many tokens a prompt, messages or inputs have: a quarter of their bytes, a thousand for an image.';

CREATE FUNCTION aurora.require_model(model text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM aurora.gpu_model m WHERE m.model = require_model.model) THEN
        RETURN;
    END IF;
    RAISE invalid_parameter_value USING
        MESSAGE = format('no device has the model "%s"', left(model, 200)),
        HINT = coalesce('Models: ' || (SELECT string_agg(n.model, ', ' ORDER BY n.model)
                                       FROM (SELECT DISTINCT m.model FROM aurora.gpu_model m ORDER BY 1 LIMIT 50) n) || '.',
                        'Devices are reported by aurora-gpu-worker, which runs on the nodes that have them.');
END
$$;
COMMENT ON FUNCTION aurora.require_model(text) IS 'Raises 22023 when no device, of a node that is up or not, has the model.';

-- ---- submitting ----

CREATE FUNCTION aurora.submit_generation(model text, request jsonb, embeds boolean, prompt_tokens bigint, class text, company text,
                                         timeout interval, run_after bigint[], unique_key text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shared int;
    made bigint;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_model(model);
    IF NOT timeout BETWEEN interval '1 millisecond' AND interval '30 days' THEN
        PERFORM aurora.refuse_request('the time-out is not between a millisecond and 30 days', 'Null is for none.');
    END IF;
    shared := aurora.make_gpu_queue();
    IF aurora.find_queue('gpu', company) <> shared THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'the company has a queue "gpu" of its own',
            HINT = 'Requests to models go to the shared queue of that name: remove the company''s with aurora.remove_queue().';
    END IF;
    made := aurora.submit_job('gpu', request, class, kind => model, unique_key => unique_key, run_after => run_after, company => company);
    INSERT INTO aurora.generation (job_id, company_id, embeds, prompt_tokens, max_tokens, deadline)
        SELECT made, j.company_id, submit_generation.embeds, least(submit_generation.prompt_tokens, 2000000000),
               coalesce(request -> 'max_completion_tokens', request -> 'max_tokens')::int, clock_timestamp() + timeout
        FROM aurora.job j WHERE j.job_id = made
        ON CONFLICT ON CONSTRAINT generation_pkey DO NOTHING;
    RETURN made;
END
$$;
COMMENT ON FUNCTION aurora.submit_generation(text, jsonb, boolean, bigint, text, text, interval, bigint[], text) IS
    'Submits a request that has been checked; generate() and embed() ask this.';

CREATE FUNCTION aurora.generate(model text, prompt text DEFAULT NULL, messages jsonb DEFAULT NULL, class text DEFAULT 'normal',
                                max_tokens int DEFAULT NULL, temperature double precision DEFAULT NULL, options jsonb DEFAULT '{}',
                                company text DEFAULT NULL, timeout interval DEFAULT NULL, run_after bigint[] DEFAULT NULL,
                                unique_key text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    request jsonb := coalesce(options, '{}');
BEGIN
    PERFORM aurora.require_lead();
    IF jsonb_typeof(request) <> 'object' THEN
        PERFORM aurora.refuse_request('options are not an object');
    ELSIF num_nonnulls(prompt, messages) <> 1 THEN
        PERFORM aurora.refuse_request('a request has either a prompt or messages', 'messages is a list like [{"role": "user", "content": "Hello"}].');
    ELSIF messages IS NOT NULL AND (jsonb_typeof(messages) <> 'array' OR jsonb_array_length(messages) = 0) THEN
        PERFORM aurora.refuse_request('messages are not a list of one or more');
    END IF;
    request := request || jsonb_strip_nulls(jsonb_build_object('max_tokens', max_tokens, 'temperature', temperature));
    PERFORM aurora.check_request(request);
    PERFORM aurora.check_message(m.message, m.n) FROM jsonb_array_elements(messages) WITH ORDINALITY m (message, n);
    RETURN aurora.submit_generation(
        model, request || CASE WHEN prompt IS NULL THEN jsonb_build_object('messages', messages) ELSE jsonb_build_object('prompt', prompt) END,
        false, aurora.text_tokens(coalesce(messages, to_jsonb(prompt))), class, company, timeout, run_after, unique_key);
END
$$;
COMMENT ON FUNCTION aurora.generate(text, text, jsonb, text, int, double precision, jsonb, text, interval, bigint[], text) IS
    'Has a model continue a prompt or answer messages (OpenAI''s), and returns the number of the job; job_output() has the text as it comes, aurora.jobs the result. class: interactive, normal, batch. options: other fields of OpenAI''s API, which are checked where known and passed on. timeout: given up after it, running or not. run_after, unique_key: as in submit_job(). Errors: 22023 bad field, or a model that no device has; 42501; 54000 over 1 MiB; 55000 the queue is drained; 25006 on a standby.';

CREATE FUNCTION aurora.embed(model text, input jsonb, class text DEFAULT 'normal', options jsonb DEFAULT '{}', company text DEFAULT NULL,
                             timeout interval DEFAULT NULL, run_after bigint[] DEFAULT NULL, unique_key text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    request jsonb := coalesce(options, '{}');
    is_list boolean := jsonb_typeof(input) = 'array';
BEGIN
    PERFORM aurora.require_lead();
    IF jsonb_typeof(request) <> 'object' THEN
        PERFORM aurora.refuse_request('options are not an object');
    ELSIF input IS NULL OR jsonb_typeof(input) NOT IN ('string', 'array') OR input IN ('""', '[]') THEN
        PERFORM aurora.refuse_request('the input is neither a text nor a list', 'A text, a list of texts, a list of tokens, or a list of such lists; none empty.');
    ELSIF is_list AND (jsonb_array_length(input) > 2048 AND jsonb_typeof(input -> 0) <> 'number'
                       OR (SELECT count(DISTINCT jsonb_typeof(e)) > 1 OR bool_or(e IN ('""', '[]') OR jsonb_typeof(e) NOT IN ('string', 'number', 'array'))
                           FROM jsonb_array_elements(input) e)) THEN
        PERFORM aurora.refuse_request('the input is a list of more than 2048, of mixed kinds, or with an empty one');
    END IF;
    PERFORM aurora.check_request(request), aurora.json_number(request, 'dimensions', 1, 1000000);
    IF request ->> 'encoding_format' NOT IN ('float', 'base64') THEN
        PERFORM aurora.refuse_request('"encoding_format" is neither float nor base64');
    END IF;
    RETURN aurora.submit_generation(model, request || jsonb_build_object('input', input), true, aurora.text_tokens(input), class, company, timeout,
                                    run_after, unique_key);
END
$$;
COMMENT ON FUNCTION aurora.embed(text, jsonb, text, jsonb, text, interval, bigint[], text) IS
    'Has a model turn a text, or a list of up to 2048 texts, into vectors, and returns the number of the job; its result has "embeddings" in the same order. options: dimensions, encoding_format and the like. Otherwise as generate().';

-- ---- time-outs ----

CREATE FUNCTION aurora.expire_generations(max_jobs int DEFAULT 1000) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
    due record;
    target aurora.job;
    ended bigint := 0;
BEGIN
    PERFORM aurora.require_lead();
    FOR due IN SELECT g.job_id, g.deadline FROM aurora.generation g WHERE g.deadline <= clock_timestamp() ORDER BY g.deadline LIMIT max_jobs LOOP
        SELECT j.* INTO target FROM aurora.job j WHERE j.job_id = due.job_id FOR UPDATE SKIP LOCKED;
        IF FOUND AND target.state = 'running' AND target.cancel_requested_at IS NULL THEN
            UPDATE aurora.job j SET cancel_requested_at = clock_timestamp(), error = 'its time-out has passed' WHERE j.job_id = target.job_id;
            PERFORM pg_notify('aurora_cancel', target.job_id::text);
            ended := ended + 1;
        ELSIF FOUND AND target.state NOT IN ('running', 'dead') THEN
            PERFORM aurora.end_job(target, 'cancelled', 'its time-out has passed');
            ended := ended + 1;
        END IF;
        IF target.state IS DISTINCT FROM 'running' AND (target.job_id IS NOT NULL OR NOT EXISTS (SELECT FROM aurora.job j WHERE j.job_id = due.job_id)) THEN
            DELETE FROM aurora.generation g WHERE g.job_id = due.job_id;
        END IF;
    END LOOP;
    RETURN ended;
END
$$;
COMMENT ON FUNCTION aurora.expire_generations(int) IS
    'Cancels jobs whose time-out has passed: those that wait at once, those that run by asking their worker to stop; returns how many.';
