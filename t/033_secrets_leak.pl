# No value leaves the server but to whom it was asked by: after all that can be done with values, and all that
# can go wrong, none is found in the data, the write-ahead log, a logical slot, dumps, the server's log, the
# audit or the statistics, in any form. That the search finds what is there is shown first.
#
# A "mark" is a random text that all values of a test have in them. A "form" is a way to write it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraSecrets;
use Encode qw(encode);
use File::Find ();
use IPC::Run ();
use MIME::Base64 qw(encode_base64 decode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir();
my $key = fernet_key();
write_keys('leak', $key);
my $node = new_cluster(
    'leak',
    shared_preload_libraries => "'aurora, pg_stat_statements, auto_explain'",
    'aurora.database' => "'postgres'",
    'aurora.secrets_key_file' => "'" . key_file('leak') . "'",
    wal_level => 'logical',
    wal_keep_size => "'2GB'",
    max_prepared_transactions => 5,
    work_mem => "'64kB'",
    log_temp_files => 0,
    log_lock_waits => 'on',
    deadlock_timeout => "'50ms'",
    log_statement => 'none',
    log_min_messages => 'debug5',
    log_error_verbosity => 'verbose',
    log_min_duration_statement => -1,
    'auto_explain.log_min_duration' => 0,
    'auto_explain.log_analyze' => 'on',
    'auto_explain.log_buffers' => 'on',
    'auto_explain.log_nested_statements' => 'on',
    'pg_stat_statements.track' => 'all');
if ($node->pg_version >= 16)
{
    # Else auto_explain logs parameters, whatever the server says of them.
    $node->append_conf('postgresql.conf', 'auto_explain.log_parameter_max_length = 0');
    $node->reload;
}
$node->safe_psql('postgres', <<"SQL");
SET client_min_messages = warning;
CREATE EXTENSION aurora;
CREATE EXTENSION pg_stat_statements;
CREATE ROLE reader LOGIN IN ROLE aurora_user;
CREATE ROLE nobody LOGIN IN ROLE aurora_user;
CREATE SCHEMA test;
CREATE FUNCTION test.value(name text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS \$\$ BEGIN RETURN pg_read_file('$folder/' || name); END \$\$;
GRANT USAGE ON SCHEMA test TO PUBLIC;
SELECT aurora.add_company('Acme'), aurora.grant_secret('reader', '*');
SQL

# ---- marks and values ----

sub random_text
{
    my ($length) = @_;
    my $bytes;

    open(my $random, '<:raw', '/dev/urandom') or die "/dev/urandom: $!";
    read($random, $bytes, $length) == $length or die '/dev/urandom is too short';
    close($random);
    return encode_base64($bytes, '') =~ tr{+/=}{xyz}r;
}

my $mark = random_text(18);
my %values;

# Makes a value of that name, and returns it: the mark between a little text, or much that does not compress.
sub value
{
    my ($name, $bytes) = @_;

    die "there is a value $name" if $values{$name};
    $values{$name} = "the value $name: $mark " . random_text($bytes // 9);
    append_to_file("$folder/$name", $values{$name});
    return $values{$name};
}

# The forms of a text, each with its name. What of a base64 text depends on its neighbours is left out.
sub forms
{
    my ($text) = @_;
    my %forms = (
        'as it is' => $text,
        'in hexadecimal digits' => unpack('H*', $text),
        'in upper-case hexadecimal digits' => uc(unpack('H*', $text)),
        'in octal escapes' => join('', map { sprintf('\\%03o', $_) } unpack('C*', $text)),
        'in decimal numbers' => join(' ', unpack('C*', $text)),
        'in UTF-16, little end first' => encode('UTF-16LE', $text),
        'in UTF-16, big end first' => encode('UTF-16BE', $text),
        'backwards' => scalar reverse($text));

    for my $shift (0 .. 2)
    {
        my $base64 = encode_base64('-' x $shift . $text, '');

        $forms{"in base64, $shift bytes on"} = substr($base64, $shift ? 4 : 0, 4 * int((length($text) + $shift) / 3) - ($shift ? 4 : 0));
    }
    return \%forms;
}

# The forms of the text that a string has in it.
sub forms_in
{
    my ($string, $forms) = @_;

    return grep { index($$string, $forms->{$_}) >= 0 } sort keys %$forms;
}

# ---- where to look ----

# What a place holds is given piece by piece to a function.
my %places = (
    'a table' => sub { each_file(qr{/(?:base/\d+|global)/\d+}, @_) },
    'the write-ahead log' => sub { each_file(qr{/pg_wal/}, @_) },
    'a temporary file' => sub { each_file(qr{/pgsql_tmp/}, @_) },
    'statistics on disk' => sub { each_file(qr{/pg_stat(?:_tmp)?/}, @_) },
    'the rest of the data folder' => sub { each_file(qr{/pgdata/(?!base/|global/|pg_wal/|pg_stat)}, @_) },
    'an audit file' => sub { each_file(qr{/pgdata\.audit/}, @_) },
    'the server\'s log' => sub { $_[0]->(slurp_file($node->logfile)) },
    'a logical slot' => sub { $_[0]->(sql_text("SELECT data FROM pg_logical_slot_peek_changes('slot', NULL, NULL)")) },
    'pg_stat_statements' => sub { $_[0]->(sql_text('SELECT query FROM pg_stat_statements')) },
    'pg_stat_activity' => sub { $_[0]->(sql_text('SELECT a::text FROM pg_stat_activity a WHERE pid <> pg_backend_pid()')) },
    'a plain dump' => sub { $_[0]->(output_of('pg_dump', '--dbname', $node->connstr('postgres'))) },
    'a dump in custom format' => sub {
        output_of('pg_dump', '--format=custom', '--file', "$folder/dump", '--dbname', $node->connstr('postgres'));
        $_[0]->(slurp_file("$folder/dump") . output_of('pg_restore', '--file=-', "$folder/dump"));
        unlink("$folder/dump");
    },
    'a dump of all databases' => sub { $_[0]->(output_of('pg_dumpall', '--dbname', $node->connstr('postgres'))) },
    'the views' => sub { $_[0]->(sql_text("SELECT v::text FROM aurora.$_ v")) for qw(secrets secret_versions secret_audit secret_keys secret_cache secret_grants secret_rights) });

sub each_file
{
    my ($pattern, $look) = @_;

    File::Find::find(
        {   no_chdir => 1,
            wanted => sub {
                # What is removed meanwhile is nowhere.
                return unless $_ =~ $pattern && -f $_ && open(my $file, '<:raw', $_);
                local $/ = undef;
                $look->(<$file> // '');
            }
        },
        $node->basedir);
    return;
}

sub sql_text
{
    my ($query) = @_;

    return $node->safe_psql('postgres', $query);
}

sub output_of
{
    my (@command) = @_;
    my ($out, $err) = ('', '');

    IPC::Run::run(\@command, '>', \$out, '2>', \$err) or die "@command: $err";
    return $out;
}

# Looks for a text in the places named, or in all: "place: form" for each that is found, and how much was looked at.
sub search
{
    my ($text, @where) = @_;
    my $forms = forms($text);
    my %found;
    my %size;

    for my $place (@where ? @where : sort keys %places)
    {
        $places{$place}->(sub {
            my ($content) = @_;

            $size{$place} += length($content);
            $found{"$place: $_"}++ for forms_in(\$content, $forms);
        });
    }
    return ([ sort keys %found ], \%size);
}

sub is_nowhere
{
    my ($text, $name, @where) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($found) = search($text, @where);

    return is(join("\n", @$found), '', $name);
}

# ---- doing things with values ----

# Runs statements in which :name is a value, as a bind parameter. Returns what pgbench said.
sub with_parameters
{
    my ($mode, $sql, %parameters) = @_;
    my $said = '';

    unlink("$folder/script.sql");
    append_to_file("$folder/script.sql", $sql);
    IPC::Run::run([ 'pgbench', '-n', '-c', 1, '-t', 1, '-M', $mode, (map { ('-D', "$_=$parameters{$_}") } sort keys %parameters), '-f', "$folder/script.sql", $node->connstr('postgres') ],
        '>', \$said, '2>&1');
    return $said;
}

sub works
{
    my ($said, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok($said =~ m{transactions actually processed: 1/1} && $said !~ /ERROR|WARNING/, $name) || diag($said);
}

sub fails_with
{
    my ($said, $message, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok($said =~ /ERROR:.*$message/ && index($said, $mark) < 0, $name) || diag($said);
}

# Runs SQL; the SQLSTATE of its error, and whether what the client was told has the mark.
sub outcome
{
    my ($sql) = @_;
    my ($out, $err) = try_sql($node, $sql);

    return sql_state($err) . (index($err, $mark) < 0 ? '' : " with a value in $err");
}

# ---- the search finds what is there ----

$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('slot', 'test_decoding')");
my $planted = random_text(18);
my $large = random_text(60_000);
my $sleeper = $node->background_psql('postgres');
$sleeper->query_safe("SELECT '$planted' AS said_by_a_session");
my $sorter = $node->background_psql('postgres');
$sorter->query_safe('BEGIN');
$sorter->query_safe("DECLARE c CURSOR FOR SELECT '$planted' || n FROM generate_series(1, 10000) n ORDER BY 1");
$sorter->query_safe('MOVE 5000 FROM c');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE test.planted (what text, toasted text);
INSERT INTO test.planted VALUES ('$planted', '$planted $large');
SELECT aurora.put_secret('service $planted', 'k', 'x');
DO \$\$ BEGIN RAISE LOG 'here is $planted'; END \$\$;
CHECKPOINT;
SQL
my ($found, $size) = search($planted);
is(join("\n", grep { /: as it is$/ } @$found), join("\n", map { "$_: as it is" } grep { !/rest of the data/ } sort keys %places), 'a text that is planted in each place is found there');
cmp_ok($size->{$_}, '>', 0, "something is looked at in $_") for sort keys %places;
($sleeper, $sorter) = (quit($sleeper), quit($sorter));

sub quit
{
    my ($session) = @_;

    $session->quit;
    return;
}

my $written = forms($planted);
for my $form (sort keys %$written)
{
    my $found_as = join(', ', forms_in(\"...$written->{$form}...", $written));

    like($found_as, qr/\Q$form\E/, "a text is found when it is written $form");
}
is_nowhere(random_text(18), 'a text that was never there is found nowhere');

# ---- values as bind parameters ----

for my $mode ('extended', 'prepared')
{
    my ($first, $second, $third) = map { value("$mode $_") } 1 .. 3;
    my $large_value = value("$mode large", 60_000);

    works(with_parameters($mode, <<'SQL', first => $first, second => $second, third => $third, large => $large_value, mode => $mode), "values are put and read ($mode)");
SELECT aurora.put_secret('bound', :mode, :first);
SELECT 1 / (aurora.secret('bound', :mode) = :first)::int;
SELECT aurora.put_secret('bound', :mode, :second, expires_at => now() + interval '1 day', strict => true);
SELECT aurora.put_secret('bound', :mode, :third, company => 'Acme');
SELECT aurora.put_secret('bound', :mode || ' large', :large);
SELECT 1 / (aurora.secret('bound', :mode || ' large') = :large)::int;
SELECT aurora.secret('bound', :mode, 'Acme');
SELECT aurora.delete_secret('bound', :mode, company => 'Acme');
SELECT aurora.undelete_secret('bound', :mode, company => 'Acme');
SELECT aurora.destroy_secret('bound', :mode, version => 1);
SELECT aurora.export_secrets('bound');
SELECT aurora.export_secrets('bound', plain => true);
SQL
    works(with_parameters($mode, <<'SQL', first => value("$mode env"), second => value("$mode JSON")), "and imported ($mode)");
SELECT aurora.import_secrets_env('env', E'# comment\nA=1\nB="' || :first || E'"\n');
SELECT aurora.import_secrets_json(jsonb_build_object('json', jsonb_build_object('k', :second::text))::text);
SQL
    works(with_parameters($mode, <<'SQL', first => value("$mode explained"), mode => $mode), "EXPLAIN puts and reads one ($mode)");
EXPLAIN (ANALYZE) SELECT aurora.put_secret('explained', :mode, :first);
EXPLAIN (ANALYZE, VERBOSE) SELECT aurora.put_secret('explained', :mode, :first);
EXPLAIN (ANALYZE, VERBOSE) SELECT aurora.secret('explained', :mode);
SQL

    my %failing = (
        'a conflict' => [ "SELECT aurora.put_secret('bound', :mode, :value, expected_version => 7)", '' ],
        'a value too large' => [ "SELECT aurora.put_secret('bound', :mode, repeat(:value, 100000))", '' ],
        'a bad key' => [ "SELECT aurora.put_secret('bound', ' ', :value)", '' ],
        'a null key' => [ "SELECT aurora.put_secret('bound', NULL, :value)", '' ],
        'a value in the place of the key' => [ "SELECT aurora.put_secret('bound', repeat(:value, 10), :value)", '' ],
        'an unknown company' => [ "SELECT aurora.put_secret('bound', :mode, :value, company => 'Nowhere')", '' ],
        'an expiry in the past' => [ "SELECT aurora.put_secret('bound', :mode, :value, expires_at => '2001-01-01')", '' ],
        'no right' => [ "BEGIN;\nSET LOCAL ROLE nobody;\nSELECT aurora.put_secret('bound', :mode, :value)", 'permission' ],
        'an error after it' => [ "BEGIN;\nSELECT aurora.put_secret('bound', :mode, :value);\nSELECT 1 / 0", 'division' ],
        'an error in the same statement' => [ "SELECT aurora.put_secret('bound', :mode, :value) / 0", 'division' ],
        'a bad line of an import' => [ "SELECT aurora.import_secrets_env('env', E'A=1\n' || :value)", 'line 2' ],
        'a quote that is left open' => [ "SELECT aurora.import_secrets_env('env', 'A=\"' || :value)", 'line 1' ],
        'bad JSON' => [ "SELECT aurora.import_secrets_json('{\"a\": {\"k\": ' || :value)", '' ],
        'JSON of another shape' => [ "SELECT aurora.import_secrets_json(jsonb_build_array(:value::text)::text)", '' ]);
    for my $case (sort keys %failing)
    {
        my ($sql, $message) = @{ $failing{$case} };

        fails_with(with_parameters($mode, "$sql;\n", value => value("$mode $case"), mode => $mode), $message, "a put fails for $case ($mode)");
    }
}

# ---- a writer that waits for another ----

value('blocking');
my $waiting_value = value('blocked');
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('BEGIN');
$blocker->query_safe("SELECT aurora.put_secret('bound', 'prepared', test.value('blocking'))");
append_to_file("$folder/wait.sql", "SELECT aurora.put_secret('bound', 'prepared', :value, expected_version => 2);\n");
my $waiting_said = '';
my $waiting = IPC::Run::start([ 'pgbench', '-n', '-c', 1, '-t', 1, '-M', 'prepared', '-D', "value=$waiting_value", '-f', "$folder/wait.sql", $node->connstr('postgres') ],
    '>', \$waiting_said, '2>&1');
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%put_secret%'"), 'a writer waits for another');
like(sql_text("SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), qr/put_secret.*\$1/, 'and shows its statement with a parameter');
is_nowhere($mark, 'but not its value', 'pg_stat_activity');
$blocker->query_safe('COMMIT');
$blocker->quit;
$waiting->finish;
fails_with($waiting_said, '', 'when the other commits it is refused');

# ---- values that functions and blocks have at hand ----

value($_) for 'in a DO block', 'nested', 'caught', 'in a trigger', 'in a constraint', 'null', 'too large', 'in a savepoint', 'in a view', 'reader', 'not null',
  'prepared for two phases', 'rolled back in two phases', 'serializable', 'interrupted';
is(outcome(<<'SQL'), 'none', 'DO blocks and functions put and read values');
DO $$
DECLARE
    v text := test.value('in a DO block');
BEGIN
    PERFORM aurora.put_secret('block', 'a', v);
    IF aurora.secret('block', 'a') <> v THEN
        RAISE 'another value was read';
    END IF;
    BEGIN
        PERFORM aurora.put_secret('block', 'a', test.value('caught'), expected_version => 9);
    EXCEPTION WHEN integrity_constraint_violation THEN
        RAISE LOG 'caught %', SQLERRM;
    END;
END
$$;
CREATE FUNCTION test.put(v text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN aurora.put_secret('block', 'nested', v); END $$;
SELECT test.put(test.value('nested'));
BEGIN;
SAVEPOINT s;
SELECT aurora.put_secret('block', 'savepoint', test.value('in a savepoint'));
ROLLBACK TO s;
COMMIT;
CREATE VIEW test.view AS SELECT aurora.secret('block', 'view') AS v;
SELECT aurora.put_secret('block', 'view', test.value('in a view'));
SELECT count(*) FROM test.view;
SELECT count(*) FROM (SELECT aurora.secret('block', 'view') FROM generate_series(1, 50)) r;
SQL
is(outcome("SELECT aurora.put_secret('block', 'k', test.value('too large') || repeat('x', 2000000))"), '54000', 'a value too large is refused');
is(outcome("SELECT aurora.put_secret('block', 'k', test.value('reader')); SET ROLE reader; SELECT aurora.put_secret('block', 'k', test.value('not null'))"), '42501', 'a reader who writes is refused');
is(outcome("SET ROLE reader; SELECT 1 / (length(aurora.secret('block', 'k')) - length(aurora.secret('block', 'k')))"), '22012', 'an expression over a value that fails');

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION test.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused: %', NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON aurora.secret_version FOR EACH ROW EXECUTE FUNCTION test.refuse();
SQL
is(outcome("SELECT aurora.put_secret('block', 'trigger', test.value('in a trigger'))"), 'P0001', 'a trigger that refuses a row is shown no value');
$node->safe_psql('postgres', <<'SQL');
DROP TRIGGER refuse ON aurora.secret_version;
ALTER TABLE aurora.secret_version ADD CONSTRAINT refuse CHECK (version < 0) NOT VALID;
SQL
is(outcome("SELECT aurora.put_secret('block', 'constraint', test.value('in a constraint'))"), '23514', 'nor is one in the error of a constraint');
$node->safe_psql('postgres', <<'SQL');
ALTER TABLE aurora.secret_version DROP CONSTRAINT refuse;
ALTER TABLE aurora.secret_version ADD refuse int;
ALTER TABLE aurora.secret_version ADD CONSTRAINT refuse CHECK (refuse IS NOT NULL) NOT VALID;
SQL
is(outcome("SELECT aurora.put_secret('block', 'null', test.value('null'))"), '23514', 'nor in that of a column');
$node->safe_psql('postgres', 'ALTER TABLE aurora.secret_version DROP refuse');

my $two_phases = outcome("BEGIN; SELECT aurora.put_secret('block', 'two phases', test.value('prepared for two phases')); PREPARE TRANSACTION 'x'");
like($two_phases, qr/^(?:none|0A000)$/, 'a transaction of two phases is prepared, or refused');
if ($two_phases eq 'none')
{
    is_nowhere($mark, 'its file has no value', 'the rest of the data folder');
    is(outcome("COMMIT PREPARED 'x'"), 'none', 'it is committed');
    is(outcome("BEGIN; SELECT aurora.put_secret('block', 'two phases', test.value('rolled back in two phases')); PREPARE TRANSACTION 'y'; ROLLBACK PREPARED 'y'"), 'none', 'another is rolled back');
}
is(outcome("SET statement_timeout = '200ms'; SELECT aurora.put_secret('block', 'interrupted', test.value('interrupted')), pg_sleep(60)"), '57014', 'a statement is cancelled after a put');
is(outcome("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT aurora.put_secret('block', 'k', test.value('serializable')); DECLARE c CURSOR WITH HOLD FOR SELECT version FROM aurora.secrets; COMMIT; FETCH ALL FROM c"), 'none', 'a serializable transaction');

# ---- imports and exports put no values into temporary files, which stay on the disk when they are deleted ----

# The SQLSTATE of the error when so much as a tenth of the values went into one.
sub outcome_in_memory
{
    my ($sql) = @_;

    return outcome("SET temp_file_limit = '300kB'; $sql");
}

append_to_file("$folder/large.env", join('', map { "KEY_$_=\"" . value("line $_", 3000) . "\"\n" } 1 .. 500));
append_to_file("$folder/large.json", '{"large json": {' . join(', ', map { "\"k$_\": \"" . value("member $_", 3000) . '"' } 1 .. 500) . '}}');
is(outcome_in_memory("SELECT count(*) FROM (SELECT repeat(md5(n::text), 10) FROM generate_series(1, 10000) n ORDER BY 1) s"), '53400', 'a sort of much text takes a temporary file');
is(outcome_in_memory("SELECT aurora.import_secrets_env('large', test.value('large.env'))"), 'none', 'an import of many lines does not');
is(outcome_in_memory("SELECT aurora.import_secrets_json(test.value('large.json'))"), 'none', 'nor does one of JSON');
is(outcome_in_memory("SELECT length(aurora.export_secrets('large*', plain => true)::text)"), 'none', 'nor a plain export');
is_sql($node, 'SELECT count(*) FROM aurora.secrets WHERE service LIKE \'large%\'', 1000, 'all of them are there');

# ---- the search ----

$node->safe_psql('postgres', 'SELECT aurora.rotate_secrets_key(true)');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM aurora.secret_keys WHERE NOT is_current AND \"values\" > 0"), 'all values are encrypted anew');
$node->safe_psql('postgres', 'VACUUM (FULL, ANALYZE); CHECKPOINT');
is(scalar(grep { index($values{$_}, $mark) >= 0 } keys %values), scalar(keys %values), 'all of ' . keys(%values) . ' values have the mark');
is_sql($node, 'SELECT count(*) > 5 FROM pg_stat_statements WHERE query LIKE \'%put_secret%\'', 't', 'the statements were counted');
like(slurp_file($node->logfile), qr/DEBUG:.*LOG:  (?:00000: )?duration: [^\n]* plan:/s, 'and logged, with their plans');
is_nowhere($mark, 'no value is found anywhere in any form');
is_nowhere($key, 'nor is the key');
is_nowhere(decode_base64($key =~ tr{-_}{+/}r), 'nor are its bytes');

# ---- a statement that has its value written in it ----

my $literal = random_text(18);
my ($out, $err);
for my $logging ("log_statement = 'all'", 'log_min_duration_statement = 0')
{
    ($out, $err) = try_sql($node, "SET $logging; SELECT aurora.put_secret('literal', 'k', '$literal')");
    like($err, qr/WARNING:.*log/, "put_secret() warns of a value that is written in the statement with $logging");
    unlike($err, qr/\Q$literal\E/, 'and does not repeat it');
}
($found) = search($literal);
is(join("\n", @$found), 'the server\'s log: as it is', 'what is written in a statement is in the log, and nowhere else');
my $failed = random_text(18);
($out, $err) = try_sql($node, "SELECT aurora.put_secret('literal', 'k', '$failed', expected_version => 99)");
unlike($err, qr/\Q$failed\E/, 'the error of a statement with a value in it does not repeat it');
($found) = search($failed);
is(join("\n", @$found), 'the server\'s log: as it is', 'but the server logs statements that fail, whatever log_statement says');
my $parameter = random_text(18);
for my $length (0, -1)
{
    with_parameters('extended', "SET log_statement = 'all';\nSET log_parameter_max_length = $length;\nSELECT aurora.put_secret('literal', 'k', :value);\n", value => "$parameter $length");
}
is_nowhere("$parameter 0", 'a parameter is logged nowhere with log_parameter_max_length = 0');
($found) = search("$parameter -1");
is(join("\n", @$found), 'the server\'s log: as it is', 'which is not the default');
with_parameters('extended', "SET auto_explain.log_verbose = on;\nSELECT aurora.put_secret('literal', 'k', :value);\n", value => "$parameter verbose");
($found) = search("$parameter verbose");
is(join("\n", @$found), 'the server\'s log: as it is', 'auto_explain.log_verbose also logs it, in the plan');
unlike(with_parameters('prepared', "SET auto_explain.log_min_duration = -1;\nSELECT aurora.put_secret('literal', 'k', :value);\n", value => 'a parameter'), qr/WARNING/, 'put_secret() does not warn of a parameter that nothing logs');
like(with_parameters('simple', "SET log_statement = 'all';\nSELECT aurora.put_secret('literal', 'k', ':value');\n", value => 'written in it'), qr/WARNING/, 'but it does of a literal');

# ---- what is written when the server stops ----

$node->stop;
is_nowhere($mark, 'no value is found on disk after the server has stopped', grep { /table|log$|temporary|disk|rest|audit/ } sort keys %places);
$node->start;
is_sql($node, "SELECT length(aurora.secret('large', 'KEY_500')) > 3000", 't', 'and all are read when it has started again');

done_testing();
