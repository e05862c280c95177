# What model servers tell of themselves, each in its own way: vLLM by old and new names, llama-server and
# Ollama. What is loaded, how many slots there are, that others use them; and what loading a model takes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGpuWorker;
use AuroraNodes;
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => programs_are_missing()) if programs_are_missing();

my $lead = new_node_lead('alpha');
my $plain = start_server('plain');

sub backend
{
    my ($server, %option) = @_;

    return { url => "http://127.0.0.1:$server->{port}", probe_interval => '300ms', %option };
}

sub ends_well
{
    my ($worker, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(end_worker($worker), 0, "$name: the worker ends well");
    unlike(worker_log($worker), qr/Sanitizer|runtime error/, "$name: ... and its memory was in order");
    return;
}

# A request of somebody else, which takes a slot until the process that has made it is killed.
sub ask_for_long
{
    my ($server) = @_;
    my $pid = fork() // die "fork: $!";

    if ($pid == 0)
    {
        HTTP::Tiny->new(timeout => 600)->post("http://127.0.0.1:$server->{port}/v1/completions",
            { content => encode_json({ model => 'test-hang', prompt => 'x', stream => JSON::PP::true }) });
        POSIX::_exit(0);
    }
    return $pid;
}

# A server that has more than it can do gets nothing, and then what waits for it.
sub waits_while_full
{
    my ($server, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    signal_worker($server, 'USR2');
    time_passes($lead, 1);
    my $job = generate($lead, 'test', "While it is full");
    time_passes($lead, 2);
    is(job_state($lead, $job), 'waiting', "$name: a server that is full gets nothing");
    signal_worker($server, 'USR2');
    return text_comes($lead, $plain, $job, 'While it is full', 64, "$name: when it has room again");
}

# ---- llama-server ----

my $worker = start_worker($lead, 'alpha', 'backend local' => backend($plain));
comes($lead, "SELECT slots || ' ' || (models @> ARRAY['test']) || ' ' || (resident @> ARRAY['test', 'test-slow']) FROM aurora.devices WHERE state = 'ready'",
    'llama-server: its slots, and that its models are loaded', '4 true true');
job_is($lead, generate($lead, 'test', 'x', max_tokens => 3), 'done', 'llama-server: a job is done');
is_sql($lead, "SELECT result -> 'timings' -> 'load_ms' FROM aurora.jobs WHERE kind = 'test'", 'null', 'llama-server: ... for which nothing was loaded');
my $other = ask_for_long($plain);
comes($lead, 'SELECT sum(busy) FROM aurora.gpu_device', 'llama-server: a slot that somebody else has', '1');
kill('KILL', $other) && waitpid($other, 0);
comes($lead, 'SELECT sum(busy) FROM aurora.gpu_device', 'llama-server: ... until that is over', '0');
waits_while_full($plain, 'llama-server');
ends_well($worker, 'llama-server');

# ---- vLLM ----

for my $names ('new names', 'old names')
{
    my $server = start_server("vllm_$names" =~ tr/ /_/r, '--owner', 'vllm', '--slots', '8', $names eq 'old names' ? '--old-names' : ());

    $worker = start_worker($lead, 'alpha', 'backend local' => backend($server, slots => 2));
    comes($lead, "SELECT slots || ' ' || (resident @> ARRAY['test']) || ' ' || (SELECT context FROM aurora.gpu_model WHERE model = 'test') FROM aurora.devices WHERE state = 'ready'",
        "vLLM, $names: the slots that are configured, what is loaded, and how long a prompt may be", '2 true 8192');
    like(worker_log($worker), qr/event=backend .*kind=vllm/, "vLLM, $names: it is recognised");
    my @others = map { ask_for_long($server) } 1 .. 2;
    comes($lead, 'SELECT sum(busy) FROM aurora.gpu_device', "vLLM, $names: requests of others are counted", '2');
    my $job = generate($lead, 'test', 'Behind others');
    time_passes($lead, 2);
    is(job_state($lead, $job), 'waiting', "vLLM, $names: with as many as slots it gets no more");
    kill('KILL', $_) && waitpid($_, 0) for @others;
    text_comes($lead, $plain, $job, 'Behind others', 64, "vLLM, $names: when they are done");
    waits_while_full($server, "vLLM, $names");
    $job = generate($lead, 'test-cut', 'Cut and gone on with', max_tokens => 10);
    text_comes($lead, $plain, $job, 'Cut and gone on with', 10, "vLLM, $names: a text that was cut");
    is_sql($lead, "SELECT bool_or(restarted) FROM aurora.job_output($job)", 'f', "vLLM, $names: ... goes on where it was");
    signal_worker($server, 'USR1');
    comes($lead, "SELECT bool_or(state = 'down') FROM aurora.devices", "vLLM, $names: an engine that has died is shown");
    ends_well($worker, "vLLM, $names");
    stop_server($server);
}

# ---- Ollama ----

my $ollama = start_server('ollama', '--owner', 'library', '--load', '1500');

$worker = start_worker($lead, 'alpha', 'backend local' => backend($ollama, slots => 4));
comes($lead, "SELECT slots || ' ' || (models @> ARRAY['test', 'test-slow']) || ' ' || coalesce(cardinality(resident), 0) FROM aurora.devices WHERE state = 'ready'",
    'Ollama: its models, none of which is loaded', '4 true 0');
like(worker_log($worker), qr/event=backend .*kind=ollama/, 'Ollama: it is recognised');
comes($lead, "SELECT size FROM aurora.gpu_model WHERE model = 'test'", 'Ollama: a model that is not loaded has the size of its file', '800000');
my @jobs = map { generate($lead, 'test', "Load $_", max_tokens => 10) } 1 .. 3;
text_comes($lead, $plain, $jobs[ $_ - 1 ], "Load $_", 10, "Ollama: job $_ of a model that is loaded for it") for 1 .. 3;
comes($lead, "SELECT resident = ARRAY['test'] FROM aurora.devices", 'Ollama: then it is loaded');
comes($lead, "SELECT size || ' ' || context FROM aurora.gpu_model WHERE model = 'test'", 'Ollama: with the memory that it takes, and its context', '900000 2048');
is_sql($lead, "SELECT loads, load_ms BETWEEN 1400 AND 6000 FROM aurora.gpu_speed WHERE model = 'test' AND load_ms IS NOT NULL", '1|t',
    'Ollama: one of the jobs has taught how long that takes');
is_sql($lead, "SELECT (speeds -> 'test' ->> 'load_ms')::numeric > 1400 FROM aurora.devices", 't', '... which the device shows');
my $warm = generate($lead, 'test', 'Warm', max_tokens => 3);
job_is($lead, $warm, 'done', 'Ollama: the next job is done');
is_sql($lead, "SELECT result -> 'timings' -> 'load_ms' FROM aurora.jobs WHERE job_id = $warm", 'null', '... for which nothing was loaded');
ends_well($worker, 'Ollama');

stop_server($_) for $plain, $ollama;
done_testing();
