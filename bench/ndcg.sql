-- NDCG@10 on the deals: what became of each deal, which aurora is not told, and how a ranking of a
-- day's open deals is judged by it. A "day" is a snapshot, taken when the day's deals are known; its
-- "candidates" are the deals open then. Variables: data (the folder), see also bench/ndcg.
SET timezone = 'UTC';
CREATE SCHEMA ndcg;

-- Place is a deal's line in the file.
CREATE TABLE ndcg.line (place int GENERATED ALWAYS AS IDENTITY, opportunity_id text, sales_agent text, product text,
                        account text, deal_stage text, engage_date text, close_date text, close_value numeric);
CREATE TABLE ndcg.product (product text, series text, sales_price numeric);
\cd :data
\cd crm-sales
\copy ndcg.line (opportunity_id, sales_agent, product, account, deal_stage, engage_date, close_date, close_value) FROM 'sales_pipeline.csv' (FORMAT csv, HEADER, ENCODING 'UTF8')
\copy ndcg.product FROM 'products.csv' (FORMAT csv, HEADER, ENCODING 'UTF8')

CREATE TABLE ndcg.deal AS
    SELECT l.place, l.opportunity_id, p.sales_price AS amount, to_date(l.engage_date, 'MM/DD/YYYY') AS engaged,
           to_date(l.close_date, 'MM/DD/YYYY') AS closed,
           CASE WHEN l.deal_stage = 'Won' THEN l.close_value ELSE 0 END::float8 AS won
    FROM ndcg.line l JOIN ndcg.product p ON replace(p.product, ' ', '') = replace(l.product, ' ', '')
    WHERE l.engage_date IS NOT NULL;

CREATE TABLE ndcg.result (candidates text, ranking text, day date, in_file_order float8, expected float8,
                          PRIMARY KEY (candidates, ranking, day));

-- The gain of a deal is what is won with it in the 14 days after the snapshot. Set A has those that
-- later close, set B all.
CREATE FUNCTION ndcg.candidates(day date) RETURNS TABLE (candidates text, place int, opportunity_id text, age int,
                                                         amount numeric, gain float8)
    LANGUAGE sql STABLE AS $$
    SELECT s.name, d.place, d.opportunity_id, $1 - d.engaged, d.amount, CASE WHEN d.closed <= $1 + 14 THEN d.won ELSE 0 END
    FROM ndcg.deal d CROSS JOIN (VALUES ('A'), ('B')) s (name)
    WHERE d.engaged <= $1 AND (d.closed > $1 OR d.closed IS NULL AND s.name = 'B')
$$;

-- What a gain counts at a rank.
CREATE FUNCTION ndcg.counted(gain float8, rank bigint) RETURNS float8
    LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN $2 <= 10 THEN $1 / log(2::numeric, $2 + 1)::float8 ELSE 0 END $$;

CREATE FUNCTION ndcg.ideal(day date) RETURNS TABLE (candidates text, best float8)
    LANGUAGE sql STABLE AS $$
    SELECT r.candidates, sum(ndcg.counted(r.gain, r.rank))
    FROM (SELECT c.*, row_number() OVER (PARTITION BY c.candidates ORDER BY c.gain DESC) AS rank
          FROM ndcg.candidates($1) c) r GROUP BY r.candidates
$$;

-- The simple rankings, with ties in the order of the file, and expected over all orders of the ties.
CREATE FUNCTION ndcg.judge_baselines(day date) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO ndcg.result
    SELECT r.candidates, r.ranking, $1, sum(ndcg.counted(r.gain, r.rank)) / i.best,
           sum(ndcg.counted(r.mean_gain, r.rank)) / i.best
    FROM (SELECT c.candidates, k.ranking, c.gain,
                 avg(c.gain) OVER (PARTITION BY c.candidates, k.ranking, k.key) AS mean_gain,
                 row_number() OVER (PARTITION BY c.candidates, k.ranking ORDER BY k.key DESC, c.place) AS rank
          FROM ndcg.candidates($1) c
          CROSS JOIN LATERAL (VALUES ('random', 0), ('age', c.age), ('amount', c.amount)) k (ranking, key)) r
    JOIN ndcg.ideal($1) i USING (candidates)
    GROUP BY r.candidates, r.ranking, i.best
$$;

-- Puts the open deals that later close apart from the others, so that a surface of them can be asked for.
CREATE FUNCTION ndcg.part_by_future() RETURNS void
    LANGUAGE sql AS $$
    UPDATE aurora.item i SET owner = CASE WHEN d.closed IS NULL THEN 'stays open' ELSE 'later closes' END
    FROM ndcg.deal d WHERE d.opportunity_id = i.external_id AND i.provider = 'crm-sales' AND i.state = 'open'
$$;

CREATE FUNCTION ndcg.judge_aurora(day date) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO ndcg.result
    SELECT c.candidates, 'aurora', $1, sum(ndcg.counted(c.gain, s.rank)) / i.best, NULL
    FROM (SELECT 'A' AS candidates, a.rank, a.item_id FROM aurora.surface(10, 'later closes', $1) a
          UNION ALL SELECT 'B', b.rank, b.item_id FROM aurora.company_surface(10, 'crm', $1) b) s
    JOIN aurora.item t USING (item_id)
    JOIN ndcg.candidates($1) c ON c.candidates = s.candidates AND c.opportunity_id = t.external_id
    JOIN ndcg.ideal($1) i ON i.candidates = c.candidates
    GROUP BY c.candidates, i.best
$$;
