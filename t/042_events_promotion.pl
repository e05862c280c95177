# Leads that are lost with the tail of their events: whoever has read that tail is told so, by each node,
# before and after the next lead's first event, and also when several leads lie between.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraEvents;
use AuroraNodes;
use PostgreSQL::Test::Utils;
use Test::More;

my $alpha = new_node_lead('alpha', event_settings('alpha'));
my $beta = new_node_standby($alpha, 'beta', event_settings('beta'));
my $gamma = new_node_standby($alpha, 'gamma', event_settings('gamma'));
my $host = $alpha->host;

# Whom a standby follows; 1 is nobody's port.
sub follow
{
    my ($node, $lead) = @_;
    my $port = ref $lead ? $lead->port : $lead;

    configure_node($node, primary_conninfo => "'host=$host port=$port user=postgres application_name=" . $node->name . "'");
    comes($node, 'SELECT count(*) FROM pg_stat_wal_receiver', $node->name . ' follows nobody', '0') if !ref $lead;
    return;
}

sub publish
{
    my ($node, $topic, $n) = @_;

    $node->safe_psql('postgres', "SELECT count(aurora.publish('$topic', '1')) FROM generate_series(1, $n)");
    return $node->safe_psql('postgres', "SELECT last_seq || ' ' || epoch FROM aurora.topics WHERE topic = '$topic'");
}

# What a node says to a cursor "SEQ EPOCH".
sub state_of
{
    my ($node, $topic, $cursor) = @_;
    my ($seq, $epoch) = split(/ /, $cursor);

    return $node->safe_psql('postgres', "SELECT state || ' ' || resume_after FROM aurora.cursor_state('$topic', $seq, '$epoch')");
}

sub is_told
{
    my ($node, $topic, $cursor, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return is(state_of($node, $topic, $cursor), $expected, $name . ', says ' . $node->name);
}

sub error_of
{
    my ($node, $sql) = @_;
    my ($out, $err) = try_sql($node, $sql);

    return $err;
}

comes($alpha, 'SELECT aurora.lead_duty() AND EXISTS (SELECT FROM aurora.lead_epoch)', 'the first lead takes up its duties');
$alpha->safe_psql('postgres', "SELECT aurora.add_company('Acme')");

# ---- a tail that only the first lead has ----

publish($alpha, 'orders', 100);
publish($alpha, 'quiet', 5);
$alpha->safe_psql('postgres', "SELECT aurora.subscribe('shop', 'orders')");
my $all = '100 ' . (split(/ /, publish($alpha, 'orders', 0)))[1];
my $first_id = (split(/ /, $all))[1];
catch_up($alpha, $_) for $beta, $gamma;
# The next lead last: it must not lack what who follows it has.
follow($_, 1) for $gamma, $beta;
my $tail = publish($alpha, 'orders', 5);
my $quiet_tail = publish($alpha, 'quiet', 2);
publish($alpha, 'only there', 3);
is($tail, "105 $first_id", 'the lead publishes what no standby has');
is_told($alpha, 'orders', $tail, 'continues 105', 'who has read that is at the end');
is_told($beta, 'orders', $tail, 'ahead 105', 'and before a standby that is behind');
is_sql($beta, "SELECT count(*) FROM aurora.events('orders', 105, 10, '$first_id')", 0, 'which has nothing to add yet');
$alpha->stop('immediate');

my %waiting = (out => '', err => '');
$waiting{run} = IPC::Run::start(
    [ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $beta->connstr('postgres') . ' application_name=waiter',
      '-c', "CALL aurora.wait_events('orders', 105, '120 s', '$first_id')" ],
    '<', \undef, '>', \$waiting{out}, '2>', \$waiting{err});
comes($beta, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waiter' AND wait_event_type = 'Extension'", 'somebody waits there with that cursor', '1');

# ---- the second lead, before its first event ----

$beta->promote;
follow($gamma, $beta);
is_told($beta, 'orders', $tail, 'lost 100', 'before any event of the new lead what was lost is lost');
is_told($beta, 'orders', $all, 'continues 100', 'what is there goes on');
is_told($beta, 'quiet', $quiet_tail, 'lost 5', 'each topic ends where it does');
$waiting{run}->finish;
is(sql_state($waiting{err}), '55A01', 'who waited there learns it') or diag("$waiting{out}$waiting{err}");
comes($gamma, 'SELECT aurora.current_timeline()', 'the other standby follows', '2');
is_told($gamma, 'orders', $tail, 'lost 100', 'it knows, too');
is_told($gamma, 'orders', $all, 'continues 100', '... and what goes on');
my $err = error_of($beta, "SELECT * FROM aurora.events('orders', 105, 10, '$first_id')");
is(sql_state($err), '55A01', 'events() answers with an error of its own');
like($err, qr/ERROR: .*the cursor stands at 105, and topic "orders" ends at 100 in that epoch\nDETAIL:  What was read after 100 was lost.*\nHINT:  .*after_seq => 100\./,
    '... that says where to go on');
is(sql_state(error_of($gamma, "CALL aurora.wait_events('orders', 105, '60 s', '$first_id')")), '55A01', 'so does wait_events()');
is(sql_state(error_of($beta, "SELECT aurora.ack('shop', 'orders', 105, '$first_id')")), '55A01', 'what was lost cannot be acknowledged');
is_sql($beta, "SELECT aurora.ack('shop', 'orders', 100, '$first_id')", 100, 'what is there can');
is(sql_state(error_of($beta, "SELECT * FROM aurora.events('only there')")), '42704', 'a topic that was lost as a whole is not there');

# ---- after its first events ----

comes($beta, 'SELECT timeline = 2 FROM aurora.epoch()', 'the second lead takes up its duties');
my $second = publish($beta, 'orders', 10);
my ($last, $second_id) = split(/ /, $second);
is($last, 110, 'it uses the numbers again');
is($second_id, $beta->safe_psql('postgres', 'SELECT id FROM aurora.epoch()'), 'in the epoch of its reign');
catch_up($beta, $gamma);
for my $node ($beta, $gamma)
{
    is_told($node, 'orders', $tail, 'lost 100', 'what was lost is not taken for the new events');
    is_told($node, 'orders', $all, 'continues 100', 'a cursor of the former epoch goes on');
    is_told($node, 'orders', $second, 'continues 110', 'so does one of this');
    is_told($node, 'orders', "110 $first_id", 'lost 100', 'a number of this epoch is none of the former');
    is_told($node, 'orders', '50 ' . '11111111-1111-1111-1111-111111111111', 'lost 0', 'an epoch that nobody knows begins anew');
    is_sql($node, "SELECT string_agg(DISTINCT epoch::text, ' ' ORDER BY epoch::text), count(*) FROM aurora.events('orders', 100, 20, '$first_id')",
        "$second_id|10", 'from the end of the former on the new events are read');
}
is_told($gamma, 'orders', '200 11111111-1111-1111-1111-111111111111', 'ahead 200', 'an unknown epoch may be still to come on a standby');
is(sql_state(error_of($gamma, "SELECT * FROM aurora.events('orders', 200, 1, '11111111-1111-1111-1111-111111111111')")), '55A02', '... and events() says that');
is(publish($beta, 'only there', 1) =~ s/ .*//r, 1, 'the topic that was lost begins again');
my $lost_topic = $beta->safe_psql('postgres', "SELECT epoch <> '$first_id' FROM aurora.topics WHERE topic = 'only there'");
is($lost_topic, 't', 'in another epoch');

# ---- the second lead is lost, too, with its first event of a topic ----

catch_up($beta, $gamma);
follow($gamma, 1);
my $second_tail = publish($beta, 'orders', 2);
my $quiet_second = publish($beta, 'quiet', 1);
is($quiet_second, "6 $second_id", 'its first event of a quiet topic is nowhere else');
$beta->stop('immediate');
$gamma->promote;
is_told($gamma, 'orders', $second_tail, 'lost 110', 'the tail of the second lead is lost');
is_told($gamma, 'quiet', $quiet_second, 'lost 5', 'also where it published nothing else');
is_told($gamma, 'orders', $tail, 'lost 100', 'the first one\'s still is');
my $third = publish($gamma, 'orders', 30);
publish($gamma, 'quiet', 3);
isnt((split(/ /, $third))[1], $second_id, 'the third lead has an epoch, also before it takes up its duties');
is_told($gamma, 'orders', $tail, 'lost 100', 'two leads later');
is_told($gamma, 'orders', $second_tail, 'lost 110', 'and one');
is_told($gamma, 'orders', $all, 'continues 100', 'a cursor of two epochs ago goes on');
is_told($gamma, 'quiet', $quiet_second, 'lost 5', 'the quiet topic\'s is told, too');
is_told($gamma, 'quiet', $quiet_tail, 'lost 5', 'and that of two leads ago');
comes($gamma, 'SELECT timeline = 3 FROM aurora.epoch()', 'the third lead takes up its duties');
is(publish($gamma, 'orders', 1), '141 ' . (split(/ /, $third))[1], 'and goes on in the epoch that its topic has');
is_told($gamma, 'orders', $third, 'continues 140', 'whose cursors go on');
is_sql($gamma, "SELECT string_agg(seq::text, ' ' ORDER BY seq) FROM aurora.fetch('shop', 'orders', 1000)", join(' ', 101 .. 141),
    'the consumer gets all that is there, from where it was, none left out');

done_testing();
