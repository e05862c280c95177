SELECT * FROM aurora.report_heartbeat('sim-' || :client_id, jsonb_build_object('instance', 'sim', 'is_lead', 0, 'beat', 0,
    'timeline', 1, 'receive_lsn', '0/1', 'replay_lsn', '0/1', 'wal_receiver', 'streaming', 'version', '1.0',
    'extension_version', '1.0', 'postgres_version', '15', 'started_age_us', 1000000, 'agent_port', 0, 'drops', 0), '[]',
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
