# Redis carries the news to a standby: over TCP with a password, over a socket, over TLS; it dies and comes
# back; and nothing is lost without it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraEvents;
use AuroraNodes;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my $lead = new_node_lead('alpha', event_settings('alpha'));
my $standby = new_node_standby($lead, 'beta', event_settings('beta'));
my @both = ($lead, $standby);
my $published = 0;

comes($lead, 'SELECT aurora.lead_duty()', 'the lead takes up its duties');
$lead->safe_psql('postgres', "SELECT aurora.add_company('Acme')");
is(courier($_, "redis, redis_connects"), 'off|0', 'without a URL the courier of ' . $_->name . ' leaves Redis alone') for @both;

sub use_redis
{
    my (%conf) = @_;

    configure_node($_, %conf) for @both;
    return;
}

sub publish
{
    my ($n) = @_;

    $published = $lead->safe_psql('postgres', "SELECT aurora.publish('news', '1') FROM generate_series(1, $n)") =~ /(\d+)\z/ ? $1 : 0;
    return $published;
}

sub connected
{
    my ($name) = @_;

    comes($_, "SELECT redis = 'connected' AND redis_error IS NULL FROM aurora.courier_status()", "$name, as " . $_->name . ' shows it')
      or diag(courier($_, 'redis, redis_error'))
      for @both;
    return;
}

# Who waits on the standby is told of an event, by Redis.
sub hears
{
    my ($name) = @_;
    my $heard = courier($standby, 'redis_received');
    my $waiter = waiter($standby, 'news', $published, '60 s');

    publish(1);
    is(waiter_ends($waiter), $published, "$name: who waits on the standby is told");
    comes($standby, "SELECT redis_received > $heard FROM aurora.courier_status()", "$name: by Redis");
    return;
}

# ---- over TCP, with a password ----

my $redis = redis_server(password => 'a word@:/?');
start_redis($redis);
use_redis('aurora.redis_url' => "'redis://:wrong\@127.0.0.1:$redis->{port}'");
comes($_, "SELECT redis = 'away' AND redis_error ~ 'WRONGPASS|invalid' FROM aurora.courier_status()", 'a wrong password is shown as ' . $_->name . ' sees it')
  for @both;
use_redis('aurora.redis_url' => "'redis://127.0.0.1:$redis->{port}'");
comes($lead, "SELECT redis_error ~ 'NOAUTH' FROM aurora.courier_status()", 'so is a missing one');
my $files = PostgreSQL::Test::Utils::tempdir();
use_redis('aurora.redis_password_file' => "'$files/missing'");
comes($lead, "SELECT redis_error ~ 'redis_password_file: No such file' FROM aurora.courier_status()", 'a password file that is not there is told of');
append_to_file("$files/redis", "a word\@:/?\n");
use_redis('aurora.redis_password_file' => "'$files/redis'");
connected('with the password of a file it is connected');
publish(1);
hears('over TCP');
my $channel = courier($lead, 'redis_channel');
is(redis_command($redis, 'PUBSUB', 'NUMSUB', $channel), "$channel\n1", 'the standby listens to one channel, and the lead to none');

# What arrives there is checked: these change nothing.
redis_command($redis, 'PUBLISH', $channel, $_) for ('', 'x', '1', '1 ', '-1 5', '1 -5', '1 2 3', '99999999999999999999 1', 'a' x 100_000);
hears('after messages that are none');

# ---- an announcement of what does not come ----

my $id = $standby->safe_psql('postgres', "SELECT topic_id FROM aurora.topics WHERE topic = 'news'");
redis_command($redis, 'PUBLISH', $channel, "$id 1000000");
is_sql($standby, "CALL aurora.wait_events('news', $published, '300 ms')", $published, 'a wait ends although an event was announced that does not come');
hears('after such an announcement');

# ---- Redis dies, and comes back ----

my $reader = new_reader($standby, 'storm 1');
my $publishers = start_publishers($lead, prefix => 'storm', transactions => 150);
stop_redis($redis);
comes($_, "SELECT redis IN ('away', 'connecting') AND redis_failures > 0 FROM aurora.courier_status()", 'Redis is killed, and ' . $_->name . ' shows it') for @both;
my $alone = waiter($standby, 'news', $published, '60 s');
publish(1);
is(waiter_ends($alone), $published, 'who waits on the standby is told without Redis');
my $lost = courier($lead, 'redis_dropped');
cmp_ok($lost, '>', 0, 'what could not be told is counted');
start_redis($redis);
connected('Redis is back');
hears('afterwards');
my ($status, $output) = finish_publishers($publishers);
is($status, 0, 'who published meanwhile had no error') or diag($output);
my $last = $lead->safe_psql('postgres', "SELECT last_seq FROM aurora.topics WHERE topic = 'storm 1'");
ok(read_until($reader, 'storm 1', $last), 'a reader on the standby reads on through all that');
is(seqs_of($reader, 'storm 1'), sequence_of($last), 'without a gap, and none twice');
$reader->{psql}->quit;
is(log_count($lead, qr/Redis is away: /), 4, 'the log tells once of each time that it was away');

# ---- a server that takes connections and says nothing ----

my $mute = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5, Proto => 'tcp') or die "no port: $!";
use_redis('aurora.redis_url' => "'redis://127.0.0.1:" . $mute->sockport . "'");
my $silent = waiter($standby, 'news', $published, '60 s');
publish(1);
is(waiter_ends($silent), $published, 'while a Redis that answers nothing is waited for, who waits is told');
comes($lead, "SELECT redis_error = 'it took too long to connect' FROM aurora.courier_status()", 'which is given up in the end');
use_redis('aurora.redis_url' => "'redis://no-such-host.invalid'");
comes($lead, "SELECT redis_error ~ 'no address' FROM aurora.courier_status()", 'a name without an address is told of');

# ---- over a socket, and over TLS ----

use_redis('aurora.redis_url' => "'unix://:a word%40%3a%2F%3F\@$redis->{socket}'", 'aurora.redis_password_file' => "''");
connected('over a socket it is connected');
hears('over a socket');

my $ca = PostgreSQL::Test::Utils::tempdir();
sub certify
{
    my ($file, $name, @issuer) = @_;

    system_or_bail('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
        '-subj', "/CN=$name", @issuer, '-keyout', "$ca/$file.key", '-out', "$ca/$file.crt");
    return;
}
certify('ca', 'test authority');
certify('other', 'another authority');
certify('server', 'localhost', '-CA', "$ca/ca.crt", '-CAkey', "$ca/ca.key", '-addext', 'subjectAltName=DNS:localhost',
    '-addext', 'basicConstraints=critical,CA:FALSE');
append_to_file("$files/secure", "hush hush\n");
my $secure = redis_server(password => 'hush hush', tls => $ca);
start_redis($secure);
use_redis('aurora.redis_url' => "'rediss://default:\@localhost:$secure->{port}'", 'aurora.redis_tls_ca' => "'$ca/other.crt'",
    'aurora.redis_password_file' => "'$files/secure'");
comes($_, "SELECT redis = 'away' AND redis_error ~ '^TLS: ' FROM aurora.courier_status()", 'a server that nobody vouches for is refused, by ' . $_->name) for @both;
use_redis('aurora.redis_url' => "'rediss://default:\@127.0.0.1:$secure->{port}'", 'aurora.redis_tls_ca' => "'$ca/ca.crt'");
comes($lead, "SELECT redis_error ~ 'mismatch' FROM aurora.courier_status()", 'so is one whose certificate is another name\'s') or diag(courier($lead, 'redis_error'));
use_redis('aurora.redis_url' => "'redis://default:\@localhost:$secure->{port}'");
comes($lead, "SELECT redis <> 'connected' AND redis_error IS NOT NULL FROM aurora.courier_status()", 'a server that wants TLS is not spoken to without');
use_redis('aurora.redis_url' => "'rediss://default:\@localhost:$secure->{port}'");
connected('over TLS it is connected');
hears('over TLS');
unlike(slurp_file($_->logfile), qr/hush/, 'the password of the file is not in the log of ' . $_->name) for @both;
my ($out, $err) = try_sql($lead, 'CREATE ROLE plain; SET ROLE plain; SHOW aurora.redis_url');
is(sql_state($err), '42501', 'the URL is not shown to everybody');

for my $url ('http://127.0.0.1', 'redis://', 'redis://a@b', 'redis://:p@h:0', 'redis://:p@h:99999', 'redis://h:x', 'redis://h/3', 'redis://[::1',
    'unix://relative', 'redis://:%zz@h', 'redis://:%00@h', 'redis://' . 'x' x 300)
{
    ($out, $err) = try_sql($lead, "ALTER SYSTEM SET aurora.redis_url = '$url'");
    is(sql_state($err), '22023', 'the URL ' . substr($url, 0, 30) . ' is refused when it is set');
}
for my $url ('redis://[::1]:6379', 'rediss://user:p%40@h:1/', 'unix://:p@/x/y')
{
    ($out, $err) = try_sql($lead, "ALTER SYSTEM SET aurora.redis_url = '$url'");
    is($err, '', "the URL $url is taken");
}
$lead->safe_psql('postgres', 'ALTER SYSTEM RESET aurora.redis_url');

# ---- the standby is promoted ----

my $waiting = waiter($standby, 'news', $published, '60 s');
$lead->stop('immediate');
$standby->promote;
comes($standby, "SELECT part = 'lead' AND redis = 'connected' FROM aurora.courier_status()", 'the courier of a promoted standby tells instead of hearing');
is($standby->safe_psql('postgres', "SELECT aurora.publish('news', '1')"), $published + 1, 'an event is published there');
is(waiter_ends($waiting), $published + 1, 'who had begun to wait when it was a standby is told');
comes($standby, 'SELECT redis_published > 0 FROM aurora.courier_status()', 'Redis, too');

done_testing();
