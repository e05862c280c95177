# The gateway behind nginx, on the lead and on a standby: every route with everything that can be wrong
# with a request, who may what, reading one's own writes, and what neither caches nor logs may have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraGateway;
use AuroraHttp;
use AuroraNodes;
use AuroraProgram;
use AuroraRoutes;
use AuroraTimeLimit;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

plan(skip_all => gateway_is_missing()) if gateway_is_missing();

my $world = new_gateway_world('alpha', 'beta');
my ($lead, $standby) = @$world{qw(lead standby)};
my %key = %{ $world->{key} };
my %cors = (gateway => { origins => 'https://aurora.example.com' });
my $on_lead = start_gateway($lead, %cors);
my $on_standby = start_gateway($standby, lead => $lead, %cors);
my $nginx = start_nginx('nginx', $on_standby->{sockets});
my ($direct, $web, $at_lead) = (socket_of($on_standby), port_of($nginx), socket_of($on_lead));

# Both nodes, and the way there.
my %place = ('on the lead' => $at_lead, 'on the standby' => $web);

sub item_of
{
    my ($owner) = @_;

    return $lead->safe_psql('postgres', "SELECT min(item_id) FROM aurora.item WHERE owner = '$owner' AND state = 'open'");
}

sub stderr_of
{
    my (@options) = @_;
    my ($out, $err) = ('', '');

    IPC::Run::run([ program_path('aurora-gateway'), @options ], '<', \undef, '>', \$out, '2>', \$err);
    return ($? >> 8, $out, $err);
}

# ---- options ----

my ($status, $out, $err) = stderr_of('--version');
like($out, qr/^aurora-gateway \S+\n\z/, 'the program tells its version');
($status, my $description) = stderr_of('--openapi');
is($status, 0, '... and describes its routes without a configuration');
($status, $out) = stderr_of('--api-docs');
is($out, slurp_file("$FindBin::RealBin/../docs/api.md"), 'docs/api.md is what it prints');
($status, $out, $err) = stderr_of('--wrong');
is($status, 2, 'a wrong option is refused');
($status, $out, $err) = stderr_of('--config', "$on_lead->{sockets}/gateway.ini", '--check');
is($status, 0, 'a look finds all well') or diag($out, $err);
write_gateway_config({ sockets => "$on_lead->{sockets}" }, "[gateway]\nbody_limit = 5 apples\n");
($status, $out, $err) = stderr_of('--config', "$on_lead->{sockets}/gateway.ini");
is($status, 2, 'a wrong configuration is refused');
like($err, qr/line 2.*body_limit/, '... with its place');

# ---- all routes ----

my @routes = routes_of($description);
my %known = (
    node_name => 'alpha', node => 'alpha', name => 'alpha', topic => 'orders', service => 'hubspot', key_name => 'token', q => 'Q1_DO_NOW',
    quadrant => 'Q1_DO_NOW', item_id => 1_000_000, id => 1_000_000, job_id => 1_000_000, provider => 'nobody');

cmp_ok(scalar(@routes), '>', 30, scalar(@routes) . ' routes are described');
for my $where (sort keys %place)
{
    my $answer = request($place{$where}, 'GET', '/openapi.json');

    is($answer->{body}, $description, "the description is served $where");
    # A session is ended by who has one, and what /ws wants stands in the test of abuse.
    for my $route (grep { !$_->{is_open} && "$_->{method} $_->{path}" !~ m{^DELETE /api/session$|^GET /ws$} } @routes)
    {
        my ($method, $path, @body) = sample_request($route, \%known);
        my $name = "$route->{method} $route->{path} $where";

        $answer = request($place{$where}, $method, $path, @body);
        has_problem($answer, 401, "$name wants a key");
        like($answer->{headers}{'www-authenticate'}, qr/^Bearer/, '... as a bearer');
        has_problem(request($place{$where}, $method, $path, @body, key => 'aur_' . 'A' x 43), 401, "$name refuses a key that there is not");
        has_problem(request($place{$where}, $method, $path, @body, key => 'x'), 401, "$name refuses what is no key");
    }
    for my $route (@routes)
    {
        my @wrong = wrong_requests($route, \%known);
        my @passed;

        for my $wrong (@wrong)
        {
            my ($what, $method, $path, %option) = @$wrong;

            # What is wrong is found before the key is checked, or behind it; never does it get through.
            $answer = request($place{$where}, $method, $path, %option, key => $key{ann});
            push(@passed, "$what: $answer->{status} $answer->{body}") if $answer->{status} !~ /^(400|403|404|413|415|422)$/;
        }
        is(join("\n", @passed), '', "$route->{method} $route->{path} $where refuses each of " . @wrong . ' wrong requests');
    }
}

my %of_path;
push(@{ $of_path{ $_->{path} } }, $_->{method}) for @routes;
for my $path (sort keys %of_path)
{
    my ($method) = grep { my $m = $_; !grep { $_ eq $m } @{ $of_path{$path} } } qw(DELETE PATCH PUT);
    my $answer = request($web, $method, $path =~ s/\{(\w+)\}/$known{$1} \/\/ 1/ger, key => $key{ann});

    has_problem($answer, 405, "$method of $path is not allowed");
    like($answer->{headers}{allow}, qr/\b$_\b/, "... but $_") for @{ $of_path{$path} };
}
has_problem(request($web, 'GET', '/api/nothing', key => $key{ann}), 404, 'what is not there is not found');
is(request($web, 'HEAD', '/api/priorities/surface', key => $key{ann})->{status}, 200, 'HEAD is GET');
is(request($web, 'HEAD', '/api/priorities/surface', key => $key{ann})->{body}, '', '... without a body');

# ---- ports ----

is(request(port_of($nginx, 'priorities'), 'GET', '/api/priorities/surface', key => $key{ann})->{status}, 200, 'the port of priorities has priorities');
has_problem(request(port_of($nginx, 'priorities'), 'GET', '/api/secrets', key => $key{ann}), 404, '... and no secrets');
has_problem(request(port_of($nginx, 'gpu'), 'GET', '/nodes', key => $key{ann}), 404, 'the port of the GPU mesh has no registry');
is(request(port_of($nginx, $_), 'GET', '/live')->{status}, 200, "the port of $_ says that it lives") for qw(web events gpu priorities secrets registry);

# ---- whose is what ----

for my $where (sort keys %place)
{
    my $surface = sub { my ($who) = @_; return request($place{$where}, 'GET', '/api/priorities/surface?top_n=5', key => $key{$who}) };

    is(scalar(@{ $surface->('ann')->{json} }), 5, "ann has her surface $where");
    is(scalar(grep { $_->{title} !~ /of ann/ } @{ $surface->('ann')->{json} }), 0, '... with her own');
    is(scalar(grep { $_->{title} !~ /of eve/ } @{ $surface->('eve')->{json} }), 0, 'eve of another company has hers');
    has_problem($surface->('watch'), 403, 'a monitor has none');
    has_problem($surface->('alpha'), 403, 'nor has a node');
    my $item = item_of('ann');

    is(request($place{$where}, 'GET', "/api/priorities/items/$item/explain", key => $key{ann})->{status}, 200, "ann has her item explained $where");
    has_problem(request($place{$where}, 'GET', "/api/priorities/items/$item/explain", key => $key{eve}), 404, '... and for eve it is not there');
    has_problem(request($place{$where}, 'POST', "/api/priorities/items/$item/complete", key => $key{eve}, json => {}), 404, '... nor can she complete it');
    has_problem(request($place{$where}, 'GET', '/metrics', key => $key{ann}), 403, 'metrics are not for ann');
    like(request($place{$where}, 'GET', '/metrics', key => $key{watch})->{body}, qr/# EOF\n\z/, '... but for a monitor');
}
is_sql($lead, 'SELECT state FROM aurora.item WHERE item_id = ' . item_of('ann'), 'open', 'nothing of ann has been changed');

my $narrow = add_key($lead, "'narrow', owner => 'ann', company => 'Acme', routes => '{GET /api/priorities/*}'");
catch_up($lead, $standby);
is(request($web, 'GET', '/api/priorities/surface', key => $narrow)->{status}, 200, 'a key for some routes is good for them');
has_problem(request($web, 'GET', '/api/secrets', key => $narrow), 403, '... and for no others');
my $id = $lead->safe_psql('postgres', "SELECT key_id FROM aurora.api_keys WHERE name = 'narrow'");
$lead->safe_psql('postgres', "SELECT aurora.revoke_api_key($id)");
has_problem(request($at_lead, 'GET', '/api/priorities/surface', key => $narrow), 401, 'a revoked key is refused at once');
catch_up($lead, $standby);
has_problem(request($web, 'GET', '/api/priorities/surface', key => $narrow), 401, '... on the standby as well');

# ---- sessions ----

my ($answer, %cookie);
for my $where (sort keys %place)
{
    $answer = request($place{$where}, 'POST', '/api/session', key => $key{ann});
    is($answer->{status}, 201, "ann logs in by her key $where") or diag($answer->{body});
    my $set = $answer->{headers}{'set-cookie'} // '';
    like($set, qr/^aurora_session=[^;]+/, '... and gets a cookie');
    like($set, qr/; *HttpOnly/i, '... which no script reads');
    like($set, qr/; *SameSite=(Lax|Strict)/i, '... and which no other site sends');
    ($cookie{$where}) = $set =~ /^(aurora_session=[^;]+)/;
    my $csrf = $answer->{json}{csrf};
    my @cookie = (Cookie => $cookie{$where});

    is(request($place{$where}, 'GET', '/api/priorities/surface?top_n=1', headers => \@cookie)->{status}, 200, '... reads by it');
    my $item = item_of('ann');
    my @write = ('POST', "/api/priorities/items/$item/complete", json => {});
    has_problem(request($place{$where}, @write, headers => \@cookie), 403, '... and writes nothing without her token');
    has_problem(request($place{$where}, @write, headers => [ @cookie, 'X-CSRF-Token' => 'x' ]), 403, '... or with a wrong one');
    like(request($place{$where}, @write, headers => [ @cookie, 'X-CSRF-Token' => $csrf ])->{status}, qr/^20/, '... but with it');
    has_problem(request($place{$where}, 'GET', '/nodes', headers => [ Cookie => "$cookie{$where}x" ]), 401, 'a cookie that was changed is refused');
    has_problem(request($place{$where}, 'GET', '/nodes', headers => [ Cookie => 'aurora_session=' . 'A' x 80 ]), 401, '... as is one that was made up');
    is(request($place{$where}, 'DELETE', '/api/session', headers => [ @cookie, 'X-CSRF-Token' => $csrf ])->{status}, 204, 'she logs out');
    catch_up($lead, $standby);
    has_problem(request($_, 'GET', '/nodes', headers => \@cookie), 401, '... on all nodes') for $at_lead, $web;
}
$lead->safe_psql('postgres', "CREATE EXTENSION pgcrypto; SELECT aurora.set_password('correct horse battery', 'bob', 'Acme')");
catch_up($lead, $standby);
my %login = (company => 'Acme', owner => 'bob', password => 'correct horse battery');
is(request($web, 'POST', '/api/session', json => \%login)->{status}, 201, 'bob logs in by his password, on the standby');
has_problem(request($web, 'POST', '/api/session', json => { %login, password => 'wrong' }), 401, '... but not by another one');
has_problem(request($web, 'POST', '/api/session', json => { %login, owner => 'nobody' }), 401, '... nor does one who is not there');

# ---- one's own writes ----

my $item = item_of('ann');
$answer = request($web, 'POST', "/api/priorities/items/$item/complete", key => $key{ann}, json => {});
like($answer->{status}, qr/^20[04]$/, 'a write on the standby is done on the lead');
my $lsn = $answer->{headers}{'aurora-lsn'};
like($lsn, qr/^[0-9A-F]+\/[0-9A-F]+$/, '... and tells its position');
my @own = (headers => [ 'Aurora-LSN' => $lsn ]);
is(scalar(grep { $_->{item_id} == $item } @{ request($web, 'GET', '/api/priorities/surface?top_n=50', key => $key{ann}, @own)->{json} }), 0,
    'who has that position reads what was written');
is_sql($lead, "SELECT state FROM aurora.item WHERE item_id = $item", 'done', '... which the lead has');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$item = item_of('ann');
$lsn = request($web, 'POST', "/api/priorities/items/$item/complete", key => $key{ann}, json => {})->{headers}{'aurora-lsn'};
is(scalar(grep { $_->{item_id} == $item } @{ request($web, 'GET', '/api/priorities/surface?top_n=50', key => $key{ann})->{json} }), 1,
    'a standby that is behind shows what it has');
is(scalar(grep { $_->{item_id} == $item }
        @{ request($web, 'GET', '/api/priorities/surface?top_n=50', key => $key{ann}, headers => [ 'Aurora-LSN' => $lsn ])->{json} }), 0,
    '... but who has a position reads from the lead then');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
has_problem(request($web, 'GET', '/api/priorities/surface', key => $key{ann}, headers => [ 'Aurora-LSN' => 'x' ]), 400, 'what is no position is refused');

# ---- caches, origins, requests by number ----

catch_up($lead, $standby);
$answer = request($direct, 'GET', '/nodes', key => $key{watch});
my ($etag) = grep { $_ } map { request($direct, 'GET', $_->{path}, key => $key{ann})->{headers}{etag} }
  grep { $_->{method} eq 'GET' && $_->{path} !~ /\{|ws$|events/ && !$_->{is_open} } @routes;
ok($etag, 'some answers have an ETag');
for my $path ('/api/priorities/quadrant/Q2_SCHEDULE', '/api/priorities/surface', '/topology')
{
    $etag = request($web, 'GET', $path, key => $key{ann})->{headers}{etag} or next;
    $answer = request($web, 'GET', $path, key => $key{ann}, headers => [ 'If-None-Match' => $etag ]);
    like($answer->{status}, qr/^(304|200)$/, "who has $path asks whether it is still so");
    is($answer->{body}, '', '... and gets nothing when it is') if $answer->{status} == 304;
}
my @from = (Origin => 'https://aurora.example.com');
$answer = request($web, 'GET', '/api/priorities/surface', key => $key{ann}, headers => \@from);
is($answer->{headers}{'access-control-allow-origin'}, $from[1], 'an origin of the list may read');
like($answer->{headers}{vary}, qr/\bOrigin\b/, '... and caches are told');
$answer = request($web, 'GET', '/api/priorities/surface', key => $key{ann}, headers => [ Origin => 'https://evil.example' ]);
is($answer->{headers}{'access-control-allow-origin'}, undef, 'another origin may not');
$answer = request($web, 'OPTIONS', '/api/priorities/surface', headers => [ @from, 'Access-Control-Request-Method' => 'GET',
        'Access-Control-Request-Headers' => 'authorization' ]);
is($answer->{status}, 204, 'it may ask before');
like(lc($answer->{headers}{'access-control-allow-headers'}), qr/authorization/, '... with its key');
$answer = request($direct, 'GET', '/live', headers => [ 'X-Request-Id' => 'abc-123' ]);
is($answer->{headers}{'x-request-id'}, 'abc-123', 'a request keeps the number that nginx gave it');

# ---- secrets ----

my $sesame = 'open-sesame-' . int(rand(1e9));
for my $node ($lead, $standby)
{
    $node->append_conf('postgresql.conf', 'log_min_duration_statement = 0');
    $node->reload;
}
$lead->safe_psql('postgres', "SELECT aurora.grant_secret('aurora_node_$_', 'hubspot') FROM (VALUES (1)) v") for qw(alpha beta);
$answer = request($web, 'POST', '/api/secrets', key => $key{ann}, json => { service => 'hubspot', key_name => 'token', value => $sesame });
like($answer->{status}, qr/^20[01]$/, 'ann puts a secret') or diag($answer->{body});
$answer = request($web, 'GET', '/api/secrets/hubspot/token', key => $key{ann}, headers => [ 'Aurora-LSN' => $answer->{headers}{'aurora-lsn'} // '0/0' ]);
is($answer->{json}{value}, $sesame, '... and reads it') or diag($answer->{body});
is($answer->{headers}{'cache-control'}, 'no-store', '... and nobody may cache it');
is($answer->{headers}{etag}, undef, '... nor recognise it');
has_problem(request($web, 'GET', '/api/secrets/hubspot/token', key => $key{eve}), 403, 'another company may not');
$lead->safe_psql('postgres', "SELECT aurora.put_secret('hubspot', 'token', 'for all'), aurora.put_secret('hubspot', 'token', 'for beta', node => 'beta')");
catch_up($lead, $standby);
is(request($web, 'GET', '/api/secrets/hubspot/token', key => $key{beta})->{json}{value}, 'for beta', 'a node has what was put for it');
is(request($web, 'GET', '/api/secrets/hubspot/token', key => $key{alpha})->{json}{value}, 'for all', '... and another one what is for all');
is(request($web, 'GET', '/api/secrets/hubspot/token', key => $key{beta}, headers => [ 'X-Node-Name' => 'beta' ])->{status}, 200, 'a node may say its name');
has_problem(request($web, 'GET', '/api/secrets/hubspot/token', key => $key{beta}, headers => [ 'X-Node-Name' => 'alpha' ]), 403, '... but no other one');

# ---- much at once ----

$lead->safe_psql('postgres',
    "SELECT aurora.publish('big', to_jsonb(repeat('x', 1000000)), company => (SELECT c.name FROM aurora.company c JOIN aurora.principal p USING (company_id) WHERE p.owner = 'ann'))")
    for 1 .. 12;
$answer = request($at_lead, 'GET', '/api/events/big?limit=1000', key => $key{ann});
is(join(' ', map { $_->{seq} } @{ $answer->{json} }), join(' ', 1 .. 8), 'of many large events some come');
$answer = request($at_lead, 'GET', '/api/events/big?after=8&limit=1000', key => $key{ann});
is(join(' ', map { $_->{seq} } @{ $answer->{json} }), join(' ', 9 .. 12), '... and the rest after these');

my $job = $lead->safe_psql('postgres', "SELECT aurora.submit_job('default', '{}', company => 'Acme')");
$lead->safe_psql('postgres', "SELECT aurora.finish_job(job_id, attempt, to_jsonb(repeat('x', 17000000))) FROM aurora.take_jobs('default')");
has_problem(request($at_lead, 'GET', "/api/gpu/jobs/$job", key => $key{eve}), 404, 'who may not see a job is not told of it');
$lead->safe_psql('postgres', "SELECT aurora.add_principal('boss', 'Acme', trust => 'manager')");
$key{boss} = $lead->safe_psql('postgres', "SELECT aurora.add_api_key('boss', 'user', 'boss', 'Acme')");
has_problem(request($at_lead, 'GET', "/api/gpu/jobs/$job", key => $key{boss}), 413, 'an answer past all measure is not given');

# ---- webhooks ----

$lead->safe_psql('postgres', "SELECT aurora.add_webhook('hub')");
is(request($at_lead, 'POST', '/api/webhooks/hub', headers => [ Authorization => 'Basic aGk6dGhlcmU=' ], body => 'raw bytes')->{status},
    202, 'a webhook is taken');
is($lead->safe_psql('postgres', "SELECT headers ->> 'authorization', encode(body, 'escape') FROM aurora.webhook ORDER BY webhook_id DESC LIMIT 1"),
    'Basic aGk6dGhlcmU=|raw bytes', '... with what it can be verified by');
request($at_lead, 'POST', '/api/webhooks/hub', key => $key{ann}, body => 'raw bytes');
is($lead->safe_psql('postgres', "SELECT headers ? 'authorization' FROM aurora.webhook ORDER BY webhook_id DESC LIMIT 1"), 'f',
    '... but never with a key of ours');

# ---- the log ----

my $logs = join('', map { slurp_file($_) } $on_lead->{log}, $on_standby->{log}, glob("$nginx->{folder}/*.log"));
unlike($logs, qr/open-sesame|for beta|correct horse/, 'no secret is in a log');
unlike($logs, qr/aur_/, '... and no key');
unlike($logs, qr/no_such_parameter/, '... and no query');
my @lines = grep { /^\{/ } split(/\n/, gateway_log($on_standby));
cmp_ok(scalar(grep { /"request_id":/ && /"status":/ && /"route":/ } @lines), '>', 100, 'requests are there, with number, route and status');
my $told = slurp_file($lead->logfile) . slurp_file($standby->logfile);
like($told, qr/put_secret: SELECT aurora\.put_secret|put_secret\(\$1/, 'a server that logs all statements logs those of the gateway');
unlike($told, qr/open-sesame/, '... without a secret');

# ---- an end that is asked for ----

is(end_gateway($_), 0, 'a gateway ends well') for $on_lead, $on_standby;
unlike(gateway_log($_), qr/Sanitizer|runtime error/, '... and its memory was in order') for $on_lead, $on_standby;
end_nginx($nginx);

done_testing();
