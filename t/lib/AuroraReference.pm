# The slow reference: the surface by the documented formula in plain SQL, over all items.
#
# It takes an item's stored cell and act_by, the settings from their tables and the constants from
# the documentation, scores every open item, sorts, and keeps the best of each group. It calls
# nothing of the extension but cell_features().
package AuroraReference;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT_OK = qw(reference_sql);

my $settings = <<'SQL';
CREATE SCHEMA reference;

-- Built-in kinds: half-life in hours, offset in points.
CREATE VIEW reference.builtin_kind AS
    SELECT * FROM (VALUES (0, 'deal', 168.0, 0.0), (1, 'email', 4, 2), (2, 'meeting', 12, 4), (3, 'task', 72, 4),
                          (4, 'incident', 1, 8), (5, 'chore', 48, 0)) k (kind_no, kind, half_life, kind_offset);

CREATE FUNCTION reference.weight(company_id int, owner text, name text, standard float8) RETURNS float8
    LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT value FROM aurora.weight_override o
                     WHERE o.company_id = $1 AND o.owner = $2 AND o.name = $3),
                    (SELECT value FROM aurora.weight_override o
                     WHERE o.company_id = $1 AND o.owner IS NULL AND o.name = $3), $4)
$$;

-- Kinds as an owner's weights change them: half-life in microseconds, offset in points.
CREATE FUNCTION reference.kinds(company_id int, owner text, OUT kind_no int, OUT base text, OUT half_life float8,
                                OUT kind_offset float8) RETURNS SETOF record
    LANGUAGE sql STABLE AS $$
    SELECT k.kind_no, k.base, round(reference.weight($1, $2, 'half_life.' || k.kind, k.half_life) * 3600000000),
           reference.weight($1, $2, 'offset.' || k.kind, k.kind_offset)
    FROM (SELECT coalesce(o.kind_no, b.kind_no)::int AS kind_no, coalesce(o.kind, b.kind) AS kind, b.kind AS base,
                 coalesce(extract(epoch FROM o.half_life) / 3600, b.half_life)::float8 AS half_life,
                 coalesce(o.kind_offset, b.kind_offset)::float8 AS kind_offset
          FROM reference.builtin_kind b
          LEFT JOIN aurora.company_kind o ON o.company_id = $1 AND o.base = b.kind
          UNION ALL
          SELECT b.kind_no, b.kind, b.kind, b.half_life, b.kind_offset FROM reference.builtin_kind b
          WHERE EXISTS (SELECT FROM aurora.company_kind o WHERE o.company_id = $1 AND o.base = b.kind)
            AND NOT EXISTS (SELECT FROM aurora.company_kind o WHERE o.company_id = $1 AND o.kind = b.kind)) k
$$;

-- Whose rows a read is about, by whose weights, and the half-octaves between two companies' money.
CREATE FUNCTION reference.scopes(read text, who text, OUT company_id int, OUT owner text, OUT policy_owner text,
                                 OUT shift int) RETURNS SETOF record
    LANGUAGE sql STABLE AS $$
    SELECT p.company_id, p.owner, CASE WHEN $1 <> 'company_surface' THEN p.owner END,
           CASE WHEN p.company_id = home.company_id THEN 0
                ELSE round(2 * ln(c.revenue_unit::float8 / home.revenue_unit::float8
                                  * CASE WHEN c.currency = home.currency THEN 1 ELSE r.rate::float8 END) / ln(2::float8))
           END::int
    FROM aurora.principal p JOIN aurora.company c USING (company_id)
    JOIN aurora.company home ON home.company_id = CASE $1
        WHEN 'company_surface' THEN c.company_id
        ELSE (SELECT min(h.company_id) FROM aurora.principal h WHERE h.owner = $2) END
    LEFT JOIN aurora.currency_rate r ON r.company_id = home.company_id AND r.currency = c.currency
    WHERE CASE $1 WHEN 'company_surface' THEN c.name ELSE p.owner END = $2
$$;
SQL

my $score = <<'SQL';
-- All open items of a read, scored. Points are in thousandths, each feature's rounded half to even.
CREATE FUNCTION reference.scored(read text, who text, at timestamptz)
    RETURNS TABLE (company_id int, item_id bigint, owner text, level text, group_key text, lane int, points bigint,
                   act_by timestamptz, quadrant text)
    LANGUAGE sql STABLE AS $$
    WITH scope AS MATERIALIZED (
        SELECT s.*, c.sla_hours, c.important_points,
               reference.weight(s.company_id, s.policy_owner, 'revenue', 40) AS w_revenue,
               reference.weight(s.company_id, s.policy_owner, 'vip', 15) AS w_vip,
               reference.weight(s.company_id, s.policy_owner, 'risk', 5) AS w_risk,
               reference.weight(s.company_id, s.policy_owner, 'boost', 4) AS w_boost,
               reference.weight(s.company_id, s.policy_owner, 'urgency', 40) AS w_urgency
        FROM reference.scopes($1, $2) s JOIN aurora.company c USING (company_id)
    ), kind AS MATERIALIZED (
        SELECT s.company_id, s.owner, k.*
        FROM scope s CROSS JOIN LATERAL reference.kinds(s.company_id, s.policy_owner) k
    ), featured AS (
        SELECT i.company_id, i.item_id, i.owner, i.level, i.group_key, i.act_by, s.sla_hours, s.important_points,
               f.big, f.vip, f.severe, f.risk, k.base, k.half_life, s.w_urgency,
               CASE WHEN i.act_by = 'infinity' THEN 'Infinity'::float8
                    ELSE extract(epoch FROM i.act_by - $3)::numeric * 1000000 END::float8 AS slack,
               round(s.w_revenue * CASE WHEN f.revenue_level = 0 THEN 0
                                        ELSE greatest(0, least(31, f.revenue_level + s.shift)) END / 31 * 1000)
               + round(s.w_vip * f.vip::int * 1000) + round(s.w_risk * f.risk * 1000)
               + round(s.w_boost * f.boost * 1000) + round(k.kind_offset * 1000) AS static_points
        FROM scope s
        JOIN aurora.item i ON i.company_id = s.company_id AND i.owner = s.owner
        CROSS JOIN LATERAL aurora.cell_features(i.cell) f
        JOIN kind k ON k.company_id = i.company_id AND k.owner = i.owner AND k.kind_no = f.kind_no
        WHERE i.state = 'open' AND i.open_blockers = 0 AND (i.snooze_until IS NULL OR i.snooze_until <= $3)
    ), urged AS (
        SELECT f.*, CASE WHEN f.slack > 1000 * f.half_life THEN 0
                         WHEN f.slack >= 0 THEN 0.7 * power(2::float8, -f.slack / f.half_life)
                         WHEN f.slack < -1000 * f.half_life THEN 1
                         ELSE 1 - 0.3 * power(2::float8, f.slack / f.half_life) END AS urgency,
               f.slack <= f.half_life AS urgent,
               f.big OR f.vip OR f.static_points >= round(f.important_points::float8 * 1000) AS important
        FROM featured f
    )
    SELECT u.company_id, u.item_id, u.owner, u.level::text, u.group_key,
           CASE WHEN u.severe OR u.big AND (u.urgent OR u.risk >= 2)
                     OR u.vip AND u.base = 'email' AND u.slack <= u.sla_hours * 1800000000 THEN 0 ELSE 1 END,
           (u.static_points + round(u.w_urgency * u.urgency * 1000))::bigint, u.act_by,
           CASE WHEN u.important THEN CASE WHEN u.urgent THEN 'Q1_DO_NOW' ELSE 'Q2_SCHEDULE' END
                ELSE CASE WHEN u.urgent THEN 'Q3_DELEGATE' ELSE 'Q4_ELIMINATE' END END
    FROM urged u
$$;

-- The answer of a read: surface, agenda (only: its level), quadrant (only: its name), company_surface.
CREATE FUNCTION reference.expected(read text, who text, only_one text, top_n int, at timestamptz)
    RETURNS TABLE (rank bigint, item_id bigint, kind text, title text, quadrant text, score numeric, amount numeric,
                   currency text, act_by timestamptz, slack interval, lane int, lane0_left_out bigint, owner text)
    LANGUAGE sql STABLE AS $$
    WITH best AS (
        SELECT s.*, row_number() OVER (
                   PARTITION BY s.company_id, s.group_key, CASE WHEN s.group_key IS NULL THEN s.item_id END
                   ORDER BY s.lane, s.points DESC, s.act_by, s.item_id, s.company_id) AS place
        FROM reference.scored($1, $2, $5) s
        WHERE s.level = CASE WHEN $1 = 'agenda' THEN $3 ELSE 'human' END
          AND ($1 <> 'quadrant' OR s.quadrant = $3)
    ), ranked AS (
        SELECT b.*, row_number() OVER (ORDER BY b.lane, b.points DESC, b.act_by, b.item_id, b.company_id) AS rank,
               count(*) FILTER (WHERE b.lane = 0) OVER () AS lane0
        FROM best b WHERE b.place = 1
    )
    SELECT r.rank, r.item_id, i.kind, i.title, r.quadrant, r.points * 0.001, i.amount, i.currency, r.act_by,
           CASE WHEN isfinite(r.act_by) THEN r.act_by - $5 END, r.lane, least(greatest(r.lane0 - $4, 0), 100),
           CASE WHEN $1 = 'company_surface' THEN r.owner END
    FROM ranked r JOIN aurora.item i USING (company_id, item_id) WHERE r.rank <= $4
$$;
SQL

my $compare = <<'SQL';
CREATE FUNCTION reference.answered(read text, who text, only_one text, top_n int, at timestamptz)
    RETURNS TABLE (rank bigint, item_id bigint, kind text, title text, quadrant text, score numeric, amount numeric,
                   currency text, act_by timestamptz, slack interval, lane int, lane0_left_out bigint, owner text)
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    call text := CASE read WHEN 'surface' THEN 'surface($2, $1, $4)' WHEN 'agenda' THEN 'agenda($3, $2, $1, $4)'
                      WHEN 'quadrant' THEN 'quadrant($3, $2, $1, $4)' ELSE 'company_surface($2, $1, $4)' END;
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT rank::bigint, item_id, kind, title, quadrant::text, score, amount, currency, act_by, slack, lane,
                lane0_left_out::bigint, %s FROM aurora.%s',
        CASE read WHEN 'company_surface' THEN 'owner' ELSE 'NULL::text' END, call)
        USING who, top_n, only_one, at;
END
$$;

-- Null when a read equals the reference, else the first row that differs.
CREATE FUNCTION reference.difference(read text, who text, only_one text, top_n int, at timestamptz) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT format('%s of %s (%s, %s rows) at %s: expected %s; answered %s', $1, $2, $3, $4, $5, e, a)
    FROM reference.expected($1, $2, $3, $4, $5) e
    FULL JOIN reference.answered($1, $2, $3, $4, $5) a ON a.rank = e.rank
    WHERE e::text IS DISTINCT FROM a::text ORDER BY coalesce(e.rank, a.rank) LIMIT 1
$$;

CREATE FUNCTION reference.all_differences(at timestamptz) RETURNS SETOF text
    LANGUAGE sql STABLE AS $$
    SELECT d FROM (
        SELECT reference.difference(r.read, p.owner, r.only_one, 10, $1) AS d
        FROM (SELECT DISTINCT owner FROM aurora.principal) p
        CROSS JOIN (VALUES ('surface', NULL), ('agenda', 'agent'), ('agenda', 'self'), ('quadrant', 'Q1_DO_NOW'),
                           ('quadrant', 'Q2_SCHEDULE'), ('quadrant', 'Q3_DELEGATE'),
                           ('quadrant', 'Q4_ELIMINATE')) r (read, only_one)
        UNION ALL
        SELECT reference.difference('company_surface', c.name, NULL, 100, $1) FROM aurora.company c) all_reads
    WHERE d IS NOT NULL
$$;
SQL

my $invariants = <<'SQL';
CREATE FUNCTION reference.unregistered_items() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT i.item_id FROM aurora.item i
    WHERE i.state = 'open' AND i.open_blockers = 0 AND i.snooze_until IS NULL AND NOT EXISTS (
        SELECT FROM aurora.item_cell c WHERE c.scope = i.scope AND c.cell = i.cell)
$$;
CREATE FUNCTION reference.wrong_scopes() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT i.item_id FROM aurora.item i JOIN aurora.principal p USING (company_id, owner)
    WHERE i.scope <> p.principal_no * 4 + array_position(enum_range(NULL::aurora.item_level), i.level) - 1
$$;
CREATE FUNCTION reference.wrong_open_blockers() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT i.item_id FROM aurora.item i
    WHERE i.open_blockers <> (
        SELECT count(*) FROM aurora.item_dependency d JOIN aurora.item b
            ON b.company_id = d.company_id AND b.item_id = d.blocker_id
        WHERE d.company_id = i.company_id AND d.item_id = i.item_id AND b.state IN ('open', 'delegated'))
$$;
CREATE FUNCTION reference.wrong_blocking() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT i.item_id FROM aurora.item i
    WHERE i.blocking <> (SELECT count(*) FROM aurora.item_dependency d
                         WHERE d.company_id = i.company_id AND d.blocker_id = i.item_id)
$$;
CREATE FUNCTION reference.circular_dependencies() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    WITH RECURSIVE reach (item_id, blocker_id) AS (
        SELECT item_id, blocker_id FROM aurora.item_dependency
        UNION
        SELECT r.item_id, d.blocker_id FROM reach r JOIN aurora.item_dependency d ON d.item_id = r.blocker_id
    ) SELECT item_id FROM reach WHERE item_id = blocker_id
$$;
CREATE FUNCTION reference.misplaced_items() RETURNS SETOF bigint LANGUAGE sql AS $$
    SELECT i.item_id FROM aurora.item i WHERE i.state = 'open' AND aurora.item_is_misplaced(i)
$$;
CREATE FUNCTION reference.pending_runs() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT company_id FROM aurora.placement_run
$$;
CREATE FUNCTION reference.shared_slots() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT min(i.item_id) FROM aurora.item i CROSS JOIN LATERAL aurora.cell_features(i.cell) f
    WHERE f.slot > 0 AND i.state = 'open'
    GROUP BY i.company_id, i.owner, i.level, i.cell
    HAVING count(DISTINCT coalesce(i.group_key, '')) > 1
$$;
-- Items that a verb closed: state_by is set by verbs and the archive only.
CREATE FUNCTION reference.lost_history() RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT i.item_id FROM aurora.item i
    WHERE i.state <> 'open' AND i.state_by IS NOT NULL AND i.state::text IS DISTINCT FROM (
        SELECT h."to" ->> 'state' FROM aurora.item_history h
        WHERE h.company_id = i.company_id AND h.item_id = i.item_id ORDER BY h.history_id DESC LIMIT 1)
$$;
SQL

sub reference_sql
{
    return $settings . $score . $compare . $invariants;
}

1;
