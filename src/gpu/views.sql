-- What people see of devices.

CREATE FUNCTION aurora.gpu_device_states(OUT node text, OUT device int, OUT state text, OUT live boolean, OUT running bigint, OUT waiting bigint)
    RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gpu AS (
        SELECT q.queue_id FROM aurora.job_queue q WHERE q.name = 'gpu' AND q.company_id IS NULL
    ), busy AS (
        SELECT j.taker, count(*) AS n FROM aurora.job j, gpu WHERE j.queue_id = gpu.queue_id AND j.state = 'running' GROUP BY j.taker
    ), waits AS (
        SELECT j.kind, count(*) AS n FROM aurora.job j, gpu WHERE j.queue_id = gpu.queue_id AND j.state = 'waiting' GROUP BY j.kind
    )
    SELECT g.node, g.device, s.state, s.state IN ('ready', 'loading'), coalesce(b.n, 0),
           coalesce((SELECT sum(w.n) FROM waits w JOIN aurora.gpu_model m ON m.model = w.kind WHERE m.node = g.node AND m.device = g.device), 0)::bigint
    FROM aurora.gpu_device g JOIN aurora.node n ON n.name = g.node LEFT JOIN aurora.node_state t ON t.node = g.node
    LEFT JOIN busy b ON b.taker = g.node || '/' || g.device
    CROSS JOIN LATERAL (SELECT CASE
        WHEN t.state = 'down' THEN 'node down'
        WHEN g.reported_at < clock_timestamp() - make_interval(secs => aurora.setting_seconds('aurora.gpu_report_timeout')) THEN 'silent'
        WHEN g.state IN ('lost', 'down') THEN g.state
        WHEN n.drained_at IS NOT NULL OR g.draining THEN 'draining'
        ELSE g.state END AS state) s
$$;
COMMENT ON FUNCTION aurora.gpu_device_states() IS
    'How each device is: ready, loading, draining, lost (the driver has no answer), down (its inference server has none), silent (no report lately), node down; whether it takes work, how many jobs run on it, and how many wait for a model that it has, of all companies together.';

CREATE VIEW aurora.devices WITH (security_invoker = true) AS
    SELECT g.node, g.device AS index, g.name, g.kind, s.state, s.live, g.problem, g.uuid, g.memory_total, g.memory_used, g.memory_free, g.unified,
           g.utilisation, g.temperature, g.power, g.power_limit, g.driver, g.compute_capability,
           m.models, m.resident, g.slots, s.running AS busy, v.speeds, g.reported_at
    FROM aurora.gpu_device g JOIN aurora.gpu_device_states() s ON s.node = g.node AND s.device = g.device
    LEFT JOIN LATERAL (SELECT array_agg(m.model ORDER BY m.model) AS models, array_agg(m.model ORDER BY m.model) FILTER (WHERE m.resident) AS resident
                       FROM aurora.gpu_model m WHERE m.node = g.node AND m.device = g.device) m ON true
    LEFT JOIN LATERAL (SELECT jsonb_object_agg(v.model, jsonb_build_object('jobs', v.jobs, 'load_ms', round(v.load_ms::numeric, 1),
                                  'prompt_rate', round(v.prompt_rate::numeric, 1), 'decode_rate', round(v.decode_rate::numeric, 1),
                                  'mean_output', round(v.mean_output::numeric, 1), 'uncached', round(v.uncached::numeric, 3))) AS speeds
                       FROM aurora.gpu_speed v WHERE v.node = g.node AND v.device = g.device) v ON true
    ORDER BY g.node, g.device;
COMMENT ON VIEW aurora.devices IS 'What runs models in the mesh, as its workers last reported it.';
COMMENT ON COLUMN aurora.devices.node IS 'The node.';
COMMENT ON COLUMN aurora.devices.index IS 'Number of the device in the node.';
COMMENT ON COLUMN aurora.devices.name IS 'Its model.';
COMMENT ON COLUMN aurora.devices.kind IS 'cuda, metal, rocm, cpu, or declared: by the worker''s configuration.';
COMMENT ON COLUMN aurora.devices.state IS 'ready; loading: a model; draining: finishes what runs; lost: the driver has no answer; down: its inference server has none; silent: no report lately; node down.';
COMMENT ON COLUMN aurora.devices.live IS 'Does it take work.';
COMMENT ON COLUMN aurora.devices.problem IS 'What is wrong with it.';
COMMENT ON COLUMN aurora.devices.uuid IS 'Name that the maker gave this very device.';
COMMENT ON COLUMN aurora.devices.memory_total IS 'Bytes of memory; null when it is not known.';
COMMENT ON COLUMN aurora.devices.memory_used IS 'Bytes in use.';
COMMENT ON COLUMN aurora.devices.memory_free IS 'Bytes that nothing uses.';
COMMENT ON COLUMN aurora.devices.unified IS 'Does it share the memory of the machine.';
COMMENT ON COLUMN aurora.devices.utilisation IS 'Per cent of the time that it was busy.';
COMMENT ON COLUMN aurora.devices.temperature IS 'Degrees Celsius.';
COMMENT ON COLUMN aurora.devices.power IS 'Watts that it draws.';
COMMENT ON COLUMN aurora.devices.power_limit IS 'Watts that it may draw.';
COMMENT ON COLUMN aurora.devices.driver IS 'Version of its driver.';
COMMENT ON COLUMN aurora.devices.compute_capability IS 'Compute capability, of an NVIDIA device.';
COMMENT ON COLUMN aurora.devices.models IS 'Models that it can run.';
COMMENT ON COLUMN aurora.devices.resident IS 'Those of them that are loaded.';
COMMENT ON COLUMN aurora.devices.slots IS 'How many jobs run at once.';
COMMENT ON COLUMN aurora.devices.busy IS 'How many do.';
COMMENT ON COLUMN aurora.devices.speeds IS 'What finished jobs have taught, by model: load_ms, prompt_rate and decode_rate in tokens a second, mean_output in tokens, and the share of prompts that was not cached.';
COMMENT ON COLUMN aurora.devices.reported_at IS 'When it was last reported, by the lead''s clock.';

CREATE VIEW aurora.gpu_status WITH (security_invoker = true) AS
    SELECT s.node, s.device, g.name, s.state, s.live, g.slots, s.running, s.waiting,
           CASE WHEN g.memory_total > 0 THEN round(100.0 * g.memory_used / g.memory_total, 1) END AS memory_percent, g.utilisation,
           now() - g.reported_at AS report_age, g.problem
    FROM aurora.gpu_device_states() s JOIN aurora.gpu_device g ON g.node = s.node AND g.device = s.device
    ORDER BY s.node, s.device;
COMMENT ON VIEW aurora.gpu_status IS 'How each device is: what runs on it and what waits for it.';
COMMENT ON COLUMN aurora.gpu_status.node IS 'The node.';
COMMENT ON COLUMN aurora.gpu_status.device IS 'Number of the device in the node.';
COMMENT ON COLUMN aurora.gpu_status.name IS 'Its model.';
COMMENT ON COLUMN aurora.gpu_status.state IS 'How it is; see aurora.devices.';
COMMENT ON COLUMN aurora.gpu_status.live IS 'Does it take work.';
COMMENT ON COLUMN aurora.gpu_status.slots IS 'How many jobs run at once.';
COMMENT ON COLUMN aurora.gpu_status.running IS 'How many do.';
COMMENT ON COLUMN aurora.gpu_status.waiting IS 'Jobs that wait for a model that it has; other devices may have it, too.';
COMMENT ON COLUMN aurora.gpu_status.memory_percent IS 'Per cent of its memory in use.';
COMMENT ON COLUMN aurora.gpu_status.utilisation IS 'Per cent of the time that it was busy.';
COMMENT ON COLUMN aurora.gpu_status.report_age IS 'How old its last report is.';
COMMENT ON COLUMN aurora.gpu_status.problem IS 'What is wrong with it.';

-- ---- why, and when ----

CREATE FUNCTION aurora.gpu_verdict_labels() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_gpu_verdict_labels';
COMMENT ON FUNCTION aurora.gpu_verdict_labels() IS 'How a job may fare when a device chooses, as the library says it.';

CREATE FUNCTION aurora.explain_claim(device int, node text DEFAULT NULL, OUT job_id bigint, OUT model text, OUT class text, OUT age_ms double precision,
                                     OUT load_ms double precision, OUT prompt_ms double precision, OUT decode_ms double precision,
                                     OUT unload_ms double precision, OUT score double precision, OUT chosen boolean, OUT reason text,
                                     OUT left_to text, OUT done_there_ms double precision) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 50 AS 'MODULE_PATHNAME', 'aurora_explain_claim';
COMMENT ON FUNCTION aurora.explain_claim(int, text) IS
    'What take_generations() would decide for the device now: a row for each candidate with what the job would take there, in milliseconds, its score, whether it is chosen, and why not; left_to: the device that has it done sooner, in done_there_ms. unload_ms: to load again what must be unloaded although others wait for it. node: for operators; else it is the caller''s own. Errors: 22023 unknown device or node, 42501.';

CREATE FUNCTION aurora.gpu_forecasts(OUT job_id bigint, OUT class_position bigint, OUT starts_in double precision, OUT ends_in double precision,
                                     OUT device text) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 200 AS 'MODULE_PATHNAME', 'aurora_gpu_forecasts';
COMMENT ON FUNCTION aurora.gpu_forecasts() IS
    'When each of the first 200 waiting jobs of each class starts and ends, in seconds, if no other came, by the decisions that devices would make; nulls when no live device takes it.';

CREATE FUNCTION aurora.gpu_queue_rows(OUT job_id bigint, OUT model text, OUT class aurora.job_class, OUT submitted_at timestamptz, OUT "position" bigint, OUT starts_in double precision, OUT ends_in double precision,
                                      OUT device text, OUT problem text) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.job_id, w.kind, w.class, w.submitted_at, w.position, w.starts_in, w.ends_in, w.device, w.problem FROM (
        SELECT f.job_id, j.kind, j.class, j.submitted_at, row_number() OVER (ORDER BY f.starts_in NULLS LAST, j.class, f.class_position) AS position, f.starts_in, f.ends_in,
               f.device, CASE WHEN f.device IS NULL THEN 'no live device has the model and room for it' END AS problem, j.company_id, j.submitted_by
        FROM aurora.gpu_forecasts() f JOIN aurora.job j ON j.job_id = f.job_id
        UNION ALL (
            SELECT j.job_id, j.kind, j.class, j.submitted_at, NULL, NULL, NULL, NULL, 'no device has the model', j.company_id, j.submitted_by
            FROM aurora.job_queue q JOIN aurora.job j ON j.queue_id = q.queue_id AND j.state = 'waiting'
            WHERE q.name = 'gpu' AND q.company_id IS NULL AND NOT EXISTS (SELECT FROM aurora.gpu_model m WHERE m.model = j.kind)
            LIMIT 200)) w
    WHERE aurora.is_operator() OR aurora.may_see(w.company_id, w.submitted_by)
$$;
COMMENT ON FUNCTION aurora.gpu_queue_rows() IS 'The waiting jobs that the caller may see, operators all, with when they run.';

CREATE VIEW aurora.gpu_queue WITH (security_invoker = true) AS
    SELECT r.job_id, r.model, r.class, r.submitted_at, r.position, make_interval(secs => r.starts_in) AS starts_in,
           make_interval(secs => r.ends_in) AS eta, r.device, r.problem
    FROM aurora.gpu_queue_rows() r
    ORDER BY r.position NULLS LAST, r.job_id;
COMMENT ON VIEW aurora.gpu_queue IS
    'The first 200 waiting requests of each class, those that the caller may see and for operators all, in the order in which they are expected to start.';
COMMENT ON COLUMN aurora.gpu_queue.job_id IS 'The job.';
COMMENT ON COLUMN aurora.gpu_queue.model IS 'The model that is asked.';
COMMENT ON COLUMN aurora.gpu_queue.class IS 'How pressing it is.';
COMMENT ON COLUMN aurora.gpu_queue.submitted_at IS 'When it was submitted.';
COMMENT ON COLUMN aurora.gpu_queue.position IS 'Place among all that wait, in order of their expected start: 1 is next.';
COMMENT ON COLUMN aurora.gpu_queue.starts_in IS 'When it starts, if no other came.';
COMMENT ON COLUMN aurora.gpu_queue.eta IS 'When it is done, if no other came.';
COMMENT ON COLUMN aurora.gpu_queue.device IS 'Where it is expected to run, as node/device.';
COMMENT ON COLUMN aurora.gpu_queue.problem IS 'Why nothing can be said.';
