-- For the comparison with computing all and sorting: what the static features of each occupied cell give,
-- so that the slow side has only the urgency left to compute. Run when the items are loaded.

CREATE TABLE bench.cell AS
    SELECT c.cell, k.half_life_s, k.base = 'email' AS email, f.vip, f.big, f.severe, f.risk,
           round(40000.0::float8 * f.revenue_level / 31) + 15000 * f.vip::int + 5000 * f.risk + 4000 * f.boost
           + 1000 * k.kind_offset AS static_points
    FROM (SELECT DISTINCT cell FROM aurora.item_cell) c
    CROSS JOIN LATERAL aurora.cell_features(c.cell) f
    JOIN (SELECT kind_no, base, extract(epoch FROM half_life)::float8 AS half_life_s, kind_offset FROM aurora.kinds) k USING (kind_no);

CREATE VIEW bench.scored AS
    SELECT i.item_id, i.group_key, i.act_by,
           CASE WHEN c.severe OR c.big AND (c.risk >= 2 OR s.slack <= c.half_life_s)
                     OR c.vip AND c.email AND s.slack <= 3600 THEN 0 ELSE 1 END AS lane,
           c.static_points + round(40000 * CASE WHEN s.slack >= 0 THEN 0.7 * 2 ^ greatest(-s.slack / c.half_life_s, -1000)
                                                ELSE 1 - 0.3 * 2 ^ greatest(s.slack / c.half_life_s, -1000) END) AS score
    FROM aurora.item i JOIN bench.cell c USING (cell)
    CROSS JOIN LATERAL (SELECT extract(epoch FROM i.act_by)::float8 - extract(epoch FROM bench.at())::float8 AS slack) s
    WHERE i.company_id = 1 AND i.owner = 'ann' AND i.level = 'human' AND i.state = 'open' AND i.open_blockers = 0
      AND i.snooze_until IS NULL;

GRANT SELECT ON bench.scored TO PUBLIC;
ANALYZE bench.cell;
