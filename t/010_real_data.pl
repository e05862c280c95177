# The surface on real data: every read equals the slow reference, row by row, on the lead and on a
# standby, at random times, weights and owners; and every row lies where the documented formula puts
# it. AURORA_DATA names the data's folder; AURORA_SEED repeats a run.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraWorld qw(random_seed);
use PostgreSQL::Test::Utils;
use Test::More;

my $samples = "$FindBin::RealBin/../samples";
my $data = $ENV{AURORA_DATA} // "$FindBin::RealBin/../../shared/data";

plan skip_all => 'AURORA_DATA names no folder with real data' unless -d "$data/crm-sales";

my $seed = random_seed();
my $trials = 200;
my %seen;

# Where each item belongs, in plain SQL from its columns and the settings' tables.
my $placement = <<'SQL';
CREATE VIEW reference.builtin_deadline AS
    SELECT * FROM (VALUES ('deal', 14 * 24, 730 * 24), ('email', 0, 3 * 24), ('task', 0, 14 * 24), ('incident', 0, 1))
        d (kind, stall_hours, default_hours);

CREATE VIEW reference.placed AS
    SELECT i.item_id, i.state, f::text AS stored,
           ROW(b.kind_no,
               CASE WHEN v.ratio IS NULL OR v.ratio < 1 THEN 0
                    ELSE (SELECT count(*) FROM generate_series(0, 30) n WHERE v.ratio * v.ratio >= power(2::float8, n))
               END,
               coalesce(i.amount >= c.big_threshold, false), i.vip, i.kind = 'incident' AND coalesce(i.severity, 5) = 1,
               i.risk, i.boost, coalesce(s.slot, 0))::text AS features,
           i.act_by,
           coalesce(least(i.due_at, CASE WHEN i.kind = 'email' AND i.vip THEN i.received_at + c.sla_hours * interval '1 h' END,
                          i.last_activity_at + nullif(coalesce(k.stall_limit, d.stall_hours * interval '1 h'), '0'),
                          CASE WHEN i.due_at IS NULL
                               THEN i.received_at + nullif(coalesce(k.default_deadline, d.default_hours * interval '1 h'), '0') END),
                    'infinity') AS deadline
    FROM aurora.item i JOIN aurora.company c USING (company_id)
    CROSS JOIN LATERAL aurora.cell_features(i.cell) f
    JOIN reference.builtin_kind b ON b.kind = i.kind JOIN reference.builtin_deadline d ON d.kind = i.kind
    LEFT JOIN aurora.company_kind k ON k.company_id = i.company_id AND k.kind = i.kind
    LEFT JOIN aurora.crowded_group s
        ON s.company_id = i.company_id AND s.owner = i.owner AND s.group_key = i.group_key
    CROSS JOIN LATERAL (SELECT i.amount::float8 * coalesce(i.win_chance, 1) / c.revenue_unit::float8 AS ratio) v;
SQL

# What no real data has: an owner in three companies that count revenue differently, items snoozed
# until a time within the data, items that wait for others, and crowded threads set apart.
my $mix = <<'SQL';
SELECT aurora.add_principal('office', name) FROM aurora.company;
UPDATE aurora.item SET owner = 'office' WHERE item_id % 12 = 0;
SELECT aurora.set_company('issues', revenue_unit => 250, important_points => 30);
SELECT aurora.set_company('crm', big_threshold => 1000);
UPDATE aurora.item SET snooze_until = received_at + interval '1 day' * (item_id % 300)
    WHERE item_id % 17 = 0 AND state = 'open';
INSERT INTO aurora.item_dependency (company_id, item_id, blocker_id)
    SELECT i.company_id, i.item_id, b.item_id FROM aurora.item i JOIN aurora.item b USING (company_id)
    WHERE i.item_id % 19 = 0 AND i.state = 'open' AND b.item_id = i.item_id + 1 AND b.state = 'open';
SELECT aurora.set_groups_apart(20);
CALL aurora.apply_settings();
VACUUM ANALYZE;
SQL

# All that a load decides, with where each row lies in the table: writing a row again would move it.
my $digest = q{
    SELECT count(*), md5(string_agg(ctid::text || i::text, ',' ORDER BY item_id)),
           (SELECT md5(string_agg(p::text, ',' ORDER BY p)) FROM aurora.person p),
           (SELECT md5(string_agg(p::text, ',' ORDER BY p)) FROM aurora.principal p),
           (SELECT md5(string_agg(w::text, ',' ORDER BY w)) FROM aurora.win_chance w) FROM aurora.item i};

sub load_samples
{
    my ($lead, @how) = @_;

    return system_log('sh', "$samples/load", $data, $lead->connstr('postgres'), @how) == 0;
}

# All mail is left open however old, so that the reads have much to choose from.
sub load_whole_mail
{
    my ($lead) = @_;

    return system_log('psql', '-Xq', '-d', $lead->connstr('postgres'), '-v', "data=$data", '-v', "now=2001-09-19",
        '-v', 'forget=10000 days', '-f', "$samples/mail.sql") == 0;
}

sub rows_are_placed
{
    my ($node, $name, $which) = @_;
    my $where = "FROM reference.placed WHERE $which AND (stored IS DISTINCT FROM features OR act_by IS DISTINCT FROM deadline)";

    is_sql($node, "SELECT count(*) $where", '0', $name)
      or diag($node->safe_psql('postgres', "SELECT item_id, stored, features, act_by, deadline $where LIMIT 5"));
    return;
}

# ---- what the loaders give ----

my $lead = new_lead('lead');
$lead->safe_psql('postgres', $placement);

ok(load_samples($lead), 'the samples load');
my $once = $lead->safe_psql('postgres', $digest);
ok(load_samples($lead), 'and load again');
is($lead->safe_psql('postgres', $digest), $once, 'which changes nothing');
is_sql($lead, q{SELECT string_agg(name, ' ' ORDER BY name) FROM aurora.company}, 'crm issues mail',
    'there are three companies');
is_sql($lead, q{SELECT count(*) FROM aurora.item WHERE provider = 'crm-sales'
                AND (state = 'open') <> (NOT details ?| '{account,close_value}' AND outcome IS NULL)}, '0',
    'a deal tells nothing of its end while it is open');
is_sql($lead, q{SELECT count(*) > 0, bool_and(amount IN (SELECT DISTINCT amount FROM aurora.item WHERE state = 'open'))
                FROM aurora.item WHERE provider = 'crm-sales' AND state = 'done'}, 't|t',
    'and its amount is the list price also after it');
rows_are_placed($lead, 'every row has the cell and act_by of the formula', 'true');
ok(load_samples($lead, '--now', '2001-05-01'), 'they load at an earlier time');
is_sql($lead, q{SELECT count(*) > 0, max(received_at) <= '2001-05-01', max(state_at) <= '2001-05-01' FROM aurora.item},
    't|t|t', 'and nothing is known of what came later');
ok(load_samples($lead) && load_whole_mail($lead), 'they load at a later time, mail as late as it goes');

# ---- the surface ----

$lead->safe_psql('postgres', $mix);
rows_are_placed($lead, 'after settings changed, every open row has its new cell', q{state = 'open'});
my $standby = new_standby($lead, 'standby');
my @owner = split(/\n/, $lead->safe_psql('postgres', q{SELECT DISTINCT quote_literal(owner) FROM aurora.item WHERE state = 'open' ORDER BY 1}));
my @item = split(/\n/, $lead->safe_psql('postgres', q{SELECT item_id FROM aurora.item WHERE state = 'open' AND isfinite(act_by) ORDER BY 1}));

# A time around an item's deadline, or to the microsecond where it becomes urgent or wakes.
sub some_time
{
    my $id = $item[ int(rand(@item)) ];
    my $of_item = "(SELECT %s FROM aurora.item i JOIN aurora.kinds k USING (company_id, kind) WHERE item_id = $id)";
    my $near = sprintf("act_by + interval '%d seconds'", (rand() - 0.5) * (3600, 1_000_000, 100_000_000)[ int(rand(3)) ]);

    return sprintf($of_item, ($near, $near, 'act_by - k.half_life', 'coalesce(snooze_until, act_by)')[ int(rand(4)) ]);
}

# Changes up to four weights of an owner, or of a company.
sub some_weights
{
    my ($owner) = @_;
    my @most = ([ revenue => 200 ], [ vip => 40 ], [ risk => 20 ], [ boost => 20 ], [ urgency => 200 ],
        [ 'offset.deal' => 40 ], [ 'offset.email' => 40 ], [ 'offset.incident' => 40 ],
        [ 'half_life.deal' => 8000 ], [ 'half_life.email' => 300 ], [ 'half_life.incident' => 500 ]);
    my $sql = '';

    for (0 .. int(rand(4)))
    {
        my ($name, $most) = @{ $most[ int(rand(@most)) ] };
        my $value = rand() < 0.1 && $name !~ /half_life/ ? 0 : 0.01 + rand($most - 0.01);
        my $whose = rand() < 0.3 ? 'NULL' : 'p.owner';

        $sql .= "SELECT aurora.set_weight('$name', $value, $whose, c.name) FROM aurora.principal p "
          . "JOIN aurora.company c USING (company_id) WHERE p.owner = $owner;\n";
    }
    return $sql;
}

# Whose surface, or which company's, and how many rows: arguments of the reference.
sub some_read
{
    my ($owner) = @_;
    my $limit = (1, 10, 10, 10, 50, 300)[ int(rand(6)) ];

    return sprintf("'company_surface', '%s', NULL, $limit", (qw(crm mail issues))[ int(rand(3)) ]) if rand() < 0.05;
    return "'surface', $owner, NULL, $limit";
}

# Sets weights and reads, prints the time, the sorts of rows, how many, and a difference if there is one.
sub trial_on_lead
{
    my ($owner, $read) = @_;

    return some_weights($owner) . 'SELECT ' . some_time() . " AS at \\gset
        SELECT :'at', string_agg(DISTINCT kind || ' lane_' || lane, ' '), count(*), reference.difference($read, :'at')
        FROM reference.answered($read, :'at');\n";
}

my $rows = 0;
my @different;
for (1 .. $trials / 10)
{
    my @whose = map { rand() < 0.2 ? "'office'" : $owner[ int(rand(@owner)) ] } 1 .. 10;
    my @read = map { some_read($_) } @whose;
    my @answer = grep { /\|/ } split(/\n/, $lead->safe_psql('postgres', join('', map { trial_on_lead($whose[$_], $read[$_]) } 0 .. 9)));
    my $again = '';

    for my $read (@read)
    {
        my ($at, $sorts, $count, $difference) = split(/\|/, shift @answer, 4);

        push @different, "lead: $difference" if $difference ne '';
        $seen{$_}++ for split(/ /, $sorts);
        $rows += $count;
        $again .= "SELECT reference.difference($read, '$at');\n";
    }
    catch_up($lead, $standby);
    push @different, map { "standby: $_" } grep { $_ ne '' } split(/\n/, $standby->safe_psql('postgres', $again));
}

is(join("\n", @different), '', "$trials reads, of $rows rows in all, equal the reference on lead and standby");
cmp_ok($seen{$_} // 0, '>', 0, "and some had $_ rows") for qw(deal email incident lane_0 lane_1);

done_testing();
