-- Webhooks: what others send is kept as it came, to be verified and read later.

CREATE TABLE aurora.webhook_provider (
    provider text COLLATE "C" PRIMARY KEY,
    company_id int REFERENCES aurora.company,
    unverified bigint NOT NULL DEFAULT 0,
    received bigint NOT NULL DEFAULT 0,
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    added_by text NOT NULL,
    CONSTRAINT webhook_provider_provider_check CHECK (provider ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT webhook_provider_counts_check CHECK (unverified >= 0 AND received >= 0)
) WITH (fillfactor = 50, vacuum_truncate = off);
COMMENT ON TABLE aurora.webhook_provider IS 'Who may send webhooks. Change it with add_webhook() and remove_webhook().';
COMMENT ON COLUMN aurora.webhook_provider.provider IS 'Name of the provider, a DNS label; the last part of the path to which it sends.';
COMMENT ON COLUMN aurora.webhook_provider.company_id IS 'The company that it sends for; null for all.';
COMMENT ON COLUMN aurora.webhook_provider.unverified IS 'What it has sent that nobody has verified yet.';
COMMENT ON COLUMN aurora.webhook_provider.received IS 'All that it has ever sent.';
COMMENT ON COLUMN aurora.webhook_provider.added_at IS 'When it was added.';
COMMENT ON COLUMN aurora.webhook_provider.added_by IS 'Who added it.';

CREATE SEQUENCE aurora.webhook_webhook_id_seq;
COMMENT ON SEQUENCE aurora.webhook_webhook_id_seq IS 'Numbers the webhooks.';

CREATE TABLE aurora.webhook (
    webhook_id bigint PRIMARY KEY DEFAULT nextval('aurora.webhook_webhook_id_seq'),
    provider text COLLATE "C" NOT NULL REFERENCES aurora.webhook_provider ON UPDATE CASCADE ON DELETE CASCADE,
    company_id int REFERENCES aurora.company,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    remote inet,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    verified_at timestamptz,
    is_genuine boolean,
    CONSTRAINT webhook_verified_check CHECK ((verified_at IS NULL) = (is_genuine IS NULL))
) WITH (vacuum_truncate = off);
ALTER SEQUENCE aurora.webhook_webhook_id_seq OWNED BY aurora.webhook.webhook_id;
CREATE INDEX webhook_unverified ON aurora.webhook (provider, webhook_id) WHERE verified_at IS NULL;
COMMENT ON INDEX aurora.webhook_unverified IS 'What is to be verified, in the order in which it came.';
CREATE INDEX webhook_received ON aurora.webhook (received_at);
COMMENT ON INDEX aurora.webhook_received IS 'What is to be forgotten first.';
COMMENT ON TABLE aurora.webhook IS 'What providers have sent, byte by byte, since a signature is over bytes. aurora.webhooks shows it.';
COMMENT ON COLUMN aurora.webhook.webhook_id IS 'Number of the webhook.';
COMMENT ON COLUMN aurora.webhook.provider IS 'Who was named as its sender.';
COMMENT ON COLUMN aurora.webhook.company_id IS 'The company of the provider then; null for all.';
COMMENT ON COLUMN aurora.webhook.received_at IS 'When it came.';
COMMENT ON COLUMN aurora.webhook.remote IS 'From where it came.';
COMMENT ON COLUMN aurora.webhook.headers IS 'The headers of the request, by lower-case name.';
COMMENT ON COLUMN aurora.webhook.body IS 'The body of the request.';
COMMENT ON COLUMN aurora.webhook.verified_at IS 'When its signature was looked at; null for not yet.';
COMMENT ON COLUMN aurora.webhook.is_genuine IS 'Was the signature good.';

SELECT pg_catalog.pg_extension_config_dump('aurora.webhook_provider', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.webhook_webhook_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('aurora.webhook', '');

-- ---- providers ----

CREATE FUNCTION aurora.may_administer_webhook(of_company int) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN of_company IS NULL THEN aurora.administers_all() ELSE aurora.may_manage(of_company) END
$$;
COMMENT ON FUNCTION aurora.may_administer_webhook(int) IS 'May the caller see and change webhooks of a company: who manages it; of none: administrators.';

CREATE FUNCTION aurora.require_administer_webhook(of_company int) RETURNS void
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT aurora.may_administer_webhook(of_company) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'permission denied for webhooks', HINT = 'Who manages the company may; administrators may for all.';
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.require_administer_webhook(int) IS 'Raises 42501 unless the caller may change webhooks of the company.';

CREATE FUNCTION aurora.add_webhook(provider text, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_company int;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_label(provider);
    IF company IS NOT NULL OR NOT aurora.administers_all() THEN
        of_company := aurora.company_for(company);
    END IF;
    PERFORM aurora.require_administer_webhook(of_company);
    IF EXISTS (SELECT FROM aurora.webhook_provider p WHERE p.provider = add_webhook.provider AND p.company_id IS DISTINCT FROM of_company) THEN
        RAISE unique_violation USING
            MESSAGE = format('provider "%s" sends for another company', provider),
            HINT = 'Choose another name, such as one with the company in it.';
    END IF;
    INSERT INTO aurora.webhook_provider (provider, company_id, added_by) VALUES (provider, of_company, aurora.key_actor())
        ON CONFLICT ON CONSTRAINT webhook_provider_pkey DO NOTHING;
END
$$;
COMMENT ON FUNCTION aurora.add_webhook(text, text) IS
    'Lets a provider send webhooks, to the path that ends with its name, a DNS label. company: for which it sends, the caller''s own when left out; an administrator''s is for all then. Again changes nothing. For who manages the company, and administrators. Errors: 22023, 23505 the name is another company''s, 42501, 25006 on a standby.';

CREATE FUNCTION aurora.remove_webhook(provider text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.webhook_provider;
BEGIN
    PERFORM aurora.require_lead();
    SELECT p.* INTO target FROM aurora.webhook_provider p WHERE p.provider = remove_webhook.provider FOR UPDATE;
    IF NOT FOUND OR NOT aurora.may_administer_webhook(target.company_id) THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no provider "%s" of webhooks', provider), HINT = 'aurora.webhook_provider has those there are.';
    END IF;
    DELETE FROM aurora.webhook_provider p WHERE p.provider = target.provider;
END
$$;
COMMENT ON FUNCTION aurora.remove_webhook(text) IS
    'Takes no more from a provider, and forgets what it has sent. Errors: 42704 no provider that the caller may change, 25006 on a standby.';

-- ---- taking ----

CREATE FUNCTION aurora.store_webhook(provider text, headers jsonb, body bytea, remote inet) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bound bigint;
    sender aurora.webhook_provider;
    stored bigint;
BEGIN
    PERFORM aurora.require_lead();
    PERFORM aurora.require_gateway();
    bound := current_setting('aurora.webhook_backlog')::bigint;
    IF headers IS NULL OR jsonb_typeof(headers) <> 'object' OR body IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'a webhook has a body and headers, which are an object', HINT = 'A body of nothing is an empty one.';
    ELSIF length(body) > 1048576 OR pg_column_size(headers) > 65536 THEN
        RAISE program_limit_exceeded USING
            MESSAGE = 'the webhook is too large', HINT = 'A body has up to 1 MiB, and the headers up to 64 KiB.';
    END IF;
    -- The provider's row is locked, so that the bound holds for those that come at once, too.
    UPDATE aurora.webhook_provider p SET unverified = p.unverified + 1, received = p.received + 1
        WHERE p.provider = store_webhook.provider AND p.unverified < bound RETURNING p.* INTO sender;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM aurora.webhook_provider p WHERE p.provider = store_webhook.provider) THEN
            RAISE configuration_limit_exceeded USING
                MESSAGE = format('%s webhooks of provider "%s" are not verified yet', bound, provider),
                HINT = 'Verify them, or raise aurora.webhook_backlog.';
        END IF;
        RAISE undefined_object USING
            MESSAGE = format('there is no provider "%s" of webhooks', left(provider, 63)), HINT = 'aurora.add_webhook() adds one.';
    END IF;
    INSERT INTO aurora.webhook (provider, company_id, remote, headers, body)
        VALUES (sender.provider, sender.company_id, remote, headers, body) RETURNING webhook_id INTO stored;
    RETURN stored;
END
$$;
COMMENT ON FUNCTION aurora.store_webhook(text, jsonb, bytea, inet) IS
    'Keeps what a provider has sent, as it came, and returns its number. headers: an object, by lower-case name. body: up to 1 MiB. remote: from where. For members of aurora_gateway. Errors: 42704 no such provider; 53400 too much of it is not verified yet (aurora.webhook_backlog); 54000 too large; 22023; 42501; 25006 on a standby.';

CREATE FUNCTION aurora.verify_webhook(webhook_id bigint, is_genuine boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target aurora.webhook;
BEGIN
    PERFORM aurora.require_lead();
    -- The provider first, as where one is stored: who locks in one order never waits in a circle.
    SELECT w.* INTO target FROM aurora.webhook w WHERE w.webhook_id = verify_webhook.webhook_id;
    IF NOT FOUND OR NOT aurora.may_administer_webhook(target.company_id) THEN
        RAISE undefined_object USING
            MESSAGE = format('there is no webhook %s', webhook_id), HINT = 'aurora.webhooks shows those that the caller may see.';
    ELSIF is_genuine IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'a webhook is genuine or it is not';
    END IF;
    PERFORM FROM aurora.webhook_provider p WHERE p.provider = target.provider FOR UPDATE;
    UPDATE aurora.webhook w SET verified_at = clock_timestamp(), is_genuine = verify_webhook.is_genuine
        WHERE w.webhook_id = target.webhook_id AND w.verified_at IS NULL;
    IF FOUND THEN
        UPDATE aurora.webhook_provider p SET unverified = p.unverified - 1 WHERE p.provider = target.provider AND p.unverified > 0;
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.verify_webhook(bigint, boolean) IS
    'Notes whether a webhook''s signature was good; the first verdict stays. For who manages the company, and administrators. Errors: 42704 no webhook that the caller may see, 22004, 25006 on a standby.';

CREATE VIEW aurora.webhooks WITH (security_invoker = true) AS
    SELECT w.webhook_id, w.provider, c.name AS company, w.received_at, w.remote, w.headers, w.body, w.verified_at, w.is_genuine
    FROM aurora.webhook w LEFT JOIN aurora.company c USING (company_id);
COMMENT ON VIEW aurora.webhooks IS 'What providers have sent, of the companies that the caller manages.';
COMMENT ON COLUMN aurora.webhooks.webhook_id IS 'Number of the webhook.';
COMMENT ON COLUMN aurora.webhooks.provider IS 'Who was named as its sender.';
COMMENT ON COLUMN aurora.webhooks.company IS 'The company that the provider sends for; null for all.';
COMMENT ON COLUMN aurora.webhooks.received_at IS 'When it came.';
COMMENT ON COLUMN aurora.webhooks.remote IS 'From where it came.';
COMMENT ON COLUMN aurora.webhooks.headers IS 'The headers of the request.';
COMMENT ON COLUMN aurora.webhooks.body IS 'The body of the request.';
COMMENT ON COLUMN aurora.webhooks.verified_at IS 'When its signature was looked at; null for not yet.';
COMMENT ON COLUMN aurora.webhooks.is_genuine IS 'Was the signature good.';

CREATE FUNCTION aurora.trim_webhooks() RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    keep interval;
    name text;
    trimmed bigint := 0;
    n bigint;
BEGIN
    PERFORM aurora.require_lead();
    keep := current_setting('aurora.webhook_retention')::int * interval '1 day';
    FOR name IN SELECT p.provider FROM aurora.webhook_provider p ORDER BY p.provider LOOP
        PERFORM FROM aurora.webhook_provider p WHERE p.provider = name FOR UPDATE;
        WITH gone AS (DELETE FROM aurora.webhook w WHERE w.provider = name AND w.received_at < clock_timestamp() - keep RETURNING w.verified_at),
             counted AS (SELECT count(*) AS n, count(*) FILTER (WHERE g.verified_at IS NULL) AS unverified FROM gone g),
             less AS (UPDATE aurora.webhook_provider p SET unverified = greatest(p.unverified - c.unverified, 0)
                      FROM counted c WHERE p.provider = name AND c.unverified > 0)
            SELECT c.n INTO n FROM counted c;
        trimmed := trimmed + n;
    END LOOP;
    RETURN trimmed;
END
$$;
COMMENT ON FUNCTION aurora.trim_webhooks() IS 'Forgets webhooks older than aurora.webhook_retention, verified or not, and returns how many. A duty of the lead. Errors: 25006 on a standby.';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['webhook', 'webhook_provider'] LOOP
        EXECUTE format('ALTER TABLE aurora.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY %I ON aurora.%I USING (aurora.may_administer_webhook(company_id))', name || '_managed', name);
        EXECUTE format('COMMENT ON POLICY %I ON aurora.%I IS %L', name || '_managed', name, 'Who manages a company sees its own; administrators see all.');
    END LOOP;
END
$$;
