# Duties that go by the clock: pg_cron has them once schedule_duties() has put them there; without
# pg_cron an error tells what to do, and run_duty() does them by hand.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use Test::More;

my $node = new_cluster('node');

if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'") == 0)
{
    plan(skip_all => 'pg_cron is not installed');
}

$node->append_conf('postgresql.conf',
    "shared_preload_libraries = 'pg_cron,aurora'\ncron.database_name = 'company'\naurora.database = 'company'\ncron.use_background_workers = on");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE company');
$node->safe_psql('company', 'CREATE EXTENSION aurora');
my @by_clock = qw(archive_q4 refresh_win_chances set_groups_apart sweep_cells);

# ---- without pg_cron ----

my ($out, $err) = try_sql($node, 'SELECT aurora.schedule_duties()', 'company');
is(sql_state($err), '42704', 'without pg_cron schedule_duties() fails');
like($err, qr/HINT:.*CREATE EXTENSION pg_cron.*aurora\.run_duty\(\)/, 'and the hint says what to do');
is_sql($node, "SELECT bool_or(scheduled) FROM aurora.duties WHERE runs_by = 'pg_cron'", 'f', 'no duty is said to be scheduled', 'company');
for my $duty (@by_clock)
{
    is_sql($node, "SELECT aurora.run_duty('$duty') >= 0", 't', "run_duty('$duty') by hand works", 'company');
}
is_sql($node, "SELECT count(*) FROM aurora.duties WHERE runs_by = 'pg_cron' AND last_error IS NULL AND last_finished_at >= last_started_at",
    scalar(@by_clock), 'aurora.duties shows these runs', 'company');
($out, $err) = try_sql($node, "SELECT aurora.run_duty('dance')", 'company');
is(sql_state($err), '22023', 'an unknown duty is an error');
like($err, qr/HINT:.*archive_q4/, 'whose hint lists the duties');

# ---- with pg_cron ----

$node->safe_psql('company', 'CREATE EXTENSION pg_cron');
is_sql($node, 'SELECT string_agg(d, \' \' ORDER BY d) FROM aurora.schedule_duties() d', "@by_clock", 'schedule_duties() names what it has put', 'company');
my $jobs = "SELECT jobname, schedule, command, database, active FROM cron.job WHERE jobname LIKE 'aurora %' ORDER BY jobname";
my $put = $node->safe_psql('company', $jobs);
is(scalar(split(/\n/, $put)), scalar(@by_clock), 'pg_cron has a job for each');
$node->safe_psql('company', 'SELECT aurora.schedule_duties()');
is_sql($node, $jobs, $put, 'a second time changes nothing', 'company');
is_sql($node, "SELECT string_agg(duty, ' ' ORDER BY duty) FROM aurora.duties WHERE runs_by = 'pg_cron' AND scheduled", "@by_clock",
    'aurora.duties shows them scheduled', 'company');

for my $command (split(/\n/, $node->safe_psql('company', "SELECT command FROM cron.job WHERE jobname LIKE 'aurora %'")))
{
    ($out, $err) = try_sql($node, $command, 'company');
    is($err, '', "the job's command works: $command");
    like($out, qr/^\d+$/, "and tells how many rows it changed: $command");
}

# pg_cron runs a job of each minute at the next full one.
$node->safe_psql('company', "DELETE FROM aurora.duty_run; UPDATE cron.job SET schedule = '* * * * *' WHERE jobname = 'aurora sweep_cells'");
ok($node->poll_query_until('company', "SELECT last_error IS NULL AND last_finished_at IS NOT NULL FROM aurora.duties WHERE duty = 'sweep_cells'"),
    'pg_cron runs a duty by itself');
is_sql($node, "SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'", 0, 'and none of its runs failed', 'company');

$node->safe_psql('company', "SELECT cron.unschedule('aurora archive_q4')");
is_sql($node, "SELECT duty FROM aurora.duties WHERE runs_by = 'pg_cron' AND NOT scheduled", 'archive_q4',
    'a duty taken out of pg_cron is shown as not scheduled', 'company');
$node->safe_psql('company', "SELECT cron.alter_job(jobid, active => false) FROM cron.job WHERE jobname = 'aurora sweep_cells'");
is_sql($node, "SELECT scheduled FROM aurora.duties WHERE duty = 'sweep_cells'", 'f', 'an inactive job is shown as not scheduled', 'company');

# ---- who may ----

$node->safe_psql('company', 'CREATE ROLE ann LOGIN IN ROLE aurora_user; CREATE ROLE olga LOGIN IN ROLE aurora_operator');
($out, $err) = try_sql($node, 'SET SESSION AUTHORIZATION ann; SELECT aurora.schedule_duties()', 'company');
is(sql_state($err), '42501', 'a person may not schedule duties');
($out, $err) = try_sql($node, 'SET SESSION AUTHORIZATION olga; SELECT aurora.schedule_duties()', 'company');
is($err, '', 'an operator may') or diag($err);
is_sql($node, 'SELECT count(*), count(DISTINCT jobname) FROM cron.job', scalar(@by_clock) . '|' . scalar(@by_clock),
    'and makes no doubles of jobs that an administrator has put', 'company');
is_sql($node, 'SET SESSION AUTHORIZATION ann; SELECT count(*) FROM aurora.duties WHERE scheduled IS NOT NULL', '15',
    'a person sees the duties, without rights in pg_cron', 'company');

done_testing();
