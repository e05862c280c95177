-- What the loaders share. A loader fills the temporary table incoming with what its source knew at
-- the moment "now" and calls pg_temp.put_items(), after which the company's items of that source
-- are equal to it: new ones added, changed ones changed, those not known yet removed.
\set ON_ERROR_STOP on
\if :{?data}
\else
    \getenv data AURORA_DATA
\endif
SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE TEMPORARY TABLE incoming (
    external_id text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    received_at timestamptz NOT NULL,
    state aurora.item_state NOT NULL DEFAULT 'open',
    state_at timestamptz,
    outcome aurora.item_outcome,
    amount numeric,
    sender text,
    group_key text,
    severity int,
    risk int NOT NULL DEFAULT 0,
    url text,
    details jsonb NOT NULL DEFAULT '{}'
) ON COMMIT DROP;

-- Adds a company unless it is there, and says whether it did: a person's later settings stay.
CREATE FUNCTION pg_temp.make_company(name text, big_threshold numeric DEFAULT 50000) RETURNS boolean
    LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM aurora.company c WHERE c.name = make_company.name) THEN
        RETURN false;
    END IF;
    PERFORM aurora.add_company(name, big_threshold => big_threshold);
    RETURN true;
END
$$;

CREATE FUNCTION pg_temp.make_owner(owner text, company text, trust text DEFAULT 'member', email text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM aurora.principal p JOIN aurora.company c USING (company_id)
                   WHERE c.name = make_owner.company AND p.owner = make_owner.owner) THEN
        PERFORM aurora.add_principal(owner, company, trust => trust, email => email);
    END IF;
END
$$;

CREATE FUNCTION pg_temp.put_items(company text, from_provider text) RETURNS text
    LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    id int := (SELECT c.company_id FROM aurora.company c WHERE c.name = company);
    counts text;
BEGIN
    ANALYZE incoming;
    DELETE FROM aurora.item i
        WHERE i.company_id = id AND i.provider = from_provider
          AND NOT EXISTS (SELECT FROM incoming n WHERE n.external_id = i.external_id);
    -- Oldest first: of equals, the surface shows the one with the smaller id.
    INSERT INTO aurora.item AS i (company_id, provider, external_id, owner, kind, title, received_at, state, state_at,
                                  outcome, amount, sender, group_key, severity, risk, url, details)
        SELECT id, from_provider, n.external_id, n.owner, n.kind, left(n.title, 1000), n.received_at, n.state,
               coalesce(n.state_at, n.received_at), n.outcome, n.amount, n.sender, n.group_key, n.severity, n.risk,
               n.url, n.details
        FROM incoming n ORDER BY n.received_at, n.external_id
        ON CONFLICT (company_id, provider, external_id) WHERE external_id IS NOT NULL DO UPDATE SET
            owner = excluded.owner, kind = excluded.kind, title = excluded.title, received_at = excluded.received_at,
            state = excluded.state, state_at = excluded.state_at, outcome = excluded.outcome, amount = excluded.amount,
            sender = excluded.sender, vip = excluded.vip, group_key = excluded.group_key, severity = excluded.severity,
            risk = excluded.risk, url = excluded.url, details = excluded.details
            WHERE (i.owner, i.kind, i.title, i.received_at, i.state, i.state_at, i.outcome, i.amount, i.sender, i.vip,
                   i.group_key, i.severity, i.risk, i.url, i.details)
                  IS DISTINCT FROM
                  (excluded.owner, excluded.kind, excluded.title, excluded.received_at, excluded.state,
                   excluded.state_at, excluded.outcome, excluded.amount, excluded.sender, excluded.vip,
                   excluded.group_key, excluded.severity, excluded.risk, excluded.url, excluded.details);
    SELECT format('%s: %s items, %s open', company, count(*), count(*) FILTER (WHERE i.state = 'open')) INTO counts
        FROM aurora.item i WHERE i.company_id = id AND i.provider = from_provider;
    RETURN counts;
END
$$;
