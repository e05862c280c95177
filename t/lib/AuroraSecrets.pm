# Nodes that keep secrets: their keys and audit folders, outside the data, and a reading of the audit's
# files that shares no code with the server.
#
# A "ring" is the file of a node's keys. "Readers" and "writers" are sessions that read and change the
# same secrets at the same time: each change is a "step" with a number, and what is to be read after a
# step follows from that number alone.
package AuroraSecrets;

use strict;
use warnings;

use AuroraCluster;
use AuroraNodes;
use Digest::SHA qw(sha256 hmac_sha256_hex);
use Exporter 'import';
use IPC::Run ();
use JSON::PP;
use MIME::Base64 qw(encode_base64 decode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  fernet_key key_id key_file write_keys reload_keys secret_settings new_secret_lead new_secret_standby
  as_role is_refused session session_reads
  audit_folder audit_files follow_audit audit_records audit_holds audit_has
  install_readers start_readers finish_readers start_writer finish_writer steps_of stop_writers let_write
);

my $folder;

# ---- keys ----

# A new key, as text: 32 random bytes in base64url.
sub fernet_key
{
    my $key;

    open(my $random, '<:raw', '/dev/urandom') or die "/dev/urandom: $!";
    read($random, $key, 32) == 32 or die '/dev/urandom is too short';
    close($random);
    return encode_base64($key, '') =~ tr{+/}{-_}r;
}

# What the server calls that key.
sub key_id
{
    my ($key) = @_;
    my $bytes = decode_base64($key =~ tr{-_}{+/}r);

    return substr(hmac_sha256_hex('aurora secrets key id', substr($bytes, 0, 16)), 0, 16);
}

sub own_folder
{
    $folder //= PostgreSQL::Test::Utils::tempdir();
    return $folder;
}

sub key_file
{
    my ($name) = @_;

    return own_folder() . "/$name.keys";
}

# Gives a node these lines as its ring; it reads them when it starts, or reloads.
sub write_keys
{
    my ($name, @lines) = @_;
    my $file = key_file($name);

    unlink("$file.new");
    append_to_file("$file.new", '');
    chmod(0600, "$file.new") or die "$file: $!";
    append_to_file("$file.new", join('', map { "$_\n" } @lines));
    rename("$file.new", $file) or die "$file: $!";
    return $file;
}

# Gives a running node these keys, and waits until sessions of it have them.
sub reload_keys
{
    my ($node, @keys) = @_;
    my $ids = join(',', map { key_id($_) } @keys);

    write_keys($node->name, @keys);
    $node->reload;
    return $node->poll_query_until('postgres', "SELECT string_agg(key_id, ',' ORDER BY position) FROM aurora.secret_key_ring()", $ids)
      || die 'the ring of ' . $node->name . ' is not read again';
}

# ---- nodes ----

sub secret_settings
{
    my ($name) = @_;

    return (
        'aurora.secrets_key_file' => "'" . key_file($name) . "'",
        'aurora.secret_audit_directory' => "'" . audit_folder($name) . "'",
        'aurora.secret_audit_size_limit' => "'4GB'", # readers in a loop are faster than what ships their records
        max_prepared_transactions => 20,
        restart_after_crash => 'on');
}

sub new_secret_lead
{
    my ($name, $keys, %conf) = @_;

    write_keys($name, @$keys);
    return new_node_lead($name, secret_settings($name), %conf);
}

sub new_secret_standby
{
    my ($lead, $name, $keys, %conf) = @_;

    write_keys($name, @$keys);
    return new_node_standby($lead, $name, secret_settings($name), %conf);
}

# ---- sessions ----

# As try_sql(), but logged in as that role.
sub as_role
{
    my ($node, $role, $sql) = @_;
    my ($out, $err) = ('', '');

    $node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 1,
        extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
    return ($out, $err);
}

# The call fails with that SQLSTATE and such a message, and gives nothing.
sub is_refused
{
    my ($node, $sql, $state, $message, $name, %option) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($out, $err) = $option{role} ? as_role($node, $option{role}, $sql) : try_sql($node, $sql);
    my $found = sql_state($err) . ($out eq '' ? '' : " with output \"$out\"");

    ok($found =~ /^(?:$state)$/ && $err =~ $message, $name)
      || diag("expected $state like $message, got $found: $err");
    return $err;
}

# A session that lasts.
sub session
{
    my ($node) = @_;
    my $session = $node->background_psql('postgres', on_error_stop => 0);

    $session->set_query_timer_restart;
    return $session;
}

# What a session reads: the value, or the SQLSTATE.
sub session_reads
{
    my ($session, $arguments) = @_;
    my $value = $session->query("\\set VERBOSITY sqlstate\nSELECT aurora.secret($arguments)");
    my $error = $session->{stderr};

    $session->{stderr} = '';
    return $error =~ /ERROR:  (\w{5})/ ? $1 : $value;
}

# ---- the audit's files ----

sub audit_folder
{
    my ($name) = @_;

    return own_folder() . "/$name.audit";
}

# In the order in which they were written.
sub audit_files
{
    my ($name) = @_;

    return sort(glob(audit_folder($name) . "/$name.*.audit"));
}

# Reads all that a node has written: the records, each with its chain and file, and what is wrong with
# them, or ''. Within a chain numbers have no gap, and each hash covers the one before and the line.
sub follow_audit
{
    my ($name) = @_;
    my (@records, %last);
    my $json = JSON::PP->new->utf8;
    my $problem = '';

    for my $file (audit_files($name))
    {
        my $text = eval { slurp_file($file) };

        # Old files go, oldest first: one that has gone since they were listed makes it another list.
        return follow_audit($name) if !defined $text && !-e $file;
        my $torn = $text =~ s/(?<=\n)[^\n]+\z//;
        my ($first, @lines) = split(/\n/, $text);
        my $head = eval { $json->decode($first // '') };

        if (!$head)
        {
            $problem ||= "$file has no head" if length($text) > 0;
            next;
        }
        $last{ $head->{chain} } //= [ $head->{first_seq} - 1, $head->{previous} ];
        $problem ||= "$file does not go on after the one before"
          if "@{ $last{$head->{chain}} }" ne ($head->{first_seq} - 1) . " $head->{previous}";
        $problem ||= "$file has the wrong name"
          if $file !~ /\/\Q$head->{node}\E\.0*$head->{generation}\.audit$/ || $head->{node} ne $name;
        $problem ||= "chain $head->{chain} does not begin with zeros"
          if $head->{first_seq} == 1 && $head->{previous} ne '0' x 64;
        for my $line (@lines)
        {
            my ($body, $hash) = $line =~ /^(.*),"hash":"([0-9a-f]{64})"\}$/;
            my ($seq, $previous) = @{ $last{ $head->{chain} } };
            my $record = defined $body && eval { $json->decode($line) };

            if (!$record || $record->{seq} != $seq + 1 || sha256(pack('H64', $previous), $body) ne pack('H64', $hash))
            {
                $problem ||= "$file: record " . ($seq + 1) . ' does not hold';
                last;
            }
            $last{ $head->{chain} } = [ $record->{seq}, $hash ];
            push(@records, { %$record, chain => $head->{chain}, file => $file });
        }
        $problem ||= "$file ends within a line" if $torn && $file eq (audit_files($name))[-1];
    }
    return (\@records, $problem);
}

# The records that have these fields.
sub audit_records
{
    my ($name, %field) = @_;
    my ($records) = follow_audit($name);

    return grep {
        my $record = $_;
        !grep { ($record->{$_} // '') ne $field{$_} } keys %field
    } @$records;
}

sub audit_holds
{
    my ($name, $sentence) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($records, $problem) = follow_audit($name);

    is($problem, '', $sentence);
    return scalar(@$records);
}

# There are so many records with these fields.
sub audit_has
{
    my ($name, $count, $field, $sentence) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return is(scalar(audit_records($name, %$field)), $count, $sentence);
}

# ---- readers and writers ----

# Sequences tell every session at once, whatever its snapshot, and standbys in the order of the
# write-ahead log: "ceiling" is noted before a change is made, "floor" after it is committed.
my $probes = <<'SQL';
CREATE SCHEMA probe;
CREATE TABLE probe.control (stop boolean NOT NULL);
INSERT INTO probe.control VALUES (false);

CREATE FUNCTION probe.expected(step bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce((step - (ARRAY[0, 0, 1, 1, 3, 0, 0, 0, NULL, 7, 0, 9])[1 + step % 12])::text, 'none')
$$;

CREATE FUNCTION probe.check(key text, floor bigint, seen text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ceiling bigint := pg_sequence_last_value(('probe.ceiling_' || key)::regclass);
BEGIN
    FOR step IN floor .. ceiling LOOP
        IF probe.expected(step) = seen THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE 'stale: % is "%" between step % ("%") and step % ("%")', key, seen, floor, probe.expected(floor),
          ceiling, probe.expected(ceiling);
END
$$;

CREATE FUNCTION probe.reads(key text, wanted int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    noted regclass := 'probe.floor_' || key;
    floor bigint;
    seen text;
    done int := 0;
BEGIN
    WHILE done < wanted LOOP
        BEGIN
            WHILE done < wanted LOOP
                floor := pg_sequence_last_value(noted);
                seen := aurora.secret('stale', key, 'acme');
                done := done + 1;
                IF seen <> floor::text THEN
                    PERFORM probe.check(key, floor, seen);
                END IF;
            END LOOP;
        EXCEPTION WHEN undefined_object THEN
            done := done + 1;
            PERFORM probe.check(key, floor, 'none');
        END;
    END LOOP;
END
$$;

CREATE FUNCTION probe.own(key text, value text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    seen text := aurora.secret('own', key);
BEGIN
    IF seen <> value THEN
        RAISE 'stale: % is "%", and not "%"', key, seen, value;
    END IF;
END
$$;
SQL

# What makes each of the twelve steps; %k is the key, :s the number of the step. After them come, in
# order: global, company, company, global, company, node, company, company, nothing, global, company, global.
my $put = "SELECT aurora.put_secret('stale', '%k', :'s'";
my $put_never = "SELECT aurora.put_secret('stale', '%k', 'never'";
my @step = (
    "$put);",
    "BEGIN; $put_never, company => 'acme'); ROLLBACK; $put, company => 'acme');",
    "$put);",
    "BEGIN; SAVEPOINT a; $put_never, company => 'acme'); ROLLBACK TO a;
     SELECT aurora.delete_secret('stale', '%k', company => 'acme'); COMMIT;",
    "BEGIN; SELECT aurora.delete_secret('stale', '%k'); ROLLBACK;
     SELECT aurora.undelete_secret('stale', '%k', company => 'acme');",
    "BEGIN; $put, node => 'alpha'); $put, node => 'beta'); PREPARE TRANSACTION '%k';\n\\c\nCOMMIT PREPARED '%k';",
    "BEGIN; $put_never, node => 'alpha'); PREPARE TRANSACTION '%k';\n\\c\nROLLBACK PREPARED '%k';
     BEGIN; SAVEPOINT a; $put, company => 'acme'); RELEASE a; SELECT aurora.delete_secret('stale', '%k', 'alpha');
     SELECT aurora.delete_secret('stale', '%k', 'beta'); COMMIT;",
    "SET session_replication_role = replica; $put, company => 'acme'); RESET session_replication_role;",
    "BEGIN; SELECT aurora.delete_secret('stale', '%k', company => 'acme'); SELECT aurora.delete_secret('stale', '%k'); COMMIT;",
    "SELECT aurora.undelete_secret('stale', '%k');",
    "BEGIN; SELECT aurora.destroy_secret('stale', '%k', company => 'acme'); $put, company => 'acme'); COMMIT;",
    "SELECT aurora.destroy_secret('stale', '%k', company => 'acme');");

# What another session does meanwhile that changes nothing for readers.
my $noise = <<'SQL';
BEGIN; TRUNCATE aurora.secret CASCADE; ROLLBACK;
BEGIN; DELETE FROM aurora.secret WHERE service = 'stale' AND key_name = 'k2' AND company_id IS NULL; ROLLBACK;
SELECT aurora.add_company('passing') \gset
SELECT aurora.put_secret('stale', 'k1', 'never', company => 'passing');
BEGIN; SELECT aurora.put_secret('stale', 'k1', 'never', company => 'acme'); ROLLBACK;
DELETE FROM aurora.company WHERE name = 'passing';
SELECT pg_sleep(0.2);
SQL

# Keys for so many writers, each at its step 12.
sub install_readers
{
    my ($lead, $keys) = @_;

    $lead->safe_psql('postgres', $probes);
    for my $key (map { "k$_" } 1 .. $keys)
    {
        $lead->safe_psql('postgres', "CREATE SEQUENCE probe.$_\_$key; SELECT setval('probe.$_\_$key', 12)") for qw(ceiling floor);
        $lead->safe_psql('postgres', "SELECT aurora.put_secret('stale', '$key', '12')");
    }
    return;
}

my %reader = (
    plain => "\\set k random(1, %keys)\nSELECT probe.reads('k' || :k, 1000);\n",
    repeatable => <<'SQL',
\set k random(1, %keys)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM probe.control;
SELECT probe.reads('k' || :k, 800);
COMMIT;
SELECT probe.reads('k' || :k, 200);
SQL
    wrote => <<'SQL');
\set k random(1, %keys)
SELECT aurora.put_secret('own', 'of ' || :client_id, 'before ' || :k);
BEGIN;
SELECT aurora.put_secret('own', 'of ' || :client_id, 'first');
SELECT probe.own('of ' || :client_id, 'first'), probe.reads('k' || :k, 300);
SAVEPOINT a;
SELECT aurora.delete_secret('own', 'of ' || :client_id);
SELECT aurora.put_secret('own', 'of ' || :client_id, 'second');
SELECT probe.own('of ' || :client_id, 'second'), probe.reads('k' || :k, 300);
ROLLBACK TO a;
SELECT probe.own('of ' || :client_id, 'first'), probe.reads('k' || :k, 200);
ROLLBACK;
SELECT probe.own('of ' || :client_id, 'before ' || :k), probe.reads('k' || :k, 200);
SQL

# Starts sessions that read, a thousand reads in each of so many transactions of each.
sub start_readers
{
    my ($node, %option) = @_;
    my $directory = PostgreSQL::Test::Utils::tempdir();
    my $readers = { output => '' };
    my @scripts;

    for my $kind (@{ $option{kinds} })
    {
        append_to_file("$directory/$kind.sql", ($reader{$kind} =~ s/%keys/$option{keys}/gr) . "\\set pause random(0, 200)\n\\sleep :pause ms\n");
        push(@scripts, '-f', "$directory/$kind.sql\@1");
    }
    $readers->{run} = IPC::Run::start(
        [   'pgbench', '-n', '--max-tries=100', '-c', $option{clients}, '-t', $option{transactions}, @scripts,
            $node->connstr('postgres') ],
        '<', \'', '>', \$readers->{output}, '2>&1');
    return $readers;
}

# Waits for them; returns how many reads there were, and what was wrong.
sub finish_readers
{
    my ($readers) = @_;

    $readers->{run}->finish;
    my ($transactions) = $readers->{output} =~ /actually processed: (\d+)/;
    my $trouble = join('', $readers->{output} =~ /^(.*(?:ERROR|FATAL|error:|aborted).*\n)/mg);

    return (1000 * ($transactions // 0), $trouble);
}

# Starts a session that makes steps with a key, or noise, until stop_writers().
sub start_writer
{
    my ($node, $key) = @_;
    my $directory = PostgreSQL::Test::Utils::tempdir();
    my $turn = $key eq 'noise' ? $noise : "SELECT last_value AS s FROM probe.ceiling_$key \\gset\n";
    # Its messages go to a file: a pipe that nobody empties would stop it in the middle of a transaction.
    my $writer = { messages => "$directory/messages", name => $key };

    for my $step (1 .. ($key eq 'noise' ? 0 : 12))
    {
        my $change = $step[$step % 12] =~ s/%k/$key/gr;

        $turn .= "SELECT :s + 1 AS s \\gset\nSELECT setval('probe.ceiling_$key', :s);\n$change\nSELECT setval('probe.floor_$key', :s);\n";
    }
    append_to_file("$directory/turn.sql", $turn);
    append_to_file("$directory/all.sql",
        "SELECT stop FROM probe.control \\gset\n\\if :stop\n\\q\n\\endif\n\\i $directory/turn.sql\n" x 20000);
    $writer->{run} = IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-o', '/dev/null', '-d', $node->connstr('postgres'),
            '-f', "$directory/all.sql" ],
        '<', \'', '>', '/dev/null', '2>', $writer->{messages});
    return $writer;
}

sub stop_writers
{
    my ($node) = @_;

    $node->safe_psql('postgres', 'UPDATE probe.control SET stop = true');
    return;
}

sub let_write
{
    my ($node) = @_;

    $node->safe_psql('postgres', 'UPDATE probe.control SET stop = false');
    return;
}

# Waits for a writer to end; returns what was wrong.
sub finish_writer
{
    my ($writer) = @_;

    $writer->{run}->finish;
    return join('', map { "$writer->{name}: $_\n" } grep { /ERROR|FATAL|error:/ } split(/\n/, slurp_file($writer->{messages})));
}

# SQL for how many steps have been made with so many keys.
sub steps_of
{
    my ($keys) = @_;

    return join(' + ', map { "(SELECT last_value - 12 FROM probe.floor_k$_)" } 1 .. $keys);
}

1;
