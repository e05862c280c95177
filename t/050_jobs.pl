# The job queue on a lead and a standby: waiting, what the worker does by time, restarts, and a promotion.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraJobs;
use AuroraNodes qw(comes wait_until);
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

run("SELECT aurora.add_company(c) FROM unnest('{acme,bolt}'::text[]) c; SELECT aurora.add_queue(q) FROM unnest('{w,paused,idle,counted,fair,standby,due}'::text[]) q");
my $for_acme = "company => 'acme'";

# ---- waiting ----

my $waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
is_sql($lead, "SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE query LIKE 'CALL aurora.wait_jobs%' AND pid <> pg_backend_pid()", 't',
    'who waits holds no snapshot');
my $submitter = $lead->background_psql('postgres');
$submitter->query_safe('BEGIN');
$submitter->query_safe("SELECT aurora.submit_job('w', kind => 'a', $for_acme)");
waiters_sleep($lead, 1);
pass('what is not committed wakes nobody');
$submitter->query_safe('COMMIT');
is(waiter_returns($waiter), 'a', 'a commit does');

$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT aurora.submit_job('w', kind => 'later', delay => '700 ms', $for_acme)");
is(waiter_returns($waiter), 'later', 'a job that is submitted with a delay wakes who waits when that is over, and not before');

run("SELECT jobs_test.done('a'), jobs_test.done('later'); SELECT aurora.submit_job('w', kind => 'lease', $for_acme)");
is_sql($lead, "SELECT jobs_test.take('w', 1, '1 second')", 'lease', 'a taker has a job for a second');
$waiter = start_waiter($lead, 'w');
is(waiter_returns($waiter), 'lease', 'when its lease is over somebody who waits has it');
is_sql($lead, "SELECT attempt, error FROM aurora.jobs WHERE kind = 'lease'", "2|the lease of " . $lead->safe_psql('postgres', 'SELECT current_user') . ' ran out', 'as the second attempt');

$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT aurora.fail_job(job_id, attempt, retry_in => '300 ms') FROM aurora.jobs WHERE kind = 'lease'");
is(waiter_returns($waiter), 'lease', 'a retry wakes when its time has come');
run("SELECT aurora.submit_job('w', kind => 'after', run_after => ARRAY[jobs_test.id('lease')], $for_acme)");
$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT jobs_test.done('lease')");
is(waiter_returns($waiter), 'after', 'so does what runs after a job, when that is done');
run("SELECT jobs_test.done('after'); SELECT aurora.submit_job('w', kind => 'k' || n, concurrency_key => 'k', $for_acme) FROM generate_series(1, 2) n; SELECT jobs_test.take('w', 2)");
$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT jobs_test.done('k1')");
is(waiter_returns($waiter), 'k2', 'and what is held by its key, when that is free');
run("SELECT jobs_test.done('k2'); SELECT aurora.submit_job('w', kind => 'dead', $for_acme); SELECT jobs_test.take('w'); SELECT aurora.fail_job(jobs_test.id('dead'), 1, final => true)");
$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT aurora.replay_jobs('w')");
is(waiter_returns($waiter), 'dead', 'and what is replayed');
run("SELECT jobs_test.done('dead')");

run("SELECT aurora.pause_queue('paused'); SELECT aurora.submit_job('paused', kind => 'p', $for_acme)");
$waiter = start_waiter($lead, 'paused');
waiters_sleep($lead, 1);
run("SELECT aurora.submit_job('paused', kind => 'p2', $for_acme)");
waiters_sleep($lead, 1);
pass('who waits for a paused queue is not woken by its jobs');
run("SELECT aurora.pause_queue('paused', false)");
is(waiter_returns($waiter), 'p', 'but when jobs are taken again');

my @waiters = map { start_waiter($lead, 'w', "SELECT jobs_test.take('w')") } 1 .. 4;
waiters_sleep($lead, 4);
run("SELECT aurora.submit_job('w', kind => 'm' || n, $for_acme) FROM generate_series(1, 4) n");
is(join(' ', sort map { waiter_returns($_) } @waiters), 'm1 m2 m3 m4', 'several who wait each get one of several jobs');
run("SELECT jobs_test.done('m' || n) FROM generate_series(1, 4) n");

$waiter = start_waiter($lead, 'w', undef, timeout => '300 ms');
is(waiter_returns($waiter), 'none', 'without a job waiting ends after its time');
$waiter = start_waiter($lead, 'idle', undef, timeout => '0');
is(waiter_returns($waiter), 'none', 'which may be none');

# A claim that is not committed keeps nobody awake; when it is rolled back they are woken.
run("SELECT aurora.submit_job('w', kind => 'claimed', $for_acme)");
my $taker = $lead->background_psql('postgres');
$taker->query_safe('BEGIN');
is($taker->query_safe("SELECT jobs_test.take('w')"), 'claimed', 'while a claim is not committed');
$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
pass('others sleep');
$taker->query_safe('ROLLBACK');
is(waiter_returns($waiter), 'claimed', 'and are woken when it is rolled back');
run("SELECT jobs_test.done('claimed')");

# A job that waits and is committed between the look and the sleep is not missed.
my $quick = start_waiter($lead, 'w', 'SELECT 1');
run("SELECT aurora.submit_job('w', kind => 'quick', $for_acme)");
is(waiter_returns($quick), '1', 'a job that comes as one begins to wait is not missed');
is_sql($lead, "SELECT jobs_test.take('w')", 'quick', 'nor lost');
run("SELECT jobs_test.done('quick')");

$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL aurora.wait_jobs%' AND pid <> pg_backend_pid()");
is(waiter_returns($waiter), '57014', 'waiting can be cancelled');
$waiter = start_waiter($lead, 'w');
waiters_sleep($lead, 1);
run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL aurora.wait_jobs%' AND pid <> pg_backend_pid()");
is(waiter_returns($waiter), '57P01', 'or ended');

# ---- nodes ----

run("SELECT aurora.register_node('gpu'); GRANT USAGE ON SCHEMA jobs_test TO aurora_node; SELECT aurora.drain_node('gpu'); SELECT aurora.submit_job('w', kind => 'for a node', $for_acme)");
$waiter = start_waiter($lead, 'w', undef, role => 'aurora_node_gpu');
waiters_sleep($lead, 1);
pass('a drained node waits although there is a job');
run("SELECT aurora.drain_node('gpu', false)");
is(waiter_returns($waiter), 'for a node', 'and has it when it is drained no longer');
is_sql($lead, "SELECT taker FROM aurora.jobs WHERE kind = 'for a node'", 'gpu', 'in its name');

# ---- what happens by time, without anybody who takes or waits ----

run("SELECT aurora.submit_job('idle', kind => 'delayed', delay => '300 ms', $for_acme); SELECT aurora.submit_job('idle', kind => 'silent', max_attempts => 1, $for_acme);
     SELECT jobs_test.take('idle', 1, '1 second')");
comes($lead, "SELECT jobs_test.state('delayed')", 'a delay ends when nobody asks', 'waiting');
comes($lead, "SELECT jobs_test.state('silent')", 'and a lease', 'dead');

# A prepared transaction tells nobody when it is committed.
is_sql($lead, "BEGIN; SELECT aurora.submit_job('due', kind => 'prepared', $for_acme) > 0; PREPARE TRANSACTION 'p'", 't', 'a job is submitted and the transaction prepared');
is_sql($lead, "SELECT jobs_test.take('due')", 'none', 'it is not taken');
run("COMMIT PREPARED 'p'");
comes($lead, "SELECT jobs_test.take('due')", 'but is when that is committed', 'prepared');
is_sql($lead, "BEGIN; SELECT jobs_test.done('prepared'); SELECT aurora.submit_job('due', kind => 'another', $for_acme) > 0; PREPARE TRANSACTION 'p'", "t\nt", 'an end is prepared');
is_sql($lead, "SELECT jobs_test.take('due')", 'none', 'it is not known');
$lead->restart;
is_sql($lead, "SELECT jobs_test.take('due')", 'none', 'nor after a restart');
run("COMMIT PREPARED 'p'");
comes($lead, "SELECT jobs_test.take('due')", 'what came with it is taken when that is committed', 'another');
is_sql($lead, "SELECT jobs_test.state('prepared')", 'done', 'and what ended has ended');

# ---- counts ----

run(<<"SQL");
SELECT aurora.submit_job('counted', kind => 'c' || n, $for_acme) FROM generate_series(1, 8) n;
BEGIN; SELECT aurora.submit_job('counted', $for_acme) FROM generate_series(1, 100) n; ROLLBACK;
BEGIN; SAVEPOINT s; SELECT aurora.submit_job('counted', $for_acme) FROM generate_series(1, 100) n; ROLLBACK TO s; SELECT aurora.submit_job('counted', kind => 'c9', $for_acme); COMMIT;
BEGIN; SAVEPOINT s; SELECT jobs_test.take('counted', 9); SAVEPOINT t; RELEASE t; ROLLBACK TO s; COMMIT;
SELECT jobs_test.take('counted', 5);
SELECT jobs_test.done('c' || n) FROM generate_series(1, 3) n;
SELECT aurora.fail_job(jobs_test.id('c4'), 1, retry_in => '1 hour');
SELECT aurora.cancel_job(jobs_test.id('c' || n)) FROM generate_series(6, 7) n;
UPDATE aurora.job SET lease_until = now() WHERE job_id = jobs_test.id('c5');
SELECT aurora.settle_queue(aurora.find_queue('counted'));
SQL
my $counts = "SELECT class, sum(submitted), sum(taken), sum(done), sum(failed), sum(lapsed), sum(cancelled) FROM aurora.job_minute WHERE queue_id = aurora.find_queue('counted') GROUP BY 1";
comes($lead, $counts, 'what happens is counted, by queue and class; what is rolled back is not', 'normal|9|5|3|1|1|2');
is_sql($lead, "SELECT taken_per_minute > 0 AND eta > '0' FROM aurora.queue WHERE queue = 'counted' AND class = 'normal'", 't', 'the view tells how fast jobs are taken');
is_sql($lead, "SELECT string_agg(duty, ' ') FROM aurora.duties WHERE duty = 'rotate_job_archive' AND scheduled", 'rotate_job_archive', 'the archive is rotated by the worker');

# ---- the archive's ring ----

run("SELECT aurora.run_duty('rotate_job_archive')");
my $reader = $lead->background_psql('postgres');
$reader->query_safe('BEGIN');
$reader->query_safe('SELECT count(*) FROM aurora.jobs');
is_refused_with($lead, "SELECT aurora.rotate_job_archive(now() + interval '5 days')", '55P03', qr/lock timeout/, 'while somebody reads the archive it is not rotated');
$reader->query_safe('COMMIT');
run("SELECT aurora.rotate_job_archive(now() + interval '5 days'); SELECT aurora.submit_job('idle', kind => 'next place', $for_acme)");
run("SELECT aurora.take_jobs('idle', 9); SELECT jobs_test.done('next place')");
is_sql($lead, "SELECT slot FROM aurora.job_archive WHERE kind = 'next place'", 1, 'then it is, and jobs that are done go to the next place');
run("SELECT aurora.rotate_job_archive(now() + n * interval '5 days') FROM generate_series(2, 8) n");
is_sql($lead, "SELECT string_agg(kind, ' ') FROM aurora.job_archive", 'next place', 'when the ring has turned what was first is forgotten');
job_invariants_hold($lead, 'after all this');

# ---- a restart forgets no order ----

run("CREATE ROLE somebody LOGIN; CREATE ROLE op LOGIN IN ROLE aurora_operator; SELECT aurora.add_principal('somebody', 'bolt', 'somebody'), aurora.add_principal('op', 'bolt', 'op');
     SELECT count(*) FROM aurora.submit_jobs('fair', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 2000) n), kind => 'of acme', $for_acme)");
my $claims = "SELECT string_agg(company_id::text, ' ') FROM aurora.take_jobs('fair', 60)";
$lead->restart;
run("SELECT count(*) FROM aurora.take_jobs('fair', 10)");
is(scalar(split(/\n/, $lead->safe_psql('postgres', "SELECT aurora.submit_job('fair', kind => 'of bolt') FROM generate_series(1, 10)", extra_params => [ '-U', 'somebody' ]))), 10,
    'after a restart somebody who sees no other company submits jobs');
run("SELECT aurora.submit_job('fair', '0', kind => 'last of acme', $for_acme)");
is_sql($lead, "WITH taken AS MATERIALIZED (SELECT * FROM aurora.take_jobs('fair', 21)) SELECT count(*) FILTER (WHERE kind = 'of bolt'), count(*) FILTER (WHERE kind = 'last of acme') FROM taken", '10|0',
    'they wait twice as long as alone at most, and those of the other company keep their order');
$lead->restart;
is($lead->safe_psql('postgres', "SELECT aurora.submit_job('fair', kind => 'of bolt') > 0", extra_params => [ '-U', 'op' ]), 't', 'an operator that is a principal is the first to submit after another');
is_sql($lead, "WITH taken AS MATERIALIZED (SELECT * FROM aurora.take_jobs('fair', 3)) SELECT count(*) FROM taken WHERE kind = 'of bolt'", 1, 'which has its turn');
is_sql($lead, "WITH taken AS MATERIALIZED (SELECT * FROM aurora.take_jobs('fair', 5000)) SELECT count(*), (array_agg(kind))[count(*)] FROM taken", '1978|last of acme', 'all are taken, the last one last');

# ---- the standby ----

run("SELECT aurora.submit_job('standby', kind => 's1', $for_acme); SELECT jobs_test.take('standby'); SELECT aurora.finish_job(jobs_test.id('s1'), 7);
     SELECT aurora.submit_job('standby', kind => 's' || n, $for_acme) FROM generate_series(2, 4) n; SELECT aurora.submit_job('standby', kind => 's5', delay => '1 hour', $for_acme);
     SELECT aurora.submit_job('standby', kind => 's6', run_after => ARRAY[jobs_test.id('s1')], $for_acme); SELECT jobs_test.take('standby')");
catch_up($lead, $standby);
is_same_on_both($lead, $standby, $_, "the standby answers as the lead does: $_")
  for ('SELECT * FROM aurora.jobs ORDER BY job_id', "SELECT queue, company, class, waiting, running, scheduled, blocked, held, dead, paused, drained FROM aurora.queue ORDER BY 1, 2, 3",
    'SELECT ahead FROM aurora.jobs, aurora.job_position(job_id) WHERE queue = \'standby\' AND finished_at IS NULL ORDER BY job_id', 'SELECT * FROM aurora.refused_results', 'SELECT * FROM aurora.health_jobs()',
    'SELECT aurora.find_queue(\'standby\')', 'SELECT count(*) FROM jobs_test.wrong_jobs()');
ok($standby->poll_query_until('postgres', 'SELECT count(*) > 0 FROM aurora.job_minute'), 'and has the counts');
my ($host, $port) = ($lead->host, $lead->port);
for my $call ("submit_job('standby')", "submit_job('default')", "submit_job('standby', unique_key => 'k')", "submit_jobs('standby', ARRAY['1']::jsonb[])", "take_jobs('standby')", "take_jobs('standby', 0, finished => ARRAY[1], attempts => ARRAY[1])",
    'finish_job(1, 1)', 'fail_job(1, 1)', 'renew_lease(1, 1)', 'cancel_job(1)', 'replay_job(1)', "replay_jobs('standby')", "add_queue('x')", "add_queue('x', 'acme')", "set_queue('standby')", "pause_queue('standby')",
    "drain_queue('standby')", "remove_queue('standby')", "set_concurrency('standby', 'k', 2)", "set_concurrency('standby', 'k', 2, 'acme')", 'settle_queue(1)', 'rotate_job_archive()')
{
    is_refused_with($standby, "SELECT aurora.$call", '25006', qr/HINT:  .*\Q$host\E port $port/, "on the standby refused, with a hint that names the lead: $call");
}
is_refused_with($standby, "CALL aurora.wait_jobs('standby')", '25006', qr/HINT:  .*\Q$host\E port $port/, 'and waiting');

# ---- the standby is promoted ----

$lead->stop('immediate');
$standby->promote;
is_sql($standby, "SELECT jobs_test.state('s1'), jobs_test.state('s2'), jobs_test.state('s6')", 'running|running|blocked', 'on a promoted standby jobs are as they were');
$standby->safe_psql('postgres', "UPDATE aurora.job SET ready_at = now() WHERE kind = 's5'; SELECT aurora.queue_due(aurora.find_queue('standby'), now())");
comes($standby, "SELECT jobs_test.state('s5')", 'its worker ends delays', 'waiting');
is_sql($standby, "SELECT jobs_test.done('s1')", 't', 'who had a job finishes it there');
is_sql($standby, "SELECT jobs_test.take('standby', 9)", 's3 s4 s5 s6', 'and others are taken in their order');
$waiter = start_waiter($standby, 'standby');
waiters_sleep($standby, 1);
$standby->safe_psql('postgres', "SELECT aurora.submit_job('standby', kind => 's7', $for_acme)");
is(waiter_returns($waiter), 's7', 'who waits there is woken');
$standby->safe_psql('postgres', "SELECT jobs_test.done('s' || n) FROM generate_series(2, 7) n");
job_invariants_hold($standby, 'on the promoted standby');

done_testing();
