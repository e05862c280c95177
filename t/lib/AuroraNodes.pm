# Nodes of a mesh on one host: clusters with agents that beat quickly, and made-up nodes without any.
#
# A "ghost" is a node that exists only by its heartbeats, which a session on the lead reports for it.
package AuroraNodes;

use strict;
use warnings;

use AuroraCluster;
use Exporter 'import';
use IO::Socket::INET;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  free_udp_port node_settings new_node_lead new_node_standby register_node configure_node wait_until comes goes_on time_passes state_comes
  agent_pid log_count pause_server wake_server start_ghosts stop_ghosts ghost_beats
);

my @ghosts;
my %paused;

# A port that neither a server nor an agent has.
sub free_udp_port
{
    for (1 .. 100)
    {
        my $port = PostgreSQL::Test::Cluster::get_free_port();
        my $probe = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'udp');

        return $port if $probe;
    }
    die 'no free UDP port was found';
}

# What a node has to have of its own, and a pace that tests can wait for.
sub node_settings
{
    my ($name) = @_;

    return (
        'aurora.node_name' => "'$name'",
        'aurora.agent_port' => free_udp_port(),
        'aurora.heartbeat_interval' => "'500ms'",
        'aurora.probe_interval' => "'500ms'",
        'aurora.judge_interval' => "'200ms'");
}

# A lead whose node has the cluster's name; the extension is in the database postgres.
sub new_node_lead
{
    my ($name, %conf) = @_;
    my $lead = new_cluster($name,
        shared_preload_libraries => "'aurora'", wal_keep_size => "'256MB'", node_settings($name), %conf);

    $lead->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
    register_node($lead, $name);
    return $lead;
}

# A standby whose node has the cluster's name, and is registered when it starts.
sub new_node_standby
{
    my ($lead, $name, %conf) = @_;

    register_node($lead, $name);
    return new_standby($lead, $name, node_settings($name), %conf);
}

sub register_node
{
    my ($lead, $name) = @_;

    $lead->safe_psql('postgres',
        "SET client_min_messages = warning; SELECT aurora.register_node('$name', address => '127.0.0.1')");
    return;
}

# Changes settings of a running node.
sub configure_node
{
    my ($node, %conf) = @_;

    $node->append_conf('postgresql.conf', join('', map { "$_ = $conf{$_}\n" } sort keys %conf));
    $node->reload;
    return;
}

# ---- waiting ----

# Waits until a function is true.
sub wait_until
{
    my ($is_true) = @_;

    for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        return 1 if $is_true->();
        select(undef, undef, undef, 0.1);
    }
    return 0;
}

# Waits until the query gives what is expected, and shows what it gave when it never does.
sub comes
{
    my ($node, $sql, $name, $expected, $database) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok($node->poll_query_until($database // 'postgres', $sql, $expected // 't'), $name);
}

# Waits until a growing number has grown by so much.
sub goes_on
{
    my ($node, $number, $by, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $now = $node->safe_psql('postgres', "SELECT ($number)");

    return comes($node, "SELECT ($number) >= $now + $by", $name);
}

# Lets time go by in which something could happen that must not.
sub time_passes
{
    my ($node, $seconds) = @_;
    my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + interval '$seconds seconds'");

    $node->poll_query_until('postgres', "SELECT clock_timestamp() > '$until'") or die 'no time went by';
    return;
}

# Waits until a node is shown in a state, for a reason like the pattern.
sub state_comes
{
    my ($at, $node, $state, $reason, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $shown = "SELECT state || ': ' || coalesce(reason, '') FROM aurora.nodes WHERE name = '$node'";
    my $found = $at->poll_query_until('postgres', "SELECT ($shown) LIKE '$state: $reason'");

    return ok($found, $name)
      || diag("expected \"$state: $reason\", it is \"" . $at->safe_psql('postgres', $shown) . '"');
}

sub agent_pid
{
    my ($node) = @_;

    return $node->safe_psql('postgres', 'SELECT pid FROM aurora.agent_status()');
}

# How many lines of a server's log match, from an offset on.
sub log_count
{
    my ($node, $pattern, $offset) = @_;
    my $log = substr(slurp_file($node->logfile), $offset // 0);

    return scalar(() = $log =~ /$pattern/g);
}

# ---- a server that does not answer ----

sub processes_of
{
    my ($server) = @_;
    my @found;

    for my $file (glob('/proc/[0-9]*/stat'))
    {
        open(my $stat, '<', $file) or next;
        my ($pid, $parent) = (<$stat> // '') =~ /^(\d+) \(.*\) \S (\d+)/s;

        push(@found, $pid) if defined $parent && $parent == $server;
    }
    return @found;
}

# Stops all processes of a server where they are: it takes connections and answers nothing.
sub pause_server
{
    my ($node) = @_;
    my $server = $node->{_pid};

    kill('STOP', $server);
    $paused{$server} = [ $server, processes_of($server) ];
    kill('STOP', @{ $paused{$server} });
    return;
}

sub wake_server
{
    my ($node) = @_;

    kill('CONT', @{ delete $paused{ $node->{_pid} } // [] });
    return;
}

# ---- ghosts ----

my $ghost_table = <<'SQL';
CREATE SCHEMA ghost;
CREATE TABLE ghost.heartbeat (node text PRIMARY KEY, body jsonb NOT NULL);
SQL
my $haunting = <<'SQL';
DO $$
BEGIN
    LOOP
        PERFORM aurora.report_heartbeat(h.node, jsonb_build_object(
                'instance', 'ghost ' || h.node, 'is_lead', 0, 'beat', (SELECT l.beat FROM aurora.lead_heartbeat l),
                'timeline', 1, 'receive_lsn', pg_current_wal_lsn(), 'replay_lsn', pg_current_wal_lsn(),
                'wal_receiver', 'streaming', 'version', '1.0', 'extension_version', '1.0', 'postgres_version', '15.0',
                'started_age_us', 1000000, 'agent_port', 0, 'address', '', 'drops', 0, 'skew_us', 0, 'round_trip_us', 900)
                || h.body)
            FROM ghost.heartbeat h;
        COMMIT;
        PERFORM pg_sleep(0.2);
    END LOOP;
END
$$
SQL

# Has a session report for all ghosts; which there are, ghost_beats() says.
sub start_ghosts
{
    my ($lead) = @_;
    my ($out, $err) = ('', '');
    my @psql = ($lead->installed_command('psql'), '-XAtq', '-d', $lead->connstr('postgres') . ' application_name=ghosts', '-c', $haunting);

    $lead->safe_psql('postgres', $ghost_table);
    push(@ghosts, IPC::Run::start(\@psql, '<' => \undef, '>' => \$out, '2>' => \$err));
    return;
}

sub stop_ghosts
{
    my ($lead) = @_;

    $lead->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ghosts'");
    $_->kill_kill for splice(@ghosts);
    return;
}

# From now on these ghosts report; the body's fields replace the usual ones.
sub ghost_beats
{
    my ($lead, $body, @names) = @_;
    my $values = join(', ', map { "('$_', '$body')" } @names);

    $lead->safe_psql('postgres',
        "INSERT INTO ghost.heartbeat VALUES $values ON CONFLICT (node) DO UPDATE SET body = excluded.body");
    return;
}

END
{
    local $?;

    kill('CONT', @$_) for values %paused;
    $_->kill_kill for @ghosts;
}

1;
