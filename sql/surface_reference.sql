\set ECHO none
-- The surface against a slow reference: the score of every item in plain SQL from the documented
-- formula, sorted, over items that look random, at many times, weights and owners.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\pset format unaligned
\pset tuples_only
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS aurora;

BEGIN;
SELECT plan(15);

CREATE FUNCTION pg_temp.die(name text, n bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || left(md5(name || n), 8))::bit(32)::bigint / 4294967296.0::double precision
$$;
CREATE FUNCTION pg_temp.pick(name text, n bigint, choices text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT choices[1 + floor(pg_temp.die(name, n) * cardinality(choices))::int]
$$;

-- ---- some two thousand items of seven owners, in two companies ----

SELECT aurora.add_company('Acme', big_threshold => 20000) AS acme,
       aurora.add_company('Euro', currency => 'EUR', sla_hours => 5, important_points => 12, revenue_unit => 250) AS euro \gset
SELECT aurora.set_rate('EUR', 1.25, 'Acme'), aurora.set_rate('USD', 0.8, 'Euro'),
       aurora.set_kind('visit', base => 'meeting', half_life => '6 hours', kind_offset => 7, company => 'Acme'),
       aurora.set_kind('letter', base => 'email', half_life => '1 day', default_deadline => '0', company => 'Euro') \gset ignored_
SELECT count(aurora.add_principal(owner, company)) AS ignored
    FROM (VALUES ('ann', 'Acme'), ('bea', 'Acme'), ('cem', 'Acme'), ('dan', 'Acme'), ('few', 'Acme'), ('one', 'Acme'), ('none', 'Acme'),
                 ('ann', 'Euro'), ('eva', 'Euro')) p (owner, company) \gset
CREATE FUNCTION pg_temp.load(company text, company_id int, owners text[], kinds text[], times text, from_n int, to_n int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO aurora.item (company_id, owner, level, kind, title, amount, currency, win_chance, due_at, received_at, last_activity_at, vip, risk, boost,
                             severity, group_key, snooze_until)
    SELECT company_id, pg_temp.pick('owner', n, owners),
           CASE WHEN pg_temp.die('level', n) < 0.8 THEN 'human' WHEN pg_temp.die('level', n) < 0.95 THEN 'agent' ELSE 'self' END::aurora.item_level,
           pg_temp.pick('kind', n, kinds), times || ' ' || n,
           CASE WHEN pg_temp.die('has amount', n) < 0.6 THEN round((100 * 10 ^ (pg_temp.die('amount', n) * 3.5))::numeric, 2) END,
           CASE WHEN pg_temp.die('has amount', n) < 0.6 AND n % 3 = 0 THEN CASE company WHEN 'Acme' THEN 'EUR' ELSE 'USD' END END,
           CASE WHEN n % 4 = 0 THEN pg_temp.die('chance', n) END,
           CASE times WHEN 'tied' THEN timestamptz '2026-05-01 12:00'
                      WHEN 'far' THEN timestamptz '2027-05-01 12:00' + pg_temp.die('due', n) * interval '300 days'
                      WHEN 'overdue' THEN timestamptz '2025-05-01 12:00' + pg_temp.die('due', n) * interval '300 days'
                      ELSE CASE WHEN n % 3 > 0 THEN timestamptz '2026-05-01' + (pg_temp.die('due', n) - 0.4) * interval '40 days' END END,
           CASE WHEN times IN ('tied', 'far') THEN timestamptz '2026-05-01' ELSE timestamptz '2026-05-01' - pg_temp.die('received', n) ^ 2 * interval '40 days' END,
           CASE WHEN n % 5 = 0 AND times = 'mixed' THEN timestamptz '2026-05-01' - pg_temp.die('activity', n) * interval '12 days' END,
           pg_temp.die('vip', n) < 0.1, greatest(0, floor(pg_temp.die('risk', n) * 10)::int - 6), CASE WHEN n % 4 = 1 THEN floor(pg_temp.die('boost', n) * 5)::int - 2 ELSE 0 END,
           CASE WHEN n % 2 = 0 THEN 1 + floor(pg_temp.die('severity', n) * 5)::int END,
           CASE WHEN n % 3 = 0 THEN 'g' || floor(pg_temp.die('group', n) ^ 3 * 60) WHEN n % 17 = 0 THEN 'crowd' END,
           CASE WHEN n % 10 = 0 THEN timestamptz '2026-05-01' + (pg_temp.die('snooze', n) - 0.5) * interval '10 days' END
    FROM generate_series(from_n, to_n) n
$$;
SELECT pg_temp.load('Acme', :acme, '{ann,ann,bea}', '{deal,email,meeting,task,incident,chore,visit}', 'mixed', 1, 1000),
       pg_temp.load('Acme', :acme, '{cem}', '{deal,task}', 'tied', 1001, 1200), pg_temp.load('Acme', :acme, '{dan}', '{deal,email,task,chore}', 'far', 1201, 1500),
       pg_temp.load('Acme', :acme, '{few}', '{deal,email,task,chore}', 'overdue', 1501, 1540), pg_temp.load('Acme', :acme, '{one}', '{deal}', 'mixed', 1600, 1600),
       pg_temp.load('Euro', :euro, '{ann,eva,eva}', '{deal,email,task,letter,chore}', 'mixed', 1601, 2100) \gset ignored_
UPDATE aurora.item SET snooze_until = NULL, level = 'human' WHERE owner = 'one';
SELECT count(aurora.complete(item_id)) AS ignored FROM aurora.item WHERE item_id % 13 = 0 AND owner <> 'one' \gset
SELECT count(aurora.add_dependency(i.item_id, i.next)) AS ignored
    FROM (SELECT item_id, lead(item_id) OVER (PARTITION BY company_id ORDER BY item_id) AS next, state FROM aurora.item WHERE owner <> 'one') i
    WHERE i.next IS NOT NULL AND i.item_id % 9 = 0 \gset
SELECT count(aurora.set_weight(name, value, owner, company)) AS ignored
    FROM (VALUES ('vip', 22.5, NULL, 'Acme'), ('urgency', 63.7, 'bea', 'Acme'), ('revenue', 11.1, 'bea', 'Acme'), ('half_life.deal', 30.5, 'bea', 'Acme'),
                 ('offset.task', -6.25, 'bea', 'Acme'), ('boost', 9.99, 'dan', 'Acme'), ('urgency', 0, 'cem', 'Acme'), ('offset.letter', 5.0005, 'eva', 'Euro')) w (name, value, owner, company) \gset

-- ---- the reference ----

CREATE TEMPORARY TABLE point_in_time (at timestamptz);
INSERT INTO point_in_time SELECT timestamptz '2026-05-01' + n * interval '4 days 7 hours 13 minutes' FROM generate_series(-6, 8) n
    UNION ALL SELECT unnest('{2026-05-01 12:00,2026-05-01 11:59:59.999999,1999-01-01,2040-01-01}'::timestamptz[]);

-- Points in thousandths: a feature's, rounded half to even.
CREATE FUNCTION pg_temp.milli(points double precision) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT round(points * 1000.0::double precision)::bigint $$;

-- All open items at a time, scored by the weights of their owner, or with whose null by the company's.
-- Levels of revenue of company "shifted" count that many half-octaves more.
CREATE FUNCTION pg_temp.scored(at timestamptz, by_company boolean DEFAULT false, shifted int DEFAULT NULL, half_octaves int DEFAULT 0)
    RETURNS TABLE (company_id int, owner text, level aurora.item_level, item_id bigint, group_key text, act_by timestamptz, lane int, milli bigint,
                   important boolean, urgent boolean) LANGUAGE sql AS $$
    WITH weight AS MATERIALIZED (
        SELECT c.company_id, w.owner, jsonb_object_agg(w.name, w.value) AS by_name
        FROM aurora.weights w JOIN aurora.company c ON c.name = w.company WHERE c.name IN ('Acme', 'Euro') GROUP BY c.company_id, w.owner
    ), featured AS (
        SELECT i.company_id, i.owner, i.level, i.item_id, i.group_key, i.act_by, k.base, f.big, f.vip, f.severe, f.risk, f.boost,
               CASE WHEN f.revenue_level = 0 THEN 0
                    ELSE greatest(0, least(31, f.revenue_level + CASE WHEN i.company_id = shifted THEN half_octaves ELSE 0 END)) END AS revenue_level,
               (w.by_name ->> 'revenue')::float8 AS w_revenue, (w.by_name ->> 'vip')::float8 AS w_vip, (w.by_name ->> 'risk')::float8 AS w_risk,
               (w.by_name ->> 'boost')::float8 AS w_boost, (w.by_name ->> 'urgency')::float8 AS w_urgency,
               (w.by_name ->> ('offset.' || k.kind))::float8 AS kind_offset, (w.by_name ->> ('half_life.' || k.kind))::float8 * 3600 AS half_life,
               CASE WHEN i.act_by = 'infinity' THEN 'infinity'::float8 ELSE extract(epoch FROM i.act_by - at)::float8 END AS slack,
               c.important_points, c.sla_hours
        FROM aurora.item i JOIN aurora.company c USING (company_id) CROSS JOIN LATERAL aurora.cell_features(i.cell) f
        JOIN aurora.kinds k ON k.company_id = i.company_id AND k.kind_no = f.kind_no
        JOIN weight w ON w.company_id = i.company_id AND (w.owner = i.owner AND NOT by_company OR w.owner IS NULL AND by_company)
        WHERE i.state = 'open' AND i.open_blockers = 0 AND (i.snooze_until IS NULL OR i.snooze_until <= at)
    ), urged AS (
        SELECT *, CASE WHEN slack = 'infinity' OR slack / half_life > 1000 THEN 0 WHEN slack >= 0 THEN 0.7 * 2 ^ (-slack / half_life)
                       WHEN slack / half_life < -1000 THEN 1 ELSE 1 - 0.3 * 2 ^ (slack / half_life) END AS urgency,
               pg_temp.milli(w_revenue * revenue_level / 31) + pg_temp.milli(CASE WHEN vip THEN w_vip ELSE 0 END) + pg_temp.milli(w_risk * risk)
               + pg_temp.milli(w_boost * boost) + pg_temp.milli(kind_offset) AS static
        FROM featured
    )
    SELECT u.company_id, u.owner, u.level, u.item_id, u.group_key, u.act_by,
           CASE WHEN severe OR big AND (risk >= 2 OR slack <= half_life) OR vip AND base = 'email' AND slack <= sla_hours * 3600 / 2 THEN 0 ELSE 1 END,
           static + pg_temp.milli(w_urgency * urgency), big OR vip OR static >= important_points * 1000, slack <= half_life
    FROM urged u
$$;

-- The scores at all of the times: by owners' weights; the same for ann's two companies, compared in the money of the first, whose
-- revenue counts from 1,000 USD, where the other's counts from 250 EUR; and by the companies' weights.
CREATE TEMPORARY TABLE score AS
    SELECT 'owners' AS by, at, s.* FROM point_in_time, pg_temp.scored(at) s
    UNION ALL SELECT 'ann', at, s.* FROM point_in_time, pg_temp.scored(at, false, :euro, round(2 * log(2, 1.25 * 250 / 1000))::int) s WHERE s.owner = 'ann'
    UNION ALL SELECT 'companies', at, s.* FROM point_in_time, pg_temp.scored(at, true) s;
CREATE INDEX ON score (by, at, owner);

-- The first rows of the surface by sorting all, a text for each, and at last how many of lane 0 were left out.
CREATE FUNCTION pg_temp.reference(of_scores text, "when" timestamptz, top_n int, who text, company int, of_level text, of_quadrant text) RETURNS text[] LANGUAGE sql AS $$
    WITH candidate AS (
        SELECT s.*, (CASE WHEN important THEN CASE WHEN urgent THEN 'Q1_DO_NOW' ELSE 'Q2_SCHEDULE' END
                          ELSE CASE WHEN urgent THEN 'Q3_DELEGATE' ELSE 'Q4_ELIMINATE' END END) AS quadrant
        FROM score s
        WHERE s.by = of_scores AND s.at = "when" AND (who IS NULL OR s.owner = who) AND (company IS NULL OR s.company_id = company)
          AND s.level = of_level::aurora.item_level
    ), best AS (
        SELECT DISTINCT ON (company_id, coalesce(group_key, 'item ' || item_id)) * FROM candidate c WHERE of_quadrant IS NULL OR c.quadrant = of_quadrant
        ORDER BY company_id, coalesce(group_key, 'item ' || item_id), lane, milli DESC, act_by, item_id
    ), ranked AS (
        SELECT *, row_number() OVER (ORDER BY lane, milli DESC, act_by, item_id) AS rank FROM best
    )
    SELECT array_agg(format('item %s score %s lane %s %s', item_id, milli, lane, quadrant) ORDER BY rank) FILTER (WHERE rank <= top_n)
           || format('left out %s', least(100, count(*) FILTER (WHERE rank > top_n AND lane = 0)))
    FROM ranked
$$;
CREATE FUNCTION pg_temp.answer(query text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    result text[];
BEGIN
    EXECUTE 'SELECT array_agg(format(''item %s score %s lane %s %s'', item_id, (score * 1000)::bigint, lane, quadrant) ORDER BY rank)
             || format(''left out %s'', coalesce(max(lane0_left_out), 0)) FROM ' || query INTO result;
    RETURN result;
END
$$;
-- The first difference between a query and the reference over all times, as text.
CREATE FUNCTION pg_temp.difference(call text, top_n int, who text, company int DEFAULT NULL, of_level text DEFAULT 'human', of_quadrant text DEFAULT NULL,
                                   of_scores text DEFAULT 'owners') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
    answer text[];
    reference text[];
BEGIN
    FOR moment IN SELECT at FROM point_in_time ORDER BY at LOOP
        answer := pg_temp.answer(format(call, top_n, who, moment));
        reference := pg_temp.reference(of_scores, moment, top_n, who, company, of_level, of_quadrant);
        IF answer IS DISTINCT FROM reference THEN
            RETURN (SELECT format('%s at %s, place %s: %s, not %s; ', format(call, top_n, who, moment), moment, n, answer[n], reference[n])
                    FROM generate_series(1, 1 + greatest(cardinality(answer), cardinality(reference))) n
                    WHERE answer[n] IS DISTINCT FROM reference[n] ORDER BY n LIMIT 1);
        END IF;
    END LOOP;
    RETURN '';
END
$$;

-- ---- equal in every row ----

SELECT is((SELECT count(*) FROM aurora.item WHERE company_id IN (:acme, :euro)), 2041::bigint, '2,041 items were made');
SELECT is((SELECT string_agg(pg_temp.difference('aurora.surface(%s, %L, %L)', 10, owner), '') FROM unnest('{bea,cem,dan,eva}'::text[]) owner), '',
          'surface(10) is that of the reference, for owners with mixed, tied and far-off items and weights of their own');
SELECT is((SELECT string_agg(pg_temp.difference('aurora.surface(%s, %L, %L)', 10, owner), '') FROM unnest('{few,one,none}'::text[]) owner), '',
          'also when all are overdue, for one item, and for none');
SELECT is((SELECT string_agg(pg_temp.difference('aurora.surface(%s, %L, %L)', n, 'bea'), '') FROM unnest('{1,2,3,100,1000}'::int[]) n), '',
          'for 1, 2, 3, 100 and 1,000 rows');
SELECT is(pg_temp.difference('aurora.surface(%s, %L, %L)', 1000, 'cem'), '', 'down to the last of 200 with the same deadline');
SELECT is(pg_temp.difference('aurora.surface(%s, %L, %L)', 40, 'ann', of_scores => 'ann'), '', 'for an owner in two companies, compared in one currency');
SELECT is((SELECT string_agg(pg_temp.difference('aurora.quadrant(''' || q || ''', %s, %L, %L)', n, 'bea', of_quadrant => q::text), '')
           FROM unnest(enum_range(NULL::aurora.item_quadrant)) q, unnest('{10,1000}'::int[]) n), '', 'each quadrant()');
SELECT is((SELECT string_agg(pg_temp.difference('aurora.quadrant(''' || q || ''', %s, %L, %L)', 10, 'dan', of_quadrant => q::text), '')
           FROM unnest(enum_range(NULL::aurora.item_quadrant)) q), '', 'each of an owner with far-off items');
SELECT is((SELECT string_agg(pg_temp.difference('aurora.agenda(''' || l || ''', %s, %L, %L)', 25, 'bea', of_level => l::text), '')
           FROM unnest(enum_range(NULL::aurora.item_level)) l), '', 'agenda() of each level');
SELECT is(pg_temp.difference('aurora.company_surface(%s, coalesce(%L, ''Acme''), %L)', 30, NULL, :acme, of_scores => 'companies'), '', 'company_surface(), by the company''s weights');
SELECT is(pg_temp.difference('aurora.company_surface(%s, coalesce(%L, ''Euro''), %L)', 1000, NULL, :euro, of_scores => 'companies'), '', 'to its last row');

-- ---- the same numbers elsewhere ----

SELECT is((SELECT count(*) FROM score r JOIN aurora.item i USING (company_id, item_id)
           CROSS JOIN LATERAL aurora.item_score(i.company_id, i.owner, i.cell, i.act_by, r.at) s
           WHERE r.by = 'owners' AND (s.lane, (s.score * 1000)::bigint, s.important, s.urgent) IS DISTINCT FROM (r.lane, r.milli, r.important, r.urgent)), 0::bigint,
          'item_score() gives lane, score, important and urgent of the reference for each item at each time');
SELECT is((SELECT (count(*) > 400, count(*) FILTER (WHERE e.points <> s.score))::text
           FROM (SELECT DISTINCT owner FROM aurora.principal) p CROSS JOIN unnest('{2026-05-01,2026-05-09}'::timestamptz[]) at
           CROSS JOIN LATERAL aurora.surface(200, p.owner, at) s
           CROSS JOIN LATERAL (SELECT sum(points) AS points FROM aurora.explain(s.item_id, at)) e), '(t,0)',
          'explain()''s points add up to the score for hundreds of items');

-- ---- and after groups were set apart ----

CREATE FUNCTION pg_temp.apply() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN WHILE aurora.apply_settings_batch(500) LOOP END LOOP; RETURN true; END $$;
SELECT cmp_ok(aurora.set_groups_apart(5), '>=', 10::bigint, 'crowded groups are set apart');
SELECT pg_temp.apply() AS ignored \gset
SELECT is((SELECT string_agg(pg_temp.difference('aurora.surface(%s, %L, %L)', n, owner), '') FROM unnest('{bea,dan,eva}'::text[]) owner, unnest('{10,1000}'::int[]) n)
          || pg_temp.difference('aurora.surface(%s, %L, %L)', 40, 'ann', of_scores => 'ann')
          || (SELECT string_agg(pg_temp.difference('aurora.quadrant(''' || q || ''', %s, %L, %L)', 10, 'bea', of_quadrant => q::text), '') FROM unnest(enum_range(NULL::aurora.item_quadrant)) q)
          || pg_temp.difference('aurora.company_surface(%s, coalesce(%L, ''Acme''), %L)', 100, NULL, :acme, of_scores => 'companies'), '', 'and all answers are still those of the reference');

SELECT * FROM finish();
ROLLBACK;
