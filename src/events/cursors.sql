-- Reading topics from a cursor, and waiting for what follows it.

CREATE FUNCTION aurora.open_cursor(topic text, after_seq bigint, in_epoch uuid, company text) RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_open_cursor';
COMMENT ON FUNCTION aurora.open_cursor(text, bigint, uuid, text) IS
    'The number of the topic, when the caller may read it and the cursor can go on. Errors: 42501, 42704 no such topic, 22023, 22004, 55A01, 55A02, 55A03 as events() has them.';

CREATE FUNCTION aurora.events(topic text, after_seq bigint DEFAULT 0, max_rows int DEFAULT 100, in_epoch uuid DEFAULT NULL,
                              company text DEFAULT NULL)
    RETURNS TABLE (seq bigint, epoch uuid, at timestamptz, publisher text, client_id text, payload jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id bigint := aurora.open_cursor(events.topic, events.after_seq, events.in_epoch, events.company);
BEGIN
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'between 1 and 10000 events can be read at once',
            HINT = 'Leave max_rows out for 100.';
    END IF;
    RETURN QUERY
        SELECT e.seq, (SELECT p.epoch FROM aurora.topic_epoch p WHERE p.topic_id = id AND p.from_seq <= e.seq
                       ORDER BY p.from_seq DESC LIMIT 1),
               e.at, e.publisher, e.client_id, e.payload
        FROM aurora.event e WHERE e.topic_id = id AND e.seq > events.after_seq ORDER BY e.seq LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION aurora.events(text, bigint, int, uuid, text) IS
    'The events of a topic after a number, in their order, up to max_rows (1 to 10000), on any node. A reader keeps epoch and seq of the last one, and goes on with them as in_epoch and after_seq: then it learns when events that it has read were lost with a lead. after_seq 0 is before the oldest that is kept. Errors: 55A01 what the cursor has read was lost (the hint says where to go on), 55A02 this standby does not know the epoch yet, 55A03 what follows is no longer kept, 42704 no such topic yet, 42501 no right, 22023, 22004.';

CREATE FUNCTION aurora.cursor_state(topic text, after_seq bigint, in_epoch uuid DEFAULT NULL, company text DEFAULT NULL,
                                    OUT state text, OUT resume_after bigint) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_cursor_state';
COMMENT ON FUNCTION aurora.cursor_state(text, bigint, uuid, text) IS
    'Can a cursor go on here. state: continues; lost: what it has read was lost with a lead; ahead: this standby has not come that far; trimmed: what follows is no longer kept. resume_after: the number after which it can go on. Errors: 42501, 42704 no such topic, 22023, 22004.';

CREATE PROCEDURE aurora.wait_events(topic text, after_seq bigint, timeout interval DEFAULT '30 seconds', in_epoch uuid DEFAULT NULL,
                                    company text DEFAULT NULL, INOUT last_seq bigint DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_wait_events';
COMMENT ON PROCEDURE aurora.wait_events(text, bigint, interval, uuid, text, bigint) IS
    'Waits until the topic has an event after that number, up to the timeout (0 to 24 hours), and gives the number of its last event, 0 for none. Also for a topic that is not there yet, and on a standby. It holds no snapshot while it waits, so it is called by itself. A gateway may wait for any companys topics. Errors: 25001 inside a transaction or function, 55000 no preloaded library, 42501 no right, 55A01, 55A03 as events(), 22023, 22004.';
