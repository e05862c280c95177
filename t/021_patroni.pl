# Under Patroni and etcd, as docs/patroni.md sets them up: the lead dies, Patroni promotes another
# node, and the duties, the epoch and the registry go along, while the standbys answer reads.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraPatroni;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $missing = patroni_missing();
plan skip_all => $missing if $missing;

my @names = qw(aurora vengeance runpod-tx);
my $agent_port = PostgreSQL::Test::Cluster::get_free_port();
my $etcd = start_etcd();
my @members = map { member($_) } 0 .. $#names;
my ($first, @standbys) = @members;
my @read_errors;
my $reads = 0;

# Quicker than in a mesh, so that the test is.
sub member
{
    my ($number) = @_;
    my $name = $names[$number];
    my %settings = (
        'aurora.agent_port' => $agent_port, 'aurora.heartbeat_interval' => '500ms', 'aurora.probe_interval' => '1s');
    my $member = new_member(
        name => $name, address => '127.0.0.' . ($number + 1), etcd => $etcd, settings => \%settings);

    append_to_file("$member->{folder}/agent.pgpass", "*:*:*:aurora_node_$name:of $name\n");
    chmod(0600, "$member->{folder}/agent.pgpass");
    return $member;
}

sub register
{
    my ($member) = @_;

    $first->{node}->safe_psql('postgres', <<"SQL");
SELECT aurora.register_node('$member->{name}', 'backup', '$member->{address}');
ALTER ROLE "aurora_node_$member->{name}" PASSWORD 'of $member->{name}';
SQL
    return;
}

# Reads that each standby answers whatever happens to the lead.
sub read_standbys
{
    for my $standby (@standbys)
    {
        my $answer = ask($standby,
            "SELECT (SELECT string_agg(title, ', ') FROM aurora.surface(1)),"
              . " (SELECT count(*) FROM aurora.nodes), (SELECT count(*) > 0 FROM aurora.health())",
            my $error);

        $reads++;
        push @read_errors, "$standby->{name}: " . ($answer // $error) if ($answer // '') ne 'Call the bank|3|t';
    }
    return;
}

# The member comes to answer as expected; the standbys are read all the while.
sub comes
{
    my ($member, $sql, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($answer, $error);

    wait_for($name, sub { ($answer = ask($member, $sql, $error) // '') eq $expected }, \&read_standbys);
    diag($error) if $error;
    return is($answer, $expected, $name);
}

sub comes_to
{
    my ($condition, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok(wait_for($name, $condition, \&read_standbys), $name);
}

sub worker_runs
{
    my ($member, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return comes($member, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'aurora worker'", $expected, $name);
}

sub streams_from
{
    my ($member, $lead, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return comes($lead,
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = '$member->{name}' AND state = 'streaming'", 1, $name);
}

# What the registry says of all nodes, asked on the member.
sub nodes_are
{
    my ($member, $roles, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $expected = join(', ', map { "$_ $roles->{$_}" } sort keys %$roles);

    return comes($member,
        "SELECT string_agg(format('%s %s %s', name, role, state), ', ' ORDER BY name COLLATE \"C\") FROM aurora.nodes",
        $expected, $name);
}

# ---- Patroni makes the cluster ----

start_member($first);
ok(wait_for('a lead', sub { patroni_role($first) eq 'primary' }), 'Patroni makes the first node the lead');
$first->{node}->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
register($_) for @members;
$first->{node}->safe_psql('postgres', "SELECT aurora.add_item('Call the bank', due_at => now() + interval '1 hour')");

start_member($_) for @standbys;
for my $standby (@standbys)
{
    ok(wait_for('streaming', sub { (ask($standby, 'SELECT status FROM pg_stat_wal_receiver') // '') eq 'streaming' }),
        "$standby->{name} is made a standby");
}
for my $member (@members)
{
    is(ask($member, 'SHOW aurora.node_name'), $member->{name}, "$member->{name} has its name from its Patroni");
}
nodes_are($first, { aurora => 'lead up', 'runpod-tx' => 'backup up', vengeance => 'backup up' },
    'the agent of each node reports to the lead');
comes($first, 'SELECT aurora.lead_duty()', 't', 'the lead has the duties');
worker_runs($first, 1, 'and the worker');
is(ask($first, 'SELECT lead FROM aurora.epoch()'), 'aurora', 'the epoch is its own');
my ($old_timeline, $old_epoch) = split /\|/, ask($first, 'SELECT timeline, id FROM aurora.epoch()');
my %started = map { $_->{name} => ask($_, 'SELECT pg_postmaster_start_time()') } @standbys;

# ---- the lead dies, having written what no standby has got ----

my @senders = split /\n/, ask($first, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'");
kill 'STOP', @senders;
$first->{node}->safe_psql('postgres', "SELECT aurora.add_item('lost', due_at => now() + interval '1 day')");
kill_member($first, @senders);

my $lead;
comes_to(sub { ($lead) = grep { (ask($_, 'SELECT aurora.lead_duty()') // '') eq 't' } @standbys; $lead },
    'another node takes up the duties');
die 'no new lead' unless $lead;
my ($follower) = grep { $_ != $lead } @standbys;
note("the new lead is $lead->{name}");

comes_to(sub { patroni_role($lead) eq 'primary' }, 'it is the one that Patroni promoted');
comes($lead, "SELECT timeline > $old_timeline AND id::text <> '$old_epoch' AND lead = '$lead->{name}' FROM aurora.epoch()", 't',
    'it has an epoch of its own');
worker_runs($lead, 1, 'it runs the worker');
is(ask($lead, 'SELECT count(*) FROM aurora.nodes WHERE role::text = \'lead\''), 1, 'there is one lead');

# ---- the other standby follows ----

my $epoch = ask($lead, 'SELECT timeline, id, lead FROM aurora.epoch()');
streams_from($follower, $lead, 'the other standby follows the new lead');
$lead->{node}->safe_psql('postgres', "SELECT aurora.add_item('after', due_at => now() + interval '1 day')");
comes($follower, "SELECT count(*) FROM aurora.item WHERE title = 'after'", 1, 'and has what is written there');
comes($follower, 'SELECT timeline, id, lead FROM aurora.epoch()', $epoch, 'and its epoch');
comes($follower, 'SELECT link FROM aurora.agent_status()', 'connected', 'its agent reports to the new lead');
is(ask($follower, 'SELECT aurora.lead_duty()'), 'f', 'it has no duties');
worker_runs($follower, 0, 'and no worker');
for my $member ($lead, $follower)
{
    nodes_are($member, { aurora => 'backup down', $lead->{name} => 'lead up', $follower->{name} => 'backup up' },
        "on $member->{name} the dead node is down");
}

# ---- the old lead comes back ----

start_member($first);
streams_from($first, $lead, 'the old lead comes back as a standby');
like(patroni_log($first), qr/pg_rewind exit code=0/, 'by pg_rewind');
is(ask($first, 'SHOW aurora.node_name'), $first->{name}, 'with its own name');
comes($first, "SELECT string_agg(title, ', ' ORDER BY item_id) FROM aurora.item", 'Call the bank, after',
    'with what the new lead has, and without what was lost');
comes($first, 'SELECT timeline, id, lead FROM aurora.epoch()', $epoch, 'and with the new epoch');
is(ask($first, 'SELECT aurora.lead_duty()'), 'f', 'it has no duties');
worker_runs($first, 0, 'and no worker');
for my $member (@members)
{
    nodes_are($member, { aurora => 'backup up', $lead->{name} => 'lead up', $follower->{name} => 'backup up' },
        "on $member->{name} all nodes are up");
}
is(ask($lead, 'SELECT timeline, id, lead FROM aurora.epoch()'), $epoch, 'the new lead has kept its epoch');

# ---- reads, all the while ----

cmp_ok($reads, '>', 0, 'the standbys were read all the while');
note("$reads reads");
is(join("\n", @read_errors), '', 'and answered every time');
is(ask($_, 'SELECT pg_postmaster_start_time()'), $started{ $_->{name} }, "$_->{name} was never restarted") for @standbys;

done_testing();
