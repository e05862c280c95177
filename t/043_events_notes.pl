# What capabilities tell of: writers of items do not wait for one another, nothing that was committed goes
# untold, and where no courier runs transactions tell themselves, without deadlocks.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraEvents;
use AuroraNodes;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $owners = 50;
my $fill = "SET client_min_messages = warning; SELECT aurora.add_company('Acme'); "
  . "SELECT count(aurora.add_principal('owner ' || n, 'Acme')) FROM generate_series(1, $owners) n;";

# Clients that add items for several owners in each transaction, in any order, and change them.
sub start_item_writers
{
    my ($node, $transactions) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my $writers = { output => '' };
    my $add = "SELECT aurora.add_item('item', owner => 'owner ' || :%s, company => 'Acme');\n";

    append_to_file("$folder/several.sql", join('', map { "\\set $_ random(1, $owners)\n" } qw(a b c))
          . "BEGIN;\n" . sprintf($add x 3, qw(a b c)) . "COMMIT;\n");
    append_to_file("$folder/undone.sql", "\\set a random(1, $owners)\nBEGIN;\n" . sprintf($add, 'a') . "ROLLBACK;\n");
    append_to_file("$folder/one.sql", "\\set a random(1, 3)\n" . sprintf($add, 'a'));
    $writers->{run} = IPC::Run::start(
        [ 'pgbench', '-n', '-c', 8, '-j', 2, '-t', $transactions, '-f', "$folder/several.sql\@4", '-f', "$folder/undone.sql\@1",
          '-f', "$folder/one.sql\@4", $node->connstr('postgres') ],
        '<', \'', '>', \$writers->{output}, '2>&1');
    return $writers;
}

# Items that no event of their owner's topic names, and events' numbers that are missing.
my $untold = <<'SQL';
SELECT count(*) FROM aurora.item i
WHERE NOT EXISTS (SELECT FROM aurora.event e JOIN aurora.topic t USING (topic_id)
                  WHERE t.company_id = i.company_id AND t.name = 'items/' || i.owner AND e.payload -> 'changed' @> to_jsonb(i.item_id))
SQL
my $gaps = <<'SQL';
SELECT count(*) FROM aurora.topic t
WHERE (SELECT count(*) || ' ' || max(e.seq) FROM aurora.event e WHERE e.topic_id = t.topic_id) <> t.last_seq || ' ' || t.last_seq
SQL
my $bogus = <<'SQL';
SELECT count(*) FROM aurora.event e JOIN aurora.topic t USING (topic_id), jsonb_array_elements(e.payload -> 'changed') c
WHERE t.name LIKE 'items/%' AND NOT EXISTS (SELECT FROM aurora.item i WHERE to_jsonb(i.item_id) = c)
SQL

sub all_is_told
{
    my ($node, $when) = @_;

    comes($node, 'SELECT count(*) FROM aurora.event_note', "$when: all notes are published in the end", '0');
    is_sql($node, $untold, 0, "$when: each item that was committed is told to its owner");
    is_sql($node, $bogus, 0, "$when: and none that was not");
    is_sql($node, $gaps, 0, "$when: without gaps");
    return;
}

# ---- with a courier ----

my $lead = new_node_lead('alpha', event_settings('alpha'));
my $standby = new_node_standby($lead, 'beta', event_settings('beta'));
comes($lead, 'SELECT aurora.lead_duty()', 'the lead takes up its duties');
$lead->safe_psql('postgres', $fill);
my $writers = start_item_writers($lead, 80);
my ($status, $output) = finish_publishers($writers);
is($status, 0, '8 writers of items of 50 owners have no error, so no deadlock') or diag($output);
all_is_told($lead, 'with a courier');
catch_up($lead, $standby);
is_sql($standby, $untold, 0, 'the standby has all that');

$lead->safe_psql('postgres', "BEGIN; SELECT aurora.add_item('held', owner => 'owner 1', company => 'Acme'); PREPARE TRANSACTION 'held'");
my ($out, $err) = try_sql($lead, "SET lock_timeout = '10s'; SELECT aurora.add_item('free', owner => 'owner 1', company => 'Acme') > 0");
is("$out$err", 't', 'a writer does not wait for the commit of another one of the same owner');
comes($lead, 'SELECT count(*) FROM aurora.event_note', 'whose change is told while the other one is held up', '0');
my $last = $lead->safe_psql('postgres', "SELECT last_seq FROM aurora.topics WHERE topic = 'items/owner 1'");
my $waiter = waiter($standby, 'items/owner 1', $last, '60 s');
$lead->safe_psql('postgres', "COMMIT PREPARED 'held'");
is(waiter_ends($waiter), $last + 1, 'who waits on the standby for changes of an owner is told, also of a prepared transaction');
all_is_told($lead, 'after that');

# ---- a crash amid it, and one of the courier ----

$writers = start_item_writers($lead, 100_000);
comes($lead, 'SELECT max(item_id) > 400 FROM aurora.item', 'writers are at it');
my $pid = courier($lead, 'pid');
kill('TERM', $pid);
comes($lead, "SELECT pid <> $pid FROM aurora.courier_status()", 'a courier that is ended is started again');
comes($lead, 'SELECT max(item_id) > 600 FROM aurora.item', 'writers went on');
my @pids = split(/\n/, $lead->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));
$lead->kill9;
wait_until(sub { !kill(0, @pids) });
finish_publishers($writers);
$lead->start;
comes($lead, 'SELECT aurora.lead_duty()', 'the server is killed and comes back');
all_is_told($lead, 'after the crash');

# ---- notes that were not published when the lead was lost ----

$lead->append_conf('postgresql.conf', "synchronous_standby_names = 'ANY 1 (nobody)'");
$lead->reload;
comes($lead, 'SELECT NOT aurora.lead_duty()', 'a lead without its synchronous standby has no duties');
$lead->safe_psql('postgres', "SET synchronous_commit = local; SELECT aurora.add_item('not told', owner => 'owner 1', company => 'Acme')");
is_sql($lead, 'SELECT count(*) FROM aurora.event_note', 1, 'what it notes it does not publish');
catch_up($lead, $standby);
$lead->stop('immediate');
$standby->promote;
comes($standby, 'SELECT aurora.lead_duty()', 'the standby becomes the lead');
all_is_told($standby, 'on the next lead');

# ---- without the preloaded library ----

my $plain = new_cluster('plain');
$plain->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
$plain->safe_psql('postgres', $fill);
$writers = start_item_writers($plain, 80);
($status, $output) = finish_publishers($writers);
is($status, 0, 'without the library preloaded 8 writers of items of 50 owners have no error, so no deadlock') or diag($output);
all_is_told($plain, 'without the library preloaded');
is_sql($plain, "SELECT aurora.publish('chat', '1', company => 'Acme'), (SELECT count(*) FROM aurora.events('items/owner 1', company => 'Acme')) > 0", '1|t', 'publishing and reading work');
is_sql($plain, 'SELECT aurora.trim_events()', 0, 'trimming, too, in a session that has not loaded the library');
($out, $err) = try_sql($plain, "CALL aurora.wait_events('chat', 0, '1 s', NULL, 'Acme')");
is(sql_state($err), '55000', 'waiting is refused');
like($err, qr/HINT:  Add aurora to shared_preload_libraries/, '... with a hint');
($out, $err) = try_sql($plain, 'SELECT aurora.courier_status()');
is(sql_state($err), '55000', 'there is no courier to ask for');

done_testing();
