# The agent: it runs on every node, tells the lead how its node is, goes on when the lead is away, and
# is in nobody's way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraNodes;
use PostgreSQL::Test::Utils;
use Test::More;

my $agents = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'aurora agent'";
my $nodes_up = "SELECT string_agg(name || ' ' || role || ' ' || state, ', ' ORDER BY name) FROM aurora.nodes";

# ---- lead and standby ----

my $lead = new_node_lead('alpha');
my $standby = new_node_standby($lead, 'beta');
my ($host, $port) = ($lead->host, $lead->port);

comes($_, $agents, 'an agent runs on ' . $_->name, '1') for $lead, $standby;
comes($_, $nodes_up, 'both nodes are up, as ' . $_->name . ' shows it', 'alpha lead up, beta backup up') for $lead, $standby;
comes($standby, 'SELECT link, last_error FROM aurora.agent_status()', 'the agent of the standby is connected', 'connected|');
comes($lead, 'SELECT link FROM aurora.agent_status()', 'that of the lead needs no connection', 'local');
comes($lead, "SELECT count(*) = 2 AND bool_and(failures = 0 AND rtt_ms > 0) FROM aurora.topology", 'each has probed the other');
comes($standby, "SELECT state FROM aurora.health() LIMIT 1", 'all is well, as the standby sees it', 'up');
is_sql($standby, "SELECT (capabilities->>'cpu_cores')::int > 0 AND (capabilities->>'memory_bytes')::bigint > 0
                  FROM aurora.nodes WHERE name = 'beta'", 't', 'the standby has told what its machine has');

# ---- the extension on a standby ----

for my $create ('CREATE EXTENSION aurora', 'CREATE EXTENSION IF NOT EXISTS aurora', 'CREATE EXTENSION aurora CASCADE')
{
    my ($out, $err) = try_sql($standby, $create);

    unlike($err, qr/ERROR/, "$create on the standby does not fail");
    like($err, qr/NOTICE:.*has come by replication.*"beta", reports to the lead/s, "$create there tells of this node");
}
$lead->safe_psql('postgres', 'CREATE DATABASE bare');
catch_up($lead, $standby);
my @refused = map { [ $_, 'postgres' ] } 'DROP EXTENSION aurora', 'DROP EXTENSION IF EXISTS aurora CASCADE', 'ALTER EXTENSION aurora UPDATE',
  'ALTER EXTENSION aurora SET SCHEMA public', 'ALTER EXTENSION aurora DROP TABLE aurora.item';
for my $case ([ 'CREATE EXTENSION aurora', 'bare' ], [ 'CREATE EXTENSION IF NOT EXISTS aurora', 'bare' ], @refused)
{
    my ($sql, $database) = @$case;
    my ($out, $err) = try_sql($standby, $sql, $database);

    is(sql_state($err), '25006', "on the standby in database $database refused: $sql") or diag($err);
    like($err, qr/HINT:  Run it on the lead, at \Q$host\E port $port\./, '... with a hint that names the lead');
}

# ---- it comes back ----

for my $node ($lead, $standby)
{
    my $pid = agent_pid($node);
    my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

    kill('TERM', $pid);
    comes($node, "SELECT pid <> $pid AND pid IS NOT NULL FROM aurora.agent_status()",
        'ended, the agent comes back on ' . $node->name);
    is_sql($node, 'SELECT pg_postmaster_start_time()', $started, 'and Postgres went on meanwhile');
}
state_comes($lead, 'beta', 'up', '', 'the node is up with its new agent');
my $before = agent_pid($standby);
my $lead_before = agent_pid($lead);
$lead->safe_psql('postgres', 'DROP EXTENSION aurora CASCADE');
catch_up($lead, $standby);
is_sql($standby, "SELECT to_regclass('aurora.node') IS NULL", 't', 'DROP EXTENSION is replicated below the agent');
$lead->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
register_node($lead, $_) for 'alpha', 'beta';
comes($_, $nodes_up, 'after DROP and CREATE EXTENSION both are up again, as ' . $_->name . ' shows it', 'alpha lead up, beta backup up')
  for $lead, $standby;
is(agent_pid($standby), $before, 'with the same agent on the standby');
is(agent_pid($lead), $lead_before, 'and on the lead');

# ---- a wrong password ----

my $passwords = $standby->basedir . '/passwords';

sub set_password_file
{
    my ($password) = @_;

    unlink($passwords);
    append_to_file($passwords, "*:*:*:aurora_node_beta:$password\n");
    chmod(0600, $passwords) or die "$passwords: $!";
    return;
}

set_password_file('wrong');
$lead->safe_psql('postgres', "ALTER ROLE aurora_node_beta PASSWORD 'right'");
my $admission = slurp_file($lead->data_dir . '/pg_hba.conf');
unlink($lead->data_dir . '/pg_hba.conf');
append_to_file($lead->data_dir . '/pg_hba.conf', "local all aurora_node_beta scram-sha-256\n$admission");
$lead->reload;
my $offset = -s $standby->logfile;
my $lead_offset = -s $lead->logfile;
configure_node($standby, 'aurora.lead_conninfo' => "'host=$host port=$port passfile=$passwords'");
my $disconnect = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'aurora_node_beta'";
$lead->safe_psql('postgres', $disconnect);
comes($standby, "SELECT last_error LIKE '%password authentication failed for user \"aurora_node_beta\"%' FROM aurora.agent_status()",
    'a wrong password is shown in agent_status()');
comes($standby, "SELECT state FROM aurora.health() WHERE component = 'agent'", 'and in health()', 'degraded');
my $failures = qr/FATAL: .*password authentication failed for user "aurora_node_beta"/;
ok(wait_until(sub { log_count($lead, $failures, $lead_offset) >= 4 }), 'it tries again and again');
is(log_count($standby, qr/the agent has no lead at.*password/, $offset), 1, 'its log tells it once');
unlike(substr(slurp_file($standby->logfile), $offset), qr/\bwrong\b/, 'and no password');
state_comes($lead, 'beta', 'degraded', 'no heartbeat, but %', 'the lead knows that the node is there and does not report');
my $rate = "SELECT round(beat / extract(epoch FROM at - timestamptz '%s')) FROM (SELECT beat - %s AS beat, at FROM aurora.lead_heartbeat) h";
my @then = split(/\|/, $lead->safe_psql('postgres', 'SELECT at, beat FROM aurora.lead_heartbeat'));
time_passes($lead, 3);
my $beats = $lead->safe_psql('postgres', sprintf($rate, @then));
cmp_ok($beats, '<=', 4, 'meanwhile the lead beats as often as it should, twice in a second');
set_password_file('right');
comes($standby, 'SELECT link, last_error FROM aurora.agent_status()', 'it heals when the password is right', 'connected|');
state_comes($lead, 'beta', 'up', '', 'and the node is up again');

# ---- a lead that does not answer ----

my $third = new_node_standby($lead, 'gamma');
state_comes($lead, 'gamma', 'up', '', 'a third node is up');
comes($third, "SELECT failures = 0 AND answered_seconds_ago IS NOT NULL FROM aurora.local_peers() WHERE node = 'beta'",
    'it gets answers from the second');
pause_server($lead);
comes($standby, "SELECT link <> 'connected' AND last_error LIKE '%in time%' FROM aurora.agent_status()",
    'a lead that takes connections and answers nothing is given up');
state_comes($standby, 'alpha', 'down', 'it does not answer this node_s probes', 'and shown as down');
my $asked = $third->safe_psql('postgres', 'SELECT clock_timestamp()');
comes($third, "SELECT failures = 0 AND clock_timestamp() - make_interval(secs => answered_seconds_ago) > '$asked'
               FROM aurora.local_peers() WHERE node = 'beta'", 'meanwhile its agent goes on answering probes');
comes($standby, 'SELECT step_seconds_ago < 1.5 FROM aurora.agent_status()', 'and stepping');
is_sql($standby, "SELECT observed_by FROM aurora.nodes WHERE name = 'beta'", 'beta', 'local views answer');
is_sql($standby, "SELECT state FROM aurora.health() WHERE component = 'replication'",
    'down', 'health() tells that nothing comes');
is_sql($standby, 'SELECT count(*) FROM aurora.surface()', '0', 'and the surface answers');
wake_server($lead);
comes($lead, "SELECT count(*) FROM aurora.nodes WHERE state = 'up'", 'all are up when it answers again', '3');

# ---- several hosts ----

my $dead = free_udp_port();
$offset = -s $standby->logfile;
configure_node($standby, 'aurora.lead_conninfo' =>
      "'host=192.0.2.1,$host,$host port=5432,$dead,$port passfile=$passwords'");
kill('TERM', agent_pid($standby));
comes($standby, 'SELECT link, lead_host FROM aurora.agent_status()', 'dead hosts are passed over', "connected|$host port $port");
state_comes($lead, 'beta', 'up', '', 'and the node is up');
my ($gamma_host, $gamma_port) = ($third->host, $third->port);
configure_node($standby, 'aurora.lead_conninfo' => "'host=$gamma_host,$host port=$gamma_port,$port passfile=$passwords'");
kill('TERM', agent_pid($standby));
comes($standby, "SELECT link, lead_host FROM aurora.agent_status() WHERE link = 'connected'", 'a standby is passed over, too',
    "connected|$host port $port");
$standby->append_conf('postgresql.conf', "aurora.lead_conninfo = 'no such = thing'");
$standby->reload;
ok(wait_until(sub { log_count($standby, qr/invalid value for parameter "aurora.lead_conninfo"/, $offset) > 0 }),
    'a conninfo that cannot be read is refused');
configure_node($standby, 'aurora.lead_conninfo' => "'host=$host port=$port passfile=$passwords'");

# ---- reports ----

sub report
{
    my ($api, $status) = @_;

    return "SELECT aurora.report_connectivity('$api', '$status', 12)";
}

$standby->safe_psql('postgres', report('twice', 'down'));
$standby->safe_psql('postgres', report('twice', 'healthy'));
comes($lead, "SELECT status, latency_ms, reported_by IS NOT NULL FROM aurora.connectivity WHERE node = 'beta' AND api = 'twice'",
    'what is reported on the standby arrives on the lead, the latest wins', 'healthy|12|t');
$lead->stop;
comes($standby, 'SELECT cut_off AND replicated_seconds_ago > 11 FROM aurora.agent_status()', 'the lead is away for longer than it may');
$standby->safe_psql('postgres', "SET client_min_messages = error; SELECT aurora.report_connectivity('api-' || n, 'down') FROM generate_series(1, 300) n");
my $drops = $standby->safe_psql('postgres', 'SELECT drops FROM aurora.agent_status()');
my $kept = $standby->safe_psql('postgres', "SELECT count(*) FROM aurora.local_reports() WHERE key LIKE 'api-%' AND NOT delivered");
is($drops + $kept, 300, 'of 300 reports each is kept or counted as dropped');
cmp_ok($drops, '>', 0, 'there is no room for all');
is_sql($standby, "SELECT count(*) FROM aurora.connectivity WHERE node = 'beta' AND api LIKE 'api-%' AND status = 'down'", $kept,
    'the standby shows those it keeps');
my ($out, $err) = try_sql($standby, report('api-9999', 'down'));
like($err, qr/WARNING.*no room/s, 'a report without room is told to who makes it');
$standby->safe_psql('postgres', report('api-1', 'degraded'));
is_sql($standby, "SELECT status FROM aurora.connectivity WHERE node = 'beta' AND api = 'api-1'", 'degraded',
    'a later report takes the place of an earlier one');
is_sql($standby, 'SELECT drops FROM aurora.agent_status()', $drops + 1, 'and needs no room of its own');
my $transitions = "SELECT count(*) FROM aurora.node_transitions WHERE to_state = 'up'";
my $history = $standby->safe_psql('postgres', $transitions);
$lead->start;
comes($lead, "SELECT count(*) FROM aurora.connectivity WHERE node = 'beta' AND api LIKE 'api-%'",
    'when the lead is back they arrive', $kept);
is_sql($lead, "SELECT status FROM aurora.connectivity WHERE node = 'beta' AND api = 'api-1'",
    'degraded', 'as they were reported last');
comes($lead, "SELECT lost_reports FROM aurora.nodes WHERE name = 'beta'", 'and the lead shows how many did not', $drops + 1);
comes($standby, 'SELECT count(*) FROM aurora.local_reports() WHERE NOT delivered', 'the standby knows that they have arrived', '0');
comes($lead, "SELECT count(*) FROM aurora.nodes WHERE state = 'up'", 'all are up again', '3');
comes($lead, "SELECT ($transitions) > $history", 'history has survived the restart of the lead, and goes on');
is_sql($lead, "SELECT uptime_24h > 0 AND uptime_24h < 100 AND flaps >= 1 FROM aurora.nodes WHERE name = 'alpha'", 't',
    'and counts the time without a lead as its down time');

# ---- a crash ----

my $server = $third->{_pid};
$third->kill9;
state_comes($lead, 'gamma', 'down', '%', 'a standby whose server is killed is down');
ok(wait_until(sub { !kill(0, $server) }), 'nothing of it is left');
$third->start;
state_comes($lead, 'gamma', 'up', '', 'and up again');
is_sql($lead, "SELECT flaps FROM aurora.nodes WHERE name = 'gamma'", '1', 'that is in its history');

# ---- two of one name ----

my $double = PostgreSQL::Test::Cluster->new('double');
$lead->backup('for_double');
$double->init_from_backup($lead, 'for_double', has_streaming => 1);
configure_cold($double, node_settings('gamma'));
$double->start;

sub configure_cold
{
    my ($node, %conf) = @_;

    $node->append_conf('postgresql.conf', join('', map { "$_ = $conf{$_}\n" } sort keys %conf));
    return;
}

comes($double, "SELECT rejected > 0 AND last_rejection LIKE '%another machine reports as node \"gamma\"%' FROM aurora.agent_status()",
    'a second node of a name is refused, and tells why');
state_comes($lead, 'gamma', 'degraded', '%another machine reports under its name%', 'the name is degraded');
is_sql($lead, "SELECT last_heartbeat > now() - interval '10 seconds' FROM aurora.nodes WHERE name = 'gamma'", 't',
    'the first one goes on reporting');
comes($double, "SELECT state <> 'up' FROM aurora.health() WHERE component = 'agent'", 'health() of the second tells, too');
$double->stop;
state_comes($lead, 'gamma', 'up', '', 'all is well when the second is gone');

# ---- names ----

for my $name ('Upper', 'two.labels', '-hyphen', 'under_score', 'x' x 64)
{
    configure_cold($double, 'aurora.node_name' => "'$name'");
    $offset = -s $double->logfile;
    ok(!$double->start(fail_ok => 1), "the server does not start as node \"$name\"") or $double->stop;
    like(substr(slurp_file($double->logfile), $offset), qr/invalid value for parameter "aurora.node_name".*DNS label/s,
        'and its log tells what a name is');
}

# ---- ghosts: what a heartbeat can tell ----

start_ghosts($lead);
ghost_beats($lead, '{}', 'fine');
ghost_beats($lead, '{"version": "0.9"}', 'older');
ghost_beats($lead, '{"skew_us": 300000000}', 'fast');
ghost_beats($lead, '{"skew_us": -120000000}', 'slow');
ghost_beats($lead, '{"wal_receiver": ""}', 'alone');
ghost_beats($lead, '{"is_lead": 1}', 'other-lead');
state_comes($lead, 'fine', 'up', '', 'a node whose heartbeat is well is up');
state_comes($lead, 'older', 'degraded', 'its library is 0.9, the lead_s is 1.0', 'one of another version is degraded');
state_comes($lead, 'fast', 'degraded', 'its clock is off by more than 10s', 'so is one whose clock is fast');
state_comes($lead, 'slow', 'degraded', 'its clock is off by more than 10s', 'and slow');
state_comes($lead, 'alone', 'degraded', 'it does not stream from the lead', 'and one that does not stream');
state_comes($lead, 'other-lead', 'degraded', 'it is a lead of its own', 'and one that is a lead');
is_sql($lead, "SELECT clock_skew_seconds FROM aurora.nodes WHERE name = 'fast'", '300', 'the skew is shown');
$lead->safe_psql('postgres', "DELETE FROM ghost.heartbeat WHERE node = 'older'");
state_comes($lead, 'older', 'down', '%', 'one that falls silent is down');
stop_ghosts($lead);

# ---- its database ----

sub both_use
{
    my ($database) = @_;

    configure_node($_, 'aurora.database' => "'$database'") for $lead, $standby;
    comes($_, "$agents AND datname = '$database'", "the agent of " . $_->name . " goes to database $database",
        '1') for $lead, $standby;
    return;
}

$lead->safe_psql('postgres', 'CREATE DATABASE app');
$lead->safe_psql('app', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
$lead->safe_psql('app', "SET client_min_messages = warning; SELECT aurora.register_node('beta', address => '127.0.0.1')");
both_use('app');
comes($lead, "SELECT state FROM aurora.nodes WHERE name = 'beta'", 'and the standby reports there', 'up', 'app');
($out, $err) = try_sql($lead, 'ALTER DATABASE app RENAME TO elsewhere');
is($err, '', 'the database can be renamed with agents in it');
comes($standby, "SELECT count(*) FROM pg_database WHERE datname = 'elsewhere'", 'and the standby replays that', '1');
comes($_, $agents, 'no agent is in it on ' . $_->name, '0') for $lead, $standby;
try_sql($lead, 'ALTER DATABASE elsewhere RENAME TO app');
comes($_, "$agents AND datname = 'app'", 'the agent is back when the name is, on ' . $_->name, '1') for $lead, $standby;
($out, $err) = try_sql($lead, 'CREATE DATABASE copy TEMPLATE app');
is($err, '', 'the database can be copied with agents in it');
comes($_, "$agents AND datname = 'app'", 'the agent is back after that, on ' . $_->name, '1') for $lead, $standby;
($out, $err) = try_sql($lead, 'DROP DATABASE app');
is($err, '', 'the database can be dropped with agents in it');
comes($standby, "SELECT count(*) FROM pg_database WHERE datname = 'app'", 'and the standby replays that', '0');
both_use('postgres');
comes($_, "$nodes_up WHERE name IN ('alpha', 'beta')", 'both are up in the first database again, as ' . $_->name . ' shows it', 'alpha lead up, beta backup up')
  for $lead, $standby;

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/, 'no process of ' . $_->name . ' crashed')
  for $lead, $standby, $third, $double;

done_testing();
