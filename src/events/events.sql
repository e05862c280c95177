-- Events: topics, what is published there, and what capabilities tell of.

-- ---- tables ----

CREATE SEQUENCE aurora.topic_topic_id_seq;
COMMENT ON SEQUENCE aurora.topic_topic_id_seq IS 'Numbers the topics.';

CREATE TABLE aurora.topic (
    topic_id bigint PRIMARY KEY DEFAULT nextval('aurora.topic_topic_id_seq'),
    company_id int REFERENCES aurora.company ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    last_seq bigint NOT NULL DEFAULT 0,
    first_seq bigint NOT NULL DEFAULT 1,
    timeline int,
    system_identifier bigint,
    epoch uuid,
    last_at timestamptz,
    keep_for interval,
    keep_events bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text COLLATE "C" NOT NULL,
    CONSTRAINT topic_name_key UNIQUE NULLS NOT DISTINCT (company_id, name),
    CONSTRAINT topic_name_check CHECK (length(name) BETWEEN 1 AND 250),
    CONSTRAINT topic_mesh_check CHECK ((company_id IS NULL) = (name LIKE 'mesh/%')),
    CONSTRAINT topic_seq_check CHECK (first_seq BETWEEN 1 AND last_seq + 1),
    CONSTRAINT topic_keep_for_check CHECK (keep_for >= interval '0'),
    CONSTRAINT topic_keep_events_check CHECK (keep_events >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);
ALTER SEQUENCE aurora.topic_topic_id_seq OWNED BY aurora.topic.topic_id;
COMMENT ON TABLE aurora.topic IS 'The topics, each made by its first event. Who publishes holds the topic''s row until its transaction ends, so that numbers have no gaps. aurora.topics shows them.';
COMMENT ON COLUMN aurora.topic.topic_id IS 'Number of the topic, over all companies; what notifications and Redis carry.';
COMMENT ON COLUMN aurora.topic.company_id IS 'The company; null for a topic of the mesh, whose name begins with "mesh/".';
COMMENT ON COLUMN aurora.topic.name IS 'Name within the company, of 1 to 250 printable characters.';
COMMENT ON COLUMN aurora.topic.last_seq IS 'Number of the last event; 0 before the first.';
COMMENT ON COLUMN aurora.topic.first_seq IS 'Number of the oldest event that is kept.';
COMMENT ON COLUMN aurora.topic.timeline IS 'Timeline in which the last event was written; another one now means another lead.';
COMMENT ON COLUMN aurora.topic.system_identifier IS 'Cluster in which the last event was written.';
COMMENT ON COLUMN aurora.topic.epoch IS 'Epoch of the last event.';
COMMENT ON COLUMN aurora.topic.last_at IS 'When the last event was published.';
COMMENT ON COLUMN aurora.topic.keep_for IS 'Age at which its events are removed; 0 for never, null for aurora.event_retention.';
COMMENT ON COLUMN aurora.topic.keep_events IS 'How many of its last events are kept; null for no such limit.';
COMMENT ON COLUMN aurora.topic.created_at IS 'When the topic was made.';
COMMENT ON COLUMN aurora.topic.created_by IS 'Who published its first event.';

CREATE TABLE aurora.event (
    topic_id bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    company_id int,
    publisher text COLLATE "C" NOT NULL,
    client_id text COLLATE "C",
    payload jsonb NOT NULL,
    PRIMARY KEY (topic_id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);
CREATE UNIQUE INDEX event_client ON aurora.event (topic_id, client_id) WHERE client_id IS NOT NULL;
COMMENT ON INDEX aurora.event_client IS 'A client''s id is published once in a topic.';
COMMENT ON TABLE aurora.event IS 'The events, read with aurora.events().';
COMMENT ON COLUMN aurora.event.topic_id IS 'The topic; no foreign key, which would cost each event a lock, a trigger removes them with their topic.';
COMMENT ON COLUMN aurora.event.seq IS 'Number within the topic, without gaps, in the order of commits.';
COMMENT ON COLUMN aurora.event.at IS 'When it was published; never before the event before it.';
COMMENT ON COLUMN aurora.event.company_id IS 'The company of the topic; null for the mesh.';
COMMENT ON COLUMN aurora.event.publisher IS 'The principal who published it, or the role for the mesh; aurora for what capabilities tell of.';
COMMENT ON COLUMN aurora.event.client_id IS 'The publisher''s own id of the event, by which a second try is known.';
COMMENT ON COLUMN aurora.event.payload IS 'What happened, up to 1 MB.';

CREATE TABLE aurora.topic_epoch (
    topic_id bigint NOT NULL,
    from_seq bigint NOT NULL,
    company_id int,
    epoch uuid NOT NULL,
    epoch_no bigint NOT NULL,
    timeline int NOT NULL,
    system_identifier bigint NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic_id, from_seq)
);
COMMENT ON TABLE aurora.topic_epoch IS 'Which lead published which events of a topic: a row when another lead than before publishes first. By this a cursor is found to have read what was lost with a lead.';
COMMENT ON COLUMN aurora.topic_epoch.topic_id IS 'The topic.';
COMMENT ON COLUMN aurora.topic_epoch.from_seq IS 'The first event of the epoch.';
COMMENT ON COLUMN aurora.topic_epoch.company_id IS 'The company of the topic; null for the mesh.';
COMMENT ON COLUMN aurora.topic_epoch.epoch IS 'Id of the epoch: that of aurora.epoch(), but a random one for the topic''s first, and when the lead had not taken up its duties yet.';
COMMENT ON COLUMN aurora.topic_epoch.epoch_no IS 'Number of the lead''s epoch, as in aurora.lead_epoch, or the one that it was to get.';
COMMENT ON COLUMN aurora.topic_epoch.timeline IS 'Timeline that the lead wrote.';
COMMENT ON COLUMN aurora.topic_epoch.system_identifier IS 'Cluster of the lead.';
COMMENT ON COLUMN aurora.topic_epoch.began_at IS 'When the first event of it was published.';

CREATE SEQUENCE aurora.event_note_note_id_seq;
COMMENT ON SEQUENCE aurora.event_note_note_id_seq IS 'Numbers the notes.';

CREATE TABLE aurora.event_note (
    note_id bigint PRIMARY KEY DEFAULT nextval('aurora.event_note_note_id_seq'),
    company_id int,
    topic text COLLATE "C" NOT NULL,
    payload jsonb NOT NULL,
    noted_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, vacuum_truncate = off);
ALTER SEQUENCE aurora.event_note_note_id_seq OWNED BY aurora.event_note.note_id;
COMMENT ON TABLE aurora.event_note IS 'What capabilities told of and the courier has not published yet: writers add here without waiting for one another.';
COMMENT ON COLUMN aurora.event_note.note_id IS 'Number of the note.';
COMMENT ON COLUMN aurora.event_note.company_id IS 'The company; null for the mesh.';
COMMENT ON COLUMN aurora.event_note.topic IS 'Name of the topic.';
COMMENT ON COLUMN aurora.event_note.payload IS 'The event''s payload.';
COMMENT ON COLUMN aurora.event_note.noted_at IS 'When its transaction was about to commit.';

-- ---- rights ----

CREATE FUNCTION aurora.may_read_topic(company_id int, topic text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_may_read_topic';
COMMENT ON FUNCTION aurora.may_read_topic(int, text) IS
    'May the caller read the topic of that company (null: of the mesh): items/OWNER as far as it sees the owner, secrets who manages them, others each principal of the company. Row level security asks this.';

-- ---- publishing ----

CREATE FUNCTION aurora.publish(topic text, payload jsonb, client_id text DEFAULT NULL, company text DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_publish';
COMMENT ON FUNCTION aurora.publish(text, jsonb, text, text) IS
    'Publishes an event and returns its number in the topic, without gaps and in the order of commits: the topic is held until the transaction ends. The first event makes the topic. client_id: the caller''s own id of the event; a repeat changes nothing and returns the first number, as long as that event is kept. company: null for the caller''s own. Topics named mesh/... are the mesh''s. Errors: 42501 no right, or a topic that aurora publishes itself, 22023 a bad name or company, 54000 more than 1 MB, 22004 null, 25006 on a standby, 40001 another isolation level than READ COMMITTED and a concurrent publish.';

CREATE FUNCTION aurora.begin_topic_epoch(topic_id bigint, from_seq bigint, timeline int, system_identifier bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last aurora.lead_epoch;
    id uuid := gen_random_uuid();
    no bigint;
BEGIN
    SELECT e.* INTO last FROM aurora.lead_epoch e ORDER BY e.epoch_no DESC LIMIT 1;
    no := coalesce(last.epoch_no, 0) + 1;
    IF last.timeline = begin_topic_epoch.timeline AND last.system_identifier = begin_topic_epoch.system_identifier THEN
        no := last.epoch_no;
        -- The first is the topic's own: cursors of a topic of that name that was removed do not fit this one.
        IF EXISTS (SELECT FROM aurora.topic_epoch e WHERE e.topic_id = begin_topic_epoch.topic_id) THEN
            id := last.id;
        END IF;
    END IF;
    UPDATE aurora.topic t SET timeline = begin_topic_epoch.timeline, system_identifier = begin_topic_epoch.system_identifier, epoch = id
        WHERE t.topic_id = begin_topic_epoch.topic_id;
    INSERT INTO aurora.topic_epoch (topic_id, from_seq, company_id, epoch, epoch_no, timeline, system_identifier)
        SELECT t.topic_id, begin_topic_epoch.from_seq, t.company_id, id, no, t.timeline, t.system_identifier
        FROM aurora.topic t WHERE t.topic_id = begin_topic_epoch.topic_id;
END
$$;
COMMENT ON FUNCTION aurora.begin_topic_epoch(bigint, bigint, int, bigint) IS
    'Another lead than the last publishes first in the topic; publish() asks this. Its epoch is the lead''s; a new one for the topic''s first, and as long as the lead has not taken up its duties.';

CREATE FUNCTION aurora.note_event(company_id int, topic text, detail jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_note_event';
COMMENT ON FUNCTION aurora.note_event(int, text, jsonb) IS
    'For capabilities: this transaction changed something, told to a reserved topic of the company (null: of the mesh) when it commits. All of one transaction and topic is one event, {"changed": [...]}, with at most 100 different changes and the number of further ones as "more".';

CREATE FUNCTION aurora.publish_note(company_id int, topic text, payload jsonb) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_publish_note';
COMMENT ON FUNCTION aurora.publish_note(int, text, jsonb) IS
    'Publishes what a transaction told of, where no courier does it; company 0 is the mesh. Nothing when the company is gone.';

CREATE FUNCTION aurora.publish_notes() RETURNS boolean
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_publish_notes';
COMMENT ON FUNCTION aurora.publish_notes() IS
    'Publishes what transactions told of, up to 500 notes; true when there is more. The courier does this by itself; where none runs, it is needed after REPEATABLE READ and prepared transactions only. Errors: 25006 on a standby.';

-- ---- topics ----

CREATE FUNCTION aurora.remove_events() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM aurora.event e WHERE e.topic_id = OLD.topic_id;
    DELETE FROM aurora.topic_epoch e WHERE e.topic_id = OLD.topic_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.remove_events() IS 'Trigger: a topic goes with its events.';
CREATE TRIGGER remove_events AFTER DELETE ON aurora.topic FOR EACH ROW EXECUTE FUNCTION aurora.remove_events();
COMMENT ON TRIGGER remove_events ON aurora.topic IS 'Removes the topic''s events.';

CREATE FUNCTION aurora.topic_to_manage(topic text, company text) RETURNS aurora.topic
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
    result aurora.topic;
BEGIN
    PERFORM aurora.require_lead();
    IF topic LIKE 'mesh/%' THEN
        IF NOT aurora.administers_all() THEN
            RAISE insufficient_privilege USING
                MESSAGE = format('permission denied to change topic "%s"', topic),
                HINT = 'Topics of the mesh are for administrators.';
        END IF;
    ELSE
        id := aurora.company_for(company);
        PERFORM aurora.require_manage(id);
    END IF;
    SELECT t.* INTO result FROM aurora.topic t
        WHERE t.name = topic AND CASE WHEN id IS NULL THEN t.company_id IS NULL ELSE t.company_id = id END
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no topic "%s"', topic),
            HINT = 'aurora.topics shows those that there are.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.topic_to_manage(text, text) IS 'The topic, locked, for who may change it. Errors: 42501, 42704, 22023, 25006.';

CREATE FUNCTION aurora.set_topic(topic text, keep_for interval DEFAULT NULL, keep_events bigint DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.topic := aurora.topic_to_manage(topic, company);
BEGIN
    IF keep_for < interval '0' OR keep_events < 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'what is kept may not be negative',
            HINT = 'keep_for => ''0'' keeps events of any age; keep_events => NULL any number.';
    END IF;
    UPDATE aurora.topic t SET keep_for = set_topic.keep_for, keep_events = set_topic.keep_events WHERE t.topic_id = target.topic_id;
END
$$;
COMMENT ON FUNCTION aurora.set_topic(text, interval, bigint, text) IS
    'Sets how long a topic''s events are kept (null: as aurora.event_retention says, 0: for ever) and how many at most (null: any number). For who manages the company, and administrators. Errors: 42501, 42704 no such topic, 22023 negative, 25006 on a standby.';

CREATE FUNCTION aurora.remove_topic(topic text, company text DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.topic := aurora.topic_to_manage(topic, company);
BEGIN
    DELETE FROM aurora.topic t WHERE t.topic_id = target.topic_id;
    RETURN target.last_seq - target.first_seq + 1;
END
$$;
COMMENT ON FUNCTION aurora.remove_topic(text, text) IS
    'Removes a topic with its events and consumers, and returns how many events it had; the next event of that name makes another topic, whose numbers begin at 1. For who manages the company, and administrators. Errors: 42501, 42704 no such topic, 25006 on a standby.';

CREATE FUNCTION aurora.trim_events(max_rows int DEFAULT 5000) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    retention interval;
    candidate record;
    t aurora.topic;
    cut bigint;
    removed bigint := 0;
BEGIN
    PERFORM aurora.require_lead();
    IF max_rows IS NULL OR max_rows < 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'at least one row must be asked for',
            HINT = 'Leave max_rows out for the default.';
    END IF;
    -- Not before a function of the library was called, which defines the setting.
    retention := current_setting('aurora.event_retention');
    FOR candidate IN
        SELECT c.topic_id FROM aurora.topic c LEFT JOIN aurora.event e ON e.topic_id = c.topic_id AND e.seq = c.first_seq
        WHERE c.first_seq <= c.last_seq
          AND (c.last_seq - c.first_seq + 1 > c.keep_events
               OR coalesce(c.keep_for, retention) > interval '0' AND e.at < now() - coalesce(c.keep_for, retention))
        ORDER BY c.topic_id
    LOOP
        -- Who publishes is not waited for, nor made to wait for long: the topic has its turn the next time.
        SELECT l.* INTO t FROM aurora.topic l WHERE l.topic_id = candidate.topic_id FOR NO KEY UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        SELECT max(e.seq) INTO cut FROM (
            SELECT o.seq, o.at FROM aurora.event o WHERE o.topic_id = t.topic_id AND o.seq >= t.first_seq
            ORDER BY o.seq LIMIT max_rows - removed) e
            WHERE e.seq <= t.last_seq - t.keep_events
               OR coalesce(t.keep_for, retention) > interval '0' AND e.at < now() - coalesce(t.keep_for, retention);
        CONTINUE WHEN cut IS NULL;
        DELETE FROM aurora.event e WHERE e.topic_id = t.topic_id AND e.seq BETWEEN t.first_seq AND cut;
        UPDATE aurora.topic u SET first_seq = cut + 1 WHERE u.topic_id = t.topic_id;
        removed := removed + cut - t.first_seq + 1;
        EXIT WHEN removed >= max_rows;
    END LOOP;
    RETURN removed;
END
$$;
COMMENT ON FUNCTION aurora.trim_events(int) IS
    'Removes events that are no longer kept, up to a number, and returns how many. The lead''s worker does this each minute. Errors: 25006 on a standby, 22023.';

CREATE VIEW aurora.topics WITH (security_invoker = true) AS
    SELECT c.name AS company, t.name AS topic, t.topic_id, t.first_seq, t.last_seq, t.last_seq - t.first_seq + 1 AS events,
           t.epoch, t.last_at, t.keep_for, t.keep_events, t.created_at, t.created_by
    FROM aurora.topic t LEFT JOIN aurora.company c USING (company_id);
COMMENT ON VIEW aurora.topics IS 'The topics that the caller may read.';
COMMENT ON COLUMN aurora.topics.company IS 'Name of the company; null for the mesh.';
COMMENT ON COLUMN aurora.topics.topic IS 'Name of the topic.';
COMMENT ON COLUMN aurora.topics.topic_id IS 'Its number, as notifications on channel aurora_topic and Redis carry it.';
COMMENT ON COLUMN aurora.topics.first_seq IS 'Number of the oldest event that is kept.';
COMMENT ON COLUMN aurora.topics.last_seq IS 'Number of the last event; 0 before the first.';
COMMENT ON COLUMN aurora.topics.events IS 'How many events are kept.';
COMMENT ON COLUMN aurora.topics.epoch IS 'Epoch of the last event: with last_seq a cursor at the end.';
COMMENT ON COLUMN aurora.topics.last_at IS 'When the last event was published.';
COMMENT ON COLUMN aurora.topics.keep_for IS 'Age at which its events are removed; 0 for never, null for aurora.event_retention.';
COMMENT ON COLUMN aurora.topics.keep_events IS 'How many of its last events are kept; null for no such limit.';
COMMENT ON COLUMN aurora.topics.created_at IS 'When the topic was made.';
COMMENT ON COLUMN aurora.topics.created_by IS 'Who published its first event.';

CREATE FUNCTION aurora.courier_status(OUT pid int, OUT starts bigint, OUT part text, OUT notified bigint, OUT redis text, OUT redis_channel text,
                                      OUT redis_connects bigint, OUT redis_failures bigint, OUT redis_published bigint,
                                      OUT redis_received bigint, OUT redis_dropped bigint, OUT redis_error text) RETURNS record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_courier_status';
COMMENT ON FUNCTION aurora.courier_status() IS
    'How this node''s courier is. part: lead or standby. notified: rings that listeners were told of. redis: off, away, connecting or connected; counts since the process began: connections made, tries that failed or connections lost, messages published, heard and dropped while Redis was away; what went wrong last. Errors: 55000 without the preloaded library.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['topic_topic_id_seq', 'topic', 'event', 'topic_epoch', 'event_note_note_id_seq', 'event_note'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump('aurora.' || name, '');
    END LOOP;
END
$$;
