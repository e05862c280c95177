-- Keys: what encrypts the values, and how it is changed.

CREATE FUNCTION aurora.secret_key_ring(OUT "position" int, OUT key_id text) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 3 AS 'MODULE_PATHNAME', 'aurora_secret_key_ring';
COMMENT ON FUNCTION aurora.secret_key_ring() IS
    'Ids of the master keys of this node, from aurora.secrets_key_file or aurora.secrets_key_command; the first encrypts. Errors: 55000 none is configured, F0000 it cannot be used.';

CREATE FUNCTION aurora.secret_key_opens(master_key_id text) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM aurora.secret_key_ring() r WHERE r.key_id = master_key_id);
EXCEPTION WHEN object_not_in_prerequisite_state OR config_file_error OR insufficient_privilege THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.secret_key_opens(text) IS 'Has this node''s key ring that master key; null when the ring cannot be read, or not by the caller.';

CREATE FUNCTION aurora.store_data_key(company_id int, master_key_id text, wrapped text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made int;
BEGIN
    PERFORM aurora.require_lead();
    -- Two that make a company's key at once: the second waits here.
    PERFORM pg_advisory_xact_lock(hashtextextended('aurora.secret_data_key', coalesce(store_data_key.company_id, 0)));
    UPDATE aurora.secret_data_key k SET is_current = false
        WHERE k.company_id IS NOT DISTINCT FROM store_data_key.company_id AND k.is_current;
    INSERT INTO aurora.secret_data_key (company_id, master_key_id, wrapped)
        VALUES (store_data_key.company_id, store_data_key.master_key_id, store_data_key.wrapped) RETURNING key_no INTO made;
    RETURN made;
END
$$;
COMMENT ON FUNCTION aurora.store_data_key(int, text, text) IS 'Stores a wrapped data key as the company''s current one, and returns its number.';

CREATE VIEW aurora.secret_keys WITH (security_barrier = true) AS
    SELECT k.key_no, c.name AS company, k.master_key_id, k.is_current,
           (SELECT count(*) FROM aurora.secret_version v WHERE v.key_no = k.key_no AND v.destroyed_at IS NULL) AS "values",
           aurora.secret_key_opens(k.master_key_id) AS opens_here, k.created_at
    FROM aurora.secret_data_key k LEFT JOIN aurora.company c USING (company_id);
COMMENT ON VIEW aurora.secret_keys IS 'Data keys: under which master key each is, and how many values it encrypts.';
COMMENT ON COLUMN aurora.secret_keys.key_no IS 'Number of the data key.';
COMMENT ON COLUMN aurora.secret_keys.company IS 'The company; null for what belongs to none.';
COMMENT ON COLUMN aurora.secret_keys.master_key_id IS 'Id of the master key that wraps it.';
COMMENT ON COLUMN aurora.secret_keys.is_current IS 'Does it encrypt new values.';
COMMENT ON COLUMN aurora.secret_keys."values" IS 'Values that it encrypts.';
COMMENT ON COLUMN aurora.secret_keys.opens_here IS 'Has this node the master key; null when its key ring cannot be read, or not by the caller.';
COMMENT ON COLUMN aurora.secret_keys.created_at IS 'When it was made.';

-- ---- rotation ----

CREATE FUNCTION aurora.nodes_without_key(id text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(c.node, ', ' ORDER BY c.node) FROM aurora.node_capability c JOIN aurora.node n ON n.name = c.node
    WHERE c.name = 'secret_keys' AND NOT (string_to_array(c.as_text, ' ') @> ARRAY[id])
$$;
COMMENT ON FUNCTION aurora.nodes_without_key(text) IS 'Nodes that have told of their key rings and lack that master key; null for none.';

CREATE FUNCTION aurora.rotate_secrets_key(force boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first_id text;
    missing text;
    left_over bigint;
    of_key record;
BEGIN
    PERFORM aurora.require_lead();
    IF NOT aurora.administers_all() THEN
        PERFORM aurora.audit_secret('rotate', false, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to rotate the keys of secrets',
            HINT = 'Members of aurora_admin may.';
    END IF;
    SELECT r.key_id INTO first_id FROM aurora.secret_key_ring() r WHERE r."position" = 1;
    missing := aurora.nodes_without_key(first_id);
    IF missing IS NOT NULL AND NOT force THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('the new key %s is not on every node', first_id),
            DETAIL = format('It is missing on: %s.', missing),
            HINT = 'Add it to their key rings and reload them, or call with force => true.';
    END IF;
    LOCK TABLE aurora.secret_rotation IN SHARE ROW EXCLUSIVE MODE;
    -- One that is under way goes on; it begins anew only when the first key has changed since.
    IF NOT EXISTS (SELECT FROM aurora.secret_rotation r WHERE r.finished_at IS NULL)
       OR EXISTS (SELECT FROM aurora.secret_data_key k WHERE k.is_current AND k.master_key_id <> first_id) THEN
        FOR of_key IN SELECT k.company_id FROM aurora.secret_data_key k WHERE k.is_current ORDER BY k.key_no LOOP
            PERFORM aurora.make_data_key(of_key.company_id);
        END LOOP;
        UPDATE aurora.secret_rotation r SET finished_at = clock_timestamp() WHERE r.finished_at IS NULL;
        INSERT INTO aurora.secret_rotation (rotation_id, started_at, started_by, total)
            SELECT coalesce(max(r.rotation_id), 0) + 1, clock_timestamp(), aurora.caller(),
                   (SELECT count(*) FROM aurora.secret_version v JOIN aurora.secret_data_key k USING (key_no)
                    WHERE NOT k.is_current)
            FROM aurora.secret_rotation r;
    END IF;
    SELECT count(*) INTO left_over FROM aurora.secret_version v JOIN aurora.secret_data_key k USING (key_no)
        WHERE NOT k.is_current;
    PERFORM aurora.audit_secret('rotate', true, NULL, NULL, NULL, NULL, NULL, NULL, format('to the key %s, %s values', first_id, left_over));
    RETURN left_over;
END
$$;
COMMENT ON FUNCTION aurora.rotate_secrets_key(boolean) IS
    'Makes new data keys under the first key of this node''s ring, and has the lead''s worker encrypt all values anew, in batches; returns how many there are. aurora.secret_rotation shows how far it is. For administrators. Errors: 55000 a node lacks the key, unless forced.';

CREATE FUNCTION aurora.rotate_secrets_batch(max_values int DEFAULT 200) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rotation aurora.secret_rotation;
    stale record;
    again text;
    looked_at bigint := 0;
BEGIN
    PERFORM aurora.require_lead();
    SELECT r.* INTO rotation FROM aurora.secret_rotation r WHERE r.finished_at IS NULL
        ORDER BY r.rotation_id DESC LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    FOR stale IN SELECT v.secret_id, v.version, v.token, v.key_no, c.key_no AS to_key_no
            FROM aurora.secret_version v JOIN aurora.secret_data_key k ON k.key_no = v.key_no AND NOT k.is_current
            JOIN aurora.secret_data_key c ON c.company_id IS NOT DISTINCT FROM k.company_id AND c.is_current
            WHERE (v.secret_id, v.version) > (rotation.last_secret_id, rotation.last_version)
            ORDER BY v.secret_id, v.version LIMIT max_values FOR UPDATE OF v LOOP
        looked_at := looked_at + 1;
        rotation.last_secret_id := stale.secret_id;
        rotation.last_version := stale.version;
        again := aurora.reencrypt_token(stale.token, stale.key_no, stale.to_key_no);
        IF again IS NULL AND stale.token IS NOT NULL THEN
            RAISE WARNING 'version % of secret % does not open and keeps its old key', stale.version, stale.secret_id;
            rotation.failed := rotation.failed + 1;
        ELSE
            UPDATE aurora.secret_version v SET token = again, key_no = stale.to_key_no
                WHERE v.secret_id = stale.secret_id AND v.version = stale.version;
            rotation.done := rotation.done + 1;
        END IF;
    END LOOP;
    IF looked_at = 0 THEN
        -- A put that began before the rotation may have committed behind it.
        IF (SELECT count(*) FROM aurora.secret_version v JOIN aurora.secret_data_key k USING (key_no) WHERE NOT k.is_current)
           > rotation.failed AND rotation.last_secret_id > 0 THEN
            rotation.last_secret_id := 0;
            rotation.last_version := 0;
            rotation.failed := 0;
            looked_at := 1;
        ELSE
            rotation.finished_at := clock_timestamp();
            DELETE FROM aurora.secret_data_key k
                WHERE NOT k.is_current AND NOT EXISTS (SELECT FROM aurora.secret_version v WHERE v.key_no = k.key_no);
        END IF;
    END IF;
    UPDATE aurora.secret_rotation r
        SET done = rotation.done, failed = rotation.failed, last_secret_id = rotation.last_secret_id,
            last_version = rotation.last_version, finished_at = rotation.finished_at
        WHERE r.rotation_id = rotation.rotation_id;
    RETURN looked_at;
END
$$;
COMMENT ON FUNCTION aurora.rotate_secrets_batch(int) IS
    'Encrypts the next values anew, in this transaction; returns how many it has looked at, 0 when the rotation is done. A value that does not open stays as it is and is counted. The worker calls it; CALL it by hand where none runs.';
