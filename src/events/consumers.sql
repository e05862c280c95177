-- Consumers: who has read how far, kept with the events.

CREATE TABLE aurora.consumer (
    topic_id bigint NOT NULL REFERENCES aurora.topic ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    company_id int,
    owner text COLLATE "C" NOT NULL,
    acked_seq bigint NOT NULL,
    acked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, name),
    CONSTRAINT consumer_name_check CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT consumer_acked_seq_check CHECK (acked_seq >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE aurora.consumer IS 'The consumers of topics; aurora.consumers shows them.';
COMMENT ON COLUMN aurora.consumer.topic_id IS 'The topic.';
COMMENT ON COLUMN aurora.consumer.name IS 'Name of the consumer within the topic.';
COMMENT ON COLUMN aurora.consumer.company_id IS 'The company of the topic; null for the mesh.';
COMMENT ON COLUMN aurora.consumer.owner IS 'The principal that subscribed, or the role for the mesh.';
COMMENT ON COLUMN aurora.consumer.acked_seq IS 'All events up to this one are done with.';
COMMENT ON COLUMN aurora.consumer.acked_at IS 'When it last acknowledged; null for never.';
COMMENT ON COLUMN aurora.consumer.created_at IS 'When it subscribed first.';

SELECT pg_catalog.pg_extension_config_dump('aurora.consumer', '');

CREATE FUNCTION aurora.may_use_consumer(company_id int, owner text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $1 IS NULL THEN aurora.administers_all() OR $2 = aurora.caller() ELSE aurora.may_see($1, $2) END
$$;
COMMENT ON FUNCTION aurora.may_use_consumer(int, text) IS
    'May the caller acknowledge for a consumer of that owner: its own, a company''s managers all of it, administrators all.';

CREATE FUNCTION aurora.find_consumer(consumer text, topic_id bigint) RETURNS aurora.consumer
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.consumer;
BEGIN
    SELECT c.* INTO result FROM aurora.consumer c WHERE c.topic_id = find_consumer.topic_id AND c.name = consumer;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no consumer "%s" of this topic', consumer),
            HINT = 'aurora.subscribe() makes one.';
    ELSIF NOT aurora.may_use_consumer(result.company_id, result.owner) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for consumer "%s"', consumer),
            HINT = 'It is for who subscribed, and for managers of the company.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.find_consumer(text, bigint) IS 'The consumer, for who may use it. Errors: 42704 none of that name, 42501.';

CREATE FUNCTION aurora.subscribe(consumer text, topic text, after_seq bigint DEFAULT NULL, company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id bigint;
    t aurora.topic;
    result aurora.consumer;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.open_cursor(topic, coalesce(after_seq, 0), NULL, company);
    IF coalesce(length(consumer), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'this is no name of a consumer',
            HINT = 'It has 1 to 200 characters.';
    END IF;
    SELECT o.* INTO t FROM aurora.topic o WHERE o.topic_id = id;
    INSERT INTO aurora.consumer (topic_id, name, company_id, owner, acked_seq)
        VALUES (id, consumer, t.company_id,
                coalesce((SELECT w.owner FROM aurora.whoami() w WHERE w.company_id = t.company_id), aurora.caller()),
                greatest(after_seq, t.first_seq - 1))
        ON CONFLICT ON CONSTRAINT consumer_pkey DO NOTHING;
    result := aurora.find_consumer(consumer, id);
    IF result.acked_seq <> after_seq THEN
        UPDATE aurora.consumer c SET acked_seq = after_seq WHERE c.topic_id = id AND c.name = consumer RETURNING c.* INTO result;
    END IF;
    RETURN result.acked_seq;
END
$$;
COMMENT ON FUNCTION aurora.subscribe(text, text, bigint, text) IS
    'Makes a consumer of a topic that begins with the oldest event that is kept, or after the given number, and returns the number after which it goes on. One that is there already goes on where it was, or is moved to the given number. Errors: 42704 no such topic yet, 42501 no right, or another''s consumer, 22023, 25006 on a standby, 55A01 or 55A03 the number is not there.';

CREATE FUNCTION aurora.fetch(consumer text, topic text, max_rows int DEFAULT 100, company text DEFAULT NULL)
    RETURNS TABLE (seq bigint, epoch uuid, at timestamptz, publisher text, client_id text, payload jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- By position: the function's name is a word of the language.
    id bigint := aurora.open_cursor($2, 0, NULL, $4);
    c aurora.consumer := aurora.find_consumer($1, id);
    first bigint := (SELECT t.first_seq FROM aurora.topic t WHERE t.topic_id = id);
BEGIN
    IF c.acked_seq < first - 1 THEN
        RAISE SQLSTATE '55A03' USING
            MESSAGE = format('events of topic "%s" up to %s are no longer kept', $2, first - 1),
            HINT = format('To go on without those after %s: SELECT aurora.subscribe(%L, %L, %s).', c.acked_seq, $1, $2,
                          first - 1);
    END IF;
    RETURN QUERY SELECT e.* FROM aurora.events($2, c.acked_seq, $3, NULL, $4) e;
END
$$;
COMMENT ON FUNCTION aurora.fetch(text, text, int, text) IS
    'The events that a consumer has not acknowledged, in their order, up to max_rows (1 to 10000), on any node; again and again until ack(). Errors: 42704 no such topic or consumer, 42501, 55A03 some are no longer kept, 22023.';

CREATE FUNCTION aurora.ack(consumer text, topic text, seq bigint, in_epoch uuid, company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id bigint;
    c aurora.consumer;
    result bigint;
BEGIN
    PERFORM aurora.require_lead();
    IF seq IS NULL OR in_epoch IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'number and epoch of the last event done may not be null',
            HINT = 'fetch() gives both.';
    END IF;
    id := aurora.open_cursor(topic, 0, NULL, company);
    c := aurora.find_consumer(consumer, id);
    -- What was acknowledged before may be trimmed by now.
    IF seq > c.acked_seq THEN
        PERFORM aurora.open_cursor(topic, greatest(seq, (SELECT t.first_seq - 1 FROM aurora.topic t WHERE t.topic_id = id)), in_epoch, company);
    END IF;
    UPDATE aurora.consumer u SET acked_seq = greatest(u.acked_seq, ack.seq), acked_at = clock_timestamp()
        WHERE u.topic_id = id AND u.name = ack.consumer RETURNING u.acked_seq INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.ack(text, text, bigint, uuid, text) IS
    'All events up to that one, of that epoch, are done: fetch() goes on after it. Returns up to where all is acknowledged; a lower number changes nothing. In the transaction that the work is done in, each event is done exactly once. Errors: 55A01 the event was lost with a lead, 42704 no such topic or consumer, 42501, 22004, 25006 on a standby.';

CREATE FUNCTION aurora.unsubscribe(consumer text, topic text, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id bigint;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.open_cursor(topic, 0, NULL, company);
    PERFORM aurora.find_consumer(consumer, id);
    DELETE FROM aurora.consumer c WHERE c.topic_id = id AND c.name = consumer;
END
$$;
COMMENT ON FUNCTION aurora.unsubscribe(text, text, text) IS 'Removes a consumer. Errors: 42704 no such topic or consumer, 42501, 25006 on a standby.';

CREATE FUNCTION aurora.event_age(topic_id bigint, seq bigint) RETURNS interval
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT clock_timestamp() - e.at FROM aurora.event e JOIN aurora.topic t USING (topic_id)
    WHERE e.topic_id = $1 AND e.seq = $2 AND aurora.may_read_topic(t.company_id, t.name)
$$;
COMMENT ON FUNCTION aurora.event_age(bigint, bigint) IS 'How long ago an event was published; null for one that is not there or that the caller may not read.';

CREATE VIEW aurora.consumers WITH (security_invoker = true) AS
    SELECT o.name AS company, t.name AS topic, c.name AS consumer, c.owner, c.acked_seq, t.last_seq,
           greatest(t.last_seq - c.acked_seq, 0) AS lag, aurora.event_age(t.topic_id, greatest(c.acked_seq + 1, t.first_seq)) AS lag_age,
           greatest(t.first_seq - 1 - c.acked_seq, 0) AS missed, c.acked_at, c.created_at
    FROM aurora.consumer c JOIN aurora.topic t USING (topic_id) LEFT JOIN aurora.company o ON o.company_id = t.company_id;
COMMENT ON VIEW aurora.consumers IS 'The consumers of topics that the caller may read, and how far behind they are.';
COMMENT ON COLUMN aurora.consumers.company IS 'Name of the company; null for the mesh.';
COMMENT ON COLUMN aurora.consumers.topic IS 'Name of the topic.';
COMMENT ON COLUMN aurora.consumers.consumer IS 'Name of the consumer.';
COMMENT ON COLUMN aurora.consumers.owner IS 'Who subscribed.';
COMMENT ON COLUMN aurora.consumers.acked_seq IS 'All events up to this one are done.';
COMMENT ON COLUMN aurora.consumers.last_seq IS 'Number of the topic''s last event.';
COMMENT ON COLUMN aurora.consumers.lag IS 'How many events are not acknowledged.';
COMMENT ON COLUMN aurora.consumers.lag_age IS 'Age of the oldest event that is not acknowledged and still kept; null when all are.';
COMMENT ON COLUMN aurora.consumers.missed IS 'How many events were removed before they were acknowledged.';
COMMENT ON COLUMN aurora.consumers.acked_at IS 'When it last acknowledged; null for never.';
COMMENT ON COLUMN aurora.consumers.created_at IS 'When it subscribed first.';
