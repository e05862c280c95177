# What nobody should send: each is refused by the gateway itself and behind nginx, nothing that hides
# behind it is taken for a request, and hundreds of slow clients do not keep others from being served.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGateway;
use AuroraHttp;
use AuroraNodes;
use AuroraSecrets;
use AuroraTimeLimit;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => gateway_is_missing()) if gateway_is_missing();

my $world = new_gateway_lead('alpha', fernet_key());
my $lead = $world->{lead};
my %key = %{ $world->{key} };
my $gateway = start_gateway($lead, gateway => { origins => 'https://aurora.example.com', header_timeout => '3s', body_timeout => '3s' });
my $nginx = start_nginx('nginx', $gateway->{sockets}, header_timeout => '3s', body_timeout => '3s');
my ($direct, $web) = (socket_of($gateway), port_of($nginx));
my $bearer = "Authorization: Bearer $key{ann}";

# Sends bytes with a second request behind them: the status of the first answer, 0 when the connection
# was closed without one, and whether the second was taken for a request.
sub send_abuse
{
    my ($place, $bytes) = @_;
    my $connection = connect_to($place);

    send_bytes($connection, "${bytes}GET /api/smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    my $first = read_answer($connection);
    my $status = $first ? $first->{status} : 0;
    my $second = $first ? read_answer($connection) : undef;

    disconnect($connection);
    return ($status, defined $second);
}

my $get = "GET /live HTTP/1.1\r\nHost: x\r\n";
my $post = "POST /api/events/orders HTTP/1.1\r\nHost: x\r\n$bearer\r\nContent-Type: application/json\r\n";
my $body = '{"payload":{"n":1}}';
my $size = length($body);

# What it is, its bytes, and what becomes of it where that is not a refusal: "cleaned", nginx passes on
# a request that has nothing of it any more; "passed over", the gateway's library may do so, too. Where a
# request of these ends is in doubt.
my @unclear = (
    [ 'two lengths that differ', "${post}Content-Length: $size\r\nContent-Length: 1\r\n\r\n$body" ],
    [ 'one length twice', "${post}Content-Length: $size\r\nContent-Length: $size\r\n\r\n$body" ],
    [ 'a list of lengths', "${post}Content-Length: $size, $size\r\n\r\n$body" ],
    [ 'a negative length', "${post}Content-Length: -1\r\n\r\n$body" ],
    [ 'a length with a sign', "${post}Content-Length: +$size\r\n\r\n$body" ],
    [ 'a hexadecimal length', "${post}Content-Length: 0x13\r\n\r\n$body" ],
    [ 'a length with a blank in it', "${post}Content-Length: 1 9\r\n\r\n$body" ],
    [ 'a length past 64 bits', "${post}Content-Length: 18446744073709551635\r\n\r\n$body" ],
    [ 'an empty length', "${post}Content-Length:\r\n\r\n$body" ],
    [ 'a length and chunks', "${post}Content-Length: $size\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n$body\r\n0\r\n\r\n" ],
    [ 'chunks', "${post}Transfer-Encoding: chunked\r\n\r\n13\r\n$body\r\n0\r\n\r\n", 'cleaned' ],
    [ 'chunks twice', "${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n$body\r\n0\r\n\r\n" ],
    [ 'an encoding that there is not', "${post}Transfer-Encoding: xchunked\r\n\r\n13\r\n$body\r\n0\r\n\r\n" ],
    [ 'an encoding of identity', "${post}Transfer-Encoding: identity\r\nContent-Length: $size\r\n\r\n$body" ],
    [ 'a blank before a colon', "${post}Transfer-Encoding : chunked\r\n\r\n13\r\n$body\r\n0\r\n\r\n" ],
    [ 'a folded line', "${get}X-A: b\r\n c\r\n\r\n" ],
    [ 'a line that is folded by a tab', "${get}X-A: b\r\n\tc\r\n\r\n" ],
    [ 'a line that ends with a line feed only', "GET /live HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", 'cleaned' ],
    [ 'lines that end with line feeds only', "GET /live HTTP/1.1\nHost: x\n\n", 'cleaned' ],
    [ 'a carriage return in a header', "${get}X-A: b\rX-B: c\r\n\r\n" ],
    [ 'a NUL in a header', "${get}X-A: b\0c\r\n\r\n" ],
    [ 'a NUL in the name of a header', "${get}X-\0A: b\r\n\r\n" ],
    [ 'a control character in a header', "${get}X-A: b\x01c\r\n\r\n", 'cleaned' ],
    [ 'a blank in the name of a header', "${get}X A: b\r\n\r\n", 'cleaned' ],
    [ 'a header without a colon', "${get}X-A\r\n\r\n", 'cleaned' ],
    [ 'a header without a name', "${get}: b\r\n\r\n", 'passed over' ],
    [ 'two hosts', "${get}Host: y\r\n\r\n" ],
    [ 'no host', "GET /live HTTP/1.1\r\nX-A: b\r\n\r\n" ],
    [ 'a host with a path', "GET /live HTTP/1.1\r\nHost: x/y\r\n\r\n" ],
    [ 'a host with a user', "GET /live HTTP/1.1\r\nHost: a\@x\r\n\r\n", 'cleaned' ],
    [ 'a header past 16 kB', "${get}" . join('', map { "X-$_: " . 'y' x 3000 . "\r\n" } 1 .. 6) . "\r\n" ],
    [ 'one line past 16 kB', "${get}X-A: " . 'y' x 17000 . "\r\n\r\n" ],
    [ 'thousands of headers', $get . "A: b\r\n" x 5000 . "\r\n" ],
    [ 'a body past the limit', "${post}Content-Length: 1048577\r\n\r\n" ],
    [ 'a body past the limit by far', "${post}Content-Length: 99999999999\r\n\r\n" ]);

# These are whole requests for what there is not.
my @wrong = (
    [ 'HTTP/0.9', "GET /live\r\n\r\n" ],
    [ 'HTTP/2 without being asked', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" ],
    [ 'a version that there is not', "GET /live HTTP/9.9\r\nHost: x\r\n\r\n" ],
    [ 'a version that is none', "GET /live HTTP/x\r\nHost: x\r\n\r\n" ],
    [ 'a method with a NUL', "G\0T /live HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'a method that there is not', "FROB /live HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'TRACE', "TRACE /live HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'CONNECT', "CONNECT evil.example:80 HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'a path without its slash', "GET live HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'a path that leaves the root', "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'a path that leaves a folder', "GET /nodes/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'encoded dots', "GET /nodes/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'dots that are encoded twice', "GET /nodes/%252e%252e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'an encoded slash', "GET /nodes%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'backslashes', "GET /nodes/..\\..\\etc\\passwd HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'an encoded NUL in a path', "GET /live%00.html HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'an escape that is none', "GET /live%zz HTTP/1.1\r\nHost: x\r\n\r\n" ],
    [ 'a path that is no UTF-8', "GET /nodes/%ff%fe HTTP/1.1\r\nHost: x\r\n$bearer\r\n\r\n" ],
    [ 'a path past 16 kB', 'GET /' . 'y' x 17000 . " HTTP/1.1\r\nHost: x\r\n\r\n" ]);

for my $where ([ 'by the gateway', $direct ], [ 'behind nginx', $web ])
{
    for my $abuse (@unclear, @wrong)
    {
        my ($what, $bytes, $becomes) = @$abuse;
        my ($status, $is_smuggled) = send_abuse($where->[1], $bytes);

        if ($becomes && ($becomes eq 'passed over' || $where->[0] eq 'behind nginx'))
        {
            ok($status, "$what is $becomes $where->[0]");
            next;
        }
        ok($status == 0 || $status >= 400 && $status < 600 && $status != 500 && $status != 502, "$what is refused $where->[0]")
          or diag("status $status");
        ok(!$is_smuggled, '... with what is behind it') if grep { $_ == $abuse } @unclear;
    }
}
is((send_abuse($direct, "${get}" . join('', map { "X-$_: " . 'y' x 3000 . "\r\n" } 1 .. 6) . "\r\n"))[0], 431, 'a header that is too large has its status');
is((send_abuse($direct, "${post}Content-Length: 1048577\r\n\r\n"))[0], 413, 'a body that is too large has its status');
is((send_abuse($direct, "${post}Transfer-Encoding: chunked\r\n\r\n13\r\n$body\r\n0\r\n\r\n"))[0], 411, 'a body without a length has its status');
is_sql($lead, "SELECT count(*) FROM aurora.topics WHERE topic = 'orders' AND last_seq > 1", '0', 'of all these at most what nginx has cleaned was published');

# ---- what is data and nothing else ----

for my $text ("'; DROP TABLE aurora.item; --", '$1', '%s%n', '../../etc/passwd', "\x{1F600}", '\\', '"', '<script>')
{
    my $path = '/api/events/' . join('', map { sprintf('%%%02X', ord) } split(//, do { my $copy = $text; utf8::encode($copy); $copy }));
    my $answer = request($web, 'POST', $path, key => $key{ann}, json => { payload => { text => $text } });

    like($answer->{status}, qr/^(20[01]|400|404|422)$/, 'a name of a topic is a name');
    next if $answer->{status} !~ /^20/;
    is(request($web, 'GET', "$path?after=0", key => $key{ann})->{json}[0]{payload}{text}, $text, '... and a text is a text');
}
is_sql($lead, 'SELECT count(*) > 0 FROM aurora.item', 't', 'nothing was dropped');

# ---- WebSockets ----

for my $where ([ 'by the gateway', $direct ], [ 'behind nginx', $web ])
{
    my ($name, $place) = @$where;
    my @allowed = (headers => [ Origin => 'https://aurora.example.com' ]);

    is(open_websocket($place, '/ws', key => $key{ann}, @allowed)->{answer}{status}, 101, "an origin of the list is let in $name");
    is(open_websocket($place, '/ws', key => $key{ann})->{answer}{status}, 101, '... and a program that has none');
    is(open_websocket($place, '/ws', key => $key{ann}, headers => [ Origin => $_ ])->{answer}{status}, 403, "... but not $_")
      for 'https://evil.example', 'null', 'https://aurora.example.com.evil.example', 'http://aurora.example.com', 'https://aurora.example.com:444';
    is(open_websocket($place, '/ws', key => 'aur_' . 'A' x 43)->{answer}{status}, 401, '... nor who has a wrong key');
    is(request($place, 'GET', '/ws', key => $key{ann})->{status}, 426, '... nor who does not ask for a WebSocket');
    for my $bad (
        [ 'without a mask', websocket_frame('{"type":"ping"}', masked => 0), 1002 ],
        [ 'of a kind that there is not', websocket_frame('x', opcode => 3), 1002 ],
        [ 'with bits that nobody knows', websocket_frame('{"type":"ping"}', reserved => 4), 1002 ],
        [ 'that goes on with nothing', websocket_frame('x', opcode => 0), 1002 ],
        [ 'of control that is too long', websocket_frame('x' x 126, opcode => 9), 1002 ],
        [ 'of control in pieces', websocket_frame('x', opcode => 9, final => 0), 1002 ],
        [ 'that is no UTF-8', websocket_frame("\xff\xfe"), 1007 ],
        [ 'of bytes', websocket_frame('x', opcode => 2), 1003 ],
        [ 'that is too large', websocket_frame('x' x 70_000), 1009 ])
    {
        my $socket = open_websocket($place, '/ws', key => $key{ann});
        my $message;

        last if $socket->{answer}{status} != 101;
        next_message($socket);
        send_bytes($socket, $bad->[1]);
        do { $message = next_message($socket) } while (defined $message && !ref $message);
        # What was not read of a large frame may take the answer away with it.
        $message = { close => 1009 } if $bad->[2] == 1009 && ref $message && $message->{close} == 1006;
        is(ref $message ? $message->{close} : 'open', $bad->[2], "a frame $bad->[0] ends it $name");
    }
}

# ---- slow clients ----

# So many clients that send their header, or their body, byte by byte.
sub start_slow
{
    my ($place, $count, $start) = @_;

    return map { my $c = connect_to($place); send_bytes($c, $start); $c } 1 .. $count;
}

# Sends one more byte for each; those that are left.
sub drip
{
    my ($byte, @slow) = @_;

    return grep { send_bytes($_, $byte) && !is_closed($_) } @slow;
}

for my $where ([ 'the gateway', $direct ], [ 'nginx', $web ])
{
    my ($name, $place) = @$where;
    my @header = start_slow($place, 400, "GET /nodes HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    my @body = start_slow($place, 400, "${post}Content-Length: 100000\r\n\r\n{");
    my ($good, $asked) = (0, 0);

    is(scalar(grep { defined } @header, @body), 800, "800 slow clients come to $name");
    wait_until(sub {
        $good += request($place, 'GET', '/api/priorities/surface', key => $key{ann})->{status} == 200 for 1 .. 5;
        $asked += 5;
        @header = drip('x', @header);
        @body = drip('x', @body);
        return !@header && (!@body || $place eq $web);
    });
    is($good, $asked, "... while $asked others are served");
    is(scalar(@header), 0, '... until those with slow headers are closed');
    is(scalar(@body), 0, '... and those with slow bodies') if $place ne $web;
    is(request($direct, 'GET', '/ready')->{status}, 200, '... and the gateway is well') if $place eq $web;
    disconnect($_) for @body;
}

# ---- caps ----

is(end_gateway($gateway), 0, 'the gateway ends well');
unlike(gateway_log($gateway), qr/Sanitizer|runtime error/, '... and its memory was in order');
$gateway = start_gateway($lead, name => 'capped', gateway => { connections => 30, streams => 8, streams_per_key => 4 });
$direct = socket_of($gateway);
my @sockets = map { open_websocket($direct, '/ws', key => $key{ann}) } 1 .. 4;
is(scalar(grep { $_->{answer}{status} == 101 } @sockets), 4, 'a key may hold so many streams');
is(open_websocket($direct, '/ws', key => $key{ann})->{answer}{status}, 429, '... and no more');
is(request($direct, 'GET', '/api/priorities/surface', key => $key{ann})->{status}, 200, '... but may ask');
push(@sockets, map { open_websocket($direct, '/ws', key => $key{bob}) } 1 .. 4);
is(scalar(grep { $_->{answer}{status} == 101 } @sockets), 8, 'another key has its own');
is(open_websocket($direct, '/ws', key => $key{eve})->{answer}{status}, 503, 'there are so many streams in all');
disconnect($_) for @sockets;
ok(wait_until(sub { open_websocket($direct, '/ws', key => $key{ann})->{answer}{status} == 101 }), 'who goes makes room');
my @held = map { connect_to($direct) } 1 .. 100;
send_bytes($_, 'G') for grep { defined } @held;
ok(wait_until(sub { (grep { defined && !is_closed($_) } @held) <= 30 }), 'there are so many connections in all');
disconnect($_) for grep { defined } @held;
ok(wait_until(sub { request($direct, 'GET', '/live')->{status} == 200 }), '... and when they are gone it answers again');
is(end_gateway($gateway), 0, 'it ends well');
end_nginx($nginx);

done_testing();
