# The templates of nginx, before a stand-in for the gateway that tells what it was asked: what is passed
# on, what is limited, and what never gets through.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraGateway;
use AuroraHttp;
use AuroraNodes;
use AuroraProgram;
use AuroraTimeLimit;
use IO::Socket::UNIX;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Socket qw(SOMAXCONN);
use POSIX ();
use Test::More;

plan(skip_all => nginx_is_missing()) if nginx_is_missing();

my $sockets = PostgreSQL::Test::Utils::tempdir_short();
my @stand_ins;

# ---- the stand-in ----

# Answers with what it was asked, as JSON; some paths have it do something else.
sub answer_one
{
    my ($client, $group) = @_;
    my $head = '';

    until ($head =~ /\r\n\r\n/)
    {
        sysread($client, $head, 4096, length($head)) or return;
    }
    ($head, my $body) = split(/\r\n\r\n/, $head, 2);
    my ($size) = $head =~ /^Content-Length: (\d+)/mi;
    while (length($body) < ($size // 0))
    {
        sysread($client, $body, 65536, length($body)) or return;
    }
    my ($path) = $head =~ /^\S+ (\S+)/;
    my $answer = encode_json({ group => $group, head => $head, size => length($body), filler => 'x' x 2000 });

    return if $path eq '/api/cut';
    if ($path =~ m{^/api/events/})
    {
        syswrite($client, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
        sysread($client, my $more, 1);
        return;
    }
    if ($path eq '/ws')
    {
        syswrite($client, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        syswrite($client, $head) if sysread($client, my $more, 4096);
        return;
    }
    syswrite($client, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Frame-Options: SAMEORIGIN\r\nETag: \"x\"\r\nConnection: close\r\nContent-Length: "
          . length($answer) . "\r\n\r\n$answer");
    return;
}

sub start_stand_in
{
    my ($group) = @_;
    my $listener = IO::Socket::UNIX->new(Local => "$sockets/$group.sock", Listen => SOMAXCONN) or die "$group: $!";
    my $pid = fork() // die "fork: $!";

    if ($pid == 0)
    {
        $SIG{CHLD} = 'IGNORE';
        while (1)
        {
            my $client = $listener->accept or next;

            if (fork() == 0)
            {
                alarm(60);
                answer_one($client, $group);
                POSIX::_exit(0);
            }
            close($client);
        }
    }
    push(@stand_ins, $pid);
    return;
}

sub head_of
{
    my ($answer) = @_;

    return ($answer->{json} // {})->{head} // '';
}

start_stand_in($_) for qw(web events gpu priorities secrets registry);

# ---- rendering ----

my $folder = PostgreSQL::Test::Utils::tempdir();
my $tls = make_tls_files();
my ($status, $output) = render_nginx($folder, "certificate=$tls/cert.pem", "certificate_key=$tls/key.pem", "logs=$folder");
is($status, 0, 'the templates are filled');
is($output, '', '... without a word');
ok(!-e "$folder/aurora/servers/secrets.conf", '... and leave the port of secrets out, which is for the lead');
unlike(join('', map { slurp_file($_) } glob("$folder/*.conf $folder/aurora/*.conf $folder/aurora/servers/*.conf")), qr/@[a-z0-9_]+@/,
    '... with no name of a setting left over');
is(system("nginx -t -q -p $folder -e $folder/error.log -c $folder/nginx.conf 2>>$folder/said"), 0, 'nginx accepts them')
  or diag(slurp_file("$folder/said"));

for my $bad ('web=0', 'web=70000000', 'rate=fast', 'logs=here', 'logs=/tmp/x;', 'server_name=a;b', 'tls=maybe', 'address=$host', 'nothing=1', 'web')
{
    ($status, $output) = render_nginx($folder, $bad);
    is($status, 2, "$bad is refused");
    like($output, qr/^render: /, '... with a word on it');
}

# ---- what is passed on ----

my $nginx = start_nginx('nginx', $sockets);
for my $group (qw(web events gpu priorities secrets registry))
{
    is(request(port_of($nginx, $group), 'GET', '/api/x')->{json}{group}, $group, "the port of $group leads to its socket");
}
my $web = port_of($nginx);
my $answer = request($web, 'GET', '/api/x?a=%2F..&b', headers => [ 'X-Forwarded-For' => '6.6.6.6', 'X-Request-Id' => 'mine', 'X-Node-Name' => 'alpha' ]);
like(head_of($answer), qr{^GET /api/x\?a=%2F\.\.&b HTTP/1\.1}, 'path and query are passed on as they came');
like(head_of($answer), qr/^X-Node-Name: alpha/m, '... so are headers');
like(head_of($answer), qr/^X-Forwarded-For: 127\.0\.0\.1\r/m, 'nobody but nginx says what the address is');
like(head_of($answer), qr/^X-Request-Id: [0-9a-f]{32}\r/m, '... nor what the number of the request is');
is($answer->{headers}{'x-frame-options'}, 'DENY', 'a header of security is sent once');
is($answer->{headers}{'x-content-type-options'}, 'nosniff', '... as the others are');
like($answer->{headers}{'content-security-policy'}, qr/default-src 'self'/, '... and the policy for pages');
is($answer->{headers}{server}, 'nginx', 'its version is nobody\'s business');
is(request($web, 'POST', '/api/x', body => 'y' x 100_000)->{json}{size}, 100_000, 'a body is passed on');
is(request($web, 'GET', '/api/x', headers => [ 'Accept-Encoding' => 'gzip' ])->{headers}{'content-encoding'}, 'gzip', 'an answer is compressed');
is(request($web, 'GET', "/api/$_", headers => [ 'Accept-Encoding' => 'gzip' ])->{headers}{'content-encoding'}, undef,
    "/api/$_ is not") for qw(secrets secrets/hubspot/token session);

my $events = open_events($web, '/api/events/topic');
is_deeply(next_event($events), { data => 1 }, 'an event comes when it was sent, not when the buffer is full');
disconnect($events);
my $websocket = open_websocket($web, '/ws');
is($websocket->{answer}{status}, 101, 'a WebSocket is upgraded');
send_bytes($websocket, 'x');
closes($websocket);
like($websocket->{read}, qr/^Connection: upgrade\r\n.*^Upgrade: websocket|^Upgrade: websocket\r\n.*^Connection: upgrade/ms, '... as was asked for');

# ---- what is refused ----

is(request($web, 'POST', '/api/x', body => 'y' x 1_048_577)->{status}, 413, 'a body past 1 MB is refused');
$answer = raw_request($web, new_request('POST', '/api/x', headers => [ 'Content-Length' => 2_000_000 ]));
is($answer->{status}, 413, '... before it is sent');
is($answer->{headers}{'content-type'}, 'application/problem+json', '... in the gateway\'s form');
is($answer->{json}{status}, 413, '... with its status');
is(request($web, 'GET', '/api/x', headers => [ map { ("X-$_" => 'y' x 6000) } 1 .. 4 ])->{status}, 431, 'headers past 16 kB are refused');
is(request($web, 'GET', '/api/' . 'y' x 9000)->{status}, 414, 'so is a long path');
is(raw_request($web, "GET /api/x\r\n\r\n")->{status}, 0, 'HTTP/0.9 gets no answer of HTTP/1') or note('it was refused');
is(raw_request($web, "GET /api/x%00y HTTP/1.1\r\nHost: x\r\n\r\n")->{status}, 400, 'a NUL in a path is refused');
is(raw_request($web, "GET /api/x HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n")->{status}, 400, '... and in a header');
is(raw_request($web, "GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n")->{status}, 400, 'so is a path that leaves the root');
is(raw_request($web, "GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n")->{status}, 400, '... encoded, too');
is(raw_request($web, "GET /api/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")->{status}, 400, 'so are two hosts');
is(raw_request($web, "POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")->{status}, 400,
    'so is a body with two lengths');
$answer = request($web, 'GET', '/api/cut');
is($answer->{status}, 503, 'without an answer of the gateway there is one of nginx');
ok($answer->{headers}{'retry-after'}, '... that says when to come again');
like($answer->{json}{request_id}, qr/^[0-9a-f]{32}$/, '... and which request it was');

request($web, 'GET', '/api/x?token=open-sesame', headers => [ Authorization => 'Bearer open-sesame' ]);
ok(wait_until(sub { (() = slurp_file("$nginx->{folder}/aurora.log") =~ m{"path":"/api/x"}g) >= 2 }), 'requests are in the log');
unlike(slurp_file("$nginx->{folder}/aurora.log"), qr/sesame/, '... without queries and credentials');
my @lines = split(/\n/, slurp_file("$nginx->{folder}/aurora.log"));
is(scalar(grep { !eval { decode_json($_) } } @lines), 0, '... and each line is JSON');
is(end_nginx($nginx), 0, 'nginx ends well');

# ---- limits ----

# How many of so many requests are answered with a status.
sub count_status
{
    my ($port, $wanted, $count, $method, $path) = @_;

    return scalar(grep { request($port, $method, $path)->{status} == $wanted } 1 .. $count);
}

$nginx = start_nginx('nginx_limited', $sockets, rate => 1, burst => 20, log_in_rate => 1, log_in_burst => 3, webhook_rate => 1, webhook_burst => 5);
$web = port_of($nginx);
cmp_ok(count_status($web, 429, 10, 'POST', '/api/session'), '>=', 5, 'who tries to log in too often is refused');
is(count_status($web, 429, 5, 'GET', '/api/x'), 0, '... and may do other things');
cmp_ok(count_status($web, 429, 12, 'POST', '/api/webhooks/hubspot'), '>=', 5, 'so is who sends too many webhooks');
cmp_ok(count_status($web, 429, 40, 'GET', '/api/x'), '>=', 10, 'so is who asks too much');
$answer = request($web, 'GET', '/api/x');
is($answer->{status}, 429, 'being refused');
ok($answer->{headers}{'retry-after'}, '... tells when to come again');
is(count_status($web, 429, 40, 'GET', '/live'), 0, 'probes of life are not limited');
end_nginx($nginx);

$nginx = start_nginx('nginx_connections', $sockets, connections => 3);
my @held = map { open_events(port_of($nginx), '/api/events/topic') } 1 .. 3;
is(request(port_of($nginx), 'GET', '/api/x')->{status}, 429, 'an address may hold so many connections');
end_nginx($nginx);

# ---- TLS ----

$nginx = start_nginx('nginx_tls', $sockets, tls => 'on', certificate => "$tls/cert.pem", certificate_key => "$tls/key.pem");

# What openssl's client sees, asked so.
sub tls_client
{
    my ($input, @options) = @_;
    my $said = '';

    IPC::Run::run([ 'openssl', 's_client', '-connect', '127.0.0.1:' . port_of($nginx), '-CAfile', "$tls/cert.pem", @options ],
        '<', \$input, '>', \$said, '2>&1', IPC::Run::timeout(60));
    return $said;
}

my $request = "GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
my $said = tls_client($request, '-ign_eof');
like($said, qr/Verify return code: 0/, 'the certificate is the one that was named');
like($said, qr/TLSv1\.3/, 'TLS 1.3 is spoken');
like($said, qr/Strict-Transport-Security: max-age=\d+/, 'browsers are told to stay with TLS');
like($said, qr/X-Forwarded-Proto: https/, 'the gateway is told of it');
like(tls_client($request, '-ign_eof', '-tls1_2'), qr{HTTP/1\.1 200}, 'TLS 1.2 is spoken');
unlike(tls_client($request, '-ign_eof', '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0'), qr{HTTP/1\.1 200}, 'TLS 1.1 is not');
like(tls_client('', '-alpn', 'h2,http/1.1'), qr/ALPN protocol: h2/, 'HTTP/2 is offered');
is(raw_request(port_of($nginx), $request)->{status}, 400, 'without TLS there is nothing to get');
is(end_nginx($nginx), 0, 'nginx ends well');

done_testing();

END
{
    local $?;

    kill('KILL', $_) for @stand_ins;
}
