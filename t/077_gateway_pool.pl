# The gateway's connections to a real server: one that breaks behind a COMMIT, and an extension that is
# altered, or dropped and made again, under statements that were prepared before.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGateway;
use AuroraHttp;
use AuroraSecrets;
use AuroraTimeLimit;
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => gateway_is_missing()) if gateway_is_missing();

my $world = new_gateway_lead('alpha', fernet_key());
my $lead = $world->{lead};
my %key = %{ $world->{key} };
my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $port = $lead->port;
my $server = $lead->host . "/.s.PGSQL.$port";
my $listener = IO::Socket::UNIX->new(Local => "$folder/.s.PGSQL.$port", Listen => 20) or die "socket: $!";

# Forwards between two sockets. Behind the word CUT the server is left alone with what it was told: its
# answer goes nowhere, and the connection ends.
sub forward
{
    my ($client) = @_;
    my $database = IO::Socket::UNIX->new(Peer => $server) or return;
    my $both = IO::Select->new($client, $database);

    while (my @ready = $both->can_read)
    {
        for my $from (@ready)
        {
            sysread($from, my $bytes, 65536) or return;
            syswrite($from == $client ? $database : $client, $bytes);
            next if $from != $client || index($bytes, 'CUT') < 0;
            sleep(1);
            return;
        }
    }
    return;
}

my $proxy = fork() // die "fork: $!";
if ($proxy == 0)
{
    local @SIG{qw(CHLD TERM)} = qw(IGNORE DEFAULT);

    while (my $client = $listener->accept)
    {
        next if fork();
        forward($client);
        POSIX::_exit(0);
    }
    POSIX::_exit(0);
}
close($listener);

# Also when this ends before its time.
END { my $status = $?; kill('TERM', $proxy) if $proxy; $? = $status; }

my $gateway = start_gateway($lead,
    database => { lead => "\"host=$folder port=$port dbname=postgres user=gateway_login\"", lead_connections => 2 });
my $place = socket_of($gateway);

sub publish
{
    my ($payload) = @_;

    return request($place, 'POST', '/api/events/orders', key => $key{ann}, json => { payload => $payload });
}

sub count_of
{
    my ($payload) = @_;

    return $lead->safe_psql('postgres', "SELECT count(*) FROM aurora.event WHERE payload::text LIKE '%$payload%'");
}

# ---- a connection that breaks behind a COMMIT ----

like(publish("warm $_")->{status}, qr/^20/, 'all is well at first') for 1 .. 4;
for my $n (1 .. 3)
{
    my $answer = publish("CUT $n");

    has_problem($answer, 503, 'the connection breaks behind the COMMIT');
    is($answer->{json}{sqlstate}, '08006', '... which is said');
    is($answer->{headers}{'retry-after'}, undef, '... without an invitation to try again');
    is(count_of("CUT $n"), 1, '... and it was done once');
    like(publish("after $n")->{status}, qr/^20/, '... and the next one is well');
}

# ---- a server that ends connections ----

my @writers = map { my $c = connect_to($place); send_bytes($c, new_request('POST', '/api/events/orders', key => $key{ann}, json => { payload => "many $_" })); $c } 1 .. 40;
$lead->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway_login'");
my @wrong;
for my $n (1 .. 40)
{
    my $status = (read_answer($writers[ $n - 1 ]) // { status => 0 })->{status};
    my $count = count_of("many $n\"");

    push(@wrong, "$n: $status, done $count times") if $count > 1 || ($status =~ /^20/ && $count != 1);
}
is("@wrong", '', 'writes are done once, also when the server ends their connections');

# ---- statements that were prepared before ----

my @asked = ('/nodes', '/api/priorities/surface?top_n=3', '/api/priorities/quadrant/Q1_DO_NOW', '/api/priorities/stats');
my $read = sub { my ($path) = @_; return request($place, 'GET', $path, key => $key{ann})->{status} };

for my $path (@asked)
{
    $read->($path) for 1 .. 8;
}
$lead->safe_psql('postgres', <<'SQL');
DO $$ BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW aurora.nodes AS SELECT q.*, 1 AS more FROM (' || rtrim(pg_get_viewdef('aurora.nodes'), ';') || ') q';
END $$
SQL
is($read->('/nodes'), 200, 'a view with another column is read') for 1 .. 8;
my %before = map { ($_ => $read->($_)) } @asked;
$lead->safe_psql('postgres', 'DROP EXTENSION aurora CASCADE');
$lead->safe_psql('postgres', 'CREATE EXTENSION aurora CASCADE');
$lead->safe_psql('postgres', <<'SQL');
SELECT aurora.add_company('Acme');
SELECT aurora.add_principal('ann', 'Acme', 'ann', trust => 'manager');
SQL
$key{ann} = add_key($lead, "'ann', owner => 'ann', company => 'Acme'");
for my $path (@asked)
{
    my @status = map { $read->($path) } 1 .. 8;

    is("@status", join(' ', ($before{$path}) x 8), "$path is read when the extension was made anew");
}
like(publish("made anew $_")->{status}, qr/^20/, '... and events are published') for 1 .. 4;

is(end_gateway($gateway), 0, 'it ends well');
unlike(gateway_log($gateway), qr/Sanitizer|runtime error/, 'memory was in order');
kill('TERM', $proxy);
waitpid($proxy, 0);

done_testing();
