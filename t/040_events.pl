# Events on a lead and a standby: writers at the same time, readers from their cursors on the standby,
# waiting, crashes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraEvents;
use AuroraNodes;
use PostgreSQL::Test::Utils;
use Test::More;

my $lead = new_node_lead('alpha', event_settings('alpha'));
my $standby = new_node_standby($lead, 'beta', event_settings('beta'));

sub publish
{
    my ($topic, $payload) = @_;

    return $lead->safe_psql('postgres', "SELECT aurora.publish('$topic', '$payload')");
}

sub last_seq
{
    my ($node, $topic) = @_;

    return $node->safe_psql('postgres', "SELECT coalesce(max(last_seq), 0) FROM aurora.topics WHERE topic = '$topic'");
}

comes($lead, 'SELECT aurora.lead_duty()', 'the lead takes up its duties');
$lead->safe_psql('postgres', "SELECT aurora.add_company('Acme')");

# ---- eight writers on one topic, and on fifty ----

for my $topics (1, 50)
{
    my $prefix = "of $topics";
    my @names = map { "$prefix $_" } 1 .. $topics;
    my $publishers = start_publishers($lead, prefix => $prefix, topics => $topics, transactions => 120);
    my $reader = new_reader($standby, @names);

    # It reads while they write.
    for (1 .. 5)
    {
        read_some($reader, $_) for @names[0 .. ($topics > 3 ? 3 : 0)];
    }
    my ($status, $output) = finish_publishers($publishers);
    is($status, 0, "8 writers publish to $topics topic(s) without an error") or diag($output);
    catch_up($lead, $standby);
    my $events = 0;
    my @wrong;
    for my $topic (@names)
    {
        my $last = last_seq($lead, $topic);

        read_until($reader, $topic, $last);
        push(@wrong, "$topic: " . seqs_of($reader, $topic)) if seqs_of($reader, $topic) ne sequence_of($last);
        $events += $last;
    }
    is("@wrong", '', 'a reader on the standby gets all numbers from its cursor, none twice and none left out');
    my $committed = $lead->safe_psql('postgres', "SELECT count(*) FROM aurora.event e JOIN aurora.topic t USING (topic_id) WHERE t.name LIKE '$prefix %'");
    my ($processed) = $output =~ /number of transactions actually processed: (\d+)/;
    my ($undone) = $output =~ /undone\.sql.*?- (\d+) transactions/s;
    is($events, $committed, 'all that were committed are there');
    is($committed, $processed - $undone, 'a transaction that was rolled back left no event, and each other one left one');
    is($standby->safe_psql('postgres', "SELECT count(DISTINCT payload) FROM aurora.event e JOIN aurora.topic t USING (topic_id) WHERE t.name LIKE '$prefix %'"),
        $committed, 'and none is doubled');
    $reader->{psql}->quit;
}

# ---- waiting ----

my $before = last_seq($lead, 'chat');
for my $node ($lead, $standby)
{
    my $name = $node->name;
    my $waiter = waiter($node, 'chat', $before, '60 s');

    is_sql($node, "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE application_name = 'waiter'", 't',
        "who waits on $name holds no snapshot");
    is(publish('chat', '{"from": "test"}'), ++$before, 'an event is published');
    is(waiter_ends($waiter), $before, "who waits on $name is told its number");
    is($node->safe_psql('postgres', "SELECT seq, payload FROM aurora.events('chat', $before - 1)"), "$before|{\"from\": \"test\"}",
        '... and can read it at once');
}
is_sql($standby, "CALL aurora.wait_events('chat', $before, '10 ms')", $before, 'a wait on the standby that is over tells the last number');
is_sql($standby, "CALL aurora.wait_events('of another kind', 0, '10 ms')", 0, 'a topic that is not there yet has none');
my ($out, $err) = try_sql($standby, "BEGIN; CALL aurora.wait_events('chat', 0, '1 s')");
is(sql_state($err), '25001', 'a wait inside a transaction is refused');
like($err, qr/HINT:  Call it by itself/, '... with a hint');
($out, $err) = try_sql($standby, "DO \$\$ DECLARE n bigint; BEGIN CALL aurora.wait_events('chat', 0, '1 s', NULL, NULL, n); END \$\$");
is($err, '', 'a DO block outside a transaction may wait');

# ---- a standby takes no writes ----

for my $call ("publish('chat', '1')", "subscribe('me', 'chat')", "ack('me', 'chat', 1, gen_random_uuid())", "unsubscribe('me', 'chat')",
    "set_topic('chat')", "remove_topic('chat')", 'trim_events()', 'publish_notes()')
{
    ($out, $err) = try_sql($standby, "SELECT aurora.$call");
    is(sql_state($err), '25006', "on the standby $call is refused") or diag($err);
}

# ---- NOTIFY on the lead ----

my $listener = $lead->background_psql('postgres');
$listener->query_safe('LISTEN aurora_topic');
my $seq = publish('chat', '2');
my $id = $lead->safe_psql('postgres', "SELECT topic_id FROM aurora.topics WHERE topic = 'chat'");
my $told = '';
ok(wait_until(sub { $told .= $listener->query('SELECT 1'); $told =~ /payload "$id $seq"/ }), 'who listens on the lead is told of it')
  or diag($told);
$listener->quit;

# ---- a crash of the lead ----

sub kill_server
{
    my ($node) = @_;
    my @pids = split(/\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));

    $node->kill9;
    wait_until(sub { !kill(0, @pids) });
    $node->start;
    return;
}

my $reader = new_reader($standby, 'crash 1');
my $publishers = start_publishers($lead, prefix => 'crash', transactions => 100_000);
ok(read_until($reader, 'crash 1', 100), 'a reader on the standby reads while 8 writers publish');
kill_server($lead);
finish_publishers($publishers);
comes($lead, 'SELECT NOT pg_is_in_recovery()', 'the lead is killed and comes back');
my $after = publish('crash 1', '"after"');
ok(read_until($reader, 'crash 1', $after), 'the reader goes on from its cursor');
is(seqs_of($reader, 'crash 1'), sequence_of($after), 'without a gap, and none twice');
is_same_on_both($lead, $standby, "SELECT string_agg(seq || payload::text, ',' ORDER BY seq) FROM aurora.events('crash 1', 0, 10000)", 'both have the same events');
is_sql($lead, "SELECT count(*) FROM aurora.topic_epoch e JOIN aurora.topic t USING (topic_id) WHERE t.name = 'crash 1'", 1, 'a crash begins no epoch');
$reader->{psql}->quit;

done_testing();
