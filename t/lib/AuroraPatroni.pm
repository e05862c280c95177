# Clusters that Patroni looks after, with one etcd, all on the loopback network.
#
# A "member" is a Patroni and the PostgreSQL that it makes, starts and leads; its "node" answers
# queries like any other of these tests. Each member has an address of its own in 127.0.0.0/8.
package AuroraPatroni;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP qw(decode_json);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AuroraTimeLimit;
use Time::HiRes qw(sleep);

our @EXPORT = qw(
  patroni_missing start_etcd new_member start_member kill_member patroni_role patroni_log ask wait_for
);

my $superuser = $ENV{PGUSER} || getpwuid($<);
my @processes;
my @members;

# What keeps these tests from running here, or nothing.
sub patroni_missing
{
    my @missing = grep { !program($_) } qw(patroni etcd);

    return @missing ? 'not installed: ' . join(', ', @missing) : '';
}

sub program
{
    my ($name) = @_;
    my ($path) = grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/bin', '/usr/sbin';

    return $path;
}

# Starts one etcd and returns the address at which it serves.
sub start_etcd
{
    my ($client, $peer) =
      map { '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;

    # On architectures where its makers do not test it etcd wants to be told.
    local $ENV{ETCD_UNSUPPORTED_ARCH} = 'arm64';
    start_process(
        'etcd', program('etcd'),
        '--name', 'only', '--data-dir', PostgreSQL::Test::Utils::tempdir('etcd'),
        '--listen-client-urls', "http://$client", '--advertise-client-urls', "http://$client",
        '--listen-peer-urls', "http://$peer", '--initial-advertise-peer-urls', "http://$peer",
        '--initial-cluster', "only=http://$peer");
    wait_for('etcd serves', sub { HTTP::Tiny->new(timeout => 2)->get("http://$client/health")->{success} });
    return $client;
}

# A member that does not run yet. Needs name, address, etcd (its address), and may have further
# settings, a hash, for this member's part of postgresql.conf.
sub new_member
{
    my (%member) = @_;

    $member{node} = PostgreSQL::Test::Cluster->new($member{name});
    $member{rest} = "$member{address}:" . PostgreSQL::Test::Cluster::get_free_port();
    $member{folder} = $member{node}->basedir;
    push @members, \%member;
    return \%member;
}

# Starts Patroni, which does the rest.
sub start_member
{
    my ($member) = @_;
    my $config = "$member->{folder}/patroni.yml";

    PostgreSQL::Test::Utils::append_to_file($config, config($member)) unless -e $config;
    $member->{process} = start_process("patroni_$member->{name}", program('patroni'), $config);
    return;
}

# The configuration in docs/patroni.md, with the member's own values in it.
sub config
{
    my ($member) = @_;
    my $page = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../docs/patroni.md");
    my ($config) = $page =~ /^```yaml\n(.*?)^```$/ms or die 'no configuration in docs/patroni.md';
    my %own = own_values($member);
    my $settings = join '', map { "    $_: $member->{settings}{$_}\n" } sort keys %{ $member->{settings} // {} };

    $own{"    aurora.node_name: aurora\n"} = "    aurora.node_name: $member->{name}\n$settings";
    for my $shown (sort { length($b) <=> length($a) } keys %own)
    {
        $config =~ s/\Q$shown\E/$own{$shown}/g or die "no $shown in docs/patroni.md";
    }
    return $config;
}

# What docs/patroni.md shows, and what this member has instead. No machine fails here, so nothing
# has to be on disk.
sub own_values
{
    my ($member) = @_;
    my ($folder, $node) = ($member->{folder}, $member->{node});
    my @hosts = map { $_->{address} } @members;
    my @ports = map { $_->{node}->port } @members;

    return (
        "name: aurora\nrest" => "name: $member->{name}\nrest",
        '10.0.0.1:8008' => $member->{rest},
        '10.0.0.1:2379,10.0.0.3:2379,10.0.0.4:2379' => $member->{etcd},
        '10.0.0.1:5432' => "$member->{address}:" . $node->port,
        'host=10.0.0.1,10.0.0.3,10.0.0.4 port=5432' => 'host=' . join(',', @hosts) . ' port=' . join(',', @ports),
        '10.0.0.0/24' => '127.0.0.0/8',
        '/usr/lib/postgresql/15/bin' => $node->config_data('--bindir'),
        '/var/lib/postgresql/15/mesh' => $node->data_dir,
        '/etc/aurora' => $folder,
        '/run/postgresql' => $node->host,
        'username: postgres' => "username: $superuser",
        'local all all peer' => 'local all all trust',
        "    - data-checksums\n" => "    - data-checksums\n    - no-sync\n",
        "shared_preload_libraries: aurora\n" => "shared_preload_libraries: aurora\n        fsync: off\n");
}

# Starts a program with its output in a log of its own. What libpq takes from the environment is
# meant for these tests, not for PostgreSQL's own connections.
sub start_process
{
    my ($name, @command) = @_;
    my ($test) = $0 =~ /([^\/]+)\.pl$/;
    my $log = "$PostgreSQL::Test::Utils::log_path/${test}_$name.log";
    local %ENV = %ENV;

    delete @ENV{ grep { /^PG/ } keys %ENV };
    my $process = { log => $log, run => IPC::Run::start(\@command, '<', \'', '>>', $log, '2>&1') };
    push @processes, $process;
    return $process;
}

# Ends a process the hard way, and only one of our own.
sub kill_process
{
    my ($process) = @_;

    return unless $process->{run};
    eval { $process->{run}->signal('KILL') };
    eval { $process->{run}->finish };
    delete $process->{run};
    return;
}

# Process ids of a member's postmaster, or nothing.
sub postmaster
{
    my ($member) = @_;
    my $file = $member->{node}->data_dir . '/postmaster.pid';

    return -e $file ? PostgreSQL::Test::Utils::slurp_file($file) =~ /^(\d+)$/m : ();
}

# kill -9 of Patroni, of the postmaster and of the further process ids, which may be stopped and so
# not see that the postmaster is gone.
sub kill_member
{
    my ($member, @more) = @_;
    my @pids = (postmaster($member), @more);

    kill_process($member->{process});
    kill 'KILL', @pids;
    wait_for("processes of $member->{name} are gone", sub { !kill 0, @pids });
    return;
}

# Ends everything: Patroni first, since it would start its PostgreSQL again.
sub stop_members
{
    my $bin = @members ? $members[0]{node}->config_data('--bindir') : '';

    kill_process($_->{process}) for grep { $_->{process} } @members;
    for my $member (grep { postmaster($_) } @members)
    {
        IPC::Run::run(
            [ "$bin/pg_ctl", 'stop', '-D', $member->{node}->data_dir, '-m', 'immediate' ],
            '<', \'', '>', \my $out, '2>', \my $err);
    }
    kill_process($_) for @processes;
    return;
}

# What Patroni says of its member: 'primary', 'standby_leader', 'replica' or nothing.
sub patroni_role
{
    my ($member) = @_;
    my $answer = HTTP::Tiny->new(timeout => 2)->get("http://$member->{rest}/patroni");
    my $said = eval { decode_json($answer->{content}) } // {};
    my $role = $said->{role} // '';

    # Patroni 3 says master where 4 says primary.
    return ($said->{state} // '') ne 'running' ? '' : $role eq 'master' ? 'primary' : $role;
}

sub patroni_log
{
    my ($member) = @_;

    return PostgreSQL::Test::Utils::slurp_file($member->{process}{log});
}

# What the member's PostgreSQL answers, or undef when it gives an error or does not run; the error
# is left in the second argument.
sub ask
{
    my ($member, $sql) = @_;
    my ($out, $err) = ('', '');
    # psql may be gone before it has read the query, when there is no server; that is no answer, either.
    my $status = eval { $member->{node}->psql('postgres', $sql, stdout => \$out, stderr => \$err) } // 2;

    $_[2] = $err;
    return $status == 0 ? $out : undef;
}

# Returns true when the condition holds, false when it did not within the tests' timeout; meanwhile
# runs $each at every turn.
sub wait_for
{
    my ($name, $condition, $each) = @_;
    my $until = time + $PostgreSQL::Test::Utils::timeout_default;

    while (1)
    {
        $each->() if $each;
        return 1 if $condition->();
        last if time > $until;
        sleep 0.1;
    }
    diag("gave up waiting: $name");
    return 0;
}

END
{
    # $? is what the test is to end with.
    local $?;
    stop_members();
}

1;
