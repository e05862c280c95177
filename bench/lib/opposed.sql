-- The set that is worst for a merge of cells: the more an item is worth the later it is due, so that all
-- scores lie within 0.6 point, spread over thousands of cells. Variable: items. Nothing is big, so that
-- there is one lane, and no kind has deadlines of its own, so that the set's hold.
-- Owner ann holds 30 % of the items at level human.

SELECT aurora.set_company('Bench', big_threshold => 1e12) IS NOT NULL AS placed \gset
SELECT aurora.set_kind(kind, stall_limit => '0', default_deadline => '0', company => 'Bench')
    FROM aurora.builtin_kinds() \g (format=unaligned) /dev/null
CALL aurora.apply_settings();

-- 62 points for all: what the static features leave of them gives the urgency, and that the slack.
INSERT INTO aurora.item (company_id, owner, level, kind, title, amount, currency, vip, risk, boost, due_at)
    SELECT 1, CASE WHEN bench.die(n, 1) < 0.3 THEN 'ann' WHEN bench.die(n, 1) < 0.7 THEN 'bob' ELSE 'eve' END, 'human',
           k.kind, initcap(k.kind) || ' number ' || n, 1000 * 2 ^ (level / 2.0) * 0.8, 'USD', vip, risk, boost,
           bench.at() + k.half_life * CASE WHEN urgency <= 0.7 THEN log(2.0, (0.7 / urgency)::numeric)
                                           ELSE log(2.0, ((1 - urgency) / 0.3)::numeric) END::float8
    FROM (SELECT n, floor(32 * bench.die(n, 2))::int AS level, bench.die(n, 3) < 0.5 AS vip,
                 floor(4 * bench.die(n, 4))::int AS risk, floor(5 * bench.die(n, 5))::int - 2 AS boost,
                 ('{deal,meeting,task,chore}'::text[])[1 + floor(4 * bench.die(n, 6))::int] AS kind
          FROM generate_series(1, 3 * :items) n) d
    JOIN aurora.builtin_kinds() k USING (kind)
    CROSS JOIN LATERAL (SELECT (62 + 0.6 * bench.die(n, 7) - 40.0 * level / 31 - 15 * vip::int - 5 * risk - 4 * boost
                                - k.kind_offset) / 40 AS urgency) u
    WHERE urgency > 0.001 AND urgency < 0.999
    ORDER BY n LIMIT :items;
