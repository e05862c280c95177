-- The surface: what C computes, the functions that ask it, and views on items.

-- ---- what C gives ----

CREATE FUNCTION aurora.builtin_kinds(OUT kind text, OUT kind_no smallint, OUT half_life interval,
                                     OUT stall_limit interval, OUT default_deadline interval,
                                     OUT kind_offset double precision) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_builtin_kinds';
COMMENT ON FUNCTION aurora.builtin_kinds() IS 'The kinds that every company has, with their defaults.';

CREATE FUNCTION aurora.builtin_weights(OUT name text, OUT value double precision, OUT min_value double precision,
                                       OUT max_value double precision, OUT multiplies text) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_builtin_weights';
COMMENT ON FUNCTION aurora.builtin_weights() IS 'The weights with their defaults and ranges, in points.';

CREATE FUNCTION aurora.place_item() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_place_item';
COMMENT ON FUNCTION aurora.place_item() IS 'Trigger: sets an item''s cell and act_by. Errors: 22023 unknown kind, or a currency without a rate.';

CREATE FUNCTION aurora.item_is_misplaced(item aurora.item) RETURNS boolean
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'aurora_item_is_misplaced';
COMMENT ON FUNCTION aurora.item_is_misplaced(aurora.item) IS 'Would present settings give the item another cell or act_by.';

CREATE FUNCTION aurora.wait_for_item_writers() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'aurora_wait_for_item_writers';
COMMENT ON FUNCTION aurora.wait_for_item_writers() IS 'Returns when all transactions that were writing items have ended; new ones are not held up.';

CREATE FUNCTION aurora.cell_features(cell int, OUT kind_no int, OUT revenue_level int, OUT big boolean,
                                     OUT vip boolean, OUT severe boolean, OUT risk int, OUT boost int,
                                     OUT slot int) RETURNS record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'aurora_cell_features';
COMMENT ON FUNCTION aurora.cell_features(int) IS 'What a cell packs.';

CREATE FUNCTION aurora.item_score(company_id int, owner text, cell int, act_by timestamptz, at timestamptz,
                                  OUT lane int, OUT score numeric, OUT static_points numeric,
                                  OUT urgency double precision, OUT important boolean, OUT urgent boolean,
                                  OUT quadrant aurora.item_quadrant) RETURNS record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_item_score';
COMMENT ON FUNCTION aurora.item_score(int, text, int, timestamptz, timestamptz) IS
    'Lane, score and quadrant of an item at a time, by its owner''s weights, from the columns of aurora.item.';

CREATE FUNCTION aurora.explain_features(company_id int, owner text, cell int, act_by timestamptz, at timestamptz,
                                        OUT feature text, OUT value text, OUT points numeric, OUT formula text)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'aurora_explain_features';
COMMENT ON FUNCTION aurora.explain_features(int, text, int, timestamptz, timestamptz) IS
    'The score of a cell at a time, a row for each feature; explain() asks this for an item.';

CREATE TRIGGER place_item BEFORE INSERT OR UPDATE ON aurora.item
    FOR EACH ROW EXECUTE FUNCTION aurora.place_item();
COMMENT ON TRIGGER place_item ON aurora.item IS 'Keeps cell, act_by and placed_at.';

CREATE FUNCTION aurora.note_item() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'aurora_note_item';
COMMENT ON FUNCTION aurora.note_item() IS 'Trigger: tells the topic items/OWNER that the item has changed, by its id.';
CREATE TRIGGER note_item AFTER INSERT OR UPDATE OR DELETE ON aurora.item
    FOR EACH ROW EXECUTE FUNCTION aurora.note_item();
COMMENT ON TRIGGER note_item ON aurora.item IS 'Publishes which items changed.';

-- ---- the surface ----

CREATE FUNCTION aurora.surface(top_n int DEFAULT 10, owner text DEFAULT NULL, at timestamptz DEFAULT now(),
                               OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                               OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                               OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                               OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_surface';
COMMENT ON FUNCTION aurora.surface(int, text, timestamptz) IS
    'The items that matter now: the first top_n (1 to 1,000) of level human, best of each group, by lane, score, act_by and id. owner null is the caller, over all of its companies; owners of the same name in several companies are taken as one. lane0_left_out counts lane 0 rows beyond top_n, up to 100. Errors: 22023 bad top_n or unknown owner, 42501 another''s owner.';

CREATE FUNCTION aurora.agenda(level text, top_n int DEFAULT 10, owner text DEFAULT NULL, at timestamptz DEFAULT now(),
                              OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                              OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                              OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                              OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_agenda';
COMMENT ON FUNCTION aurora.agenda(text, int, text, timestamptz) IS
    'Like surface(), for the items of a level: human, agent or self.';

CREATE FUNCTION aurora.quadrant(quadrant_name text, top_n int DEFAULT 10, owner text DEFAULT NULL,
                                at timestamptz DEFAULT now(),
                                OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                                OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                                OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                                OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_quadrant';
COMMENT ON FUNCTION aurora.quadrant(text, int, text, timestamptz) IS
    'Like surface(), for the items of a quadrant: Q1_DO_NOW, Q2_SCHEDULE, Q3_DELEGATE or Q4_ELIMINATE.';

CREATE FUNCTION aurora.company_surface(top_n int DEFAULT 10, company text DEFAULT NULL, at timestamptz DEFAULT now(),
                                       OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                                       OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                                       OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                                       OUT lane int, OUT lane0_left_out int, OUT owner text) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_company_surface';
COMMENT ON FUNCTION aurora.company_surface(int, text, timestamptz) IS
    'Like surface(), over all owners of a company, by the company''s own weights. For managers. Errors: 42501 for others.';

CREATE FUNCTION aurora.owner_surface(company_id int, owner text, top_n int DEFAULT 10, at timestamptz DEFAULT now(),
                                     OUT rank int, OUT item_id bigint, OUT kind text, OUT title text,
                                     OUT quadrant aurora.item_quadrant, OUT score numeric, OUT amount numeric,
                                     OUT currency text, OUT act_by timestamptz, OUT slack interval, OUT why text,
                                     OUT lane int, OUT lane0_left_out int) RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'aurora_owner_surface';
COMMENT ON FUNCTION aurora.owner_surface(int, text, int, timestamptz) IS
    'Like surface(), for one owner in one company alone. Errors: 42501 another''s owner, 22023 unknown.';

-- ---- reading items ----

CREATE VIEW aurora.items WITH (security_invoker = true) AS
    SELECT i.*, s.lane, s.score, s.static_points, s.urgency, s.important, s.urgent, s.quadrant
    FROM aurora.item i CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, now()) s;
COMMENT ON VIEW aurora.items IS 'All items that the caller may see, with their score now by their owner''s weights.';
DO $$
DECLARE
    c record;
BEGIN
    FOR c IN SELECT a.attname, d.description FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_description d ON d.objoid = a.attrelid AND d.objsubid = a.attnum
             WHERE a.attrelid = 'aurora.item'::regclass AND a.attnum > 0 LOOP
        EXECUTE format('COMMENT ON COLUMN aurora.items.%I IS %L', c.attname, c.description);
    END LOOP;
END
$$;
COMMENT ON COLUMN aurora.items.lane IS '0 for what must not be missed, else 1.';
COMMENT ON COLUMN aurora.items.score IS 'Points now.';
COMMENT ON COLUMN aurora.items.static_points IS 'Points without urgency.';
COMMENT ON COLUMN aurora.items.urgency IS 'Urgency now, 0 to 1.';
COMMENT ON COLUMN aurora.items.important IS 'Is it important: big, VIP, or static points at or over the threshold.';
COMMENT ON COLUMN aurora.items.urgent IS 'Is it urgent now: slack of one half-life or less.';
COMMENT ON COLUMN aurora.items.quadrant IS 'The quadrant now.';

CREATE FUNCTION aurora.explain(item_id bigint, at timestamptz DEFAULT now(), OUT feature text, OUT value text,
                               OUT points numeric, OUT formula text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE ROWS 6 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i aurora.item;
BEGIN
    SELECT it.* INTO i FROM aurora.item it
        WHERE it.company_id = ANY (aurora.company_ids()) AND it.item_id = explain.item_id
          AND aurora.may_see(it.company_id, it.owner);
    IF NOT FOUND THEN
        RAISE no_data_found USING
            MESSAGE = format('there is no item %s that the caller may see', item_id),
            HINT = 'aurora.items lists them.';
    END IF;
    RETURN QUERY SELECT f.feature, f.value, f.points, f.formula
        FROM aurora.explain_features(i.company_id, i.owner, i.cell, i.act_by, at) f;
END
$$;
COMMENT ON FUNCTION aurora.explain(bigint, timestamptz) IS
    'Why an item has its score: a row for each feature with value, points and formula; the points add up to the score. Errors: P0002 no such item.';

CREATE FUNCTION aurora.company_amount(company_id int, amount numeric, currency text) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT $2 * CASE WHEN c.currency = $3 THEN 1
                     ELSE (SELECT r.rate FROM aurora.currency_rate r WHERE r.company_id = $1 AND r.currency = $3) END
    FROM aurora.company c WHERE c.company_id = $1
$$;
COMMENT ON FUNCTION aurora.company_amount(int, numeric, text) IS 'An amount in the company''s currency; null without a rate.';

CREATE FUNCTION aurora.priority_stats(OUT company text, OUT metric text, OUT level aurora.item_level,
                                      OUT quadrant aurora.item_quadrant, OUT value numeric, OUT unit text)
    RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH scored AS (
        SELECT i.company_id, i.level, s.quadrant, i.act_by < now() AS overdue
        FROM aurora.item i CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, now()) s
        WHERE i.state = 'open'
    ), grid AS (
        SELECT c.company_id, l AS level, q AS quadrant
        FROM aurora.company c, unnest(enum_range(NULL::aurora.item_level)) l,
             unnest(enum_range(NULL::aurora.item_quadrant)) q
    ), phases AS (
        SELECT p.company_id,
               count(*) AS entered,
               count(*) FILTER (WHERE i.state = 'archived' AND i.state_at <= p.since + interval '72 hours') AS archived
        FROM aurora.item_phase p JOIN aurora.item i USING (company_id, item_id)
        WHERE p.quadrant = 'Q4_ELIMINATE' AND i.level = 'human' AND p.since > now() - interval '33 days'
          AND (p.since <= now() - interval '72 hours' OR i.state = 'archived')
        GROUP BY p.company_id
    ), archive AS (
        SELECT h.company_id, count(*) FILTER (WHERE h.action = 'archive') AS archived,
               count(*) FILTER (WHERE h.action = 'restore' AND h."from" ->> 'state' = 'archived') AS restored
        FROM aurora.item_history h WHERE h.acted_at > now() - interval '14 days' GROUP BY h.company_id
    ), surfaced AS (
        SELECT c.company_id, sum(aurora.company_amount(c.company_id, t.amount, t.currency)) AS amount
        FROM aurora.company c
        JOIN aurora.principal p ON p.company_id = c.company_id AND aurora.may_see(p.company_id, p.owner)
        CROSS JOIN LATERAL aurora.owner_surface(p.company_id, p.owner) s
        JOIN aurora.item t ON t.company_id = c.company_id AND t.item_id = s.item_id
        GROUP BY c.company_id
    ), influenced AS (
        SELECT i.company_id, sum(aurora.company_amount(i.company_id, i.amount, i.currency)) AS amount
        FROM aurora.item i JOIN aurora.item_surfaced f USING (company_id, item_id)
        WHERE i.outcome = 'won' AND f.first_at <= i.state_at
        GROUP BY i.company_id
    )
    SELECT c.name, m.metric, m.level, m.quadrant, m.value, m.unit
    FROM aurora.company c CROSS JOIN LATERAL (
        SELECT 1 AS place, 'open' AS metric, g.level, g.quadrant, count(s.company_id)::numeric AS value, 'items' AS unit
        FROM grid g LEFT JOIN scored s ON s.company_id = g.company_id AND s.level = g.level AND s.quadrant = g.quadrant
        WHERE g.company_id = c.company_id GROUP BY g.level, g.quadrant
        UNION ALL
        SELECT 2, 'overdue', l, NULL, count(s.company_id), 'items'
        FROM unnest(enum_range(NULL::aurora.item_level)) l
        LEFT JOIN scored s ON s.company_id = c.company_id AND s.level = l AND s.overdue GROUP BY l
        UNION ALL
        SELECT 3, 'archived_within_72h', NULL, 'Q4_ELIMINATE',
               (SELECT round(100.0 * p.archived / nullif(p.entered, 0), 1) FROM phases p WHERE p.company_id = c.company_id),
               'percent of those that entered'
        UNION ALL
        SELECT 4, 'archived', NULL, NULL,
               coalesce((SELECT a.archived FROM archive a WHERE a.company_id = c.company_id), 0), 'items in 14 days'
        UNION ALL
        SELECT 5, 'restored', NULL, NULL,
               coalesce((SELECT a.restored FROM archive a WHERE a.company_id = c.company_id), 0), 'items in 14 days'
        UNION ALL
        SELECT 6, 'revenue_in_surface', NULL, NULL,
               coalesce((SELECT s.amount FROM surfaced s WHERE s.company_id = c.company_id), 0), c.currency
        UNION ALL
        SELECT 7, 'revenue_influenced', NULL, NULL,
               coalesce((SELECT f.amount FROM influenced f WHERE f.company_id = c.company_id), 0), c.currency
    ) m
    ORDER BY c.name, m.place, m.level, m.quadrant
$$;
COMMENT ON FUNCTION aurora.priority_stats() IS
    'Numbers about the items that the caller may see, a row each: open items by level and quadrant, overdue by level, Q4 archived within 72 hours (percent, last 30 days), archived and restored (last 14 days), amounts on the surfaces now, and the amount of won deals that had been on a surface before.';
