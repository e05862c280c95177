-- Devices: what workers report.

CREATE FUNCTION aurora.gpu_node(node text) RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_gpu_node';
COMMENT ON FUNCTION aurora.gpu_node(text) IS
    'The node that a call of a worker is about: that of its login role; operators and administrators name one. Errors: 42501 another''s node, 22023 none named, or unknown.';

CREATE FUNCTION aurora.json_number(entry jsonb, name text, lowest numeric, highest numeric) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found jsonb := entry -> name;
    result numeric;
BEGIN
    IF found IS NULL OR jsonb_typeof(found) = 'null' THEN
        RETURN NULL;
    END IF;
    IF jsonb_typeof(found) = 'number' THEN
        result := (found #>> '{}')::numeric;
    END IF;
    IF result IS NULL OR NOT result BETWEEN lowest AND highest THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" is %s, not a number from %s to %s', name, left(found::text, 100), lowest, highest);
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.json_number(jsonb, text, numeric, numeric) IS 'The number of that name in an object, null when it is missing or null. Errors: 22023 no number, or out of range.';

CREATE FUNCTION aurora.json_text(entry jsonb, name text, longest int) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found jsonb := entry -> name;
BEGIN
    IF found IS NULL OR jsonb_typeof(found) = 'null' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(found) <> 'string' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('"%s" is %s, not a text', name, left(found::text, 100));
    END IF;
    RETURN left(found #>> '{}', longest);
END
$$;
COMMENT ON FUNCTION aurora.json_text(jsonb, text, int) IS 'The text of that name in an object, cut to a length, null when it is missing or null. Errors: 22023 no text.';

CREATE FUNCTION aurora.json_boolean(entry jsonb, name text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found jsonb := entry -> name;
BEGIN
    IF found IS NULL OR jsonb_typeof(found) = 'null' THEN
        RETURN NULL;
    ELSIF jsonb_typeof(found) <> 'boolean' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('"%s" is %s, neither true nor false', name, left(found::text, 100));
    END IF;
    RETURN found::boolean;
END
$$;
COMMENT ON FUNCTION aurora.json_boolean(jsonb, text) IS 'The boolean of that name in an object, null when it is missing or null. Errors: 22023 no boolean.';

CREATE FUNCTION aurora.put_gpu_models(of_node text, of_device int, models jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    touched int;
    gone int;
BEGIN
    IF jsonb_typeof(models) <> 'array' OR jsonb_array_length(models) > 1000
       OR EXISTS (SELECT FROM jsonb_array_elements(models) e WHERE jsonb_typeof(e) <> 'object' OR coalesce(e ->> 'name', '') = '') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the models of device %s are not a list of up to 1000 objects with a name', of_device);
    END IF;
    INSERT INTO aurora.gpu_model AS m (node, device, model, resident, size, context)
        SELECT DISTINCT ON (r.model) of_node, of_device, r.model, r.resident, r.size, r.context FROM (
            SELECT aurora.json_text(e, 'name', 200) COLLATE "C" AS model, coalesce(aurora.json_boolean(e, 'resident'), false) AS resident,
                   aurora.json_number(e, 'size', 0, 1e15)::bigint AS size, aurora.json_number(e, 'context', 0, 2e9)::int AS context
            FROM jsonb_array_elements(models) e) r
        ORDER BY r.model, r.resident DESC
        ON CONFLICT ON CONSTRAINT gpu_model_pkey DO UPDATE
            SET resident = excluded.resident, size = excluded.size, context = excluded.context
            WHERE (m.resident, m.size, m.context) IS DISTINCT FROM (excluded.resident, excluded.size, excluded.context);
    GET DIAGNOSTICS touched = ROW_COUNT;
    DELETE FROM aurora.gpu_model m WHERE m.node = of_node AND m.device = of_device
        AND m.model <> ALL (SELECT left(e ->> 'name', 200) FROM jsonb_array_elements(models) e);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN touched + gone > 0;
END
$$;
COMMENT ON FUNCTION aurora.put_gpu_models(text, int, jsonb) IS 'Writes the models of a device where they have changed; true when any has. Errors: 22023.';

CREATE FUNCTION aurora.put_gpu_device(of_node text, entry jsonb) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    old aurora.gpu_device;
    d aurora.gpu_device;
BEGIN
    d.device := aurora.json_number(entry, 'index', 0, 1023);
    d.kind := coalesce(aurora.json_text(entry, 'kind', 20), 'declared');
    d.state := coalesce(aurora.json_text(entry, 'state', 20), 'ready');
    d.slots := coalesce(aurora.json_number(entry, 'slots', 0, 1024), 1);
    d.uuid := aurora.json_text(entry, 'uuid', 100);
    IF d.device IS NULL OR d.kind NOT IN ('cuda', 'metal', 'rocm', 'cpu', 'declared') OR d.state NOT IN ('ready', 'loading', 'lost', 'down') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('a device of node "%s" has no index, or an unknown kind or state', of_node),
            HINT = 'Kinds: cuda, metal, rocm, cpu, declared. States: ready, loading, lost, down.';
    END IF;
    SELECT g.* INTO old FROM aurora.gpu_device g WHERE g.node = of_node AND g.device = d.device FOR NO KEY UPDATE;
    IF old.uuid <> d.uuid THEN
        DELETE FROM aurora.gpu_speed s WHERE s.node = of_node AND s.device = d.device;
    END IF;
    INSERT INTO aurora.gpu_device AS g (node, device, kind, state, draining, slots, busy, memory_total, memory_free, memory_used, reported_at, uuid,
                                        name, unified, utilisation, temperature, power, power_limit, driver, compute_capability, problem)
        VALUES (of_node, d.device, d.kind, d.state, coalesce(aurora.json_boolean(entry, 'draining'), false), d.slots,
                coalesce(aurora.json_number(entry, 'busy', 0, 1024), 0), aurora.json_number(entry, 'memory_total', 0, 1e15),
                aurora.json_number(entry, 'memory_free', 0, 1e15), aurora.json_number(entry, 'memory_used', 0, 1e15), clock_timestamp(), d.uuid,
                aurora.json_text(entry, 'name', 200), coalesce(aurora.json_boolean(entry, 'unified'), false),
                aurora.json_number(entry, 'utilisation', 0, 100), aurora.json_number(entry, 'temperature', -300, 1000),
                aurora.json_number(entry, 'power', 0, 100000), aurora.json_number(entry, 'power_limit', 0, 100000),
                aurora.json_text(entry, 'driver', 100), aurora.json_text(entry, 'compute_capability', 20), aurora.json_text(entry, 'problem', 1000))
        ON CONFLICT ON CONSTRAINT gpu_device_pkey DO UPDATE SET
            kind = excluded.kind, state = excluded.state, draining = excluded.draining, slots = excluded.slots, busy = excluded.busy,
            memory_total = excluded.memory_total, memory_free = excluded.memory_free, memory_used = excluded.memory_used,
            reported_at = excluded.reported_at, uuid = excluded.uuid, name = excluded.name, unified = excluded.unified,
            utilisation = excluded.utilisation, temperature = excluded.temperature, power = excluded.power, power_limit = excluded.power_limit,
            driver = excluded.driver, compute_capability = excluded.compute_capability, problem = excluded.problem
        RETURNING g.* INTO d;
    RETURN aurora.put_gpu_models(of_node, d.device, coalesce(entry -> 'models', '[]'))
        OR (old.state, old.draining, old.slots) IS DISTINCT FROM (d.state, d.draining, d.slots);
END
$$;
COMMENT ON FUNCTION aurora.put_gpu_device(text, jsonb) IS 'Writes what was reported of a device; true when that changes what it can run. Errors: 22023.';

CREATE FUNCTION aurora.report_devices(devices jsonb, node text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_node text;
    entry jsonb;
    changed boolean := false;
BEGIN
    PERFORM aurora.require_lead();
    of_node := aurora.gpu_node(node);
    -- A report that a crash loses comes again: it need not wait for the disk.
    PERFORM set_config('synchronous_commit', 'off', true);
    IF devices IS NULL OR jsonb_typeof(devices) <> 'array' OR jsonb_array_length(devices) > 1024
       OR EXISTS (SELECT FROM jsonb_array_elements(devices) e WHERE jsonb_typeof(e) <> 'object') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'devices are not a list of up to 1024 objects',
            HINT = 'Each has an index, a kind, a state, slots and models; the others may be missing.';
    END IF;
    FOR entry IN SELECT e FROM jsonb_array_elements(devices) e LOOP
        changed := aurora.put_gpu_device(of_node, entry) OR changed;
    END LOOP;
    DELETE FROM aurora.gpu_device g WHERE g.node = of_node
        AND g.device <> ALL (SELECT (e ->> 'index')::int FROM jsonb_array_elements(devices) e);
    IF changed THEN
        PERFORM aurora.ring_queue(q.queue_id) FROM aurora.job_queue q WHERE q.name = 'gpu' AND q.company_id IS NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.report_devices(jsonb, text) IS
    'What a worker tells of all devices of its node, every few seconds and when something changes: a list of objects with index, uuid, name, kind, memory_total, memory_free, memory_used (bytes), utilisation (%), temperature (C), power, power_limit (W), driver, compute_capability, unified, state, problem, slots, busy, draining, and models: name, resident, size (bytes), context (tokens). Devices that are missing are gone. node: for operators; else it is the caller''s own. Errors: 22023 bad report, 42501 another''s node, 25006 on a standby.';
