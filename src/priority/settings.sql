-- What a person sets: kinds and weights.

-- ---- kinds and weights ----

CREATE VIEW aurora.kinds WITH (security_invoker = true) AS
    SELECT c.name AS company, k.kind, coalesce(o.base, k.kind) AS base,
           coalesce(o.half_life, k.half_life) AS half_life,
           coalesce(o.stall_limit, k.stall_limit) AS stall_limit,
           coalesce(o.default_deadline, k.default_deadline) AS default_deadline,
           coalesce(o.kind_offset, k.kind_offset) AS kind_offset,
           CASE WHEN o.kind IS NULL THEN 'built-in' ELSE 'changed' END AS source,
           c.company_id, k.kind_no
    FROM aurora.company c CROSS JOIN aurora.builtin_kinds() k
    LEFT JOIN aurora.company_kind o ON o.company_id = c.company_id AND o.kind = k.kind
    UNION ALL
    SELECT c.name, o.kind, o.base, coalesce(o.half_life, k.half_life), coalesce(o.stall_limit, k.stall_limit),
           coalesce(o.default_deadline, k.default_deadline), coalesce(o.kind_offset, k.kind_offset), 'added',
           c.company_id, o.kind_no
    FROM aurora.company c JOIN aurora.company_kind o USING (company_id)
    JOIN aurora.builtin_kinds() k ON k.kind = o.base
    WHERE o.kind <> ALL (SELECT b.kind FROM aurora.builtin_kinds() b);
COMMENT ON VIEW aurora.kinds IS 'The kinds in effect in each company: built-in, changed and added. Deadlines of 0 are none.';
COMMENT ON COLUMN aurora.kinds.company IS 'The company.';
COMMENT ON COLUMN aurora.kinds.kind IS 'Name of the kind.';
COMMENT ON COLUMN aurora.kinds.base IS 'The built-in kind that it behaves like.';
COMMENT ON COLUMN aurora.kinds.half_life IS 'Slack over which urgency halves.';
COMMENT ON COLUMN aurora.kinds.stall_limit IS 'Silence after which it must be acted on.';
COMMENT ON COLUMN aurora.kinds.default_deadline IS 'Time after receipt by which it must be acted on when no due time is given.';
COMMENT ON COLUMN aurora.kinds.kind_offset IS 'Points that every item of the kind gets.';
COMMENT ON COLUMN aurora.kinds.source IS 'built-in, changed or added.';
COMMENT ON COLUMN aurora.kinds.company_id IS 'The company''s id.';
COMMENT ON COLUMN aurora.kinds.kind_no IS 'The kind''s number in cells.';

CREATE FUNCTION aurora.set_kind(kind text, base text DEFAULT NULL, half_life interval DEFAULT NULL,
                                stall_limit interval DEFAULT NULL, default_deadline interval DEFAULT NULL,
                                kind_offset double precision DEFAULT NULL, company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id int;
    number int;
    builtin boolean;
BEGIN
    PERFORM aurora.require_lead();
    id := aurora.company_for(company);
    PERFORM aurora.require_manage(id);
    LOCK TABLE aurora.company_kind IN SHARE ROW EXCLUSIVE MODE;
    SELECT b.kind_no INTO number FROM aurora.builtin_kinds() b WHERE b.kind = set_kind.kind;
    builtin := FOUND;
    IF base IS NOT NULL AND base NOT IN (SELECT b.kind FROM aurora.builtin_kinds() b)
       OR builtin AND base <> kind THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('kind "%s" cannot behave like "%s"', kind, base),
            HINT = CASE WHEN builtin THEN 'A built-in kind is its own base.' ELSE
                'It can behave like ' || (SELECT string_agg(b.kind, ', ') FROM aurora.builtin_kinds() b) || '.' END;
    END IF;
    IF NOT builtin THEN
        SELECT coalesce(max(k.kind_no) FILTER (WHERE k.kind = set_kind.kind), greatest(max(k.kind_no), 5) + 1, 6)
            INTO number FROM aurora.company_kind k WHERE k.company_id = id;
        IF number > 63 THEN
            RAISE program_limit_exceeded USING
                MESSAGE = 'this company has as many kinds as it can have',
                HINT = 'A company has at most 58 kinds of its own. Use an existing one.';
        END IF;
    END IF;
    INSERT INTO aurora.company_kind AS k (company_id, kind, kind_no, base, half_life, stall_limit,
                                       default_deadline, kind_offset)
        VALUES (id, kind, number, coalesce(base, CASE WHEN builtin THEN kind ELSE 'task' END), half_life,
                stall_limit, default_deadline, kind_offset)
        ON CONFLICT ON CONSTRAINT company_kind_pkey DO UPDATE
            SET base = coalesce(set_kind.base, k.base),
                half_life = coalesce(excluded.half_life, k.half_life),
                stall_limit = coalesce(excluded.stall_limit, k.stall_limit),
                default_deadline = coalesce(excluded.default_deadline, k.default_deadline),
                kind_offset = coalesce(excluded.kind_offset, k.kind_offset);
END
$$;
COMMENT ON FUNCTION aurora.set_kind(text, text, interval, interval, interval, double precision, text) IS
    'Adds a kind that behaves like a built-in one (task when not given), or changes a kind; what is left null stays. A deadline of 0 is none. Half-life 36 seconds to 365 days, offset -100 to 100 points.';

CREATE FUNCTION aurora.weight_range(company_id int, name text, OUT standard double precision,
                                    OUT min_value double precision, OUT max_value double precision) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT w.value, w.min_value, w.max_value FROM aurora.builtin_weights() w WHERE w.name = $2
    UNION ALL
    SELECT k.kind_offset, -100, 100 FROM aurora.kinds k WHERE k.company_id = $1 AND 'offset.' || k.kind = $2
    UNION ALL
    SELECT extract(epoch FROM k.half_life) / 3600, 0.01, 8760
    FROM aurora.kinds k WHERE k.company_id = $1 AND 'half_life.' || k.kind = $2
$$;
COMMENT ON FUNCTION aurora.weight_range(int, text) IS 'Default and range of a weight; no row when there is no such weight.';

CREATE FUNCTION aurora.put_weight(company_id int, owner text, name text, value double precision) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before double precision;
    actor text := coalesce((SELECT w.owner FROM aurora.whoami() w WHERE w.company_id = put_weight.company_id),
                           aurora.caller()::text);
BEGIN
    SELECT o.value INTO before FROM aurora.weight_override o
        WHERE o.company_id = put_weight.company_id AND o.owner IS NOT DISTINCT FROM put_weight.owner
          AND o.name = put_weight.name FOR UPDATE;
    IF value IS NULL THEN
        DELETE FROM aurora.weight_override o
            WHERE o.company_id = put_weight.company_id AND o.owner IS NOT DISTINCT FROM put_weight.owner
              AND o.name = put_weight.name;
    ELSE
        INSERT INTO aurora.weight_override AS o (company_id, owner, name, value, set_by)
            VALUES (company_id, owner, name, value, actor)
            ON CONFLICT ON CONSTRAINT weight_override_key DO UPDATE
                SET value = excluded.value, set_at = now(), set_by = excluded.set_by;
    END IF;
    INSERT INTO aurora.weight_change (company_id, owner, name, old_value, new_value, changed_by)
        VALUES (company_id, owner, name, before, value, actor);
END
$$;
COMMENT ON FUNCTION aurora.put_weight(int, text, text, double precision) IS
    'Sets or, with null, removes an override and logs it; set_weight() and reset_weights() check first.';

CREATE FUNCTION aurora.weight_scope(company text, owner text, OUT company_id int, OUT scope_owner text) RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM aurora.require_lead();
    company_id := aurora.company_for(company);
    IF owner IS NULL THEN
        PERFORM aurora.require_manage(company_id);
    ELSE
        scope_owner := aurora.owner_for(company_id, owner);
    END IF;
END
$$;
COMMENT ON FUNCTION aurora.weight_scope(text, text) IS
    'For whom a call changes weights, checked: an owner that the caller may see, or with null the company that it may manage.';

CREATE FUNCTION aurora.set_weight(name text, value double precision, owner text DEFAULT NULL,
                                  company text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    scope record;
    allowed record;
BEGIN
    SELECT * INTO scope FROM aurora.weight_scope(company, owner);
    SELECT * INTO allowed FROM aurora.weight_range(scope.company_id, name);
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no weight "%s"', name),
            HINT = 'Weights: ' || (SELECT string_agg(w.name, ', ') FROM aurora.builtin_weights() w)
                   || ', offset.<kind>, half_life.<kind>. Kinds: '
                   || (SELECT string_agg(k.kind, ', ' ORDER BY k.kind_no) FROM aurora.kinds k
                       WHERE k.company_id = scope.company_id) || '.';
    ELSIF value IS NULL OR NOT value BETWEEN allowed.min_value AND allowed.max_value THEN
        RAISE numeric_value_out_of_range USING
            MESSAGE = format('%s is out of range for the weight "%s"', coalesce(value::text, 'null'), name),
            HINT = format('It is from %s to %s; the default is %s.', allowed.min_value, allowed.max_value,
                          allowed.standard);
    END IF;
    PERFORM aurora.put_weight(scope.company_id, scope.scope_owner, name, value);
END
$$;
COMMENT ON FUNCTION aurora.set_weight(text, double precision, text, text) IS
    'Sets a weight for one owner, or with owner null for the whole company; it holds at once, on every replica. Names: revenue, vip, risk, boost, urgency and offset.<kind> in points, half_life.<kind> in hours. Errors: 22023 unknown name, 22003 out of range, 42501.';

CREATE FUNCTION aurora.reset_weights(owner text DEFAULT NULL, company text DEFAULT NULL) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    scope record;
    names text[];
BEGIN
    SELECT * INTO scope FROM aurora.weight_scope(company, owner);
    names := ARRAY(SELECT o.name FROM aurora.weight_override o
                   WHERE o.company_id = scope.company_id AND o.owner IS NOT DISTINCT FROM scope.scope_owner
                   ORDER BY o.name);
    PERFORM aurora.put_weight(scope.company_id, scope.scope_owner, n, NULL) FROM unnest(names) n;
    RETURN cardinality(names);
END
$$;
COMMENT ON FUNCTION aurora.reset_weights(text, text) IS
    'Removes all weights that were set for one owner, or with owner null for the company, and returns how many.';

CREATE VIEW aurora.weights WITH (security_invoker = true) AS
    WITH scope AS (
        SELECT c.company_id, c.name AS company, NULL::text AS owner FROM aurora.company c
        UNION ALL
        SELECT c.company_id, c.name, p.owner FROM aurora.company c JOIN aurora.principal p USING (company_id)
        WHERE aurora.may_see(p.company_id, p.owner)
    ), named AS (
        SELECT s.*, w.name, w.value AS standard, w.min_value, w.max_value
        FROM scope s CROSS JOIN aurora.builtin_weights() w
        UNION ALL
        SELECT s.*, 'offset.' || k.kind, k.kind_offset, -100, 100 FROM scope s JOIN aurora.kinds k USING (company_id)
        UNION ALL
        SELECT s.*, 'half_life.' || k.kind, extract(epoch FROM k.half_life)::float8 / 3600, 0.01, 8760
        FROM scope s JOIN aurora.kinds k USING (company_id)
    )
    SELECT n.company, n.owner, n.name, coalesce(o.value, c.value, n.standard) AS value, n.standard AS default_value,
           CASE WHEN o.value IS NOT NULL THEN 'owner' WHEN c.value IS NOT NULL THEN 'company' ELSE 'default' END AS source,
           n.min_value, n.max_value
    FROM named n
    LEFT JOIN aurora.weight_override c ON c.company_id = n.company_id AND c.owner IS NULL AND c.name = n.name
    LEFT JOIN aurora.weight_override o ON o.company_id = n.company_id AND o.owner = n.owner AND o.name = n.name;
COMMENT ON VIEW aurora.weights IS 'The weights in effect: for each company (owner null) and each owner that the caller may see.';
COMMENT ON COLUMN aurora.weights.company IS 'The company.';
COMMENT ON COLUMN aurora.weights.owner IS 'The owner; null for the company as a whole.';
COMMENT ON COLUMN aurora.weights.name IS 'Name of the weight.';
COMMENT ON COLUMN aurora.weights.value IS 'Value in effect: points, or hours for a half-life.';
COMMENT ON COLUMN aurora.weights.default_value IS 'Value without overrides.';
COMMENT ON COLUMN aurora.weights.source IS 'Where the value comes from: owner, company or default.';
COMMENT ON COLUMN aurora.weights.min_value IS 'Least value allowed.';
COMMENT ON COLUMN aurora.weights.max_value IS 'Greatest value allowed.';
