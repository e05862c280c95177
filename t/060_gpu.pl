# The GPU mesh on a lead and a standby: text that streams is read on both, two takers of one device, what the lead does by
# itself, a crash in mid stream, a dump, and a promotion.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraJobs;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $lead = new_job_lead('lead');
my $standby = new_standby($lead, 'standby');

sub run
{
    my ($sql) = @_;

    return $lead->safe_psql('postgres', "SET client_min_messages = error; $sql");
}

# Both nodes report a device with three slots and the model "m".
sub report
{
    run("SELECT aurora.report_devices(jsonb_build_array(jsonb_build_object('index', d, 'name', 'A', 'kind', 'cuda', 'memory_total', 24000000000,
             'memory_free', 19000000000, 'slots', 3, 'models', '[{\"name\": \"m\", \"resident\": true, \"size\": 5000000000}]'::jsonb)), '$_') FROM (VALUES (0)) v(d)")
      for qw(alpha beta);
    return;
}

# Asks the model so often; returns the jobs' numbers.
sub ask
{
    my ($n, $more) = @_;

    return split(/\n/, run("SELECT aurora.generate('m', 'prompt ' || n, company => 'acme'" . ($more // '') . ") FROM generate_series(1, $n) n"));
}

run("SELECT aurora.add_company('acme'); SELECT name FROM unnest('{alpha,beta}'::text[]) n, aurora.register_node(n, 'compute')");
report();

# ---- reading on a standby ----

my ($first, $second) = ask(2);
is(run("SELECT job_id, class FROM aurora.take_generations(0, node => 'alpha')"), "$first|normal", 'a device takes a request');
run("SELECT * FROM aurora.append_outputs('{$first}', '{1}', '{0}', '{Hello}', '{2}')");
run("SELECT * FROM aurora.append_outputs('{$first}', '{1}', '{2}', '{\" world\"}', '{1}')");
catch_up($lead, $standby);
is_sql($standby, "SELECT token_no, text FROM aurora.job_output($first)", "2|Hello\n3| world", 'its text is read on the standby as it comes');
is_sql($standby, "SELECT token_no, text FROM aurora.job_output($first, 2)", '3| world', 'from where the reader has it');
is_same_on_both($lead, $standby, $_, "the same on both: $_")
  for ('SELECT node, index, name, state, live, models, resident, slots, busy, speeds, reported_at FROM aurora.devices',
    'SELECT node, device, state, live, slots, running, waiting FROM aurora.gpu_status', 'SELECT job_id, model, class, position, device, problem FROM aurora.gpu_queue',
    "SELECT job_id, model, chosen, reason FROM aurora.explain_claim(0, 'beta')");
is_sql($standby, 'SELECT job_id, position, eta > interval \'0\' FROM aurora.gpu_queue', "$second|1|t", 'the standby says when a request is expected to be done');
run("SELECT aurora.finish_generation($first, 1, '{\"finish_reason\": \"stop\", \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 3}}')");
catch_up($lead, $standby);
is_sql($standby, "SELECT token_no, text, finish_reason FROM aurora.job_output($first, 3)", '3||stop', 'and that it has ended');
is_sql($standby, "SELECT result ->> 'text' FROM aurora.jobs WHERE job_id = $first", 'Hello world', 'with all of its text');
for my $call ("generate('m', 'x')", "embed('m', '\"x\"')", "report_devices('[]')", "report_devices('[]', 'alpha')", "take_generations(0, node => 'alpha')",
    "append_outputs('{1}', '{1}', '{0}', '{x}', '{1}')", 'restart_output(1, 1)', "finish_generation(1, 1, '{\"finish_reason\": \"stop\"}')", 'expire_generations()',
    'rotate_generation_output()')
{
    my ($out, $err) = try_sql($standby, "SELECT aurora.$call");

    is(sql_state($err), '25006', "a standby refuses $call") or diag($err);
}

# ---- two takers of one device ----

my @jobs = (ask(11), $second);
my $taker = $lead->background_psql('postgres');
$taker->query_safe('BEGIN');
is($taker->query_safe("SELECT count(*) FROM aurora.take_generations(0, 2, node => 'alpha')"), 2, 'a taker takes two of three slots');
is(run("SELECT count(*) FROM aurora.take_generations(0, 3, node => 'alpha')"), 0, 'while it has not committed, another does not wait for it, and gets nothing');
is(run("SELECT count(*) FROM aurora.take_generations(0, 3, node => 'beta')"), 3, 'but another device does, and other jobs');
$taker->query_safe('ROLLBACK');
$taker->quit;
is(run("SELECT count(*) FROM aurora.take_generations(0, 2, node => 'alpha')"), 2, 'when it rolls back, they are there again');
my @racers = map {
    my %racer = (in => '', out => '', err => '');
    $racer{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $lead->connstr('postgres'), '-c', 'SELECT pg_sleep(0.2)', ('-c', "SELECT job_id FROM aurora.take_generations(0, 3, node => 'alpha')") x 5 ],
        '<', \$racer{in}, '>', \$racer{out}, '2>', \$racer{err});
    \%racer
} 1 .. 6;
$_->{run}->finish for @racers;
is(join('', map { $_->{err} } @racers), '', 'six sessions that take for a device at the same time meet no error');
is_sql($lead, "SELECT taker, count(*) FROM aurora.job WHERE state = 'running' GROUP BY taker ORDER BY taker", "alpha/0|3\nbeta/0|3", 'and fill its slots, no more');

# ---- what the lead does by itself ----

my ($waits) = ask(1, ", timeout => '300 ms'");
ok($lead->poll_query_until('postgres', "SELECT state = 'cancelled' AND error = 'its time-out has passed' FROM aurora.jobs WHERE job_id = $waits"), 'a request whose time-out passes is cancelled');
is_sql($lead, "SELECT finish_reason FROM aurora.job_output($waits)", 'cancelled', 'which ends its text');
my $runs = run("SELECT min(job_id) FROM aurora.job WHERE taker = 'alpha/0' AND state = 'running'");
run("UPDATE aurora.generation SET deadline = clock_timestamp() WHERE job_id = $runs");
ok($lead->poll_query_until('postgres', "SELECT state = 'cancelling' FROM aurora.append_outputs('{$runs}', '{1}', '{0}', '{\"\"}', '{0}')"), 'the node of one that runs is asked to stop');
is(run("SELECT aurora.fail_job($runs, 1, 'stopped')"), 'cancelled', 'and when it does, it is cancelled');

# ---- a crash in mid stream ----

my $streams = run("SELECT min(job_id) FROM aurora.job WHERE taker = 'beta/0' AND state = 'running'");
run("SELECT * FROM aurora.append_outputs('{$streams}', '{1}', '{0}', '{Once upon}', '{2}')");
kill_postmaster($lead);
$lead->start;
is_sql($lead, "SELECT text FROM aurora.job_output($streams)", 'Once upon', 'text that was appended outlives a crash');
is_sql($lead, "SELECT state FROM aurora.append_outputs('{$streams}', '{1}', '{2}', '{\" a time\"}', '{2}')", 'running', 'and its node goes on');
run("UPDATE aurora.job SET lease_until = clock_timestamp() WHERE job_id = $streams");
ok($lead->poll_query_until('postgres', "SELECT state <> 'running' FROM aurora.job WHERE job_id = $streams"), 'a node that is gone loses it with its lease');
report();
is_sql($lead, "SELECT job_id, attempt, partial_text, partial_tokens FROM aurora.take_generations(0, node => 'beta')",
    "$streams|2|Once upon a time|4", 'who takes it next goes on from its text') or diag(run("SELECT * FROM aurora.explain_claim(0, 'beta')"));

# ---- a dump ----

my $folder = PostgreSQL::Test::Utils::tempdir();
my @tables = qw(gpu_device gpu_model gpu_speed generation generation_output generation_output_ring);
run("SELECT aurora.rotate_generation_output(); SELECT aurora.learn_speed('alpha', 0, 'm', '{\"usage\": {\"completion_tokens\": 9}, \"timings\": {\"decode_ms\": 90}}')");
my $contents = join(' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM aurora.$_ t" } @tables);
$lead->command_ok([ 'pg_dump', '-Fc', '-f', "$folder/dump", $lead->connstr('postgres') ], 'all is dumped');
run('CREATE DATABASE restored');
{
    local $ENV{PGOPTIONS} = '-c session_replication_role=replica';
    $lead->command_ok([ 'pg_restore', '--exit-on-error', '-d', $lead->connstr('restored'), "$folder/dump" ], 'and restored');
}
is($lead->safe_psql('restored', $contents), $lead->safe_psql('postgres', $contents), 'every table has its rows again');
unlike($lead->safe_psql('restored', $contents), qr/\|0\|/, 'none of them empty');

# ---- a promotion ----

catch_up($lead, $standby);
$lead->stop;
is_sql($standby, "SELECT string_agg(text, '') FROM aurora.job_output($streams)", 'Once upon a time', 'with the lead gone the standby still has the text');
$standby->promote;
is_sql($standby, "SELECT state FROM aurora.append_outputs('{$streams}', '{2}', '{4}', '{\", there was\"}', '{3}')", 'running', 'promoted, it takes more');
is_sql($standby, "SELECT string_agg(text, '') FROM aurora.job_output($streams)", 'Once upon a time, there was', 'which goes on from what was there');

done_testing();
