# Reading while others write: on the lead and on a standby, each answer equals the slow reference in
# the same snapshot, whatever happens at the same time; and at the end all counts and cells are right.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraWorld;
use AuroraWriters;
use Test::More;

my $seed = random_seed();
my $lead = new_lead('lead', deadlock_timeout => "'100ms'");
install_worlds($lead);
install_writers($lead);
make_world($lead, seed => $seed % 1000 / 1100, items => 1500, owners => 4);
$lead->safe_psql('postgres', 'SELECT aurora.set_groups_apart(30)');
my $standby = new_standby($lead, 'standby');

# ---- readers beside writers ----

my @reader = map { $_->background_psql('postgres') } $lead, $standby;
my $writers = start_writers($lead, clients => 5, transactions => 2500);
my @difference;
my $reads = 0;

# All reads of one transaction see one snapshot.
sub read_once
{
    my ($psql) = @_;
    my $owner = 'owner ' . (1 + int(rand(4)));
    my $company = 'company ' . (1 + int(rand(2)));
    my $quadrant = (qw(Q1_DO_NOW Q2_SCHEDULE Q3_DELEGATE Q4_ELIMINATE))[ int(rand(4)) ];

    $psql->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
    my $found = $psql->query_safe(<<"SQL");
SELECT reference.difference('surface', '$owner', NULL, 10, now());
SELECT reference.difference('surface', '$owner', NULL, 1000, now() + interval '1 second');
SELECT reference.difference('quadrant', '$owner', '$quadrant', 10, now());
SELECT reference.difference('company_surface', '$company', NULL, 25, now())
SQL
    $psql->query_safe('COMMIT');
    $found =~ s/^\n+|\n+$//g;
    return $found;
}

while (writers_run($writers))
{
    for my $psql (@reader)
    {
        my $found = read_once($psql);
        push @difference, $found if $found ne '';
        $reads += 4;
    }
}
my ($output, $status) = finish_writers($writers);
$_->quit for @reader;

is($status, 0, 'the writers came to their end') or diag($output);
is(scalar(@difference), 0, "each of the reads beside the writers equals the reference in its snapshot")
  or diag(join("\n", grep { defined } @difference[ 0 .. 4 ]));
cmp_ok($reads, '>=', 60, "many reads ($reads) were made beside the writers");
is_sql($lead, 'SELECT state, action, message FROM reference.trouble LIMIT 1', '',
    'the writers met no error but refusals that tell why');
note('refused: ' . $lead->safe_psql('postgres', 'SELECT state, action, count(*) FROM reference.refusal GROUP BY 1, 2 ORDER BY 3 DESC'));

# ---- afterwards ----

invariants_hold($lead, 'after the writers:');
catch_up($lead, $standby);
surfaces_are_exact($_, 'after the writers, on the ' . $_->name . ',') for $lead, $standby;
settle($lead);
invariants_hold($lead, 'once settings are applied:', settled => 1);
catch_up($lead, $standby);
surfaces_are_exact($_, 'once settings are applied, on the ' . $_->name . ',') for $lead, $standby;
is_sql($lead, 'SELECT count(*) - count(DISTINCT (scope, cell)) FROM aurora.item_cell', 0,
    'after a sweep no cell is registered twice');

$lead->safe_psql('postgres', "UPDATE aurora.principal SET owner = 'renamed' WHERE owner = 'owner 2'");
$lead->safe_psql('postgres', 'SELECT aurora.set_groups_apart(30)');
invariants_hold($lead, 'when an owner is renamed:');
surfaces_are_exact($lead, 'when an owner is renamed,');
settle($lead);
catch_up($lead, $standby);
surfaces_are_exact($standby, 'when an owner is renamed, with settings applied, on the standby,');

# ---- a group loses its cells of its own while an item of it is being added ----

make_world($lead, seed => $seed % 1000 / 1100, items => 0, owners => 1, companies => 1);
$lead->safe_psql('postgres', <<'SQL');
SELECT aurora.add_item('old ' || n, owner => 'owner 1', group_key => 'old') FROM generate_series(1, 20) n;
SELECT aurora.set_groups_apart(20);
SELECT aurora.complete(item_id) FROM aurora.item;
SELECT aurora.add_item('new ' || n, owner => 'owner 1', group_key => 'new') FROM generate_series(1, 20) n;
SQL
settle($lead);
my $late = $lead->background_psql('postgres');
$late->query_safe('BEGIN');
$late->query_safe("SELECT aurora.add_item('late', owner => 'owner 1', group_key => 'old')");
my $apart = $lead->background_psql('postgres');
$apart->query_until(qr/begun/, "\\echo begun\nSELECT aurora.set_groups_apart(20);\n");
$lead->poll_query_until('postgres',
    "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%set_groups_apart%'
     AND state = 'active' AND wait_event IS DISTINCT FROM 'relation' AND wait_event IS DISTINCT FROM 'virtualxid')");
$late->query_safe('COMMIT');
$late->quit;
$apart->quit;
$lead->safe_psql('postgres',
    "SELECT aurora.add_item('newer', owner => 'owner 1', group_key => 'new', received_at => now() + interval '1 hour');
     UPDATE aurora.item SET title = title WHERE group_key = 'new'");
surfaces_are_exact($lead, 'when a group loses its cells while an item of it is being added,');
invariants_hold($lead, 'when a group loses its cells while an item of it is being added:');
settle($lead);
invariants_hold($lead, 'and with settings applied:', settled => 1);

# ---- a sweep whose snapshot is older than what has been written ----

$lead->safe_psql('postgres', "SELECT aurora.complete(aurora.add_item('gone', 'chore', owner => 'owner 1', risk => 2))");
my $sweeper = $lead->background_psql('postgres', on_error_stop => 0);
$sweeper->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
$sweeper->query('SELECT count(*) FROM aurora.item');
my $came = $lead->safe_psql('postgres', "SELECT aurora.add_item('came', 'chore', owner => 'owner 1', risk => 2)");
$sweeper->query('SELECT aurora.sweep_cells()');
$sweeper->query('COMMIT');
$sweeper->quit;
invariants_hold($lead, 'after a sweep, or its refusal, in a transaction that is older than an item:');
is_sql($lead, "SELECT count(*) FROM aurora.surface(100, 'owner 1') WHERE item_id = $came", 1,
    'after a sweep, or its refusal, in an older transaction the item is on the surface');

# ---- an item is deleted while a duty looks at it ----

for my $duty ('archive_q4', 'sample_surface')
{
    my ($doomed) = $lead->safe_psql('postgres', "SELECT aurora.add_item('doomed', owner => 'owner 1', group_key => '$duty')");
    my $deleter = $lead->background_psql('postgres');
    my $worker = $lead->background_psql('postgres', on_error_stop => 0);

    $deleter->query_safe("BEGIN; DELETE FROM aurora.item WHERE item_id = $doomed");
    $worker->query_until(qr/begun/, "\\echo begun\nSELECT aurora.run_duty('$duty');\n");
    $lead->poll_query_until('postgres',
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%run_duty%'
         AND state = 'active' AND wait_event_type IS DISTINCT FROM 'Lock')");
    $deleter->query_safe('COMMIT');
    $_->quit for $deleter, $worker;
    is_sql($lead, "SELECT last_error FROM aurora.duties WHERE duty = '$duty'", '',
        "$duty does its work when an item is deleted meanwhile");
}

done_testing();
