# The lead is killed while text streams and a standby is promoted: the worker finds the new lead by itself,
# what it runs goes on there, and new jobs are done. Text that the old lead had and the new one has not is
# written again, and nothing is in a text twice.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGpuWorker;
use AuroraNodes;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => programs_are_missing()) if programs_are_missing();

my $server = start_server('server', '--delay', '40');
my $alpha = new_node_lead('alpha');
my $beta = new_node_standby($alpha, 'beta');
my $gamma = new_node_standby($alpha, 'gamma');
my $host = $alpha->host;
my $ports = join(',', map { $_->port } $alpha, $beta, $gamma);

register_node($alpha, 'delta');

# Whom a standby follows; 1 is nobody's port.
sub follow
{
    my ($node, $lead) = @_;
    my $port = ref $lead ? $lead->port : $lead;

    configure_node($node, primary_conninfo => "'host=$host port=$port user=postgres application_name=" . $node->name . "'");
    comes($node, 'SELECT count(*) FROM pg_stat_wal_receiver', $node->name . (ref $lead ? ' follows the new lead' : ' follows nobody'), ref $lead ? '1' : '0');
    return;
}

# How much of a job's text is stored.
sub stored
{
    my ($node, $job, $tokens) = @_;

    return comes($node, "SELECT coalesce(max(token_no), 0) >= $tokens FROM aurora.job_output($job)", "$tokens tokens of job $job are there, says " . $node->name);
}

my $worker = start_worker($alpha, 'delta',
    database => { conninfo => "\"host=$host,$host,$host port=$ports dbname=postgres user=aurora_node_delta\"" },
    'backend local' => { url => "http://127.0.0.1:$server->{port}", probe_interval => '300ms' });

comes($alpha, "SELECT models @> ARRAY['test'] FROM aurora.devices WHERE state = 'ready'", 'a worker is at work');
job_is($alpha, generate($alpha, 'test', 'first', max_tokens => 2), 'done', 'a first job makes the queue');

# ---- a standby that has most of it ----

$alpha->safe_psql('postgres', "SELECT aurora.set_queue('gpu', lease => '1 minute')");
my $job = generate($alpha, 'test', 'Across leads', max_tokens => 150);
my $waiting = generate($alpha, 'test', 'Behind it', max_tokens => 20, class => "'batch'", run_after => "ARRAY[$job]");
stored($beta, $job, 10);
$alpha->stop('immediate');
my ($at_death) = $beta->safe_psql('postgres', "SELECT max(token_no) FROM aurora.job_output($job)");
$beta->promote;
text_comes($beta, $server, $job, 'Across leads', 150, 'a lead was lost in mid stream');
is_sql($beta, "SELECT attempt FROM aurora.jobs WHERE job_id = $job", '1', '... by the attempt that was running');
cmp_ok($at_death, '<', 150, "... of which the old lead had only $at_death tokens");
is_sql($beta, "SELECT bool_or(restarted) FROM aurora.job_output($job)", 'f', '... and readers notice nothing');
text_comes($beta, $server, $waiting, 'Behind it', 20, 'a job that waited for it');
my $new = generate($beta, 'test', 'Anew', max_tokens => 20);
text_comes($beta, $server, $new, 'Anew', 20, 'a job of the new lead');
comes($beta, "SELECT string_agg(state, ' ') FROM aurora.devices WHERE node = 'delta'", 'the new lead has the device', 'ready');
like(worker_log($worker), qr/database not connected.*database connected/s, 'the log tells');

# ---- a standby that lacks the last of it ----

follow($gamma, $beta);
$job = generate($beta, 'test', 'With a gap', max_tokens => 150);
stored($beta, $job, 10);
catch_up($beta, $gamma);
follow($gamma, 1);
my $kept = $gamma->safe_psql('postgres', "SELECT max(token_no) FROM aurora.job_output($job)");
stored($beta, $job, $kept + 10);
$beta->stop('immediate');
$gamma->promote;
text_comes($gamma, $server, $job, 'With a gap', 150, 'a lead was lost with text that the next one lacks');
is_sql($gamma, "SELECT attempt FROM aurora.jobs WHERE job_id = $job", '1', '... which the worker had kept');
is_sql($gamma, "SELECT bool_or(restarted) FROM aurora.job_output($job)", 'f', '... and readers of the new lead notice nothing');
is(end_worker($worker), 0, 'the worker ends well');
unlike(worker_log($worker), qr/Sanitizer|runtime error/, '... and its memory was in order');

done_testing();
