# A lead that is lost: the standbys go on answering reads and know how all are, they tell which of them to
# promote, the one that is promoted takes up the duties, and the old lead does not when it comes back.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraNodes;
use PostgreSQL::Test::Utils;
use Test::More;

my $worker = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'aurora worker'";
my $epoch = 'SELECT timeline, id, lead FROM aurora.epoch()';
my $all = "SELECT string_agg(name || ' ' || role || ' ' || state, ', ' ORDER BY name) FROM aurora.nodes";

# ---- a lead alone ----

my $alpha = new_node_lead('alpha', 'aurora.surface_sample_interval' => "'1s'");
comes($alpha, 'SELECT aurora.lead_duty()', 'a lead alone takes up its duties');
comes($alpha, "SELECT timeline, lead FROM aurora.epoch()", 'and begins an epoch', '1|alpha');
my $first_epoch = $alpha->safe_psql('postgres', $epoch);
$alpha->restart;
comes($alpha, 'SELECT aurora.lead_duty()', 'it does so again after a restart');
is_sql($alpha, $epoch, $first_epoch, 'in the same epoch');

# ---- no synchronous standby ----

configure_node($alpha, synchronous_standby_names => "'ANY 1 (*)'");
comes($alpha, 'SELECT aurora.lead_duty(), aurora.lead_duty_reason()', 'it rests when it asks for a synchronous standby and has none',
    'f|synchronous_standby_names asks for standbys that are not connected');
is_sql($alpha, "SELECT state FROM aurora.health() WHERE component = 'lead'", 'degraded', 'health() tells that');
comes($alpha, "SELECT off_duty LIKE 'synchronous%' FROM aurora.agent_status()", 'and agent_status()');
goes_on($alpha, 'SELECT beat FROM aurora.lead_heartbeat', 2, 'its agent goes on meanwhile');
configure_node($alpha, synchronous_standby_names => "''");
comes($alpha, 'SELECT aurora.lead_duty()', 'it goes on without that wish');

# ---- three nodes ----

my $beta = new_node_standby($alpha, 'beta');
my $gamma = new_node_standby($alpha, 'gamma');
my @three = ($alpha, $beta, $gamma);
my $host = $alpha->host;

# Whom a standby follows: whichever of these is the lead; a port of 1 is nobody's.
sub follow
{
    my ($node, @leads) = @_;
    my $hosts = join(',', ($host) x @leads);
    my $ports = join(',', map { ref $_ ? $_->port : $_ } @leads);

    configure_node($node, primary_conninfo =>
          "'host=$hosts port=$ports user=postgres application_name=" . $node->name . " target_session_attrs=read-write'");
    return;
}

follow($_, @three) for $beta, $gamma;
comes($_, $all, 'all three are up, as ' . $_->name . ' shows it', 'alpha lead up, beta backup up, gamma backup up') for @three;
configure_node($alpha, synchronous_standby_names => "'ANY 1 (*)'");
comes($alpha, "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'quorum'", 'standbys are synchronous');
comes($alpha, 'SELECT aurora.lead_duty()', 'with one of them the lead has its duties');
configure_node($alpha, synchronous_standby_names => "''");
comes($_, 'SELECT count(*) = 2 AND bool_and(failures = 0 AND rtt_ms IS NOT NULL) FROM aurora.local_peers()', $_->name . ' knows its peers')
  for @three;
is_sql($alpha, 'SELECT count(*), bool_and(eligible) FROM aurora.promotion_candidates()', '2|t', 'both standbys could be promoted');

# ---- one is behind ----

follow($gamma, 1);
comes($gamma, 'SELECT count(*) FROM pg_stat_wal_receiver', 'one standby loses the lead', '0');
comes($alpha, "SELECT state || ': ' || reason FROM aurora.nodes WHERE name = 'gamma'", 'the lead shows that',
    'degraded: it does not stream from the lead');
$alpha->safe_psql('postgres', "SELECT aurora.add_item('item ' || n) FROM generate_series(1, 50) n");
catch_up($alpha, $beta);
my $surface = 'SELECT array_agg(item_id ORDER BY item_id) FROM aurora.surface(100)';
my $items = $alpha->safe_psql('postgres', $surface);

# ---- the lead is lost ----

$alpha->stop('immediate');
for my $node ($beta, $gamma)
{
    my $name = $node->name;

    state_comes($node, 'alpha', 'down', 'it does not answer%', "$name shows the lead as down");
    is_sql($node, "SELECT observed_by FROM aurora.nodes WHERE name = 'alpha'", $name, '... and that it says so itself');
    comes($node, "SELECT state <> 'up' AND reason LIKE '%lead is down%' FROM aurora.health() LIMIT 1",
        "health() of $name tells it");
    my ($out, $err) = try_sql($node, "SELECT aurora.add_item('too late')");
    is(sql_state($err), '25006', "$name takes no writes");
    like($err, qr/HINT:  Run it on the lead/, '... and says where to');
    comes($node, "SELECT rank, name, eligible, behind_bytes = 0 FROM aurora.promotion_candidates() ORDER BY rank LIMIT 1",
        "$name ranks the most advanced standby first", '1|beta|t|t');
    is_sql($node, "SELECT rank, behind_bytes > 0 FROM aurora.promotion_candidates() WHERE name = 'gamma'", '2|t',
        '... and the other after it, by what it lacks');
    is_sql($node, "SELECT eligible, reason FROM aurora.promotion_candidates() WHERE name = 'alpha'",
        '', '... and not the lead that is lost');
}
is_sql($beta, $surface, $items, 'the surface is as the lead had it');
comes($beta, "SELECT state FROM aurora.nodes WHERE name = 'gamma'", 'the standbys see each other', 'up');

# ---- another lead ----

is_sql($beta, 'SELECT pg_promote()', 't', 'the most advanced is promoted');
comes($beta, 'SELECT aurora.lead_duty()', 'it takes up the duties');
comes($beta, "SELECT timeline, lead, id::text <> split_part('$first_epoch', '|', 2) FROM aurora.epoch()",
    'in an epoch of its own', '2|beta|t');
comes($beta, $worker, 'its worker runs', '1');
follow($gamma, @three);
comes($_, $all, 'the other follows it, as ' . $_->name . ' shows it', 'alpha backup down, beta lead up, gamma backup up') for $beta, $gamma;
comes($gamma, 'SELECT link, lead_host FROM aurora.agent_status()', 'its agent reports to it', "connected|$host port " . $beta->port);
is_sql($gamma, $epoch, $beta->safe_psql('postgres', $epoch), 'both have one epoch');
is_sql($beta, "SELECT to_state FROM aurora.node_transitions WHERE name = 'alpha' ORDER BY at DESC LIMIT 1", 'down',
    'that the old lead is down is history');
$beta->safe_psql('postgres', "SELECT aurora.add_item('from the new lead')");

# ---- the old lead comes back ----

$alpha->start;
comes($alpha, "SELECT aurora.lead_duty(), aurora.lead_duty_reason() LIKE 'fenced: node % has an epoch of timeline 2%'",
    'the old lead is fenced when it comes back', 'f|t');
my $sampled = $alpha->safe_psql('postgres', "SELECT last_started_at FROM aurora.duties WHERE duty = 'sample_surface'");
comes($alpha, "SELECT state, reason LIKE 'fenced:%' FROM aurora.health() WHERE component = 'lead'",
    'health() tells that', 'degraded|t');
goes_on($alpha, 'SELECT beat FROM aurora.lead_heartbeat', 2, 'its agent runs');
time_passes($alpha, 3);
is_sql($alpha, "SELECT last_started_at FROM aurora.duties WHERE duty = 'sample_surface'", $sampled, 'its worker does no duty');
is_sql($alpha, $epoch, $first_epoch, 'and it begins no epoch');
my $told = log_count($gamma, qr/replaced by a newer lead/);
kill('TERM', agent_pid($gamma));
comes($gamma, "SELECT link, lead_host FROM aurora.agent_status() WHERE link = 'connected'",
    'an agent that finds the old lead first goes on to the new one', "connected|$host port " . $beta->port);
cmp_ok(log_count($gamma, qr/replaced by a newer lead/), '<=', $told + 2, 'its log tells of the old lead once or twice');
state_comes($beta, 'gamma', 'up', '', 'and its node is up');
is_sql($beta, 'SELECT aurora.lead_duty()', 't', 'the new lead keeps its duties');
my $port = $alpha->port;
configure_node($gamma, 'aurora.lead_conninfo' => "'host=$host port=$port'");
my $offset = log_count($gamma, qr/replaced by a newer lead/);
kill('TERM', agent_pid($gamma));
# The board shows the last error of the agent before, too; the log is of the new one.
for (1 .. 300)
{
    last if log_count($gamma, qr/replaced by a newer lead/) > $offset;
    time_passes($beta, 0.2);
}
comes($gamma, "SELECT last_error FROM aurora.agent_status()", 'an agent that is sent to the old lead only does not take it',
    'it has been replaced by a newer lead');
$offset = log_count($gamma, qr/replaced by a newer lead/);
time_passes($beta, 5);
is(log_count($gamma, qr/replaced by a newer lead/), $offset, 'and tells that once');
configure_node($gamma, 'aurora.lead_conninfo' => "''");
state_comes($beta, 'gamma', 'up', '', 'all is well when it looks elsewhere again');
$alpha->stop;

# ---- restored elsewhere ----

my $dump = $beta->basedir . '/dump';
my $copy = new_cluster('copy', shared_preload_libraries => "'aurora'", node_settings('copy'));
$beta->command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'the database can be dumped');
$copy->safe_psql('postgres', "SELECT pg_catalog.set_config('client_min_messages', 'warning', false); CREATE ROLE aurora_node_alpha; CREATE ROLE aurora_node_beta; CREATE ROLE aurora_node_gamma");
{
    local $ENV{PGOPTIONS} = '-c session_replication_role=replica';
    $copy->command_ok([ 'pg_restore', '--clean', '--if-exists', '-d', 'postgres', $dump ], 'and restored in another cluster');
}
comes($copy, "SELECT lead FROM aurora.epoch()", 'which begins an epoch of its own', 'copy');
comes($copy, 'SELECT aurora.lead_duty()', 'and has its duties');
my $id = $beta->safe_psql('postgres', 'SELECT id FROM aurora.epoch()');
is_sql($copy, "SELECT id <> '$id', (SELECT count(DISTINCT system_identifier) FROM aurora.lead_epoch) FROM aurora.epoch()",
    't|2', 'of another cluster');
is_sql($beta, 'SELECT aurora.lead_duty()', 't', 'where it came from keeps its duties');
$copy->stop;

# ---- a hundred nodes ----

my @ghost = map { sprintf('ghost-%03d', $_) } 1 .. 100;
my $ghosts_in = "SELECT count(*) FROM aurora.nodes WHERE name LIKE 'ghost-%' AND state =";
start_ghosts($beta);
ghost_beats($beta, '{"timeline": 2}', @ghost);
comes($beta, "$ghosts_in 'up'", 'a hundred nodes more are up', '100');
$beta->safe_psql('postgres', "DELETE FROM ghost.heartbeat WHERE node > 'ghost-098'");
comes($beta, "$ghosts_in 'down'", 'two that fall silent are down', '2');
comes($beta, "$ghosts_in 'up'", 'the others are up', '98');
my $downs = "SELECT count(*) FROM aurora.node_transitions WHERE to_state = 'down'";
my $so_far = $beta->safe_psql('postgres', $downs);
$beta->safe_psql('postgres', "DELETE FROM ghost.heartbeat WHERE node > 'ghost-020'");
comes($beta, "$ghosts_in 'unknown'", 'most of them at once are unknown', '78');
time_passes($beta, 5);
is_sql($beta, $downs, $so_far, 'and not down');
comes($beta, "$ghosts_in 'up'", 'the others are up', '20');
ghost_beats($beta, '{"timeline": 2}', @ghost);
comes($beta, "$ghosts_in 'up'", 'all are up when they are back', '100');
stop_ghosts($beta);

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/, 'no process of ' . $_->name . ' crashed') for @three, $copy;

done_testing();
