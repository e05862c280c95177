# The audit of secrets: every access is written down on its node before it is granted, arrives on the
# lead exactly once whatever dies meanwhile, shows when somebody changed it, and what cannot be
# written down is refused.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraNodes;
use AuroraSecrets;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $key = fernet_key();
my $hush = 'not-for-any-log';
my $status = 'FROM aurora.secret_audit_status()';
my $is_down = "SELECT bool_or(state = 'down') FROM aurora.health_secrets()";

# ---- without the workers ----

my $bare = new_cluster('bare', 'aurora.secrets_key_file' => "'" . write_keys('bare', $key) . "'");
$bare->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
for my $call ("secret('a', 'b')", "put_secret('a', 'b', 'c')", "import_secrets_env('a', 'B=c')")
{
    my $err = is_refused($bare, "SELECT aurora.$call", '55000', qr/./, "not preloaded, refused: $call");

    like($err, qr/HINT:.*shared_preload_libraries/, '... with a hint that tells how to have it');
}
$bare->stop;

# ---- two nodes ----

my $lead = new_secret_lead('alpha', [$key]);
my $standby = new_secret_standby($lead, 'beta', [$key]);
my @both = ($lead, $standby);

comes($_, "SELECT count(*) FROM aurora.nodes WHERE state = 'up'", 'both nodes are up, as ' . $_->name . ' shows it', '2') for @both;
$lead->safe_psql('postgres', <<"SQL");
CREATE ROLE ann LOGIN;
GRANT aurora_user TO ann;
SELECT aurora.add_company('acme');
SELECT aurora.put_secret('crm', 'token', '$hush 1', company => 'acme');
SELECT aurora.put_secret('crm', 'strict', '$hush 2', strict => true);
SELECT aurora.put_secret('crm', 'n' || n, '$hush ' || n) FROM generate_series(1, 20) n;
SQL
catch_up($lead, $standby);

# All that a node has written has arrived, once, without a gap; returns how many records it is.
sub all_arrive
{
    my ($at, $name, $sentence) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $written = audit_holds($name, "the chain of $name holds");
    my $arrived = "SELECT count(*), count(DISTINCT (chain, seq)) FROM aurora.secret_audit WHERE node = '$name'";

    comes($at, $arrived, $sentence, "$written|$written");
    is_sql($at, "SELECT count(*) FROM (SELECT chain FROM aurora.secret_audit WHERE node = '$name' GROUP BY chain
                 HAVING count(*) <> max(seq) - min(seq) + 1 OR min(seq) <> 1) gaps", 0, '... and no number is missing');
    is_sql($at, "SELECT bool_and(ok) FROM aurora.verify_secret_audit('$name')", 't', '... and the hashes hold there, too');
    return $written;
}

# ---- what is written down ----

for my $node (@both)
{
    my $name = $node->name;
    my $read = "SELECT aurora.secret('crm', 'token', 'acme')";
    my %token = (service => 'crm', key => 'token', scope => 'company', company => 'acme', version => 1);

    is_sql($node, $read, "$hush 1", "a value is read on $name");
    audit_has($name, 1, { action => 'read', outcome => 'granted', %token }, '... and that is written down');
    my ($record) = audit_records($name, action => 'read', outcome => 'granted', %token);
    like($record->{at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, '... with its time');
    is("$record->{database} $record->{session}", 'postgres postgres', '... and who it was');
    ok($record->{pid} > 0, '... in which process');
    $node->safe_psql('postgres', "BEGIN; $read; ROLLBACK");
    audit_has($name, 2, { action => 'read', outcome => 'granted', %token }, 'a read that is rolled back is written down');
    $node->safe_psql('postgres', "BEGIN; $read; SAVEPOINT a; $read; ROLLBACK TO a; COMMIT");
    audit_has($name, 4, { action => 'read', outcome => 'granted', %token }, 'one after another, kept in the session or not');
    my $session = session($node);
    $session->query_safe('BEGIN');
    is(session_reads($session, "'crm', 'token', 'acme'"), "$hush 1", 'a value is read in a transaction that goes on');
    audit_has($name, 5, { action => 'read', outcome => 'granted', %token }, '... and is written down meanwhile');
    $session->query_safe('ROLLBACK');
    $session->quit;
    is_refused($node, $read, '42501', qr/permission denied/, 'who has no right is refused', role => 'ann');
    audit_has($name, 1, { action => 'read', outcome => 'refused', service => 'crm', key => 'token', session => 'ann' }, '... and that is written down');
    is_refused($node, "SELECT aurora.secret('crm', 'nothing')", '42704', qr/nothing/, 'what is not there is missing');
    audit_has($name, 1, { action => 'read', outcome => 'missing', service => 'crm', key => 'nothing' }, '... and that is written down');
}
audit_has('alpha', 22, { action => 'put', outcome => 'granted' }, 'the writes are written down on the lead');
audit_has('beta', 0, { action => 'put' }, 'and not on the standby');
$lead->safe_psql('postgres', "BEGIN; SELECT aurora.put_secret('crm', 'undone', '$hush 3'); ROLLBACK");
audit_has('alpha', 1, { action => 'put', outcome => 'granted', key => 'undone' }, 'so is a write that is rolled back');
is_refused($lead, "SELECT aurora.put_secret('crm', 'token', '$hush 4')", '42501', qr/permission denied/, 'a write without the right is refused', role => 'ann');
audit_has('alpha', 1, { action => 'put', outcome => 'refused', session => 'ann' }, '... and written down');
for my $case (
    [ 'export', "export_secrets('crm')" ], [ 'export', "export_secrets('crm', plain => true)" ], [ 'grant', "grant_secret('ann', 'crm')" ],
    [ 'revoke', "revoke_secret('ann', 'crm')" ], [ 'import', q{import_secrets_json('{"format": "aurora secrets 1", "keys": [], "secrets": []}')} ])
{
    my ($action, $call) = @$case;
    my $before = audit_records('alpha', action => $action, outcome => 'refused', session => 'ann');

    is_refused($lead, "SELECT aurora.$call", '42501', qr/permission denied/, "refused: $call", role => 'ann');
    audit_has('alpha', $before + 1, { action => $action, outcome => 'refused', session => 'ann' }, '... and written down');
}
$lead->safe_psql('postgres', <<"SQL");
SELECT aurora.grant_secret('ann', 'other');
SELECT aurora.revoke_secret('ann', 'other');
SELECT aurora.delete_secret('crm', 'n20');
SELECT aurora.undelete_secret('crm', 'n20');
SELECT aurora.destroy_secret('crm', 'n20');
SELECT length(aurora.export_secrets('crm', plain => true)::text);
SELECT aurora.import_secrets_env('env', 'A=$hush 5');
SQL
for my $action (qw(begin grant revoke delete undelete destroy export))
{
    ok(scalar(audit_records('alpha', action => $action, outcome => 'granted')), "written down, too: $action");
}
ok(scalar(audit_records('alpha', service => 'env', outcome => 'granted')), 'written down, too: import');
for my $name ('alpha', 'beta')
{
    is(scalar(grep { -s $_ && ((stat($_))[2] & 07777) != 0600 } audit_files($name)), 0, "the files of $name are for the server alone");
    is(sprintf('%04o', (stat(audit_folder($name)))[2] & 07777), '0700', '... and so is their folder');
    ok(!grep({ slurp_file($_) =~ /\Q$hush\E/ } audit_files($name)), "no value is in the files of $name");
}

# ---- on the lead ----

all_arrive($lead, $_, "what $_ has written arrives on the lead") for 'alpha', 'beta';
comes($standby, "SELECT count(*) FROM aurora.secret_audit WHERE node = '$_'", "... and what $_ has comes back to the standby",
    scalar(audit_records($_))) for 'alpha', 'beta';
is_same_on_both($lead, $standby, 'SELECT node, chain, ok, problem FROM aurora.verify_secret_audit() ORDER BY 1, 2', 'both find it unbroken');
is_sql($_, "SELECT bool_and(ok), sum(records) FROM aurora.verify_secret_audit_file()", 't|' . scalar(audit_records($_->name)), 'the files of ' . $_->name . ' hold') for @both;
comes($_, "SELECT last_seq = delivered_seq AND problem IS NULL $status", 'the status of ' . $_->name . ' tells that all is delivered') for @both;
is_sql($_, 'SELECT DISTINCT state FROM aurora.health_secrets()', 'up', 'health_secrets() is up on ' . $_->name) for @both;
is_sql($lead, "SELECT count(*) FROM aurora.secret_audit a WHERE a::text LIKE '%$hush%'", 0, 'no value is in what arrived');

# ---- many at once ----

my $many = PostgreSQL::Test::Utils::tempdir() . '/many.sql';
append_to_file($many, "\\set n random(1, 19)\nSELECT aurora.secret('crm', 'n' || :n);\n");
for my $node (@both)
{
    my $name = $node->name;
    my $before = audit_records($name, action => 'read');

    $node->command_ok([ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '500', '-f', $many, 'postgres' ], "eight sessions read 500 times each on $name");
    is(audit_records($name, action => 'read') - $before, 4000, '... and each read is written down');
    is((follow_audit($name))[1], '', '... in one chain');
}
all_arrive($lead, $_, "all of $_ arrives") for 'alpha', 'beta';

# ---- strict ----

configure_node($_, 'aurora.secret_audit_sync_interval' => "'10s'") for @both;
for my $node (@both)
{
    my $name = $node->name;
    my $seen = "SELECT max(synced_seq) $status";

    comes($node, "SELECT setting FROM pg_settings WHERE name = 'aurora.secret_audit_sync_interval'", "on $name the audit is synced rarely", '10000');
    is_sql($node, "SELECT aurora.secret('crm', 'strict')", "$hush 2", 'a strict value is read');
    my ($last) = (audit_records($name, key => 'strict', action => 'read'))[-1];
    cmp_ok($node->safe_psql('postgres', $seen), '>=', $last->{seq}, '... when its record was on disk');
}
is_sql($lead, "SELECT aurora.export_secrets('crm', plain => true) -> 'crm' ->> 'strict'", "$hush 2", 'values are exported in plain text');
my ($exported) = (audit_records('alpha', action => 'export'))[-1];
cmp_ok($lead->safe_psql('postgres', "SELECT max(synced_seq) $status"), '>=', $exported->{seq}, '... when their records were on disk');
configure_node($_, 'aurora.secret_audit_sync_interval' => "'100ms'") for @both;

# ---- the lead is away ----

my $reads = "SELECT count(aurora.secret('crm', 'n' || 1 + n %% 19)) FROM generate_series(1, %s) n";
$lead->stop;
for my $times (1 .. 3)
{
    $standby->safe_psql('postgres', sprintf($reads, 700));
}
my $alone = audit_holds('beta', 'without the lead the standby goes on writing down');
comes($standby, 'SELECT cut_off FROM aurora.agent_status()', 'the lead is away for long');
is_sql($standby, "SELECT aurora.secret('crm', 'n1')", "$hush 1", 'secrets are still read there');
is_sql($standby, "SELECT last_seq - delivered_seq >= 2101 $status", 't', 'the status tells how much waits for the lead');
$standby->restart;
is_sql($standby, sprintf($reads, 10), 10, 'also after a restart without the lead');
$lead->start;
cmp_ok(all_arrive($lead, 'beta', 'all arrives when the lead is back'), '>=', $alone + 11, '... what was written without it');

# ---- crashes ----

# Kills a server without a word, and starts it again as soon as its processes are gone.
sub kill_server
{
    my ($node) = @_;
    my $server = $node->{_pid};

    $node->kill9;
    wait_until(sub { !kill(0, $server) }) or die 'the server is still there';
    # Its other processes find out in a moment that they are alone.
    return wait_until(sub { return 1 if $node->start(fail_ok => 1); $node->{_pid} = undef; return 0 }) || die 'the server does not start again';
}

my $kinds = "SELECT string_agg(DISTINCT backend_type, ', ') FROM pg_stat_activity WHERE backend_type LIKE 'aurora%'";
note('processes of the standby: ' . $standby->safe_psql('postgres', $kinds));
for my $kind (split(/, /, $standby->safe_psql('postgres', $kinds)))
{
    my $pid = $standby->safe_psql('postgres', "SELECT min(pid) FROM pg_stat_activity WHERE backend_type = '$kind'");

    $standby->safe_psql('postgres', sprintf($reads, 300));
    kill('KILL', $pid);
    comes($standby, "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = '$kind' AND pid <> $pid", "the $kind is killed, and another comes");
    $standby->safe_psql('postgres', sprintf($reads, 30));
}
all_arrive($lead, 'beta', 'what was read before and after that arrives');

for my $with_lead (1, 0)
{
    my $how = $with_lead ? 'the server of the standby is killed' : 'it is killed while the lead is away';

    $lead->stop unless $with_lead;
    $standby->safe_psql('postgres', sprintf($reads, 500)) for 1 .. 3;
    my $written = audit_records('beta');
    kill_server($standby);
    $standby->safe_psql('postgres', sprintf($reads, 20));
    $lead->start unless $with_lead;
    cmp_ok(all_arrive($lead, 'beta', "$how: all arrives"), '>=', $written + 20, '... what was written before and after');
}
is(scalar(keys %{ { map { $_->{chain} => 1 } audit_records('beta') } }), 1, 'through all that it was one chain');
$lead->safe_psql('postgres', sprintf($reads, 500));
my $written = audit_records('alpha');
kill_server($lead);
cmp_ok(all_arrive($lead, 'alpha', 'the server of the lead is killed: all arrives there'), '>=', $written, '... what was written before');
comes($lead, "SELECT count(*) FROM aurora.nodes WHERE state IN ('up', 'degraded')", 'both are up again', '2');

# ---- a lead that has not had what the one before it had ----

# As a standby that is promoted before the last records have come to it.
$standby->safe_psql('postgres', sprintf($reads, 100));
comes($standby, "SELECT last_seq = delivered_seq $status", 'the lead has all');
$lead->safe_psql('postgres', <<'SQL');
BEGIN;
SET LOCAL session_replication_role = replica;
SELECT head_seq FROM aurora.secret_audit_chain WHERE node = 'beta' FOR UPDATE;
DELETE FROM aurora.secret_audit_record r USING aurora.secret_audit_chain c WHERE (c.node, c.chain) = (r.node, r.chain) AND r.node = 'beta' AND r.seq > c.head_seq - 50;
UPDATE aurora.secret_audit_chain c SET head_seq = r.seq, head_hash = aurora.secret_record_told(r.record)
    FROM aurora.secret_audit_record r WHERE (c.node, c.chain) = (r.node, r.chain) AND c.node = 'beta' AND r.seq = c.head_seq - 50;
COMMIT;
SQL
$standby->safe_psql('postgres', sprintf($reads, 100));
all_arrive($lead, 'beta', 'what a lead has lost is sent to it again');

# ---- somebody changes what the lead has ----

$lead->safe_psql('postgres', 'CREATE TABLE kept AS SELECT * FROM aurora.secret_audit_record');
my $verify = "SELECT bool_and(ok), min(broken_seq) FROM aurora.verify_secret_audit('beta')";

# As the superuser who means ill: nothing fires.
sub tamper
{
    my ($sql, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $lead->safe_psql('postgres', "SET session_replication_role = replica; $sql");
    is_sql($lead, $verify, $expected, "verify_secret_audit() finds $name");
    isnt($lead->safe_psql('postgres', "SELECT problem FROM aurora.verify_secret_audit('beta') WHERE NOT ok LIMIT 1"), '', '... and tells what it is');
    $lead->safe_psql('postgres', "SET session_replication_role = replica; DELETE FROM aurora.secret_audit_record; INSERT INTO aurora.secret_audit_record SELECT * FROM kept");
    is_sql($lead, $verify, 't|', '... and nothing when it is put back');
    return;
}

tamper("UPDATE aurora.secret_audit_record SET record = replace(record, '\"granted\"', '\"refused\"') WHERE node = 'beta' AND seq = 100", 'f|100', 'a record that was changed');
tamper("DELETE FROM aurora.secret_audit_record WHERE node = 'beta' AND seq = 200", 'f|200', 'one that is missing');
tamper("DELETE FROM aurora.secret_audit_record WHERE node = 'beta' AND seq > (SELECT max(seq) - 5 FROM aurora.secret_audit_record WHERE node = 'beta')",
    'f|' . $lead->safe_psql('postgres', "SELECT max(seq) - 4 FROM aurora.secret_audit_record WHERE node = 'beta'"), 'an end that was cut off');
$lead->safe_psql('postgres', 'DROP TABLE kept');

# ---- somebody changes an older file ----

my $verify_file = 'SELECT bool_and(ok), min(broken_seq) FROM aurora.verify_secret_audit_file()';

# Writes a file's text in its place.
sub overwrite
{
    my ($file, $text) = @_;

    open(my $out, '+<:raw', $file) or die "$file: $!";
    truncate($out, 0) or die "$file: $!";
    print {$out} $text;
    close($out) or die "$file: $!";
    return;
}

my ($old_file) = (audit_files('beta'))[0];
my $text = slurp_file($old_file);
my @line = split(/(?<=\n)/, $text);
for my $case (
    [ sub { $_[0][50] =~ s/"granted"/"refused"/ }, 50, 'a word that was changed' ],
    [ sub { splice(@{ $_[0] }, 60, 1) }, 60, 'a line that is missing' ],
    [ sub { splice(@{ $_[0] }, 70, 2, @{ $_[0] }[ 71, 70 ]) }, 70, 'two lines that were exchanged' ])
{
    my ($change, $seq, $name) = @$case;
    my @changed = @line;

    $change->(\@changed);
    overwrite($old_file, join('', @changed));
    is_sql($standby, $verify_file, "f|$seq", "verify_secret_audit_file() finds $name");
    overwrite($old_file, $text);
    is_sql($standby, $verify_file, 't|', '... and nothing when it is as it was');
}

# ---- somebody changes the file that is written ----

my $why = 'the test did that';
my $read = "SELECT aurora.secret('crm', 'n1')";

sub last_file
{
    my ($name) = @_;

    return (audit_files($name))[-1];
}

for my $case (
    [ 'removed', sub { unlink($_[0]) } ],
    [ 'renamed', sub { rename($_[0], "$_[0].away") } ],
    [ 'replaced by a copy', sub { system_or_bail('cp', '-p', $_[0], "$_[0].copy"); rename("$_[0].copy", $_[0]) } ],
    [ 'cut off', sub { truncate($_[0], (-s $_[0]) - 5) } ],
    [ 'emptied', sub { truncate($_[0], 0) } ],
    [ 'appended to by somebody else', sub { append_to_file($_[0], "{\"seq\":0}\n") } ],
    [ 'removed with its folder', sub { rename(audit_folder($_[1]), audit_folder($_[1]) . '.away') } ])
{
    my ($what, $change) = @$case;

    for my $node (@both)
    {
        my $name = $node->name;
        my $session = session($node);

        is(session_reads($session, "'crm', 'n1'"), "$hush 1", "before the file of $name is $what, a session reads");
        comes($node, "SELECT last_seq = delivered_seq $status", '... and the lead has all of it');
        $change->(last_file($name), $name);
        is(session_reads($session, "'crm', 'n1'"), '58030', "when the file of $name is $what, it is refused");
        is_refused($node, $read, '58030', qr/./, '... and others are');
        is_refused($node, "SELECT aurora.put_secret('crm', 'n1', '$hush x')", '58030', qr/./, '... and writes') if $node == $lead;
        is_sql($node, $is_down, 't', '... and health_secrets() is down');
        isnt($node->safe_psql('postgres', "SELECT problem $status"), '', '... and the status tells why');
        is_refused($node, "SELECT aurora.restart_secret_audit('I like to')", '42501', qr/permission denied/, 'not everybody begins a new chain', role => 'ann');
        $node->safe_psql('postgres', "SELECT aurora.restart_secret_audit('$why')");
        my $chain = $node->safe_psql('postgres', "SELECT chain $status");
        is(session_reads($session, "'crm', 'n1'"), "$hush 1", 'in a new chain reads go on');
        is_sql($node, $is_down, 'f', '... and health_secrets() is not down');
        my @begun = grep { $_->{chain} eq $chain } (audit_records($name, action => 'begin'));
        is(scalar(@begun), 1, '... which begins with a record');
        like(JSON::PP::encode_json($begun[0] // {}), qr/\Q$why\E/, '... that tells why');
        comes($lead, "SELECT count(*) FROM aurora.secret_audit WHERE node = '$name' AND chain = '$chain' AND action = 'begin'", '... and arrives on the lead', '1');
        if ($what eq 'cut off' || $what eq 'appended to by somebody else')
        {
            is_sql($node, "SELECT bool_and(ok) FROM aurora.verify_secret_audit_file()", 'f', '... while the old file shows the break');
        }
        $session->quit;
    }
}
is_sql($lead, "SELECT count(DISTINCT chain) >= 8 FROM aurora.verify_secret_audit() WHERE node = '$_'", 't', "the lead knows all chains of $_") for 'alpha', 'beta';

# ---- while the server is stopped ----

my $chain_before = $standby->safe_psql('postgres', "SELECT chain $status");
$standby->safe_psql('postgres', sprintf($reads, 50));
comes($standby, "SELECT last_seq = delivered_seq $status", 'the lead has all that the standby has written');
$standby->stop;
my $cut = slurp_file(last_file('beta'));
$cut =~ s/(?:[^\n]+\n){20}\z//;
overwrite(last_file('beta'), $cut);
$standby->start;
is_sql($standby, $read, "$hush 1", 'when records that the lead has were cut off meanwhile, reads go on');
isnt($standby->safe_psql('postgres', "SELECT chain $status"), $chain_before, '... in another chain');
ok(scalar(grep { JSON::PP::encode_json($_) =~ /\Q$chain_before\E/ } audit_records('beta', action => 'begin')), '... whose first record tells of the old one');

# ---- records that are damaged before the lead has them ----

$chain_before = $standby->safe_psql('postgres', "SELECT chain $status");
$lead->stop;
$standby->safe_psql('postgres', sprintf($reads, 50));
my $last = $standby->safe_psql('postgres', "SELECT last_seq $status");
$standby->stop;
my $damaged_file = last_file('beta');
my $damaged = slurp_file($damaged_file);
$damaged =~ s/(?<=\n)(\{"seq":@{[ $last - 10 ]},.*?)"granted"/$1"gr\xFF\xFEnted"/ or die 'no record is damaged';
$damaged =~ s/(?<=\n)\{"seq":@{[ $last - 5 ]},"at":"\d{4}/{"seq":@{[ $last - 5 ]},"at":"0000/ or die 'no record is damaged';
$damaged =~ s/(?<=\n)(\{"seq":@{[ $last - 3 ]},.*?"pid":)\d+/$1"x"/ or die 'no record is damaged';
overwrite($damaged_file, $damaged);
$lead->start;
$standby->start;
is_sql($standby, $read, "$hush 1", 'when records that the lead lacks were damaged, reads go on');
comes($lead, "SELECT last_seq, broken_seq FROM aurora.verify_secret_audit('beta') WHERE chain = '$chain_before'", '... the lead gets all of them, and knows which is the first', "$last|" . ($last - 10));
is_sql($lead, "SELECT count(*), count(pid) FROM aurora.secret_audit WHERE chain = '$chain_before' AND seq > $last - 20", '20|19', '... and shows what can be read');
comes($lead, "SELECT state FROM aurora.nodes WHERE name = 'beta'", '... while the node is up', 'up');
comes($standby, "SELECT last_seq = delivered_seq $status", '... and goes on in another chain');
unlink($damaged_file);

# ---- no room ----

# Files of this server may grow to so many bytes; undef is no limit.
sub limit_files
{
    my ($node, $bytes) = @_;

    return system('prlimit', '--pid', $node->{_pid}, '--fsize=' . (defined $bytes ? "$bytes:unlimited" : 'unlimited:unlimited')) == 0;
}

$lead->stop;
my $room = 1_500_000;
$standby->safe_psql('postgres', sprintf($reads, 500)) while (-s last_file('beta')) < $room;
SKIP:
{
    skip 'prlimit cannot limit a running server', 7 unless limit_files($standby, (-s last_file('beta')) + 1000);
    my ($out, $err) = try_sql($standby, sprintf($reads, 100));

    is($out, '', 'without room for the record no value is given') or diag($out);
    like(sql_state($err), qr/^(?:58030|53100)$/, '... and the error tells') or diag($err);
    ($out, $err) = try_sql($standby, $read);
    like($out eq '' ? sql_state($err) : $out, qr/^(?:58030|53100)$/, '... each time');
    is_sql($standby, $is_down, 't', '... and health_secrets() is down');
    is((follow_audit('beta'))[1], '', 'what was written holds, up to the last line');
    limit_files($standby);
    is_sql($standby, $read, "$hush 1", 'when there is room again, it goes on by itself');
    is_sql($standby, $is_down, 'f', '... and health_secrets() is not down');
}
is((follow_audit('beta'))[1], '', 'in the same chain');
$lead->start;

# ---- as much as the files may be ----

comes($standby, "SELECT last_seq = delivered_seq $status", 'all is delivered when the lead is back');
my $broken = (audit_files('beta'))[0];
append_to_file($broken, "no record\n");
configure_node($standby, 'aurora.secret_audit_segment_size' => 64, 'aurora.secret_audit_size_limit' => 1, 'aurora.secret_audit_file_retention' => 0);
my $reads_again = sub { return (try_sql($standby, $read))[0] eq "$hush 1" };
my $small = sub { my $size = 0; $size += -s $_ // 0 for audit_files('beta'); return $size <= 1024 * 1024 };
ok(wait_until($reads_again), 'reads go on');
ok(wait_until($small), 'old files that the lead has are deleted, until they are within the limit');
ok(-e $broken, '... but for one that does not hold, which does not keep the others');
my $with_it = $standby->safe_psql('postgres', "SELECT file_bytes $status");
unlink($broken);
comes($standby, "SELECT file_bytes < $with_it $status", '... until somebody removes it');
$lead->stop;
my ($refused, $tries) = ('', 0);
while ($refused eq '' && $tries++ < 200)
{
    my ($out, $err) = try_sql($standby, sprintf($reads, 100));
    $refused = sql_state($err) if $err =~ /ERROR/;
}
is($refused, '53100', 'without the lead the files grow to their limit, and then it is refused');
ok($small->(), '... and not more');
is_sql($standby, $is_down, 't', '... and health_secrets() is down');
my ($kept) = follow_audit('beta');
my $waiting = $standby->safe_psql('postgres', "SELECT delivered_seq $status");
my $limited_chain = $standby->safe_psql('postgres', "SELECT chain $status");
my @undelivered = grep { $_->{chain} eq $limited_chain && $_->{seq} > $waiting } @$kept;
is(scalar(@undelivered), $standby->safe_psql('postgres', "SELECT last_seq - delivered_seq $status"), 'nothing that the lead lacks is deleted');
time_passes($standby, 3);
is(scalar(grep { $_->{chain} eq $limited_chain && $_->{seq} > $waiting } audit_records('beta')), scalar(@undelivered), '... nor after a while');
is_refused($standby, $read, '53100', qr/./, '... and it is still refused');
$lead->start;
ok(wait_until($reads_again), 'when the lead is back, it goes on by itself');
comes($standby, $is_down, '... and health_secrets() is not down', 'f');
comes($lead, "SELECT count(*) FROM aurora.secret_audit WHERE node = 'beta' AND chain = '$limited_chain' AND seq > $waiting AND seq <= $waiting + " . scalar(@undelivered),
    'and the lead has all of it', scalar(@undelivered));
is((follow_audit('beta'))[1], '', 'what is left of the files holds');

# ---- promotion ----

comes($standby, "SELECT last_seq = delivered_seq $status", 'all is delivered before the lead goes away');
$chain_before = $standby->safe_psql('postgres', "SELECT chain $status");
my $seq_before = $standby->safe_psql('postgres', "SELECT last_seq $status");
catch_up($lead, $standby);
$lead->stop;
$standby->safe_psql('postgres', sprintf($reads, 40));
$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'the standby is promoted');
$standby->safe_psql('postgres', "SELECT aurora.put_secret('crm', 'n1', '$hush new')");
is_sql($standby, "SELECT chain $status", $chain_before, 'its chain goes on');
my $now = $standby->safe_psql('postgres', "SELECT last_seq $status");
cmp_ok($now, '>=', $seq_before + 41, '... with its reads and writes');
comes($standby, "SELECT count(*) FROM aurora.secret_audit WHERE node = 'beta' AND chain = '$chain_before' AND seq BETWEEN $seq_before + 1 AND $now",
    'and its records now live in its own table', $now - $seq_before);
is_sql($standby, "SELECT bool_and(ok) FROM aurora.verify_secret_audit('beta') WHERE chain = '$chain_before'", 't', '... without a break');
is_sql($standby, "SELECT bool_and(ok) FROM aurora.verify_secret_audit_file() WHERE chain = '$chain_before'", 't', '... as in its files');

# ---- what is old is forgotten, on record ----

is_sql($standby, "SELECT aurora.forget_secret_audit('100 years')", 0, 'where nothing is old enough nothing is forgotten');
audit_has('beta', 0, { action => 'forget' }, '... nor is that written down');
my $forgotten = $standby->safe_psql('postgres', "SELECT aurora.forget_secret_audit('0')");
cmp_ok($forgotten, '>', 0, 'an administrator makes the lead forget');
audit_has('beta', 1, { action => 'forget', outcome => 'granted', session => 'postgres' }, '... and that is written down');
my ($forget) = audit_records('beta', action => 'forget');
like($forget->{detail}, qr/^$forgotten records/, '... with how many records it were');

# ---- nowhere to write ----

my $file_in_the_way = PostgreSQL::Test::Utils::tempdir() . '/file';
my $closed = PostgreSQL::Test::Utils::tempdir() . '/closed';
append_to_file($file_in_the_way, "no folder\n");
mkdir($closed, 0700) or die "$closed: $!";
my $nowhere = new_cluster('nowhere', shared_preload_libraries => "'aurora'", node_settings('nowhere'), secret_settings('nowhere'));
write_keys('nowhere', $key);
$nowhere->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
$nowhere->safe_psql('postgres', "SELECT aurora.put_secret('crm', 'n1', '$hush')");
for my $place ("$closed/deep/audit", "$file_in_the_way/audit", $file_in_the_way, "$closed/audit")
{
    chmod($place eq "$closed/audit" ? 0500 : 0700, $closed);
    $nowhere->append_conf('postgresql.conf', "aurora.secret_audit_directory = '$place'");
    $nowhere->restart;
  SKIP:
    {
        skip 'for this user no folder is closed', 4 if $place eq "$closed/audit" && $> == 0;
        my $err = is_refused($nowhere, $read, '58030', qr/./, "when the folder cannot be made, nothing is read: $place");
        like($err, qr/HINT: /, '... and a hint tells what to do');
        is_refused($nowhere, "SELECT aurora.put_secret('crm', 'n2', '$hush')", '58030', qr/./, '... nor written');
        is_sql($nowhere, $is_down, 't', '... and health_secrets() is down');
    }
}
chmod(0700, $closed);
is_sql($nowhere, $read, $hush, 'when it can be made, it is, and reads go on by themselves');
is(sprintf('%04o', (stat("$closed/audit"))[2] & 07777), '0700', '... in a folder for the server alone');

for my $node ($lead, $standby, $nowhere)
{
    # Statements that fail are logged with the values that they have in their text.
    my $text = slurp_file($node->logfile) =~ s/^.* STATEMENT: .*$//mgr;

    unlike($text, qr/PANIC|TRAP|terminated by signal (?!9)|\Q$hush\E/, 'no process of ' . $node->name . ' crashed, and no value is in its log');
}

done_testing();
