-- The gateway: API keys, by which a program that serves many assumes what each stands for, and
-- positions in the write-ahead log, by which a reader finds its own writes.

CREATE TYPE aurora.key_role AS ENUM ('user', 'agent', 'node', 'monitor');
COMMENT ON TYPE aurora.key_role IS
    'What an API key is for. user: a person; agent: a principal with trust agent; node: a registered node; monitor: who reads health, the registry and metrics.';

CREATE SEQUENCE aurora.api_key_key_id_seq MAXVALUE 2147483647;
COMMENT ON SEQUENCE aurora.api_key_key_id_seq IS 'Numbers the API keys.';

CREATE TABLE aurora.api_key (
    key_id bigint PRIMARY KEY DEFAULT nextval('aurora.api_key_key_id_seq'),
    key_hash bytea NOT NULL,
    role aurora.key_role NOT NULL,
    company_id int,
    owner text COLLATE "C",
    node text COLLATE "C" REFERENCES aurora.node (name) ON UPDATE CASCADE ON DELETE CASCADE,
    routes text[] COLLATE "C",
    expires_at timestamptz,
    revoked_at timestamptz,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    revoked_by text,
    CONSTRAINT api_key_key_hash_key UNIQUE (key_hash),
    CONSTRAINT api_key_principal_fkey FOREIGN KEY (company_id, owner) REFERENCES aurora.principal ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT api_key_key_id_check CHECK (key_id BETWEEN 1 AND 2147483647),
    CONSTRAINT api_key_key_hash_check CHECK (length(key_hash) = 32),
    CONSTRAINT api_key_name_check CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT api_key_routes_check CHECK (cardinality(routes) BETWEEN 1 AND 50),
    CONSTRAINT api_key_role_check CHECK (CASE WHEN role IN ('user', 'agent') THEN company_id IS NOT NULL AND owner IS NOT NULL AND node IS NULL
                                              ELSE company_id IS NULL AND owner IS NULL AND (node IS NOT NULL) = (role = 'node') END)
);
ALTER SEQUENCE aurora.api_key_key_id_seq OWNED BY aurora.api_key.key_id;
CREATE INDEX api_key_principal ON aurora.api_key (company_id, owner);
COMMENT ON INDEX aurora.api_key_principal IS 'The keys of a principal.';
CREATE INDEX api_key_node ON aurora.api_key (node);
COMMENT ON INDEX aurora.api_key_node IS 'The keys of a node.';
COMMENT ON TABLE aurora.api_key IS 'API keys, as hashes. Make them with add_api_key(); aurora.api_keys shows them.';
COMMENT ON COLUMN aurora.api_key.key_id IS 'Number of the key.';
COMMENT ON COLUMN aurora.api_key.key_hash IS 'SHA-256 of the key''s text.';
COMMENT ON COLUMN aurora.api_key.role IS 'What the key is for.';
COMMENT ON COLUMN aurora.api_key.company_id IS 'Company of the principal; null for nodes and monitors.';
COMMENT ON COLUMN aurora.api_key.owner IS 'The principal that it stands for; null for nodes and monitors.';
COMMENT ON COLUMN aurora.api_key.node IS 'The node that it stands for; null for others.';
COMMENT ON COLUMN aurora.api_key.routes IS 'Patterns of what it may ask for, like "GET /api/priorities/*"; null for all that its role may.';
COMMENT ON COLUMN aurora.api_key.expires_at IS 'Until when it holds; null for ever.';
COMMENT ON COLUMN aurora.api_key.revoked_at IS 'When it was revoked.';
COMMENT ON COLUMN aurora.api_key.name IS 'What it is called, for people.';
COMMENT ON COLUMN aurora.api_key.created_at IS 'When it was added.';
COMMENT ON COLUMN aurora.api_key.created_by IS 'Who added it: the principal, or the role.';
COMMENT ON COLUMN aurora.api_key.revoked_by IS 'Who revoked it.';

SELECT pg_catalog.pg_extension_config_dump('aurora.api_key_key_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.api_key', '');

-- ---- who may what with keys ----

CREATE FUNCTION aurora.key_actor() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN aurora.is_assuming() THEN coalesce(aurora.current_owner(), 'node ' || aurora.assumed_node(), 'a monitor')
                ELSE aurora.caller() END
$$;
COMMENT ON FUNCTION aurora.key_actor() IS 'Under which name the caller adds and revokes keys: what it has assumed, or its role.';

CREATE FUNCTION aurora.may_administer_key(of_company int, of_owner text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN of_company IS NULL THEN aurora.is_operator()
                ELSE aurora.may_manage(of_company)
                     OR EXISTS (SELECT FROM aurora.whoami() w WHERE w.company_id = of_company AND w.owner = of_owner) END
$$;
COMMENT ON FUNCTION aurora.may_administer_key(int, text) IS
    'May the caller see, add and revoke keys and sessions of a principal: its own, those of a company for who manages it, all for administrators; keys of no company, for administrators and operators.';

CREATE FUNCTION aurora.require_administer_key(of_company int, of_owner text) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT aurora.may_administer_key(of_company, of_owner) THEN
        RAISE insufficient_privilege USING
            MESSAGE = CASE WHEN of_company IS NULL THEN 'permission denied for keys of nodes and monitors'
                           ELSE format('permission denied for keys of "%s"', of_owner) END,
            HINT = CASE WHEN of_company IS NULL THEN 'Members of aurora_admin and aurora_operator may.'
                        ELSE 'Principals may for themselves, and those with trust "admin" for their company.' END;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_administer_key(int, text) IS 'Raises 42501 unless the caller may add and revoke such keys.';

CREATE FUNCTION aurora.principal_for_key(owner text, company text, OUT company_id int, OUT owner_name text, OUT trust aurora.trust) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    company_id := aurora.company_for(company);
    owner_name := coalesce(owner, (SELECT w.owner FROM aurora.whoami() w WHERE w.company_id = principal_for_key.company_id));
    IF owner_name IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'whose key it is is not clear: the caller is no principal of this company',
            HINT = 'Name the owner: owner => ''...''.';
    END IF;
    PERFORM aurora.require_administer_key(company_id, owner_name);
    SELECT p.trust INTO trust FROM aurora.principal p WHERE p.company_id = principal_for_key.company_id AND p.owner = owner_name;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no principal "%s" in this company', owner_name),
            HINT = 'Add it with aurora.add_principal().';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.principal_for_key(text, text) IS
    'The principal that a call about keys and sessions means, null for the caller''s own. Errors: 42501, 22023 unknown or not clear.';

CREATE FUNCTION aurora.require_key_terms(role text, routes text[], lasts interval) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    labels text[] := enum_range(NULL::aurora.key_role)::text[];
    bad text;
BEGIN
    IF role IS NULL OR role <> ALL (labels) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no role of keys "%s"', role),
            HINT = 'Roles: ' || array_to_string(labels, ', ') || '.';
    ELSIF lasts <= interval '0' OR lasts > interval '100 years' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a key lasts longer than nothing and up to 100 years',
            HINT = 'For example interval ''90 days''; leave it out for ever.';
    ELSIF cardinality(routes) = 0 OR cardinality(routes) > 50 OR array_ndims(routes) > 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a key has 1 to 50 patterns of routes', HINT = 'Leave routes out for all that the role may.';
    END IF;
    SELECT coalesce(r, 'null') INTO bad FROM unnest(routes) r WHERE r IS NULL OR r !~ '^(\*|[A-Z]{3,10}) /[!-~]{0,190}$' LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" is no pattern of routes', bad),
            HINT = 'It is a method and a path, with * for any text: "GET /api/priorities/*", "* /api/secrets/*".';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_key_terms(text, text[], interval) IS 'Raises 22023 for a role, routes or a life that no key can have.';

CREATE FUNCTION aurora.require_key_within_own(expires timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own aurora.api_key;
BEGIN
    SELECT k.* INTO own FROM aurora.api_key k WHERE k.key_id = aurora.assumed_key();
    IF FOUND AND own.routes IS NOT NULL THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'a key that is for some routes only adds no keys',
            HINT = 'Add it by a session, by a key for all routes, or in the database.';
    END IF;
    RETURN least(expires, own.expires_at);
END
$$;
COMMENT ON FUNCTION aurora.require_key_within_own(timestamptz) IS
    'When a key that the caller adds expires: not after the key by which it calls. Errors: 42501 that key is for some routes only.';

-- ---- keys ----

CREATE FUNCTION aurora.new_api_key() RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'aurora_new_api_key';
COMMENT ON FUNCTION aurora.new_api_key() IS 'A new text of a key: aur_ and 43 characters of base64url, which are 256 random bits.';

CREATE FUNCTION aurora.add_api_key(name text, role text DEFAULT 'user', owner text DEFAULT NULL, company text DEFAULT NULL,
                                   node text DEFAULT NULL, routes text[] DEFAULT NULL, lasts interval DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key text := aurora.new_api_key();
    of record;
    expires timestamptz := clock_timestamp() + lasts;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_key_terms(role, routes, lasts);
    expires := aurora.require_key_within_own(expires);
    IF (role = 'node') <> (node IS NOT NULL) OR role IN ('node', 'monitor') AND (owner IS NOT NULL OR company IS NOT NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('a key with the role "%s" stands for something else', role),
            HINT = 'Name a node for "node", an owner and a company for "user" and "agent", and nothing for "monitor".';
    ELSIF role IN ('node', 'monitor') THEN
        PERFORM aurora.require_administer_key(NULL, NULL);
        IF role = 'node' THEN
            PERFORM aurora.require_node(node);
        END IF;
        SELECT NULL::int AS company_id, NULL::text AS owner_name INTO of;
    ELSE
        SELECT p.* INTO of FROM aurora.principal_for_key(owner, company) p;
        IF (of.trust = 'agent') <> (role = 'agent') THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('"%s" has the trust "%s", and the key the role "%s"', of.owner_name, of.trust, role),
                HINT = 'Keys with the role "agent" are for principals with trust "agent", and "user" for the others.';
        END IF;
    END IF;
    INSERT INTO aurora.api_key (key_hash, role, company_id, owner, node, routes, expires_at, name, created_by)
        VALUES (sha256(convert_to(key, 'UTF8')), role::aurora.key_role, of.company_id, of.owner_name, node, routes, expires,
                coalesce(name, ''), aurora.key_actor());
    RETURN key;
END
$$;
COMMENT ON FUNCTION aurora.add_api_key(text, text, text, text, text, text[], interval) IS
    'Adds an API key and returns its text, which is shown this once. role: user, agent, node or monitor. owner, company: the principal that it stands for, the caller when left out; node: of a node''s. routes: patterns of what it may ask for, like "GET /api/priorities/*"; null for all that its role may. lasts: until it expires; null for ever. Administrators may for all, who manages a company for its principals, others for themselves; keys of nodes and monitors are for administrators and operators. Errors: 22023, 23514 no name, 42501, 25006 on a standby.';

CREATE FUNCTION aurora.revoke_api_key(key_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.api_key;
BEGIN
    PERFORM aurora.require_lead();
    SELECT k.* INTO target FROM aurora.api_key k WHERE k.key_id = revoke_api_key.key_id FOR UPDATE;
    IF NOT FOUND OR NOT aurora.may_administer_key(target.company_id, target.owner) AND target.key_id IS DISTINCT FROM aurora.assumed_key() THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no API key %s', key_id), HINT = 'aurora.api_keys shows those that the caller may revoke.';
    END IF;
    UPDATE aurora.api_key k SET revoked_at = clock_timestamp(), revoked_by = aurora.key_actor()
        WHERE k.key_id = target.key_id AND k.revoked_at IS NULL;
END
$$;
COMMENT ON FUNCTION aurora.revoke_api_key(bigint) IS
    'Revokes an API key, and with it the sessions that were begun by it: from the next request on, on a standby when it has come there. Again changes nothing. For who may add it, and for who calls by it. Errors: 42704 no key that the caller may see, 25006 on a standby.';

CREATE VIEW aurora.api_keys WITH (security_barrier = true) AS
    SELECT k.key_id, k.name, k.role, c.name AS company, k.owner, k.node, k.routes, k.expires_at,
           k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp()) AS is_valid,
           k.created_at, k.created_by, k.revoked_at, k.revoked_by
    FROM aurora.api_key k LEFT JOIN aurora.company c ON c.company_id = k.company_id
    WHERE aurora.may_administer_key(k.company_id, k.owner);
COMMENT ON VIEW aurora.api_keys IS 'The API keys that the caller may revoke; what is shown of a key does not give it away.';
COMMENT ON COLUMN aurora.api_keys.key_id IS 'Number of the key.';
COMMENT ON COLUMN aurora.api_keys.name IS 'What it is called.';
COMMENT ON COLUMN aurora.api_keys.role IS 'What it is for.';
COMMENT ON COLUMN aurora.api_keys.company IS 'Company of the principal.';
COMMENT ON COLUMN aurora.api_keys.owner IS 'The principal that it stands for.';
COMMENT ON COLUMN aurora.api_keys.node IS 'The node that it stands for.';
COMMENT ON COLUMN aurora.api_keys.routes IS 'Patterns of what it may ask for; null for all that its role may.';
COMMENT ON COLUMN aurora.api_keys.expires_at IS 'Until when it holds; null for ever.';
COMMENT ON COLUMN aurora.api_keys.is_valid IS 'Is it neither expired nor revoked.';
COMMENT ON COLUMN aurora.api_keys.created_at IS 'When it was added.';
COMMENT ON COLUMN aurora.api_keys.created_by IS 'Who added it.';
COMMENT ON COLUMN aurora.api_keys.revoked_at IS 'When it was revoked.';
COMMENT ON COLUMN aurora.api_keys.revoked_by IS 'Who revoked it.';

CREATE FUNCTION aurora.key_role_labels() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_key_role_labels';
COMMENT ON FUNCTION aurora.key_role_labels() IS 'The roles of keys as the library knows them.';

-- ---- what a request begins with ----

CREATE FUNCTION aurora.assume_key(key_hash bytea, route text, node_name text, timeout_ms int, OUT key_id bigint, OUT role text,
                                  OUT company_id int, OUT company text, OUT owner text, OUT node text) RETURNS record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_assume_key';
COMMENT ON FUNCTION aurora.assume_key(bytea, text, text, int) IS
    'Stand for what an API key stands for, a principal, a node or a monitor, until this transaction ends. key_hash: SHA-256 of its text. route: "METHOD /path". node_name: what the client says it is, which must be the key''s node; null for nothing. timeout_ms: statement time-out for the rest of the transaction; 0 leaves it. Works on a standby. For members of aurora_gateway. Errors: 28000 unknown, expired or revoked; 42501 not for this route, another''s node, no member; 25000 another one is assumed already.';

-- ---- reading one's own writes ----

CREATE FUNCTION aurora.write_position() RETURNS pg_lsn
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_write_position';
COMMENT ON FUNCTION aurora.write_position() IS
    'A position in the write-ahead log behind all that this session has committed and seen committed; asked in a transaction of its own after the write. On a standby what it has replayed.';

CREATE PROCEDURE aurora.wait_for_lsn(lsn pg_lsn, timeout_ms int, INOUT arrived boolean DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_wait_for_lsn';
COMMENT ON PROCEDURE aurora.wait_for_lsn(pg_lsn, int, boolean) IS
    'Waits until this node has what was written up to a position, up to the time-out (0 to 600000 ms), and says whether it has. It holds no snapshot while it waits, so it is called by itself, before the read. On a lead it says at once; false there is for a position that this lead never wrote. Errors: 25001 inside a transaction or function, 22023.';
