# Publishers and readers of events, and a Redis of the test's own.
#
# A "publisher" is a pgbench client; a "reader" a session that reads topics from its cursors, on any
# node, and keeps what it has read.
package AuroraEvents;

use strict;
use warnings;

use AuroraCluster;
use AuroraNodes;
use Exporter 'import';
use IO::Socket::INET;
use IO::Socket::UNIX;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  event_settings start_publishers finish_publishers new_reader read_some read_until sequence_of seqs_of
  redis_server start_redis stop_redis redis_command courier waiter waiter_ends
);

my @servers;

# Settings of a cluster whose node has that name.
sub event_settings
{
    my ($name) = @_;

    return (
        node_settings($name),
        shared_preload_libraries => "'aurora'",
        max_prepared_transactions => 5,
        wal_keep_size => "'256MB'");
}

# ---- publishers ----

# Clients that publish so many transactions each, to topics "PREFIX 1" to "PREFIX N"; some are rolled back.
sub start_publishers
{
    my ($lead, %option) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my $topics = $option{topics} // 1;
    my $prefix = $option{prefix} // 'topic';
    my $publish = "SELECT aurora.publish('$prefix ' || :t, jsonb_build_object('client', :client_id, 'n', :n))";
    my $choose = "\\set t random(1, $topics)\n\\set n random(1, 1000000000000)\n";
    my $publishers = { output => '' };

    append_to_file("$folder/one.sql", "$choose$publish;\n");
    append_to_file("$folder/undone.sql", "${choose}BEGIN;\n$publish;\nROLLBACK;\n");
    append_to_file("$folder/twice.sql", "${choose}BEGIN;\n$publish;\nSAVEPOINT s;\n$publish;\nROLLBACK TO s;\nCOMMIT;\n");
    $publishers->{run} = IPC::Run::start(
        [   'pgbench', '-n', '-c', $option{clients} // 8, '-j', 2, '-t', $option{transactions} // 100,
            '-f', "$folder/one.sql\@8", '-f', "$folder/undone.sql\@1", '-f', "$folder/twice.sql\@1",
            $lead->connstr('postgres') ],
        '<', \'', '>', \$publishers->{output}, '2>&1');
    return $publishers;
}

# Waits for them to end by themselves; returns their exit status and what pgbench said.
sub finish_publishers
{
    my ($publishers) = @_;

    $publishers->{run}->finish;
    return ($publishers->{run}->result(0), $publishers->{output});
}

# ---- readers ----

sub new_reader
{
    my ($node, @topics) = @_;
    my %reader = (node => $node, psql => $node->background_psql('postgres'), cursors => { map { $_ => 0 } @topics }, read => {});

    return \%reader;
}

# Reads what is new in a topic; returns how many events that were.
sub read_some
{
    my ($reader, $topic) = @_;
    my $after = $reader->{cursors}{$topic};
    my $epoch = $reader->{epochs}{$topic} ? "'$reader->{epochs}{$topic}'" : 'NULL';
    my $known = $reader->{psql}->query("SELECT count(*) FROM aurora.topics WHERE topic = '$topic'");
    my @rows = $known eq '1'
      ? split(/\n/, $reader->{psql}->query("SELECT seq, epoch, payload FROM aurora.events('$topic', $after, 1000, $epoch)"))
      : ();

    for my $row (@rows)
    {
        my ($seq, $in_epoch, $payload) = split(/\|/, $row, 3);

        push(@{ $reader->{read}{$topic} }, [ $seq, $payload ]);
        $reader->{cursors}{$topic} = $seq;
        $reader->{epochs}{$topic} = $in_epoch;
    }
    return scalar @rows;
}

# Waits for events of a topic and reads them until its cursor has come to a number.
sub read_until
{
    my ($reader, $topic, $last) = @_;

    for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        return 1 if $reader->{cursors}{$topic} >= $last;
        $reader->{psql}->query("CALL aurora.wait_events('$topic', $reader->{cursors}{$topic}, '100 ms')");
        read_some($reader, $topic);
    }
    return 0;
}

sub seqs_of
{
    my ($reader, $topic) = @_;

    return join(' ', map { $_->[0] } @{ $reader->{read}{$topic} // [] });
}

sub sequence_of
{
    my ($last) = @_;

    return join(' ', 1 .. $last);
}

# ---- waiters ----

# A session that waits in the background for an event after a number.
sub waiter
{
    my ($node, $topic, $after, $timeout) = @_;
    my %waiter = (out => '', err => '');

    $waiter{run} = IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres') . ' application_name=waiter',
          '-c', "CALL aurora.wait_events('$topic', $after, '$timeout')" ],
        '<', \undef, '>', \$waiter{out}, '2>', \$waiter{err});
    $node->poll_query_until('postgres',
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Extension'");
    return \%waiter;
}

# What it gave in the end.
sub waiter_ends
{
    my ($waiter) = @_;

    $waiter->{run}->finish;
    chomp($waiter->{out});
    return $waiter->{out} . $waiter->{err};
}

# ---- Redis ----

# A Redis that is not started yet: %option may have password => TEXT and tls => FOLDER with ca.crt,
# server.crt and server.key.
sub redis_server
{
    my (%option) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my $port = PostgreSQL::Test::Cluster::get_free_port();
    my %redis = (folder => $folder, port => $port, socket => "$folder/redis.sock", %option);

    append_to_file("$folder/redis.conf", <<"CONF");
bind 127.0.0.1
unixsocket $folder/redis.sock
dir $folder
logfile $folder/redis.log
save ""
appendonly no
daemonize no
CONF
    append_to_file("$folder/redis.conf", $option{tls}
        ? "port 0\ntls-port $port\ntls-auth-clients no\ntls-ca-cert-file $option{tls}/ca.crt\n"
          . "tls-cert-file $option{tls}/server.crt\ntls-key-file $option{tls}/server.key\n"
        : "port $port\n");
    append_to_file("$folder/redis.conf", "requirepass \"$option{password}\"\n") if $option{password};
    return \%redis;
}

sub start_redis
{
    my ($redis) = @_;

    unlink($redis->{socket});
    $redis->{run} = IPC::Run::start([ 'redis-server', "$redis->{folder}/redis.conf" ], '<', \undef, '>', '/dev/null', '2>&1');
    push(@servers, $redis);
    wait_until(sub { IO::Socket::UNIX->new(Peer => $redis->{socket}) })
      or BAIL_OUT('redis-server does not start: ' . slurp_file("$redis->{folder}/redis.log"));
    return;
}

sub stop_redis
{
    my ($redis) = @_;

    @servers = grep { $_ != $redis } @servers;
    $redis->{run}->kill_kill if $redis->{run};
    delete $redis->{run};
    return;
}

# What redis-cli prints.
sub redis_command
{
    my ($redis, @command) = @_;
    my $out = '';
    my @login = $redis->{password} ? ('--no-auth-warning', '-a', $redis->{password}) : ();

    IPC::Run::run([ 'redis-cli', '-s', $redis->{socket}, @login, @command ], '>', \$out, '2>&1');
    chomp($out);
    return $out;
}

# A column of the courier's status.
sub courier
{
    my ($node, $column) = @_;

    return $node->safe_psql('postgres', "SELECT $column FROM aurora.courier_status()");
}

END
{
    local $?;

    stop_redis($_) for @servers;
}

1;
