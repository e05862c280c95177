# Topics as they are followed through the gateway of a standby, by WebSocket and by Server-Sent Events:
# nothing is missing and nothing comes twice, whoever goes away in the meantime.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraEvents;
use AuroraGateway;
use AuroraHttp;
use AuroraNodes;
use AuroraTimeLimit;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => gateway_is_missing()) if gateway_is_missing();

my $redis = redis_server();
start_redis($redis);
my %settings = (wal_keep_size => "'256MB'", 'aurora.redis_url' => "'redis://127.0.0.1:$redis->{port}'");
my $world = new_gateway_world('alpha', 'beta', %settings);
my ($lead, $standby) = @$world{qw(lead standby)};
my %key = %{ $world->{key} };
comes($lead, 'SELECT aurora.lead_duty()', 'the lead takes up its duties');
comes($_, "SELECT redis = 'connected' FROM aurora.courier_status()", 'Redis carries the news to ' . $_->name) for $lead, $standby;
my $either = one_of_two($lead, $standby);
my $gateway = start_gateway($standby, database => { lead => $either }, gateway => { stream_queue => '64kB' });
my $nginx = start_nginx('nginx', $gateway->{sockets});
my ($direct, $web) = (socket_of($gateway), port_of($nginx));

sub publish
{
    my ($node, $topic, $payload) = @_;

    return $node->safe_psql('postgres', "SELECT aurora.publish('$topic', '$payload', company => 'Acme')");
}

# So many clients publish so many events each to a topic, in the background.
sub start_publishing
{
    my ($node, $topic, $clients, $count) = @_;
    my $file = PostgreSQL::Test::Utils::tempdir() . '/publish.sql';
    my $publishing = { output => '' };

    append_to_file($file, "\\set n random(1, 1000000000)\nSELECT aurora.publish('$topic', jsonb_build_object('n', :n), company => 'Acme');\n");
    $publishing->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-R', 400, '-t', $count, '-f', $file, $node->connstr('postgres') ],
        '<', \undef, '>', \$publishing->{output}, '2>&1');
    return $publishing;
}

sub finish_publishing
{
    my ($publishing) = @_;

    $publishing->{run}->finish;
    return is($publishing->{run}->result(0), 0, 'all events are published') || diag($publishing->{output});
}

# A follower: what it has read, and how to go on. "way" is websocket or events.
sub new_follower
{
    my ($way, $place, $topic, $who) = @_;

    return { way => $way, place => $place, topic => $topic, key => $key{ $who // 'ann' }, seqs => [], cursor => undef };
}

# Connects again behind what was read last; false when that does not work yet.
sub come_back
{
    my ($follower) = @_;
    my $cursor = $follower->{cursor};
    my $connection;

    disconnect($follower->{connection}) if $follower->{connection};
    delete $follower->{connection};
    if ($follower->{way} eq 'websocket')
    {
        $connection = open_websocket($follower->{place}, '/ws', key => $follower->{key}) or return 0;
        return 0 if $connection->{answer}{status} != 101;
        websocket_json($connection, { type => 'subscribe', topic => $follower->{topic}, cursor => $cursor // { seq => 0 }, id => 1 });
    }
    else
    {
        my @after = $cursor ? (headers => [ 'Last-Event-ID' => "$cursor->{epoch}/$cursor->{seq}" ]) : ();

        $connection = open_events($follower->{place}, "/api/events/$follower->{topic}" . ($cursor ? '' : '?after=0'), key => $follower->{key}, @after) or return 0;
        return 0 if $connection->{answer}{status} != 200;
    }
    $follower->{connection} = $connection;
    return 1;
}

# The next message of either way: a reference to a hash, or undef when nothing came in time, or it broke.
sub next_of
{
    my ($follower, $seconds) = @_;

    return if !$follower->{connection};
    if ($follower->{way} eq 'websocket')
    {
        my $message = next_json($follower->{connection}, $seconds);

        return $message && exists $message->{close} ? { type => 'closed', %$message } : $message;
    }
    my $event = next_event($follower->{connection}, $seconds) // return $follower->{connection}{over} ? { type => 'closed' } : undef;

    return decode_json($event->{data});
}

# Reads until the topic's number is reached, and comes back whenever it must, and after each "often"
# events if that is given. Notes what it was told besides events in "told".
sub follow_until
{
    my ($follower, $last, $often) = @_;
    my $since = 0;

    return wait_until(sub {
        $follower->{connection} || come_back($follower) || return 0;
        while (my $message = next_of($follower, 0.2))
        {
            if ($message->{type} eq 'event')
            {
                push(@{ $follower->{seqs} }, $message->{seq});
                $follower->{cursor} = { seq => $message->{seq}, epoch => $message->{epoch} };
                return 1 if $message->{seq} >= $last;
                come_back($follower) || return 0 if $often && ++$since % $often == 0;
            }
            else
            {
                push(@{ $follower->{told} }, $message);
                if ($message->{type} =~ /^(closed|closing)$/)
                {
                    come_back($follower);
                    return 0;
                }
            }
        }
        come_back($follower) if $follower->{connection} && $follower->{connection}{over};
        return 0;
    });
}

sub has_all
{
    my ($follower, $last, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @wrong = grep { $follower->{seqs}[ $_ - 1 ] != $_ } 1 .. @{ $follower->{seqs} };

    return is(scalar(@{ $follower->{seqs} }) . ' events, wrong: ' . join(' ', @wrong[ 0 .. ($#wrong > 9 ? 9 : $#wrong) ]), "$last events, wrong: ", $name);
}

# ---- what it is to follow ----

publish($lead, 'orders', "{\"n\": $_}") for 1 .. 3;
catch_up($lead, $standby);
for my $place ($direct, $web)
{
    my $socket = open_websocket($place, '/ws', key => $key{ann});

    is_deeply([ @{ next_json($socket) }{qw(type company owner)} ], [ 'ready', 'Acme', 'ann' ], 'a WebSocket says who one is');
    websocket_json($socket, { type => 'subscribe', topic => 'orders', cursor => { seq => 1 }, id => 'a' });
    my $subscribed = next_json($socket);
    is_deeply([ @$subscribed{qw(type id topic state resume_after last_seq)} ], [ 'subscribed', 'a', 'orders', 'continues', 1, 3 ], '... where it goes on');
    is_deeply([ map { my $m = next_json($socket); "$m->{seq} $m->{payload}{n}" } 1, 2 ], [ '2 2', '3 3' ], '... and gives what is behind the cursor');
    websocket_json($socket, { type => 'publish', topic => 'mine', payload => { text => 'hello' }, client_id => 'c1', id => 5 });
    my $published = next_json($socket);
    is_deeply([ @$published{qw(type id topic client_id)} ], [ 'published', 5, 'mine', 'c1' ], 'one publishes by it, from the standby');
    websocket_json($socket, { type => 'ping', id => 6 });
    is_deeply(next_json($socket), { type => 'pong', id => 6 }, 'it answers');
    websocket_send($socket, 'not json');
    is(next_json($socket)->{type}, 'error', 'what it does not understand, it says');
    websocket_json($socket, { type => 'unsubscribe', topic => 'orders', id => 7 });
    is(next_json($socket)->{type}, 'unsubscribed', 'one may leave a topic');
    disconnect($socket);

    my $events = open_events($place, '/api/events/orders?after=1', key => $key{ann});
    like($events->{answer}{headers}{'content-type'}, qr{^text/event-stream}, 'the same is a stream of events');
    my @events = map { next_event($events) } 1 .. 3;
    is($events[0]{event}, 'state', '... which begins with where it goes on');
    is_deeply([ map { decode_json($_->{data})->{payload}{n} } @events[ 1, 2 ] ], [ 2, 3 ], '... and gives what is behind the cursor');
    like($events[2]{id}, qr{^[0-9a-f-]{36}/3$}, '... with cursors for who comes back');
    disconnect($events);
}
is_sql($lead, "SELECT count(*) FROM aurora.events('mine', 0, 10, company => 'Acme')", '1', 'an event that was sent twice with its number is there once');

my $foreign = open_websocket($web, '/ws', key => $key{eve});
next_json($foreign);
websocket_json($foreign, { type => 'subscribe', topic => 'orders', cursor => { seq => 0 }, id => 1 });
publish($lead, 'orders', '{"n": 4}');
websocket_json($foreign, { type => 'ping', id => 2 });
my @heard = map { next_json($foreign) } 1 .. 2;
is(scalar(grep { $_->{type} eq 'event' } @heard), 0, 'who is of another company hears nothing of it');
disconnect($foreign);

# A right that is taken ends what it allowed.
my $leaver = add_key($lead, "'leaver', owner => 'bob', company => 'Acme'");
catch_up($lead, $standby);
my $left = open_websocket($web, '/ws', key => $leaver);
next_json($left);
websocket_json($left, { type => 'subscribe', topic => 'orders', id => 1 });
is(next_json($left)->{type}, 'subscribed', 'bob follows by a key');
$lead->safe_psql('postgres', "SELECT aurora.revoke_api_key(key_id) FROM aurora.api_keys WHERE name = 'leaver'");
my $last;
do { $last = next_json($left) } while (defined $last && !exists $last->{close} && $last->{type} eq 'event');
ok(defined $last && (exists $last->{close} || $last->{type} =~ /^(error|closing)$/), '... until it is revoked');

# A key that is for some routes only is no other one over a WebSocket.
my %only = (
    connecting => [ 'GET /ws' ],
    reading => [ 'GET /*' ],
    publishing => [ 'GET /ws', 'POST /api/events/*' ]);
my %limited = map { ($_ => add_key($lead, "'$_', owner => 'ann', company => 'Acme', routes => '{" . join(',', @{ $only{$_} }) . "}'")) } keys %only;
catch_up($lead, $standby);
for my $name (sort keys %limited)
{
    my $socket = open_websocket($direct, '/ws', key => $limited{$name});
    my %status;

    is(next_json($socket)->{type}, 'ready', "a key for $name is taken");
    websocket_json($socket, { type => 'publish', topic => 'limited', payload => 1, id => 1 });
    my $published = next_json($socket);
    websocket_json($socket, { type => 'subscribe', topic => 'limited', cursor => { seq => 0 }, id => 2 });
    my $followed = next_json($socket);
    is($published->{status} // $published->{type}, $name eq 'publishing' ? 'published' : 403, '... ' . ($name eq 'publishing' ? 'and' : 'but not') . ' to publish');
    is($followed->{status} // $followed->{type}, $name eq 'reading' ? 'subscribed' : 403, '... ' . ($name eq 'reading' ? 'and' : 'but not') . ' to follow');
    websocket_json($socket, { type => 'ping', id => 3 });
    my $answer;
    do { $answer = next_json($socket) } while ($answer && ($answer->{type} // '') eq 'event');
    is($answer->{type}, 'pong', '... and stays connected');
    disconnect($socket);
}
is_sql($lead, "SELECT count(*) FROM aurora.events('limited', 0, 10, company => 'Acme')", '1', 'one of them has published');

# ---- over reconnects ----

my $publishing = start_publishing($lead, 'busy', 4, 250);
my @followers = map { my $way = $_; map { new_follower($way, $_, 'busy') } $direct, $web } qw(websocket events);
for my $follower (@followers)
{
    ok(follow_until($follower, 1000, 97), "by $follower->{way} one follows to the end");
    has_all($follower, 1000, '... with each event once and in order, though one often comes back');
}
finish_publishing($publishing);

# ---- over the gateway's death, and Redis' ----

$publishing = start_publishing($lead, 'rough', 4, 500);
my ($by_socket, $by_events) = (new_follower('websocket', $web, 'rough'), new_follower('events', $web, 'rough'));
ok(follow_until($_, 100), 'two follow') for $by_socket, $by_events;
kill_gateway($gateway);
restart_gateway($gateway);
ok(follow_until($_, 500), 'the gateway was killed, and they go on') for $by_socket, $by_events;
stop_redis($redis);
ok(follow_until($_, 1000), 'Redis was killed, and they go on') for $by_socket, $by_events;
is(end_gateway($gateway), 0, 'the gateway ends well while they follow');
restart_gateway($gateway);
finish_publishing($publishing);
ok(follow_until($_, 2000), 'the gateway was restarted, and they go on') for $by_socket, $by_events;
has_all($_, 2000, "by $_->{way} nothing was lost and nothing came twice") for $by_socket, $by_events;
ok(scalar(grep { $_->{type} eq 'closing' && $_->{resume} } @{ $by_socket->{told} }), 'a gateway that ends says that one should come back');

# ---- slow consumers ----

# Who has read everything and then no more is closed; who has not read it yet is only given it slowly.
publish($lead, 'large', '{"n": 1}');
catch_up($lead, $standby);
my ($slow, $behind) = map { open_websocket($direct, '/ws', key => $key{ann}) } 1 .. 2;
next_json($slow);
websocket_json($slow, { type => 'subscribe', topic => 'large', cursor => { seq => 0 }, id => 1 });
is_deeply([ map { next_json($slow)->{type} } 1, 2 ], [ 'subscribed', 'event' ], 'one has read everything');
websocket_json($slow, { type => 'ping', id => 2 });
next_json($slow);
$lead->safe_psql('postgres', "SELECT count(aurora.publish('large', jsonb_build_object('text', repeat('x', 4000)), company => 'Acme')) FROM generate_series(1, 500)");
catch_up($lead, $standby);
ok(wait_until(sub { gateway_log($gateway) =~ /websocket reads too slowly/ }), 'who does not read what is new is found out');
my ($read, $end) = (0, undef);
while (defined(my $message = next_json($slow)))
{
    $end = $message if exists $message->{close} || $message->{type} eq 'closing';
    last if exists $message->{close};
    $read++ if $message->{type} eq 'event';
}
cmp_ok($read, '<', 500, 'who does not read what is new is closed');
is($end->{close} // $end->{code}, 4000, '... with a code that says to come back with the cursor');
my $quick = new_follower('websocket', $direct, 'large');
websocket_json($behind, { type => 'subscribe', topic => 'large', cursor => { seq => 0 }, id => 1 });
ok(follow_until($quick, 501), 'who reads is not held up by who does not');
has_all($quick, 501, '... and has everything');
$read = 0;
while (defined(my $message = next_json($behind)))
{
    $read++ if ($message->{type} // '') eq 'event';
    last if $read == 501 || exists $message->{close};
}
is($read, 501, 'who reads what is old slowly has everything in the end');

# ---- many ----

my @idle = map { my $c = open_websocket($web, '/ws', key => $_ % 2 ? $key{ann} : $key{bob}); $c } 1 .. 1000;
is(scalar(grep { $_->{answer}{status} == 101 } @idle), 1000, 'a thousand WebSockets are open');
for my $socket (@idle)
{
    next_json($socket);
    websocket_json($socket, { type => 'subscribe', topic => 'orders', id => 1 });
}
is(scalar(grep { my $m = next_json($_); $m && $m->{type} eq 'subscribed' } @idle), 1000, '... and follow a topic');
is(request($web, 'GET', '/api/priorities/surface', key => $key{ann})->{status}, 200, '... while others are served');
publish($lead, 'orders', '{"n": 5}');
is(scalar(grep { my $m = next_json($_); $m && $m->{type} eq 'event' && $m->{payload}{n} == 5 } @idle), 1000, '... and all hear of an event');
disconnect($_) for @idle;

# Who comes and goes as fast as it can is told to wait, and then closed.
my $restless = open_websocket($direct, '/ws', key => $key{ann});
next_json($restless);
my $flapping = join('', map { websocket_frame("{\"type\":\"$_\",\"topic\":\"orders\"}") } ('subscribe', 'unsubscribe') x 1500);
my %answers;
send_bytes($restless, $flapping);
while (my $message = next_json($restless))
{
    $answers{ $message->{status} // $message->{type} // $message->{close} }++;
    last if exists $message->{close};
}
cmp_ok($answers{429} // 0, '>', 100, 'who subscribes too often is told to wait');
is($answers{1008}, 1, '... and closed, when it goes on') or diag(encode_json(\%answers));
is(request($direct, 'GET', '/api/priorities/surface', key => $key{ann})->{status}, 200, '... while others are served');

# Topics that are not there cost others nothing, however many follow them.
my @hoping = map { my $c = open_websocket($direct, '/ws', key => $_ % 2 ? $key{ann} : $key{bob}); $c } 1 .. 48;
next_json($_) for @hoping;
for my $n (0 .. $#hoping)
{
    send_bytes($hoping[$n], join('', map { websocket_frame("{\"type\":\"subscribe\",\"topic\":\"hope/$n/$_\",\"id\":$_}") } 1 .. 256));
}
my (%hopes, @refused);
for my $socket (@hoping)
{
    $hopes{ (next_json($socket) // {})->{status} // 'subscribed' }++ for 1 .. 256;
}
is_deeply(\%hopes, { subscribed => 2048, 429 => 48 * 256 - 2048 }, 'a key waits for 1024 topics that are not there, and is told so');
$publishing = start_publishing($lead, 'noise', 4, 250);
push(@refused, grep { $_ != 200 } request($direct, 'GET', '/api/priorities/surface', key => $key{eve})->{status}) for 1 .. 200;
is_deeply(\@refused, [], '... and others are served while much is published');
finish_publishing($publishing);
publish($lead, 'hope/0/1', '{"n": 1}');
my $came;
do { $came = next_json($hoping[0]) } while ($came && ($came->{type} // '') ne 'event');
is($came->{topic}, 'hope/0/1', '... and one that comes to be is heard of');
disconnect($_) for @hoping;

# Who does not say who he is takes nobody's place, and has few himself.
my @strange = map { open_websocket($direct, '/ws', headers => [ 'X-Forwarded-For' => '192.0.2.' . int($_ / 8) ]) } 0 .. 299;
my %strange;
$strange{ $_->{answer}{status} }++ for @strange;
is_deeply(\%strange, { 101 => 256, 503 => 44 }, 'so many are waited for to say who they are');
disconnect($_) for @strange;
ok(wait_until(sub { my $c = open_websocket($direct, '/ws'); my $status = $c->{answer}{status}; disconnect($c); return $status == 101 }), '... and no more when they go');
@strange = map { open_websocket($direct, '/ws', headers => [ 'X-Forwarded-For' => '192.0.2.1' ]) } 1 .. 10;
is(scalar(grep { $_->{answer}{status} == 101 } @strange), 8, '... and less of one address');
websocket_json($strange[0], { type => 'auth', key => $key{ann} });
is(next_json($strange[0])->{type}, 'ready', '... until it is said');
my $late = open_websocket($direct, '/ws', headers => [ 'X-Forwarded-For' => '192.0.2.1' ]);
is($late->{answer}{status}, 101, '... which leaves a place to another');
disconnect($_) for @strange, $late;

# ---- pings ----

my $pinging = start_gateway($standby, name => 'pinging', lead => $lead, gateway => { ping_interval => '300ms' });
my ($mute, $awake) = map { open_websocket(socket_of($pinging), '/ws', key => $key{ann}) } 1 .. 2;
my $pinged = open_events(socket_of($pinging), '/api/events/orders', key => $key{ann});
next_json($_) for $mute, $awake;
ok(wait_until(sub { next_message($awake, 0.1); return is_closed($mute) }), 'who answers no ping is closed');
websocket_json($awake, { type => 'ping', id => 1 });
is_deeply(next_json($awake), { type => 'pong', id => 1 }, '... and who does is not');
ok(wait_until(sub { next_event($pinged, 0.1); return ($pinged->{comments} // '') =~ /ping/ }), 'a stream of events has comments where nothing happens');
is(end_gateway($pinging), 0, 'that gateway ends well');

# ---- over a promotion ----

my @moving = map { new_follower($_, $web, 'moving') } qw(websocket events);
publish($lead, 'moving', '1') for 1 .. 10;
ok(follow_until($_, 10), 'two follow on the standby') for @moving;
$lead->stop('fast');
$standby->promote;
comes($standby, 'SELECT aurora.lead_duty()', 'the standby becomes the lead');
my $answer;
ok(wait_until(sub { $answer = request($web, 'POST', '/api/events/moving', key => $key{ann}, json => { payload => 11 }); $answer->{status} =~ /^20/ }),
    'its gateway publishes there') or diag($answer->{body});
publish($standby, 'moving', '1') for 12 .. 20;
ok(follow_until($_, 20), '... and they go on') for @moving;
has_all($_, 20, "... by $_->{way} with nothing lost and nothing twice") for @moving;

is(end_gateway($gateway), 0, 'the gateway ends well');
unlike(gateway_log($gateway), qr/Sanitizer|runtime error/, '... and its memory was in order');
end_nginx($nginx);

done_testing();
