-- Who may what with the gateway: the functions check it themselves.

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.api_keys TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.may_administer_key
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.add_api_key, aurora.revoke_api_key
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.assume_key TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.key_role_labels, aurora.write_position
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON PROCEDURE aurora.wait_for_lsn
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.assume_session, aurora.log_in, aurora.log_in_by_key, aurora.log_out TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.set_password, aurora.revoke_sessions
    TO aurora_admin, aurora_operator, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.rotate_session_keys, aurora.trim_sessions TO aurora_admin;
GRANT EXECUTE ON PROCEDURE aurora.wait_published TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.topic_heads, aurora.topics_there, aurora.topic_events, aurora.job_outputs TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.submitted_job TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.open_stream
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT SELECT ON aurora.webhook, aurora.webhook_provider, aurora.webhooks TO aurora_admin, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.may_administer_webhook, aurora.add_webhook, aurora.remove_webhook, aurora.verify_webhook
    TO aurora_admin, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.store_webhook TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.trim_webhooks TO aurora_admin;
GRANT EXECUTE ON FUNCTION aurora.metrics, aurora.metric_definitions TO aurora_admin, aurora_operator, aurora_monitor, aurora_gateway;
