# Secrets on a lead and a standby: which value answers where, that no reader ever gets a stale one, what
# keys are taken and refused, and that a change of the master key loses and stops nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraNodes;
use AuroraSecrets;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my ($first_key, $second_key, $third_key) = map { fernet_key() } 1 .. 3;
my $lead = new_secret_lead('alpha', [$first_key], autovacuum_naptime => "'1s'");
my $standby = new_secret_standby($lead, 'beta', [$first_key]);
my @both = ($lead, $standby);
my ($host, $port) = ($lead->host, $lead->port);

comes($_, "SELECT count(*) FROM aurora.nodes WHERE state = 'up'", 'both nodes are up, as ' . $_->name . ' shows it', '2') for @both;
$lead->safe_psql('postgres', "SELECT aurora.add_company(c) FROM unnest('{acme,zeta,brief}'::text[]) c");

# The lead runs it, and the standby has replayed it.
sub on_lead
{
    my ($sql) = @_;
    my $out = $lead->safe_psql('postgres', $sql);

    catch_up($lead, $standby);
    return $out;
}

# ---- which value answers ----

my $whence = "SELECT scope, node, source_company, version FROM aurora.secret_source";

on_lead(<<'SQL');
SELECT aurora.put_secret('crm', 'url', 'global');
SELECT aurora.put_secret('crm', 'url', 'acme', company => 'acme');
SELECT aurora.put_secret('crm', 'url', n, n) FROM unnest('{alpha,beta}'::text[]) n;
SELECT aurora.put_secret('crm', 'url', n || ' acme', n, 'acme') FROM unnest('{alpha,beta}'::text[]) n;
SQL

# On each node, what answers for the company and for none.
sub answers
{
    my ($of_company, $source, $of_none, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    for my $node (@both)
    {
        my $here = $node->name;

        is_sql($node, "SELECT aurora.secret('crm', 'url', 'acme')", $of_company =~ s/HERE/$here/r, "$name, on $here");
        is_sql($node, "$whence('crm', 'url', 'acme')", $source =~ s/HERE/$here/r, '... and secret_source() agrees');
        is_sql($node, "SELECT aurora.secret('crm', 'url')", $of_none =~ s/HERE/$here/r, '... and for no company')
          if defined $of_none;
        is_sql($node, "SELECT aurora.secret('crm', 'url', 'zeta')", $of_none =~ s/HERE/$here/r, '... or another one')
          if defined $of_none;
    }
    return;
}

answers('HERE acme', 'node+company|HERE|acme|1', 'HERE', 'the value of node and company answers first');
on_lead("SELECT aurora.delete_secret('crm', 'url', n, 'acme') FROM unnest('{alpha,beta}'::text[]) n");
answers('HERE', 'node|HERE||1', 'HERE', 'then that of the node');
on_lead("SELECT aurora.put_secret('crm', 'url', 'later', n, expires_at => now() + interval '1 second') FROM unnest('{alpha,beta}'::text[]) n");
comes($lead, "SELECT count(*) FROM aurora.secrets WHERE key_name = 'url' AND state = 'expired'", 'a value expires', '2');
answers('acme', 'company||acme|1', 'global', 'then that of the company, also when that of the node has expired');
is_sql($_, "SELECT passed_over IS NOT NULL FROM aurora.secret_source('crm', 'url', 'acme')", 't',
    'secret_source() tells on ' . $_->name . ' what was passed over') for @both;
on_lead("SELECT aurora.destroy_secret('crm', 'url', company => 'acme')");
answers('global', 'global|||1', 'global', 'then the global one');
on_lead("SELECT aurora.delete_secret('crm', 'url')");
for my $node (@both)
{
    my $here = $node->name;

    is_refused($node, "SELECT aurora.secret('crm', 'url', 'acme')", '42704', qr/deleted|expired/, "then none, on $here, and the error tells why");
    is_refused($node, "SELECT aurora.secret('crm', 'nothing')", '42704', qr/nothing/, 'one that never was is missing in another way');
    is_sql($node, "SELECT count(*), max(scope) FROM aurora.secret_source('crm', 'url', 'acme')", '1|', 'secret_source() has a row without a scope');
}
on_lead("SELECT aurora.undelete_secret('crm', 'url', n, 'acme') FROM unnest('{alpha,beta}'::text[]) n");
answers('HERE acme', 'node+company|HERE|acme|1', undef, 'what was deleted answers again when that is undone');
is_same_on_both($lead, $standby, "SELECT service, key_name, scope, node, company, version, versions, state, strict FROM aurora.secrets ORDER BY 1, 2, 3, 4, 5",
    'both nodes list the same secrets');
is_same_on_both($lead, $standby, "SELECT service, key_name, scope, node, company, version, state, key_no FROM aurora.secret_versions ORDER BY 1, 2, 3, 4, 5, 6",
    'and versions');

# ---- whose node ----

on_lead(<<'SQL');
SELECT aurora.put_secret('model', 'token', 'for everybody');
SELECT aurora.put_secret('model', 'token', 'for alpha', 'alpha');
SELECT aurora.put_secret('model', 'token', 'for beta', 'beta');
SELECT aurora.put_secret('model', 'token', 'for beta and acme', 'beta', 'acme');
SELECT aurora.grant_secret('aurora_node', 'model');
SELECT aurora.put_secret('private', 'token', 'of the lead only');
SQL
my $token = "SELECT aurora.secret('model', 'token')";
is_sql($lead, $token, 'for alpha', 'on the lead a person gets what is for the lead');
for my $node (@both)
{
    my $here = $node->name;
    my ($out, $err) = as_role($node, 'aurora_node_beta', $token);

    is($out, 'for beta', "the role of node beta gets on $here what is for beta") or diag($err);
    ($out, $err) = as_role($node, 'aurora_node_beta', "$whence('model', 'token')");
    is($out, 'node|beta||1', '... and secret_source() says so');
    is_refused($node, "SELECT aurora.secret('model', 'token', 'acme')", '42501', qr/permission denied/,
        '... not what is for a company that it has no right to', role => 'aurora_node_beta');
    is_refused($node, "SELECT aurora.secret('private', '$_')", '42501', qr/permission denied/,
        "... nor $_ of another service, whether or not it is there", role => 'aurora_node_beta') for 'token', 'nothing';
    is_refused($node, "SET aurora.node_name = 'beta'; $token", '55P02', qr/aurora.node_name/, "no session changes its node on $here");
    is_refused($node, "SET aurora.node_name = 'alpha'; $token", '55P02', qr/aurora.node_name/, '... not even the role of a node',
        role => 'aurora_node_beta');
}
on_lead("SELECT aurora.grant_secret('aurora_node', 'model', 'acme')");
for my $node (@both)
{
    my ($out, $err) = as_role($node, 'aurora_node_beta', "SELECT aurora.secret('model', 'token', 'acme')");
    is($out, 'for beta and acme', 'with that right it gets it, on ' . $node->name) or diag($err);
}
on_lead("SELECT aurora.revoke_secret('aurora_node', 'model', 'acme')");
is_refused($_, "SELECT aurora.secret('model', 'token', 'acme')", '42501', qr/permission denied/,
    'and no longer when it is revoked, on ' . $_->name, role => 'aurora_node_beta') for @both;

# ---- writing on a standby ----

for my $call ("put_secret('a', 'b', 'c')", "delete_secret('crm', 'url')", "undelete_secret('crm', 'url')", "destroy_secret('crm', 'url')",
    "grant_secret('aurora_node', 'crm')", "revoke_secret('aurora_node', 'crm')", "import_secrets_env('a', 'B=c')",
    "import_secrets_json('{\"a\": {\"b\": \"c\"}}')", 'rotate_secrets_key()')
{
    my $err = is_refused($standby, "SELECT aurora.$call", '25006', qr/./, "on the standby refused: $call");

    like($err, qr/HINT:  .*\Q$host\E port $port/, '... with a hint that names the lead');
}

# ---- expiry ----

my @lasting = map { session($_) } @both;
on_lead("SELECT aurora.put_secret('brief', 'alone', 'here', expires_at => now() + interval '2 seconds')");
on_lead("SELECT aurora.put_secret('brief', 'over', 'below'); SELECT aurora.put_secret('brief', 'over', 'above', company => 'acme', expires_at => now() + interval '2 seconds')");
my @before = map { session_reads($_, "'brief', 'alone'"), session_reads($_, "'brief', 'over', 'acme'") } @lasting;
for my $n (0, 1)
{
    my ($session, $here) = ($lasting[$n], $both[$n]->name);
    my %value = map { $_ => 1 } @before[ 2 * $n, 2 * $n + 1 ];

    ok(!grep({ !/^(?:here|above|below|42704)$/ } keys %value), "a value with an end is read before it, on $here") or diag("@before");
    ok(wait_until(sub { session_reads($session, "'brief', 'alone'") eq '42704' }), '... and, kept or not, not after it');
    ok(wait_until(sub { session_reads($session, "'brief', 'over', 'acme'") eq 'below' }), '... but the next scope answers');
    is_refused($both[$n], "SELECT aurora.secret('brief', 'alone')", '42704', qr/expired/, '... or the error tells that it has expired');
}
is_sql($lead, "SELECT state FROM aurora.secrets WHERE key_name = 'alone'", 'expired', 'its state is that it has expired');

# ---- a session that has read something gets what is there now ----

# Both lasting sessions read the same.
sub both_read
{
    my ($arguments, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    catch_up($lead, $standby);
    return is(join(' ', map { session_reads($_, $arguments) } @lasting), "$expected $expected", $name);
}

on_lead("SELECT aurora.put_secret('seen', 'k', 'one')");
both_read("'seen', 'k'", 'one', 'two sessions have read a value');
on_lead("SET session_replication_role = replica; SELECT aurora.put_secret('seen', 'k', 'two')");
both_read("'seen', 'k'", 'two', 'they read the next one that came as by replication');
on_lead("SET session_replication_role = replica;
         DELETE FROM aurora.secret_version v USING aurora.secret s WHERE s.secret_id = v.secret_id AND s.service = 'seen' AND v.version = 2;
         UPDATE aurora.secret SET version = 1 WHERE service = 'seen'");
both_read("'seen', 'k'", 'one', 'and what somebody does to the tables himself');
on_lead("SELECT aurora.put_secret('seen', 'k', 'of brief', company => 'brief')");
both_read("'seen', 'k', 'brief'", 'of brief', 'they read a value of a company');
my $keys_of_brief = "SELECT count(*) FROM aurora.secret_data_key k JOIN aurora.company c USING (company_id) WHERE c.name = 'brief'";
is_sql($lead, $keys_of_brief, 1, 'it has a data key of its own');
my $id_of_brief = on_lead("DELETE FROM aurora.company WHERE name = 'brief' RETURNING company_id");
both_read("'seen', 'k', 'brief'", '42501', 'nobody reads it when the company is gone');
is_sql($_, "SELECT (SELECT count(*) FROM aurora.secret WHERE company_id = $id_of_brief), (SELECT count(*) FROM aurora.secret_version WHERE company_id = $id_of_brief),
                   (SELECT count(*) FROM aurora.secret_data_key WHERE company_id = $id_of_brief), (SELECT count(*) FROM aurora.secret_grant WHERE company_id = $id_of_brief)",
    '0|0|0|0', 'nothing of it is left on ' . $_->name) for @both;
both_read("'seen', 'k'", 'one', 'what belongs to no company is');

# What is prepared counts when it is committed, and by whom does not matter.
on_lead("BEGIN; SELECT aurora.put_secret('seen', 'k', 'prepared'); PREPARE TRANSACTION 'p'");
both_read("'seen', 'k'", 'one', 'a prepared change is not there yet');
on_lead("COMMIT PREPARED 'p'");
both_read("'seen', 'k'", 'prepared', 'and is when another session commits it');
on_lead("BEGIN; SELECT aurora.delete_secret('seen', 'k'); PREPARE TRANSACTION 'p'");
on_lead("ROLLBACK PREPARED 'p'");
both_read("'seen', 'k'", 'prepared', 'one that is rolled back never is');
for my $session (@lasting)
{
    $session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM aurora.secrets');
}
both_read("'seen', 'k'", 'prepared', 'in an old snapshot a value is read');
on_lead("SELECT aurora.put_secret('seen', 'k', 'newer')");
both_read("'seen', 'k'", 'newer', 'a newer one is read there, too');
$_->query_safe('COMMIT') for @lasting;
both_read("'seen', 'k'", 'newer', 'and after it');

# Nor does an old snapshot keep a right that was taken.
on_lead("CREATE ROLE rita LOGIN IN ROLE aurora_user; SELECT aurora.grant_secret('rita', 'seen', may => m) FROM unnest('{read,write,export}'::text[]) m");
my $rita = session($lead);
$rita->query_safe("SET ROLE rita; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT aurora.put_secret('seen', 'of rita', 'v'), aurora.export_secrets('seen', plain => true)");
on_lead("SELECT aurora.revoke_secret('rita', 'seen', may => m) FROM unnest('{read,write,export}'::text[]) m");
for my $call ("secret('seen', 'k')", "secret_source('seen', 'k')", "put_secret('seen', 'of rita', 'w')", "import_secrets_env('seen', 'A=b')", "delete_secret('seen', 'of rita')",
    "export_secrets('seen')", "export_secrets('seen', plain => true)")
{
    $rita->query_safe('SAVEPOINT s');
    $rita->query("\\set VERBOSITY sqlstate\nSELECT aurora.$call");
    my $error = $rita->{stderr};
    $rita->{stderr} = '';
    like($error, qr/ERROR:  42501/, "in an old snapshot, too, who has no right any more is refused: $call");
    $rita->query_safe('ROLLBACK TO s');
}
$rita->query_safe('ROLLBACK');
$rita->quit;

# ---- how often the cache answers ----

# Reads these keys in turn in one session; returns hits, misses and evictions that came of it, by the account.
sub count_reads
{
    my ($node, $rounds, $keys, $size) = @_;
    my $name = $node->name;
    my @counts = ('hits', 'misses', 'evictions');
    my $counters = "SELECT coalesce(sum(hits), 0), coalesce(sum(misses), 0), coalesce(sum(evictions), 0) FROM aurora.secret_cache WHERE node = '$name'";
    my $total = "SELECT coalesce(sum(hits + misses), 0) FROM aurora.secret_cache WHERE node = '$name'";

    configure_node($node, 'aurora.secret_cache_size' => "'$size'");
    comes($node, "SELECT current_setting('aurora.secret_cache_size')", "caches of $name have $size", $size);
    my @before = split(/\|/, $lead->safe_psql('postgres', $counters));
    my $wrong = $node->safe_psql('postgres', "
        SELECT count(*) FILTER (WHERE aurora.secret('big', 'k' || n) <> repeat(n::text || ' ', 1500)) FROM generate_series(1, $rounds) r, generate_series(1, $keys) n");
    my $wanted = $before[0] + $before[1] + $rounds * $keys;

    is($wrong, 0, "$rounds times $keys values are right on $name");
    comes($lead, "SELECT ($total) >= $wanted", '... and are counted');
    my @after = split(/\|/, $lead->safe_psql('postgres', $counters));
    return map { $counts[$_] => $after[$_] - $before[$_] } 0 .. 2;
}

on_lead("SELECT aurora.put_secret('big', 'k' || n, repeat(n::text || ' ', 1500)) FROM generate_series(1, 60) n");
# Nodes report their counters every ten seconds; then all reads until now are counted.
time_passes($lead, 15);
for my $node (@both)
{
    my $here = $node->name;
    my %warm = count_reads($node, 40, 10, '1MB');

    cmp_ok($warm{hits} / ($warm{hits} + $warm{misses}), '>=', 0.9, "the cache answers nine of ten reads on $here");
    is($warm{evictions}, 0, '... and nothing has to go');
    my %small = count_reads($node, 3, 60, '64kB');
    cmp_ok($small{evictions}, '>', 60, '... in a small one much has to');
    my %none = count_reads($node, 3, 10, '0');
    is($none{hits}, 0, '... without one nothing is kept');
    configure_node($node, 'aurora.secret_cache_size' => "'256kB'");
}
is_same_on_both($lead, $standby, "SELECT node, hits > 0, misses > 0, hit_rate BETWEEN 0 AND 1, invalidations > 0 FROM aurora.secret_cache ORDER BY node",
    'both nodes show how the caches of both do');
is_sql($lead, "SELECT string_agg(node, ',' ORDER BY node) FROM aurora.secret_cache", 'alpha,beta', 'there are these two');

# ---- never stale ----

my $keys = 3;
my %wanted = (clients => 4, transactions => 60, keys => $keys);

install_readers($lead, $keys);
catch_up($lead, $standby);
my @writers = map { start_writer($lead, $_) } (map { "k$_" } 1 .. $keys), 'noise';
comes($lead, 'SELECT ' . steps_of($keys) . ' > 36', 'writers change secrets in all ways');
my $first_step = $lead->safe_psql('postgres', 'SELECT ' . steps_of($keys));
my @readers = (start_readers($lead, %wanted, kinds => [qw(plain repeatable wrote)]), start_readers($standby, %wanted, kinds => [qw(plain repeatable)]));
for my $n (0, 1)
{
    my ($reads, $trouble) = finish_readers($readers[$n]);
    my $steps = $lead->safe_psql('postgres', 'SELECT ' . steps_of($keys)) - $first_step;

    note("$reads reads on " . $both[$n]->name . ", $steps changes until then");
    cmp_ok($reads, '>=', 200_000, 'at least 200,000 reads were made on ' . $both[$n]->name);
    is($trouble, '', '... and none was stale');
}
cmp_ok($lead->safe_psql('postgres', 'SELECT ' . steps_of($keys)) - $first_step, '>', 500, 'while there were hundreds of changes');
stop_writers($lead);
is(finish_writer($_), '', "the writer of $_->{name} had no trouble") for @writers;
catch_up($lead, $standby);

# ---- keys ----

my $solo = new_secret_lead('solo', [$first_key], 'aurora.secret_cache_size' => 0);
my $read = "SELECT aurora.secret('s', 'k')";
my $garbage = 'neither-a-key-nor-for-others-eyes';
my $log = -s $solo->logfile;
$solo->safe_psql('postgres', "SELECT aurora.put_secret('s', 'k', 'of solo')");

# The node cannot use its keys; the message is like that.
sub keys_refused
{
    my ($state, $message, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $solo->reload;
    is_refused($solo, $read, $state, $message, $name);
    return is_refused($solo, "SELECT aurora.put_secret('s', 'other', 'v')", $state, $message, '... nor written');
}

sub use_key_file
{
    my ($path) = @_;

    configure_node($solo, 'aurora.secrets_key_file' => "'$path'");
    comes($solo, "SELECT setting FROM pg_settings WHERE name = 'aurora.secrets_key_file'", "the keys are in $path now", $path)
      if $path ne '';
    return;
}

is_sql($solo, 'SELECT position, key_id FROM aurora.secret_key_ring()', '1|' . key_id($first_key), 'secret_key_ring() tells which keys there are');
my $file = key_file('solo');
for my $mode (0640, 0604, 0660, 0644)
{
    chmod($mode, $file) or die "$file: $!";
    keys_refused('F0000', qr/group or others/, sprintf('with keys of mode %04o nothing is read', $mode));
}
chmod(0600, $file);
is_sql($solo, $read, 'of solo', 'with mode 0600 all is well again, without a reload');

my $inside = $solo->data_dir . '/keys';
append_to_file($inside, "$first_key\n");
chmod(0600, $inside) or die "$inside: $!";
symlink($inside, "$file.link") or die "$file.link: $!";
symlink($file, "$file.fine") or die "$file.fine: $!";
for my $path ($inside, "$file.link", $solo->data_dir . '/base/../keys', $solo->basedir . '/../' . ($solo->data_dir =~ s/.*\/([^\/]+\/[^\/]+)$/$1/r) . '/keys')
{
    use_key_file($path);
    keys_refused('F0000', qr/data folder/, 'keys in the data folder are not read');
}
use_key_file("$file.fine");
is_sql($solo, $read, 'of solo', 'keys outside of it are, through a link, too');
use_key_file("$file.none");
keys_refused('F0000', qr/No such file/, 'keys that are not there are not read');
use_key_file($file);

for my $case ([ 'a line that is no key', $first_key, $garbage ], [ 'a key that is too short', substr($first_key, 1), $garbage ], [ 'no key', '' ])
{
    my ($what, @lines) = @$case;

    write_keys('solo', @lines);
    my $err = keys_refused('F0000', qr/./, "with $what nothing is read");
    unlike($err, qr/\Q$garbage\E/, '... and the error does not show it');
}
write_keys('solo', '# a remark', '', $first_key, '');
$solo->reload;
is_sql($solo, $read, 'of solo', 'remarks and empty lines are passed over');

my $command = $file . '.command';
append_to_file($command, "$first_key\n");
configure_node($solo, 'aurora.secrets_key_command' => "'cat $command'");
comes($solo, "SELECT setting FROM pg_settings WHERE name = 'aurora.secrets_key_command'", 'there is a command, too', "cat $command");
keys_refused('F0000', qr/only one may be set|aurora.secrets_key_command/, 'with both a file and a command nothing is read');
configure_node($solo, 'aurora.secrets_key_file' => "''");
comes($solo, "SELECT setting = '' FROM pg_settings WHERE name = 'aurora.secrets_key_file'", 'now there is a command only');
is_sql($solo, $read, 'of solo', 'its keys are used');
for my $case ([ 'exit 7', qr/7/ ], [ 'kill -9 $$', qr/signal/ ], [ "echo $garbage", qr/no Fernet key/ ], [ 'yes | head -100000', qr/too much|exit code/ ], [ 'true', qr/no key/ ])
{
    my ($line, $message) = @$case;

    configure_node($solo, 'aurora.secrets_key_command' => "'$line'");
    comes($solo, "SELECT setting FROM pg_settings WHERE name = 'aurora.secrets_key_command'", "the command is: $line", $line);
    my $err = keys_refused('F0000', $message, "nothing is read with the command: $line");
    unlike($err, qr/\Q$garbage\E/, '... and nothing that it prints is shown');
}
configure_node($solo, 'aurora.secrets_key_command' => "''");
comes($solo, "SELECT setting = '' FROM pg_settings WHERE name = 'aurora.secrets_key_command'", 'now there is neither');
my $err = keys_refused('55000', qr/key/, 'nothing is read');
like($err, qr/HINT:.*aurora.secrets_key_file/, '... and a hint tells what to set');
use_key_file($file);
is_sql($solo, $read, 'of solo', 'with a file all is well again');
my $text = substr(slurp_file($solo->logfile), $log) =~ s/^.*aurora\.secrets_key_command.*$//mgr;
unlike($text, qr/\Q$garbage\E|\Q$first_key\E/, 'the log shows nothing of what was in the files');
$solo->stop;

# ---- a standby with other keys ----

on_lead("SELECT aurora.put_secret('s', 'k', 'first')");
write_keys('beta', $second_key);
$standby->reload;
comes($standby, 'SELECT key_id FROM aurora.secret_key_ring()', 'the standby has another key', key_id($second_key));
is_refused($standby, "SELECT aurora.secret('s', 'k')", '55000', qr/@{[ key_id($first_key) ]}/, 'it reads nothing, and the error names the key that it lacks');
is(session_reads($lasting[1], "'s', 'k'"), '55000', 'nor does a session that had the right one');
is_sql($standby, 'SELECT bool_or(opens_here) FROM aurora.secret_keys', 'f', 'secret_keys shows that it opens nothing here');
is_sql($lead, 'SELECT bool_and(opens_here) FROM aurora.secret_keys', 't', 'and all on the lead');
is_sql($lead, "SELECT aurora.secret('s', 'k')", 'first', 'the lead reads it');
reload_keys($standby, $first_key);
is_sql($standby, "SELECT aurora.secret('s', 'k')", 'first', 'with the right key the standby does, too');
is(session_reads($lasting[1], "'s', 'k'"), 'first', 'in the session that had failed, too');

# ---- another master key ----

# Begins a rotation as soon as the lead knows that all nodes have the key; returns how many values it is.
sub rotate
{
    my ($node, $key) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    comes($node, "SELECT aurora.nodes_without_key('" . key_id($key) . "') IS NULL", 'the lead knows that all nodes have the new key');
    return $node->safe_psql('postgres', 'SELECT aurora.rotate_secrets_key()');
}

my $values = 3000;
my $open = "SELECT count(*) FILTER (WHERE aurora.secret('many', 'k' || n, CASE WHEN n % 2 = 0 THEN 'acme' END) = 'value ' || n) FROM generate_series(1, $values) n";
on_lead("SELECT aurora.put_secret('many', 'k' || n, 'value ' || n, company => CASE WHEN n % 2 = 0 THEN 'acme' END) FROM generate_series(1, $values) n");

# Sessions that read values until stop_reading(); each must be right.
sub start_reading
{
    my ($node) = @_;
    my $readers = { output => '' };
    my $script = PostgreSQL::Test::Utils::tempdir() . '/read.sql';

    append_to_file($script, "SELECT 1 / CASE WHEN ($open) = $values THEN 1 ELSE 0 END;\n");
    $readers->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', '1', '-T', '600', '-f', $script, $node->connstr('postgres') ],
        '<', \'', '>', \$readers->{output}, '2>&1');
    return $readers;
}

# Ends them; returns what was wrong.
sub stop_reading
{
    my ($readers) = @_;
    my $runs = $readers->{run}->pumpable;

    $readers->{run}->signal('TERM'); # not INT, which processes in the background ignore
    $readers->{run}->finish;
    return $runs ? '' : "it ended: $readers->{output}";
}

my $not_under = sub { my ($key) = @_; return "SELECT count(*) FROM aurora.secret_keys WHERE master_key_id <> '" . key_id($key) . "'" };
comes($lead, "SELECT count(*) FROM aurora.node_capability WHERE name = 'secret_keys' AND as_text LIKE '%" . key_id($first_key) . "%'",
    'nodes tell which keys they have', '2');
reload_keys($lead, $second_key, $first_key);
$err = is_refused($lead, 'SELECT aurora.rotate_secrets_key()', '55000', qr/@{[ key_id($second_key) ]}/, 'to a key that a node lacks nothing is rotated');
like($err, qr/DETAIL:.*beta/, '... and the error names the node');
reload_keys($standby, $second_key, $first_key);
my @reading = map { start_reading($_) } @both;
cmp_ok(rotate($lead, $second_key), '>=', $values, 'rotate_secrets_key() tells how many values are left');
comes($lead, $not_under->($second_key), 'in time all are under the new key', '0');
catch_up($lead, $standby);
is(stop_reading($reading[$_]), '', 'values could be read all the time on ' . $both[$_]->name) for 0, 1;
reload_keys($_, $second_key) for @both;
is_sql($_, $open, $values, 'the old key can go: all values open on ' . $_->name) for @both;
is_sql($_, 'SELECT bool_and(opens_here) FROM aurora.secret_keys', 't', '... by each data key') for @both;
is_same_on_both($lead, $standby, 'SELECT * FROM aurora.secret_rotation', 'both nodes show how the rotation went');

# ---- a rotation that is cut short ----

my $worker = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'aurora worker'";
reload_keys($_, $third_key, $second_key) for @both;
# The worker cannot get past a value that somebody holds.
my $holder = session($lead);
$holder->query_safe("BEGIN; SELECT count(*) FROM (SELECT FROM aurora.secret_version v JOIN aurora.secret s USING (secret_id)
                     WHERE s.service = 'many' AND s.key_name = 'k2000' FOR UPDATE OF v, s) held");
my $reading = start_reading($standby);
rotate($lead, $third_key);
my $left = "SELECT sum(k.\"values\") FROM aurora.secret_keys k WHERE k.master_key_id <> '" . key_id($third_key) . "'";
comes($lead, "SELECT ($left) > 0 AND count(*) > 0 FROM aurora.secret_keys WHERE master_key_id = '" . key_id($third_key) . "'", 'a rotation has begun');
note('values not under the new key when the worker is killed: ' . $lead->safe_psql('postgres', $left));
kill('KILL', $lead->safe_psql('postgres', $worker));
ok(wait_until(sub { log_count($lead, qr/all server processes terminated; reinitializing/) > 0 }), 'the worker is killed amid it');
$holder->{run}->kill_kill;
comes($lead, "SELECT ($open) = $values", 'the lead reads all values when it is up again');
comes($lead, $not_under->($third_key), 'the rotation goes on and ends', '0');
catch_up($lead, $standby);
is(stop_reading($reading), '', 'the standby read all the time');
reload_keys($_, $third_key) for @both;
is_sql($_, $open, $values, 'without the old key all values open on ' . $_->name) for @both;

my ($fourth_key, $fifth_key) = (fernet_key(), fernet_key());
reload_keys($_, $fourth_key, $third_key) for @both;
rotate($lead, $fourth_key);
$lead->stop('immediate');
$lead->start;
comes($lead, $not_under->($fourth_key), 'one that an immediate stop cuts short goes on and ends, too', '0');
is_sql($lead, $open, $values, 'with all values');

# ---- a token that is broken ----

reload_keys($_, $fifth_key, $fourth_key) for @both;
$lead->safe_psql('postgres', "UPDATE aurora.secret_version v SET token = overlay(token PLACING CASE WHEN substr(token, 50, 1) = 'A' THEN 'B' ELSE 'A' END FROM 50)
                              FROM aurora.secret s WHERE s.secret_id = v.secret_id AND s.service = 'many' AND s.key_name = 'k1001'");
catch_up($lead, $standby);
is_refused($_, "SELECT aurora.secret('many', 'k1001')", 'XX001', qr/./, 'a token that is broken is told so on ' . $_->name) for @both;
rotate($lead, $fifth_key);
comes($lead, "SELECT coalesce(sum(\"values\"), 0) FROM aurora.secret_keys WHERE master_key_id <> '" . key_id($fifth_key) . "'",
    'it does not stop a rotation: it alone is left', '1');
is_sql($lead, "SELECT aurora.secret('many', 'k1002', 'acme'), aurora.secret('many', 'k1003')", 'value 1002|value 1003', 'the others open');
$lead->safe_psql('postgres', "SELECT aurora.destroy_secret('many', 'k1001'), aurora.put_secret('many', 'k1001', 'value 1001')");
rotate($lead, $fifth_key);
comes($lead, $not_under->($fifth_key), 'when it is put anew, nothing is', '0');
catch_up($lead, $standby);
reload_keys($_, $fifth_key) for @both;
is_sql($_, $open, $values, 'all open on ' . $_->name . ' with the new key alone') for @both;

# ---- restarts ----

$_->quit for @lasting;
$_->restart for @both;
is_sql($_, $open, $values, 'after a restart all values open on ' . $_->name) for @both;
is_sql($_, "SELECT aurora.secret('crm', 'url', 'acme')", $_->name . ' acme', 'and each has its own') for @both;

# ---- promotion ----

let_write($lead);
my $writer = start_writer($lead, 'k1');
comes($lead, "SELECT last_value > $first_step FROM probe.floor_k1", 'secrets change');
stop_writers($lead);
is(finish_writer($writer), '', 'until the lead goes away');
catch_up($lead, $standby);
my $old = session($standby);
is(session_reads($old, "'s', 'k'"), 'first', 'a session of the standby has read a value');
my $readers = start_readers($standby, clients => 2, transactions => 60, keys => $keys, kinds => [qw(plain repeatable)]);
$lead->stop;
$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'the standby is promoted');
let_write($standby);
$writer = start_writer($standby, 'k2');
$standby->safe_psql('postgres', "SELECT aurora.put_secret('s', 'k', 'of beta')");
is(session_reads($old, "'s', 'k'"), 'of beta', 'that session reads what is written there now');
is($old->query("SELECT aurora.put_secret('s', 'k', 'by the old session')"), '3', '... and writes');
is_sql($standby, "SELECT aurora.secret('s', 'k')", 'by the old session', '... what others read');
my ($reads, $trouble) = finish_readers($readers);
note("$reads reads during the promotion");
is($trouble, '', 'no reader got a stale value during the promotion and after it');
stop_writers($standby);
is(finish_writer($writer), '', 'the writer on the new lead had no trouble');
is_sql($standby, "SELECT aurora.secret('crm', 'url', 'acme')", 'beta acme', 'the new lead still is the node that it was');
my $sixth_key = fernet_key();
reload_keys($standby, $sixth_key, $fifth_key);
is_refused($standby, 'SELECT aurora.rotate_secrets_key()', '55000', qr/not on every node.*alpha/s, 'keys are not rotated while the old lead lacks the new one');
is_sql($standby, 'SELECT aurora.rotate_secrets_key(force => true) > 0', 't', 'unless somebody says so');
comes($standby, $not_under->($sixth_key), 'and rotates keys', '0');
$old->quit;

unlike(slurp_file($_->logfile), qr/PANIC|TRAP|terminated by signal (?!9)/, 'no process of ' . $_->name . ' crashed') for @both, $solo;

done_testing();
