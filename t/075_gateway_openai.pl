# OpenAI's own client asks the gateway, and a worker of a GPU node answers: by models, chat, streams and
# embeddings, with the errors that the client knows, and a job that ends when its client has gone.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGateway;
use AuroraGpuWorker;
use AuroraHttp;
use AuroraNodes;
use AuroraTimeLimit;
use Encode ();
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => gateway_is_missing()) if gateway_is_missing();
plan(skip_all => 'there is no npm') if system('command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1') != 0;

# The client into a folder of the test; its newer versions want a newer node.
my $folder = PostgreSQL::Test::Utils::tempdir();
my ($major) = `node --version` =~ /^v(\d+)/;
my $version = $major >= 22 ? '7.59.0' : $major >= 20 ? '6.49.0' : '4.104.0';
my $said = '';
{
    local $ENV{npm_config_cache} = "$folder/cache";
    IPC::Run::run([ qw(npm install --no-audit --no-fund --no-save --ignore-scripts --loglevel=error --fetch-retries=1 --prefix), $folder, "openai\@$version" ],
        '<', \undef, '>', \$said, '2>&1', IPC::Run::timeout(180)) or plan(skip_all => 'npm could not install the client: ' . substr($said, 0, 200));
}
note("openai $version");
system('cp', "$FindBin::RealBin/lib/openai_client.mjs", $folder) == 0 or die 'the client cannot be copied';

my $world = new_gateway_world('alpha', 'beta');
my ($lead, $standby) = @$world{qw(lead standby)};
my $key = $world->{key}{ann};
my $server = start_server('model_server', '--delay', '100', '--slots', '4');
my $worker = start_worker($lead, 'beta', 'backend local' => { url => "http://127.0.0.1:$server->{port}/v1", probe_interval => '300ms' });
my $gateway = start_gateway($standby, lead => $lead);
my $nginx = start_nginx('nginx', $gateway->{sockets});
my $web = port_of($nginx);

comes($standby, "SELECT count(*) = 1 FROM aurora.devices WHERE live AND 'test' = ANY (models)", 'a device has a model');
my ($out, $err) = ('', '');
IPC::Run::run([ 'node', "$folder/openai_client.mjs", "http://127.0.0.1:$web/v1", $key ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(180));
is($err, '', 'the client has nothing to complain about');
my $got = eval { decode_json($out) } // {};
my $text = uncut_text($server, 'Why is the sky blue?', 12);

# What a call gave, which did not fail.
sub of
{
    my ($name) = @_;

    diag("$name: " . encode_json($got->{$name}{failed})) if ref $got->{$name} eq 'HASH' && $got->{$name}{failed};
    return $got->{$name} // {};
}

ok((grep { $_ eq 'test' } @{ ref of('models') eq 'ARRAY' ? of('models') : [] }), 'models are listed');
is($got->{model}, 'test', 'one is looked up');
is(of('no_model')->{status}, 404, '... and one that is not there is not found');
my $chat = of('chat');
is($chat->{object}, 'chat.completion', 'a chat is answered');
is($chat->{choices}[0]{message}{role}, 'assistant', '... by the assistant');
ok(length($chat->{choices}[0]{message}{content} // ''), '... with words');
is($chat->{choices}[0]{finish_reason}, 'length', '... up to the limit');
is($chat->{usage}{completion_tokens}, 12, '... of so many tokens');
my $streamed = of('streamed');
cmp_ok($streamed->{parts} // 0, '>', 1, 'a chat streams');
is($streamed->{text}, $chat->{choices}[0]{message}{content}, '... with the same words');
is($streamed->{finish}, 'length', '... and the same end');
is($streamed->{usage}{completion_tokens}, 12, '... and what it used');
is(of('embeddings')->{count}, 2, 'texts are embedded');
cmp_ok(of('embeddings')->{numbers} // 0, '>', 0, '... as numbers');
is(of('embeddings')->{index}, 1, '... in their order');
is_deeply([ @{ of('unknown_model') }{qw(name status code)} ], [ 'NotFoundError', 404, 'model_not_found' ], 'an unknown model has its error');
is_deeply([ @{ of('bad_temperature') }{qw(name status)} ], [ 'BadRequestError', 400 ], 'so has a value out of range');
is_deeply([ @{ of('no_messages') }{qw(name status)} ], [ 'BadRequestError', 400 ], '... and a chat without messages');
is_deeply([ @{ of('tools') }{qw(name status param)} ], [ 'BadRequestError', 400, 'tools' ], '... and what cannot be had');
is_deeply([ @{ of('wrong_key') }{qw(name status)} ], [ 'AuthenticationError', 401 ], '... and a wrong key');
is(of('abandoned')->{parts}, 3, 'a client goes away in the middle');
comes($lead, "SELECT state = 'cancelled' FROM aurora.jobs ORDER BY job_id DESC LIMIT 1", '... and its job is cancelled');
ok(wait_until(sub { request($server->{port}, 'GET', '/slots')->{body} !~ /"is_processing":true/ }), '... which the model server is told');

# The gateway's own way of asking.
my $stream = open_events($web, '/api/gpu/generate', method => 'POST', key => $key,
    json => { model => 'test', prompt => 'Why is the sky blue?', max_tokens => 12, stream => JSON::PP::true() });
is($stream->{answer}{status}, 200, 'generate() streams, too') or diag(($stream->{read}));
my $words = '';
while (my $event = next_event($stream))
{
    my $data = eval { decode_json($event->{data}) } // {};

    $words .= $data->{text} // '';
    last if $data->{finish_reason};
}
is(Encode::encode('UTF-8', $words), $text, '... and gives the text that it should');
my $answer = request($web, 'POST', '/api/gpu/generate', key => $key, json => { model => 'test', prompt => 'x', max_tokens => 4 });
like($answer->{status}, qr/^20[012]$/, 'without a stream it gives a job') or diag($answer->{body});
is(request($web, 'GET', "/api/gpu/$_", key => $key)->{status}, 200, "/api/gpu/$_ is there") for qw(status queue);

is(end_worker($worker), 0, 'the worker ends well');

# A unique key is the company's: who may not see the job that has it is given nothing of it, and who goes
# ends only a job that was made for him. Without a worker the job waits meanwhile.
my %long = (model => 'test', prompt => 'Go on for ever', unique_key => 'daily report');

# A stream of the job with the unique key, asked for with a key: the answer, and the number of the job.
sub ask_for_report
{
    my ($who) = @_;
    my $report = open_events($web, '/api/gpu/generate', method => 'POST', key => $who, json => { %long, stream => JSON::PP::true() });
    my $event = $report->{answer}{status} == 200 ? next_event($report) : undef;

    $report->{job_id} = decode_json($event->{data})->{job_id} if $event;
    return $report;
}

my $mine = ask_for_report($key);
ok($mine->{job_id}, 'a job with a unique key is a stream');
for my $who (qw(bob scout eve))
{
    my $other = ask_for_report($world->{key}{$who});
    my $is_other = $who eq 'eve' ? defined $other->{job_id} && $other->{job_id} != $mine->{job_id} : $other->{answer}{status} == 403;

    ok($is_other, $who eq 'eve' ? 'another company has the key for itself' : "$who, who may not see it, is not shown it")
      or diag("status $other->{answer}{status}, job " . ($other->{job_id} // 'none'));
    disconnect($other);
}
my $found = request($web, 'POST', '/api/gpu/generate', key => $world->{key}{bob}, json => \%long)->{json}{job_id};
is($found, $mine->{job_id}, 'its number is all that is told of it');
is(request($web, 'GET', "/api/gpu/jobs/$found" . ($_->[1] // ''), key => $world->{key}{bob}, headers => $_->[2] // [])->{status}, 404, "... $_->[0]")
  for ['neither the job'], [ 'nor its text', '/output' ], [ 'nor that as a stream', '/output', [ Accept => 'text/event-stream' ] ];
like(request($web, 'POST', "/api/gpu/jobs/$found/cancel", key => $world->{key}{bob}, json => {})->{status}, qr/^40[34]$/, '... and it is not cancelled');
my $second = ask_for_report($key);
is($second->{job_id}, $mine->{job_id}, 'who asks twice follows the same job');
disconnect($second);
sleep(2);
is_sql($lead, "SELECT state FROM aurora.jobs WHERE job_id = $mine->{job_id}", 'waiting', '... which goes on when the second reader goes');

# A key that is revoked shows no more text, and an Aurora-LSN is waited for also by streams.
my $spare = add_key($lead, "'spare', owner => 'ann', company => 'Acme'");
catch_up($lead, $standby);
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
my $new = request($web, 'POST', '/api/gpu/generate', key => $key, json => { model => 'test', prompt => 'Go on for ever' });
my $watched = open_events($web, "/api/gpu/jobs/$new->{json}{job_id}/output", key => $spare, headers => [ 'Aurora-LSN' => $new->{headers}{'aurora-lsn'} ]);
is($watched->{answer}{status}, 200, 'a stream of what was just submitted waits for it');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is(next_event($watched)->{event}, 'job', '... and begins');
$lead->safe_psql('postgres', "SELECT aurora.revoke_api_key(key_id) FROM aurora.api_keys WHERE name = 'spare'");
my ($event, $told);
do { $event = next_event($watched, 30); $told = $event if $event && ($event->{event} // '') eq 'error' } while ($event);
like($told ? $told->{data} : '', qr/no valid API key/, 'a key that is revoked is shown no more') or diag($told ? $told->{data} : 'nothing was said');
request($web, 'POST', "/api/gpu/jobs/$new->{json}{job_id}/cancel", key => $key, json => {});

# A job that cannot be cancelled since the lead is away is cancelled when it is back.
$lead->stop('fast');
disconnect($mine);
sleep(3);
$lead->start;
comes($lead, "SELECT state = 'cancelled' FROM aurora.jobs WHERE job_id = $mine->{job_id}", '... and ends with the first');


is(end_gateway($gateway), 0, 'the gateway ends well');
unlike(gateway_log($gateway), qr/Sanitizer|runtime error/, '... and its memory was in order');
unlike(gateway_log($gateway), qr/sky blue|Go on for ever/, '... and what was asked is not in the log');
end_nginx($nginx);
stop_server($server);

done_testing();
