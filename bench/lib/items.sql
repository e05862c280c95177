-- Generated open items, loaded by one INSERT. Variables: items (how many) and shape. Owner ann holds
-- 30 % of them at level human. Shapes:
--   typical  deals with a Pareto tail, mail, tasks and so on; about a sixth overdue, the rest in the days and weeks ahead
--   calm     the same, with nothing due for two years
--   overdue  the same, with everything overdue
--   threads  typical, with a group key for each three items
--   crowd    typical, with one group key that holds 90 % of the items
-- What looks random is a hash of a number (a "die"), and times are relative to bench.at(), so each load
-- gives the same items. A "draft" says how long ago an item came (age) and when it is due, in days.

CREATE VIEW bench.draft AS
    SELECT n, owner, level, kind,
           CASE WHEN kind = 'deal' THEN round(least(2000000, 500 * (1 - bench.die(n, 3)) ^ (-1 / 0.9))::numeric, 2)
                WHEN kind = 'task' AND bench.die(n, 4) < 0.05 THEN round((100000 * bench.die(n, 3))::numeric, 2)
           END AS amount,
           CASE WHEN kind = 'deal' AND bench.die(n, 5) < 0.8
                THEN ('{0.1,0.2,0.4,0.6,0.8}'::float8[])[1 + floor(5 * bench.die(n, 6))::int] END AS win_chance,
           kind IN ('email', 'meeting') AND bench.die(n, 7) < 0.03 AS vip,
           CASE WHEN kind IN ('deal', 'incident') THEN greatest(0, floor(13 * bench.die(n, 8))::int - 9) ELSE 0 END AS risk,
           CASE WHEN bench.die(n, 9) < 0.03 THEN floor(5 * bench.die(n, 10))::int - 2 ELSE 0 END AS boost,
           CASE WHEN kind = 'incident' THEN 1 + least(4, floor(20 * bench.die(n, 11))::int) END AS severity,
           -ln(1 - bench.die(n, 12)) * CASE kind WHEN 'email' THEN 2 WHEN 'incident' THEN 0.05 WHEN 'deal' THEN 3 ELSE 5 END AS age,
           CASE WHEN kind = 'deal' OR kind IN ('task', 'chore') AND bench.die(n, 13) < 0.5 THEN 92 * bench.die(n, 14) - 2
                WHEN kind = 'meeting' THEN 20 * bench.die(n, 14) END AS due
    FROM (SELECT n,
                 CASE WHEN bench.die(n, 1) < 0.4 THEN 'ann' WHEN bench.die(n, 1) < 0.7 THEN 'bob' ELSE 'eve' END AS owner,
                 CASE WHEN bench.die(n, 1) < 0.3 THEN 'human' WHEN bench.die(n, 1) < 0.4 THEN 'agent'
                      WHEN bench.die(n, 1) < 0.9 THEN 'human' ELSE 'self' END::aurora.item_level AS level,
                 CASE WHEN bench.die(n, 2) < 0.20 THEN 'deal' WHEN bench.die(n, 2) < 0.60 THEN 'email'
                      WHEN bench.die(n, 2) < 0.82 THEN 'task' WHEN bench.die(n, 2) < 0.88 THEN 'meeting'
                      WHEN bench.die(n, 2) < 0.89 THEN 'incident' ELSE 'chore' END AS kind
          FROM generate_series(1, :items) n) d;

-- How much later than typical this shape has everything, in days.
SELECT CASE :'shape' WHEN 'calm' THEN 800 WHEN 'overdue' THEN -130 ELSE 0 END AS later \gset

INSERT INTO aurora.item (company_id, owner, level, kind, title, amount, currency, win_chance, vip, risk, boost, severity,
                         received_at, last_activity_at, due_at, group_key)
    SELECT 1, owner, level, kind, initcap(kind) || ' number ' || n, amount, CASE WHEN amount IS NOT NULL THEN 'USD' END,
           win_chance, vip, risk, boost, severity,
           bench.at() + (:later - CASE kind WHEN 'deal' THEN 20 * age ELSE age END) * interval '1 day',
           CASE WHEN kind = 'deal' THEN bench.at() + (:later - age) * interval '1 day' END,
           bench.at() + (:later + due) * interval '1 day',
           CASE :'shape' WHEN 'threads' THEN 'thread ' || n / 3
                         WHEN 'crowd' THEN CASE WHEN bench.die(n, 15) < 0.9 THEN 'crowd' ELSE 'thread ' || n / 3 END END
    FROM bench.draft;

DROP VIEW bench.draft;
