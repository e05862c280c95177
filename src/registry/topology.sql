-- The topology: who reaches whom in the mesh, and how fast.

CREATE VIEW aurora.topology WITH (security_invoker = true) AS
    SELECT p.from_node, p.to_node, n.address, p.rtt_ms, p.last_success, p.last_attempt, p.failures
    FROM aurora.node_probe p JOIN aurora.node n ON n.name = p.to_node
    WHERE NOT (p.from_node = aurora.own_node() AND EXISTS (SELECT FROM aurora.local_peers()))
    UNION ALL
    SELECT aurora.own_node(), l.node, n.address, l.rtt_ms::real,
           clock_timestamp() - make_interval(secs => l.answered_seconds_ago),
           clock_timestamp() - make_interval(secs => l.asked_seconds_ago), l.failures
    FROM aurora.local_peers() l JOIN aurora.node n ON n.name = l.node
    WHERE l.asked_seconds_ago IS NOT NULL;
COMMENT ON VIEW aurora.topology IS 'Pairs of nodes of which one has probed the other. What this node has measured itself is as new as its last probe.';
COMMENT ON COLUMN aurora.topology.from_node IS 'Who asked.';
COMMENT ON COLUMN aurora.topology.to_node IS 'Who was asked.';
COMMENT ON COLUMN aurora.topology.address IS 'Where.';
COMMENT ON COLUMN aurora.topology.rtt_ms IS 'Round-trip time of the last answer.';
COMMENT ON COLUMN aurora.topology.last_success IS 'When it last answered.';
COMMENT ON COLUMN aurora.topology.last_attempt IS 'When it was last asked.';
COMMENT ON COLUMN aurora.topology.failures IS 'Attempts since it last answered, of three datagrams each.';
