# A worker of a GPU node: text streams into the job, and nothing of it is lost or doubled when workers
# die, the database goes away, jobs are cancelled, or the worker is told to end.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGpuWorker;
use AuroraNodes;
use AuroraSecrets;
use HTTP::Tiny;
use IO::Socket::UNIX;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => programs_are_missing()) if programs_are_missing();

my $lead = new_secret_lead('alpha', [ fernet_key() ]);
my $slow = start_server('slow_server', '--delay', '40', '--slots', '3');
my $quick = start_server('quick_server');

sub backend
{
    my ($server, %option) = @_;

    return { url => "http://127.0.0.1:$server->{port}/v1", probe_interval => '300ms', %option };
}

# How much of a job's text is stored.
sub stored
{
    my ($job, $tokens) = @_;

    return comes($lead, "SELECT coalesce(max(token_no), 0) >= $tokens FROM aurora.job_output($job)", "$tokens tokens of job $job are there");
}

sub device_is
{
    my ($state, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return comes($lead, "SELECT bool_or(state = '$state') FROM aurora.devices", $name);
}

# Ends a worker, which must have nothing to complain about in memory or at its end.
sub ends_well
{
    my ($worker, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    is(end_worker($worker), 0, "$name ends well");
    unlike(worker_log($worker), qr/Sanitizer|runtime error/, '... and its memory was in order');
    return;
}

# ---- what it does ----

my $worker = start_worker($lead, 'alpha', 'backend local' => backend($quick));
device_is('ready', 'the device is reported, and ready');
is_sql($lead, 'SELECT kind, slots, models @> ARRAY[\'test\'] FROM aurora.devices', 'cpu|4|t', 'it has the slots and models of its backend');

my $job = generate($lead, 'test', 'Hello');
text_comes($lead, $quick, $job, 'Hello', 64, 'a prompt');
$lead->safe_psql('postgres', "SELECT aurora.set_queue('gpu', lease => '4 seconds')");
my $result = decode_json($lead->safe_psql('postgres', "SELECT result FROM aurora.jobs WHERE job_id = $job"));
is($result->{usage}{completion_tokens}, 64, 'the result has the tokens');
ok($result->{timings}{decode_ms} > 0 && defined $result->{timings}{first_token_ms}, '... and times');
like($result->{finish_reason}, qr/^(?:length|stop)$/, '... and why it ended');

$job = $lead->safe_psql('postgres',
    q{SELECT aurora.generate('test', messages => '[{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]', max_tokens => 9)});
job_is($lead, $job, 'done', 'a chat is done');
is_sql($lead, "SELECT max(token_no) <= 9 AND string_agg(text, '') <> '' FROM aurora.job_output($job)", 't', '... within its limit');

$job = $lead->safe_psql('postgres', q{SELECT aurora.embed('test', '["one", "two", "three"]')});
job_is($lead, $job, 'done', 'vectors are made');
is_sql($lead, "SELECT jsonb_array_length(result -> 'embeddings'), result -> 'embeddings' -> 0 = result -> 'embeddings' -> 1 FROM aurora.jobs WHERE job_id = $job",
    '3|f', '... one for each input');
my $single = $lead->safe_psql('postgres', q{SELECT aurora.embed('test', '"two"')});
job_is($lead, $single, 'done', 'a vector is made');
is_sql($lead, "SELECT a.result -> 'embeddings' -> 1 = b.result -> 'embeddings' -> 0 FROM aurora.jobs a, aurora.jobs b WHERE a.job_id = $job AND b.job_id = $single",
    't', '... and they come in the order of the input');

$job = generate($lead, 'test-long', 'x', timeout => "'1 second'");
comes($lead, "SELECT state IN ('dead', 'cancelled') FROM aurora.jobs WHERE job_id = $job", 'a job whose time is up is given up');
unlike(worker_log($worker), qr/Hello/, 'the log has no prompt');
ends_well($worker, 'an idle worker');

# ---- kill -9 in mid stream ----

$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow));
$job = generate($lead, 'test', 'Tell me');
stored($job, 10);
kill_worker($worker);
is(job_state($lead, $job), 'running', 'the worker is killed in mid stream');
$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow));
text_comes($lead, $quick, $job, 'Tell me', 64, 'after a worker was killed');
is_sql($lead, "SELECT attempt FROM aurora.jobs WHERE job_id = $job", '2', '... by the second attempt');
is_sql($lead, "SELECT bool_or(restarted) FROM aurora.job_output($job)", 'f', '... which went on where the first was');
like(worker_log($worker), qr/job started.* job=$job attempt=2 .*resumed_tokens=[1-9]/, '... as the log says');
my $server_tokens = $lead->safe_psql('postgres', "SELECT (result -> 'usage' ->> 'completion_tokens')::int FROM aurora.jobs WHERE job_id = $job");
cmp_ok($server_tokens, '<', 60, '... so that the server made only the rest');
ends_well($worker, 'the second worker');

$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow, continue => 'never'));
$job = generate($lead, 'test', 'Once more');
stored($job, 10);
kill_worker($worker);
$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow, continue => 'never'));
text_comes($lead, $quick, $job, 'Once more', 64, 'where a server cannot go on');
is_sql($lead, "SELECT bool_or(restarted) FROM aurora.job_output($job)", 't', '... the restart is visible');

# ---- cancel in every state ----

sub cancels
{
    my ($canceled, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    $lead->safe_psql('postgres', "SELECT aurora.cancel_job($canceled)");
    return job_is($lead, $canceled, 'cancelled', "cancelled $name");
}

my @filling = map { generate($lead, 'test-slow', "fill $_") } 1 .. 3;
comes($lead, 'SELECT sum(busy) = 3 FROM aurora.devices', 'all slots are busy');
$job = generate($lead, 'test', 'waits');
is(job_state($lead, $job), 'waiting', 'one waits');
cancels($job, 'while it waits');
stored($filling[0], 3);
cancels($filling[0], 'in mid stream');
is_sql($lead, "SELECT string_agg(text, '') <> '' FROM aurora.job_output($filling[0])", 't', '... and keeps the text that there is');
like(worker_log($worker), qr/job cancelled.* job=$filling[0] /, '... as the log says');
cancels($_, 'in mid stream, too') for @filling[ 1, 2 ];
$job = generate($lead, 'test-hang-head', 'x');
job_is($lead, $job, 'running', 'a job runs whose server says nothing');
cancels($job, 'before the head');
$job = generate($lead, 'test-hang', 'x');
stored($job, 4);
cancels($job, 'while its server hangs');
$job = generate($lead, 'test', 'done');
job_is($lead, $job, 'done', 'a job is done');
is_sql($lead, "SELECT aurora.cancel_job($job)", 'done', '... and stays so');
comes($lead, 'SELECT sum(busy) = 0 FROM aurora.devices', 'all slots are free again');

# ---- the database goes away ----

ends_well($worker, 'a worker whose jobs were cancelled');
$lead->safe_psql('postgres', "SELECT aurora.set_queue('gpu', lease => '1 minute')");
$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow));
$job = generate($lead, 'test', 'Without a database');
stored($job, 5);
$lead->stop('immediate');
wait_until(sub { worker_log($worker) =~ /database not connected/ }) or die 'the worker does not notice';
wait_until(sub { HTTP::Tiny->new->get("http://127.0.0.1:$slow->{port}/slots")->{content} !~ /"is_processing":true/ });
$lead->start;
text_comes($lead, $quick, $job, 'Without a database', 64, 'without a database for a while');
is_sql($lead, "SELECT attempt FROM aurora.jobs WHERE job_id = $job", '1', '... it finished into memory');

ends_well($worker, 'a worker that was without a database');
$lead->safe_psql('postgres', "SELECT aurora.set_queue('gpu', lease => '4 seconds')");
$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow));

# A worker that sleeps for longer than its lease has lost the job, and lets go of it.
$job = generate($lead, 'test', 'Too late');
stored($job, 5);
signal_worker($worker, 'STOP');
my $other = start_worker($lead, 'alpha', name => 'other', 'backend local' => backend($slow));
text_comes($lead, $quick, $job, 'Too late', 64, 'with a worker that slept');
signal_worker($worker, 'CONT');
ok(wait_until(sub { worker_log($worker) =~ /job lost.* job=$job / }), 'the one that slept drops the job');
is_sql($lead, "SELECT attempt FROM aurora.jobs WHERE job_id = $job", '2', '... which another one has done');

# ---- two workers for one device ----

my @many = map { generate($lead, 'test', "many $_", max_tokens => 8) } 1 .. 24;
for my $one (@many)
{
    $lead->poll_query_until('postgres', "SELECT state = 'done' FROM aurora.jobs WHERE job_id = $one") or last;
}
is_sql($lead, 'SELECT count(*) FROM aurora.jobs WHERE state = \'done\' AND attempt = 1 AND job_id IN (' . join(',', @many) . ')', '24',
    'two workers share the slots of a device, and never ask its server for more than it has');
ends_well($other, 'the other worker');

# ---- an end that is asked for ----

$job = generate($lead, 'test', 'To the end');
stored($job, 5);
ends_well($worker, 'a worker with a job');
is(job_state($lead, $job), 'done', '... which it has finished');
is(text_of($lead, $job), uncut_text($quick, 'To the end'), '... to the last word');
like(worker_log($worker), qr/draining.* jobs=1 /, '... as the log says');

$worker = start_worker($lead, 'alpha', worker => { drain_limit => '200ms' }, 'backend local' => backend($slow));
$job = generate($lead, 'test', 'Given back');
stored($job, 5);
ends_well($worker, 'a worker that may not wait');
is(job_state($lead, $job), 'waiting', 'it gives its job back');
$worker = start_worker($lead, 'alpha', 'backend local' => backend($slow));
text_comes($lead, $quick, $job, 'Given back', 64, 'given back');
is_sql($lead, "SELECT bool_or(restarted) FROM aurora.job_output($job)", 'f', '... and gone on with');
is_sql($lead, "SELECT j.attempt, j.max_attempts - q.max_attempts FROM aurora.jobs j, aurora.job_queue q WHERE j.job_id = $job AND q.name = 'gpu'", '2|1',
    '... without having used up one of its attempts');

# ---- a configuration that is read again ----

write_worker_config('worker_alpha', "[backend local\nurl = x\n");
signal_worker($worker, 'HUP');
ok(wait_until(sub { worker_log($worker) =~ /configuration not reloaded.*line 1/ }), 'a bad configuration is refused');
$job = generate($lead, 'test', 'Still here');
stored($job, 3);
write_worker_config('worker_alpha', worker_config($lead, 'alpha', 'backend other' => backend($quick, slots => 2)));
signal_worker($worker, 'HUP');
comes($lead, 'SELECT slots = 2 FROM aurora.devices', 'a good one is taken');
text_comes($lead, $quick, $job, 'Still here', 64, 'a job of the configuration before');
ends_well($worker, 'a worker with another configuration');

# ---- keys of servers ----

my $locked = start_server('locked_server', '--api-key', 'open-sesame');
$lead->safe_psql('postgres', q{SELECT aurora.put_secret('llm', 'key', 'wrong'), aurora.grant_secret('aurora_node_alpha', 'llm')});
$worker = start_worker($lead, 'alpha', 'backend local' => backend($locked, api_key_secret => 'llm/key'));
ok(wait_until(sub { worker_log($worker) =~ /state=down.*401/ }), 'a server refuses a key');
ends_well($worker, 'its worker');
$lead->safe_psql('postgres', q{SELECT aurora.put_secret('llm', 'key', 'open-sesame')});
$worker = start_worker($lead, 'alpha', 'backend local' => backend($locked, api_key_secret => 'llm/key'));
comes($lead, q{SELECT models @> ARRAY['test'] FROM aurora.devices WHERE state = 'ready'}, 'a server takes the key that the database has');
$job = generate($lead, 'test', 'Secret');
text_comes($lead, $quick, $job, 'Secret', 64, 'with a key from the database');
unlike(worker_log($worker), qr/sesame/, 'the key is not in the log');
ends_well($worker, 'its worker');

# ---- commands ----

$worker = start_worker($lead, 'alpha',
    'backend cat' => { command => 'sed "s/^/{model} says: /"', models => 'echo', slots => 2 },
    'backend bad' => { command => 'sh -c "exit 64"', models => 'refuses' },
    'backend worse' => { command => 'sh -c "exit 1"', models => 'breaks' },
    'backend none' => { command => '/nowhere/at/all', models => 'missing' },
    'backend long' => { command => 'sleep 1000', models => 'sleeps' });
comes($lead, q{SELECT models @> ARRAY['echo', 'refuses', 'breaks', 'missing', 'sleeps'] FROM aurora.devices WHERE state = 'ready'}, 'commands are ready');
$job = generate($lead, 'echo', "it''s\nme; exit");
job_is($lead, $job, 'done', 'a command is done');
is(text_of($lead, $job), "echo says: it's\necho says: me; exit", '... and says what it was told');
my %of = map { $_ => generate($lead, $_, 'x') } qw(refuses breaks missing sleeps);
job_is($lead, $of{refuses}, 'dead', 'a command that refuses its input is not run again');
job_is($lead, $of{missing}, 'dead', 'nor one that is not there');
comes($lead, "SELECT error LIKE '%status 1%' FROM aurora.jobs WHERE job_id = $of{breaks}", 'one that breaks is');
job_is($lead, $of{sleeps}, 'running', 'one takes long');
cancels($of{sleeps}, 'while a command runs');
cancels($of{breaks}, 'between attempts');
ends_well($worker, 'a worker with commands');

# ---- devices ----

my $folder = PostgreSQL::Test::Utils::tempdir();

sub write_devices
{
    my (@lines) = @_;

    open(my $file, '>', "$folder/nvidia-smi.new") or die $!;
    print $file "#!/bin/sh\n", map { "echo '$_'\n" } @lines;
    close($file);
    chmod(0755, "$folder/nvidia-smi.new");
    return rename("$folder/nvidia-smi.new", "$folder/nvidia-smi");
}

my @cards = map { "$_, GPU-$_, Card $_, 24000, 1000, 23000, 5, 40, 80.5, 450, 550.54, 8.9" } 0, 1;
write_devices(@cards);
$worker = start_worker($lead, 'alpha',
    inventory => { nvml => 'off', amd => 'off', nvidia_smi => "$folder/nvidia-smi", interval => '500ms' },
    'backend first' => backend($quick), 'backend second' => backend($slow, device => 1));
comes($lead, "SELECT string_agg(index || name || state || slots || temperature, ' ' ORDER BY index) FROM aurora.devices", 'two devices are reported',
    '0Card 0ready440 1Card 1ready340');
write_devices($cards[0], '1, GPU-1, [GPU is lost], [GPU is lost], , , , , , , , ');
comes($lead, "SELECT state || problem FROM aurora.devices WHERE index = 1", 'one is lost', 'lostGPU is lost');
my @jobs = map { generate($lead, 'test', "lost $_", max_tokens => 4) } 1 .. 6;
job_is($lead, $_, 'done', "job $_ is done on the other one") for @jobs;
is_sql($lead, 'SELECT DISTINCT taker FROM aurora.jobs WHERE job_id IN (' . join(',', @jobs) . ')', 'alpha/0', 'nothing is taken for the lost one');
like(worker_log($worker), qr/device lost.* device=1 /, 'the log says so');
write_devices(@cards);
comes($lead, "SELECT state = 'ready' FROM aurora.devices WHERE index = 1", 'it comes back');
write_devices();
comes($lead, "SELECT string_agg(kind, ' ') = 'cpu' FROM aurora.devices", 'without any the processor is one');
ends_well($worker, 'a worker with devices');

# ---- the service manager ----

my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$folder/notify") or die "socket: $!";
my $told = '';
{
    local $ENV{NOTIFY_SOCKET} = "$folder/notify";
    local $ENV{WATCHDOG_USEC} = 200_000;
    $worker = start_worker($lead, 'alpha', 'backend local' => backend($quick));
}
$socket->blocking(0);

# Waits until the manager has been told that.
sub is_told
{
    my ($pattern, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok(wait_until(sub { while (defined $socket->recv(my $datagram, 1000)) { $told .= "$datagram\n" } return $told =~ $pattern }), $name);
}

is_told(qr/^READY=1$/m, 'the service manager is told when the worker is ready');
is_told(qr/WATCHDOG=1\n.*WATCHDOG=1\n/s, '... that it lives');
is_told(qr/^STATUS=1 devices by cpu/m, '... and what it has');
ends_well($worker, 'a worker with a manager');
is_told(qr/^STOPPING=1$/m, '... and that it ends');

# ---- once, and a look ----

$worker = start_worker($lead, 'alpha', 'backend local' => backend($quick));
comes($lead, "SELECT models @> ARRAY['test'] FROM aurora.devices", 'a device has the model');
ends_well($worker, 'its worker');
@many = map { generate($lead, 'test', "once $_", max_tokens => 5) } 1 .. 6;
$worker = start_worker($lead, 'alpha', options => ['--once'], 'backend local' => backend($quick));
is(worker_is_over($worker), 0, 'a worker runs what there is, and ends');
is_sql($lead, 'SELECT count(*) FROM aurora.jobs WHERE state = \'done\' AND job_id IN (' . join(',', @many) . ')', '6', '... with all of it');

$worker = start_worker($lead, 'alpha', name => 'check', options => ['--check'], 'backend local' => backend($quick));
is(worker_is_over($worker), 0, 'a look finds all well');
like(worker_log($worker), qr/^device .*^backend +local +llama-server, 4 slots/ms, '... and says what is there');
like(worker_log($worker), qr/^database +aurora_node_alpha +connected/m, '... with the database');
$worker = start_worker($lead, 'alpha', name => 'bad_check', options => ['--check'], 'backend local' => { url => 'http://127.0.0.1:1' });
is(worker_is_over($worker), 256, 'a look at a server that is not there finds that');
like(worker_log($worker), qr/^backend +local +PROBLEM: /m, '... and says it');

$worker = start_worker($lead, 'alpha', name => 'help', options => ['--help']);
is(worker_is_over($worker), 0, 'there is help');
like(worker_log($worker), qr/--config.*--check.*--once/s, '... about the options');
$worker = start_worker($lead, 'alpha', name => 'wrong', options => ['--wrong']);
is(worker_is_over($worker), 512, 'a wrong option is refused');
$worker = start_worker($lead, 'alpha', name => 'broken', worker => { drain_limit => '5 apples' });
is(worker_is_over($worker), 512, 'a wrong configuration is refused');
like(worker_log($worker), qr/line \d+: drain_limit is a time with a unit.*\nhint: /, '... with a hint');

stop_server($_) for $slow, $quick, $locked;
done_testing();
