# The gateway when something is away or slow: the lead, its own node's PostgreSQL, a client in the middle
# of a query; and when it is told to end, or to read its configuration again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGateway;
use AuroraHttp;
use AuroraNodes;
use AuroraProgram;
use AuroraTimeLimit;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use Socket qw(SOCK_DGRAM);
use Test::More;

plan(skip_all => gateway_is_missing()) if gateway_is_missing();

my $world = new_gateway_world('alpha', 'beta');
my ($lead, $standby) = @$world{qw(lead standby)};
my %key = %{ $world->{key} };
my %either = (database => { lead => one_of_two($lead, $standby) });
my $on_standby = start_gateway($standby, %either, gateway => { statement_timeout => '30s', drain_limit => '5s' });
my $on_lead = start_gateway($lead, gateway => { statement_timeout => '500ms' });
my $nginx = start_nginx('nginx', $on_standby->{sockets});
my ($web, $direct, $at_lead) = (port_of($nginx), socket_of($on_standby), socket_of($on_lead));

sub surface
{
    my ($place, %option) = @_;

    return request($place, 'GET', '/api/priorities/surface?top_n=3', key => $key{ann}, %option);
}

sub publish
{
    my ($place) = @_;

    return request($place, 'POST', '/api/events/orders', key => $key{ann}, json => { payload => { n => 1 } });
}

# Waits until a request is answered so.
sub comes_back
{
    my ($ask, $status, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $answer;

    return ok(wait_until(sub { $answer = $ask->(); return $answer->{status} =~ $status }), $name)
      || diag("$answer->{status} $answer->{body}");
}

# How many statements of the gateway run at a node.
sub running_at
{
    my ($node) = @_;

    return "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway_login' AND state = 'active' AND wait_event_type = 'Lock'";
}

# ---- slow ----

is(surface($at_lead)->{status}, 200, 'all is well at first');
my $lock = $lead->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK TABLE aurora.item, aurora.topic, aurora.event IN ACCESS EXCLUSIVE MODE');
my $slow = publish($at_lead);
has_problem($slow, 504, 'what takes longer than it may is given up');
is($slow->{json}{sqlstate}, '57014', '... with the state of the database');
is(request($at_lead, 'GET', '/live')->{status}, 200, 'meanwhile others are served');

# A client that goes has its query cancelled, on either side of nginx.
for my $where ([ 'the gateway', $direct ], [ 'nginx', $web ])
{
    my $client = connect_to($where->[1]);

    send_bytes($client, new_request('POST', '/api/events/orders', key => $key{ann}, json => { payload => 1 }));
    comes($lead, running_at($lead), "a client of $where->[0] waits for the database", 1);
    disconnect($client);
    comes($lead, running_at($lead), '... and goes, and its query is cancelled', 0);
}
$lock->query_safe('ROLLBACK');
$lock->quit;
comes_back(sub { publish($web) }, qr/^20/, 'then all is well again');

# ---- its own PostgreSQL ----

catch_up($lead, $standby);
$standby->stop('immediate');
comes_back(sub { surface($web) }, qr/^(200|503)$/, 'without its own PostgreSQL a gateway answers all the same');
is(request($web, 'GET', '/live')->{status}, 200, '... says that it lives');
is(request($web, 'GET', '/ready')->{json}{status}, 'degraded', '... and that it has the lead only');
$standby->start;
ok(wait_until(sub { request($web, 'GET', '/ready')->{json}{status} eq 'ready' }), 'it is ready again when that is back');
comes_back(sub { surface($web) }, qr/^200$/, '... and reads');
my @pids = split(/\n/, $standby->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE usename = 'gateway_login'"));
$standby->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway_login'");
is(surface($web)->{status}, 200, 'a read is done again when its connection was lost');
pause_server($standby);
my @waiting = map { my $c = connect_to($direct); send_bytes($c, new_request('GET', '/nodes', key => $key{ann})); $c } 1 .. 20;
is(request($direct, 'GET', '/live')->{status}, 200, 'a server that hangs does not hang the gateway');
wake_server($standby);
is(scalar(grep { (read_answer($_) // { status => 0 })->{status} == 200 } @waiting), 20, '... and who has waited is answered');

# ---- the lead ----

my $login = sub { return request($web, 'POST', '/api/session', key => $key{ann}) };
comes_back($login, qr/^201$/, 'one can log in once the lead has made a key that signs');
$lead->stop('immediate');
comes_back(sub { publish($web) }, qr/^503$/, 'without a lead nothing is written');
my $refused = publish($web);
has_problem($refused, 503, '... which is said');
ok($refused->{headers}{'retry-after'}, '... with when to come again');
is(surface($web)->{status}, 200, '... and reads go on');
is(request($web, 'GET', '/nodes', key => $key{ann})->{status}, 200, '... all of them');
is($login->()->{status}, 201, '... and one can log in');
has_problem(surface($web, headers => [ 'Aurora-LSN' => 'FF/0' ]), 503, '... but not read what this node has not got');
$lead->start;
comes_back(sub { publish($web) }, qr/^20/, 'when the lead is back, writes are');

# ---- promotion ----

catch_up($lead, $standby);
my $count = $lead->safe_psql('postgres', "SELECT last_seq FROM aurora.topics WHERE topic = 'orders'");
$lead->stop('immediate');
$standby->promote;
comes_back(sub { publish($web) }, qr/^20/, 'the standby is promoted, and writes go to it');
is_sql($standby, "SELECT last_seq FROM aurora.topics WHERE topic = 'orders'", $count + 1, '... once each');
has_problem(publish($at_lead), 503, 'the gateway of the lead that is gone says so');
is(end_gateway($on_lead), 0, '... and ends well');

# ---- configuration ----

my $config = slurp_file("$on_standby->{sockets}/gateway.ini");
write_gateway_config($on_standby, "[gateway]\nno_such_setting = 1\n");
signal_program($on_standby->{program}, 'HUP');
ok(program_log_comes($on_standby->{program}, qr/no_such_setting/), 'a wrong configuration is not taken');
is(surface($web)->{status}, 200, '... and all goes on as it was');
write_gateway_config($on_standby, $config =~ s/\[gateway\]\n/[gateway]\norigins = https:\/\/new.example\n/r);
signal_program($on_standby->{program}, 'HUP');
comes_back(sub { my $a = surface($web, headers => [ Origin => 'https://new.example' ]);
        return { %$a, status => $a->{headers}{'access-control-allow-origin'} // 'none' } }, qr/new\.example/, 'a right one is');

# ---- an end that is asked for ----

$lock = $standby->background_psql('postgres');
$lock->query_safe('BEGIN; LOCK TABLE aurora.topic, aurora.event IN ACCESS EXCLUSIVE MODE');
my $late = connect_to($direct);
send_bytes($late, new_request('POST', '/api/events/orders', key => $key{ann}, json => { payload => 1 }));
comes($standby, running_at($standby), 'a request waits', 1);
signal_program($on_standby->{program}, 'TERM');
ok(wait_until(sub { !connect_to($direct) }), 'a gateway that is told to end takes nothing more');
$lock->query_safe('ROLLBACK');
$lock->quit;
like((read_answer($late) // { status => 0 })->{status}, qr/^20/, '... and answers what it has begun');
is(program_is_over($on_standby->{program}), 0, '... before it ends well');
unlike(gateway_log($_), qr/Sanitizer|runtime error/, 'memory was in order') for $on_lead, $on_standby;
has_problem(request($web, 'GET', '/nodes', key => $key{ann}), 503, 'nginx says that it does not run');

# ---- the service manager ----

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $manager = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$folder/notify") or die "socket: $!";
my $told = '';
{
    local $ENV{NOTIFY_SOCKET} = "$folder/notify";
    local $ENV{WATCHDOG_USEC} = 200_000;
    $on_standby = start_gateway($standby, name => 'gateway_of_manager');
}
$manager->blocking(0);
for my $expected ([ qr/^READY=1$/m, 'the service manager is told when the gateway is ready' ], [ qr/WATCHDOG=1\n.*WATCHDOG=1\n/s, '... that it lives' ])
{
    ok(wait_until(sub { while (defined $manager->recv(my $datagram, 1000)) { $told .= "$datagram\n" } return $told =~ $expected->[0] }), $expected->[1]);
}
is(end_gateway($on_standby), 0, 'it ends well');
while (defined $manager->recv(my $datagram, 1000)) { $told .= "$datagram\n" }
like($told, qr/^STOPPING=1$/m, '... and tells that');
end_nginx($nginx);

done_testing();
