-- Sessions of people in front of the web page: signed tokens, which are stored nowhere, and what ends
-- them before their time.

CREATE SEQUENCE aurora.session_key_key_no_seq AS int;
COMMENT ON SEQUENCE aurora.session_key_key_no_seq IS 'Numbers the keys that sign sessions.';

CREATE TABLE aurora.session_key (
    key_no int PRIMARY KEY DEFAULT nextval('aurora.session_key_key_no_seq'),
    master_key_id text COLLATE "C" NOT NULL,
    wrapped text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT session_key_key_no_check CHECK (key_no > 0)
);
ALTER SEQUENCE aurora.session_key_key_no_seq OWNED BY aurora.session_key.key_no;
COMMENT ON TABLE aurora.session_key IS 'The keys that sign sessions, each wrapped by a master key of the key ring of secrets. The newest signs.';
COMMENT ON COLUMN aurora.session_key.key_no IS 'Number of the key, which tokens carry.';
COMMENT ON COLUMN aurora.session_key.master_key_id IS 'Id of the master key that wraps it.';
COMMENT ON COLUMN aurora.session_key.wrapped IS 'The key, encrypted.';
COMMENT ON COLUMN aurora.session_key.created_at IS 'When it was made.';

CREATE TABLE aurora.principal_password (
    company_id int NOT NULL,
    owner text COLLATE "C" NOT NULL,
    generation int NOT NULL DEFAULT 0,
    password_hash text COLLATE "C",
    password_set_at timestamptz,
    password_set_by text,
    sessions_ended_at timestamptz,
    PRIMARY KEY (company_id, owner),
    CONSTRAINT principal_password_principal_fkey FOREIGN KEY (company_id, owner) REFERENCES aurora.principal ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE aurora.principal_password IS 'How principals log in to the web page. Change it with set_password() and revoke_sessions().';
COMMENT ON COLUMN aurora.principal_password.company_id IS 'Company of the principal.';
COMMENT ON COLUMN aurora.principal_password.owner IS 'The principal.';
COMMENT ON COLUMN aurora.principal_password.generation IS 'Sessions of an earlier generation have ended.';
COMMENT ON COLUMN aurora.principal_password.password_hash IS 'The password as pgcrypto''s crypt() hashes it (bcrypt); null for none.';
COMMENT ON COLUMN aurora.principal_password.password_set_at IS 'When the password was set.';
COMMENT ON COLUMN aurora.principal_password.password_set_by IS 'Who set it.';
COMMENT ON COLUMN aurora.principal_password.sessions_ended_at IS 'When the generation last went up.';

CREATE TABLE aurora.session_revocation (
    session_id uuid PRIMARY KEY,
    company_id int NOT NULL REFERENCES aurora.company,
    owner text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX session_revocation_expires ON aurora.session_revocation (expires_at);
COMMENT ON INDEX aurora.session_revocation_expires IS 'Revocations by when they can be forgotten.';
COMMENT ON TABLE aurora.session_revocation IS 'Sessions that somebody has logged out of, until they would have expired.';
COMMENT ON COLUMN aurora.session_revocation.session_id IS 'Number of the session.';
COMMENT ON COLUMN aurora.session_revocation.company_id IS 'Company of the principal.';
COMMENT ON COLUMN aurora.session_revocation.owner IS 'The principal.';
COMMENT ON COLUMN aurora.session_revocation.expires_at IS 'When the session would have expired.';
COMMENT ON COLUMN aurora.session_revocation.revoked_at IS 'When it was ended.';

SELECT pg_catalog.pg_extension_config_dump('aurora.session_key_key_no_seq', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.session_key', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.principal_password', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.session_revocation', '');

-- ---- keys that sign ----

CREATE FUNCTION aurora.store_session_key(master_key_id text, wrapped text) RETURNS int
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO aurora.session_key (master_key_id, wrapped) VALUES ($1, $2) RETURNING key_no
$$;
COMMENT ON FUNCTION aurora.store_session_key(text, text) IS 'Stores a wrapped signing key and returns its number; the library asks.';

CREATE FUNCTION aurora.renew_session_key(force boolean) RETURNS boolean
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_renew_session_key';
COMMENT ON FUNCTION aurora.renew_session_key(boolean) IS
    'Makes a new signing key when there is none, when the newest is older than aurora.session_key_lifetime or wrapped by a master key that is no longer the first, or when forced; true when it did.';

CREATE FUNCTION aurora.rotate_session_keys(end_sessions boolean DEFAULT false) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    newest int;
BEGIN
    PERFORM aurora.require_lead();
    IF NOT aurora.administers_all() THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to rotate the keys of sessions', HINT = 'Members of aurora_admin may.';
    END IF;
    PERFORM aurora.renew_session_key(true);
    SELECT max(k.key_no) INTO newest FROM aurora.session_key k;
    IF end_sessions THEN
        DELETE FROM aurora.session_key k WHERE k.key_no <> newest;
    END IF;
    RETURN newest;
END
$$;
COMMENT ON FUNCTION aurora.rotate_session_keys(boolean) IS
    'Has a new key sign sessions from now on, and returns its number. end_sessions: older keys are forgotten at once, which ends all sessions. It also happens by itself, by aurora.session_key_lifetime and when the first key of the key ring is another. For administrators. Errors: 42501, 55000 no key ring, 25006 on a standby.';

-- ---- passwords ----

CREATE FUNCTION aurora.require_gateway() RETURNS void
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'aurora_require_gateway';
COMMENT ON FUNCTION aurora.require_gateway() IS 'Raises 42501 unless the caller is a member of aurora_gateway.';

CREATE FUNCTION aurora.is_same_text(a text, b text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'aurora_is_same_text';
COMMENT ON FUNCTION aurora.is_same_text(text, text) IS 'Are two texts the same, found out in a time that tells nothing of where they differ.';

CREATE FUNCTION aurora.crypt_schema() RETURNS name
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    where_it_is name;
BEGIN
    -- The function of the extension itself, wherever that was put, and nobody's of the same name.
    SELECT n.nspname INTO where_it_is
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
        JOIN pg_proc p ON p.oid = d.objid
        JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_language l ON l.oid = p.prolang
        JOIN pg_roles r ON r.oid = p.proowner
        WHERE e.extname = 'pgcrypto' AND p.proname = 'crypt' AND p.prosrc = 'pg_crypt' AND l.lanname = 'c' AND r.rolsuper
          AND p.proargtypes = ARRAY['text'::regtype, 'text'::regtype]::oidvector;
    IF NOT FOUND THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'passwords need the extension pgcrypto', HINT = 'Run CREATE EXTENSION pgcrypto in this database on the lead.';
    END IF;
    RETURN where_it_is;
END
$$;
COMMENT ON FUNCTION aurora.crypt_schema() IS 'The schema of pgcrypto''s crypt(). Errors: 55000 pgcrypto is not in this database.';

CREATE FUNCTION aurora.hash_password(password text, salt text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT %1$I.crypt($1, coalesce($2, %1$I.gen_salt(''bf'', 10)))', aurora.crypt_schema()) INTO result USING password, salt;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.hash_password(text, text) IS 'A password as pgcrypto hashes it by bcrypt, with the salt of a hash or a new one for null. Errors: 55000 without pgcrypto.';

CREATE FUNCTION aurora.check_password(company text, owner text, password text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Of no password: whoever is unknown costs as much time as a wrong password does.
    nobody CONSTANT text := '$2a$10$W8IlLRqSmSPlpMk4iF7b.ejYVmnCQzkzY4IPVJEczbhvCGzzYSDjm';
    known record;
    hash text;
BEGIN
    PERFORM aurora.require_gateway();
    SELECT p.principal_no, p.trust, l.password_hash INTO known
        FROM aurora.company c JOIN aurora.principal p ON p.company_id = c.company_id
        LEFT JOIN aurora.principal_password l ON l.company_id = p.company_id AND l.owner = p.owner
        WHERE c.name = check_password.company AND p.owner = check_password.owner;
    hash := aurora.hash_password(left(coalesce(password, ''), 1000), coalesce(known.password_hash, nobody));
    IF coalesce(aurora.is_same_text(hash, known.password_hash), false) AND octet_length(password) <= 72 AND known.trust <> 'agent' THEN
        RETURN known.principal_no;
    END IF;
    RAISE invalid_authorization_specification USING
        MESSAGE = 'the company, the owner or the password is wrong', HINT = 'A password is set with aurora.set_password().';
END
$$;
COMMENT ON FUNCTION aurora.check_password(text, text, text) IS
    'The number of the principal whose password this is. Who is unknown takes as long as who is known. Errors: 28000 wrong, 42501, 55000 without pgcrypto.';

CREATE FUNCTION aurora.set_password(password text, owner text DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target record;
    hash text;
BEGIN
    PERFORM aurora.require_lead();
    SELECT p.* INTO target FROM aurora.principal_for_key(owner, company) p;
    IF aurora.require_key_within_own(NULL) IS NOT NULL THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'a key that expires sets no passwords, which would outlast it', HINT = 'Set it in a session that a password began, or in the database.';
    ELSIF target.trust = 'agent' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" is an agent, which does not log in', target.owner_name), HINT = 'Agents have API keys.';
    ELSIF password IS NOT NULL AND (length(password) < 8 OR octet_length(password) > 72) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a password has at least 8 characters and at most 72 bytes', HINT = 'Null takes the password away.';
    END IF;
    hash := CASE WHEN password IS NOT NULL THEN aurora.hash_password(password, NULL) END;
    INSERT INTO aurora.principal_password AS l (company_id, owner, generation, password_hash, password_set_at, password_set_by, sessions_ended_at)
        VALUES (target.company_id, target.owner_name, 1, hash, clock_timestamp(), aurora.key_actor(), clock_timestamp())
        ON CONFLICT ON CONSTRAINT principal_password_pkey DO UPDATE SET
            generation = l.generation + 1, password_hash = excluded.password_hash, password_set_at = excluded.password_set_at,
            password_set_by = excluded.password_set_by, sessions_ended_at = excluded.sessions_ended_at;
END
$$;
COMMENT ON FUNCTION aurora.set_password(text, text, text) IS
    'Sets the password by which a principal logs in to the web page, the caller''s own when no owner is named, and ends all its sessions. 8 characters to 72 bytes; null takes it away. For the principal itself, for who manages the company, and administrators. Errors: 22023, 42501, 55000 without pgcrypto, 25006 on a standby.';

-- ---- logging in ----

CREATE FUNCTION aurora.begin_session(principal_no int, OUT token text, OUT csrf text, OUT expires_at timestamptz, OUT company text, OUT owner text)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_begin_session';
COMMENT ON FUNCTION aurora.begin_session(int) IS 'A new session of a principal; log_in() asks.';

CREATE FUNCTION aurora.log_in(company text, owner text, password text, OUT token text, OUT csrf text, OUT expires_at timestamptz,
                              OUT company text, OUT owner text) RETURNS record
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.token, s.csrf, s.expires_at, s.company, s.owner FROM aurora.begin_session(aurora.check_password($1, $2, $3)) s
$$;
COMMENT ON FUNCTION aurora.log_in(text, text, text) IS
    'Begins a session of a person by its password: the token for the cookie, the CSRF token for writes, and until when it holds (aurora.session_lifetime). It writes nothing, so it works on a standby whose lead is gone. For members of aurora_gateway. Errors: 28000 wrong, 42501, 55000 without pgcrypto, 25006 on a standby that has no signing key yet or no key ring, so that the lead is asked.';

CREATE FUNCTION aurora.log_in_by_key(key_hash bytea, OUT token text, OUT csrf text, OUT expires_at timestamptz, OUT company text, OUT owner text)
    RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_log_in_by_key';
COMMENT ON FUNCTION aurora.log_in_by_key(bytea) IS
    'Begins a session of a person by an API key with the role user; it is for the key''s routes, and ends with the key. Otherwise as log_in(). Errors: 28000 unknown, expired or revoked; 42501; 25006 as log_in() has it.';

CREATE FUNCTION aurora.assume_session(token text, csrf text, is_write boolean, route text, timeout_ms int, OUT key_id bigint, OUT role text,
                                      OUT company_id int, OUT company text, OUT owner text, OUT node text, OUT session_id uuid) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_assume_session';
COMMENT ON FUNCTION aurora.assume_session(text, text, boolean, text, int) IS
    'Stand for the principal of a session until this transaction ends, as assume_key() does. csrf: needed for writes. key_id: the key that the session was begun by, if any. For members of aurora_gateway. Errors: 28000 malformed, changed, expired, ended; 42501 no or another session''s CSRF token, not for this route; 25000 another one is assumed already.';

-- ---- logging out ----

CREATE FUNCTION aurora.read_session(token text, OUT session_id uuid, OUT principal_no int, OUT expires_at timestamptz) RETURNS record
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_read_session';
COMMENT ON FUNCTION aurora.read_session(text) IS 'What a token with a good signature says; nulls for any other. log_out() asks.';

CREATE FUNCTION aurora.log_out(token text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_lead();
    INSERT INTO aurora.session_revocation (session_id, company_id, owner, expires_at)
        SELECT s.session_id, p.company_id, p.owner, s.expires_at
        FROM aurora.read_session(log_out.token) s JOIN aurora.principal p ON p.principal_no = s.principal_no
        WHERE s.expires_at > clock_timestamp()
        ON CONFLICT ON CONSTRAINT session_revocation_pkey DO NOTHING;
END
$$;
COMMENT ON FUNCTION aurora.log_out(text) IS
    'Ends a session: on a standby when it has come there. A token that is none, or has ended, is no error. For members of aurora_gateway. Errors: 42501, 25006 on a standby.';

CREATE FUNCTION aurora.revoke_sessions(owner text DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target record;
BEGIN
    PERFORM aurora.require_lead();
    SELECT p.* INTO target FROM aurora.principal_for_key(owner, company) p;
    INSERT INTO aurora.principal_password AS l (company_id, owner, generation, sessions_ended_at)
        VALUES (target.company_id, target.owner_name, 1, clock_timestamp())
        ON CONFLICT ON CONSTRAINT principal_password_pkey DO UPDATE SET generation = l.generation + 1, sessions_ended_at = excluded.sessions_ended_at;
END
$$;
COMMENT ON FUNCTION aurora.revoke_sessions(text, text) IS
    'Ends all sessions of a principal, the caller''s own when no owner is named. For the principal itself, for who manages the company, and administrators. Errors: 22023, 42501, 25006 on a standby.';

CREATE FUNCTION aurora.trim_sessions() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n bigint;
    trimmed bigint;
    -- Nodes whose clocks are behind hold a session to be good for a little longer.
    margin CONSTANT interval := '1 hour';
BEGIN
    PERFORM aurora.require_lead();
    DELETE FROM aurora.session_revocation r WHERE r.expires_at < clock_timestamp() - margin;
    GET DIAGNOSTICS trimmed = ROW_COUNT;
    PERFORM aurora.renew_session_key(false);
    DELETE FROM aurora.session_key k WHERE EXISTS (
        SELECT FROM aurora.session_key later WHERE later.key_no > k.key_no
            AND later.created_at < clock_timestamp() - margin - current_setting('aurora.session_lifetime')::interval);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN trimmed + n;
END
$$;
COMMENT ON FUNCTION aurora.trim_sessions() IS
    'Forgets revocations of sessions that have expired and keys whose sessions have, and renews the key that signs where that is due; returns how many rows it forgot. A duty of the lead. Errors: 25006 on a standby.';
