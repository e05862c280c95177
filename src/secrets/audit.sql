-- The audit of secrets: what nodes have written down, how they are, and whether it is whole.

CREATE FUNCTION aurora.secret_audit_status(OUT node text, OUT directory text, OUT chain text, OUT last_seq bigint,
                                           OUT synced_seq bigint, OUT delivered_seq bigint, OUT file_bytes bigint,
                                           OUT is_on boolean, OUT problem text) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'aurora_secret_audit_status';
COMMENT ON FUNCTION aurora.secret_audit_status() IS
    'This node''s audit: the chain that is written, its last record, up to where it is on disk and has come to the lead as this database knows, the size of the files, and what is wrong. No row without the preloaded library.';

CREATE FUNCTION aurora.restart_secret_audit(reason text) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_restart_secret_audit';
COMMENT ON FUNCTION aurora.restart_secret_audit(text) IS
    'Begins a new chain on this node, lead or standby, when the files of the one before are lost or changed and secrets are refused; the reason stands in its first record. Returns the chain''s name. For administrators. Errors: 42501, 58030 it cannot be begun.';

CREATE FUNCTION aurora.verify_secret_audit_file(OUT node text, OUT chain text, OUT records bigint, OUT first_seq bigint,
                                                OUT last_seq bigint, OUT ok boolean, OUT broken_seq bigint, OUT problem text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'aurora_verify_secret_audit_file';
COMMENT ON FUNCTION aurora.verify_secret_audit_file() IS
    'Reads this node''s audit files and computes all hashes anew: a row for each chain, with the first record that is missing or was changed. Errors: 55000 no preloaded library, 58P01 no files.';

CREATE FUNCTION aurora.local_secret_cache(OUT hits bigint, OUT misses bigint, OUT evictions bigint, OUT invalidations bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'aurora_local_secret_cache';
COMMENT ON FUNCTION aurora.local_secret_cache() IS 'Counters of this node''s caches since its start.';

-- ---- what nodes tell ----

CREATE FUNCTION aurora.secret_record_hash(before bytea, record text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(before || convert_to(left(record, -75), 'UTF8'))
$$;
COMMENT ON FUNCTION aurora.secret_record_hash(bytea, text) IS
    'The hash that a record must have behind another: SHA-256 of the hash before and of the record''s text up to its own hash, which takes 75 characters.';

CREATE FUNCTION aurora.secret_record_told(record text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN record ~ ',"hash":"[0-9a-f]{64}"}$' THEN decode(left(right(record, 66), 64), 'hex') ELSE '\x' END
$$;
COMMENT ON FUNCTION aurora.secret_record_told(text) IS 'The hash that a record tells.';

CREATE FUNCTION aurora.is_json_object(line text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN jsonb_typeof(line::jsonb) = 'object';
EXCEPTION WHEN data_exception OR statement_too_complex THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION aurora.is_json_object(text) IS 'Is the text a JSON object.';

CREATE FUNCTION aurora.secret_record_time(record text) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN substring(record FROM '"at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)"')::timestamptz;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.secret_record_time(text) IS 'The time that a record tells; null for none.';

CREATE FUNCTION aurora.receive_secret_audit(node text, body jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known aurora.secret_audit_chain;
    zeros bytea := decode(repeat('00', 32), 'hex');
    line text;
    line_seq bigint;
    why text;
BEGIN
    IF coalesce(body->>'chain', '') !~ '^[0-9a-f]{32}$' OR jsonb_typeof(body->'records') IS DISTINCT FROM 'array' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'an audit message has a chain and records';
    END IF;
    INSERT INTO aurora.secret_audit_chain AS c (node, chain, head_hash, base_hash)
        VALUES (receive_secret_audit.node, body->>'chain', zeros, zeros)
        ON CONFLICT ON CONSTRAINT secret_audit_chain_pkey DO UPDATE SET node = excluded.node RETURNING c.* INTO known;
    FOR line IN SELECT r FROM jsonb_array_elements_text(body->'records') r LOOP
        line_seq := coalesce(substring(line FROM '^\{"seq":([0-9]{1,18}),')::bigint, known.head_seq + 1);
        -- What was lost on the way comes again, with all that is behind it.
        EXIT WHEN line_seq > known.head_seq + 1 AND NOT body ? 'anew';
        why := CASE
            WHEN line_seq <= known.head_seq THEN
                CASE WHEN EXISTS (SELECT FROM aurora.secret_audit_record r WHERE r.node = known.node AND r.chain = known.chain
                                  AND r.seq = line_seq AND r.record <> line) THEN 'a record came again with another text' END
            WHEN line_seq <> known.head_seq + 1 THEN 'records before one that came are missing'
            WHEN aurora.secret_record_told(line) <> aurora.secret_record_hash(known.head_hash, line)
                THEN 'a record was changed before it came' END;
        IF why IS NOT NULL AND known.problem IS NULL THEN
            known.broken_seq := least(line_seq, known.head_seq + 1);
            known.problem := why;
        END IF;
        CONTINUE WHEN line_seq <= known.head_seq;
        INSERT INTO aurora.secret_audit_record (node, chain, seq, company_id, at, record)
            VALUES (known.node, known.chain, line_seq, substring(line FROM '"company_id":([0-9]{1,9})[,}]')::int,
                    coalesce(aurora.secret_record_time(line), clock_timestamp()),
                    CASE WHEN aurora.is_json_object(line) THEN line ELSE jsonb_build_object('unreadable', line)::text END);
        known.head_hash := aurora.secret_record_told(line);
        known.head_seq := line_seq;
    END LOOP;
    UPDATE aurora.secret_audit_chain c
        SET head_seq = known.head_seq, head_hash = known.head_hash, broken_seq = known.broken_seq, problem = known.problem
        WHERE c.node = known.node AND c.chain = known.chain;
END
$$;
COMMENT ON FUNCTION aurora.receive_secret_audit(text, jsonb) IS
    'Takes audit records of a node: {chain, records, anew}, each a line of its file. What has come before is passed over. With anew, a record that does not go on where the chain ends is kept, and the chain is marked as broken from there; without, what is between was lost on the way, and all is waited for.';

CREATE FUNCTION aurora.receive_secret_cache(node text, body jsonb) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO aurora.secret_cache_status (node, hits, misses, evictions, invalidations, reported_at)
        VALUES (receive_secret_cache.node, (body->>'hits')::bigint, (body->>'misses')::bigint, (body->>'evictions')::bigint,
                (body->>'invalidations')::bigint, clock_timestamp())
        ON CONFLICT ON CONSTRAINT secret_cache_status_pkey DO UPDATE SET
            hits = excluded.hits, misses = excluded.misses, evictions = excluded.evictions,
            invalidations = excluded.invalidations, reported_at = excluded.reported_at
$$;
COMMENT ON FUNCTION aurora.receive_secret_cache(text, jsonb) IS 'Takes the counters of a node''s caches: {hits, misses, evictions, invalidations}.';

-- ---- reading and verifying ----

CREATE VIEW aurora.secret_audit WITH (security_invoker = true) AS
    SELECT r.node, r.chain, r.seq, r.at, j.j->>'action' AS action, j.j->>'outcome' AS outcome, j.j->>'service' AS service,
           j.j->>'key' AS key_name, j.j->>'scope' AS scope, j.j->>'node' AS for_node, j.j->>'company' AS company,
           substring(j.j->>'version' FROM '^\d{1,9}$')::int AS version, j.j->>'role' AS role, j.j->>'session' AS session_role, j.j->>'owner' AS owner,
           j.j->>'database' AS database, j.j->>'client' AS client, substring(j.j->>'pid' FROM '^\d{1,9}$')::int AS pid,
           coalesce(j.j->>'detail', j.j->>'unreadable') AS detail
    FROM aurora.secret_audit_record r CROSS JOIN LATERAL (SELECT r.record::jsonb AS j) j;
COMMENT ON VIEW aurora.secret_audit IS 'Every access to secrets on every node that the lead has been told of.';
COMMENT ON COLUMN aurora.secret_audit.node IS 'The node on which it was.';
COMMENT ON COLUMN aurora.secret_audit.chain IS 'The chain of the node''s records.';
COMMENT ON COLUMN aurora.secret_audit.seq IS 'Number in the chain.';
COMMENT ON COLUMN aurora.secret_audit.at IS 'When, by the node''s clock.';
COMMENT ON COLUMN aurora.secret_audit.action IS 'begin (of the chain), read, put, delete, undelete, destroy, export, import (of an export, refused), grant, revoke, rotate or forget (of records).';
COMMENT ON COLUMN aurora.secret_audit.outcome IS 'granted, refused, missing, or failed when the stored value did not open. What changes secrets is written down before its transaction commits; it may have been rolled back.';
COMMENT ON COLUMN aurora.secret_audit.service IS 'The service that was asked for.';
COMMENT ON COLUMN aurora.secret_audit.key_name IS 'The key name.';
COMMENT ON COLUMN aurora.secret_audit.scope IS 'The scope that answered.';
COMMENT ON COLUMN aurora.secret_audit.for_node IS 'The node for which it was asked.';
COMMENT ON COLUMN aurora.secret_audit.company IS 'The company for which it was asked.';
COMMENT ON COLUMN aurora.secret_audit.version IS 'The version that answered, or was made.';
COMMENT ON COLUMN aurora.secret_audit.role IS 'The role that asked.';
COMMENT ON COLUMN aurora.secret_audit.session_role IS 'The role that had logged in.';
COMMENT ON COLUMN aurora.secret_audit.owner IS 'The principal for whom it asked.';
COMMENT ON COLUMN aurora.secret_audit.database IS 'The database.';
COMMENT ON COLUMN aurora.secret_audit.client IS 'Address and port of the client, or local.';
COMMENT ON COLUMN aurora.secret_audit.pid IS 'The server''s process.';
COMMENT ON COLUMN aurora.secret_audit.detail IS 'What else is to be said.';

CREATE FUNCTION aurora.verify_secret_audit(of_node text DEFAULT NULL, OUT node text, OUT chain text, OUT records bigint,
                                           OUT first_seq bigint, OUT last_seq bigint, OUT ok boolean, OUT broken_seq bigint,
                                           OUT problem text) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH linked AS (
        SELECT r.node, r.chain, r.seq, r.record,
               lag(r.seq, 1, c.first_seq - 1) OVER w AS before_seq,
               lag(aurora.secret_record_told(r.record), 1, c.base_hash) OVER w AS before_hash
        FROM aurora.secret_audit_record r JOIN aurora.secret_audit_chain c USING (node, chain)
        WHERE aurora.administers_all() AND (of_node IS NULL OR r.node = of_node)
        WINDOW w AS (PARTITION BY r.node, r.chain ORDER BY r.seq)
    ), judged AS (
        SELECT l.node, l.chain, count(*) AS records, min(l.seq) AS first_seq, max(l.seq) AS last_seq,
               min(l.before_seq + 1) FILTER (WHERE l.seq <> l.before_seq + 1) AS gap_seq,
               min(l.seq) FILTER (WHERE l.seq = l.before_seq + 1
                                  AND aurora.secret_record_told(l.record) <> aurora.secret_record_hash(l.before_hash, l.record)) AS bad_seq,
               (array_agg(aurora.secret_record_told(l.record) ORDER BY l.seq DESC))[1] AS last_hash
        FROM linked l GROUP BY l.node, l.chain
    ), found AS (
        SELECT c.*, j.records, j.first_seq AS kept_from, j.last_seq, f.seq AS found_seq, f.why
        FROM aurora.secret_audit_chain c LEFT JOIN judged j USING (node, chain)
        LEFT JOIN LATERAL (
            SELECT b.seq, b.why FROM (VALUES
                (j.gap_seq, 'a record is missing'), (j.bad_seq, 'a record was changed'),
                (c.broken_seq, c.problem),
                (CASE WHEN coalesce(j.last_seq, c.first_seq - 1) < c.head_seq THEN coalesce(j.last_seq, c.first_seq - 1) + 1 END,
                 'the last records are missing'),
                (CASE WHEN j.last_seq = c.head_seq AND j.last_hash <> c.head_hash THEN j.last_seq END, 'the last record was changed'),
                (CASE WHEN EXISTS (SELECT FROM aurora.secret_audit_chain n WHERE n.node = c.node AND n.began_at > c.began_at)
                      THEN c.head_seq + 1 END, 'the node has begun another chain: what came after may be lost')) b (seq, why)
            WHERE b.seq IS NOT NULL ORDER BY b.seq LIMIT 1) f ON true
        WHERE aurora.administers_all() AND (of_node IS NULL OR c.node = of_node)
    )
    SELECT f.node, f.chain, coalesce(f.records, 0), f.first_seq, f.head_seq, f.found_seq IS NULL, f.found_seq, f.why
    FROM found f ORDER BY f.node, f.began_at
$$;
COMMENT ON FUNCTION aurora.verify_secret_audit(text) IS
    'Computes the hashes of all records that have come from a node (null: from all) anew: a row for each chain, with the first record that is missing or was changed, and why. For administrators; for others no rows. It takes some seconds per million records.';

CREATE FUNCTION aurora.forget_secret_audit(keep interval DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_chain aurora.secret_audit_chain;
    until timestamptz;
    last_old record;
    deleted bigint := 0;
    n bigint;
BEGIN
    PERFORM aurora.require_lead();
    until := clock_timestamp() - coalesce(keep, make_interval(days => current_setting('aurora.secret_audit_retention')::int));
    FOR of_chain IN SELECT c.* FROM aurora.secret_audit_chain c FOR UPDATE LOOP
        -- Up to the first record that is young enough: a chain loses its beginning only. And not too many
        -- at once, since the node's records and heartbeats wait for it.
        SELECT r.seq, r.record INTO last_old
            FROM (SELECT o.seq, o.record FROM aurora.secret_audit_record o
                  WHERE o.node = of_chain.node AND o.chain = of_chain.chain ORDER BY o.seq LIMIT 20000) r
            WHERE r.seq < coalesce((SELECT y.seq FROM aurora.secret_audit_record y
                                    WHERE y.node = of_chain.node AND y.chain = of_chain.chain AND y.at >= until
                                    ORDER BY y.seq LIMIT 1), of_chain.head_seq + 1)
            ORDER BY r.seq DESC LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        DELETE FROM aurora.secret_audit_record r WHERE r.node = of_chain.node AND r.chain = of_chain.chain AND r.seq <= last_old.seq;
        GET DIAGNOSTICS n = ROW_COUNT;
        deleted := deleted + n;
        UPDATE aurora.secret_audit_chain c SET first_seq = last_old.seq + 1, base_hash = aurora.secret_record_told(last_old.record)
            WHERE c.node = of_chain.node AND c.chain = of_chain.chain;
    END LOOP;
    DELETE FROM aurora.secret_audit_chain c
        WHERE c.first_seq > c.head_seq AND c.began_at < until
          AND EXISTS (SELECT FROM aurora.secret_audit_chain n WHERE n.node = c.node AND n.began_at > c.began_at);
    IF deleted > 0 AND aurora.library_preloaded() THEN
        PERFORM aurora.audit_secret('forget', true, NULL, NULL, NULL, NULL, NULL, NULL, format('%s records of before %s', deleted, until));
    END IF;
    RETURN deleted;
END
$$;
COMMENT ON FUNCTION aurora.forget_secret_audit(interval) IS
    'Deletes audit records that are older (null: than aurora.secret_audit_retention) from the lead''s table, which is written down, and returns how many; at most 20,000 of each chain, so again until none is left.';

CREATE VIEW aurora.secret_cache WITH (security_invoker = true) AS
    SELECT n.node, n.hits, n.misses, CASE WHEN n.hits + n.misses > 0 THEN round(n.hits::numeric / (n.hits + n.misses), 4) END AS hit_rate,
           n.evictions, n.invalidations, n.reported_at
    FROM (SELECT aurora.own_node() AS node, l.hits, l.misses, l.evictions, l.invalidations, clock_timestamp() AS reported_at
          FROM aurora.local_secret_cache() l
          UNION ALL
          SELECT s.node, s.hits, s.misses, s.evictions, s.invalidations, s.reported_at
          FROM aurora.secret_cache_status s WHERE s.node <> aurora.own_node() OR NOT aurora.library_preloaded()) n;
COMMENT ON VIEW aurora.secret_cache IS 'How often the caches of each node''s sessions answer, since its server started: this node as it is now, others as they have last told.';
COMMENT ON COLUMN aurora.secret_cache.node IS 'The node.';
COMMENT ON COLUMN aurora.secret_cache.hits IS 'Reads that a session''s cache answered.';
COMMENT ON COLUMN aurora.secret_cache.misses IS 'Reads that it did not.';
COMMENT ON COLUMN aurora.secret_cache.hit_rate IS 'Hits among all reads; null before the first.';
COMMENT ON COLUMN aurora.secret_cache.evictions IS 'Values that had to make room for others.';
COMMENT ON COLUMN aurora.secret_cache.invalidations IS 'Times that a session forgot its cache because something had changed.';
COMMENT ON COLUMN aurora.secret_cache.reported_at IS 'When it was told.';

CREATE FUNCTION aurora.health_secrets() RETURNS SETOF aurora.component_health
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH trouble AS (
        SELECT 'down'::aurora.health_state AS state, 'the audit cannot be written: ' || s.problem AS reason
        FROM aurora.secret_audit_status() s WHERE s.problem IS NOT NULL
        UNION ALL
        SELECT 'degraded', 'accesses are not written down: aurora.secret_audit is off'
        FROM aurora.secret_audit_status() s WHERE NOT s.is_on
        UNION ALL
        SELECT 'degraded', 'the audit''s files are near their limit and wait for the lead'
        FROM aurora.secret_audit_status() s
        WHERE s.file_bytes > 0.8 * pg_size_bytes(current_setting('aurora.secret_audit_size_limit')) AND s.delivered_seq < s.last_seq
        UNION ALL
        SELECT 'degraded', 'this node cannot open all secrets: ' || string_agg(DISTINCT CASE WHEN aurora.secret_key_opens(k.master_key_id) IS NULL
                   THEN 'its keys cannot be used' ELSE 'it lacks the key ' || k.master_key_id END, ', ')
        FROM aurora.secret_data_key k WHERE aurora.secret_key_opens(k.master_key_id) IS NOT TRUE HAVING count(*) > 0
        UNION ALL
        SELECT 'degraded', 'the audit of ' || string_agg(DISTINCT c.node, ', ') || ' is broken: see aurora.verify_secret_audit()'
        FROM aurora.secret_audit_chain c WHERE c.broken_seq IS NOT NULL AND NOT pg_is_in_recovery() HAVING count(*) > 0
        UNION ALL
        SELECT 'degraded', format('a rotation left %s values under their old keys', r.failed)
        FROM aurora.secret_rotation r
        WHERE r.failed > 0 AND r.rotation_id = (SELECT max(o.rotation_id) FROM aurora.secret_rotation o)
    )
    SELECT 'secrets', coalesce((SELECT t.state FROM trouble t ORDER BY aurora.health_rank(t.state) DESC LIMIT 1), 'up'),
           (SELECT string_agg(t.reason, '; ' ORDER BY aurora.health_rank(t.state) DESC) FROM trouble t)
    WHERE aurora.library_preloaded()
$$;
COMMENT ON FUNCTION aurora.health_secrets() IS 'How secrets are on this node: its keys, and its audit; health() asks. No row without the preloaded library.';
