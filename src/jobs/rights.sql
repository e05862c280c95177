-- Who may what with jobs: the functions check it themselves.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job', 'job_archive'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (aurora.administers_all() OR company_id = ANY (aurora.company_ids())
                        AND aurora.may_see(company_id, submitted_by))', name || '_owner', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_owner', name,
                       'A caller sees the jobs that it submitted, managers those of their company.');
    END LOOP;
END
$$;
ALTER TABLE aurora.job_refused_result ENABLE ROW LEVEL SECURITY;
CREATE POLICY job_refused_result_managed ON aurora.job_refused_result
    USING (aurora.administers_all() OR aurora.may_manage(company_id));
COMMENT ON POLICY job_refused_result_managed ON aurora.job_refused_result IS 'Administrators see all, and who manages a company its own.';
ALTER TABLE aurora.job_queue ENABLE ROW LEVEL SECURITY;
CREATE POLICY job_queue_usable ON aurora.job_queue USING (company_id IS NULL OR aurora.is_member(company_id) OR aurora.is_operator());
COMMENT ON POLICY job_queue_usable ON aurora.job_queue IS 'Everybody sees the shared queues, and a company its own; operators and administrators see all.';
ALTER TABLE aurora.job_minute ENABLE ROW LEVEL SECURITY;
CREATE POLICY job_minute_everyone ON aurora.job_minute USING (true);
COMMENT ON POLICY job_minute_everyone ON aurora.job_minute IS 'Who may read the table sees all of it.';

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.job, aurora.job_archive, aurora.jobs, aurora.job_refused_result, aurora.refused_results
    TO aurora_admin, aurora_user, aurora_agent, aurora_gateway;
GRANT SELECT ON aurora.job_queue, aurora.queue TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT SELECT ON aurora.company TO aurora_node, aurora_monitor;
GRANT SELECT ON aurora.job_minute TO aurora_admin, aurora_operator, aurora_monitor;
GRANT EXECUTE ON FUNCTION aurora.find_queue, aurora.is_operator, aurora.queue_depths, aurora.lane_rate
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.administers_all, aurora.is_member, aurora.caller, aurora.whoami, aurora.caller_has, aurora.is_assuming TO aurora_node, aurora_monitor;
GRANT EXECUTE ON FUNCTION aurora.submit_job, aurora.submit_jobs, aurora.cancel_job, aurora.replay_job, aurora.replay_jobs, aurora.job_position
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.take_jobs, aurora.finish_job, aurora.fail_job, aurora.renew_lease
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_gateway;
GRANT EXECUTE ON PROCEDURE aurora.wait_jobs TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.add_queue, aurora.set_queue, aurora.pause_queue, aurora.drain_queue, aurora.remove_queue, aurora.set_concurrency
    TO aurora_admin, aurora_operator, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.settle_queue, aurora.rotate_job_archive TO aurora_admin, aurora_operator;
GRANT EXECUTE ON FUNCTION aurora.health_jobs, aurora.job_class_labels, aurora.job_state_labels
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
