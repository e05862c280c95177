-- Who may what in the registry.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['node', 'node_status', 'node_state', 'node_transition', 'node_capability', 'node_probe',
                                'lead_heartbeat', 'node_service', 'node_service_status', 'service_hour', 'recovery', 'api',
                                'api_status'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (true)', name || '_everyone', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_everyone', name,
                       'The mesh belongs to no company: who may read the table sees all of it.');
        EXECUTE format('GRANT SELECT ON aurora.%I TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node,
                        aurora_monitor, aurora_gateway', name);
    END LOOP;
END
$$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.nodes, aurora.node_transitions, aurora.node_services, aurora.recoveries, aurora.connectivity, aurora.topology
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.own_node, aurora.agent_status, aurora.local_peers, aurora.local_services, aurora.local_reports,
    aurora.seen_from_here, aurora.node_uptime, aurora.promotion_candidates, aurora.health_rank, aurora.health_agent,
    aurora.health_lead, aurora.health_replication, aurora.health_nodes, aurora.health_services, aurora.health_apis, aurora.health
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.report_connectivity
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.report_heartbeat TO aurora_node;
GRANT EXECUTE ON FUNCTION aurora.register_node TO aurora_admin;
GRANT EXECUTE ON FUNCTION aurora.drain_node, aurora.maintenance, aurora.remove_node, aurora.set_capability, aurora.add_service,
    aurora.remove_service, aurora.watch_api, aurora.unwatch_api, aurora.forget_transitions
    TO aurora_admin, aurora_operator;
