# Nothing is lost: a backend, a postmaster and a standby are killed while clients write. What was
# committed is there afterwards, all counts and cells are right, and the standby follows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraWorld;
use AuroraWriters;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $seed = random_seed();
my $lead = new_lead('lead', restart_after_crash => 'on', deadlock_timeout => "'100ms'");
install_worlds($lead);
install_writers($lead);
make_world($lead, seed => $seed % 1000 / 1100, items => 800, owners => 4);
$lead->safe_psql('postgres', 'SELECT aurora.set_groups_apart(30)');
my $standby = new_standby($lead, 'standby');

# A client that adds items one by one and is told of each when it is committed.
sub start_witness
{
    my ($name) = @_;
    my $file = PostgreSQL::Test::Utils::tempdir() . '/adding.sql';
    my $witness = { told => '' };

    append_to_file($file, join('', map {
        my $company = 'company ' . (1 + $_ % 2);
        "SELECT 'kept ' || aurora.add_item('$name $_', owner => 'owner 1', company => '$company', group_key => 'thread 1');\n"
    } 1 .. 20_000));
    $witness->{run} = IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $lead->connstr('postgres'), '-f', $file ],
        '>', \$witness->{told}, '2>', \$witness->{error});
    $witness->{run}->pump until $witness->{told} =~ /kept \d+/;
    return $witness;
}

# The items that the witness was told of, once the server has gone away.
sub witnessed
{
    my ($witness) = @_;

    $witness->{run}->finish;
    return $witness->{told} =~ /^kept (\d+)$/mg;
}

sub backend_of
{
    my ($pattern) = @_;

    return $lead->safe_psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
         AND query LIKE '%$pattern%' ORDER BY backend_start LIMIT 1");
}

# Everything that holds, after the crash named.
sub check_all
{
    my ($crash, @ids) = @_;
    my $list = join(', ', @ids);

    cmp_ok(scalar(@ids), '>', 0, "$crash: a client had been told of commits");
    is_sql($lead, "SELECT count(*) FROM unnest(ARRAY[$list]::bigint[]) id
                   WHERE NOT EXISTS (SELECT FROM aurora.item WHERE item_id = id)
                     AND id NOT IN (SELECT item_id FROM reference.deleted)", 0,
        "$crash: all items of which a client had been told are there");
    invariants_hold($lead, "$crash:");
    catch_up($lead, $standby);
    surfaces_are_exact($_, "$crash: on the " . $_->name) for $lead, $standby;
    settle($lead);
    invariants_hold($lead, "$crash: with settings applied,", settled => 1);
    catch_up($lead, $standby);
    surfaces_are_exact($_, "$crash: with settings applied, on the " . $_->name) for $lead, $standby;
    is_same_on_both($lead, $standby, 'SELECT md5(string_agg(i::text, chr(10) ORDER BY item_id)) FROM aurora.item i',
        "$crash: the standby holds the same items");
    is_same_on_both($lead, $standby, 'SELECT sum(hashtext(c::text)), count(*) FROM aurora.item_cell c',
        "$crash: the standby holds the same registry of cells");
    return;
}

# Runs writers and the witness, lets the action strike in the middle, and brings the lead up again.
sub crash
{
    my ($name, $strike) = @_;
    my $writers = start_writers($lead, clients => 4, transactions => 100_000);
    my $before = $lead->safe_psql('postgres', 'SELECT max(history_id) FROM aurora.item_history');
    my $witness = start_witness($name);

    $lead->poll_query_until('postgres', "SELECT max(history_id) > coalesce(nullif('$before', '')::bigint, 0) + 100 FROM aurora.item_history");
    $strike->();
    finish_writers($writers);
    my @ids = witnessed($witness);
    $lead->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
    check_all($name, @ids);
    return;
}

# Kills a cluster's postmaster and starts it again when its children have noticed and gone.
sub kill_and_start
{
    my ($node) = @_;
    my @pids = split(/\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));

    push @pids, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /\A(\d+)/;
    $node->kill9;
    for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        last unless kill(0, @pids);
        usleep(100_000);
    }
    $node->start;
    return;
}

$lead->safe_psql('postgres', <<'SQL');
CREATE TABLE reference.deleted (item_id bigint);
CREATE FUNCTION reference.note_deleted() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO reference.deleted VALUES (OLD.item_id); RETURN NULL; END $$;
CREATE TRIGGER note_deleted AFTER DELETE ON aurora.item FOR EACH ROW EXECUTE FUNCTION reference.note_deleted();
SQL

crash('a killed backend', sub { kill('KILL', backend_of('act_at_random')); });
crash('a killed postmaster', sub { kill_and_start($lead); });
crash('an immediate stop', sub { $lead->stop('immediate'); $lead->start; });
crash('a crash while settings are applied', sub {
    my $psql = $lead->background_psql('postgres', on_error_stop => 0);

    $psql->query_until(qr/begun/, "SELECT aurora.set_company('company 1', big_threshold => 1234);\n"
          . "\\echo begun\nCALL aurora.apply_settings(20);\n");
    $lead->poll_query_until('postgres', 'SELECT count(*) > 0 FROM aurora.placement_run WHERE last_item_id > 0');
    kill_and_start($lead);
    eval { $psql->{run}->kill_kill; };
});

# ---- the standby is killed ----

my $writers = start_writers($lead, clients => 2, transactions => 40);
kill_and_start($standby);
finish_writers($writers);
my $last = $lead->safe_psql('postgres', "SELECT aurora.add_item('after all', owner => 'owner 1', company => 'company 1')");
check_all('a killed standby', $last);

done_testing();
