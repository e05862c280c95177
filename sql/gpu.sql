\set ECHO none
-- The GPU mesh: what workers report, what is asked of models, which device takes what, and the text that comes back. In a
-- database of its own, where no worker of the lead interferes; each statement is a transaction.
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only
\set regress :DBNAME
DROP DATABASE IF EXISTS regress_gpu;
CREATE DATABASE regress_gpu;
\connect regress_gpu
SET client_min_messages = error;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE EXTENSION pgtap;
CREATE EXTENSION aurora;
SELECT plan(190);

CREATE FUNCTION pg_temp.error_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
    RETURN state || ' | ' || message;
END
$$;
-- What a query gives to a role, or its error.
CREATE FUNCTION pg_temp.as_role(who name, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    state text;
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RESET ROLE;
    RETURN coalesce(result, 'none');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
    RETURN state;
END
$$;
CREATE FUNCTION pg_temp.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE 'SELECT string_agg(r::text, '' '') FROM (' || query || ') r' INTO result;
    RETURN coalesce(result, 'none');
END
$$;
-- A device with models given as name -> [resident, gigabytes].
CREATE FUNCTION pg_temp.device(index int, models jsonb, changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('index', index, 'uuid', 'GPU-' || index, 'name', 'RTX 4090', 'kind', 'cuda', 'memory_total', 24000000000,
               'memory_free', 24000000000 - (SELECT coalesce(sum((m.value ->> 1)::numeric * 1000000000), 0) FROM jsonb_each(models) m WHERE m.value ->> 0 = 'true'),
               'memory_used', 0, 'slots', 1, 'busy', 0,
               'models', (SELECT jsonb_agg(jsonb_build_object('name', m.key, 'resident', m.value -> 0, 'size', (m.value ->> 1)::numeric * 1000000000))
                          FROM jsonb_each(models) m)) || changes
$$;
-- The models of the jobs that a device takes.
CREATE FUNCTION pg_temp.takes(device int, node text, max_jobs int DEFAULT 1) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(t.job_id || ' ' || t.model, ', '), 'nothing') FROM aurora.take_generations(device, max_jobs, node => node) t
$$;
CREATE FUNCTION pg_temp.output(job_id bigint, after_token int DEFAULT 0) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(concat_ws(':', o.token_no, CASE WHEN o.restarted THEN 'restarted' ELSE o.text END, o.finish_reason), ' '), 'nothing')
    FROM aurora.job_output(job_id, after_token) o
$$;
-- The lease of a job runs out, and somebody looks.
CREATE FUNCTION pg_temp.lapse(of_job bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE aurora.job SET lease_until = now() - interval '1 second' WHERE job_id = of_job;
    PERFORM aurora.settle_queue(aurora.make_gpu_queue());
    RETURN (SELECT state FROM aurora.jobs WHERE job_id = of_job);
END
$$;

CREATE ROLE regress_gpu_ann;
CREATE ROLE regress_gpu_ben;
CREATE ROLE regress_gpu_operator IN ROLE aurora_operator;
CREATE ROLE regress_gpu_stray IN ROLE aurora_node;
CREATE ROLE regress_gpu_monitor IN ROLE aurora_monitor;
SELECT aurora.add_company('acme') AS ignored, aurora.add_company('bolt') AS ignored2 \gset
SELECT aurora.add_principal('ann', 'acme', 'regress_gpu_ann') AS ignored \gset
SELECT aurora.add_principal('ben', 'bolt', 'regress_gpu_ben') AS ignored \gset
SELECT name AS ignored FROM aurora.register_node('alpha', 'compute', login_role => 'regress_gpu_alpha') \gset
SELECT name AS ignored FROM aurora.register_node('beta', 'compute', login_role => 'regress_gpu_beta') \gset

-- ---- what is reported ----

SELECT is(pg_temp.rows_of('SELECT * FROM aurora.devices'), 'none', 'nobody has reported yet');
SELECT is(pg_temp.error_of($$ SELECT aurora.generate('small', 'Hello', company => 'acme') $$), '22023 | no device has the model "small"', 'and no model can be asked');
SELECT is(pg_temp.as_role('regress_gpu_alpha', format('SELECT aurora.report_devices(%L)', jsonb_build_array(
              pg_temp.device(0, '{"small": [true, 5], "middle": [false, 9], "large": [false, 20]}', '{"utilisation": 3.5, "temperature": 41, "power": 80, "power_limit": 450, "driver": "550.1", "compute_capability": "8.9"}')))),
          '("")', 'a node reports its devices');
SELECT is(pg_temp.rows_of($$ SELECT node, index, name, kind, state, live, uuid, memory_total, memory_free, utilisation, temperature, power, power_limit, driver,
                                    compute_capability, models, resident, slots, busy, speeds FROM aurora.devices $$),
          '(alpha,0,"RTX 4090",cuda,ready,t,GPU-0,24000000000,19000000000,3.5,41,80,450,550.1,8.9,"{large,middle,small}",{small},1,0,)',
          'everybody sees what was reported');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT aurora.report_devices('[]', 'beta') $$), '42501', 'a node reports about itself only');
SELECT is(pg_temp.as_role('regress_gpu_stray', $$ SELECT aurora.report_devices('[]', 'beta') $$), '42501', 'a role of no node about none');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT aurora.report_devices('[]', 'beta') $$), '42501', 'nor does a person');
SELECT is(pg_temp.as_role('regress_gpu_operator', format('SELECT aurora.report_devices(%L, %L)', jsonb_build_array(
              pg_temp.device(0, '{"small": [true, 5], "huge": [true, 28]}', '{"kind": "metal", "name": "M3 Max", "unified": true, "memory_total": 64000000000, "memory_free": 31000000000}'),
              pg_temp.device(1, '{"small": [false, 5]}', '{"kind": "cpu", "name": null}')), 'beta')), '("")', 'an operator for a node that it names');
SELECT is(pg_temp.error_of($$ SELECT aurora.report_devices('[]') $$), '22023 | no node is named', 'which it has to name');
SELECT is(pg_temp.error_of($$ SELECT aurora.report_devices('[]', 'gamma') $$), '22023 | there is no node "gamma"', 'as it is');
SELECT is(pg_temp.error_of(format('SELECT aurora.report_devices(%L, ''alpha'')', report)), '22023 | ' || message, title)
    FROM (VALUES ('{}', 'devices are not a list of up to 1024 objects', 'an object is no list of devices'),
                 ('[1]', 'devices are not a list of up to 1024 objects', 'a number is no device'),
                 ('[{}]', 'a device of node "alpha" has no index, or an unknown kind or state', 'a device has an index'),
                 ('[{"index": 0, "state": "happy"}]', 'a device of node "alpha" has no index, or an unknown kind or state', 'and a state that is known'),
                 ('[{"index": -1}]', '"index" is -1, not a number from 0 to 1023', 'an index is not negative'),
                 ('[{"index": 0, "slots": "two"}]', '"slots" is "two", not a number from 0 to 1024', 'slots are a number'),
                 ('[{"index": 0, "memory_total": -5}]', '"memory_total" is -5, not a number from 0 to 1000000000000000', 'memory is not negative'),
                 ('[{"index": 0, "draining": 1}]', '"draining" is 1, neither true nor false', 'a boolean is one'),
                 ('[{"index": 0, "name": 5}]', '"name" is 5, not a text', 'and a text'),
                 ('[{"index": 0, "models": [{}]}]', 'the models of device 0 are not a list of up to 1000 objects with a name', 'models have names')) v (report, message, title);
SELECT is(pg_temp.rows_of('SELECT node, index, state FROM aurora.devices'), '(alpha,0,ready) (beta,0,ready) (beta,1,ready)', 'a bad report changes nothing');
SELECT is(pg_temp.rows_of('SELECT node, device, state, live, slots, running, waiting FROM aurora.gpu_status'),
          '(alpha,0,ready,t,1,0,0) (beta,0,ready,t,1,0,0) (beta,1,ready,t,1,0,0)', 'the status is short');
SELECT is(pg_temp.as_role('regress_gpu_monitor', 'SELECT count(*) FROM aurora.devices d, aurora.gpu_status s, aurora.gpu_queue q'), '(0)', 'monitors may look');

-- ---- what is asked ----

SELECT is(pg_temp.error_of($$ SELECT aurora.generate('smal', 'Hello', company => 'acme') $$), '22023 | no device has the model "smal"', 'a model that no device has is refused');
SELECT is(pg_temp.error_of(format('SELECT aurora.generate(''small'', %s, company => ''acme'')', arguments)), '22023 | ' || message, title)
    FROM (VALUES ($$ NULL $$, 'a request has either a prompt or messages', 'something is asked'),
                 ($$ 'a', '[{"role": "user", "content": "b"}]' $$, 'a request has either a prompt or messages', 'but not two things'),
                 ($$ messages => '[]' $$, 'messages are not a list of one or more', 'messages are not none'),
                 ($$ messages => '[{"content": "b"}]' $$, 'message 1 has no role', 'a message has a role'),
                 ($$ messages => '[{"role": "user", "content": "a"}, {"role": "user"}]' $$, 'message 2 has no content', 'and content'),
                 ($$ messages => '[{"role": "user", "content": 5}]' $$, 'the content of message 1 is neither a text nor a list of parts', 'of the right kind'),
                 ($$ messages => '[{"role": "user", "content": [{"type": "text"}]}]' $$, 'message 1 has a part without a type, or a text part without text', 'also in its parts'),
                 ($$ messages => '[{"role": "tool", "content": "a"}]' $$, 'message 1 answers a tool call, but has no tool_call_id', 'an answer names its call'),
                 ($$ 'a', max_tokens => 0 $$, '"max_tokens" is 0, not a number from 1 to 10000000', 'there is at least a token'),
                 ($$ 'a', temperature => 2.5 $$, '"temperature" is 2.5, not a number from 0 to 2', 'it is not too hot'),
                 ($$ 'a', options => '{"top_p": 1.5}' $$, '"top_p" is 1.5, not a number from 0 to 1', 'top_p is a share'),
                 ($$ 'a', options => '{"n": 2}' $$, '"n" is 2, not a number from 1 to 1', 'there is one answer'),
                 ($$ 'a', options => '{"seed": 1.5}' $$, '"seed" is not an integer', 'a seed is whole'),
                 ($$ 'a', options => '{"stop": ["a", "b", "c", "d", "e"]}' $$, '"stop" is neither a text nor up to four texts', 'four texts stop it at most'),
                 ($$ 'a', options => '{"frequency_penalty": -3}' $$, '"frequency_penalty" is -3, not a number from -2 to 2', 'penalties are small'),
                 ($$ 'a', options => '{"response_format": {"type": "xml"}}' $$, '"response_format" has an unknown type', 'formats are known'),
                 ($$ 'a', options => '{"tools": {}}' $$, '"tools" is not a list', 'tools are a list'),
                 ($$ 'a', options => '{"stream": true}' $$, 'a job has no "stream"', 'all text streams'),
                 ($$ 'a', options => '{"model": "large"}' $$, '"model" is no option', 'the model is said once'),
                 ($$ 'a', options => '[]' $$, 'options are not an object', 'options are an object'),
                 ($$ 'a', timeout => '-1 s' $$, 'the time-out is not between a millisecond and 30 days', 'a time-out is not over already'),
                 ($$ 'a', class => 'urgent' $$, 'there is no class of jobs "urgent"', 'classes are known')) v (arguments, message, title);
SELECT is(pg_temp.error_of(format('SELECT aurora.embed(''small'', %L, company => ''acme'')', input)), '22023 | ' || message, title)
    FROM (VALUES (NULL, 'the input is neither a text nor a list', 'something is embedded'), ('""', 'the input is neither a text nor a list', 'which is not empty'),
                 ('["a", ""]', 'the input is a list of more than 2048, of mixed kinds, or with an empty one', 'nor in a list'),
                 ('["a", 1]', 'the input is a list of more than 2048, of mixed kinds, or with an empty one', 'which is not mixed'),
                 ((SELECT jsonb_agg('a'::text) FROM generate_series(1, 2049))::text, 'the input is a list of more than 2048, of mixed kinds, or with an empty one', 'nor too long')) v (input, message, title);
SELECT is((SELECT count(*) FROM aurora.job), 0::bigint, 'nothing of this was submitted');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT aurora.generate('small', 'Hello', max_tokens => 300, options => '{"stop": "\n", "top_k": 40}', timeout => '1 hour') $$), '(1)', 'a person asks a model');
SELECT is(pg_temp.rows_of('SELECT queue, kind, class, company, submitted_by, payload FROM aurora.jobs'),
          '(gpu,small,normal,acme,ann,"{""stop"": ""\\n"", ""top_k"": 40, ""prompt"": ""Hello"", ""max_tokens"": 300}")', 'it is a job of the queue, made when it is first needed');
SELECT is(pg_temp.rows_of($$ SELECT embeds, prompt_tokens, max_tokens, deadline > now() + interval '59 minutes' FROM aurora.generation $$), '(f,2,300,t)', 'with what the claim has to know');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT aurora.generate('small', 'Hello', company => 'bolt') $$), '22023', 'for a company of its own only');
SELECT is(pg_temp.as_role('regress_gpu_stray', $$ SELECT aurora.generate('small', 'Hello') $$), '42501', 'nodes ask nothing');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT aurora.generate('small', messages => '[{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}]',
              class => 'interactive', unique_key => 'once') UNION ALL SELECT aurora.generate('small', 'again', unique_key => 'once') $$), '(2) (2)', 'a unique key is asked once');
SELECT is(aurora.text_tokens('[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "x"}}]}]'), 1007::bigint, 'an image counts as a thousand tokens');
SELECT is(pg_temp.as_role('regress_gpu_ben', $$ SELECT aurora.embed('small', '["a", "b"]', 'batch', '{"dimensions": 256}') $$), '(3)', 'vectors are asked for');
SELECT aurora.add_queue('gpu', 'bolt') AS own \gset
SELECT is(pg_temp.as_role('regress_gpu_ben', $$ SELECT aurora.generate('small', 'Hello') $$), '55000', 'a company''s own queue of that name is no place for it');
SELECT aurora.remove_queue('gpu', 'bolt') AS ignored \gset

-- ---- why, and when ----

SELECT is(pg_temp.rows_of($$ SELECT job_id, model, class, load_ms, unload_ms, chosen, reason, left_to FROM aurora.explain_claim(0, 'alpha') ORDER BY score DESC $$),
          '(3,small,batch,0,0,t,chosen,) (2,small,interactive,0,0,f,"another one has a higher score",) (1,small,normal,0,0,f,"another one has a higher score",)',
          'a device says which it would take: vectors are quick');
SELECT is(pg_temp.rows_of($$ SELECT job_id, chosen, reason, left_to FROM aurora.explain_claim(1, 'beta') WHERE job_id = 2 $$),
          '(2,f,"another device has it done sooner",alpha/0)', 'a slow one leaves what another has done sooner');
SELECT is(pg_temp.rows_of('SELECT job_id, model, class, position, device, problem FROM aurora.gpu_queue'),
          '(1,small,normal,1,beta/0,) (3,small,batch,2,alpha/0,) (2,small,interactive,3,alpha/0,)', 'the queue tells the order that is expected, and where');
SELECT is(pg_temp.rows_of('SELECT bool_and(eta > starts_in AND starts_in >= interval ''0'') FROM aurora.gpu_queue'), '(t)', 'and when');
SELECT is(pg_temp.as_role('regress_gpu_ben', 'SELECT job_id FROM aurora.gpu_queue'), '(3)', 'to whom it may see');
SELECT is(pg_temp.as_role('regress_gpu_operator', 'SELECT count(*) FROM aurora.gpu_queue'), '(3)', 'operators see all');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT * FROM aurora.explain_claim(0, 'alpha') $$), '42501', 'claims are explained to operators and nodes');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT count(*) FROM aurora.explain_claim(0) $$), '(3)', 'a node''s own');
SELECT is((SELECT count(DISTINCT l) FROM unnest(aurora.gpu_verdict_labels()) l), 10::bigint, 'there are ten ways in which a job may fare');

-- ---- taking ----

SELECT is(pg_temp.error_of($$ SELECT aurora.take_generations(7, node => 'alpha') $$), '22023 | node "alpha" has no device 7', 'a device that is not there takes nothing');
SELECT is(pg_temp.error_of($$ SELECT aurora.take_generations(NULL, node => 'alpha') $$), '22004 | the device may not be null', 'nor no device');
SELECT is(pg_temp.error_of($$ SELECT aurora.take_generations(0, -1, node => 'alpha') $$), '22023 | 0 to 1024 jobs are taken at once', 'nor less than none');
SELECT is(pg_temp.error_of($$ SELECT aurora.take_generations(0, lease => '1 ms', node => 'alpha') $$), '22023 | a lease lasts 1 second to 7 days', 'nor for an instant');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT aurora.take_generations(0, node => 'alpha') $$), '42501', 'people do not take');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT aurora.take_generations(0, node => 'beta') $$), '42501', 'nor nodes for others');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT job_id, attempt, class, model, task, payload, company_id = 2 AS bolt, partial_text, partial_tokens, deadline, lease_until > now() FROM aurora.take_generations(0, 5) $$),
          '(3,1,batch,small,embed,"{""input"": [""a"", ""b""], ""dimensions"": 256}",t,"",0,,t)', 'a node takes as many as there are slots');
SELECT is(pg_temp.takes(0, 'alpha', 5), 'nothing', 'a device whose slots are busy takes nothing');
SELECT is(pg_temp.rows_of('SELECT node, device, running, waiting FROM aurora.gpu_status'), '(alpha,0,1,2) (beta,0,0,2) (beta,1,0,2)', 'the status counts what runs, and what waits for a model of the device');
SELECT is(pg_temp.rows_of($$ SELECT reason FROM aurora.explain_claim(0, 'alpha') $$), '("no slot is free") ("no slot is free")', 'and that is why');
SELECT is(pg_temp.as_role('regress_gpu_beta', $$ SELECT aurora.finish_generation(3, 1, '{"embeddings": [[1], [2]]}') $$), '(f)', 'another node cannot finish it');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT aurora.finish_generation(3, 1, '{"embeddings": [[1], [2]], "usage": {"prompt_tokens": 2}}') $$), '(t)', 'the node that has it finishes it');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT aurora.finish_generation(3, 1, '{"embeddings": [[1], [2]], "usage": {"prompt_tokens": 2}}') $$), '(t)', 'also twice');
SELECT is(pg_temp.rows_of('SELECT state, result FROM aurora.jobs WHERE job_id = 3'), '(done,"{""usage"": {""prompt_tokens"": 2}, ""embeddings"": [[1], [2]]}")', 'the vectors are its result');
SELECT is(pg_temp.rows_of('SELECT count(*) FROM aurora.generation WHERE job_id = 3'), '(0)', 'and what the claim had to know is gone');

-- ---- text ----

SELECT is(pg_temp.takes(0, 'alpha'), '2 small', 'the interactive one is next');
SELECT is(pg_temp.output(2), 'nothing', 'it has no text yet');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{0}', '{It is}', '{2}') $$), '(2,running)', 'its node appends');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{0}', '{It is}', '{2}') $$), '(2,running)', 'a batch may come twice');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{0}', '{It is a cät}', '{5}') $$), '(2,running)', 'or with more behind it');
SELECT is(pg_temp.output(2), '2:It is 5: a cät', 'and counts once');
SELECT is(pg_temp.output(2, 2), '5: a cät', 'a reader goes on from the last token it has');
SELECT is(pg_temp.as_role('regress_gpu_ann', 'SELECT token_no, text FROM aurora.job_output(2, 2)'), '(5," a cät")', 'who asked reads');
SELECT is(pg_temp.as_role('regress_gpu_ben', 'SELECT * FROM aurora.job_output(2)'), '42704', 'others do not know of it');
SELECT is(pg_temp.as_role('regress_gpu_operator', 'SELECT * FROM aurora.job_output(2)'), '42704', 'nor do operators, whom the text does not concern');
SELECT is(pg_temp.as_role('regress_gpu_ann', 'SELECT count(*) FROM aurora.generation_output'), '42501', 'the table is not read past it');
SELECT is(pg_temp.as_role('regress_gpu_beta', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{5}', '{x}', '{1}') $$), '(2,lost)', 'another node appends nothing');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{2}', '{2}', '{5}', '{x}', '{1}') $$), '(2,lost)', 'nor another attempt');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{9}', '{x}', '{1}') $$), '(2,lost)', 'nor text behind a gap');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{2}', '{ a dog}', '{4}') $$), '(2,lost)', 'nor text that contradicts what is stored');
SELECT is(pg_temp.as_role('regress_gpu_alpha', $$ SELECT * FROM aurora.append_outputs('{99}', '{1}', '{0}', '{x}', '{1}') $$), '(99,lost)', 'nor to a job that is not there');
SELECT is(pg_temp.as_role('regress_gpu_ann', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{5}', '{x}', '{1}') $$), '42501', 'people append nothing');
SELECT is(pg_temp.as_role('regress_gpu_stray', $$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{5}', '{x}', '{1}') $$), '42501', 'nor does a role of no node');
SELECT is(left(pg_temp.error_of(format('SELECT aurora.append_outputs(%s)', arguments)), 5), '22023', 'batches are whole: ' || arguments)
    FROM unnest(ARRAY['NULL, NULL, NULL, NULL, NULL', $$'{2}', '{1}', '{0}', '{}', '{1}'$$, $$'{2}', '{1}', '{0}', '{NULL}', '{1}'$$, $$'{2}', '{1}', '{-1}', '{a}', '{1}'$$,
                      $$'{2}', '{1}', '{0}', '{a}', '{0}'$$]) arguments;
SELECT is(pg_temp.output(2), '2:It is 5: a cät', 'the text is as it was');

-- ---- leases, resuming, restarts ----

UPDATE aurora.job SET lease_until = now() + interval '5 seconds' WHERE job_id = 2;
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{5}', '{""}', '{0}') $$), '(2,running)', 'an empty batch');
SELECT is(pg_temp.rows_of($$ SELECT lease_until > now() + interval '20 seconds' FROM aurora.job WHERE job_id = 2 $$), '(t)', 'renews a lease that is half over');
SELECT is(pg_temp.lapse(2), 'waiting', 'a lease that runs out has the job wait again');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.append_outputs('{2}', '{1}', '{5}', '{x}', '{1}') $$), '(2,lost)', 'who had it appends nothing more');
SELECT is(pg_temp.rows_of($$ SELECT job_id, attempt, partial_text, partial_tokens FROM aurora.take_generations(0, node => 'alpha') $$), '(2,2,"It is a cät",5)', 'who takes it next gets what is stored');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.append_outputs('{2}', '{2}', '{5}', '{.}', '{1}') $$), '(2,running)', 'and goes on from there');
SELECT is(pg_temp.output(2), '2:It is 5: a cät 6:.', 'the reader notices nothing');
SELECT is(pg_temp.error_of('SELECT aurora.restart_output(2, 1)'), '55000 | the caller does not have job 2 in attempt 1', 'only who has it restarts it');
SELECT aurora.restart_output(2, 2) AS ignored \gset
SELECT aurora.restart_output(2, 2) AS ignored \gset
SELECT is(pg_temp.output(2, 6), '7:restarted', 'a restart is seen, once');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.append_outputs('{2}', '{2}', '{0}', '{No}', '{1}') $$), '(2,running)', 'tokens are counted from the beginning again');
SELECT is(pg_temp.output(2, 6), '7:restarted 8:No', 'after the restart comes the new text');
SELECT is(pg_temp.output(2), '7:restarted 8:No', 'who begins to read gets that only');
SELECT is(pg_temp.error_of($$ SELECT aurora.finish_generation(2, 2, '{"usage": {}}') $$), '22023 | the result of a request is no object with a finish_reason or embeddings', 'text without a finish_reason is not done');
SELECT is(pg_temp.rows_of($$ SELECT aurora.finish_generation(2, 2, '{"finish_reason": "length", "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "cached_tokens": 200},
              "timings": {"load_ms": 4000, "prompt_ms": 400, "decode_ms": 2000}}') $$), '(t)', 'with one it is');
SELECT is(pg_temp.output(2, 7), '8:No 8::length', 'the end is seen');
SELECT is(pg_temp.rows_of($$ SELECT state, result ->> 'text', result ->> 'finish_reason' FROM aurora.jobs WHERE job_id = 2 $$), '(done,No,length)', 'the archive has the whole text');
SELECT is(pg_temp.rows_of($$ SELECT jobs, loads, load_ms, prompt_rate, decode_rate, mean_output, round(uncached::numeric, 2) FROM aurora.gpu_speed WHERE node = 'alpha' AND model = 'small' AND mean_output IS NOT NULL $$),
          '(2,1,4000,2000,50,100,0.90)', 'and the device''s speed is learned');
SELECT is((SELECT speeds -> 'small' ->> 'decode_rate' FROM aurora.devices WHERE node = 'alpha'), '50.0', 'which its view shows');
SELECT is(pg_temp.rows_of($$ SELECT aurora.learn_speed('alpha', 0, 'small', '{"usage": {"completion_tokens": "many"}, "timings": {"decode_ms": -5, "prompt_ms": null, "load_ms": 1e300}}') $$), '("")', 'nonsense in timings');
SELECT is(pg_temp.rows_of($$ SELECT jobs, load_ms, decode_rate FROM aurora.gpu_speed WHERE node = 'alpha' AND model = 'small' $$), '(3,4000,50)', 'teaches nothing');

-- ---- ends of all sorts ----

SELECT is(pg_temp.takes(0, 'alpha'), '1 small', 'the normal one is left');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.append_outputs('{1}', '{1}', '{0}', '{Well}', '{1}') $$), '(1,running)', 'it runs');
SELECT is(pg_temp.as_role('regress_gpu_ann', 'SELECT aurora.cancel_job(1)'), '(cancelling)', 'and is cancelled');
SELECT is(pg_temp.rows_of($$ SELECT * FROM aurora.append_outputs('{1}', '{1}', '{1}', '{!}', '{1}') $$), '(1,cancelling)', 'which its node learns');
SELECT is(aurora.fail_job(1, 1, 'stopped'), 'cancelled', 'and stops');
SELECT is(pg_temp.output(1), '1:Well 2:! 2::cancelled', 'a reader sees how it ended');
SELECT aurora.generate('small', 'x', company => 'acme') AS job \gset
SELECT is(aurora.cancel_job(:job), 'cancelled', 'one that waits is cancelled at once');
SELECT is(pg_temp.output(:job), '0::cancelled', 'and has an end without text');
SELECT is(aurora.cancel_job(2), 'done', 'one that is done stays so');
SELECT aurora.generate('small', 'x', company => 'acme') AS job \gset
SELECT is(pg_temp.takes(0, 'alpha'), :'job' || ' small', 'one');
SELECT is(aurora.fail_job(:job, 1, 'no such thing', final => true), 'dead', 'fails for good');
SELECT is(pg_temp.output(:job), '0::error', 'which ends its text, too');
SELECT is(aurora.cancel_job(:job), 'discarded', 'a dead one is discarded');
SELECT aurora.generate('small', 'x', company => 'acme') AS job \gset
UPDATE aurora.job SET max_attempts = 1 WHERE job_id = :job;
SELECT is(pg_temp.takes(0, 'alpha'), :'job' || ' small', 'one that may be tried once');
SELECT is(pg_temp.as_role('regress_gpu_beta', format($$ SELECT aurora.give_back_generation(%s, 1) $$, :job)), '42501', 'is not another node''s to give back');
SELECT is(aurora.give_back_generation(:job, 2, 'not mine'), 'refused', 'nor that of who has it in no such attempt');
SELECT is(aurora.give_back_generation(:job, 1, 'the node ends'), 'waiting', 'waits again when its worker gives it back');
SELECT is(pg_temp.rows_of('SELECT attempt, max_attempts, error FROM aurora.jobs WHERE job_id = ' || :job), '(1,2,"the node ends")', 'which is no attempt of its own');
SELECT is(pg_temp.takes(0, 'alpha'), :'job' || ' small', 'and is taken again');
SELECT is(aurora.fail_job(:job, 2, 'broken'), 'dead', 'but tried once only');
SELECT aurora.cancel_job(:job) AS ignored \gset
SELECT aurora.generate('small', 'x', company => 'acme', timeout => '1 hour') AS job \gset
UPDATE aurora.generation SET deadline = now() - interval '1 second' WHERE job_id = :job;
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'whose time is over is not taken');
SELECT is(pg_temp.rows_of('SELECT state, error FROM aurora.jobs WHERE job_id = ' || :job), '(cancelled,"its time-out has passed")', 'but cancelled');
SELECT aurora.generate('small', 'x', company => 'acme', timeout => '1 hour') AS job \gset
SELECT is(pg_temp.takes(0, 'alpha'), :'job' || ' small', 'one that runs');
UPDATE aurora.generation SET deadline = now() - interval '1 second' WHERE job_id = :job;
SELECT is(aurora.expire_generations(), 1::bigint, 'when its time is over');
SELECT is(pg_temp.rows_of(format($$ SELECT * FROM aurora.append_outputs('{%s}', '{1}', '{0}', '{x}', '{1}') $$, :job)), format('(%s,cancelling)', :job), 'is to stop');
SELECT is(pg_temp.lapse(:job), 'cancelled', 'and when nobody answers, is cancelled with its lease');
SELECT is(aurora.expire_generations(), 0::bigint, 'and forgotten');

-- ---- who is not to get work ----

SELECT aurora.generate('small', 'x', company => 'acme') AS job \gset
SELECT aurora.drain_node('alpha') AS ignored \gset
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'a drained node gets nothing');
SELECT is(pg_temp.rows_of($$ SELECT state, live FROM aurora.devices WHERE node = 'alpha' $$), '(draining,f)', 'and its device shows it');
SELECT is(pg_temp.rows_of($$ SELECT reason FROM aurora.explain_claim(0, 'alpha') $$), '("the device takes no work")', 'and says so');
SELECT aurora.drain_node('alpha', false) AS ignored \gset
INSERT INTO aurora.node_state (node, state, since) VALUES ('alpha', 'down', now());
SELECT is(pg_temp.rows_of($$ SELECT state, live FROM aurora.devices WHERE node = 'alpha' $$), '("node down",f)', 'devices of a node that is down are not live');
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'and get nothing');
DELETE FROM aurora.node_state;
UPDATE aurora.gpu_device SET reported_at = now() - interval '1 minute' WHERE node = 'alpha';
SELECT is(pg_temp.rows_of($$ SELECT state, live FROM aurora.devices WHERE node = 'alpha' $$), '(silent,f)', 'nor are those that are silent');
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'which get nothing either');
SELECT aurora.report_devices(jsonb_build_array(pg_temp.device(0, '{"small": [true, 5]}', '{"state": "lost", "problem": "fell off the bus"}')), 'alpha') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT state, live, problem, models FROM aurora.devices WHERE node = 'alpha' $$), '(lost,f,"fell off the bus",{small})', 'nor one that is lost');
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'and so on');
SELECT aurora.report_devices('[]', 'alpha') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT index FROM aurora.devices WHERE node = 'alpha' $$), 'none', 'what is not reported is gone');
SELECT is(pg_temp.rows_of($$ SELECT jobs FROM aurora.gpu_speed WHERE node = 'alpha' AND decode_rate IS NOT NULL $$), '(3)', 'but its speeds are not forgotten');
SELECT aurora.report_devices(jsonb_build_array(pg_temp.device(0, '{"small": [true, 5], "large": [false, 20]}')), 'alpha') AS ignored \gset
SELECT aurora.pause_queue('gpu') AS ignored \gset
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'from a paused queue nothing is taken');
SELECT aurora.pause_queue('gpu', false) AS ignored \gset
SELECT is(pg_temp.takes(0, 'alpha'), :'job' || ' small', 'until it goes on');

-- ---- the policy ----

SELECT aurora.report_devices(jsonb_build_array(pg_temp.device(0, '{"small": [true, 5], "large": [false, 20]}', '{"slots": 2}')), 'alpha') AS ignored \gset
SELECT aurora.generate('large', 'x', class => 'interactive', company => 'acme') AS large \gset
SELECT is(pg_temp.rows_of(format($$ SELECT reason FROM aurora.explain_claim(0, 'alpha') WHERE job_id = %s $$, :large)), '("models that are running leave no memory for it")', 'a model that does not fit beside what runs has to wait');
SELECT aurora.generate('small', 'x', class => 'batch', company => 'acme') AS batch \gset
SELECT is(pg_temp.rows_of(format($$ SELECT reason FROM aurora.explain_claim(0, 'alpha') WHERE job_id = %s $$, :batch)), '("the last slot is kept from batch")', 'the last slot is kept from batch for a moment');
UPDATE aurora.job SET ready_at = now() - interval '11 seconds' WHERE job_id IN (:large, :batch);
SELECT is(pg_temp.rows_of(format($$ SELECT reason FROM aurora.explain_claim(0, 'alpha') WHERE job_id = %s $$, :batch)), '("the device waits until it has room for an interactive job")', 'an interactive job that has waited long gets the device emptied');
SELECT is(pg_temp.takes(0, 'alpha'), 'nothing', 'which takes nothing meanwhile');
SELECT is(pg_temp.rows_of($$ SELECT aurora.finish_generation(job_id, attempt, '{"finish_reason": "stop"}') FROM aurora.job WHERE state = 'running' $$), '(t)', 'and when it is empty');
SELECT is(pg_temp.takes(0, 'alpha'), :'large' || ' large', 'takes it');
SELECT is(pg_temp.rows_of($$ SELECT job_id, problem FROM aurora.gpu_queue $$), format('(%s,)', :batch), 'one is left');
SELECT aurora.report_devices('[]', 'alpha'), aurora.report_devices('[]', 'beta') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT job_id, problem FROM aurora.gpu_queue $$), format('(%s,"no device has the model")', :batch), 'whose model nobody has any more, which the queue tells');

-- ---- a device whose model is rarely asked for, behind many others ----

SELECT aurora.report_devices(jsonb_build_array(pg_temp.device(0, '{"small": [true, 5]}')), 'alpha'), aurora.report_devices(jsonb_build_array(pg_temp.device(0, '{"rare": [true, 5]}')), 'beta') AS ignored \gset
SELECT aurora.cancel_job(:batch) AS ignored \gset
SELECT count(aurora.submit_job('gpu', '{"prompt": "x"}', kind => 'small', company => 'acme')) AS ignored FROM generate_series(1, 2000) \gset
SELECT aurora.generate('rare', 'x', company => 'acme') AS rare \gset
SELECT is(pg_temp.takes(0, 'beta'), 'nothing', 'one claim looks at so many jobs only');
SELECT is(pg_temp.takes(0, 'beta'), 'nothing', 'the next looks on');
SELECT is(pg_temp.takes(0, 'beta'), :'rare' || ' rare', 'until it finds what its device can run');
SELECT aurora.finish_generation(:large, 1, '{"finish_reason": "stop"}') AS ignored \gset
SELECT is(pg_temp.rows_of($$ SELECT model, task FROM aurora.take_generations(0, node => 'alpha') $$), '(small,generate)', 'jobs that were submitted by submit_job() run, too');

-- ---- retention ----

INSERT INTO aurora.generation (job_id, company_id, embeds, prompt_tokens) VALUES (123456, 1, false, 1);
SELECT is(aurora.rotate_generation_output(), 0::bigint, 'the first rotation notes when the ring began');
SELECT is(pg_temp.rows_of('SELECT count(*) FROM aurora.generation WHERE job_id = 123456'), '(0)', 'and what belongs to no live job is forgotten');
SELECT is(pg_temp.as_role('regress_gpu_operator', $$ SELECT aurora.rotate_generation_output(now() + interval '1 minute') $$), '42501', 'operators forget no text before its time');
SELECT is(pg_temp.as_role('regress_gpu_operator', 'SELECT aurora.rotate_generation_output(now())'), '(0)', 'but may look whether it is time');
SELECT is(aurora.rotate_generation_output(now() + interval '13 hours'), 1::bigint, 'the next one goes on to an empty place');
SELECT is(pg_temp.output(2), '7:restarted 8:No 8::length', 'what was written is still there');
SELECT is(aurora.rotate_generation_output(now() + interval '26 hours') + aurora.rotate_generation_output(now() + interval '39 hours'), 2::bigint, 'until its place is needed');
SELECT is(pg_temp.output(2), '100:No 100::length', 'then the archive answers');
SELECT is(pg_temp.output(2, 100), '100::length', 'whoever has all is told the end');

SELECT * FROM finish();
\connect :regress
SET client_min_messages = warning;
DROP DATABASE regress_gpu;
DROP ROLE regress_gpu_ann, regress_gpu_ben, regress_gpu_operator, regress_gpu_stray, regress_gpu_monitor, regress_gpu_alpha, regress_gpu_beta;
