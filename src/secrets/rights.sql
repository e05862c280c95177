-- Who may what with secrets: the functions check it themselves.

ALTER TABLE aurora.secret_audit_record ENABLE ROW LEVEL SECURITY;
CREATE POLICY secret_audit_record_managed ON aurora.secret_audit_record
    USING (aurora.administers_all() OR company_id IS NOT NULL AND aurora.may_manage(company_id));
COMMENT ON POLICY secret_audit_record_managed ON aurora.secret_audit_record IS 'Administrators see all, and who manages a company what was asked for it.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['secret_cache_status', 'secret_rotation', 'secret_audit_chain'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (true)', name || '_everyone', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_everyone', name, 'Who may read the table sees all of it.');
        EXECUTE format('GRANT SELECT ON aurora.%I TO aurora_admin, aurora_operator, aurora_monitor', name);
    END LOOP;
END
$$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.secret_audit_record, aurora.secret_audit TO aurora_admin, aurora_user, aurora_gateway;
GRANT SELECT ON aurora.secret_cache TO aurora_admin, aurora_operator, aurora_monitor;
GRANT SELECT ON aurora.secret_keys TO aurora_admin, aurora_operator;
GRANT SELECT ON aurora.secrets, aurora.secret_versions, aurora.secret_grants, aurora.secret_rights
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.secret, aurora.secret_source, aurora.may_secret, aurora.secret_scope, aurora.secret_state,
    aurora.grant_holds, aurora.administers_all, aurora.may_manage, aurora.caller, aurora.export_secrets
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.put_secret, aurora.delete_secret, aurora.undelete_secret, aurora.destroy_secret,
    aurora.import_secrets_env, aurora.import_secrets_json, aurora.grant_secret, aurora.revoke_secret
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.secret_key_opens TO aurora_admin, aurora_operator;
GRANT EXECUTE ON FUNCTION aurora.secret_key_ring, aurora.rotate_secrets_key, aurora.restart_secret_audit, aurora.verify_secret_audit,
    aurora.verify_secret_audit_file, aurora.forget_secret_audit TO aurora_admin;
GRANT EXECUTE ON FUNCTION aurora.secret_audit_status, aurora.local_secret_cache TO aurora_admin, aurora_operator, aurora_monitor;
GRANT EXECUTE ON FUNCTION aurora.health_secrets
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
