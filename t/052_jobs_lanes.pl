# The lanes' marks, which let a claim begin behind all that has been taken: at random, in several sessions,
# with rollbacks and savepoints, take_jobs() always finds what a plain look at the table does, in its order;
# and it costs the same under a held snapshot, however many jobs have been taken. In a database where no
# worker sweeps what is lost.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraJobs;
use JSON::PP;
use Test::More;

my $lead = new_job_lead('lead', 'aurora.database' => "'elsewhere'", autovacuum => 'off');
my $seed = $ENV{AURORA_SEED} // int(rand(2**31));
srand($seed);
note("seed $seed: set AURORA_SEED to have the same again");

# ---- what a claim reads under a held snapshot ----

sub buffers
{
    my ($session, $call) = @_;
    my $plan = decode_json($session->query_safe("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM $call"))->[0]{Plan};

    return $plan->{'Shared Hit Blocks'} + $plan->{'Shared Read Blocks'};
}

$lead->safe_psql('postgres', "SELECT aurora.add_queue('cost'); SELECT count(*) FROM aurora.submit_jobs('cost', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 10000) n)), generate_series(1, 1)");
my $holder = $lead->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe('SELECT count(*) FROM aurora.job');
$lead->safe_psql('postgres', <<'SQL');
SELECT count(*) FROM aurora.submit_jobs('cost', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 10000) n));
SELECT count(*) FROM aurora.submit_jobs('cost', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 2000) n));
DO $$
DECLARE
    ids bigint[];
    tries int[];
BEGIN
    FOR i IN 1 .. 200 LOOP
        SELECT array_agg(t.job_id), array_agg(t.attempt) INTO ids, tries
            FROM aurora.take_jobs('cost', 100, finished => ids, attempts => tries) t;
        COMMIT;
    END LOOP;
END
$$;
SQL
is_sql($lead, 'SELECT count(*) FROM aurora.job_archive', 19900, 'nearly twenty thousand jobs are done while a snapshot is held');
my $session = $lead->background_psql('postgres');
$session->query_safe("SELECT count(*) FROM aurora.take_jobs('cost')") for 1 .. 3;
my @costs = sort { $a <=> $b } map { buffers($session, "aurora.take_jobs('cost')") } 1 .. 9;
cmp_ok($costs[4], '<=', 20, 'a claim reads 20 buffers at most') or diag("@costs");
note("buffers of a claim: @costs");
my ($tens) = sort { $a <=> $b } map { buffers($session, "aurora.take_jobs('cost', 10)") } 1 .. 5;
cmp_ok($tens, '<=', 110, 'and ten at once not more than ten times that') or diag($tens);
$holder->query_safe('COMMIT');
$_->quit for $holder, $session;
$lead->safe_psql('postgres', "UPDATE aurora.job SET max_attempts = 1; TRUNCATE aurora.job CASCADE");

# ---- a model: what waits and nobody has locked, by class and position ----

$lead->safe_psql('postgres', <<'SQL');
SELECT aurora.add_company(c) FROM unnest('{one,two,three}'::text[]) c;
SELECT aurora.add_queue(q, retry_delay => '0', retry_delay_max => '0', max_attempts => 1000) FROM unnest('{a,b}'::text[]) q;

CREATE UNLOGGED TABLE jobs_test.first_job (job_id bigint, class aurora.job_class, position bigint, deadline timestamptz, taken boolean DEFAULT false);

-- Takes all there is and says what is wrong with it: what was missed, and what came out of order. Of several
-- classes' first jobs the one with the earliest deadline comes, or the most pressing; and when these are not the
-- same one in four turns is the former's. Nothing stays of it.
CREATE FUNCTION jobs_test.wrong_claims(queue text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    waiting record;
    taken record;
    expected bigint[];
    coming bigint[];
    found_jobs bigint[];
    chosen bigint[] := '{}';
    conflicts int := 0;
    last_gift int;
    wrong text := '';
BEGIN
    PERFORM aurora.settle_queue(aurora.find_queue(queue));
    coming := ARRAY(SELECT j.job_id FROM aurora.job j WHERE j.queue_id = aurora.find_queue(queue) AND j.state IN ('scheduled', 'running'));
    expected := ARRAY(SELECT l.job_id FROM (SELECT j.job_id, j.class, j.position FROM aurora.job j WHERE j.queue_id = aurora.find_queue(queue) AND j.state = 'waiting'
                                            AND j.concurrency_key IS NULL FOR NO KEY UPDATE SKIP LOCKED) l ORDER BY l.class, l.position, l.job_id);
    DELETE FROM jobs_test.first_job;
    INSERT INTO jobs_test.first_job (job_id, class, position, deadline)
        SELECT j.job_id, j.class, j.position, j.ready_at + CASE j.class WHEN 'normal' THEN interval '60 seconds' WHEN 'batch' THEN interval '1 hour' ELSE '0' END
        FROM aurora.job j WHERE j.job_id = ANY (expected);
    BEGIN
        SELECT array_agg(t.job_id ORDER BY t.ordinality) INTO found_jobs FROM aurora.take_jobs(queue, 10000) WITH ORDINALITY t JOIN aurora.job j USING (job_id) WHERE j.concurrency_key IS NULL;
        RAISE SQLSTATE 'ZZ001';
    EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
        NULL;
    END;
    IF coming && found_jobs THEN
        RETURN ''; -- some have fallen due meanwhile
    END IF;
    IF NOT coalesce(found_jobs, '{}') @> expected THEN
        wrong := format('missed: %s of %s', ARRAY(SELECT unnest(expected) EXCEPT SELECT unnest(found_jobs)), cardinality(expected));
    ELSIF NOT expected @> coalesce(found_jobs, '{}') THEN
        RETURN format('not waiting: %s', ARRAY(SELECT unnest(found_jobs) EXCEPT SELECT unnest(expected)));
    END IF;
    FOR i IN 1 .. coalesce(cardinality(found_jobs), 0) LOOP
        SELECT f.* INTO taken FROM jobs_test.first_job f WHERE f.job_id = found_jobs[i];
        IF EXISTS (SELECT FROM jobs_test.first_job f WHERE NOT f.taken AND f.class = taken.class AND (f.position, f.job_id) < (taken.position, taken.job_id)) THEN
            RETURN format('%s out of order: job %s', wrong, taken.job_id);
        END IF;
        SELECT (array_agg(f.class ORDER BY f.deadline, f.class))[1] AS earliest, min(f.class) AS pressing INTO waiting
            FROM (SELECT DISTINCT ON (f.class) f.class, f.deadline FROM jobs_test.first_job f WHERE NOT f.taken ORDER BY f.class, f.position, f.job_id) f;
        IF taken.class NOT IN (waiting.earliest, waiting.pressing) THEN
            RETURN format('%s not the turn of job %s, which is %s', wrong, taken.job_id, taken.class);
        ELSIF waiting.earliest <> waiting.pressing THEN
            conflicts := conflicts + 1;
            IF taken.class = waiting.earliest THEN
                IF conflicts - last_gift <> 4 THEN
                    RETURN format('%s a turn after %s', wrong, conflicts - last_gift);
                END IF;
                last_gift := conflicts;
            ELSIF conflicts - coalesce(last_gift, 0) > 4 THEN
                RETURN format('%s no turn in four', wrong);
            END IF;
        END IF;
        UPDATE jobs_test.first_job f SET taken = true WHERE f.job_id = taken.job_id;
    END LOOP;
    RETURN wrong;
END
$$;
-- Some job of the state, of the queue.
CREATE FUNCTION jobs_test.any_job(queue text, state text) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT j.job_id FROM aurora.job j WHERE j.queue_id = aurora.find_queue($1) AND j.state = $2::aurora.job_state ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED
$$;
CREATE FUNCTION jobs_test.act(action text, queue text, n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    class text := (ARRAY['interactive', 'normal', 'batch'])[1 + floor(random() * 3)];
    company text := (ARRAY['one', 'two', 'three'])[1 + floor(random() * 3)];
    id bigint;
    tries int;
BEGIN
    IF action IN ('finish', 'fail', 'lapse', 'cancel running') THEN
        SELECT j.job_id, j.attempt INTO id, tries FROM aurora.job j WHERE j.job_id = jobs_test.any_job(queue, 'running');
    ELSIF action IN ('cancel', 'after') THEN
        SELECT j.job_id, j.attempt INTO id, tries FROM aurora.job j WHERE j.job_id = jobs_test.any_job(queue, 'waiting');
    END IF;
    CASE action
        WHEN 'submit' THEN PERFORM aurora.submit_job(queue, class => class, company => company);
        WHEN 'submit many' THEN PERFORM FROM aurora.submit_jobs(queue, array_fill('1'::jsonb, ARRAY[n]), class, company => company);
        WHEN 'submit old' THEN
            id := aurora.submit_job(queue, class => class, company => company);
            UPDATE aurora.job j SET ready_at = now() - random() * interval '3 hours' WHERE j.job_id = id;
        WHEN 'submit key' THEN PERFORM aurora.submit_job(queue, class => class, company => company, concurrency_key => 'k' || n % 2);
        WHEN 'delay' THEN PERFORM aurora.submit_job(queue, class => class, company => company, delay => interval '1 millisecond' * n);
        WHEN 'take' THEN PERFORM FROM aurora.take_jobs(queue, n);
        WHEN 'finish' THEN PERFORM aurora.finish_job(id, tries) WHERE id IS NOT NULL;
        WHEN 'finish and take' THEN PERFORM FROM aurora.take_jobs(queue, n, finished => CASE WHEN id IS NOT NULL THEN ARRAY[id] END, attempts => CASE WHEN id IS NOT NULL THEN ARRAY[tries] END);
        WHEN 'fail' THEN PERFORM aurora.fail_job(id, tries, retry_in => interval '1 millisecond' * (n % 3)) WHERE id IS NOT NULL;
        WHEN 'cancel' THEN PERFORM aurora.cancel_job(id) WHERE id IS NOT NULL;
        WHEN 'cancel running' THEN PERFORM aurora.cancel_job(id) WHERE id IS NOT NULL;
        WHEN 'after' THEN PERFORM aurora.submit_job(queue, class => class, run_after => ARRAY[id], company => (SELECT c.name FROM aurora.job j JOIN aurora.company c USING (company_id) WHERE j.job_id = id)) WHERE id IS NOT NULL;
        WHEN 'lapse' THEN
            UPDATE aurora.job j SET lease_until = now() - interval '1 second' WHERE j.job_id = id;
            PERFORM aurora.queue_due(aurora.find_queue(queue), now());
    END CASE;
    RETURN 'done';
EXCEPTION
    WHEN lock_not_available OR serialization_failure OR query_canceled THEN RETURN SQLSTATE;
END
$$;
SQL

my @sessions = map { $lead->background_psql('postgres', on_error_stop => 0) } 1 .. 4;
my @depth = (-1) x @sessions;    # -1: no transaction; else how many savepoints are open
$_->query_safe("SET client_min_messages = error; SET lock_timeout = '20ms'; SET jit = off") for @sessions;
my $checker = $lead->background_psql('postgres', on_error_stop => 0);
$checker->query_safe("SET client_min_messages = error; SET jit = off; SET lock_timeout = '1s'");
my @actions = (('submit') x 3, 'submit many', 'submit old', 'submit key', 'delay', ('take') x 5, ('finish') x 3, 'finish and take', ('fail') x 2, 'cancel', 'cancel running', 'after', 'lapse');
my (@log, @wrong);
my $checks = 0;

# One step of a session, and what it was.
sub step
{
    my ($n) = @_;
    my $session = $sessions[$n];
    my $roll = rand();

    if ($depth[$n] < 0 && $roll < 0.35)
    {
        my $level = rand() < 0.15 ? ' ISOLATION LEVEL REPEATABLE READ' : '';
        $depth[$n] = 0;
        return [ $session, "BEGIN$level; SELECT 1" ];
    }
    elsif ($depth[$n] >= 0 && $roll < 0.25)
    {
        $depth[$n] = -1;
        return [ $session, rand() < 0.6 ? 'COMMIT' : 'ROLLBACK' ];
    }
    elsif ($depth[$n] >= 0 && $roll < 0.4)
    {
        $depth[$n]++;
        return [ $session, "SAVEPOINT s$depth[$n]" ];
    }
    elsif ($depth[$n] > 0 && $roll < 0.5)
    {
        my $to = 1 + int(rand($depth[$n]));
        my $how = rand() < 0.7 ? 'ROLLBACK TO' : 'RELEASE';
        $depth[$n] = $how eq 'RELEASE' ? $to - 1 : $to;
        return [ $session, "$how s$to" ];
    }
    my $action = $actions[ rand(@actions) ];
    return [ $session, sprintf("SELECT jobs_test.act('%s', '%s', %d)", $action, rand() < 0.8 ? 'a' : 'b', 1 + rand(6)) ];
}

for my $round (1 .. 900)
{
    my $n = int(rand(@sessions));
    my ($session, $sql) = @{ step($n) };

    push @log, "$n: $sql";
    my $answer = $session->query($sql);
    $log[-1] .= " -> $answer" if $answer =~ /^\d{5}/;
    next if $round % 3;
    my $found = join('', map { scalar($checker->query("SELECT '$_ ' || wrong FROM jobs_test.wrong_claims('$_') wrong WHERE wrong <> ''")) } qw(a b));
    $found .= $checker->{stderr} =~ s/background_psql: \S+ \d+:\s*//gr if $checker->{stderr} =~ /ERROR/;
    $checks++;
    next if $found eq '';
    push @wrong, "$found after\n" . join("\n", @log[ -20 .. -1 ]);
    last;
}
is("@wrong", '', "in each of $checks looks take_jobs() finds all that waits, in its order");
for my $n (0 .. $#sessions)
{
    $sessions[$n]->query($depth[$n] < 0 ? 'SELECT 1' : 'COMMIT');
    $sessions[$n]->quit;
}
is_sql($lead, "SELECT jobs_test.wrong_claims(q) FROM unnest('{a,b}'::text[]) q", "\n", 'also when all transactions have ended');
job_invariants_hold($lead, 'at the end');

# ---- all of them at once: nothing that waits is left behind ----

$checker->quit;
my ($out, $err) = ('', '');
my $directory = PostgreSQL::Test::Utils::tempdir();
for my $kind (qw(one undone savepoint))
{
    my $acts = join('', map { "\\set n random(1, 6)\n\\set x random(0, " . $#actions . ")\nSELECT jobs_test.act(('{" . join(',', map { "\"$_\"" } @actions) . "}'::text[])[:x + 1], 'a', :n);\n" } 1 .. 3);
    my %file = (one => $acts, undone => "BEGIN;\n${acts}ROLLBACK;\n", savepoint => "BEGIN;\nSAVEPOINT s;\n${acts}ROLLBACK TO s;\n${acts}COMMIT;\n");
    PostgreSQL::Test::Utils::append_to_file("$directory/$kind.sql", $file{$kind});
}
$lead->safe_psql('postgres', "ALTER ROLE CURRENT_USER SET client_min_messages = error; ALTER ROLE CURRENT_USER SET lock_timeout = '20ms'");
IPC::Run::run([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', 25, '-f', "$directory/one.sql\@4", '-f', "$directory/undone.sql\@1", '-f', "$directory/savepoint.sql\@2", $lead->connstr('postgres') ],
    '<', \'', '>', \$out, '2>', \$err);
unlike($err, qr/ERROR|aborted/, 'six sessions do all of this at once without an error') or diag($err);
is_sql($lead, "SELECT jobs_test.wrong_claims('a')", '', 'and then take_jobs() finds all that waits, in its order');
job_invariants_hold($lead, 'after all that');

done_testing();
