# The surface is exact: every read equals the slow reference, row by row, on the lead and a standby,
# in random worlds with random weights at random times. AURORA_SEED repeats a run.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraWorld;
use Test::More;

my $seed = random_seed();
my $lead = new_lead('lead');
install_worlds($lead);
my $standby = new_standby($lead, 'standby');
my $trials = 0;

my @world = (
    [ 'a mixed world of two companies', {} ],
    [ 'another mixed world of three companies', { companies => 3 } ],
    [ 'a world of heavy ties', { shape => 'ties' } ],
    [ 'a world where everything is overdue', { shape => 'overdue' } ],
    [ 'a world where nothing is due for long', { shape => 'far' } ],
    [ 'a company of one owner with one item', { items => 1, owners => 1, companies => 1 } ],
    [ 'a company of one owner', { owners => 1, companies => 1 } ],
    [ 'a company without items', { items => 0, companies => 1 } ],
    [ 'a world of 100 owners', { owners => 100 } ],
    [ 'a world of one crowded group', { shape => 'crowded', crowded => 1 } ],
    [ 'a company of one crowded group', { shape => 'crowded', companies => 1, owners => 2, crowded => 1 } ],
    [ 'a last mixed world', { owners => 2 } ]);

my %seen = (snoozed => 0, blocked => 0, lane0 => 0, set_apart => 0);

# A time to ask about: any, or exactly one at which an item changes its urgency, lane or snooze.
sub some_time
{
    my $span = (0, 3600, 200_000, 3_000_000)[ int(rand(4)) ];
    my $shift = sprintf("reference.world_time() + interval '%d seconds'", rand(2 * $span + 1) - $span);
    my $offset = int(rand(100_000));
    my $of_item = "SELECT %s FROM aurora.item i JOIN aurora.kinds k USING (company_id, kind) "
      . "WHERE isfinite(act_by) AND %s ORDER BY item_id OFFSET $offset %% greatest((SELECT count(*) FROM aurora.item), 1) LIMIT 1";
    my @edge = (
        sprintf($of_item, 'act_by', 'true'),
        sprintf($of_item, 'act_by - k.half_life', 'true'),
        sprintf($of_item, "act_by - k.half_life - interval '1 microsecond'", 'true'),
        sprintf($of_item, 'snooze_until', 'snooze_until IS NOT NULL'),
        sprintf($of_item, "act_by - interval '1 hour' * (SELECT sla_hours FROM aurora.company c WHERE c.company_id = i.company_id) / 2", 'vip'));

    return $shift if rand() < 0.6;
    return "coalesce(($edge[ int(rand(@edge)) ]), $shift)";
}

sub some_read
{
    my ($world) = @_;
    my $owner = sprintf("'owner %d'", 1 + int(rand($world->{owners} // 5)));
    my $company = sprintf("'company %d'", 1 + int(rand($world->{companies} // 2)));
    my @read = (
        ("'surface', $owner, NULL") x 4,
        "'company_surface', $company, NULL",
        "'agenda', $owner, 'agent'",
        "'agenda', $owner, 'self'",
        map { "'quadrant', $owner, '$_'" } qw(Q1_DO_NOW Q2_SCHEDULE Q3_DELEGATE Q4_ELIMINATE));
    my $rows = (1, 3, 10, 10, 10, 25, 100, 1000)[ int(rand(8)) ];

    return "SELECT reference.difference($read[ int(rand(@read)) ], $rows, " . some_time() . ');';
}

# Asks the same of the lead and, when it has followed, of the standby.
sub compare
{
    my ($name, $world) = @_;
    my $count = 11;
    my $reads = join("\n", map { some_read($world) } 1 .. $count);

    catch_up($lead, $standby);
    for my $node ($lead, $standby)
    {
        my $found = $node->safe_psql('postgres', $reads);

        like($found, qr/\A\n*\z/, "$name: $count reads on the " . $node->name . ' equal the reference');
    }
    $trials += $count;
    note_what_was_there();
    return;
}

sub note_what_was_there
{
    my $counts = $lead->safe_psql('postgres',
        "SELECT count(*) FILTER (WHERE snooze_until <= reference.world_time()), count(*) FILTER (WHERE open_blockers > 0),
                (SELECT count(*) FROM reference.scored('surface', 'owner 1', reference.world_time()) s WHERE s.lane = 0),
                count(*) FILTER (WHERE (aurora.cell_features(cell)).slot > 0)
         FROM aurora.item WHERE state = 'open'");
    my @count = split(/\|/, $counts);

    $seen{$_} += shift @count for qw(snoozed blocked lane0 set_apart);
    return;
}

# Half-way through a change of settings: each row counts by its stored cell.
sub change_settings
{
    my ($world) = @_;

    $lead->safe_psql('postgres', 'SELECT aurora.set_groups_apart()') if $world->{crowded};
    $lead->safe_psql('postgres', "SELECT aurora.set_company('company 1', big_threshold => 5000, sla_hours => 7)");
    $lead->safe_psql('postgres', 'SELECT aurora.apply_settings_batch(700)');
    return;
}

for (my $i = 0; $i < @world; $i++)
{
    my ($name, $world) = @{ $world[$i] };

    make_world($lead, seed => ($seed % 1000 + $i) / 1100, %$world);
    compare("$name", $world);
    if ($world->{crowded})
    {
        $lead->safe_psql('postgres', 'SELECT aurora.set_groups_apart()');
        $lead->safe_psql('postgres', 'CALL aurora.apply_settings()');
        is_sql($lead, "SELECT count(*) > 0 FROM aurora.crowded_group WHERE group_key = 'the crowd'",
            't', "$name: the crowd gets cells of its own");
        compare("$name, set apart", $world);
    }
    $lead->safe_psql('postgres', 'SELECT reference.live_on()');
    compare("$name, later, by other weights", $world);
    change_settings($world);
    compare("$name, half-way through new settings", $world);
    settle($lead);
    compare("$name, with new settings", $world);
    invariants_hold($lead, "$name:", settled => 1);
}

cmp_ok($trials, '>=', 500, 'at least 500 reads were compared on each node');
cmp_ok($seen{$_}, '>', 0, "items that were $_ took part") for sort keys %seen;

done_testing();
