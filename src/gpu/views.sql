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
