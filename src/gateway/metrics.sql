-- Metrics of this node and of the mesh, for Prometheus.

CREATE FUNCTION aurora.require_monitor() RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (CASE WHEN aurora.is_assuming() THEN EXISTS (SELECT FROM aurora.api_key k WHERE k.key_id = aurora.assumed_key() AND k.role = 'monitor')
            ELSE aurora.is_operator() OR aurora.caller_has('aurora_monitor') END) THEN
        RETURN;
    END IF;
    RAISE insufficient_privilege USING
        MESSAGE = 'permission denied for metrics', HINT = 'Members of aurora_monitor and keys with the role "monitor" may.';
END
$$;
COMMENT ON FUNCTION aurora.require_monitor() IS 'Raises 42501 unless the caller may read metrics.';

CREATE FUNCTION aurora.metrics_of_nodes(OUT name text, OUT labels jsonb, OUT value double precision) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'aurora_build_info', jsonb_build_object('node', aurora.own_node(), 'version', e.extversion, 'postgres', current_setting('server_version')), 1::double precision
        FROM pg_extension e WHERE e.extname = 'aurora'
    UNION ALL SELECT 'aurora_is_lead', '{}', (NOT pg_is_in_recovery())::int
    UNION ALL SELECT 'aurora_lead_duty', '{}', aurora.lead_duty()::int
    UNION ALL SELECT 'aurora_node_state', jsonb_build_object('node', h.node, 'state', s), (coalesce(h.state, 'unknown') = s)::int
        FROM aurora.seen_from_here() h, unnest(enum_range(NULL::aurora.health_state)) s
    UNION ALL SELECT 'aurora_node_replication_lag_seconds', jsonb_build_object('node', s.node), s.lag_seconds FROM aurora.node_status s
    UNION ALL SELECT 'aurora_node_replication_lag_bytes', jsonb_build_object('node', s.node), s.lag_bytes FROM aurora.node_status s
    UNION ALL SELECT 'aurora_node_heartbeat_age_seconds', jsonb_build_object('node', s.node),
        greatest(extract(epoch FROM clock_timestamp() - s.heartbeat_at), 0)::double precision FROM aurora.node_status s
    UNION ALL SELECT 'aurora_node_dropped_reports_total', jsonb_build_object('node', s.node), s.drops FROM aurora.node_status s
    UNION ALL SELECT 'aurora_component_state', jsonb_build_object('component', h.component, 'state', h.state), 1
        FROM (SELECT * FROM aurora.health() LIMIT 500) h
$$;
COMMENT ON FUNCTION aurora.metrics_of_nodes() IS 'Metrics of nodes and of what health() shows.';

CREATE FUNCTION aurora.metrics_of_work(OUT name text, OUT labels jsonb, OUT value double precision) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH shared AS (
        SELECT q.queue_id, q.name FROM aurora.job_queue q WHERE q.company_id IS NULL ORDER BY q.queue_id LIMIT 100
    ), depth AS MATERIALIZED (
        SELECT j.queue_id, j.class, j.state, count(*) AS n, min(j.ready_at) FILTER (WHERE j.state = 'waiting') AS oldest FROM aurora.job j GROUP BY 1, 2, 3
    )
    SELECT 'aurora_jobs', jsonb_build_object('queue', s.name, 'class', c, 'state', t),
           coalesce((SELECT d.n FROM depth d WHERE d.queue_id = s.queue_id AND d.class = c AND d.state = t), 0)::double precision
        FROM shared s, unnest(enum_range(NULL::aurora.job_class)) c, unnest('{waiting,running,scheduled,blocked,held,dead}'::aurora.job_state[]) t
    UNION ALL SELECT 'aurora_jobs', jsonb_build_object('queue', '(companies)', 'class', d.class, 'state', d.state), sum(d.n)
        FROM depth d WHERE d.queue_id NOT IN (SELECT s.queue_id FROM shared s) GROUP BY d.class, d.state
    UNION ALL SELECT 'aurora_jobs_oldest_waiting_seconds', jsonb_build_object('queue', s.name),
           coalesce((SELECT greatest(extract(epoch FROM clock_timestamp() - min(d.oldest)), 0) FROM depth d WHERE d.queue_id = s.queue_id), 0)::double precision
        FROM shared s
    UNION ALL SELECT 'aurora_gpu_device_up', l.labels, (s.state IN ('ready', 'loading'))::int
        FROM aurora.gpu_device_states() s, LATERAL (SELECT jsonb_build_object('node', s.node, 'device', s.device::text) AS labels) l
    UNION ALL SELECT v.name, l.labels, v.value
        FROM aurora.gpu_device g, LATERAL (SELECT jsonb_build_object('node', g.node, 'device', g.device::text) AS labels) l,
             LATERAL (VALUES ('aurora_gpu_device_utilisation_ratio', g.utilisation::double precision / 100), ('aurora_gpu_device_memory_used_bytes', g.memory_used),
                             ('aurora_gpu_device_memory_total_bytes', g.memory_total), ('aurora_gpu_device_slots', g.slots), ('aurora_gpu_device_busy_slots', g.busy),
                             ('aurora_gpu_device_temperature_celsius', g.temperature), ('aurora_gpu_device_power_watts', g.power)) v (name, value)
        WHERE v.value IS NOT NULL
$$;
COMMENT ON FUNCTION aurora.metrics_of_work() IS 'Metrics of jobs and devices. Shared queues have names; those of companies are counted together.';

CREATE FUNCTION aurora.metrics_of_events(OUT name text, OUT labels jsonb, OUT value double precision) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.name, '{}'::jsonb, v.value FROM (SELECT count(*) AS topics, coalesce(sum(t.last_seq), 0) AS published FROM aurora.topic t) s,
        LATERAL (VALUES ('aurora_topics', s.topics::double precision), ('aurora_events_published_total', s.published)) v (name, value)
    UNION ALL SELECT 'aurora_topic_events_published_total', jsonb_build_object('topic', t.name), t.last_seq
        FROM (SELECT t.name, t.last_seq FROM aurora.topic t WHERE t.company_id IS NULL ORDER BY t.topic_id LIMIT 50) t
    UNION ALL SELECT v.name, '{}'::jsonb, v.value FROM aurora.courier_status() c,
        LATERAL (VALUES ('aurora_redis_connected', (c.redis = 'connected')::int::double precision), ('aurora_redis_failures_total', c.redis_failures),
                        ('aurora_redis_published_total', c.redis_published), ('aurora_redis_received_total', c.redis_received),
                        ('aurora_redis_dropped_total', c.redis_dropped)) v (name, value)
        WHERE aurora.library_preloaded() AND c.redis <> 'off'
    UNION ALL SELECT v.name, jsonb_build_object('node', c.node), v.value FROM aurora.secret_cache c,
        LATERAL (VALUES ('aurora_secret_cache_hits_total', c.hits::double precision), ('aurora_secret_cache_misses_total', c.misses),
                        ('aurora_secret_cache_evictions_total', c.evictions)) v (name, value)
$$;
COMMENT ON FUNCTION aurora.metrics_of_events() IS 'Metrics of events, of Redis where there is one, and of the caches of secrets. Topics of the mesh have names, up to 50; those of companies are counted together.';

CREATE FUNCTION aurora.metrics_of_gateway(OUT name text, OUT labels jsonb, OUT value double precision) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'aurora_api_keys', jsonb_build_object('role', r, 'state', s),
           (SELECT count(*) FROM aurora.api_key k WHERE k.role = r
            AND s = CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= clock_timestamp() THEN 'expired' ELSE 'valid' END)::double precision
        FROM unnest(enum_range(NULL::aurora.key_role)) r, unnest('{valid,expired,revoked}'::text[]) s
    UNION ALL SELECT 'aurora_session_revocations', '{}', count(*) FROM aurora.session_revocation
    UNION ALL SELECT 'aurora_session_signing_keys', '{}', count(*) FROM aurora.session_key
    UNION ALL SELECT 'aurora_principals', '{}', count(*) FROM aurora.principal
    UNION ALL SELECT v.name, jsonb_build_object('provider', p.provider), v.value
        FROM (SELECT * FROM aurora.webhook_provider ORDER BY provider LIMIT 100) p,
             LATERAL (VALUES ('aurora_webhooks_unverified', p.unverified::double precision), ('aurora_webhooks_received_total', p.received)) v (name, value)
$$;
COMMENT ON FUNCTION aurora.metrics_of_gateway() IS 'Metrics of keys, sessions and webhooks.';

CREATE FUNCTION aurora.metric_definitions(OUT name text, OUT type text, OUT unit text, OUT help text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('aurora_build_info', 'gauge', '', 'Versions of this node; always 1.'),
           ('aurora_is_lead', 'gauge', '', 'Is this node no standby.'),
           ('aurora_lead_duty', 'gauge', '', 'May the lead''s duties run here.'),
           ('aurora_node_state', 'gauge', '', 'How each node is, as this one sees it: 1 for its state.'),
           ('aurora_node_replication_lag_seconds', 'gauge', 'seconds', 'Age of the oldest write that the node had not replayed.'),
           ('aurora_node_replication_lag_bytes', 'gauge', 'bytes', 'Write-ahead log that the node had not replayed.'),
           ('aurora_node_heartbeat_age_seconds', 'gauge', 'seconds', 'Age of the last heartbeat of the node.'),
           ('aurora_node_dropped_reports_total', 'counter', '', 'Reports that the node had no room for.'),
           ('aurora_component_state', 'gauge', '', 'How each component is, as health() says: 1 for its state.'),
           ('aurora_jobs', 'gauge', '', 'Live jobs by queue, class and state; dead ones are dead letters.'),
           ('aurora_jobs_oldest_waiting_seconds', 'gauge', 'seconds', 'For how long the job that has waited longest could have run.'),
           ('aurora_gpu_device_up', 'gauge', '', 'Does the device take work.'),
           ('aurora_gpu_device_utilisation_ratio', 'gauge', 'ratio', 'Share of the time that the device was busy.'),
           ('aurora_gpu_device_memory_used_bytes', 'gauge', 'bytes', 'Memory of the device in use.'),
           ('aurora_gpu_device_memory_total_bytes', 'gauge', 'bytes', 'Memory of the device.'),
           ('aurora_gpu_device_slots', 'gauge', '', 'Jobs that the device runs at once.'),
           ('aurora_gpu_device_busy_slots', 'gauge', '', 'Jobs that run on the device.'),
           ('aurora_gpu_device_temperature_celsius', 'gauge', 'celsius', 'Temperature of the device.'),
           ('aurora_gpu_device_power_watts', 'gauge', 'watts', 'Power that the device draws.'),
           ('aurora_topics', 'gauge', '', 'Topics.'),
           ('aurora_events_published_total', 'counter', '', 'Events published, in all topics there are.'),
           ('aurora_topic_events_published_total', 'counter', '', 'Events published in each topic of the mesh.'),
           ('aurora_redis_connected', 'gauge', '', 'Is this node connected to Redis.'),
           ('aurora_redis_failures_total', 'counter', '', 'Connections to Redis that failed or were lost.'),
           ('aurora_redis_published_total', 'counter', '', 'Messages given to Redis.'),
           ('aurora_redis_received_total', 'counter', '', 'Messages heard from Redis.'),
           ('aurora_redis_dropped_total', 'counter', '', 'Messages dropped while Redis was away.'),
           ('aurora_secret_cache_hits_total', 'counter', '', 'Reads of secrets that a cache answered.'),
           ('aurora_secret_cache_misses_total', 'counter', '', 'Reads of secrets that no cache answered.'),
           ('aurora_secret_cache_evictions_total', 'counter', '', 'Secrets that had to make room for others.'),
           ('aurora_api_keys', 'gauge', '', 'API keys by role and state.'),
           ('aurora_session_revocations', 'gauge', '', 'Sessions that were logged out of before they expired.'),
           ('aurora_session_signing_keys', 'gauge', '', 'Keys that sign or check sessions.'),
           ('aurora_principals', 'gauge', '', 'Principals of all companies.'),
           ('aurora_webhooks_unverified', 'gauge', '', 'Webhooks of the provider that are not verified yet.'),
           ('aurora_webhooks_received_total', 'counter', '', 'Webhooks that the provider has sent.')
$$;
COMMENT ON FUNCTION aurora.metric_definitions() IS 'The metrics that metrics() can have.';

CREATE FUNCTION aurora.metrics() RETURNS TABLE (name text, type text, unit text, help text, labels jsonb, value double precision)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 300 SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    PERFORM aurora.require_monitor();
    RETURN QUERY
        SELECT d.name, d.type, d.unit, d.help, m.labels, m.value FROM aurora.metric_definitions() WITH ORDINALITY d (name, type, unit, help, place) JOIN (
            SELECT * FROM aurora.metrics_of_nodes() UNION ALL SELECT * FROM aurora.metrics_of_work()
            UNION ALL SELECT * FROM aurora.metrics_of_events() UNION ALL SELECT * FROM aurora.metrics_of_gateway()) m ON m.name = d.name
        ORDER BY d.place, m.labels;
END
$$;
COMMENT ON FUNCTION aurora.metrics() IS
    'Metrics of this node and of the mesh as it sees it, the samples of each family together: name is the sample''s; that of a counter ends with _total, and its family is the name without that. labels: an object of texts. Few values of labels: companies, owners and their topics have none. For members of aurora_monitor and keys with the role monitor. Errors: 42501.';
