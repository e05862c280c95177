-- Secrets: values kept encrypted, in versions, with overrides by node and company.

-- ---- types ----

CREATE TYPE aurora.secret_right AS ENUM ('read', 'write', 'export');
COMMENT ON TYPE aurora.secret_right IS 'What a role may do with values. write: put, delete and destroy; export: have them all in plain text.';

-- ---- tables ----

CREATE SEQUENCE aurora.secret_data_key_key_no_seq AS int;
COMMENT ON SEQUENCE aurora.secret_data_key_key_no_seq IS 'Numbers the data keys.';

CREATE TABLE aurora.secret_data_key (
    key_no int PRIMARY KEY DEFAULT nextval('aurora.secret_data_key_key_no_seq'),
    company_id int REFERENCES aurora.company ON DELETE CASCADE,
    master_key_id text COLLATE "C" NOT NULL,
    wrapped text COLLATE "C" NOT NULL,
    is_current boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER SEQUENCE aurora.secret_data_key_key_no_seq OWNED BY aurora.secret_data_key.key_no;
CREATE UNIQUE INDEX secret_data_key_current ON aurora.secret_data_key (company_id) NULLS NOT DISTINCT WHERE is_current;
COMMENT ON INDEX aurora.secret_data_key_current IS 'One current key for each company, and one for what belongs to none.';
CREATE INDEX secret_data_key_company ON aurora.secret_data_key (company_id);
COMMENT ON INDEX aurora.secret_data_key_company IS 'A company''s keys go with it.';
COMMENT ON TABLE aurora.secret_data_key IS 'Data keys, which encrypt the values: one or more for each company, and for what belongs to none. Each is a Fernet token under a master key that is not in the database.';
COMMENT ON COLUMN aurora.secret_data_key.key_no IS 'Number of the key.';
COMMENT ON COLUMN aurora.secret_data_key.company_id IS 'The company; null for what belongs to none.';
COMMENT ON COLUMN aurora.secret_data_key.master_key_id IS 'Id of the master key that wraps it: 16 hexadecimal digits of an HMAC, which tell nothing about the key.';
COMMENT ON COLUMN aurora.secret_data_key.wrapped IS 'The key''s text, as a Fernet token under the master key.';
COMMENT ON COLUMN aurora.secret_data_key.is_current IS 'Does it encrypt new values.';
COMMENT ON COLUMN aurora.secret_data_key.created_at IS 'When it was made.';

CREATE SEQUENCE aurora.secret_secret_id_seq;
COMMENT ON SEQUENCE aurora.secret_secret_id_seq IS 'Numbers the secrets.';

CREATE TABLE aurora.secret (
    secret_id bigint PRIMARY KEY DEFAULT nextval('aurora.secret_secret_id_seq'),
    company_id int REFERENCES aurora.company ON DELETE CASCADE,
    service text COLLATE "C" NOT NULL,
    key_name text COLLATE "C" NOT NULL,
    node text COLLATE "C",
    version int NOT NULL DEFAULT 0,
    strict boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT secret_name_key UNIQUE NULLS NOT DISTINCT (service, key_name, company_id, node)
);
ALTER SEQUENCE aurora.secret_secret_id_seq OWNED BY aurora.secret.secret_id;
CREATE INDEX secret_company ON aurora.secret (company_id);
COMMENT ON INDEX aurora.secret_company IS 'A company''s secrets go with it.';
COMMENT ON TABLE aurora.secret IS 'Secrets, a row for each scope that has a value. Change them with put_secret() and its kin; aurora.secrets shows them.';
COMMENT ON COLUMN aurora.secret.secret_id IS 'Number of the secret in its scope.';
COMMENT ON COLUMN aurora.secret.company_id IS 'The company whose it is; null for all.';
COMMENT ON COLUMN aurora.secret.service IS 'The service that it opens, such as hubspot.';
COMMENT ON COLUMN aurora.secret.key_name IS 'Its name within the service, such as token.';
COMMENT ON COLUMN aurora.secret.node IS 'The node that it is for; null for all.';
COMMENT ON COLUMN aurora.secret.version IS 'The last version, which answers unless it is deleted, destroyed or has expired.';
COMMENT ON COLUMN aurora.secret.strict IS 'Does a read wait until its record is on disk.';
COMMENT ON COLUMN aurora.secret.created_at IS 'When its first version was put.';

CREATE TABLE aurora.secret_version (
    secret_id bigint NOT NULL REFERENCES aurora.secret ON DELETE CASCADE,
    version int NOT NULL,
    company_id int,
    key_no int NOT NULL REFERENCES aurora.secret_data_key DEFERRABLE INITIALLY DEFERRED,
    token text COLLATE "C",
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    deleted_at timestamptz,
    deleted_by text,
    destroyed_at timestamptz,
    PRIMARY KEY (secret_id, version),
    CONSTRAINT secret_version_destroyed_check CHECK ((token IS NULL) = (destroyed_at IS NOT NULL))
);
ALTER TABLE aurora.secret_version ALTER token SET STORAGE EXTERNAL;
CREATE INDEX secret_version_key ON aurora.secret_version (key_no, secret_id, version);
COMMENT ON INDEX aurora.secret_version_key IS 'Values under each data key, for rotations.';
COMMENT ON TABLE aurora.secret_version IS 'Versions of secrets, with the value as a Fernet token under a data key. aurora.secret_versions shows them without.';
COMMENT ON COLUMN aurora.secret_version.secret_id IS 'The secret.';
COMMENT ON COLUMN aurora.secret_version.version IS 'Number of the version, from 1.';
COMMENT ON COLUMN aurora.secret_version.company_id IS 'The company of the secret.';
COMMENT ON COLUMN aurora.secret_version.key_no IS 'The data key that encrypts it.';
COMMENT ON COLUMN aurora.secret_version.token IS 'The value, in UTF-8, as a Fernet token; null once destroyed.';
COMMENT ON COLUMN aurora.secret_version.expires_at IS 'When it ends to answer; null for never.';
COMMENT ON COLUMN aurora.secret_version.created_at IS 'When it was put.';
COMMENT ON COLUMN aurora.secret_version.created_by IS 'The role that put it.';
COMMENT ON COLUMN aurora.secret_version.deleted_at IS 'When it was deleted; it can be undeleted.';
COMMENT ON COLUMN aurora.secret_version.deleted_by IS 'The role that deleted it.';
COMMENT ON COLUMN aurora.secret_version.destroyed_at IS 'When its value was destroyed.';

CREATE TABLE aurora.secret_signal (
    company_id int,
    CONSTRAINT secret_signal_empty CHECK (false)
);
COMMENT ON TABLE aurora.secret_signal IS 'Always empty. A change of secrets invalidates it, and that reaches the sessions of all nodes with the commit.';
COMMENT ON COLUMN aurora.secret_signal.company_id IS 'Never used.';

CREATE SEQUENCE aurora.secret_grant_grant_id_seq AS int;
COMMENT ON SEQUENCE aurora.secret_grant_grant_id_seq IS 'Numbers the grants.';

CREATE TABLE aurora.secret_grant (
    grant_id int PRIMARY KEY DEFAULT nextval('aurora.secret_grant_grant_id_seq'),
    company_id int REFERENCES aurora.company ON DELETE CASCADE,
    grantee name NOT NULL,
    service text COLLATE "C" NOT NULL,
    may aurora.secret_right NOT NULL,
    role_oid oid NOT NULL,
    system_identifier bigint NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    granted_by text NOT NULL,
    CONSTRAINT secret_grant_key UNIQUE NULLS NOT DISTINCT (grantee, company_id, service, may)
);
ALTER SEQUENCE aurora.secret_grant_grant_id_seq OWNED BY aurora.secret_grant.grant_id;
CREATE INDEX secret_grant_company ON aurora.secret_grant (company_id);
COMMENT ON INDEX aurora.secret_grant_company IS 'Grants within a company go with it.';
COMMENT ON TABLE aurora.secret_grant IS 'Who may what with values besides administrators. Change it with grant_secret() and revoke_secret().';
COMMENT ON COLUMN aurora.secret_grant.grant_id IS 'Number of the grant.';
COMMENT ON COLUMN aurora.secret_grant.company_id IS 'The company whose values it is about; null for those that belong to none.';
COMMENT ON COLUMN aurora.secret_grant.grantee IS 'The role; its members have the right too.';
COMMENT ON COLUMN aurora.secret_grant.service IS 'The services, where * stands for any text.';
COMMENT ON COLUMN aurora.secret_grant.may IS 'What it may do.';
COMMENT ON COLUMN aurora.secret_grant.role_oid IS 'Tells the role from a later one of the same name.';
COMMENT ON COLUMN aurora.secret_grant.system_identifier IS 'The cluster in which the role has that oid; in another, after a restore, the name counts.';
COMMENT ON COLUMN aurora.secret_grant.granted_at IS 'When it was granted.';
COMMENT ON COLUMN aurora.secret_grant.granted_by IS 'Who granted it.';

CREATE TABLE aurora.secret_rotation (
    rotation_id int PRIMARY KEY,
    started_at timestamptz NOT NULL,
    started_by text NOT NULL,
    total bigint NOT NULL,
    done bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    last_secret_id bigint NOT NULL DEFAULT 0,
    last_version int NOT NULL DEFAULT 0,
    finished_at timestamptz
);
COMMENT ON TABLE aurora.secret_rotation IS 'Rotations of the keys, one row each: how far it is.';
COMMENT ON COLUMN aurora.secret_rotation.rotation_id IS 'Counts the rotations.';
COMMENT ON COLUMN aurora.secret_rotation.started_at IS 'When it was asked for.';
COMMENT ON COLUMN aurora.secret_rotation.started_by IS 'Who asked for it.';
COMMENT ON COLUMN aurora.secret_rotation.total IS 'Values that were to be encrypted anew when it began.';
COMMENT ON COLUMN aurora.secret_rotation.done IS 'Values that have been.';
COMMENT ON COLUMN aurora.secret_rotation.failed IS 'Values that do not open; they stay as they are, with their old data key.';
COMMENT ON COLUMN aurora.secret_rotation.last_secret_id IS 'The last value that was looked at: its secret.';
COMMENT ON COLUMN aurora.secret_rotation.last_version IS 'And its version.';
COMMENT ON COLUMN aurora.secret_rotation.finished_at IS 'When all had been looked at.';

CREATE TABLE aurora.secret_audit_chain (
    node text COLLATE "C" NOT NULL,
    chain text COLLATE "C" NOT NULL,
    first_seq bigint NOT NULL DEFAULT 1,
    head_seq bigint NOT NULL DEFAULT 0,
    head_hash bytea NOT NULL,
    base_hash bytea NOT NULL,
    began_at timestamptz NOT NULL DEFAULT now(),
    broken_seq bigint,
    problem text,
    PRIMARY KEY (node, chain)
);
COMMENT ON TABLE aurora.secret_audit_chain IS 'Chains of audit records that nodes have told the lead. A node has one, until its files are lost or it begins another.';
COMMENT ON COLUMN aurora.secret_audit_chain.node IS 'The node.';
COMMENT ON COLUMN aurora.secret_audit_chain.chain IS 'Random name of the chain.';
COMMENT ON COLUMN aurora.secret_audit_chain.first_seq IS 'First record that is kept here.';
COMMENT ON COLUMN aurora.secret_audit_chain.head_seq IS 'Last record that has come; the node ships what is above.';
COMMENT ON COLUMN aurora.secret_audit_chain.head_hash IS 'Its hash, by which a chain that is cut or rewritten is known.';
COMMENT ON COLUMN aurora.secret_audit_chain.base_hash IS 'The hash before the first record that is kept.';
COMMENT ON COLUMN aurora.secret_audit_chain.began_at IS 'When the lead first heard of it.';
COMMENT ON COLUMN aurora.secret_audit_chain.broken_seq IS 'First record that did not hold when it came; null for none.';
COMMENT ON COLUMN aurora.secret_audit_chain.problem IS 'What was wrong with it.';

CREATE TABLE aurora.secret_audit_record (
    node text COLLATE "C" NOT NULL,
    chain text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    company_id int,
    at timestamptz NOT NULL,
    record text NOT NULL,
    PRIMARY KEY (node, chain, seq)
);
CREATE INDEX secret_audit_record_at ON aurora.secret_audit_record (at);
COMMENT ON INDEX aurora.secret_audit_record_at IS 'What happened last, and what is old enough to go.';
COMMENT ON TABLE aurora.secret_audit_record IS 'Every access to secrets on every node, as the nodes have written it down.';
COMMENT ON COLUMN aurora.secret_audit_record.node IS 'The node.';
COMMENT ON COLUMN aurora.secret_audit_record.chain IS 'Its chain.';
COMMENT ON COLUMN aurora.secret_audit_record.seq IS 'Number of the record in the chain.';
COMMENT ON COLUMN aurora.secret_audit_record.company_id IS 'The company in which secrets were asked for; null for none.';
COMMENT ON COLUMN aurora.secret_audit_record.at IS 'When, by the node''s clock.';
COMMENT ON COLUMN aurora.secret_audit_record.record IS 'The record as it stands in the file, to the letter, since its hash is of that.';

CREATE TABLE aurora.secret_cache_status (
    node text COLLATE "C" PRIMARY KEY,
    hits bigint NOT NULL,
    misses bigint NOT NULL,
    evictions bigint NOT NULL,
    invalidations bigint NOT NULL,
    reported_at timestamptz NOT NULL
);
COMMENT ON TABLE aurora.secret_cache_status IS 'What nodes have told of their caches; aurora.secret_cache shows it.';
COMMENT ON COLUMN aurora.secret_cache_status.node IS 'The node.';
COMMENT ON COLUMN aurora.secret_cache_status.hits IS 'Reads that a session''s cache answered, since the server started.';
COMMENT ON COLUMN aurora.secret_cache_status.misses IS 'Reads that it did not.';
COMMENT ON COLUMN aurora.secret_cache_status.evictions IS 'Values that had to make room.';
COMMENT ON COLUMN aurora.secret_cache_status.invalidations IS 'Times that a session forgot its cache because something had changed.';
COMMENT ON COLUMN aurora.secret_cache_status.reported_at IS 'When it was told.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['secret_data_key_key_no_seq', 'secret_data_key', 'secret_secret_id_seq', 'secret', 'secret_version',
                                'secret_signal', 'secret_grant_grant_id_seq', 'secret_grant', 'secret_rotation',
                                'secret_audit_chain', 'secret_audit_record', 'secret_cache_status'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump('aurora.' || name, '');
    END LOOP;
END
$$;

-- ---- what makes sessions forget ----

-- Each change of a secret, whoever makes it, passes the trigger on aurora.secret_version: the place to
-- announce it from, by its names only.

CREATE FUNCTION aurora.secret_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_secret_changed';
COMMENT ON FUNCTION aurora.secret_changed() IS
    'Trigger: when the transaction commits, sessions of all nodes forget the secrets that they have decrypted.';

DO $$
DECLARE
    watched record;
BEGIN
    -- Row triggers that fire always: the apply of logical replication and restores count as well.
    FOR watched IN SELECT * FROM (VALUES
            ('secret', 'INSERT OR UPDATE OR DELETE'), ('secret_version', 'INSERT OR UPDATE OR DELETE'),
            ('secret_data_key', 'INSERT OR UPDATE OR DELETE'), ('secret_grant', 'INSERT OR UPDATE OR DELETE'),
            ('company', 'DELETE OR UPDATE OF company_id, name'),
            ('principal', 'INSERT OR DELETE OR UPDATE OF company_id, owner, login_role, trust, principal_no'),
            ('node', 'INSERT OR DELETE OR UPDATE OF name, login_role')) w (relation, events) LOOP
        EXECUTE format('CREATE TRIGGER secret_changed AFTER %s ON aurora.%I FOR EACH ROW EXECUTE FUNCTION aurora.secret_changed()',
                       watched.events, watched.relation);
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ALWAYS TRIGGER secret_changed', watched.relation);
        EXECUTE format('COMMENT ON TRIGGER secret_changed ON aurora.%I IS %L', watched.relation,
                       'Has sessions of all nodes forget what they have decrypted.');
    END LOOP;
END
$$;

-- ---- what readers of events learn: names only ----

CREATE FUNCTION aurora.note_secret() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed record;
BEGIN
    IF TG_TABLE_NAME = 'secret' THEN
        changed := OLD;
    ELSE
        SELECT s.* INTO changed FROM aurora.secret s
            WHERE s.secret_id = CASE WHEN TG_OP = 'DELETE' THEN OLD.secret_id ELSE NEW.secret_id END;
    END IF;
    -- Versions that go with their secret are told of by that one.
    IF changed.secret_id IS NOT NULL THEN
        PERFORM aurora.note_event(changed.company_id, CASE WHEN changed.company_id IS NULL THEN 'mesh/secrets' ELSE 'secrets' END,
            jsonb_build_object('service', changed.service, 'key_name', changed.key_name, 'node', changed.node));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION aurora.note_secret() IS
    'Trigger: tells the topic secrets of the company, or mesh/secrets, which secret was put, deleted, taken back or destroyed; never what it was. A rotation of keys changes no secret.';
CREATE TRIGGER note_secret AFTER DELETE ON aurora.secret FOR EACH ROW EXECUTE FUNCTION aurora.note_secret();
COMMENT ON TRIGGER note_secret ON aurora.secret IS 'Publishes the name of a secret that was removed.';
CREATE TRIGGER note_secret AFTER INSERT OR DELETE OR UPDATE OF deleted_at, destroyed_at ON aurora.secret_version
    FOR EACH ROW EXECUTE FUNCTION aurora.note_secret();
COMMENT ON TRIGGER note_secret ON aurora.secret_version IS 'Publishes the name of a secret that was changed.';

-- ---- what the library does ----

CREATE FUNCTION aurora.audit_secret(action text, granted boolean, service text, key_name text, node text, company text, company_id int,
                                    version int, detail text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_audit_secret';
COMMENT ON FUNCTION aurora.audit_secret(text, boolean, text, text, text, text, int, int, text) IS
    'Writes down what a function has done with secrets in this transaction, or what it has refused. Errors: 58030 or 53100 it cannot be written down, 55000 no preloaded library.';

CREATE FUNCTION aurora.check_secret_name(service text, key_name text, node text) RETURNS void
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_check_secret_name';
COMMENT ON FUNCTION aurora.check_secret_name(text, text, text) IS
    'Raises 22023 unless service and key name have 1 to 200 printable characters without a blank at either end, and the node is null or a DNS label.';

CREATE FUNCTION aurora.may_secret(company_id int, service text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_may_secret';
COMMENT ON FUNCTION aurora.may_secret(int, text) IS
    'Has the caller any right to secrets of that company (null: of none) and service. Row level security asks this.';

CREATE FUNCTION aurora.secret_right_labels() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_secret_right_labels';
COMMENT ON FUNCTION aurora.secret_right_labels() IS 'The rights to secrets as the library knows them.';

CREATE FUNCTION aurora.make_data_key(company_id int) RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_make_data_key';
COMMENT ON FUNCTION aurora.make_data_key(int) IS
    'Makes a data key under the first key of this node''s ring, current from now on, and returns its number.';

CREATE FUNCTION aurora.reencrypt_token(token text, from_key_no int, to_key_no int) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_reencrypt_token';
COMMENT ON FUNCTION aurora.reencrypt_token(text, int, int) IS 'The same value under another data key; null for a token that does not open.';

CREATE FUNCTION aurora.open_exported(token text, key_no int) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_open_exported';
COMMENT ON FUNCTION aurora.open_exported(text, int) IS 'The value of a token; null for one that does not open. export_secrets() asks this when it has checked the right.';
