-- Values: putting, reading, deleting, and who may.

CREATE FUNCTION aurora.secret(service text, key_name text, company text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10 AS 'MODULE_PATHNAME', 'aurora_secret';
COMMENT ON FUNCTION aurora.secret(text, text, text) IS
    'The value that holds for this node (a node that asks elsewhere: for it) and the company (null: the caller''s own): of the scopes node+company, node, company and global the first that answers. Always as committed last. Each call is written down before it is answered. Errors: 42501 no right, 42704 none answers, XX001 the stored value is corrupted, 55000 no key here opens it or no preloaded library, F0000 the keys cannot be used, 58030 or 53100 the access cannot be written down, 22023 a bad name.';

CREATE FUNCTION aurora.secret_source(service text, key_name text, company text DEFAULT NULL, OUT scope text, OUT node text,
                                     OUT source_company text, OUT version int, OUT strict boolean, OUT expires_at timestamptz,
                                     OUT passed_over text) RETURNS record
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_secret_source';
COMMENT ON FUNCTION aurora.secret_source(text, text, text) IS
    'Which scope and version would answer secret() with the same arguments, without the value; nulls when none would. passed_over: scopes that come first but do not answer, and why. Errors: 42501 no right to the service at all, 22023 a bad name.';

CREATE FUNCTION aurora.put_secret(service text, key_name text, value text, node text DEFAULT NULL, company text DEFAULT NULL,
                                  expected_version int DEFAULT NULL, strict boolean DEFAULT NULL,
                                  expires_at timestamptz DEFAULT NULL) RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_put_secret';
COMMENT ON FUNCTION aurora.put_secret(text, text, text, text, text, int, boolean, timestamptz) IS
    'Puts a value, of up to 1 MiB, and returns its version. node, company: whom it is for; null for all. expected_version: the last version that must be there (0: none). strict: reads wait until they are on record on disk (null: as before). Pass the value as a parameter: statements may be logged. Errors: 42501 no right, 23000 another version is there, 22023 a bad name, 54000 too large, 25006 on a standby, 55000 no key or no preloaded library.';

CREATE FUNCTION aurora.store_secret(service text, key_name text, node text, company_id int, key_no int, token text,
                                    expected_version int, strict boolean, expires_at timestamptz) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored aurora.secret;
    keep int := current_setting('aurora.secret_versions_kept')::int;
BEGIN
    INSERT INTO aurora.secret AS s (service, key_name, node, company_id)
        VALUES (store_secret.service, store_secret.key_name, store_secret.node, store_secret.company_id)
        ON CONFLICT ON CONSTRAINT secret_name_key DO UPDATE SET version = s.version RETURNING s.* INTO stored;
    IF expected_version IS NOT NULL AND expected_version <> stored.version THEN
        RAISE integrity_constraint_violation USING
            MESSAGE = CASE WHEN stored.version = 0 THEN format('secret "%s" of service "%s" is not there', key_name, service)
                           ELSE format('secret "%s" of service "%s" has version %s, not %s', key_name, service, stored.version, expected_version) END,
            HINT = 'Somebody else has changed it. Read it anew, and put with the version that is there.';
    END IF;
    UPDATE aurora.secret s SET version = s.version + 1, strict = coalesce(store_secret.strict, s.strict)
        WHERE s.secret_id = stored.secret_id RETURNING s.* INTO stored;
    INSERT INTO aurora.secret_version (secret_id, version, company_id, key_no, token, expires_at, created_by)
        VALUES (stored.secret_id, stored.version, stored.company_id, store_secret.key_no, store_secret.token,
                store_secret.expires_at, aurora.caller());
    DELETE FROM aurora.secret_version v WHERE v.secret_id = stored.secret_id AND v.version <= stored.version - keep;
    RETURN stored.version;
END
$$;
COMMENT ON FUNCTION aurora.store_secret(text, text, text, int, int, text, int, boolean, timestamptz) IS
    'Stores a token as the next version; put_secret() asks this. Errors: 23000 another version is there than expected.';

-- ---- deleting ----

CREATE FUNCTION aurora.secret_to_change(action text, service text, key_name text, node text, company text) RETURNS aurora.secret
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result aurora.secret;
    of_company int;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.check_secret_name(service, key_name, node);
    SELECT c.company_id INTO of_company FROM aurora.company c WHERE c.name = company;
    IF NOT aurora.may_change_secret(CASE WHEN company IS NULL THEN NULL ELSE coalesce(of_company, -1) END, service) THEN
        PERFORM aurora.audit_secret(action, false, service, key_name, node, company, of_company, NULL, NULL);
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to change secrets of service "%s"', service),
            HINT = 'aurora.grant_secret() gives the right "write".';
    END IF;
    SELECT s.* INTO result FROM aurora.secret s
        WHERE s.service = secret_to_change.service AND s.key_name = secret_to_change.key_name
          AND s.node IS NOT DISTINCT FROM secret_to_change.node
          AND CASE WHEN company IS NULL THEN s.company_id IS NULL ELSE s.company_id = of_company END
        FOR UPDATE;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no secret "%s" of service "%s" in that scope', key_name, service),
            HINT = 'aurora.secrets shows those that there are; node and company must be named as they are there.';
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.secret_to_change(text, text, text, text, text) IS
    'The secret of exactly that scope, locked, for a caller that may change it. Errors: 42501, 42704, 22023, 25006.';

CREATE FUNCTION aurora.may_change_secret(company_id int, service text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_may_change_secret';
COMMENT ON FUNCTION aurora.may_change_secret(int, text) IS 'May the caller put and delete secrets of that company (null: of none) and service.';

CREATE FUNCTION aurora.may_export_secret(company_id int, service text, plain boolean) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_may_export_secret';
COMMENT ON FUNCTION aurora.may_export_secret(int, text, boolean) IS
    'May the caller export secrets of that company (0: of none) and service: encrypted with the right to read, in plain text with the right to export.';

CREATE FUNCTION aurora.delete_secret(service text, key_name text, node text DEFAULT NULL, company text DEFAULT NULL,
                                     expected_version int DEFAULT NULL) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.secret := aurora.secret_to_change('delete', service, key_name, node, company);
BEGIN
    IF expected_version <> target.version THEN
        RAISE integrity_constraint_violation USING
            MESSAGE = format('secret "%s" of service "%s" has version %s, not %s', key_name, service, target.version, expected_version),
            HINT = 'Somebody else has changed it.';
    END IF;
    UPDATE aurora.secret_version v SET deleted_at = clock_timestamp(), deleted_by = aurora.caller()
        WHERE v.secret_id = target.secret_id AND v.version = target.version AND v.deleted_at IS NULL;
    PERFORM aurora.audit_secret('delete', true, service, key_name, node, company, target.company_id, target.version, NULL);
    RETURN target.version;
END
$$;
COMMENT ON FUNCTION aurora.delete_secret(text, text, text, text, int) IS
    'Deletes the last version in that scope, so that it no longer answers and the next scope does; returns it. undelete_secret() takes it back, destroy_secret() is for good. Errors: 42501 no right, 42704 not there, 23000 another version is there.';

CREATE FUNCTION aurora.undelete_secret(service text, key_name text, node text DEFAULT NULL, company text DEFAULT NULL,
                                       version int DEFAULT NULL) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.secret := aurora.secret_to_change('undelete', service, key_name, node, company);
    of_version int := coalesce(version, target.version);
BEGIN
    UPDATE aurora.secret_version v SET deleted_at = NULL, deleted_by = NULL
        WHERE v.secret_id = target.secret_id AND v.version = of_version AND v.token IS NOT NULL;
    IF NOT FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('version %s of secret "%s" of service "%s" is not there any more', of_version, key_name, service),
            HINT = 'aurora.secret_versions shows those that are kept.';
    END IF;
    PERFORM aurora.audit_secret('undelete', true, service, key_name, node, company, target.company_id, of_version, NULL);
    RETURN of_version;
END
$$;
COMMENT ON FUNCTION aurora.undelete_secret(text, text, text, text, int) IS
    'Takes the deletion of a version (null: the last) back, and returns it. The last version answers, no other. Errors: 42501 no right, 42704 not there or destroyed.';

CREATE FUNCTION aurora.destroy_secret(service text, key_name text, node text DEFAULT NULL, company text DEFAULT NULL,
                                      version int DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.secret := aurora.secret_to_change('destroy', service, key_name, node, company);
    destroyed bigint;
BEGIN
    IF version IS NULL THEN
        SELECT count(*) INTO destroyed FROM aurora.secret_version v WHERE v.secret_id = target.secret_id AND v.token IS NOT NULL;
        DELETE FROM aurora.secret s WHERE s.secret_id = target.secret_id;
    ELSE
        UPDATE aurora.secret_version v SET token = NULL, destroyed_at = clock_timestamp()
            WHERE v.secret_id = target.secret_id AND v.version = destroy_secret.version AND v.token IS NOT NULL;
        GET DIAGNOSTICS destroyed = ROW_COUNT;
        IF destroyed = 0 THEN
            RAISE undefined_object USING
                MESSAGE = format('version %s of secret "%s" of service "%s" is not there any more', version, key_name, service),
                HINT = 'aurora.secret_versions shows those that are kept.';
        END IF;
    END IF;
    PERFORM aurora.audit_secret('destroy', true, service, key_name, node, company, target.company_id, version,
                                format('%s values', destroyed));
    RETURN destroyed;
END
$$;
COMMENT ON FUNCTION aurora.destroy_secret(text, text, text, text, int) IS
    'Destroys the value of a version, or (version null) the secret of that scope with all versions; returns how many values. Older backups still have them. Errors: 42501 no right, 42704 not there.';

-- ---- views ----

CREATE FUNCTION aurora.secret_scope(node text, company_id int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN node IS NULL THEN CASE WHEN company_id IS NULL THEN 'global' ELSE 'company' END
                WHEN company_id IS NULL THEN 'node' ELSE 'node+company' END
$$;
COMMENT ON FUNCTION aurora.secret_scope(text, int) IS 'The name of a scope; of several the first of node+company, node, company, global answers.';

CREATE FUNCTION aurora.secret_state(v aurora.secret_version) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN v.destroyed_at IS NOT NULL OR v.secret_id IS NULL THEN 'destroyed' WHEN v.deleted_at IS NOT NULL THEN 'deleted'
                WHEN v.expires_at <= clock_timestamp() THEN 'expired' ELSE 'active' END
$$;
COMMENT ON FUNCTION aurora.secret_state(aurora.secret_version) IS 'How a version is: active, expired, deleted or destroyed.';

CREATE VIEW aurora.secret_versions WITH (security_barrier = true) AS
    SELECT s.service, s.key_name, aurora.secret_scope(s.node, s.company_id) AS scope, s.node, c.name AS company, v.version,
           aurora.secret_state(v) AS state, v.expires_at, v.created_at, v.created_by, v.deleted_at, v.deleted_by, v.destroyed_at, v.key_no
    FROM aurora.secret s JOIN aurora.secret_version v USING (secret_id) LEFT JOIN aurora.company c ON c.company_id = s.company_id
    WHERE aurora.may_secret(s.company_id, s.service);
COMMENT ON VIEW aurora.secret_versions IS 'Versions of the secrets to which the caller has any right, without their values.';
COMMENT ON COLUMN aurora.secret_versions.service IS 'The service.';
COMMENT ON COLUMN aurora.secret_versions.key_name IS 'The name within the service.';
COMMENT ON COLUMN aurora.secret_versions.scope IS 'Whom it is for: node+company, node, company or global.';
COMMENT ON COLUMN aurora.secret_versions.node IS 'The node that it is for.';
COMMENT ON COLUMN aurora.secret_versions.company IS 'The company that it is for.';
COMMENT ON COLUMN aurora.secret_versions.version IS 'Number of the version.';
COMMENT ON COLUMN aurora.secret_versions.state IS 'active, expired, deleted or destroyed.';
COMMENT ON COLUMN aurora.secret_versions.expires_at IS 'When it ends to answer.';
COMMENT ON COLUMN aurora.secret_versions.created_at IS 'When it was put.';
COMMENT ON COLUMN aurora.secret_versions.created_by IS 'The role that put it.';
COMMENT ON COLUMN aurora.secret_versions.deleted_at IS 'When it was deleted.';
COMMENT ON COLUMN aurora.secret_versions.deleted_by IS 'The role that deleted it.';
COMMENT ON COLUMN aurora.secret_versions.destroyed_at IS 'When its value was destroyed.';
COMMENT ON COLUMN aurora.secret_versions.key_no IS 'The data key that encrypts it.';

CREATE VIEW aurora.secrets WITH (security_barrier = true) AS
    SELECT s.service, s.key_name, aurora.secret_scope(s.node, s.company_id) AS scope, s.node, c.name AS company, s.version,
           (SELECT count(*) FROM aurora.secret_version o WHERE o.secret_id = s.secret_id AND o.destroyed_at IS NULL) AS versions,
           aurora.secret_state(v) AS state, s.strict, v.expires_at,
           v.expires_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '14 days' IS TRUE AS expires_soon,
           coalesce(v.created_at, s.created_at) AS changed_at, v.created_by AS changed_by
    FROM aurora.secret s LEFT JOIN aurora.secret_version v ON v.secret_id = s.secret_id AND v.version = s.version
    LEFT JOIN aurora.company c ON c.company_id = s.company_id
    WHERE aurora.may_secret(s.company_id, s.service);
COMMENT ON VIEW aurora.secrets IS 'The secrets to which the caller has any right, without their values.';
COMMENT ON COLUMN aurora.secrets.service IS 'The service that it opens.';
COMMENT ON COLUMN aurora.secrets.key_name IS 'Its name within the service.';
COMMENT ON COLUMN aurora.secrets.scope IS 'Whom it is for: node+company, node, company or global, in which order they answer.';
COMMENT ON COLUMN aurora.secrets.node IS 'The node that it is for.';
COMMENT ON COLUMN aurora.secrets.company IS 'The company that it is for.';
COMMENT ON COLUMN aurora.secrets.version IS 'The last version.';
COMMENT ON COLUMN aurora.secrets.versions IS 'Versions whose values are kept.';
COMMENT ON COLUMN aurora.secrets.state IS 'How the last version is: active, expired, deleted or destroyed; only an active one answers.';
COMMENT ON COLUMN aurora.secrets.strict IS 'Does a read wait until its record is on disk.';
COMMENT ON COLUMN aurora.secrets.expires_at IS 'When it ends to answer.';
COMMENT ON COLUMN aurora.secrets.expires_soon IS 'Is that within 14 days.';
COMMENT ON COLUMN aurora.secrets.changed_at IS 'When the last version was put.';
COMMENT ON COLUMN aurora.secrets.changed_by IS 'The role that put it.';

-- ---- grants ----

CREATE FUNCTION aurora.grant_terms(action text, grantee name, service text, company text, may text, OUT of_company int, OUT of_right aurora.secret_right)
    RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    labels text[] := enum_range(NULL::aurora.secret_right)::text[];
BEGIN
    PERFORM aurora.require_lead();
    IF grantee IS NULL OR service IS NULL OR may IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'the role, the service and the right may not be null';
    ELSIF may <> ALL (labels) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no right "%s" to secrets', may), HINT = 'Rights: ' || array_to_string(labels, ', ') || '.';
    END IF;
    PERFORM aurora.check_secret_name(service, 'key', NULL);
    SELECT c.company_id INTO of_company FROM aurora.company c WHERE c.name = company;
    IF NOT (aurora.administers_all() OR of_company IS NOT NULL AND aurora.may_manage(of_company)) THEN
        PERFORM aurora.audit_secret(action, false, service, NULL, NULL, company, of_company, NULL, format('%s: %s', grantee, may));
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to grant rights to secrets',
            HINT = 'Members of aurora_admin may; principals with trust "admin" may for the secrets of their own company.';
    ELSIF company IS NOT NULL AND of_company IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no company "%s"', company), HINT = 'aurora.add_company() makes one.';
    END IF;
    of_right := may::aurora.secret_right;
END
$$;
COMMENT ON FUNCTION aurora.grant_terms(text, name, text, text, text) IS
    'Checks what is to be granted or revoked, and that the caller may. Errors: 42501, 22023, 22004, 25006.';

CREATE FUNCTION aurora.grant_secret(grantee name, service text, company text DEFAULT NULL, may text DEFAULT 'read') RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    terms record := aurora.grant_terms('grant', grantee, service, company, may);
    role_oid oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = grantee);
BEGIN
    IF role_oid IS NULL THEN
        RAISE undefined_object USING
            MESSAGE = format('role "%s" does not exist', grantee), HINT = format('Create it first: CREATE ROLE %I LOGIN;', grantee);
    END IF;
    INSERT INTO aurora.secret_grant AS g (company_id, grantee, service, may, role_oid, system_identifier, granted_by)
        SELECT terms.of_company, grantee, service, terms.of_right, role_oid, c.system_identifier, aurora.caller()
        FROM pg_control_system() c
        ON CONFLICT ON CONSTRAINT secret_grant_key DO UPDATE
            SET role_oid = excluded.role_oid, system_identifier = excluded.system_identifier, granted_at = now(),
                granted_by = excluded.granted_by
            WHERE (g.role_oid, g.system_identifier) IS DISTINCT FROM (excluded.role_oid, excluded.system_identifier);
    PERFORM aurora.audit_secret('grant', true, service, NULL, NULL, company, terms.of_company, NULL, format('%s to %s', may, grantee));
END
$$;
COMMENT ON FUNCTION aurora.grant_secret(name, text, text, text) IS
    'Gives a role and its members a right (read, write or export) to secrets of services that the pattern fits, where * is any text: to those of a company, or (null) to those that belong to none, which all companies fall back on. For administrators, and for those who manage the company. Errors: 42501, 22023, 42704 no such role.';

CREATE FUNCTION aurora.revoke_secret(grantee name, service text, company text DEFAULT NULL, may text DEFAULT 'read') RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    terms record := aurora.grant_terms('revoke', grantee, service, company, may);
    revoked boolean;
BEGIN
    DELETE FROM aurora.secret_grant g
        WHERE g.grantee = revoke_secret.grantee AND g.service = revoke_secret.service AND g.may = terms.of_right
          AND g.company_id IS NOT DISTINCT FROM terms.of_company;
    revoked := FOUND;
    PERFORM aurora.audit_secret('revoke', true, service, NULL, NULL, company, terms.of_company, NULL, format('%s from %s', may, grantee));
    RETURN revoked;
END
$$;
COMMENT ON FUNCTION aurora.revoke_secret(name, text, text, text) IS
    'Takes back what grant_secret() gave with the same arguments; false when there was no such grant. Errors: 42501, 22023.';

CREATE FUNCTION aurora.grant_holds(g aurora.secret_grant) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_roles r, pg_control_system() c
                   WHERE r.rolname = g.grantee AND (r.oid = g.role_oid OR c.system_identifier <> g.system_identifier))
$$;
COMMENT ON FUNCTION aurora.grant_holds(aurora.secret_grant) IS 'Is the role still there to which the right was granted, and not another of its name.';

CREATE VIEW aurora.secret_grants WITH (security_barrier = true) AS
    SELECT g.grantee, g.service, c.name AS company, g.may::text AS may, aurora.grant_holds(g) AS holds, g.granted_at, g.granted_by
    FROM aurora.secret_grant g LEFT JOIN aurora.company c USING (company_id)
    WHERE aurora.administers_all() OR aurora.may_manage(g.company_id)
       OR EXISTS (SELECT FROM pg_roles r WHERE r.rolname = g.grantee AND pg_has_role(aurora.caller(), r.oid, 'USAGE'));
COMMENT ON VIEW aurora.secret_grants IS 'Rights to secrets as they were granted: all of them for administrators, those of its company for who manages it, and those that the caller has.';
COMMENT ON COLUMN aurora.secret_grants.grantee IS 'The role.';
COMMENT ON COLUMN aurora.secret_grants.service IS 'The services, * for any text.';
COMMENT ON COLUMN aurora.secret_grants.company IS 'The company whose secrets it is about; null for those that belong to none.';
COMMENT ON COLUMN aurora.secret_grants.may IS 'read, write or export.';
COMMENT ON COLUMN aurora.secret_grants.holds IS 'False when the role was dropped since, even if one of its name was made again.';
COMMENT ON COLUMN aurora.secret_grants.granted_at IS 'When.';
COMMENT ON COLUMN aurora.secret_grants.granted_by IS 'By whom.';

CREATE VIEW aurora.secret_rights WITH (security_barrier = true) AS
    SELECT r.rolname AS role, g.service, g.company, g.may, g.grantee AS granted_to
    FROM aurora.secret_grants g JOIN pg_roles r ON pg_has_role(r.oid, (SELECT o.oid FROM pg_roles o WHERE o.rolname = g.grantee), 'USAGE')
    WHERE g.holds AND NOT r.rolsuper
    UNION
    SELECT r.rolname, '*', NULL, m.may, 'aurora_admin'
    FROM pg_roles r CROSS JOIN unnest(enum_range(NULL::aurora.secret_right)::text[]) m (may)
    WHERE aurora.administers_all() AND NOT r.rolsuper AND pg_has_role(r.oid, 'aurora_admin', 'USAGE')
    UNION
    SELECT p.login_role, '*', c.name, m.may, 'trust admin'
    FROM aurora.principal p JOIN aurora.company c USING (company_id)
    CROSS JOIN unnest(enum_range(NULL::aurora.secret_right)::text[]) m (may)
    WHERE p.trust = 'admin' AND p.login_role IS NOT NULL AND aurora.may_manage(p.company_id);
COMMENT ON VIEW aurora.secret_rights IS 'What each role may in effect, by grants to it and to roles that it inherits from, by administration, and by trust; superusers may all and are left out.';
COMMENT ON COLUMN aurora.secret_rights.role IS 'The role.';
COMMENT ON COLUMN aurora.secret_rights.service IS 'The services, * for any text.';
COMMENT ON COLUMN aurora.secret_rights.company IS 'The company whose secrets it is about; null for those that belong to none (of aurora_admin: for all).';
COMMENT ON COLUMN aurora.secret_rights.may IS 'read, write or export.';
COMMENT ON COLUMN aurora.secret_rights.granted_to IS 'Through which role, or by trust.';

-- ---- from and to elsewhere ----

CREATE FUNCTION aurora.import_secrets_env(service text, content text, node text DEFAULT NULL, company text DEFAULT NULL) RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_import_secrets_env';
COMMENT ON FUNCTION aurora.import_secrets_env(text, text, text, text) IS
    'Puts each NAME=value of the text of a .env file as a secret of the service, and returns how many. Quotes, escapes within double quotes, several lines in quotes, export and comments are understood; variables are not expanded. All or nothing. Errors: 22023 with the line''s number, and those of put_secret().';

CREATE FUNCTION aurora.import_secrets_json(content text, node text DEFAULT NULL, company text DEFAULT NULL) RETURNS int
    LANGUAGE c VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'MODULE_PATHNAME', 'aurora_import_secrets_json';
COMMENT ON FUNCTION aurora.import_secrets_json(text, text, text) IS
    'Puts the values of {service: {key: value}} and returns how many; or takes back what export_secrets() gave encrypted, in the scopes of then, for administrators only, since its names are not sealed. All or nothing. Errors: 22023 bad text, 55000 no key here opens the export, and those of put_secret().';

CREATE FUNCTION aurora.export_secrets(service text DEFAULT '*', company text DEFAULT NULL, plain boolean DEFAULT false) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_company int := 0;
    pattern text := service;
    chosen bigint[];
    refused text;
    bad text;
    result jsonb;
BEGIN
    IF service IS NULL OR plain IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'the service and whether to export in plain text may not be null';
    END IF;
    IF company IS NOT NULL THEN
        SELECT c.company_id INTO of_company FROM aurora.company c WHERE c.name = company;
        IF of_company IS NULL AND aurora.administers_all() THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('there is no company "%s"', company), HINT = 'aurora.add_company() makes one.';
        END IF;
        of_company := coalesce(of_company, -1);
    END IF;
    SELECT array_agg(s.secret_id), min(s.service) FILTER (WHERE NOT aurora.may_export_secret(of_company, s.service, plain))
        INTO chosen, refused
        FROM aurora.secret s JOIN aurora.secret_version v ON v.secret_id = s.secret_id AND v.version = s.version
        WHERE coalesce(s.company_id, 0) = of_company AND aurora.secret_matches(pattern, s.service)
          AND aurora.secret_state(v) = 'active' AND (s.node IS NULL OR NOT plain);
    IF refused IS NOT NULL OR chosen IS NULL AND NOT aurora.may_export_secret(of_company, pattern, plain) THEN
        PERFORM aurora.audit_secret('export', false, coalesce(refused, service), NULL, NULL, company, nullif(greatest(of_company, 0), 0), NULL, NULL);
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied to export secrets of service "%s"', coalesce(refused, service)),
            HINT = 'aurora.grant_secret() gives the right "export", which plain text takes, and "read", which an encrypted export takes.';
    END IF;
    PERFORM aurora.audit_secret('export', true, s.service, s.key_name, s.node, company, s.company_id, s.version,
                                CASE WHEN plain THEN 'in plain text' ELSE 'encrypted' END)
        FROM aurora.secret s WHERE s.secret_id = ANY (chosen) ORDER BY s.secret_id;
    IF plain THEN
        -- Aggregates without groups, which keep the values in memory: a sort or a hash could write them to a file.
        SELECT coalesce(jsonb_object_agg(b.service, (
                   SELECT jsonb_object_agg(s.key_name, aurora.open_exported(v.token, v.key_no))
                   FROM aurora.secret s JOIN aurora.secret_version v ON v.secret_id = s.secret_id AND v.version = s.version
                   WHERE s.secret_id = ANY (chosen) AND s.service = b.service)), '{}')
            INTO result
            FROM (SELECT DISTINCT s.service FROM aurora.secret s WHERE s.secret_id = ANY (chosen)) b;
        SELECT string_agg(format('"%s" of "%s"', s.key_name, s.service), ', ')
                   FILTER (WHERE aurora.open_exported(v.token, v.key_no) IS NULL) INTO bad
            FROM aurora.secret s JOIN aurora.secret_version v ON v.secret_id = s.secret_id AND v.version = s.version
            WHERE s.secret_id = ANY (chosen);
        IF bad IS NOT NULL THEN
            RAISE WARNING 'stored values are corrupted and come as null: %', bad;
        END IF;
        RETURN result;
    END IF;
    RETURN jsonb_build_object('format', 'aurora secrets 1',
        'keys', (SELECT coalesce(jsonb_agg(jsonb_build_object('key_no', k.key_no, 'master_key_id', k.master_key_id, 'wrapped', k.wrapped) ORDER BY k.key_no), '[]')
                 FROM aurora.secret_data_key k
                 WHERE EXISTS (SELECT FROM aurora.secret_version v JOIN aurora.secret s ON s.secret_id = v.secret_id AND s.version = v.version
                               WHERE v.key_no = k.key_no AND s.secret_id = ANY (chosen))),
        'secrets', (SELECT coalesce(jsonb_agg(jsonb_build_object('service', s.service, 'key_name', s.key_name, 'node', s.node,
                               'company', company, 'version', s.version, 'strict', s.strict, 'expires_at', v.expires_at,
                               'key_no', v.key_no, 'token', v.token) ORDER BY s.secret_id), '[]')
                    FROM aurora.secret s JOIN aurora.secret_version v ON v.secret_id = s.secret_id AND v.version = s.version
                    WHERE s.secret_id = ANY (chosen)));
END
$$;
COMMENT ON FUNCTION aurora.export_secrets(text, text, boolean) IS
    'The active secrets of a company (null: those that belong to none) of services that the pattern fits: encrypted, in all scopes, for import_secrets_json() by an administrator where the master key is; or in plain text as {service: {key: value}}, those for all nodes. Each is written down. Takes the right to read, or to export in plain text. Errors: 42501 for one of them at least.';

CREATE FUNCTION aurora.secret_matches(pattern text, service text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_secret_matches_sql';
COMMENT ON FUNCTION aurora.secret_matches(text, text) IS 'Does the pattern, in which * is any text, fit the service.';
