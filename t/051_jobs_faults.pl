# Faults: takers, their sessions and the server are killed, results come late or are rolled back, and each
# job still ends as it should, once. And eight takers with batches, keys and dependencies never wait in a circle.
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

my $lead = new_job_lead('lead', autovacuum_naptime => "'1s'");
my $seed = $ENV{AURORA_SEED} // int(rand(2**31));
srand($seed);
note("seed $seed: set AURORA_SEED to have the same again");

$lead->safe_psql('postgres', <<'SQL');
SELECT aurora.add_company(c) FROM unnest('{acme,bolt}'::text[]) c;
SELECT aurora.add_queue(q, lease => '1 second', retry_delay => '10 milliseconds', retry_delay_max => '50 milliseconds', max_attempts => 1000) FROM unnest('{storm,faults,killed}'::text[]) q;
CREATE TABLE jobs_test.effect (job_id bigint, attempt int);
CREATE FUNCTION jobs_test.chance(p float) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT random() < p $$;
CREATE FUNCTION jobs_test.live(queue text) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM aurora.job j WHERE j.queue_id = aurora.find_queue(queue) AND j.state <> 'dead'
$$;

-- Takes batches until no job is left, finishing one batch as it takes the next.
CREATE PROCEDURE jobs_test.work_in_batches(queue text, most int) LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
    tries int[];
    failing bigint;
BEGIN
    LOOP
        SELECT array_agg(t.job_id), array_agg(t.attempt) INTO ids, tries
            FROM aurora.take_jobs(queue, 1 + (random() * (most - 1))::int, lease => '1 minute', finished => ids, attempts => tries) t;
        COMMIT;
        IF ids IS NULL THEN
            EXIT WHEN jobs_test.live(queue) = 0;
            CALL aurora.wait_jobs(queue, '50 milliseconds');
        ELSIF jobs_test.chance(0.3) THEN
            PERFORM aurora.fail_job(ids[1], tries[1], retry_in => CASE WHEN jobs_test.chance(0.5) THEN interval '0' END);
            COMMIT;
            ids := ids[2:];
            tries := tries[2:];
        END IF;
    END LOOP;
END
$$;

-- Takes jobs until none is left, and does with them what their payload says; often something goes wrong.
CREATE PROCEDURE jobs_test.work_badly(queue text) LANGUAGE plpgsql AS $$
DECLARE
    taken record;
    batch aurora.job[];
    job aurora.job;
BEGIN
    LOOP
        batch := '{}';
        FOR taken IN SELECT * FROM aurora.take_jobs(queue, 1 + (random() * 4)::int) LOOP
            batch := batch || (SELECT j FROM aurora.job j WHERE j.job_id = taken.job_id);
        END LOOP;
        IF jobs_test.chance(0.02) THEN
            ROLLBACK; -- never taken
            CONTINUE;
        END IF;
        COMMIT;
        IF batch = '{}' THEN
            EXIT WHEN jobs_test.live(queue) = 0;
            CALL aurora.wait_jobs(queue, '100 milliseconds');
        END IF;
        FOREACH job IN ARRAY batch LOOP
            IF jobs_test.chance(0.01) THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
            ELSIF jobs_test.chance(0.02) THEN
                EXIT; -- forgets the rest of what it has
            ELSIF jobs_test.chance(0.004) THEN
                PERFORM pg_sleep(1.2); -- too late
            END IF;
            IF job.payload ->> 'fails' = 'always' OR job.payload ->> 'fails' = 'at first' AND job.attempt < 3 THEN
                PERFORM aurora.fail_job(job.job_id, job.attempt, 'as it should');
            ELSIF aurora.finish_job(job.job_id, job.attempt, to_jsonb(job.attempt)) THEN
                INSERT INTO jobs_test.effect VALUES (job.job_id, job.attempt);
            END IF;
            IF jobs_test.chance(0.03) THEN
                ROLLBACK;
            ELSE
                COMMIT;
            END IF;
        END LOOP;
    END LOOP;
END
$$;
SQL

# ---- eight takers with batches, keys and dependencies ----

$lead->safe_psql('postgres', <<'SQL');
SELECT aurora.set_concurrency('storm', 'k' || k, 1 + k % 3, c) FROM generate_series(1, 3) k, unnest('{acme,bolt}'::text[]) c;
DO $$
DECLARE
    ids bigint[] := '{}';
BEGIN
    FOR n IN 1 .. 900 LOOP
        ids := ids || aurora.submit_job('storm', to_jsonb(n), class => (ARRAY['interactive', 'normal', 'batch'])[1 + n % 3], company => 'acme',
            concurrency_key => CASE WHEN n % 2 = 0 THEN 'k' || n % 6 END,
            run_after => CASE WHEN n % 3 = 0 AND n > 20 THEN ARRAY[ids[n - 1], ids[n - 7], ids[n - 1 - (random() * 18)::int]] END);
    END LOOP;
END
$$;
SQL

sub start_psql
{
    my ($call) = @_;
    my $psql = { err => '', out => '' };

    $psql->{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1', '-d', $lead->connstr('postgres'), '-c', 'SET client_min_messages = error', '-c', $call ],
        '<', \'', '>', \$psql->{out}, '2>', \$psql->{err});
    return $psql;
}

my @storm = map { start_psql("CALL jobs_test.work_in_batches('storm', 10)") } 1 .. 8;
$_->{run}->finish for @storm;
is(join('', map { $_->{err} } @storm), '', 'eight takers of batches come to their end without an error');
is_sql($lead, "SELECT state, count(*) FROM aurora.jobs WHERE queue = 'storm' GROUP BY 1", 'done|900', 'all jobs are done');
is_sql($lead, "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'", 0, 'nobody has waited in a circle');
job_invariants_hold($lead, 'after eight takers');

# ---- a thousand jobs and three takers with faults ----

$lead->safe_psql('postgres', <<'SQL');
DO $$
DECLARE
    ids bigint[] := '{}';
BEGIN
    FOR n IN 1 .. 1000 LOOP
        ids := ids || aurora.submit_job('faults', jsonb_build_object('n', n, 'fails', CASE n % 10 WHEN 9 THEN 'always' WHEN 8 THEN 'at first' END),
            class => (ARRAY['interactive', 'normal', 'batch'])[1 + n % 3], company => (ARRAY['acme', 'bolt'])[1 + n / 10 % 2], max_attempts => CASE WHEN n % 10 = 9 THEN 3 END,
            delay => CASE WHEN n % 10 = 6 THEN interval '1 millisecond' * (n % 500) END, concurrency_key => CASE WHEN n % 10 = 5 THEN 'k' || n % 3 END,
            run_after => CASE WHEN n % 10 = 4 THEN ARRAY[ids[n - 1], ids[n - 2]] END, unique_key => CASE WHEN n % 10 = 7 THEN 'u' || n END);
    END LOOP;
END
$$;
SQL
my @takers = map { start_psql("CALL jobs_test.work_badly('faults')") } 1 .. 3;
my %struck = (client => 0, backend => 0, postmaster => 0, cancelled => 0);
my @trouble;

# What is left to do; undef while the server is away.
sub left
{
    my $out = eval { $lead->safe_psql('postgres', "SELECT jobs_test.live('faults')") };

    return defined($out) && $out =~ /^\d+$/ ? $out : undef;
}

sub note_trouble
{
    my ($taker) = @_;

    push(@trouble, grep { /ERROR|FATAL|PANIC/ && !/57P0[123]|terminating connection|the database system is/ } split(/\n/, $taker->{err}));
    return;
}

my ($last_strike, $ended) = (1000, 0);
wait_until(sub {
    my $left = left();

    for my $taker (@takers)
    {
        next if $taker->{run}->pumpable && do { $taker->{run}->pump_nb; $taker->{run}->pumpable };
        eval { $taker->{run}->finish };
        note_trouble($taker);
        $taker = start_psql("CALL jobs_test.work_badly('faults')");
    }
    return 0 unless defined $left;
    return $ended = 1 if $left == 0;
    return 0 if $left > $last_strike - 80;
    $last_strike = $left;
    my ($strike) = sort { $struck{$a} <=> $struck{$b} || $a cmp $b } keys %struck;
    $struck{$strike}++;
    if ($strike eq 'client') { $takers[ rand(@takers) ]->{run}->kill_kill; }
    elsif ($strike eq 'backend')
    {
        my $pid = eval { $lead->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL jobs_test%' LIMIT 1") };
        kill('KILL', $pid) if $pid;
    }
    elsif ($strike eq 'postmaster') { kill_postmaster($lead); $lead->start; }
    else { eval { $lead->safe_psql('postgres', "SELECT count(aurora.cancel_job(job_id)) FROM aurora.jobs WHERE queue = 'faults' AND finished_at IS NULL AND (payload ->> 'n')::int % 50 = 0 AND state <> 'dead'") }; }
    return 0;
});
for my $taker (@takers)
{
    eval { $taker->{run}->finish };
    note_trouble($taker);
}
is($ended, 1, 'three takers with faults come to an end with a thousand jobs') or diag($lead->safe_psql('postgres', 'SELECT * FROM aurora.job ORDER BY job_id'));
is(join("\n", @trouble), '', 'and meet no error but those that were made for them');
cmp_ok($struck{$_}, '>', 0, "a $_ was struck") for qw(client backend postmaster);
my $of_faults = "FROM aurora.jobs j WHERE queue = 'faults'";
is_sql($lead, "SELECT count(*), count(DISTINCT payload ->> 'n') $of_faults", '1000|1000', 'all jobs are there, each once');
is_sql($lead, "SELECT string_agg(DISTINCT state::text, ' ') $of_faults AND payload ->> 'fails' = 'always'", 'dead', 'those that always fail are dead');
is_sql($lead, "SELECT string_agg(DISTINCT state::text, ' ') $of_faults AND payload ->> 'fails' IS DISTINCT FROM 'always' AND (payload ->> 'n')::int % 50 <> 0", 'done', 'all others are done');
is_sql($lead, "SELECT count(*) $of_faults AND (payload ->> 'n')::int % 50 = 0 AND state NOT IN ('done', 'cancelled')", 0, 'but for those that were cancelled');
is_sql($lead, "SELECT count(*) $of_faults AND payload ->> 'fails' = 'at first' AND (state <> 'done' OR attempt < 3)", 0, 'what fails at first was tried again');
is_sql($lead, "SELECT job_id, count(*) FROM jobs_test.effect GROUP BY 1 HAVING count(*) > 1", '', 'no job was done twice');
is_sql($lead, "SELECT count(*) $of_faults AND (state = 'done') <> EXISTS (SELECT FROM jobs_test.effect e WHERE e.job_id = j.job_id AND e.attempt = j.attempt)", 0, 'what was done in the transaction of its end is there, of the attempt that ended it');
job_invariants_hold($lead, 'after all faults');
is_sql($lead, "SELECT jobs_test.take('faults', 1000)", 'none', 'nothing is left');

# ---- the client of a claim that is not committed is killed ----

$lead->safe_psql('postgres', "SELECT aurora.submit_job('killed', kind => 'k', company => 'acme')");
my $client = start_psql("BEGIN; SELECT jobs_test.take('killed'); SELECT pg_sleep(3600)");
$lead->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND wait_event = 'PgSleep'");
is_sql($lead, "SELECT jobs_test.take('killed')", 'none', "a claim that is not committed is somebody's");
$lead->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()");
comes($lead, "SELECT jobs_test.take('killed')", 'and can be taken when its session has ended', 'k');
eval { $client->{run}->finish };

done_testing();
