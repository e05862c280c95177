-- Who may what in the GPU mesh.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['gpu_device', 'gpu_model', 'gpu_speed'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (true)', name || '_everyone', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_everyone', name,
                       'The mesh belongs to no company: who may read the table sees all of it.');
        EXECUTE format('GRANT SELECT ON aurora.%I TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node,
                        aurora_monitor, aurora_gateway', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['generation', 'generation_output'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (EXISTS (SELECT FROM aurora.job j WHERE j.job_id = %I.job_id)
                        OR EXISTS (SELECT FROM aurora.job_archive a WHERE a.job_id = %I.job_id))', name || '_of_job', name, name, name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_of_job', name, 'Who may see the job sees what belongs to it.');
        EXECUTE format('GRANT SELECT ON aurora.%I TO aurora_admin', name);
    END LOOP;
END
$$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.devices, aurora.gpu_status, aurora.gpu_queue
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.gpu_device_states, aurora.gpu_queue_rows, aurora.gpu_verdict_labels
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.generate, aurora.embed TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.job_output TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.report_devices, aurora.take_generations, aurora.append_outputs, aurora.restart_output, aurora.finish_generation,
    aurora.give_back_generation TO aurora_admin, aurora_operator, aurora_node;
GRANT EXECUTE ON FUNCTION aurora.expire_generations, aurora.rotate_generation_output TO aurora_admin, aurora_operator;
GRANT EXECUTE ON FUNCTION aurora.explain_claim TO aurora_admin, aurora_operator, aurora_node;
