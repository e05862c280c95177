# Checks and recoveries: how the agent finds out how services are, what it tells, that nothing which it
# checks can hold it up, and that it runs the node's own commands and nothing else.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraNodes;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my @servers;

# ---- a server of bad manners ----

# What each path answers; the socket closes when it returns.
my %answer = (
    '/ok' => sub { print { $_[0] } "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" },
    '/busy' => sub { print { $_[0] } "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" },
    '/moved' => sub { print { $_[0] } "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n" },
    '/missing' => sub { print { $_[0] } "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" },
    '/hangs' => sub { sleep(1) while 1 },
    '/slow' => sub { drip($_[0], "HTTP/1.1 200 OK\r\nX-Slow: " . 'x' x 1000) },
    '/huge' => sub { print { $_[0] } "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n"; flood($_[0]) },
    '/endless' => sub { print { $_[0] } 'HTTP/1.1 200 OK'; flood($_[0]) },
    '/closes' => sub { },
    '/garbage' => sub { print { $_[0] } "\xff\xfe\0\0\r\n\r\n" });

sub drip
{
    my ($client, $text) = @_;

    for my $byte (split(//, $text))
    {
        syswrite($client, $byte) or return;
        select(undef, undef, undef, 0.05);
    }
    return;
}

sub flood
{
    my ($client) = @_;
    my $chunk = 'x' x 65536;

    for (1 .. 1600)
    {
        syswrite($client, $chunk) or return;
    }
    return;
}

# Writes down each request's path and answers in a process of its own.
sub serve
{
    my ($listener, $log) = @_;

    $SIG{CHLD} = 'IGNORE';
    $SIG{PIPE} = 'IGNORE';
    while (1)
    {
        my $client = $listener->accept or next;
        my $request = <$client> // '';
        my ($path) = $request =~ /^\w+ (\S+)/;

        next unless defined $path;
        append_to_file($log, "$path\n");
        next if fork;
        $client->autoflush(1);
        while (defined(my $line = <$client>)) { last if $line eq "\r\n" }
        ($answer{$path} // $answer{'/missing'})->($client);
        close($client);
        POSIX::_exit(0);
    }
    return;
}

# Starts it; returns its port and the file of requests.
sub start_server
{
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 50, ReuseAddr => 1) or die "listen: $!";
    my $log = PostgreSQL::Test::Utils::tempdir() . '/requests';
    my $pid = fork;

    die "fork: $!" unless defined $pid;
    if ($pid == 0)
    {
        require POSIX;
        setpgrp(0, 0);
        eval { serve($listener, $log) };
        POSIX::_exit(0);
    }
    push(@servers, $pid);
    append_to_file($log, '');
    return ($listener->sockport, $log);
}

# A listener that accepts, or with accepts => 0 only lets connect; returns its port and what stops it.
sub start_listener
{
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5, ReuseAddr => 1) or die "listen: $!";

    return ($listener->sockport, $listener);
}

sub requests
{
    my ($log, $path) = @_;

    return scalar(() = slurp_file($log) =~ /^\Q$path\E$/gm);
}

END
{
    local $?;

    kill('KILL', map { -$_ } @servers);
}

# ---- the nodes ----

my ($http_port, $requests) = start_server();
my ($tcp_port, $tcp) = start_listener();
my $closed_port = free_udp_port();
my $folder = PostgreSQL::Test::Utils::tempdir();

# An executable that the agent may run.
sub write_program
{
    my ($name, $text) = @_;
    my $path = "$folder/$name";

    append_to_file("$path.new", "#!/bin/bash\n$text");
    chmod(0755, "$path.new") or die "$path: $!";
    rename("$path.new", $path) or die "$path: $!";
    return $path;
}

my $check = write_program('check', <<"SH");
case \$1 in
    fine) exit 0 ;;
    fails) echo first; echo 'it is broken'; exit 3 ;;
    garbage) printf 'bad \\377\\376\\200 and \\000 nul'; exit 4 ;;
    killed) kill -9 \$\$ ;;
    endless) exec yes ;;
    silent) exec >/dev/null 2>&1; exec sleep 1000 ;;
    hangs) sleep 1000 & echo "\$!" >> $folder/children; sleep 1000 ;;
esac
SH
my $recovery = write_program('recovery', <<"SH");
{
    printf 'arguments %s: %s\\n' "\$#" "\$*"
    tr '\\0' '\\n' < /proc/self/environ | sed 's/^/environment /'
    ls -l /proc/\$\$/fd | sed -n 's/.* \\([0-9]* -> .*\\)/descriptor \\1/p'
} >> $folder/recovered
for n in \$(seq 3000); do echo "line \$n of much output"; done
echo "tried \$1" >&2
exit 7
SH

my %quick = ('aurora.check_command' => "'$check'", 'aurora.recovery_backoff' => "'1s'", 'aurora.recovery_max_per_hour' => 3);
$ENV{PGAURORASECRET} = 'of the server';
my $lead = new_node_lead('alpha', %quick);
my $standby = new_node_standby($lead, 'beta');
delete $ENV{PGAURORASECRET};

sub add_service
{
    my ($node, $service, $kind, $target, %option) = @_;
    my %with = (check_interval => "interval '500 ms'", timeout => "interval '1500 ms'", fail_threshold => 2, ok_threshold => 2, %option);
    my $options = join(', ', map { "$_ => $with{$_}" } sort keys %with);

    $lead->safe_psql('postgres', "SELECT aurora.add_service('$node', '$service', '$kind', '$target', $options)");
    return;
}

# Waits until a service is shown so, with a detail like the pattern.
sub service_comes
{
    my ($service, $state, $detail, $name, $node) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $shown = "SELECT state || ': ' || coalesce(detail, '') FROM aurora.node_services WHERE service = '$service'";

    $node //= $lead;
    return ok($node->poll_query_until('postgres', "SELECT ($shown) LIKE '$state: $detail'"), $name)
      || diag("expected \"$state: $detail\", it is \"" . $node->safe_psql('postgres', $shown) . '"');
}

# ---- kinds of checks ----

my $url = "http://127.0.0.1:$http_port";
my ($pg_host, $pg_port) = ($lead->host, $lead->port);

add_service('alpha', 'tcp-open', 'tcp', "127.0.0.1:$tcp_port");
add_service('alpha', 'tcp-closed', 'tcp', "127.0.0.1:$closed_port");
add_service('alpha', 'tcp-name', 'tcp', 'no-such-host.invalid:80');
add_service('alpha', 'http-ok', 'http', "$url/ok");
add_service('alpha', 'http-busy', 'http', "$url/busy");
add_service('alpha', 'http-busy-wanted', 'http', "$url/busy", expect_status => 503);
add_service('alpha', 'http-moved', 'http', "$url/moved");
add_service('alpha', 'http-moved-wanted', 'http', "$url/moved", expect_status => 302);
add_service('alpha', 'http-any', 'http', "$url/missing", expect_status => 0);
add_service('alpha', 'http-hangs', 'http', "$url/hangs");
add_service('alpha', 'http-slow', 'http', "$url/slow");
add_service('alpha', 'http-huge', 'http', "$url/huge");
add_service('alpha', 'http-endless', 'http', "$url/endless");
add_service('alpha', 'http-closes', 'http', "$url/closes");
add_service('alpha', 'http-garbage', 'http', "$url/garbage");
add_service('alpha', 'pg-up', 'postgres', "host=$pg_host port=$pg_port dbname=postgres user=postgres");
add_service('alpha', 'pg-no-database', 'postgres', "host=$pg_host port=$pg_port dbname=nothing user=postgres");
add_service('alpha', 'pg-closed', 'postgres', "host=127.0.0.1 port=$closed_port");
add_service('alpha', 'pg-silent', 'postgres', "host=127.0.0.1 port=$tcp_port sslmode=disable");
add_service('alpha', 'unit', 'systemd', 'no-such-unit.service');
add_service('alpha', $_, 'command', '') for qw(fine fails garbage killed endless silent hangs);

service_comes('tcp-open', 'up', '', 'a port that is open is up');
service_comes('tcp-closed', 'down', '%connect%', 'one that is closed is down');
service_comes('tcp-name', 'down', '%esolv%', 'so is one of a host that cannot be found');
service_comes('http-ok', 'up', '', 'a page that is there is up');
service_comes('http-busy', 'down', 'HTTP status 503', 'one of another status is down');
service_comes('http-busy-wanted', 'up', '', 'unless that status is expected');
service_comes('http-moved', 'down', 'HTTP status 302', 'redirects are not followed');
service_comes('http-moved-wanted', 'up', '', 'and may be expected');
service_comes('http-any', 'up', '', '0 stands for any status below 500');
service_comes('http-hangs', 'down', '%timed out%', 'one that never answers is down');
service_comes('http-slow', 'down', '%timed out%', 'so is one that answers byte by byte');
service_comes('http-huge', 'up', '', 'one that sends 100 MB has told its status');
service_comes('http-endless', 'down', '%', 'one whose head does not end is down');
service_comes('http-closes', 'down', '%', 'so is one that closes at once');
service_comes('http-garbage', 'down', '%', 'and one that does not speak HTTP');
service_comes('pg-up', 'up', '', 'a Postgres that answers is up');
service_comes('pg-no-database', 'down', '%database "nothing" does not exist%', 'one without the database is down');
service_comes('pg-closed', 'down', '%refused%', 'so is one that does not run');
service_comes('pg-silent', 'down', 'no answer in time', 'and one that only lets connect');
service_comes('unit', 'down', 'status %', 'a unit that systemctl does not know is down');
service_comes('fine', 'up', '', 'a check command that ends well is up');
service_comes('fails', 'down', 'status 3: it is broken', 'one that fails is down, its last line tells why');
service_comes('garbage', 'down', 'status 4: bad ??? and %', 'what it prints may be no text');
service_comes('killed', 'down', 'status 137%', 'a signal shows as shells count');
service_comes('endless', 'down', 'took too long', 'one that prints without end is ended');
service_comes('silent', 'down', 'took too long', 'and one that closes its output and hangs');
service_comes('hangs', 'down', 'took too long', 'and one that hangs');
ok(wait_until(sub { my @left = grep { is_alive($_) } split(/\s+/, slurp_file("$folder/children")); @left <= 1 }),
    'with the processes that it started');
is_sql($lead, "SELECT state FROM aurora.health() WHERE component = 'service fails on alpha'", 'down', 'health() shows services');
is_sql($lead, 'SELECT state FROM aurora.health() LIMIT 1', 'degraded', 'one that is down leaves the whole degraded');

sub is_alive
{
    my ($pid) = @_;

    open(my $stat, '<', "/proc/$pid/stat") or return 0;
    return (<$stat> // '') !~ /^\d+ \(.*\) Z/;
}

# ---- nothing holds the agent up ----

for my $hanging ('http-hangs', 'http-slow', 'pg-silent', 'endless', 'hangs')
{
    my $before = requests($requests, '/ok');

    ok(wait_until(sub { requests($requests, '/ok') >= $before + 3 }), "while $hanging is checked, others are, too");
}
goes_on($lead, 'SELECT beat FROM aurora.lead_heartbeat', 3, 'and the heart beats');
comes($lead, "SELECT step_seconds_ago < 1.5 FROM aurora.agent_status()", 'the agent steps');
comes($lead, "SELECT state FROM aurora.nodes WHERE name = 'alpha'", 'the node is up', 'up');

# ---- thresholds, in both directions ----

close($tcp);
service_comes('tcp-open', 'down', '%connect%', 'a port that closes is down');
my $again = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $tcp_port, Listen => 5, ReuseAddr => 1) or die "listen: $!";
service_comes('tcp-open', '%', '', 'and no longer when it opens again');
add_service('alpha', 'patient', 'http', "$url/busy", fail_threshold => 100);
add_service('alpha', 'sceptical', 'http', "$url/ok", ok_threshold => 100);
comes($lead, "SELECT last_check IS NOT NULL AND state = 'unknown' AND detail = 'HTTP status 503'
              FROM aurora.node_services WHERE service = 'patient'",
                  'below the threshold a service that never was well is unknown');
service_comes('sceptical', 'up', '', 'one that never was down is up at its first success');
$lead->safe_psql('postgres', "SELECT aurora.remove_service('alpha', s) FROM unnest('{patient,sceptical}'::text[]) s");
$lead->safe_psql('postgres',
    "SELECT aurora.remove_service('alpha', service) FROM aurora.node_services WHERE service ~ '^(pg-|http-(slow|huge|endless|garbage|hangs))|endless|silent|hangs|killed'");

# ---- services of a standby ----

add_service('beta', 'of-beta', 'http', "$url/ok");
add_service('beta', 'wrong-of-beta', 'http', "$url/busy");
for my $node ($standby, $lead)
{
    service_comes('of-beta', 'up', '', 'a service of the standby is up, as ' . $node->name . ' shows it', $node);
    service_comes('wrong-of-beta', 'down', 'HTTP status 503', 'one that is wrong is down, as ' . $node->name . ' shows it', $node);
}
add_service('beta', 'command-of-beta', 'command', '');
service_comes('command-of-beta', '%', '%', 'a command of the standby is checked', $standby);

# ---- rollups ----

add_service('alpha', 'counted', 'http', "$url/counted", expect_status => 404, check_interval => "interval '300 ms'");
my $checks = "SELECT checks_24h FROM aurora.node_services WHERE service = 'counted'";
comes($lead, "SELECT ($checks) > 0", 'checks are counted');
for (1 .. 2)
{
    my $counted = $lead->safe_psql('postgres', $checks);

    kill('TERM', agent_pid($lead));
    comes($lead, "SELECT ($checks) > $counted", 'the count goes on with another agent');
}
$lead->safe_psql('postgres', "UPDATE aurora.node_service SET check_interval = '1 day' WHERE service = 'counted'");
cmp_ok($lead->safe_psql('postgres', $checks), '<=', requests($requests, '/counted'), 'it is never more than there were requests');
cmp_ok($lead->safe_psql('postgres', "SELECT failures_24h FROM aurora.node_services WHERE service = 'counted'"), '==', 0, 'none failed');

# ---- recovery ----

my $recoveries = "SELECT count(*) FROM aurora.recoveries WHERE service = 'broken'";
add_service('alpha', 'broken', 'tcp', "127.0.0.1:$closed_port", recover => 'true');
service_comes('broken', 'down', '%', 'a service that may be recovered is down');
time_passes($lead, 3);
is_sql($lead, $recoveries, '0', 'without a recovery command nothing is done');
$lead->safe_psql('postgres', "SELECT aurora.maintenance('alpha')");
comes($lead, "SELECT state FROM aurora.nodes WHERE name = 'alpha'", 'in maintenance', 'maintenance');
$lead->append_conf('postgresql.conf', "aurora.recovery_command = 'recovery'");
$lead->reload;
ok(wait_until(sub { log_count($lead, qr/invalid value for parameter "aurora.recovery_command"/) > 0 }), 'a relative path is refused');
# The agent reads of the maintenance every five seconds.
time_passes($lead, 7);
configure_node($lead, 'aurora.recovery_command' => "'$recovery'");
comes($lead, "SELECT setting FROM pg_settings WHERE name = 'aurora.recovery_command'", 'an absolute one is taken', $recovery);
time_passes($lead, 3);
is_sql($lead, $recoveries, '0', 'in maintenance nothing is done');
$lead->safe_psql('postgres', "SELECT aurora.maintenance('alpha', '0')");
comes($lead, $recoveries, 'after it the command is run, up to the limit of an hour', '3');
time_passes($lead, 5);
is_sql($lead, $recoveries, '3', 'and no more');
is_sql($lead, "SELECT string_agg(attempt || ' ' || exit_status, ', ' ORDER BY at) FROM aurora.recoveries WHERE service = 'broken'",
    '1 7, 2 7, 3 7', 'each attempt is written down with its exit status');
is_sql($lead, "SELECT bool_and(output LIKE '%line 3000 of much output%tried broken%' AND length(output) < 2000 AND NOT timed_out)
               FROM aurora.recoveries WHERE service = 'broken'", 't', 'and the end of its output');
is_sql($lead, "SELECT bool_and(pause >= interval '1 s' * 2 ^ (attempt - 2)) FROM (
                   SELECT attempt, at - lag(at + duration_ms * interval '1 ms') OVER (ORDER BY at) AS pause
                   FROM aurora.recoveries WHERE service = 'broken') r WHERE attempt > 1", 't', 'the pauses double');
is_sql($lead, "SELECT count(*) FROM aurora.recoveries WHERE service <> 'broken'",
    '0', 'services that are not to be recovered are left alone');
comes($standby, $recoveries, 'the standby shows them, too', '3');

my $ran = slurp_file("$folder/recovered");
is(join("\n", grep { /^arguments/ } split(/\n/, $ran)), join("\n", ('arguments 1: broken') x 3), 'its one argument is the service');
unlike($ran, qr/^environment PG/m, 'it gets no environment of Postgres');
unlike($ran, qr/of the server/, 'and nothing else of it');
like($ran, qr/^descriptor 0 -> \/dev\/null$/m, 'it reads from nowhere');
unlike($ran, qr/^descriptor \d+ -> (socket|anon_inode|\S*pgdata|\/dev\/shm)/m, 'and gets no descriptor of the server') or diag($ran);

for my $sql ("SET aurora.recovery_command = '/bin/true'", "ALTER SYSTEM SET aurora.recovery_command = '/bin/true'",
    "ALTER SYSTEM SET aurora.check_command = '/bin/true'", "ALTER DATABASE postgres SET aurora.recovery_command = '/bin/true'",
    "SELECT set_config('aurora.recovery_command', '/bin/true', false)")
{
    my ($out, $err) = try_sql($lead, $sql);

    is(sql_state($err), '55P02', "refused: $sql") or diag($err);
}
my ($out, $err) = try_sql($lead, "SELECT aurora.add_service('alpha', '\$(reboot)', 'command')");
is(sql_state($err), '22023', 'a service is not named by what a shell would run');

configure_node($lead, 'aurora.recovery_command' => "'$folder/missing'", 'aurora.recovery_max_per_hour' => 4);
comes($lead, "SELECT exit_status, output FROM aurora.recoveries WHERE attempt = 4",
    'a command that is not there is written down, too',
    "127|could not run $folder/missing: No such file or directory");

# ---- APIs ----

$lead->safe_psql('postgres', "SELECT aurora.watch_api('weather', '$url/ok', check_interval => '1 s')");
comes($_, "SELECT string_agg(node || ' ' || status || ' ' || verdict, ', ' ORDER BY node) FROM aurora.connectivity WHERE api = 'weather'",
    'all nodes watch an API, as ' . $_->name . ' shows it', 'alpha healthy healthy, beta healthy healthy') for $lead, $standby;
$lead->safe_psql('postgres', "SELECT aurora.watch_api('weather', '$url/busy', check_interval => '1 s')");
comes($_, "SELECT string_agg(node || ' ' || status || ' ' || verdict, ', ' ORDER BY node) FROM aurora.connectivity WHERE api = 'weather'",
    'all tell when it is down, as ' . $_->name . ' shows it', 'alpha down down, beta down down') for $lead, $standby;
$standby->safe_psql('postgres', "SELECT aurora.report_connectivity('models', 'degraded', 250, 'slow today')");
comes($lead, "SELECT node, status, latency_ms, detail, verdict FROM aurora.connectivity WHERE api = 'models'",
    'what a program on the standby reports reaches the lead', 'beta|degraded|250|slow today|degraded');
$lead->safe_psql('postgres', "SELECT aurora.report_connectivity('models', 'healthy')");
comes($standby, "SELECT string_agg(node || ' ' || status || ' ' || verdict, ', ' ORDER BY node) FROM aurora.connectivity WHERE api = 'models'",
    'and the other way round', 'alpha healthy degraded, beta degraded degraded');
$lead->safe_psql('postgres', "SELECT aurora.unwatch_api('weather')");
comes($standby, "SELECT count(*) FROM aurora.connectivity WHERE api = 'weather'", 'nobody watches it any more', '0');

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal/, 'no process of ' . $_->name . ' crashed') for $lead, $standby;

done_testing();
