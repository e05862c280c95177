-- Tenancy: companies, principals, currencies, and who is calling.

-- ---- types and tables ----

CREATE TYPE aurora.trust AS ENUM ('agent', 'member', 'manager', 'admin');
COMMENT ON TYPE aurora.trust IS
    'What a principal may do in its company. agent: a program, its own rows; member: a person, own rows; manager: sees all owners; admin: also settings and principals.';

CREATE SEQUENCE aurora.company_company_id_seq AS int;
COMMENT ON SEQUENCE aurora.company_company_id_seq IS 'Numbers the companies.';

CREATE TABLE aurora.company (
    company_id int PRIMARY KEY DEFAULT nextval('aurora.company_company_id_seq'),
    name text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL DEFAULT 'USD',
    big_threshold numeric NOT NULL DEFAULT 50000,
    sla_hours numeric NOT NULL DEFAULT 2,
    important_points numeric NOT NULL DEFAULT 16,
    revenue_unit numeric NOT NULL DEFAULT 1000,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT company_name_key UNIQUE (name),
    CONSTRAINT company_name_check CHECK (length(name) BETWEEN 1 AND 200),
    CONSTRAINT company_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT company_big_threshold_check CHECK (big_threshold BETWEEN 0.000001 AND 1e15),
    CONSTRAINT company_sla_hours_check CHECK (sla_hours BETWEEN 0.01 AND 8760),
    CONSTRAINT company_important_points_check CHECK (important_points BETWEEN 0 AND 1000),
    CONSTRAINT company_revenue_unit_check CHECK (revenue_unit BETWEEN 0.000001 AND 1e15)
);
ALTER SEQUENCE aurora.company_company_id_seq OWNED BY aurora.company.company_id;
COMMENT ON TABLE aurora.company IS 'The tenants and their settings. Change them with aurora.set_company().';
COMMENT ON COLUMN aurora.company.company_id IS 'Number of the company; part of the key of every table of a tenant.';
COMMENT ON COLUMN aurora.company.name IS 'Name by which functions take a company.';
COMMENT ON COLUMN aurora.company.currency IS 'ISO 4217 code in which the company compares amounts.';
COMMENT ON COLUMN aurora.company.big_threshold IS 'Amount, in the company''s currency, at or over which an item is big. Default 50,000.';
COMMENT ON COLUMN aurora.company.sla_hours IS 'Hours within which mail of a VIP is answered. Default 2.';
COMMENT ON COLUMN aurora.company.important_points IS 'Static points at or over which an item is important. Default 16.';
COMMENT ON COLUMN aurora.company.revenue_unit IS 'Expected value, in the company''s currency, at which revenue starts to give points. Default 1,000; smaller for a seller of small tickets.';
COMMENT ON COLUMN aurora.company.created_at IS 'When the company was added.';

CREATE SEQUENCE aurora.principal_principal_no_seq AS int MAXVALUE 536870911;
COMMENT ON SEQUENCE aurora.principal_principal_no_seq IS 'Numbers the principals of all companies.';

CREATE TABLE aurora.principal (
    company_id int NOT NULL REFERENCES aurora.company,
    owner text COLLATE "C" NOT NULL,
    login_role name,
    trust aurora.trust NOT NULL DEFAULT 'member',
    principal_no int NOT NULL DEFAULT nextval('aurora.principal_principal_no_seq'),
    display_name text,
    email text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, owner),
    CONSTRAINT principal_owner_check CHECK (length(owner) BETWEEN 1 AND 200),
    CONSTRAINT principal_principal_no_key UNIQUE (principal_no),
    CONSTRAINT principal_principal_no_check CHECK (principal_no BETWEEN 1 AND 536870911)
);
ALTER SEQUENCE aurora.principal_principal_no_seq OWNED BY aurora.principal.principal_no;
CREATE UNIQUE INDEX principal_login ON aurora.principal (login_role, company_id);
COMMENT ON INDEX aurora.principal_login IS 'The principals of a login role, one for each company.';
COMMENT ON TABLE aurora.principal IS 'Who acts in a company: a person or an agent. One login role may stand for a principal in each of several companies.';
COMMENT ON COLUMN aurora.principal.company_id IS 'The company.';
COMMENT ON COLUMN aurora.principal.owner IS 'Name of the principal, as items carry it in their owner column.';
COMMENT ON COLUMN aurora.principal.login_role IS 'The database role that stands for this principal; null when only a gateway assumes it.';
COMMENT ON COLUMN aurora.principal.trust IS 'What the principal may do.';
COMMENT ON COLUMN aurora.principal.principal_no IS 'Number of the principal, over all companies, for indexes.';
COMMENT ON COLUMN aurora.principal.display_name IS 'Name for people to read.';
COMMENT ON COLUMN aurora.principal.email IS 'Address of the principal.';
COMMENT ON COLUMN aurora.principal.created_at IS 'When the principal was added.';

CREATE TABLE aurora.currency_rate (
    company_id int NOT NULL REFERENCES aurora.company,
    currency text COLLATE "C" NOT NULL,
    rate numeric NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, currency),
    CONSTRAINT currency_rate_currency_check CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT currency_rate_rate_check CHECK (rate BETWEEN 1e-12 AND 1e12)
);
COMMENT ON TABLE aurora.currency_rate IS 'What one unit of a currency is worth in the company''s currency. The company''s own currency needs no row.';
COMMENT ON COLUMN aurora.currency_rate.company_id IS 'The company.';
COMMENT ON COLUMN aurora.currency_rate.currency IS 'ISO 4217 code.';
COMMENT ON COLUMN aurora.currency_rate.rate IS 'Units of the company''s currency for one unit of this one.';
COMMENT ON COLUMN aurora.currency_rate.set_at IS 'When the rate was set.';

SELECT pg_catalog.pg_extension_config_dump('aurora.company_company_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.company', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.principal_principal_no_seq', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.principal', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.currency_rate', '');

-- ---- identity ----

CREATE FUNCTION aurora.assume(company text, owner text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'aurora_assume';
COMMENT ON FUNCTION aurora.assume(text, text) IS
    'Stand for a principal until this transaction ends. For members of aurora_gateway. Errors: 42501 not a member, 22023 no such principal, 25000 another one is assumed already.';

CREATE FUNCTION aurora.whoami(OUT company_id int, OUT owner text, OUT trust text, OUT assumed boolean)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_whoami';
COMMENT ON FUNCTION aurora.whoami() IS 'The principals that the caller stands for, one for each of its companies.';

CREATE FUNCTION aurora.current_owner() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_current_owner';
COMMENT ON FUNCTION aurora.current_owner() IS 'The caller''s name as an owner, in its first company; null when the caller is no principal.';

CREATE FUNCTION aurora.current_company_id() RETURNS int
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_current_company_id';
COMMENT ON FUNCTION aurora.current_company_id() IS 'The caller''s first company; null when the caller is no principal.';

CREATE FUNCTION aurora.may_see(company_id int, owner text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_may_see';
COMMENT ON FUNCTION aurora.may_see(int, text) IS 'May the caller see this owner''s rows: its own, all of a company for managers, all for administrators. Row level security asks this.';

CREATE FUNCTION aurora.may_manage(company_id int) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_may_manage';
COMMENT ON FUNCTION aurora.may_manage(int) IS 'May the caller change the company''s settings and principals.';

CREATE FUNCTION aurora.is_member(company_id int) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_is_member';
COMMENT ON FUNCTION aurora.is_member(int) IS 'Does the caller belong to the company, or administer all.';

CREATE FUNCTION aurora.company_ids() RETURNS int[]
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_company_ids';
COMMENT ON FUNCTION aurora.company_ids() IS 'Ids of the companies that the caller belongs to, or of all for administrators.';

CREATE FUNCTION aurora.administers_all() RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_administers_all';
COMMENT ON FUNCTION aurora.administers_all() IS 'Is the caller a superuser or a member of aurora_admin, with nobody assumed.';

CREATE FUNCTION aurora.caller() RETURNS name
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_caller';
COMMENT ON FUNCTION aurora.caller() IS 'The role that called, also inside SECURITY DEFINER functions.';

CREATE FUNCTION aurora.caller_has(group_role text) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_caller_has';
COMMENT ON FUNCTION aurora.caller_has(text) IS 'Has the caller the rights of a group role, with nobody assumed. False in maintenance, such as ANALYZE, where code of a table''s owner runs in another''s session.';

CREATE FUNCTION aurora.is_assuming() RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_is_assuming';
COMMENT ON FUNCTION aurora.is_assuming() IS 'Has this transaction assumed a principal, a node or a monitor.';

CREATE FUNCTION aurora.assumed_node() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_assumed_node_sql';
COMMENT ON FUNCTION aurora.assumed_node() IS 'The node that this transaction has assumed by its key; null for none.';

CREATE FUNCTION aurora.assumed_key() RETURNS bigint
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_assumed_key';
COMMENT ON FUNCTION aurora.assumed_key() IS 'The API key by which this transaction has assumed what it has, itself or for a session; null for none.';

CREATE FUNCTION aurora.trust_labels() RETURNS text[]
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_trust_labels';
COMMENT ON FUNCTION aurora.trust_labels() IS 'The trust levels as the library knows them.';

-- ---- finding a company, and the first use ----

CREATE FUNCTION aurora.make_default_company() RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made int;
BEGIN
    IF NOT aurora.administers_all() OR EXISTS (SELECT FROM aurora.company) THEN
        RETURN NULL;
    END IF;
    LOCK TABLE aurora.company IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM aurora.company) THEN
        RETURN NULL;
    END IF;
    INSERT INTO aurora.company (name) VALUES ('default') RETURNING company_id INTO made;
    INSERT INTO aurora.principal (company_id, owner, login_role, trust)
        VALUES (made, aurora.caller(), aurora.caller(), 'admin');
    RETURN made;
END
$$;
COMMENT ON FUNCTION aurora.make_default_company() IS
    'When there is no company yet and an administrator calls: makes the company "default" with the caller as its owner, and returns its id; else null.';

CREATE FUNCTION aurora.company_for(company text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_id int;
    names text;
    companies bigint;
BEGIN
    IF company IS NOT NULL THEN
        SELECT c.company_id INTO found_id FROM aurora.company c
            WHERE c.name = company_for.company AND aurora.is_member(c.company_id);
    ELSE
        found_id := coalesce(aurora.current_company_id(), aurora.make_default_company());
    END IF;
    IF found_id IS NOT NULL THEN
        RETURN found_id;
    END IF;
    SELECT string_agg(quote_literal(c.name), ', ' ORDER BY c.name), count(*), min(c.company_id)
        INTO names, companies, found_id
        FROM aurora.company c WHERE aurora.is_member(c.company_id);
    IF company IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no company "%s" that the caller belongs to', company),
            HINT = coalesce('Companies: ' || names || '.', 'Add one with aurora.add_company().');
    ELSIF companies = 1 THEN
        RETURN found_id;
    ELSIF companies > 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'which company is meant is not clear',
            HINT = 'Name one: ' || names || '.';
    END IF;
    RAISE insufficient_privilege USING
        MESSAGE = format('role "%s" is not a principal of any company', aurora.caller()),
        HINT = 'An administrator adds it with aurora.add_principal(owner, company, login_role).';
END
$$;
COMMENT ON FUNCTION aurora.company_for(text) IS
    'The id of the company that a call means: the named one, else the caller''s own, else the only one. Makes the default company on first use. Errors: 22023 unknown or not clear, 42501 the caller belongs to none.';

CREATE FUNCTION aurora.require_manage(company_id int) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT aurora.may_manage(company_id) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to change this company',
            HINT = 'Principals with trust "admin" and members of aurora_admin may.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_manage(int) IS 'Raises 42501 unless the caller may change the company''s settings.';

CREATE FUNCTION aurora.owner_for(company_id int, owner text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own text;
BEGIN
    SELECT w.owner INTO own FROM aurora.whoami() w WHERE w.company_id = owner_for.company_id;
    IF owner IS NULL AND own IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'whose item it is is not clear: the caller is no principal of this company',
            HINT = 'Name the owner, or add the caller with aurora.add_principal().';
    ELSIF owner IS NULL OR owner = own THEN
        RETURN own;
    ELSIF NOT aurora.may_see(company_id, owner) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for owner "%s"', owner),
            HINT = 'Managers see all owners of their company; others see their own.';
    ELSIF NOT EXISTS (SELECT FROM aurora.principal p
                      WHERE p.company_id = owner_for.company_id AND p.owner = owner_for.owner) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no owner "%s" in this company', owner),
            HINT = 'Owners: ' || (SELECT string_agg(quote_literal(o.owner), ', ' ORDER BY o.owner)
                                  FROM (SELECT p.owner FROM aurora.principal p
                                        WHERE p.company_id = owner_for.company_id
                                        ORDER BY p.owner LIMIT 20) o) || '.';
    END IF;
    RETURN owner;
END
$$;
COMMENT ON FUNCTION aurora.owner_for(int, text) IS
    'The owner that a call means: the named one if the caller may see it, else the caller. Errors: 42501 another''s owner, 22023 unknown.';

-- ---- administration ----

CREATE FUNCTION aurora.add_company(name text, currency text DEFAULT 'USD', big_threshold numeric DEFAULT 50000,
                                   sla_hours numeric DEFAULT 2, important_points numeric DEFAULT 16,
                                   revenue_unit numeric DEFAULT 1000) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made int;
BEGIN
    PERFORM aurora.require_lead();
    IF NOT aurora.administers_all() THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to add a company',
            HINT = 'Members of aurora_admin may.';
    END IF;
    INSERT INTO aurora.company (name, currency, big_threshold, sla_hours, important_points, revenue_unit)
        VALUES (name, currency, big_threshold, sla_hours, important_points, revenue_unit)
        RETURNING company_id INTO made;
    RETURN made;
END
$$;
COMMENT ON FUNCTION aurora.add_company(text, text, numeric, numeric, numeric, numeric) IS
    'Adds a company and returns its id. Amounts are in its currency (ISO 4217). For administrators.';

CREATE FUNCTION aurora.rebase_rates(company_id int, currency text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before text := (SELECT c.currency FROM aurora.company c WHERE c.company_id = rebase_rates.company_id FOR UPDATE);
    rebase numeric;
BEGIN
    IF currency IS NULL OR currency = before THEN
        RETURN;
    END IF;
    DELETE FROM aurora.currency_rate r
        WHERE r.company_id = rebase_rates.company_id AND r.currency = rebase_rates.currency
        RETURNING r.rate INTO rebase;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('the company has no rate for the currency %s', currency),
            HINT = format('Set what one %s is worth in %s first: SELECT aurora.set_rate(%L, ...).', currency, before,
                          currency);
    END IF;
    UPDATE aurora.currency_rate r SET rate = r.rate / rebase WHERE r.company_id = rebase_rates.company_id;
    INSERT INTO aurora.currency_rate (company_id, currency, rate)
        VALUES (rebase_rates.company_id, before, 1 / rebase);
END
$$;
COMMENT ON FUNCTION aurora.rebase_rates(int, text) IS
    'Turns a company''s rates into rates of another currency, which must have one. set_company() asks this.';

CREATE FUNCTION aurora.set_company(company text DEFAULT NULL, name text DEFAULT NULL, currency text DEFAULT NULL,
                                   big_threshold numeric DEFAULT NULL, sla_hours numeric DEFAULT NULL,
                                   important_points numeric DEFAULT NULL, revenue_unit numeric DEFAULT NULL)
    RETURNS aurora.company
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
    result aurora.company;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    PERFORM aurora.require_manage(id);
    PERFORM aurora.rebase_rates(id, currency);
    UPDATE aurora.company c SET
        name = coalesce(set_company.name, c.name),
        currency = coalesce(set_company.currency, c.currency),
        big_threshold = coalesce(set_company.big_threshold, c.big_threshold),
        sla_hours = coalesce(set_company.sla_hours, c.sla_hours),
        important_points = coalesce(set_company.important_points, c.important_points),
        revenue_unit = coalesce(set_company.revenue_unit, c.revenue_unit)
        WHERE c.company_id = id RETURNING c.* INTO result;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.set_company(text, text, text, numeric, numeric, numeric, numeric) IS
    'Changes a company''s settings; what is left null stays. A new currency needs a rate, by which all rates are converted; thresholds are not. Items move to their new cells in batches, by the worker or by CALL aurora.apply_settings().';

CREATE FUNCTION aurora.add_principal(owner text, company text DEFAULT NULL, login_role name DEFAULT NULL,
                                     trust text DEFAULT NULL, display_name text DEFAULT NULL,
                                     email text DEFAULT NULL) RETURNS aurora.principal
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
    labels text[] := enum_range(NULL::aurora.trust)::text[];
    group_role name;
    result aurora.principal;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    PERFORM aurora.require_manage(id);
    IF trust <> ALL (labels) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no trust level "%s"', trust),
            HINT = 'Trust levels: ' || array_to_string(labels, ', ') || '.';
    END IF;
    IF login_role IS NOT NULL THEN
        IF NOT aurora.administers_all() THEN
            RAISE insufficient_privilege USING
                MESSAGE = 'permission denied to map a login role',
                HINT = 'Members of aurora_admin may; others add principals without a login role.';
        ELSIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login_role) THEN
            RAISE undefined_object USING
                MESSAGE = format('role "%s" does not exist', login_role),
                HINT = format('Create it first: CREATE ROLE %I LOGIN;', login_role);
        END IF;
    END IF;
    INSERT INTO aurora.principal AS p (company_id, owner, login_role, trust, display_name, email)
        VALUES (id, owner, login_role, coalesce(trust, 'member')::aurora.trust, display_name, email)
        ON CONFLICT ON CONSTRAINT principal_pkey DO UPDATE
            SET login_role = coalesce(excluded.login_role, p.login_role), trust = coalesce(add_principal.trust::aurora.trust, p.trust),
                display_name = coalesce(excluded.display_name, p.display_name),
                email = coalesce(excluded.email, p.email)
        RETURNING p.* INTO result;
    group_role := CASE WHEN result.trust = 'agent' THEN 'aurora_agent' ELSE 'aurora_user' END;
    IF login_role IS NOT NULL AND NOT pg_has_role(login_role, group_role, 'MEMBER') THEN
        EXECUTE format('GRANT %I TO %I', group_role, login_role);
    END IF;
    RETURN result;
END
$$;
COMMENT ON FUNCTION aurora.add_principal(text, text, name, text, text, text) IS
    'Adds a principal to a company (trust member unless said otherwise), or changes the one of that name; what is left null stays. A login role given is mapped to it and becomes a member of aurora_user (aurora_agent for agents). For those who may manage the company; mapping a role is for administrators.';

CREATE FUNCTION aurora.set_rate(currency text, rate numeric, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    PERFORM aurora.require_manage(id);
    IF currency = (SELECT c.currency FROM aurora.company c WHERE c.company_id = id) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s is the company''s own currency', currency),
            HINT = 'Its rate is 1. Rates are for other currencies.';
    END IF;
    INSERT INTO aurora.currency_rate AS r (company_id, currency, rate)
        VALUES (id, currency, rate)
        ON CONFLICT ON CONSTRAINT currency_rate_pkey DO UPDATE
            SET rate = excluded.rate, set_at = now();
END
$$;
COMMENT ON FUNCTION aurora.set_rate(text, numeric, text) IS
    'Sets what one unit of a currency (ISO 4217) is worth in the company''s currency.';

CREATE FUNCTION aurora.remove_company(company text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
    left_over text[];
    in_the_way text[];
    name text;
    n bigint;
    removed bigint := 0;
BEGIN
    PERFORM aurora.require_lead();
    IF NOT aurora.administers_all() THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied to remove a company',
            HINT = 'Members of aurora_admin may.';
    END IF;
    SELECT c.company_id INTO id FROM aurora.company c WHERE c.name = company FOR UPDATE;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING MESSAGE = format('there is no company "%s"', company);
    END IF;
    left_over := ARRAY(
        SELECT c.relname FROM pg_class c
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'aurora'
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'company_id'
        WHERE c.relkind = 'r' AND c.relname NOT LIKE 'secret_audit%' ORDER BY c.relname);
    -- Tables that others refer to come when those are empty.
    WHILE cardinality(left_over) > 0 LOOP
        in_the_way := '{}';
        FOREACH name IN ARRAY left_over LOOP
            BEGIN
                EXECUTE format('DELETE FROM aurora.%I WHERE company_id = $1', name) USING id;
                GET DIAGNOSTICS n = ROW_COUNT;
                removed := removed + n;
            EXCEPTION WHEN foreign_key_violation THEN
                in_the_way := in_the_way || name;
            END;
        END LOOP;
        IF cardinality(in_the_way) = cardinality(left_over) THEN
            RAISE foreign_key_violation USING
                MESSAGE = format('company "%s" cannot be removed', company),
                DETAIL = format('Something refers to its rows in: %s.', array_to_string(in_the_way, ', '));
        END IF;
        left_over := in_the_way;
    END LOOP;
    RETURN removed;
END
$$;
COMMENT ON FUNCTION aurora.remove_company(text) IS
    'Removes a company with all that is its own: principals, items, settings, secrets with their keys. The audit of its secrets stays. Returns the number of rows. Older backups still have them. For administrators. Errors: 22023 no such company, 42501.';

-- ---- what each role sees ----

ALTER TABLE aurora.company ENABLE ROW LEVEL SECURITY;
ALTER TABLE aurora.principal ENABLE ROW LEVEL SECURITY;
ALTER TABLE aurora.currency_rate ENABLE ROW LEVEL SECURITY;
CREATE POLICY company_member ON aurora.company USING (aurora.is_member(company_id));
COMMENT ON POLICY company_member ON aurora.company IS 'A caller sees the companies that it belongs to.';
CREATE POLICY principal_member ON aurora.principal USING (aurora.is_member(company_id));
COMMENT ON POLICY principal_member ON aurora.principal IS 'A caller sees the principals of its companies.';
CREATE POLICY currency_rate_member ON aurora.currency_rate USING (aurora.is_member(company_id));
COMMENT ON POLICY currency_rate_member ON aurora.currency_rate IS 'A caller sees the rates of its companies.';

REVOKE ALL ON ALL ROUTINES IN SCHEMA aurora FROM PUBLIC;
GRANT SELECT ON aurora.company, aurora.principal, aurora.currency_rate
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.whoami, aurora.current_owner, aurora.current_company_id, aurora.may_see,
    aurora.may_manage, aurora.is_member, aurora.administers_all, aurora.caller, aurora.company_ids, aurora.company_for, aurora.owner_for, aurora.require_manage,
    aurora.caller_has, aurora.is_assuming, aurora.assumed_node, aurora.assumed_key
    TO aurora_admin, aurora_operator, aurora_user, aurora_agent, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.assume TO aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.set_company, aurora.add_principal, aurora.set_rate
    TO aurora_admin, aurora_user, aurora_gateway;
GRANT EXECUTE ON FUNCTION aurora.add_company, aurora.remove_company TO aurora_admin;
