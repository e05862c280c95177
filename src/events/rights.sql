-- Who may what with events: the functions check it themselves.

ALTER TABLE aurora.topic ENABLE ROW LEVEL SECURITY;
CREATE POLICY topic_reader ON aurora.topic USING (aurora.may_read_topic(company_id, name));
COMMENT ON POLICY topic_reader ON aurora.topic IS 'A caller sees the topics that it may read.';
ALTER TABLE aurora.consumer ENABLE ROW LEVEL SECURITY;
CREATE POLICY consumer_reader ON aurora.consumer USING (EXISTS (SELECT FROM aurora.topic t WHERE t.topic_id = consumer.topic_id));
COMMENT ON POLICY consumer_reader ON aurora.consumer IS 'A caller sees the consumers of topics that it may read.';

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.topic, aurora.consumer, aurora.topics, aurora.consumers
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.may_read_topic, aurora.event_age, aurora.publish
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.events, aurora.cursor_state, aurora.subscribe, aurora.fetch, aurora.ack, aurora.unsubscribe
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON PROCEDURE aurora.wait_events
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_node, aurora_monitor, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.set_topic, aurora.remove_topic TO aurora_admin, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.trim_events, aurora.publish_notes TO aurora_admin, aurora_operator;
GRANT EXECUTE ON FUNCTION aurora.courier_status TO aurora_admin, aurora_operator, aurora_monitor;
