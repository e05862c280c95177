# Model servers that do wrong what can be done wrong: each fault has the end that it should have, and
# with faults among a thousand jobs on three workers all of them are done.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGpuWorker;
use AuroraNodes;
use Encode qw(decode);
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => programs_are_missing()) if programs_are_missing();

my $lead = new_node_lead('alpha', 'max_connections' => 60);
register_node($lead, $_) for qw(beta gamma);
my $server = start_server('server', '--slots', '8');
my %backend = (
    url => "http://127.0.0.1:$server->{port}", probe_interval => '300ms', connect_timeout => '1s',
    first_token_timeout => '1500ms', token_timeout => '1500ms', job_timeout => '5min');
my $worker = start_worker($lead, 'alpha', 'backend local' => \%backend);

comes($lead, "SELECT bool_or(models @> ARRAY['test']) FROM aurora.devices WHERE state = 'ready'", 'the device is ready');
job_is($lead, generate($lead, 'test', 'first'), 'done', 'a first job makes the queue');
$lead->safe_psql('postgres', "SELECT aurora.set_queue('gpu', retry_delay => '50ms', retry_delay_max => '100ms')");

# A job with a fault ends like that, with such an error, after so many attempts.
sub ends_as
{
    my ($fault, $state, $error, $attempts, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $job = generate($lead, "test-$fault", 'Some words', max_tokens => 12);

    job_is($lead, $job, $state, "$fault: $name");
    my ($found, $tries) = split(/\|/, $lead->safe_psql('postgres', "SELECT coalesce(replace(error, '|', ' '), ''), attempt FROM aurora.jobs WHERE job_id = $job"));
    like($found, $error, "$fault: ... for that reason");
    is($tries, $attempts, "$fault: ... after $attempts attempts");
    return $job;
}

my $uncut = uncut_text($server, 'Some words', 12);

for my $fault (qw(cut end error garbage))
{
    my $tokens = $fault eq 'cut' || $fault eq 'end' ? 4 : 3;
    my $attempts = $tokens == 4 ? 3 : 4;
    my $job = generate($lead, "test-$fault", 'Some words', max_tokens => 12);

    job_is($lead, $job, 'done', "$fault: the job is done, piece by piece");
    is(text_of($lead, $job), $uncut, "$fault: its text is whole, and nothing is in it twice");
    cmp_ok($lead->safe_psql('postgres', "SELECT attempt FROM aurora.jobs WHERE job_id = $job"), '>=', $attempts, "$fault: it took some attempts");
}
ends_as('500', 'dead', qr/HTTP status 500: something broke/, 5, 'tried again, up to the last attempt');
ends_as('400', 'dead', qr/HTTP status 400: that is no request/, 1, 'not tried again');
ends_as('quota', 'dead', qr/HTTP status 429: the quota is used up/, 1, 'not tried again');
ends_as('404', 'dead', qr/HTTP status 404/, 5, 'tried again, maybe on another node');
is(text_of($lead, ends_as('slow', 'done', qr/^$/, 1, 'takes its time')), $uncut, 'slow: its text is whole');
is(text_of($lead, ends_as('split', 'done', qr/^$/, 1, 'characters that are cut are whole again')), $uncut, 'split: its text is whole');
like(decode('UTF-8', text_of($lead, ends_as('utf8', 'done', qr/^$/, 1, 'bytes that are no text'))), qr/\x{fffd}/, 'utf8: ... are replaced');
like(decode('UTF-8', text_of($lead, ends_as('nul', 'done', qr/^$/, 1, 'NUL'))), qr/\x{fffd}/, 'nul: ... is replaced');

my $busy = generate($lead, 'test-429', 'x');
comes($lead, "SELECT state = 'scheduled' AND ready_at > started_at + interval '900 ms' FROM aurora.jobs WHERE job_id = $busy", '429: tried again when the server says');
$lead->safe_psql('postgres', "SELECT aurora.cancel_job($busy)");
my $loading = generate($lead, 'test-503', 'x');
comes($lead, "SELECT error LIKE '%Loading model%' FROM aurora.jobs WHERE job_id = $loading", '503: the server loads its model');
$lead->safe_psql('postgres', "SELECT aurora.cancel_job($loading)");

my %hanging = ('hang-head' => qr/no token came within first_token_timeout/, hang => qr/next token did not come/, drip => qr/no token came|next token did not come/);
my %job = map { $_ => generate($lead, "test-$_", 'x') } sort keys %hanging;
for my $fault (sort keys %hanging)
{
    comes($lead, "SELECT error IS NOT NULL FROM aurora.jobs WHERE job_id = $job{$fault}", "$fault: the worker does not wait for ever");
    like($lead->safe_psql('postgres', "SELECT error FROM aurora.jobs WHERE job_id = $job{$fault}"), $hanging{$fault}, "$fault: ... and says why");
    $lead->safe_psql('postgres', "SELECT aurora.cancel_job($job{$fault})");
}

# ---- a server that is away, or loads its model ----

comes($lead, 'SELECT sum(busy) = 0 FROM aurora.devices', 'nothing runs');
signal_worker($server, 'USR1');
comes($lead, "SELECT state = 'loading' AND problem LIKE '%oading%' FROM aurora.devices WHERE node = 'alpha'", 'a server that loads its model is shown so');
signal_worker($server, 'USR1');
comes($lead, "SELECT state = 'ready' FROM aurora.devices WHERE node = 'alpha'", '... until it has');
my $port = $server->{port};
stop_server($server);
comes($lead, "SELECT state = 'down' FROM aurora.devices WHERE node = 'alpha'", 'a server that is gone is shown so');
my $waits = generate($lead, 'test', 'Some words', max_tokens => 12);
time_passes($lead, 2);
is(job_state($lead, $waits), 'waiting', 'nothing is taken for it');
$server = start_server('server_again', '--slots', '8', '--port', $port);
text_comes($lead, $server, $waits, 'Some words', 12, 'when it is back');

# ---- text that comes faster than the database takes it ----

my $endless = generate($lead, 'test-long', 'on and on', max_tokens => 10_000_000);
comes($lead, "SELECT count(*) > 0 FROM aurora.job_output($endless)", 'text without end comes');
my $session = $lead->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE aurora.generation_output IN ACCESS EXCLUSIVE MODE');

# The clock ticks that a process has worked.
sub ticks_of
{
    my ($pid) = @_;
    my @fields = split(/ /, slurp_file("/proc/$pid/stat") =~ s/.*\) //sr);

    return $fields[11] + $fields[12];
}

ok(wait_until(sub { my $before = ticks_of($worker->{pid}); time_passes($lead, 1); return ticks_of($worker->{pid}) - $before <= 5 }),
    'while the text cannot be stored, the worker stops to read');
my ($memory) = slurp_file("/proc/$worker->{pid}/status") =~ /VmRSS:\s+(\d+) kB/;
cmp_ok($memory, '<', 200_000, "... and keeps little in memory ($memory kB)");
$session->query_safe('COMMIT');
$session->quit;
goes_on($lead, "SELECT max(token_no) FROM aurora.job_output($endless)", 1, 'the text goes on');
$lead->safe_psql('postgres', "SELECT aurora.cancel_job($endless)");
job_is($lead, $endless, 'cancelled', 'it can be cancelled');
is(end_worker($worker), 0, 'the worker ends well');

# ---- a thousand jobs ----

my %servers = map { $_ => start_server("server_$_", '--slots', '4', '--fault-every', '7', '--delay', '1') } qw(alpha beta gamma);
my %workers = map { $_ => start_worker($lead, $_, name => "many_$_", 'backend local' => { %backend, url => "http://127.0.0.1:$servers{$_}{port}" }) } sort keys %servers;
my $many = 1000;

comes($lead, "SELECT count(*) = 3 FROM aurora.devices WHERE state = 'ready' AND models @> ARRAY['test']", 'three devices are ready');
$lead->safe_psql('postgres', "SELECT aurora.set_queue('gpu', max_attempts => 50)");
my $first = $lead->safe_psql('postgres', "SELECT min(aurora.generate('test', 'job ' || i, max_tokens => 10)) FROM generate_series(1, $many) i");
comes($lead, "SELECT count(DISTINCT split_part(taker, '/', 1)) = 3 FROM aurora.jobs WHERE job_id >= $first AND state = 'done'", 'three workers do them');
kill_worker($workers{beta});
$workers{beta} = start_worker($lead, 'beta', name => 'many_beta_again', 'backend local' => { %backend, url => "http://127.0.0.1:$servers{beta}{port}" });
ok($lead->poll_query_until('postgres', "SELECT count(*) = $many FROM aurora.jobs WHERE job_id >= $first AND state NOT IN ('waiting', 'running', 'scheduled')"),
    "$many jobs with faults among them have ended");
is_sql($lead, "SELECT state, count(*) FROM aurora.jobs WHERE job_id >= $first GROUP BY 1", "done|$many", 'all of them are done');
cmp_ok($lead->safe_psql('postgres', "SELECT count(*) FROM aurora.jobs WHERE job_id >= $first AND attempt > 1"), '>', 50, '... many of them after a fault');
my @wrong;
for my $row (split(/\n/, $lead->safe_psql('postgres', "SELECT payload ->> 'prompt', translate(result ->> 'text', E'\\n', '~') FROM aurora.jobs WHERE job_id >= $first AND job_id % 10 = 0")))
{
    my ($prompt, $text) = split(/\|/, $row, 2);
    my $expected = uncut_text($server, $prompt, 10) =~ tr/\n/~/r;

    # Characters that a server has broken are in the text for good, and what follows from them.
    push(@wrong, "$prompt: \"$text\", not \"$expected\"") if $text ne $expected && $text !~ /\xef\xbf\xbd/;
}
is(join("\n", @wrong), '', 'their texts are whole, and nothing is in them twice');
is(end_worker($workers{$_}), 0, "the worker of $_ ends well") for sort keys %workers;
unlike(worker_log($workers{$_}), qr/Sanitizer|runtime error/, "... and its memory was in order ($_)") for sort keys %workers;

done_testing();
