# Workers of GPU nodes, and the model servers that they use, which are the project's test server.
#
# A "worker" is a running aurora-gpu-worker of a node; a "server" a running aurora-test-model-server,
# whose text follows from the prompt alone, so that uncut_text() is what a job must give whatever
# happened on the way.
package AuroraGpuWorker;

use strict;
use warnings;

use AuroraCluster;
use AuroraNodes;
use AuroraProgram;
use Exporter 'import';
use Encode ();
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  programs_are_missing server_log worker_log
  start_server stop_server start_worker end_worker kill_worker signal_worker worker_is_over worker_config write_worker_config
  generate job_state job_is text_of uncut_text text_comes
);

my $folder;

# Why there is nothing to test, or ''.
sub programs_are_missing
{
    return program_is_missing('aurora-gpu-worker') || program_is_missing('aurora-test-model-server');
}

sub own_folder
{
    $folder //= PostgreSQL::Test::Utils::tempdir();
    return $folder;
}

# ---- servers ----

# Starts a server; "port" is one of its fields, and has it take the port of one that is gone.
sub start_server
{
    my ($name, @options) = @_;
    my $server = start_program($name, program_path('aurora-test-model-server'), '--owner', 'llamacpp', @options);

    wait_until(sub { -s $server->{log} && slurp_file($server->{log}) =~ /.*listening on http:\/\/127\.0\.0\.1:(\d+)\n/s && ($server->{port} = $1) })
      or die "server $name does not start: " . slurp_file($server->{log});
    return $server;
}

sub stop_server
{
    my ($server) = @_;

    return end_program($server, 'KILL');
}

# ---- workers ----

# A configuration: settings of sections, each a reference to a hash.
sub worker_config
{
    my ($lead, $node, %section) = @_;
    my %all = (
        database => { conninfo => '"' . ($lead->connstr('postgres') =~ s/(["\\])/\\$1/gr) . " user=aurora_node_$node\"" },
        log => { level => 'debug' },
        inventory => { nvml => 'off', smi => 'off', amd => 'off', interval => '500ms' },
        %section,
        worker => { batch_interval => '20ms', report_interval => '1s', %{ $section{worker} // {} } });
    my $text = '';

    for my $name (sort keys %all)
    {
        $text .= "[$name]\n" . join('', map { "$_ = $all{$name}{$_}\n" } sort keys %{ $all{$name} });
    }
    return $text;
}

sub write_worker_config
{
    my ($name, $text) = @_;
    my $path = own_folder() . "/$name.ini";

    open(my $file, '>', $path) or die "$path: $!";
    print $file $text;
    close($file) or die "$path: $!";
    return $path;
}

# Starts a worker of a node with backends of these servers, or with a configuration of these sections.
sub start_worker
{
    my ($lead, $node, %section) = @_;
    my $options = delete $section{options} // [];
    my $name = delete $section{name} // "worker_$node";
    my $config = write_worker_config($name, worker_config($lead, $node, %section));
    my $worker = start_program($name, program_path('aurora-gpu-worker'), '--config', $config, @$options);

    $worker->{config} = $config;
    return $worker;
}

# Has it finish what runs, and returns the status that it ends with.
sub end_worker
{
    my ($worker) = @_;

    return end_program($worker, 'TERM');
}

sub kill_worker
{
    my ($worker) = @_;

    return end_program($worker, 'KILL');
}

sub signal_worker
{
    my ($worker, $signal) = @_;

    return signal_program($worker, $signal);
}

# Waits until it has ended by itself, and returns how.
sub worker_is_over
{
    my ($worker) = @_;

    return program_is_over($worker);
}

sub worker_log
{
    my ($worker) = @_;

    return slurp_file($worker->{log});
}

sub server_log
{
    my ($server) = @_;

    return slurp_file($server->{log});
}

# ---- jobs ----

# Asks for a text of up to 64 tokens; %option are further arguments of generate(), as SQL.
sub generate
{
    my ($lead, $model, $prompt, %option) = @_;
    %option = (max_tokens => 64, %option);
    my $more = join('', map { ", $_ => $option{$_}" } sort keys %option);

    return $lead->safe_psql('postgres', "SELECT aurora.generate('$model', '$prompt'$more)");
}

sub job_state
{
    my ($lead, $job) = @_;

    return $lead->safe_psql('postgres', "SELECT state FROM aurora.jobs WHERE job_id = $job");
}

# Waits until a job is in a state.
sub job_is
{
    my ($lead, $job, $state, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return comes($lead, "SELECT state FROM aurora.jobs WHERE job_id = $job", $name, $state)
      || diag($lead->safe_psql('postgres', "SELECT * FROM aurora.jobs WHERE job_id = $job"));
}

# The text of a job that counts.
sub text_of
{
    my ($lead, $job) = @_;

    return $lead->safe_psql('postgres', "SELECT string_agg(text, '' ORDER BY token_no) FROM aurora.job_output($job)");
}

# What a server says to a prompt when nothing comes between.
sub uncut_text
{
    my ($server, $prompt, $limit) = @_;
    my $answer = HTTP::Tiny->new->post("http://127.0.0.1:$server->{port}/v1/completions",
        { content => encode_json({ model => 'test', prompt => $prompt, max_tokens => $limit // 64 }) });

    return Encode::encode('UTF-8', decode_json($answer->{content})->{choices}[0]{text});
}

# Waits until a job is done, and compares its text with the uncut one.
sub text_comes
{
    my ($lead, $server, $job, $prompt, $limit, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    job_is($lead, $job, 'done', "$name: the job is done");
    return is(text_of($lead, $job), uncut_text($server, $prompt, $limit), "$name: its text is whole, and nothing is in it twice");
}

1;
