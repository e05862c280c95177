# Four nodes on a mesh, with TLS and passwords: they register themselves and measure each other;
# what is cut off is known as such; without a lead every standby goes on; the most advanced one takes
# over, and the old lead is fenced when it comes back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraNetwork;
use AuroraMesh;
use AuroraCluster qw(try_sql sql_state);
use PostgreSQL::Test::Utils;
use Test::More;

# Times are short, so that what takes some of them does not take long.
my @nodes = my ($aurora, $runpod, $vengeance, $robbie) = new_mesh(
    shared_preload_libraries => 'aurora',
    'aurora.database' => 'aurora',
    'aurora.heartbeat_interval' => '500ms',
    'aurora.probe_interval' => '1s');
my @standbys = ($runpod, $vengeance, $robbie);
my %all_up = map { $_->name => 'up' } @nodes;

sub sql
{
    my ($node, $sql) = @_;

    return $node->safe_psql('aurora', $sql);
}

# Waits until the query gives true. What the node knows shows when it never does.
sub becomes_true
{
    my ($node, $sql, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return 1 if ok($node->poll_query_until('aurora', $sql), $name);
    diag($node->name . ' says:');
    diag(join("\n", try_sql($node, $_, 'aurora')))
      for 'SELECT name, role, state, reason, last_heartbeat, observed_by FROM aurora.nodes',
        'SELECT * FROM aurora.agent_status()', 'SELECT * FROM aurora.health()';
    return 0;
}

# Waits until the node shows all nodes in these states.
sub shows
{
    my ($node, $states, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $expected = join(', ', map { "$_ $states->{$_}" } sort keys %$states);

    return becomes_true($node, "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name COLLATE \"C\") = '$expected'
                                FROM aurora.nodes", $name);
}

# Counts the heartbeats that the lead writes, until some are due. A probe that a peer is asked for may
# bring some more, hence the factor.
sub beats_as_set
{
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($beat, $at) = split(/\|/, sql($node, 'SELECT beat, at FROM aurora.lead_heartbeat'));

    becomes_true($node, "SELECT at >= timestamptz '$at' + interval '3 s' FROM aurora.lead_heartbeat",
        'heartbeats go on');
    return is(sql($node, "SELECT format('%s beats instead of %s', beat - $beat, due)
                          FROM aurora.lead_heartbeat, round(extract(epoch FROM at - timestamptz '$at') / 0.5) due
                          WHERE beat - $beat > 4 * due"), '', $name);
}

# What a client on a node gets to hear that connects to the lead; $option replaces what the node's
# own agent would say.
sub refusal
{
    my ($node, %option) = @_;
    my ($out, $err) = run_command([ on_node($node->name), 'psql', '--no-psqlrc', '--no-password',
        '--command', 'SELECT 1',
        $node->conninfo([$aurora], dbname => 'aurora', user => $node->login, %option) ]);

    return $err;
}

# ---- everybody comes ----

start_lead($aurora);
$aurora->safe_psql('postgres', 'CREATE DATABASE aurora');
my $register = join("\n",
    map { "SELECT aurora.register_node('" . $_->name . "', address => '" . $_->address . "');" } @nodes);

sql($aurora, <<'SQL');
CREATE EXTENSION aurora;
SELECT aurora.add_item('item ' || n, amount => n * 1000) FROM generate_series(1, 20) n;
SELECT aurora.register_node('vengeance', 'compute');
SELECT aurora.register_node('robbiebook1', 'edge');
ALTER ROLE aurora_node_vengeance PASSWORD 'of vengeance';
CREATE ROLE "aurora_node_runpod-tx" LOGIN PASSWORD 'of runpod-tx' IN ROLE aurora_node;
CREATE ROLE aurora_node_aurora LOGIN PASSWORD 'of aurora' IN ROLE aurora_node;
SQL
shows($aurora, { aurora => 'up', vengeance => 'unknown', robbiebook1 => 'unknown' },
    'a lead registers itself; nodes of which nothing was heard are unknown');
add_standby($aurora, $_) for @standbys;
streams_from($aurora, \@standbys, 'three standbys stream over the mesh');
shows($aurora, \%all_up, 'they are up as soon as they report; one had not been registered at all');
is(sql($_, "SELECT listening ~ '^off: .* no address' FROM aurora.agent_status()"), 't',
    $_->name . ' says that it cannot be probed as long as nobody gave its address') for @nodes;
sql($aurora, $register);

for my $node (@standbys)
{
    my $name = $node->name;
    my ($out, $err) = try_sql($node, 'CREATE EXTENSION IF NOT EXISTS aurora', 'aurora');

    like($err, qr/NOTICE: .*"\Q$name\E"/s, "CREATE EXTENSION IF NOT EXISTS on $name tells its name");
    unlike($err, qr/ERROR/, "and is no error");
}

my $addresses = join(', ', map { $_->name . ' ' . $_->address } sort { $a->name cmp $b->name } @nodes);

for my $node (@nodes)
{
    my $name = $node->name;

    shows($node, \%all_up, "$name shows all nodes as up");
    becomes_true($node, "SELECT string_agg(name || ' ' || host(address), ', ' ORDER BY name COLLATE \"C\")
                         = '$addresses' FROM aurora.nodes", "$name shows their addresses");
    becomes_true($node, "SELECT string_agg(name || ' ' || role, ', ' ORDER BY name COLLATE \"C\")
                         = 'aurora lead, robbiebook1 edge, runpod-tx backup, vengeance compute' FROM aurora.nodes",
        "$name shows their roles; the one that nobody registered is a backup");
    becomes_true($node, "SELECT bool_and(lag_bytes IS NOT NULL AND lag_seconds < 5 AND timeline = 1
                                         AND postgres_version IS NOT NULL AND last_heartbeat IS NOT NULL)
                         FROM aurora.nodes WHERE role <> 'lead'", "$name shows the lag of the standbys");
    becomes_true($node, 'SELECT count(DISTINCT (from_node, to_node)) = 12 AND bool_and(rtt_ms > 0)
                         FROM aurora.topology', "$name shows the round-trip time from each node to each other one");
}

# ---- nobody else comes ----

like(refusal($runpod, sslmode => 'disable'), qr/no pg_hba\.conf entry/, 'nobody comes in without TLS');
like(refusal($runpod, passfile => '/dev/null'), qr/no password supplied/, 'nor without a password');
like(refusal($runpod, user => 'aurora_node_robbiebook1'), qr/certificate/, 'nor without the certificate of the role');
like(refusal($runpod, user => 'replicator'), qr/no pg_hba\.conf entry/, 'nor as a role from elsewhere');
SKIP:
{
    skip('there is one network only', 1) unless has_tunnels();
    like(refusal($runpod, host => outside_address('aurora')), qr/Connection refused/, 'nor beside the mesh');
}

# ---- a standby is cut off ----

# A client that listens to the lead; what it is told goes into the file.
my $told = PostgreSQL::Test::Utils::tempdir() . '/told';
open(my $listener, '|-', 'psql', '--no-psqlrc', '--quiet', '--output', $told, $aurora->connstr('aurora')) or die $!;
$listener->autoflush(1);
print $listener "LISTEN aurora_node;\n";
$aurora->poll_query_until('postgres',
    "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^LISTEN' AND state = 'idle'");

$robbie->cut_off;
shows($aurora, { %all_up, robbiebook1 => 'down' }, 'a standby that is cut off is down on the lead');
shows($_, { %all_up, robbiebook1 => 'down' }, 'and on ' . $_->name) for $runpod, $vengeance;
sql($aurora, "SELECT aurora.add_item('while robbiebook1 was away', amount => 90000)");
my $arrived = "SELECT count(*) = 1 FROM aurora.item WHERE title = 'while robbiebook1 was away'";
SKIP:
{
    skip('without tunnels the node is not merely cut off', 4) unless has_tunnels();
    is(sql($robbie, 'SELECT count(*) FROM aurora.surface(10)'), '10', 'the standby still has its surface');
    is(sql($robbie, $arrived), 'f', 'as it was when it was cut off');
    becomes_true($robbie, "SELECT state <> 'up' FROM aurora.nodes WHERE name = 'aurora'",
        'it does not show the lead as up');
    becomes_true($robbie, "SELECT link <> 'connected' FROM aurora.agent_status()", 'and its agent has no link');
}

$robbie->reconnect;
shows($_, \%all_up, 'when it is back, ' . $_->name . ' shows all nodes as up') for @nodes;
becomes_true($robbie, $arrived, 'and it has what it missed');
print $listener "SELECT 1;\n";
close($listener);
my $payload = '"aurora_node" with payload "(?=[^\n]*"node": "robbiebook1")[^\n]*"to": ';
like(slurp_file($told), qr/$payload"down".*$payload"up"/s, 'who listens is told of both');
is(sql($aurora, "SELECT string_agg(to_state::text, ' ' ORDER BY at) FROM aurora.node_transitions
                 WHERE name = 'robbiebook1' AND to_state IN ('up', 'down')"), 'up down up', 'the history has it');
is(sql($aurora, "SELECT count(*) FROM aurora.node_transitions WHERE to_state = 'down' AND name <> 'robbiebook1'"), '0',
    'no other node was ever down');

# ---- one direction is cut ----

SKIP:
{
    skip('without tunnels no single direction can be cut', 6) unless has_tunnels();

    for my $path ([ 'robbiebook1', 'aurora' ], [ 'aurora', 'robbiebook1' ])
    {
        cut_path(@$path);
        shows($aurora, { %all_up, robbiebook1 => 'degraded' },
            "when nothing comes from $path->[0] to $path->[1], but its peers hear it, robbiebook1 is degraded");
        shows($vengeance, { %all_up, robbiebook1 => 'degraded' }, 'on its peers, too');
        heal_path(@$path);
        shows($aurora, \%all_up, 'and up when it is healed');
    }
}

# ---- a wrong password ----

my $log_out = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename LIKE 'aurora_node_%'";

sql($aurora, "ALTER ROLE aurora_node_vengeance PASSWORD 'another'");
sql($aurora, $log_out);
becomes_true($vengeance, "SELECT last_error LIKE '%password authentication failed%' FROM aurora.agent_status()",
    'an agent whose password is wrong says so');
is(sql($vengeance, "SELECT agent_status::text LIKE '%of vengeance%' FROM aurora.agent_status()"), 'f',
    'but not which one it has');
shows($aurora, { %all_up, vengeance => 'degraded' }, 'its node is degraded, since its peers still hear it');
beats_as_set($aurora, 'that it is probed all the time lets nobody report more often');
$vengeance->set_password('aurora_node_vengeance', 'another');
becomes_true($vengeance, "SELECT link = 'connected' FROM aurora.agent_status()", 'with the right password it is back');
shows($aurora, \%all_up, 'and its node is up');

# ---- wrong names ----

$vengeance->stop;
$vengeance->configure('aurora.node_name' => 'runpod-tx');
$vengeance->set_password('aurora_node_runpod-tx', 'of runpod-tx');
$vengeance->start;
becomes_true($vengeance, "SELECT last_rejection LIKE '%runpod-tx%' FROM aurora.agent_status()",
    'a second node of the same name is rejected and says so');
becomes_true($aurora, "SELECT state = 'degraded' AND reason ~ 'another machine' FROM aurora.nodes
                       WHERE name = 'runpod-tx'", 'the first one is degraded, and the reason tells why');
is(sql($aurora, "SELECT host(address) FROM aurora.node WHERE name = 'runpod-tx'"), $runpod->address,
    'but keeps its place');

my $mark = -s $vengeance->logfile;
$vengeance->stop;
$vengeance->configure('aurora.node_name' => 'No Label!');
ok(!$vengeance->start(fail_ok => 1), 'a server whose node name is no DNS label does not start');
like(slurp_file($vengeance->logfile, $mark), qr/FATAL: .*"aurora\.node_name": "No Label!"/, 'and says why');

$vengeance->stop;
$vengeance->configure('aurora.node_name' => 'vengeance');
$vengeance->set_password('aurora_node_vengeance', 'another');
$vengeance->start;
shows($aurora, \%all_up, 'with its own name it is back, and all nodes are up');

# ---- the lead is restarted ----

my $epoch = sql($aurora, 'SELECT id FROM aurora.epoch()');
my $downs = "SELECT count(*) FROM aurora.node_transitions WHERE to_state = 'down'";
my $before = sql($aurora, $downs);
$aurora->restart;
becomes_true($aurora, 'SELECT aurora.lead_duty()', 'a lead that was restarted is on duty again');
becomes_true($aurora, "SELECT bool_and(state = 'up' AND last_heartbeat > pg_postmaster_start_time()) FROM aurora.nodes",
    'and all nodes report to it');
is(sql($aurora, 'SELECT id FROM aurora.epoch()'), $epoch, 'in the same epoch');
is(sql($aurora, $downs), $before, 'and no node was taken to be down');

# ---- the lead is gone ----

# vengeance misses what the lead has committed last, and must not be the next lead.
streams_from($aurora, \@standbys, 'three standbys stream');
$vengeance->cut_off($aurora);
streams_from($aurora, [ $runpod, $robbie ], 'the lead lost one of them');
sql($aurora, "SELECT aurora.add_item('the last one of the old lead', amount => 91000)");
$aurora->wait_for_catchup($_->name, 'replay') for $runpod, $robbie;
$aurora->cut_off;
$vengeance->reconnect($aurora);

for my $node (@standbys)
{
    my $name = $node->name;
    my ($out, $err) = try_sql($node, "SELECT aurora.add_item('x')", 'aurora');

    is(sql_state($err), '25006', "without a lead writes on $name fail with 25006");
    is(sql($node, 'SELECT count(*) FROM aurora.surface(10)'), '10', "$name still has its surface");
    shows($node, { %all_up, aurora => 'down', $name => 'degraded' },
        "$name shows the lead as down, its peers as up, and itself as cut off");
    isnt(sql($node, "SELECT state FROM aurora.health() WHERE component = 'verdict'"), 'up', 'its health is impaired');
    is(sql($node, 'SELECT aurora.lead_duty()'), 'f', 'and the duty of the lead is not its own');
}
SKIP:
{
    skip('without tunnels the lead is dead', 2) unless has_tunnels();
    shows($aurora, { %all_up, map { $_->name => 'unknown' } @standbys },
        'for the lead, which is cut off, the others are not all down, but unknown');
    sql($aurora, "SELECT aurora.add_item('written aside')");
    pass('it does not know of its state and takes writes');
}

# ---- the most advanced standby takes over ----

becomes_true($_, 'SELECT count(*) = 3 AND count(*) FILTER (WHERE rank = 1 AND behind_bytes = 0) = 1
                         AND bool_and(behind_bytes > 0) FILTER (WHERE name = \'vengeance\')
                  FROM aurora.promotion_candidates() WHERE name <> \'aurora\'',
    $_->name . ' knows that vengeance is behind') for @standbys;
my %first = map { sql($_, 'SELECT name FROM aurora.promotion_candidates() WHERE rank = 1') => 1 } @standbys;
is(scalar(keys %first), 1, 'they agree on who comes first: ' . join(', ', sort keys %first));
my ($lead) = grep { $first{ $_->name } } @standbys;
my @followers = grep { $_ != $lead } @standbys;

$lead->promote;
becomes_true($lead, 'SELECT aurora.lead_duty()', 'the promoted standby has the duty of the lead');
becomes_true($lead, "SELECT timeline = 2 AND lead = '" . $lead->name . "' AND id <> '$epoch' FROM aurora.epoch()",
    'in an epoch of its own');
streams_from($lead, \@followers, 'the others follow it');
shows($_, { %all_up, aurora => 'down' }, $_->name . ' shows the old lead as down, and the others as up') for @standbys;
becomes_true($_, "SELECT string_agg(name, ' ') = '" . $lead->name . "' FROM aurora.nodes WHERE role = 'lead'",
    $_->name . ' shows the new lead as the only one') for @standbys;
sql($lead, "SELECT aurora.add_item('the first one of the new lead')");
becomes_true($_, "SELECT count(*) = 2 FROM aurora.item WHERE title ~ ' one of the (old|new) lead'",
    $_->name . ' has the last item of the old lead and the first one of the new') for @followers;

# ---- the old lead comes back ----

$aurora->reconnect;
becomes_true($aurora, 'SELECT NOT aurora.lead_duty()',
    'an old lead that comes back hears of the new one, and is fenced');
becomes_true($aurora, "SELECT off_duty ~ 'fenced: node .* has an epoch of timeline 2' FROM aurora.agent_status()",
    'its agent says why');
becomes_true($aurora, "SELECT bool_or(component = 'lead' AND reason ~ 'fenced') FROM aurora.health()",
    'and so does its health');
is(sql($lead, 'SELECT aurora.lead_duty()'), 't', 'the new lead keeps its duty');

# The old lead is the first one that agents ask, and still takes writes.
sql($lead, $log_out);
my $asked = sql($lead, 'SELECT now()');
becomes_true($lead, "SELECT count(*) = 3 AND bool_and(state = 'up' AND last_heartbeat > '$asked')
                     FROM aurora.nodes WHERE name <> 'aurora'", 'agents that look for the lead find the new one');
beats_as_set($lead, 'the old one, which answers probes but does not report, lets nobody else report more often');

$aurora->stop;
$aurora->rewind($lead);
$aurora->start;
streams_from($lead, [ $aurora, @followers ], 'once rewound, it is a standby of the new lead');
shows($_, \%all_up, $_->name . ' shows all nodes as up again') for @nodes;
is(sql($aurora, "SELECT count(*) FROM aurora.item WHERE title = 'written aside'"), '0', 'what it wrote aside is gone');
is(sql($aurora, 'SELECT aurora.lead_duty()'), 'f', 'it does not have the duty of the lead');
is(sql($aurora, "SELECT off_duty ~ 'fenced' FROM aurora.agent_status()"), 'f', 'it is no longer fenced');
is(sql($aurora, 'SELECT id FROM aurora.epoch()'), sql($lead, 'SELECT id FROM aurora.epoch()'),
    'it is in the epoch of the new lead');

# ---- a synchronous standby is missing ----

$lead->configure(synchronous_standby_names => 'ANY 4 (*)');
$lead->reload;
becomes_true($lead, 'SELECT NOT aurora.lead_duty()',
    'a lead that asks for more synchronous standbys than it has is off duty');
becomes_true($lead, "SELECT bool_or(component = 'lead' AND reason ~ 'synchronous_standby_names')
                     FROM aurora.health()", 'and its health says why');
beats_as_set($lead, 'but its agent waits for none of them');
shows($_, \%all_up, $_->name . ' shows all nodes as up') for @nodes;
$lead->configure(synchronous_standby_names => 'ANY 1 (*)');
$lead->reload;
becomes_true($lead, 'SELECT aurora.lead_duty()', 'it is on duty again when there are enough');

done_testing();
