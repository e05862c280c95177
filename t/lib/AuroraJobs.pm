# Job queues on whole clusters: a lead with its worker, sessions that wait, and what holds for all jobs
# at any time.
#
# Jobs go by a "name", which is their kind. The schema "jobs_test" has the functions that tests share.
package AuroraJobs;

use strict;
use warnings;

use AuroraCluster;
use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_job_lead install_job_functions start_waiter waiters_sleep waiter_returns job_invariants_hold is_refused_with kill_postmaster);

my $functions = <<'SQL';
CREATE SCHEMA jobs_test;
GRANT USAGE ON SCHEMA jobs_test TO PUBLIC;

CREATE FUNCTION jobs_test.id(name text) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT max(job_id) FROM aurora.jobs WHERE kind = name $$;
CREATE FUNCTION jobs_test.state(name text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT state FROM aurora.jobs WHERE job_id = jobs_test.id(name) $$;
CREATE FUNCTION jobs_test.take(queue text, n int DEFAULT 1, lease interval DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(t.kind, ' ' ORDER BY t.ordinality), 'none') FROM aurora.take_jobs(queue, n, lease => lease) WITH ORDINALITY t
$$;
CREATE FUNCTION jobs_test.done(name text) RETURNS boolean LANGUAGE sql AS $$
    SELECT aurora.finish_job(j.job_id, j.attempt) FROM aurora.jobs j WHERE j.job_id = jobs_test.id(name)
$$;

-- What holds at any time, whoever looks: rows tell what does not.
CREATE FUNCTION jobs_test.wrong_jobs() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT format('job %s is both live and in the archive', job_id) FROM aurora.job JOIN aurora.job_archive a USING (job_id)
    UNION ALL
    SELECT format('job %s ended twice', job_id) FROM aurora.job_archive GROUP BY job_id HAVING count(*) > 1
    UNION ALL
    SELECT format('job %s is %s with %s blockers, of which there are %s', j.job_id, j.state, j.blockers, count(d.blocker_id))
        FROM aurora.job j LEFT JOIN aurora.job_dependency d USING (job_id) GROUP BY j.job_id, j.state, j.blockers
        HAVING count(d.blocker_id) <> j.blockers OR (j.state = 'blocked') <> (j.blockers > 0)
    UNION ALL
    SELECT format('job %s does not know that others run after it', j.job_id) FROM aurora.job j JOIN aurora.job_dependency d ON d.blocker_id = j.job_id WHERE NOT j.has_dependents
    UNION ALL
    SELECT format('job %s is %s until %s', job_id, state, lease_until) FROM aurora.job WHERE (state = 'running') <> (lease_until IS NOT NULL)
    UNION ALL
    SELECT format('of the key %s %s jobs run, and %s are counted', k.concurrency_key, count(j.job_id), k.running)
        FROM aurora.job_concurrency k LEFT JOIN aurora.job j ON j.queue_id = k.queue_id AND j.company_id = k.company_id AND j.concurrency_key = k.concurrency_key AND j.state = 'running'
        GROUP BY k.queue_id, k.company_id, k.concurrency_key, k.running HAVING count(j.job_id) <> k.running
    UNION ALL
    SELECT format('job %s runs with a key that is not counted', j.job_id) FROM aurora.job j
        WHERE j.state = 'running' AND j.concurrency_key IS NOT NULL
          AND NOT EXISTS (SELECT FROM aurora.job_concurrency k WHERE k.queue_id = j.queue_id AND k.company_id = j.company_id AND k.concurrency_key = j.concurrency_key)
    UNION ALL
    SELECT format('job %s is held by nobody', j.job_id) FROM aurora.job j
        WHERE j.state = 'held' AND NOT EXISTS (SELECT FROM aurora.job w WHERE w.queue_id = j.queue_id AND w.company_id = j.company_id
                                                 AND w.concurrency_key = j.concurrency_key AND w.state IN ('running', 'waiting'))
    UNION ALL
    SELECT format('job %s is of no queue or company', j.job_id) FROM aurora.job j
        WHERE NOT EXISTS (SELECT FROM aurora.job_queue q WHERE q.queue_id = j.queue_id) OR NOT EXISTS (SELECT FROM aurora.company c WHERE c.company_id = j.company_id)
    UNION ALL
    SELECT format('job %s has ended as %s', job_id, state) FROM aurora.job_archive WHERE state NOT IN ('done', 'cancelled', 'discarded')
$$;
SQL

# A running cluster whose worker works in the database postgres.
sub new_job_lead
{
    my ($name, %conf) = @_;
    my $lead = new_cluster($name, shared_preload_libraries => "'aurora'", max_prepared_transactions => 10, restart_after_crash => 'on', %conf);

    $lead->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
    install_job_functions($lead, 'postgres');
    return $lead;
}

sub install_job_functions
{
    my ($node, $database) = @_;

    $node->safe_psql($database, $functions);
    return;
}

# ---- waiting ----

# A session that waits for jobs and then runs the SQL.
sub start_waiter
{
    my ($node, $queue, $sql, %option) = @_;
    my $waiter = { out => '', err => '' };
    my $timeout = $option{timeout} // '1 hour';

    $waiter->{run} = IPC::Run::start(
        [   'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($option{database} // 'postgres'),
            $option{role} ? ('-U', $option{role}) : (), '-c', "CALL aurora.wait_jobs('$queue', '$timeout')", '-c', $sql // "SELECT jobs_test.take('$queue')" ],
        '<', \'', '>', \$waiter->{out}, '2>', \$waiter->{err});
    return $waiter;
}

# Returns when so many sessions sleep in wait_jobs().
sub waiters_sleep
{
    my ($node, $count) = @_;

    return $node->poll_query_until('postgres',
        "SELECT count(*) = $count FROM pg_stat_activity WHERE query LIKE 'CALL aurora.wait_jobs%' AND wait_event_type = 'Extension'")
      || die "there are no $count waiters";
}

# What a waiter gave when it returned.
sub waiter_returns
{
    my ($waiter) = @_;

    $waiter->{run}->finish;
    chomp($waiter->{out});
    return $waiter->{out} . ($waiter->{err} =~ /(?:ERROR|FATAL):  (\w{5}):/ ? $1 : '');
}

# ---- what holds ----

sub job_invariants_hold
{
    my ($node, $when, $database) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return is_sql($node, 'SELECT wrong FROM jobs_test.wrong_jobs() wrong ORDER BY 1 LIMIT 5', '', "$when all jobs are in order", $database);
}

# The SQL fails with that SQLSTATE and such an error.
sub is_refused_with
{
    my ($node, $sql, $state, $pattern, $name, $database) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($out, $err) = try_sql($node, $sql, $database);

    return ok(sql_state($err) eq $state && $err =~ $pattern && $out eq '', $name)
      || diag("expected $state like $pattern, got \"$out\" and $err");
}

# Kills a cluster's postmaster, and returns when its children have noticed and gone.
sub kill_postmaster
{
    my ($node) = @_;
    my @pids = split(/\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));

    push @pids, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /\A(\d+)/;
    $node->kill9;
    for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        last unless kill(0, @pids);
        select(undef, undef, undef, 0.1);
    }
    return;
}

1;
