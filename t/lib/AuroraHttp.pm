# HTTP as tests want it: requests byte by byte, answers taken apart, text as it streams, WebSockets.
#
# A "place" is where a server listens: the path of a unix socket, or a port of 127.0.0.1. An "answer"
# is a reference to a hash with status, headers (names in lower case), body, and json when it is some.
package AuroraHttp;

use strict;
use warnings;

use Exporter 'import';
use IO::Poll qw(POLLIN);
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use Socket qw(MSG_NOSIGNAL);
use Time::HiRes ();

our @EXPORT = qw(
  connect_to send_bytes read_answer is_closed closes disconnect new_request raw_request request
  open_events next_event open_websocket websocket_frame websocket_send websocket_json next_message next_json
);

my $patience = $PostgreSQL::Test::Utils::timeout_default;

# ---- connections ----

# A connection: a reference to a hash with its socket and what was read and not used yet.
sub connect_to
{
    my ($place) = @_;
    my $socket = $place =~ m{^/}
      ? IO::Socket::UNIX->new(Peer => $place)
      : IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $place);

    return $socket ? { socket => $socket, read => '', place => $place } : undef;
}

sub disconnect
{
    my ($connection) = @_;

    close($connection->{socket});
    return;
}

# Sends all of it, if the other side takes it.
sub send_bytes
{
    my ($connection, $bytes) = @_;

    while (length($bytes))
    {
        my $sent = send($connection->{socket}, $bytes, MSG_NOSIGNAL);

        return 0 if !defined $sent;
        substr($bytes, 0, $sent, '');
    }
    return 1;
}

# Is there something to read, or an end, within so many seconds?
sub is_readable
{
    my ($connection, $seconds) = @_;
    my $poll = IO::Poll->new;

    $poll->mask($connection->{socket} => POLLIN);
    return $poll->poll($seconds) > 0;
}

# Reads some more; 0 at the end, undef when nothing came in time.
sub read_more
{
    my ($connection, $seconds) = @_;

    return 0 if $connection->{over};
    return if !is_readable($connection, $seconds // $patience);
    my $size = sysread($connection->{socket}, $connection->{read}, 65536, length($connection->{read}));

    $connection->{over} = 1 if !$size;
    return $size || 0;
}

# Does the other side close it? Reads on until then, for so many seconds at most.
sub closes
{
    my ($connection, $seconds) = @_;
    my $until = Time::HiRes::time() + ($seconds // $patience);

    while (!$connection->{over})
    {
        my $left = $until - Time::HiRes::time();

        return 0 if $left <= 0 || !defined read_more($connection, $left);
    }
    return 1;
}

sub is_closed
{
    my ($connection) = @_;

    return closes($connection, 0.01);
}

# ---- requests and answers ----

# The bytes of a request; %option: headers (a reference to a list of names and values), key, body,
# json (a value to send), host, version.
sub new_request
{
    my ($method, $path, %option) = @_;
    my @headers = @{ $option{headers} // [] };
    my $body = defined $option{json} ? JSON::PP->new->allow_nonref->utf8->encode($option{json}) : $option{body};
    my $text = "$method $path HTTP/" . ($option{version} // '1.1') . "\r\nHost: " . ($option{host} // 'localhost') . "\r\n";

    push(@headers, Authorization => "Bearer $option{key}") if defined $option{key};
    push(@headers, 'Content-Type' => 'application/json') if defined $option{json};
    push(@headers, 'Content-Length' => length($body)) if defined $body;
    while (my ($name, $value) = splice(@headers, 0, 2))
    {
        $text .= "$name: $value\r\n";
    }
    return "$text\r\n" . ($body // '');
}

# The status and headers of the next answer, or nothing.
sub read_head
{
    my ($connection) = @_;

    while (1)
    {
        if ($connection->{read} =~ s/\A(HTTP\/1\.[01] ([0-9]{3}).*?\r\n)\r\n//s)
        {
            return ($1, $2) if $2 == 101 || $2 >= 200;
        }
        elsif (!read_more($connection))
        {
            return;
        }
    }
}

# Reads one answer: undef when there was none. %option: method, head_only.
sub read_answer
{
    my ($connection, %option) = @_;
    my ($head, $status) = read_head($connection) or return;
    my %headers;

    for my $line ($head =~ /^([^:\r\n]+:[^\r\n]*)\r\n/mg)
    {
        my ($name, $value) = split(/:\s*/, $line, 2);

        $headers{ lc $name } = exists $headers{ lc $name } ? $headers{ lc $name } . ", $value" : $value;
    }
    my $answer = { status => $status, headers => \%headers, body => '' };

    return $answer if $option{head_only} || $status == 101;
    $answer->{body} = read_body($connection, $answer, $option{method} // 'GET');
    if (($headers{'content-type'} // '') =~ /json/)
    {
        $answer->{json} = eval { JSON::PP->new->allow_nonref->utf8->decode($answer->{body}) };
    }
    return $answer;
}

sub read_body
{
    my ($connection, $answer, $method) = @_;
    my $headers = $answer->{headers};

    return '' if $method eq 'HEAD' || $answer->{status} == 204 || $answer->{status} == 304;
    return read_chunks($connection) if ($headers->{'transfer-encoding'} // '') =~ /chunked/i;
    my $size = $headers->{'content-length'};

    while (!defined $size || length($connection->{read}) < $size)
    {
        read_more($connection) or last;
    }
    return substr($connection->{read}, 0, $size // length($connection->{read}), '');
}

# One chunk: undef when none came in time, '' at the end.
sub next_chunk
{
    my ($connection, $seconds) = @_;

    while (1)
    {
        if ($connection->{read} =~ /\A([0-9a-fA-F]+)\r\n/ && length($connection->{read}) >= length($1) + 4 + hex($1))
        {
            my $chunk = substr($connection->{read}, length($1) + 2, hex($1));

            substr($connection->{read}, 0, length($1) + 4 + hex($1), '');
            return $chunk;
        }
        read_more($connection, $seconds) or return;
    }
}

sub read_chunks
{
    my ($connection) = @_;
    my $body = '';

    while (1)
    {
        my $chunk = next_chunk($connection) // last;

        last if $chunk eq '';
        $body .= $chunk;
    }
    return $body;
}

# Sends bytes on a connection of their own: the answer, with status 0 when there is none.
sub raw_request
{
    my ($place, $bytes, %option) = @_;
    my $none = { status => 0, headers => {}, body => '' };
    my $connection = connect_to($place) // return $none;

    send_bytes($connection, $bytes);
    return read_answer($connection, %option) // $none;
}

# One request on a connection of its own; %option as in new_request().
sub request
{
    my ($place, $method, $path, %option) = @_;

    return raw_request($place, new_request($method, $path, %option, headers => [ @{ $option{headers} // [] }, Connection => 'close' ]),
        method => $method);
}

# ---- server-sent events ----

# Asks for a stream: a connection whose field answer has status and headers.
sub open_events
{
    my ($place, $path, %option) = @_;
    my $connection = connect_to($place) or return;
    my $method = delete $option{method} // 'GET';

    send_bytes($connection, new_request($method, $path, %option, headers => [ Accept => 'text/event-stream', @{ $option{headers} // [] } ]));
    $connection->{answer} = read_answer($connection, head_only => 1) or return;
    $connection->{text} = '';
    $connection->{chunked} = ($connection->{answer}{headers}{'transfer-encoding'} // '') =~ /chunked/;
    return $connection;
}

# More of a stream's text: undef when none came in time, '' at the end.
sub next_text
{
    my ($connection, $seconds) = @_;

    return next_chunk($connection, $seconds) if $connection->{chunked};
    if ($connection->{read} eq '')
    {
        my $size = read_more($connection, $seconds);

        return if !defined $size;
    }
    return substr($connection->{read}, 0, length($connection->{read}), '');
}

# The next event that has data, a reference to a hash of its fields. undef when none came. The
# connection's comments are those that were passed over.
sub next_event
{
    my ($connection, $seconds) = @_;

    while (1)
    {
        while ($connection->{text} =~ s/\A(.*?)\n\n//s)
        {
            my %event;

            for my $line (split(/\n/, $1))
            {
                $connection->{comments} .= "$line\n" if $line =~ /^:/;
                next if $line =~ /^:/;
                my ($name, $value) = split(/: ?/, $line, 2);

                $event{$name} = defined $event{$name} ? "$event{$name}\n$value" : $value;
            }
            return \%event if defined $event{data};
        }
        my $more = next_text($connection, $seconds);

        return if !defined $more || $more eq '';
        $connection->{text} .= $more;
    }
}

# ---- WebSocket ----

# Opens one: a connection whose field answer has status 101, or what the server said instead.
sub open_websocket
{
    my ($place, $path, %option) = @_;
    my $connection = connect_to($place) or return;
    my @headers = (
        Upgrade => 'websocket',
        Connection => 'Upgrade',
        'Sec-WebSocket-Key' => encode_base64(pack('L4', map { int(rand(2**32)) } 1 .. 4), ''),
        'Sec-WebSocket-Version' => 13,
        @{ $option{headers} // [] });

    send_bytes($connection, new_request('GET', $path, %option, headers => \@headers));
    $connection->{answer} = read_answer($connection) // { status => 0, headers => {}, body => '' };
    return $connection;
}

# The bytes of a frame; %option: opcode (1), final (1), masked (1), reserved (0).
sub websocket_frame
{
    my ($payload, %option) = @_;
    my $size = length($payload);
    my $flag = $option{masked} // 1 ? 0x80 : 0;
    my $frame = pack('C', (($option{final} // 1) ? 0x80 : 0) | ($option{reserved} // 0) << 4 | ($option{opcode} // 1));

    $frame .= $size < 126 ? pack('C', $flag | $size) : $size < 65536 ? pack('Cn', $flag | 126, $size) : pack('CQ>', $flag | 127, $size);
    return $frame . $payload if !$flag;
    my $mask = pack('N', int(rand(2**32)));

    return $frame . $mask . ($payload ^ substr($mask x (1 + $size / 4), 0, $size));
}

sub websocket_send
{
    my ($connection, $text, %option) = @_;

    return send_bytes($connection, websocket_frame($text, %option));
}

# Sends a value as JSON.
sub websocket_json
{
    my ($connection, $value) = @_;

    return websocket_send($connection, JSON::PP->new->utf8->canonical->encode($value));
}

# Takes a whole frame from what was read: opcode and payload, or nothing.
sub take_frame
{
    my ($connection) = @_;
    my $read = \$connection->{read};

    return if length($$read) < 2;
    my ($first, $second) = unpack('CC', $$read);
    my ($size, $at) = ($second & 0x7f, 2);

    if ($size >= 126)
    {
        my $wide = $size == 126 ? 2 : 8;

        return if length($$read) < 2 + $wide;
        $size = unpack($wide == 2 ? 'n' : 'Q>', substr($$read, 2, $wide));
        $at += $wide;
    }
    return if length($$read) < $at + $size;
    my $payload = substr($$read, $at, $size);

    substr($$read, 0, $at + $size, '');
    return ($first & 0x0f, $payload);
}

# The next message: its text, or a reference to a hash with close and reason, or undef when nothing
# came in time. Pings are answered.
sub next_message
{
    my ($connection, $seconds) = @_;
    my $until = Time::HiRes::time() + ($seconds // $patience);

    while (1)
    {
        my ($opcode, $payload) = take_frame($connection);

        if (!defined $opcode)
        {
            my $left = $until - Time::HiRes::time();
            my $size = read_more($connection, $left > 0 ? $left : 0);

            return if !defined $size;
            return { close => 1006, reason => '' } if !$size;
        }
        elsif ($opcode == 8)
        {
            return length($payload) >= 2
              ? { close => unpack('n', $payload), reason => substr($payload, 2) }
              : { close => 1005, reason => '' };
        }
        elsif ($opcode == 9)
        {
            websocket_send($connection, $payload, opcode => 10);
        }
        elsif ($opcode != 10)
        {
            return $payload;
        }
    }
}

# The next message taken apart; the end as next_message() gives it.
sub next_json
{
    my ($connection, $seconds) = @_;
    my $message = next_message($connection, $seconds);

    return !defined $message || ref $message ? $message : JSON::PP->new->utf8->decode($message);
}

1;
