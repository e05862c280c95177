# Without any server, from a dump and a key file alone, all secrets come back as they were put; and what is
# broken of a dump hides nothing that is not.
#
# A "wanted" secret is what one of its versions should give: its name, state and value.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraNodes;
use AuroraSecrets;
use Encode qw(encode decode);
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $programs = $ENV{AURORA_WORKERS} // "$FindBin::RealBin/../workers/build";
my $program = "$programs/aurora-secrets-recover";
plan(skip_all => "$program is not built: make -C workers builds it") if !-x $program && !defined $ENV{AURORA_WORKERS};

my $folder = PostgreSQL::Test::Utils::tempdir();
my ($first_key, $second_key) = map { fernet_key() } 1 .. 2;
my $lead = new_secret_lead('alpha', [$first_key]);
my $database = 'filled';
$lead->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
$lead->safe_psql($database, 'SET client_min_messages = warning; CREATE EXTENSION aurora');

# ---- putting ----

my @wanted;

# Writes a file of these bytes, and returns its path.
sub file
{
    my ($name, $bytes, $mode) = @_;
    my $path = "$folder/$name";

    unlink($path);
    open(my $file, '>:raw', $path) or die "$path: $!";
    print $file $bytes;
    close($file) or die "$path: $!";
    chmod($mode // 0644, $path) or die "$path: $!";
    return $path;
}

# Puts a value, of bytes in UTF-8, with names in characters; adds it to those wanted, and returns that.
sub put
{
    my ($service, $key_name, $value, %option) = @_;
    my $path = file('value', $value);
    my %secret = (
        service => $service, key_name => $key_name, node => $option{node}, company => $option{company},
        state => 'active', value => $value);
    my %argument = (%secret, value => undef, state => undef, expires_at => $option{expires_at});
    my @named = grep { defined $argument{$_} } qw(service key_name node company expires_at);
    my @variables = map { ('-v', encode('UTF-8', "$_=$argument{$_}")) } @named;
    my $sql = "SET client_encoding = 'UTF8';\nSELECT aurora.put_secret(value => pg_read_file('$path'), " . join(', ', map { "$_ => :'$_'" } @named) . ');';
    my ($out, $err) = ('', '');

    IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $lead->connstr($option{database} // $database), @variables ],
        '<', \$sql, '>', \$out, '2>', \$err) or die "put_secret: $err";
    chomp($secret{version} = $out);
    push(@wanted, \%secret) unless $option{database};
    return \%secret;
}

sub sql
{
    my ($sql) = @_;

    return $lead->safe_psql($database, $sql);
}

sql("SELECT aurora.add_company(c) FROM unnest(ARRAY['acme', 'zeta', E'tab\\\\and \"quote\" \\u00fc']) c");
my $odd_company = "tab\\and \"quote\" \x{fc}";
my $odd_value = "quotes ' \" `, backslashes \\ \\\\ \\n \\N \\. \$x \$(id) \${y} %s,\ttab\nline\r\nline " . encode('UTF-8', "\x{fc}\x{6f22}\x{1f511}\x{200f}") . "\n\\.\n";

put('scopes', 'key', 'of all');
put('scopes', 'key', 'of a node', node => 'alpha');
put('scopes', 'key', 'of a company', company => 'acme');
put('scopes', 'key', 'of both', node => 'alpha', company => 'acme');
put('scopes', 'key', 'of another node and company', node => 'beta', company => 'zeta');
put('odd', 'value', $odd_value);
put('odd', "\\N", 'a name like a null');
put('odd', "k\xe9y '\" \\ \x{6f22} \$x", $odd_value, company => $odd_company);
put("s\xe9rvice \\t \x{1f511}", 'key', 'of an odd service');
put('sizes', 'empty', '');
put('sizes', 'one', 'x');
put('sizes', 'spaces', "  \n");
put('sizes', 'large', join('', map { chr(33 + ($_ * 7919) % 90) } 1 .. 1 << 20));
put('sizes', 'large and wide', encode('UTF-8', "\x{6f22}\x{fc}" x 200_000), company => 'acme');
put('many', "key $_", "value $_", $_ % 2 ? (company => 'zeta') : ()) for 1 .. 40;

# Versions: the last ten are kept.
my @versions = map { put('versions', 'key', "value $_") } 1 .. 12;
$_->{state} = 'gone' for @versions[ 0, 1 ];

# What is deleted, undeleted, destroyed or has expired.
my @deleted = map { put('states', 'deleted', "value $_") } 1 .. 2;
sql("SELECT aurora.delete_secret('states', 'deleted')");
$deleted[1]->{state} = 'deleted';
put('states', 'undeleted', 'here again');
sql("SELECT aurora.delete_secret('states', 'undeleted'), aurora.undelete_secret('states', 'undeleted')");
my @destroyed = map { put('states', 'destroyed', "value $_") } 1 .. 3;
sql("SELECT aurora.destroy_secret('states', 'destroyed', version => $_)") for 1, 3;
@{ $destroyed[$_] }{qw(state value)} = ('destroyed', undef) for 0, 2;
put('states', 'gone', 'nowhere')->{state} = 'gone';
sql("SELECT aurora.destroy_secret('states', 'gone')");
put('states', 'lasting', 'for long', expires_at => '2999-12-31 23:59:59.5+01');
put('states', 'infinite', 'for ever', expires_at => 'infinity');
put('states', 'expired', 'no more', expires_at => $lead->safe_psql('postgres', "SELECT now() + interval '2 seconds'"))->{state} = 'expired';
ok($lead->poll_query_until($database, "SELECT state = 'expired' FROM aurora.secrets WHERE key_name = 'expired'"), 'a secret has expired');

# What a table of somebody else may have in it.
sql(<<'SQL');
CREATE TABLE public.lookalike (a text, b bytea);
INSERT INTO public.lookalike VALUES (E'COPY aurora.secret (secret_id, company_id, service, key_name, node, version) FROM stdin;\n1\t\\N\tfake\tfake\t\\N\t1\n\\.\n', '\x00');
INSERT INTO public.lookalike SELECT repeat(E'\\.\n', 100), decode(repeat('00', 3000000), 'hex');
COMMENT ON TABLE public.lookalike IS E'it''s\nCOPY aurora.secret (secret_id, company_id, service, key_name, node, version) FROM stdin;\n999\t\\N\tfake\tfake\t\\N\t1\n\\.\n';
CREATE FUNCTION public.lookalike() RETURNS text LANGUAGE sql AS $_$
SELECT '; $$
COPY aurora.secret_version (secret_id) FROM stdin;
1
\.
'::text $_$;
SQL

# ---- recovering ----

my $keys = key_file('alpha');

# Runs the program; returns its status and what it has written.
sub recover
{
    my ($arguments, %option) = @_;
    my $input = $option{input} // ''; # a copy, since it is eaten
    my $harness = IPC::Run::start([ $program, @$arguments ], '<', \$input, '>', \my $out, '2>', \my $err);

    $harness->finish;
    return ($harness->result(0), $out, $err);
}

sub text_of
{
    my ($secret) = @_;

    return join(' | ', map { defined $_ ? encode('UTF-8', $_) : 'null' } @$secret{qw(service key_name node company version)})
      . " | $secret->{state} | " . ($secret->{value} // 'null');
}

# The lines of what was recovered, in a form that can be compared.
sub texts_of
{
    my ($out) = @_;
    my $json = JSON::PP->new->utf8;
    my @secrets = map { $json->decode($_) } split(/\n/, $out);

    for my $secret (@secrets)
    {
        $secret->{value} = encode('UTF-8', $secret->{value}) if defined $secret->{value};
    }
    return [ sort map { text_of($_) } @secrets ];
}

# Those wanted; with all => 1 all versions, else what would come without being asked for more.
sub texts_wanted
{
    my ($which, $all) = @_;
    my %last;

    for my $secret (@wanted)
    {
        $last{ join('|', map { $_ // '' } @$secret{qw(service key_name node company)}) } = $secret;
    }
    my @chosen = $all ? @wanted : values %last;
    return [ sort map { text_of($_) } grep { $which->($_) && $_->{state} !~ ($all ? qr/^gone$/ : qr/^(?:gone|deleted|destroyed)$/) } @chosen ];
}

# Compares long texts without printing them whole.
sub is_all
{
    my ($found, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my %found = map { $_ => 1 } @$found;
    my %expected = map { $_ => 1 } @$expected;
    my @missing = map { substr($_, 0, 200) } grep { !$found{$_} } @$expected;
    my @more = map { substr($_, 0, 200) } grep { !$expected{$_} } @$found;

    ok(@$found == @$expected && !@missing && !@more, "$name (" . @$expected . ')')
      or diag('missing: ' . join("\n", @missing) . "\nand not expected: " . join("\n", @more));
    return;
}

# No value and no token is in what the program says.
sub says_nothing_secret
{
    my ($err, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @found = grep { length($_->{value} // '') > 1 && index($err, $_->{value}) >= 0 } @wanted;

    is(join(', ', (map { $_->{key_name} } @found), $err =~ /gAAAA/ ? 'a token' : (), (grep { index($err, $_) >= 0 } $first_key, $second_key) ? 'a key' : ()),
        '', "$name, and no value, token or key is said");
    return;
}

# The program recovers exactly these without a word.
sub recovers
{
    my ($arguments, $expected, $name, %option) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = recover($arguments, %option);

    is("$status $err", '0 ', "$name: the program succeeds");
    is_all(texts_of($out), $expected, "$name: all comes as it was put");
    return;
}

# The program refuses: status 2, this message, and nothing else.
sub refuses
{
    my ($arguments, $message, $name, %option) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = recover($arguments, %option);

    is("$status $out", '2 ', "refused: $name");
    like($err, $message, '... with a message');
    says_nothing_secret($err, '...');
    return;
}

sub dump_of
{
    my ($name, $format, @options) = @_;

    command_ok([ 'pg_dump', "--format=$format", '--file', "$folder/$name", @options, '--dbname', $lead->connstr($database) ], "a dump is made: $name");
    return "$folder/$name";
}

my $any = sub { 1 };
my $plain = dump_of('plain.sql', 'plain');
my $plain_text = slurp_file($plain);
unlike($plain_text, qr/of a company|value 12|\Q$first_key\E/, 'the dump has no value in plain text, and no key');

recovers([ '--key-file', $keys, $plain ], texts_wanted($any), 'from a plain dump');
recovers([ '--key-file', $keys, '--all-versions', $plain ], texts_wanted($any, 1), 'from a plain dump, with all versions');
recovers([ '-k', $keys ], texts_wanted($any), 'from standard input', input => $plain_text);
for my $format (qw(custom directory tar))
{
    my $path = dump_of("dump.$format", $format);
    my $restored = '';

    IPC::Run::run([ 'pg_restore', '-f', '-', $path ], '|', [ $program, '--key-file', $keys ], '>', \$restored) or die "pg_restore: $?";
    is_all(texts_of($restored), texts_wanted($any), "from a dump in $format format, through pg_restore");
    refuses([ '--key-file', $keys, $path ], qr/pg_restore -f -/, "a dump in $format format read directly");
}
recovers([ '--key-file', $keys, dump_of('clean.sql', 'plain', '--clean', '--if-exists', '--create', '--quote-all-identifiers') ],
    texts_wanted($any), 'from a dump with other options');
recovers([ '--key-file', $keys, dump_of('data.sql', 'plain', '--data-only', '--disable-triggers') ], texts_wanted($any), 'from data alone');
recovers([ '--key-file', $keys, file('windows.sql', $plain_text =~ s/\n/\r\n/gr) ], texts_wanted($any), 'from a dump with other line ends');
$lead->psql('postgres', "ALTER DATABASE $database SET timezone = 'Asia/Kolkata'; ALTER DATABASE $database SET datestyle = 'SQL, DMY'");
recovers([ '--key-file', $keys, '-a', dump_of('abroad.sql', 'plain') ], texts_wanted($any, 1), 'from a dump of another time zone');

# Rows may come in any order.
my @blocks = grep { !/^COPY \S+ \((?:[^)]* node, version|secret_id)\) FROM/ } ($plain_text =~ /^(COPY aurora\.\S+ \(.*?\n\\\.\n)/msg);
cmp_ok(scalar(@blocks), '>', 4, 'the dump has rows of tables');
recovers([ '--key-file', $keys, file('reversed.sql', join("\n", reverse @blocks)) ], texts_wanted($any), 'with tables in the opposite order');
recovers([ '--key-file', $keys, '-a', file('reversed.sql', join("\n", reverse @blocks)) ], texts_wanted($any, 1), 'also all versions');

# ---- choosing ----

recovers([ '--key-file', $keys, '--service', 'scopes', $plain ], texts_wanted(sub { $_[0]->{service} eq 'scopes' }), 'of one service');
recovers([ '--key-file', $keys, '--service', 's*s', $plain ], texts_wanted(sub { $_[0]->{service} =~ /^s.*s$/ }), 'of services that a pattern fits');
recovers([ '--key-file', $keys, '--service', 'nothing', $plain ], [], 'of a service that is not there');

my ($status, $out, $err) = recover([ '--list', $plain ]);
is("$status $err", '0 ', 'names are listed without a key');
is_all([ map { s/ \| null$//r } @{ texts_of($out) } ], [ map { s/^(.* \| (?:active|expired)) \| .*/$1/sr } @{ texts_wanted($any) } ], 'they are those of all values');
unlike($out, qr/"value\w*":/, 'and have no values');

# ---- variables for a shell ----

my @variables = grep { $_->{service} eq 'odd' && $_->{key_name} eq 'value' || $_->{service} eq 'sizes' && !defined $_->{company} } @wanted;
($status, $out, $err) = recover([ '--key-file', $keys, '--format', 'env', '--service', 'odd', $plain ]);
is($status, 1, 'in the format env, a name that is none of a variable is a problem');
like($err, qr/"k\xc3\xa9y .* of service "odd", company .*, version 1, is not recovered: its name is none of a variable/, '... which is said');
like($out, qr/^# odd\nvalue="/, 'the others come below their service');
for my $secret (@variables)
{
    my ($service, $key_name) = @$secret{qw(service key_name)};
    my $sourced = '';

    ($status, $out, $err) = recover([ '--key-file', $keys, '-f', 'env', '-s', $service, $plain ]);
    IPC::Run::run([ 'sh', '-c', ". $folder/env; printf %s \"\$$key_name\"" ], '<', \'', '>', \$sourced) if file('env', $out);
    ok($sourced eq $secret->{value}, "a shell reads $key_name of $service as it was put");
}
($status, $out, $err) = recover([ '--key-file', $keys, '-f', 'env', '-s', 'odd', $plain ]);
file('env', $out);
sql("SELECT aurora.import_secrets_env('back', pg_read_file('$folder/env'))");
is(sql("SELECT aurora.secret('back', 'value') = aurora.secret('odd', 'value')"), 't', 'import_secrets_env() takes them back');
sql("SELECT aurora.destroy_secret('back', key_name) FROM aurora.secrets WHERE service = 'back'");

# ---- where values go ----

umask(0);
($status, $out, $err) = recover([ '--key-file', $keys, '--output', "$folder/out", $plain ]);
is("$status $out$err", '0 ', 'values are written to a file');
is_all(texts_of(slurp_file("$folder/out")), texts_wanted($any), 'all of them');
is(sprintf('%o', (stat("$folder/out"))[2] & 07777), '600', 'which only its owner can read');
refuses([ '--key-file', $keys, '-o', "$folder/out", $plain ], qr/is there already/, 'to overwrite a file');
symlink("$folder/nowhere", "$folder/link") or die "link: $!";
refuses([ '--key-file', $keys, '-o', "$folder/link", $plain ], qr/is there already/, 'to follow a link');
ok(!-e "$folder/nowhere", '... and nothing is where it leads');
refuses([ '--key-file', $keys, '-o', "$folder/no/such", $plain ], qr/cannot be made/, 'to write where no folder is');
umask(022);
($status, $out, $err) = recover([ '--key-file', $keys, '-o', '-', $plain ]);
is_all(texts_of($out), texts_wanted($any), '- is standard output');

# What the program does on a terminal.
sub on_terminal
{
    my (@arguments) = @_;
    my $command = join(' ', map { "'$_'" } $program, @arguments);
    my $out = '';

    IPC::Run::run([ 'script', '-qec', $command, '/dev/null' ], '<', \'', '>', \$out, '2>&1');
    return ($? >> 8, $out);
}

($status, $out) = on_terminal('--key-file', $keys, '--service', 'scopes', $plain);
is($status, 2, 'values are not shown on a terminal');
like($out, qr/do not go to a terminal.*--output/, '... and it is said how');
unlike($out, qr/of a company/, '... none of them');
($status, $out) = on_terminal('--key-file', $keys, '--service', 'scopes', '-o', '-', $plain);
like($out, qr/"value":"of a company"/, 'unless that is asked for');
($status, $out) = on_terminal('--list', '--service', 'scopes', $plain);
is($status, 0, 'names are');

# Nobody else looks into the memory of the program. Root may always.
sub memory_is_private
{
    my $harness = IPC::Run::start([ $program, '--key-file', $keys ], '<', \my $input, '>', \my $out, '2>', \my $err);
    my $pid = $harness->{KIDS}->[0]->{PID};
    my $limit = '';

    wait_until(sub { $limit = eval { slurp_file("/proc/$pid/limits") } // ''; $limit =~ /^Max core file size\s+0\s+0\s/m });
    like($limit, qr/^Max core file size\s+0\s+0\s/m, 'the program leaves no core file');
    ok($> == 0 || !open(my $memory, '<', "/proc/$pid/mem"), 'and others of the same user cannot read its memory');
    $harness->kill_kill;
    return;
}
memory_is_private();

# ---- key files ----

refuses([$plain], qr/--key-file/, 'no key file');
refuses([ '--key-file', "$folder/none", $plain ], qr/cannot be opened: No such file/, 'a key file that is not there');
refuses([ '--key-file', $folder, $plain ], qr/neither a file nor a pipe/, 'a folder for a key file');
for my $mode (0640, 0604, 0610, 0660)
{
    refuses([ '--key-file', file('open.key', "$first_key\n", $mode), $plain ], qr/may be used by its group or by others/, sprintf('a key file of mode %04o', $mode));
}
refuses([ '--key-file', file('empty.key', "# nothing\n\n", 0600), $plain ], qr/there is no key/, 'a key file without a key');
refuses([ '--key-file', file('bad.key', "secret words\n", 0600), $plain ], qr/line 1 .* is no Fernet key(?!.*secret words)/s, 'a key file with other text');
refuses([ '--key-file', file('long.key', "#\n" x 40_000, 0600), $plain ], qr/too long/, 'a key file that is too long');
recovers([ '--key-file', file('ring.key', "# of this year\n$second_key\n\n# before\n$first_key  \r\n", 0400), $plain ],
    texts_wanted($any), 'with a ring of several keys, comments and blank lines');
recovers([ '--key-file', file('second.key', $second_key, 0600), '--key-file', file('first.key', $first_key, 0600), $plain ],
    texts_wanted($any), 'with several key files');
($status, $out, $err) = recover([ '--key-file', file('mixed.key', "no key\n$first_key\n", 0600), $plain ]);
is($status, 0, 'a line that is no key hides no other');
like($err, qr/line 1 .* is left out/, '... and is said');
IPC::Run::run([ 'bash', '-c', "'$program' --key-file <(cat '$keys') '$plain'" ], '>', \$out, '2>', \$err);
is_all(texts_of($out), texts_wanted($any), 'the key may come from a command');
is($err, '', '... without a word');

($status, $out, $err) = recover([ '--key-file', "$folder/second.key", '-o', "$folder/empty", $plain ]);
is("$status $out", '1 ', 'a wrong key opens nothing');
like($err, qr/data key \d+ is under the master key with the id ${\ key_id($first_key)}; the key file has ${\ key_id($second_key)}/, '... it is said which one is needed');
like($err, qr/"key" of service "scopes", node alpha, company acme, version 1, is not recovered: no key opens its data key/, '... and for what');
ok(!-e "$folder/empty", '... and no empty file is left');
says_nothing_secret($err, 'a wrong key is said');

# ---- dumps that cannot be read ----

refuses([ '--key-file', $keys, dump_of('inserts.sql', 'plain', '--inserts') ], qr/without --inserts/, 'a dump with --inserts');
refuses([ '--key-file', $keys, dump_of('columns.sql', 'plain', '--column-inserts') ], qr/without --inserts/, 'one with --column-inserts');
refuses([ '--key-file', $keys, dump_of('schema.sql', 'plain', '--schema-only') ], qr/--schema-only/, 'one without data');
refuses([ '--key-file', $keys, dump_of('table.sql', 'plain', '--table=public.lookalike') ], qr/no rows of aurora's secrets/, 'one of another table');
command_ok([ 'pg_dump', '--file', "$folder/other.sql", '--dbname', $lead->connstr('template1') ], 'another database is dumped');
refuses([ '--key-file', $keys, "$folder/other.sql" ], qr/no rows of aurora's secrets/, 'that of another database');
refuses([ '--key-file', $keys, file('half.sql', join("\n", grep { !/^COPY aurora.secret_data_key/ } @blocks)) ], qr/lacks rows of .*aurora.secret_data_key/,
    'one without the data keys');
refuses([ '--key-file', $keys, file('words.txt', "These are only words.\n") ], qr/no dump/, 'a text');
refuses([ '--key-file', $keys, file('nothing.sql', '') ], qr/it is empty/, 'an empty file');
refuses([ '--key-file', $keys, "$folder/none.sql" ], qr/No such file/, 'one that is not there');
refuses([ '--key-file', $keys, $plain, $plain ], qr/one backup only/, 'two at once');
refuses([ '--key-file', $keys, '--format', 'xml', $plain ], qr/only json and env/, 'another format');
refuses([ '--key-file', $keys, '--format', 'env', '--all-versions', $plain ], qr/--all-versions/, 'variables of all versions');
refuses([ '--key-file', $keys, '--wrong', $plain ], qr/--help/, 'an unknown option');
IPC::Run::run([ 'gzip', '-c', $plain ], '>', "$folder/plain.sql.gz");
refuses([ '--key-file', $keys, "$folder/plain.sql.gz" ], qr/gunzip -c/, 'a dump that is compressed');

my ($until_token) = $plain_text =~ /^(.*\n\d+\t11\t[^\n]*gAAAA[^\n]{20})/s;
($status, $out, $err) = recover([ '--key-file', $keys, '-a', file('cut.sql', $until_token) ]);
is($status, 1, 'a dump that is cut off is a problem');
like($err, qr/cut off within the rows of aurora.secret_version/, '... it is said where');
my %all = map { $_ => 1 } @{ texts_wanted($any, 1) };
my $cut = texts_of($out);
is_all([ grep { $all{$_} } @$cut ], $cut, '... and what is before that comes');
cmp_ok(scalar(@$cut), '>', 20, '... much of it');

# ---- tokens that are broken ----

# With a token of that secret changed, all others come, and it is said which one does not.
sub hides_nothing
{
    my ($change, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $expected = texts_wanted(sub { $_[0]->{key_name} ne 'key 7' });
    my $before = sql("SELECT v.token FROM aurora.secret_version v JOIN aurora.secret s USING (secret_id) WHERE s.key_name = 'key 7'");

    sql("UPDATE aurora.secret_version v SET token = $change FROM aurora.secret s WHERE s.secret_id = v.secret_id AND s.key_name = 'key 7'");
    my ($status, $out, $err) = recover([ '--key-file', $keys, dump_of('broken.sql', 'plain') ]);
    is($status, 1, "$name is a problem");
    is_all(texts_of($out), $expected, '... all others come');
    like($err, qr/^aurora-secrets-recover: "key 7" of service "many", company zeta, version 1, is not recovered: .*\n.* 1 problems.*\n\z/, '... and it is said by its name');
    says_nothing_secret($err, '...');
    sql("UPDATE aurora.secret_version v SET token = '$before' FROM aurora.secret s WHERE s.secret_id = v.secret_id AND s.key_name = 'key 7'");
    return;
}

hides_nothing("overlay(v.token PLACING CASE substr(v.token, 60, 1) WHEN 'x' THEN 'y' ELSE 'x' END FROM 60)", 'a changed token');
hides_nothing("left(v.token, 80)", 'a token that is cut off');
hides_nothing("''", 'an empty token');
hides_nothing("E'no token\\t\\\\N\\n\\\\.\\n'", 'other text for a token');
hides_nothing("(SELECT o.token FROM aurora.secret_version o JOIN aurora.secret p USING (secret_id) WHERE p.key_name = 'key 8')", 'the token of a secret under another key');

sql("CREATE TABLE public.kept AS SELECT key_no, wrapped FROM aurora.secret_data_key;
     UPDATE aurora.secret_data_key k SET wrapped = overlay(wrapped PLACING 'xxxx' FROM 60) FROM aurora.company c WHERE c.company_id = k.company_id AND c.name = 'zeta'");
($status, $out, $err) = recover([ '--key-file', $keys, dump_of('broken_key.sql', 'plain') ]);
is($status, 1, 'a broken data key is a problem');
is_all(texts_of($out), texts_wanted(sub { ($_[0]->{company} // '') ne 'zeta' }), '... what is under the others comes');
like($err, qr/data key \d+ is corrupted: its master key, ${\ key_id($first_key)}, does not open it/, '... and it is said');
sql('UPDATE aurora.secret_data_key k SET wrapped = o.wrapped FROM public.kept o WHERE o.key_no = k.key_no; DROP TABLE public.kept');

# ---- exports ----

my $exported = join('', map { sql("SELECT aurora.export_secrets('*', $_)") . "\n" } 'NULL', map { "'$_'" } 'acme', 'zeta');
$exported .= sql("SELECT jsonb_pretty(aurora.export_secrets('*', name)) FROM aurora.company WHERE name LIKE 'tab%'") . "\n";
my $expected = texts_wanted(sub { $_[0]->{state} eq 'active' });
recovers([ '--key-file', $keys, file('export.json', $exported) ], $expected, 'from encrypted exports');
recovers([ '--key-file', $keys ], $expected, 'from exports on standard input', input => $exported);
($status, $out, $err) = recover([ '--list', "$folder/export.json" ]);
is(scalar(split(/\n/, $out)), scalar(@$expected), 'names in an export are listed without a key');
($status, $out, $err) = recover([ '--key-file', "$folder/second.key", "$folder/export.json" ]);
is("$status $out", '1 ', 'a wrong key opens nothing of it');
file('plain.json', sql("SELECT aurora.export_secrets('*', NULL, true)"));
refuses([ '--key-file', $keys, "$folder/plain.json" ], qr/no encrypted export/, 'an export in plain text');
refuses([ '--key-file', $keys, file('cut.json', substr($exported, 0, 3000)) ], qr/no valid JSON/, 'an export that is cut off');

# ---- several databases ----

$lead->safe_psql('postgres', "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
$lead->safe_psql('latin', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
my $latin = put('other', 'key', "gr\xfc\xdfe", database => 'latin');
$latin->{value} = encode('UTF-8', "gr\x{fc}\x{df}e");
command_ok([ 'pg_dumpall', '--file', "$folder/all.sql", '--dbname', $lead->connstr('postgres') ], 'all databases are dumped');
refuses([ '--key-file', $keys, "$folder/all.sql" ], qr/several databases .*"filled" and "latin": choose one with --database/, 'not to choose between databases');
refuses([ '--key-file', $keys, '--database', 'postgres2', "$folder/all.sql" ], qr/no secrets of a database/, 'a database that is not there');
($status, $out, $err) = recover([ '--key-file', $keys, '--database', 'filled', "$folder/all.sql" ]);
is_all(texts_of($out), texts_wanted($any), 'from a dump of all databases, one comes');
($status, $out, $err) = recover([ '--key-file', $keys, '--database', 'latin', "$folder/all.sql" ]);
is_all(texts_of($out), [ text_of($latin) ], '... or the other, whose values are in UTF-8 too');
like($err, qr/not in UTF-8: names may come out wrong/, '... and names may not be');

# ---- after a change of the master key ----

write_keys('alpha', $second_key, $first_key);
$lead->reload;
ok($lead->poll_query_until($database, 'SELECT key_id FROM aurora.secret_key_ring() WHERE position = 1', key_id($second_key)), 'a new key comes first in the ring');
cmp_ok(sql('SELECT aurora.rotate_secrets_key()'), '>', 50, 'the key is changed');
my $half = sql('SELECT aurora.rotate_secrets_batch(30)');
my $half_way = dump_of('half_way.sql', 'plain');
recovers([ '--key-file', key_file('alpha'), $half_way ], texts_wanted($any), 'half-way, with both keys');
($status, $out, $err) = recover([ '--key-file', "$folder/second.key", $half_way ]);
is($status, 1, 'half-way, one key is not enough');
my $with_second = @{ texts_of($out) };
($status, $out, $err) = recover([ '--key-file', "$folder/first.key", $half_way ]);
is(@{ texts_of($out) } + $with_second, @{ texts_wanted($any) }, '... what one opens the other does not');
sql('SELECT aurora.rotate_secrets_batch(1000)') for 1 .. 3;
is(sql('SELECT count(*) FROM aurora.secret_data_key WHERE master_key_id <> ' . "'" . key_id($second_key) . "'"), 0, 'when it is done no value is under the old key');
my $after = dump_of('after.sql', 'plain');
recovers([ '--key-file', "$folder/second.key", '-a', $after ], texts_wanted($any, 1), 'afterwards the new key alone opens all');
($status, $out, $err) = recover([ '--key-file', "$folder/first.key", $after ]);
is("$status $out", '1 ', 'the old one opens nothing any more');
recovers([ '--key-file', "$folder/first.key", $plain ], texts_wanted($any), 'but still the dump from before');

# ---- without a server ----

$lead->stop;
recovers([ '--key-file', "$folder/second.key", '-a', $after ], texts_wanted($any, 1), 'no server is needed');

done_testing();
