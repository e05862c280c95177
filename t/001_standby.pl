# A hot standby answers every read as the lead does, refuses every write with a hint that names the
# lead, wakes snoozed items by itself, knows who may see what, and becomes a lead when promoted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraWorld;
use Test::More;

my $seed = random_seed();
my $lead = new_lead('lead');
install_worlds($lead);
make_world($lead, seed => $seed % 1000 / 1100, items => 600, owners => 4);
$lead->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE ROLE ann LOGIN; CREATE ROLE max LOGIN; CREATE ROLE pool LOGIN IN ROLE aurora_gateway; CREATE ROLE nobody LOGIN;
SELECT aurora.add_principal('owner 1', 'company 1', 'ann');
SELECT aurora.add_principal('max', 'company 1', 'max', trust => 'manager');
SELECT reference.live_on();
SELECT aurora.run_duty('archive_q4'), aurora.run_duty('sample_surface');
CREATE TABLE reference.question AS SELECT min(item_id) AS item_id FROM aurora.item WHERE owner = 'owner 1' AND state = 'open';
SQL
$lead->safe_psql('postgres', 'CALL aurora.apply_settings()');
my $standby = new_standby($lead, 'standby');
my ($host, $port) = ($lead->host, $lead->port);
$standby->append_conf('postgresql.conf',
    "primary_conninfo = 'host=$host port=$port user=postgres password=open_sesame application_name=standby'");
$standby->reload;

# ---- reads ----

my $time = "reference.world_time() + interval '3 hours'";
my %read = (
    'the surface' => "SELECT * FROM aurora.surface(10, 'owner 1', $time)",
    'a long surface' => "SELECT * FROM aurora.surface(1000, 'owner 2', $time)",
    'the agenda of the agent' => "SELECT * FROM aurora.agenda('agent', 100, 'owner 1', $time)",
    (map { ("quadrant $_" => "SELECT * FROM aurora.quadrant('$_', 100, 'owner 1', $time)") }
          qw(Q1_DO_NOW Q2_SCHEDULE Q3_DELEGATE Q4_ELIMINATE)),
    'the surface of a company' => "SELECT * FROM aurora.company_surface(100, 'company 2', $time)",
    'explain' => "SELECT * FROM aurora.explain((SELECT item_id FROM reference.question), $time)",
    'the statistics' => "SELECT * FROM aurora.priority_stats()",
    'the items' => 'SELECT item_id, title, cell, act_by, lane, static_points, important FROM aurora.items ORDER BY item_id',
    'the weights' => 'SELECT * FROM aurora.weights ORDER BY company, owner, name',
    'the kinds' => 'SELECT * FROM aurora.kinds ORDER BY company, kind_no',
    'the duties' => 'SELECT * FROM aurora.duties ORDER BY duty',
    'the history' => 'SELECT * FROM aurora.item_history ORDER BY history_id',
    'who the caller is' => 'SELECT aurora.caller(), aurora.administers_all(), aurora.company_ids()');

catch_up($lead, $standby);
is_same_on_both($lead, $standby, $read{$_}, "$_: the same on both") for sort keys %read;
surfaces_are_exact($standby, 'on the standby');

# ---- writes ----

my %argument = (
    text => q{'company 1'::text}, bigint => '1::bigint', integer => '1', numeric => '1::numeric', name => q{'ann'::name},
    'double precision' => '1::float8', 'timestamp with time zone' => 'now()', interval => q{interval '1 hour'},
    boolean => 'true', jsonb => q{'{}'::jsonb}, smallint => '1::smallint');

# Calls a function with its required arguments on the standby.
sub call_on_standby
{
    my ($routine) = @_;
    my ($name, $types, $prokind) = split(/\|/, $routine);
    my @values = map { $argument{$_} // 'NULL' } split(/, /, $types);
    my $verb = $prokind eq 'p' ? 'CALL' : 'SELECT';

    return try_sql($standby, "$verb aurora.$name(" . join(', ', @values) . ')');
}

# Volatile functions that a role may call write; those that only look, or hand
# on to the agent, are listed here.
my @writers = split(/\n/, $lead->safe_psql('postgres', <<'SQL'));
SELECT p.proname, (SELECT coalesce(string_agg(format_type(t, NULL), ', ' ORDER BY n), '')
                   FROM unnest(p.proargtypes[0:p.pronargs - p.pronargdefaults - 1]) WITH ORDINALITY a (t, n)), p.prokind
FROM pg_proc p
WHERE p.pronamespace = 'aurora'::regnamespace AND p.provolatile = 'v' AND p.prorettype <> 'trigger'::regtype
  AND (EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner))
  AND p.proname NOT IN ('assume', 'company_for', 'item_is_misplaced', 'report_connectivity', 'secret', 'export_secrets',
                        'restart_secret_audit', 'verify_secret_audit_file', 'wait_events', 'wait_published', 'wait_for_lsn', 'write_position',
                        'assume_key', 'assume_session', 'log_in', 'log_in_by_key')
ORDER BY 1
SQL
cmp_ok(scalar(@writers), '>=', 25, 'the writing functions are found (' . scalar(@writers) . ')');
for my $routine (@writers)
{
    my ($name) = split(/\|/, $routine);
    my ($out, $err) = call_on_standby($routine);

    is(sql_state($err), '25006', "$name() on the standby fails with 25006") or diag($err);
    like($err, qr/HINT:  Run it on the lead, at \Q$host\E port $port\./, "$name() on the standby names the lead");
    unlike($err, qr/open_sesame/, "$name() on the standby tells no password");
}
my ($out, $err) = try_sql($standby, "SELECT aurora.run_duty('no such duty')");
is(sql_state($err), '25006', 'a standby names the lead before it looks at arguments');
($out, $err) = try_sql($standby, "UPDATE aurora.item SET title = 'x'");
is(sql_state($err), '25006', 'plain writes on the standby fail with 25006, too');

# ---- weights ----

$lead->safe_psql('postgres', "SELECT aurora.set_weight('boost', 33, 'owner 1', 'company 1')");
$lead->safe_psql('postgres', "SELECT aurora.set_weight('half_life.email', 90.5, NULL, 'company 2')");
catch_up($lead, $standby);
is_same_on_both($lead, $standby, $read{'the weights'}, 'weights changed on the lead are seen on the standby');
surfaces_are_exact($standby, 'by weights changed on the lead, on the standby');

# ---- who may see what ----

my %asked = (
    ann => [ 'SELECT aurora.current_owner()', 'SELECT item_id, score FROM aurora.surface(50)',
        'SELECT count(*), min(owner), max(owner) FROM aurora.item', 'SELECT name FROM aurora.company',
        "SELECT count(*) FROM aurora.explain((SELECT item_id FROM aurora.item WHERE state = 'open' ORDER BY item_id LIMIT 1))" ],
    max => [ 'SELECT count(DISTINCT owner) FROM aurora.item', 'SELECT item_id, owner FROM aurora.company_surface(50)',
        "SELECT item_id FROM aurora.surface(20, 'owner 2')" ]);
for my $role (sort keys %asked)
{
    is_same_on_both($lead, $standby, "SET SESSION AUTHORIZATION $role; $_", "as $role on both: $_") for @{ $asked{$role} };
}
is_sql($standby, 'SET SESSION AUTHORIZATION ann; SELECT DISTINCT company_id, owner FROM aurora.item',
    $lead->safe_psql('postgres', "SELECT company_id || '|owner 1' FROM aurora.company WHERE name = 'company 1'"),
    'on the standby a person sees its own items only');
my %refused = (
    "SET SESSION AUTHORIZATION ann; SELECT * FROM aurora.surface(10, 'owner 2')" => '42501',
    'SET SESSION AUTHORIZATION ann; SELECT * FROM aurora.company_surface()' => '42501',
    'SET SESSION AUTHORIZATION nobody; SELECT * FROM aurora.surface()' => '42501',
    "SET SESSION AUTHORIZATION ann; SELECT aurora.assume('company 1', 'owner 2')" => '42501',
    "SET SESSION AUTHORIZATION pool; SELECT aurora.assume('company 1', 'nobody there')" => '22023',
    "SET SESSION AUTHORIZATION pool; BEGIN; SELECT aurora.assume('company 1', 'owner 2'); SELECT aurora.assume('company 1', 'max')" => '25000');
for my $sql (sort keys %refused)
{
    ($out, $err) = try_sql($standby, $sql);
    is(sql_state($err), $refused{$sql}, "on the standby refused with $refused{$sql}: $sql") or diag($err);
}
my $as_owner_2 = "SET SESSION AUTHORIZATION pool; BEGIN; SELECT aurora.assume('company 1', 'owner 2'); SELECT * FROM aurora.whoami()";
is_same_on_both($lead, $standby, "$as_owner_2; SELECT item_id, score FROM aurora.surface(20, at => '" . world_time() . "')",
    'a gateway assumes a principal and sees its surface on the standby');
is_sql($standby, "SET SESSION AUTHORIZATION pool; BEGIN; SELECT aurora.assume('company 1', 'owner 2'); COMMIT; SELECT count(*) FROM aurora.whoami()",
    "\n0", 'an assumed principal is forgotten when its transaction ends');

# ---- the lead is gone ----

my $snoozed = $lead->safe_psql('postgres', <<'SQL');
SELECT aurora.add_item('asleep', 'page', owner => 'owner 4', company => 'company 1', severity => 1, vip => true, risk => 3);
SQL
$lead->safe_psql('postgres', "SELECT aurora.snooze($snoozed, clock_timestamp() + interval '4 seconds')");
catch_up($lead, $standby);
my $on_surface = "SELECT EXISTS (SELECT FROM aurora.surface(1000, 'owner 4') WHERE item_id = $snoozed)";
is_sql($standby, "SELECT NOT EXISTS (SELECT FROM aurora.surface(1000, 'owner 4', snooze_until - interval '1 us')
                                     WHERE item_id = $snoozed)
                  FROM aurora.item WHERE item_id = $snoozed", 't', 'a snoozed item is hidden to the last microsecond');
$lead->stop;
ok($standby->poll_query_until('postgres', $on_surface), 'it wakes on the standby by itself with the lead stopped');
is_sql($standby, "SELECT snooze_until <= now() FROM aurora.item WHERE item_id = $snoozed", 't', 'and not before its time');
surfaces_are_exact($standby, 'with the lead stopped');
($out, $err) = try_sql($standby, 'SELECT aurora.undo()');
like($err, qr/25006.*at \Q$host\E port $port/s, 'writes name the lead though it is gone');

# ---- promotion ----

my @fixed = grep { $_ ne 'the statistics' } sort keys %read;
my %before = map { $_ => $standby->safe_psql('postgres', $read{$_}) } @fixed;
$standby->promote;
is($standby->safe_psql('postgres', $read{$_}), $before{$_}, "$_: the same after promotion") for @fixed;
for my $write ("aurora.complete($snoozed)", "aurora.undo($snoozed)", "aurora.run_duty('sweep_cells')", "aurora.run_duty('wake_snoozed')",
    "aurora.set_weight('vip', 7, company => 'company 1')", "aurora.reset_weights(company => 'company 1')",
    "aurora.add_item('from the new lead', owner => 'owner 1', company => 'company 1')")
{
    ($out, $err) = try_sql($standby, "SELECT $write");
    is($err, '', "the promoted standby takes writes: $write");
}
settle($standby);
invariants_hold($standby, 'on the promoted standby', settled => 1);
surfaces_are_exact($standby, 'on the promoted standby');

done_testing();
