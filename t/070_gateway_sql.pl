# What a gateway asks of the database, on the lead and on a standby: keys and sessions that hold and end
# on both, also with the lead dead and after a promotion; waiting for one's own writes and for news.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraEvents;
use AuroraNodes;
use AuroraSecrets;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my ($old_key, $new_key) = (fernet_key(), fernet_key());
my $lead = new_secret_lead('alpha', [$old_key], 'aurora.webhook_backlog' => 20);
$lead->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION pgcrypto;
CREATE ROLE gate LOGIN IN ROLE aurora_gateway;
SELECT aurora.add_company('Acme'), aurora.add_company('Bolt');
SELECT aurora.add_principal('ann', 'Acme'), aurora.add_principal('boss', 'Acme', trust => 'admin'), aurora.add_principal('bob', 'Bolt');
SELECT aurora.set_password('correct horse', 'ann', 'Acme');
SELECT aurora.add_item('of ann', owner => 'ann', company => 'Acme'), aurora.add_item('of bob', owner => 'bob', company => 'Bolt');
SQL
my $standby = new_secret_standby($lead, 'beta', [$old_key], 'aurora.webhook_backlog' => 20);
my @both = ($lead, $standby);
my %key = map { $_ => new_key("'$_', owner => '$_', company => '" . ($_ eq 'bob' ? 'Bolt' : 'Acme') . "'") } qw(ann boss bob);
$key{$_} = new_key("'$_', 'node', node => '$_'") for qw(alpha beta);
$key{eyes} = new_key("'eyes', 'monitor'");

# ---- requests ----

sub new_key
{
    my ($arguments) = @_;

    return $lead->safe_psql('postgres', "SELECT aurora.add_api_key($arguments)");
}

# What a gateway gets for a request: the rows, or the SQLSTATE. $begin is SQL that assumes somebody.
sub request
{
    my ($node, $begin, $sql) = @_;
    my ($out, $err) = as_role($node, 'gate', "BEGIN;\nSELECT '' FROM $begin;\n$sql;\nCOMMIT;");

    return sql_state($err) if $err =~ /ERROR/;
    return $out =~ s/^\n//r;
}

sub by_key
{
    my ($node, $who, $sql) = @_;

    return request($node, "aurora.assume_key(sha256('$key{$who}'), 'GET /x', NULL, 5000)", $sql);
}

sub by_session
{
    my ($node, $session, $sql, $is_write) = @_;

    $is_write = $is_write ? 'true' : 'false';
    return request($node, "aurora.assume_session('$session->{token}', '$session->{csrf}', $is_write, 'GET /x', 5000)", $sql // 'SELECT aurora.current_owner()');
}

# A new session, or {error => SQLSTATE}.
sub log_in
{
    my ($node, $call) = @_;
    my ($out, $err) = as_role($node, 'gate', "SELECT token, csrf FROM aurora.$call");
    my ($token, $csrf) = split(/\|/, $out);

    return $err ? { error => sql_state($err), text => $err } : { token => $token, csrf => $csrf };
}

sub log_in_by_password
{
    my ($node, $password) = @_;

    return log_in($node, "log_in('Acme', 'ann', '$password')");
}

sub as_gate
{
    my ($node, $sql) = @_;
    my ($out, $err) = as_role($node, 'gate', $sql);

    return $err =~ /ERROR/ ? sql_state($err) : $out;
}

# Runs SQL in a session of its own, and returns when it waits.
sub in_background
{
    my ($node, $sql) = @_;
    my %session = (out => '', err => '');

    $session{run} = IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres') . ' user=gate application_name=waiting', '-c', $sql ],
        '<', \undef, '>', \$session{out}, '2>', \$session{err});
    waits_or_has_ended($node, \%session);
    return \%session;
}

# A wait for news on a standby that hears of nothing ends with whatever is replayed, maybe at once.
sub waits_or_has_ended
{
    my ($node, $session) = @_;

    for (1 .. 1800)
    {
        my $waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waiting' AND wait_event_type = 'Extension'";

        $session->{run}->pump_nb if $session->{run}->pumpable;
        return if !$session->{run}->pumpable || $node->safe_psql('postgres', $waits) > 0;
        select(undef, undef, undef, 0.05);
    }
    diag("nobody waits: $session->{out}$session->{err}");
    return;
}

sub end_of
{
    my ($session) = @_;

    $session->{run}->finish;
    chomp($session->{out});
    return $session->{out} . $session->{err};
}

# ---- keys ----

comes($lead, 'SELECT aurora.lead_duty() AND EXISTS (SELECT FROM aurora.lead_epoch)', 'the lead takes up its duties');
comes($lead, 'SELECT count(*) FROM aurora.session_key', 'it makes a key that signs sessions by itself', '1');
catch_up(@both);
for my $node (@both)
{
    my $name = 'on ' . $node->name;

    is(by_key($node, 'ann', 'SELECT title FROM aurora.items'), 'of ann', "a key gives what its principal sees, $name");
    is(by_key($node, 'bob', 'SELECT title FROM aurora.items'), 'of bob', "one of another company what that one sees, $name");
    is(by_key($node, 'alpha', 'SELECT aurora.assumed_node(), aurora.current_owner()'), 'alpha|', "a node's key stands for the node, $name");
    is(by_key($node, 'ann', 'SHOW statement_timeout'), '5s', "and sets the time-out, $name");
    is(request($node, "aurora.assume_key(sha256('$key{alpha}'), 'GET /x', 'beta', 0)", 'SELECT 1'), '42501', "another node's key is refused, $name");
    is(as_gate($node, "BEGIN READ ONLY; SELECT owner FROM aurora.assume_key(sha256('$key{ann}'), NULL, NULL, 0); COMMIT"), 'ann', "it writes nothing, $name");
    like(by_key($node, 'eyes', 'SELECT count(*) FROM aurora.metrics()'), qr/^[1-9]\d+$/, "a monitor's key reads metrics, $name");
    is(by_key($node, 'eyes', "SELECT value FROM aurora.metrics() WHERE name = 'aurora_is_lead'"), $node == $lead ? 1 : 0, "of this node, $name");
}
is(by_key($standby, 'ann', "SELECT aurora.add_api_key('x')"), '25006', 'keys are added on the lead');

$lead->safe_psql('postgres', <<'SQL');
SELECT aurora.put_secret('mail', 'k', 'for all'), aurora.put_secret('mail', 'k', 'for alpha', node => 'alpha'), aurora.put_secret('mail', 'k', 'for beta', node => 'beta'),
       aurora.grant_secret('aurora_node', 'mail');
SQL
catch_up(@both);
for my $node (@both)
{
    is(by_key($node, $_, "SELECT aurora.secret('mail', 'k')"), "for $_", "$_ reads the secret that is for it, on " . $node->name) for qw(alpha beta);
}
is(by_key($standby, 'alpha', "SELECT aurora.report_connectivity('hub', 'healthy')"), '25006', 'a report about another node than the standby goes to the lead');
is(by_key($standby, 'beta', "SELECT aurora.report_connectivity('hub', 'degraded')"), '', 'one about itself it takes');
is(by_key($lead, 'alpha', "SELECT aurora.report_connectivity('hub', 'healthy')"), '', 'as the lead does');
comes($lead, "SELECT string_agg(node || ' ' || status, ', ' ORDER BY node) FROM aurora.connectivity WHERE api = 'hub'", 'both arrive', 'alpha healthy, beta degraded');

# ---- sessions ----

my %session = map { $_->name => log_in_by_password($_, 'correct horse') } @both;
for my $node (@both)
{
    for my $from (@both)
    {
        is(by_session($node, $session{ $from->name }), 'ann', 'a session begun on ' . $from->name . ' holds on ' . $node->name);
    }
    is(log_in_by_password($node, 'wrong horse')->{error}, '28000', 'a wrong password begins none on ' . $node->name);
    is(by_session($node, { token => $session{alpha}{token}, csrf => $session{beta}{csrf} }, 'SELECT 1', 1), '42501', 'another session\'s CSRF token is refused on ' . $node->name);
}
is(by_session($lead, $session{beta}, "SELECT aurora.add_item('by session') > 0", 1), 't', 'a session begun on a standby writes on the lead');

my $by_key = log_in($standby, "log_in_by_key(sha256('$key{boss}'))");
is(by_session($standby, $by_key), 'boss', 'a key begins a session on the standby');
is(as_gate($standby, "SELECT aurora.log_out('$by_key->{token}')"), '25006', 'who logs out does so on the lead');

# What ends on the lead ends there at once, and on the standby when that has come there.
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
my %end = (
    'a session that is logged out of' => [ $session{beta}, "SELECT aurora.log_out('$session{beta}{token}')" ],
    'a session whose key is revoked' => [ $by_key, undef ]);
as_gate($lead, $end{'a session that is logged out of'}[1]);
$lead->safe_psql('postgres', "SELECT aurora.revoke_api_key(key_id) FROM aurora.api_key WHERE name = 'boss'");
is(by_session($lead, $end{$_}[0]), '28000', "$_ has ended on the lead") for sort keys %end;
is(by_key($lead, 'boss', 'SELECT 1'), '28000', 'so has the key itself');
is(by_key($standby, 'boss', 'SELECT 1'), '1', 'on a standby that is behind not yet');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
catch_up(@both);
is(by_session($standby, $end{$_}[0]), '28000', "$_ has ended on the standby, too") for sort keys %end;
is(by_key($standby, 'boss', 'SELECT 1'), '28000', 'and the key');
is(by_session($_, $session{alpha}), 'ann', 'another session goes on, on ' . $_->name) for @both;
$lead->safe_psql('postgres', "SELECT aurora.set_password('battery staple', 'ann', 'Acme')");
catch_up(@both);
is(by_session($_, $session{alpha}), '28000', 'a new password ends all, on ' . $_->name) for @both;
is(log_in_by_password($standby, 'correct horse')->{error}, '28000', 'the old one begins none');
is(by_session($lead, log_in_by_password($standby, 'battery staple')), 'ann', 'the new one does');

configure_node($standby, 'aurora.session_lifetime' => "'1s'");
ok(wait_until(sub { $standby->safe_psql('postgres', "SELECT aurora.own_node() IS NOT NULL; SHOW aurora.session_lifetime") =~ /1s/ }), 'a short life is set');
my $short = log_in_by_password($standby, 'battery staple');
ok(wait_until(sub { by_session($standby, $short) eq '28000' }), 'a session ends by its time');
is(by_session($lead, $short), '28000', 'on each node');
configure_node($standby, 'aurora.session_lifetime' => "'12h'");
ok(wait_until(sub { $standby->safe_psql('postgres', "SELECT aurora.own_node() IS NOT NULL; SHOW aurora.session_lifetime") =~ /12h/ }), 'a long one again');

# ---- rotation of the master key ----

my $before = log_in_by_password($standby, 'battery staple');
reload_keys($standby, $old_key, $new_key);
reload_keys($lead, $new_key, $old_key);
$lead->safe_psql('postgres', "SELECT aurora.run_duty('trim_sessions')");
is($lead->safe_psql('postgres', 'SELECT count(DISTINCT master_key_id) FROM aurora.session_key'), 2, 'another first key of the ring brings another key that signs');
catch_up(@both);
my $after = log_in_by_password($standby, 'battery staple');
is(by_session($_, $before), 'ann', 'older sessions hold on ' . $_->name) for @both;
is(by_session($_, $after), 'ann', 'newer ones, too, on ' . $_->name) for @both;
$lead->safe_psql('postgres', 'SELECT aurora.rotate_secrets_key(force => true)');
comes($lead, "SELECT count(*) FROM aurora.secret_data_key WHERE master_key_id = '" . key_id($old_key) . "'", 'secrets are wrapped anew', '0');
catch_up(@both);
reload_keys($_, $new_key) for @both;
is(by_session($_, $before), '28000', 'when the old one has left the ring they have ended on ' . $_->name) for @both;
is(by_session($_, $after), 'ann', 'and not the others on ' . $_->name) for @both;

# ---- one's own writes ----

sub written
{
    my ($title) = @_;
    my $out = as_gate($lead, "BEGIN; SELECT '' FROM aurora.assume_key(sha256('$key{ann}'), NULL, NULL, 0); SELECT '' FROM aurora.add_item('$title'); COMMIT; SELECT aurora.write_position()");

    return $out =~ s/\n//gr;
}

my $lsn = written('first');
is(as_gate($standby, "CALL aurora.wait_for_lsn('$lsn', 60000)"), 't', 'a standby says when it has a write');
is(by_key($standby, 'ann', "SELECT count(*) FROM aurora.items WHERE title = 'first'"), '1', 'which is read there then');
is(as_gate($lead, "CALL aurora.wait_for_lsn('$lsn', 0)"), 't', 'the lead has it anyway');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$lsn = written('second');
is(as_gate($standby, "CALL aurora.wait_for_lsn('$lsn', 100)"), 'f', 'a standby that does not get there says so in time');
is(as_gate($standby, "CALL aurora.wait_for_lsn('$lsn', 0)"), 'f', 'or at once');
my $waiting = in_background($standby, "CALL aurora.wait_for_lsn('$lsn', 60000)");
is($standby->safe_psql('postgres', "SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE application_name = 'waiting'"), 't', 'who waits holds no snapshot');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
is(end_of($waiting), 't', 'and is told when it has come');
is(as_gate($standby, "CALL aurora.wait_for_lsn('$lsn', 700000)"), '22023', 'nobody waits for ever');
my $asynchronous = as_gate($lead, "SET synchronous_commit = off; BEGIN; SELECT '' FROM aurora.assume_key(sha256('$key{ann}'), NULL, NULL, 0); SELECT '' FROM aurora.add_item('third'); COMMIT; SELECT aurora.write_position()") =~ s/\n//gr;
is(as_gate($standby, "CALL aurora.wait_for_lsn('$asynchronous', 60000)"), 't', 'an asynchronous commit has a position, too');
is(by_key($standby, 'ann', "SELECT count(*) FROM aurora.items WHERE title = 'third'"), '1', 'behind it');

# ---- news ----

sub publish
{
    my ($node, $topic) = @_;

    $node->safe_psql('postgres', "SELECT aurora.publish('$topic', '1', company => 'Acme')");
    return;
}

# Reads a topic as a gateway does until it has so many events; returns their numbers.
sub read_by_news
{
    my ($node, $topic, $count) = @_;
    my $session = $node->background_psql('postgres', extra_params => [ '-U', 'gate' ]);
    my ($position, $seq, @seqs) = (0, 0);
    my $turns = 0;

    while (@seqs < $count && $turns++ < 20000)
    {
        $position = $session->query_safe("CALL aurora.wait_published($position, 1000)");
        my $rows = $session->query_safe("SELECT e.seq FROM aurora.topic_events((SELECT min(topic_id) FROM aurora.topic_heads(ARRAY[$topic])), $seq, 1000) e");
        push(@seqs, split(/\n/, $rows));
        $seq = $seqs[-1] // 0;
    }
    $session->quit;
    return @seqs;
}

# A waiter from the position that is now, at which nothing is on its way any more.
sub waits_for_news
{
    my ($node) = @_;
    my $position = as_gate($node, 'CALL aurora.wait_published(0, 0)');

    return in_background($node, "CALL aurora.wait_published($position, 600000)");
}

sub news_wake
{
    my ($how) = @_;

    for my $node (@both)
    {
        my $waiting = waits_for_news($node);

        publish($lead, 'chat');
        like(end_of($waiting), qr/^\d+$/, "an event wakes who waits for news on " . $node->name . ", $how");
    }
    return;
}

publish($lead, 'chat');
my $chat = $lead->safe_psql('postgres', "SELECT topic_id FROM aurora.topic WHERE name = 'chat'");
news_wake('without Redis');
$waiting = waits_for_news($lead);
is($lead->safe_psql('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE application_name = 'waiting'"), 't', 'who waits for news holds no snapshot');
$lead->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'waiting'");
like(end_of($waiting), qr/57014/, 'and can be cancelled');
is(as_gate($lead, "CALL aurora.wait_published((2::numeric ^ 62)::bigint, 0)") =~ /^\d+$/ ? 'a number' : 'none', 'a number', 'a wait of no time ends');

my $redis = redis_server();
start_redis($redis);
configure_node($_, 'aurora.redis_url' => "'unix://$redis->{socket}'") for @both;
comes($_, "SELECT redis FROM aurora.courier_status()", 'Redis is there for ' . $_->name, 'connected') for @both;
my $heard = courier($standby, 'redis_received');
news_wake('with Redis');
comes($standby, "SELECT redis_received > $heard FROM aurora.courier_status()", 'the standby has heard of it');

# What streams show besides events.
$lead->safe_psql('postgres', q{SELECT aurora.report_devices('[{"index": 0, "kind": "cuda", "name": "x", "slots": 4, "models": [{"name": "m", "resident": true, "size": 5}]}]', 'alpha')});
my $job = by_key($lead, 'ann', "SELECT aurora.generate('m', 'hello')");
$lead->safe_psql('postgres', "SELECT aurora.take_generations(0, node => 'alpha')");
catch_up(@both);
my @steps = (
    [ 'text', qq(SELECT aurora.append_outputs(ARRAY[$job], '{1}', '{0}', ARRAY['one '], '{2}')), 0, 'running|0|2|one |f||' ],
    [ 'more text', qq(SELECT aurora.append_outputs(ARRAY[$job], '{1}', '{2}', ARRAY['two'], '{1}')), 2, 'running|2|3|two|f||' ],
    [ 'a restart', qq(SELECT aurora.restart_output($job, 1)), 3, 'running|4|4||t||' ],
    [ 'text after it', qq(SELECT aurora.append_outputs(ARRAY[$job], '{1}', '{0}', ARRAY['anew'], '{2}')), 4, 'running|4|6|anew|f||' ],
    [ 'the end', qq(SELECT aurora.finish_generation($job, 1, '{"finish_reason": "stop", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}')), 6, 'done|6|6||f|stop|2' ]);
for my $step (@steps)
{
    my ($what, $sql, $after, $expected) = @$step;
    my %waiting = map { $_->name => waits_for_news($_) } @both;

    $lead->safe_psql('postgres', $sql);
    for my $node (@both)
    {
        like(end_of($waiting{ $node->name }), qr/^\d+$/, "$what wakes who waits on " . $node->name);
    }
    catch_up(@both);
    is(as_gate($_, "SELECT state, first_token, last_token, text, restarted, finish_reason, completion_tokens FROM aurora.job_outputs(ARRAY[$job], ARRAY[$after])"), $expected, "$what is there on " . $_->name) for @both;
}
is(as_gate($_, "SELECT text FROM aurora.job_outputs(ARRAY[$job, 0, $job], '{0,0,4}')"), "anew\nanew", 'of many at once, on ' . $_->name) for @both;
is(as_gate($_, "SELECT restarted, text FROM aurora.job_outputs(ARRAY[$job], '{2}')"), 't|anew', 'who has read what no longer counts is told, on ' . $_->name) for @both;
$job = by_key($lead, 'ann', "SELECT aurora.generate('m', 'hello')");
$waiting = waits_for_news($standby);
is(by_key($lead, 'ann', "SELECT aurora.cancel_job($job)"), 'cancelled', 'a job is cancelled');
like(end_of($waiting), qr/^\d+$/, 'which wakes who waits');
catch_up(@both);
is(as_gate($standby, "SELECT state, finish_reason FROM aurora.job_outputs(ARRAY[$job], '{0}')"), 'cancelled|cancelled', 'and is seen');

# Nothing is lost, with Redis and without.
for my $how ('with Redis', 'when Redis has died')
{
    my $topic = $how =~ /died/ ? 'quiet 1' : 'loud 1';

    stop_redis($redis) if $how =~ /died/;
    publish($lead, $topic);
    my $id = $lead->safe_psql('postgres', "SELECT topic_id FROM aurora.topic WHERE name = '$topic'");
    catch_up(@both);
    my $publishers = $lead->safe_psql('postgres', "SELECT last_seq FROM aurora.topic WHERE topic_id = $id");
    my $pgbench = pgbench($topic, 4, 100);
    for my $node (@both)
    {
        my @seqs = read_by_news($node, $id, 401);

        is("@seqs", join(' ', 1 .. 401), "all events are read in their order on " . $node->name . ", $how");
    }
    $pgbench->{run}->finish;
    is($pgbench->{run}->result(0), 0, "publishers end well, $how") || diag($pgbench->{output});
}

sub pgbench
{
    my ($topic, $clients, $each) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my $bench = { output => '' };

    append_to_file("$folder/publish.sql", "SELECT aurora.publish('$topic', '1', company => 'Acme');\n");
    $bench->{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $each, '-f', "$folder/publish.sql", $lead->connstr('postgres') ],
        '<', \undef, '>', \$bench->{output}, '2>&1');
    return $bench;
}

# ---- webhooks that come at once ----

$lead->safe_psql('postgres', "SELECT aurora.add_webhook('hub', 'Acme')");
my @senders = map { my %sender = (out => '', err => ''); $sender{run} = IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $lead->connstr('postgres') . ' user=gate' ], '<', \("SELECT aurora.store_webhook('hub', '{}', 'x', NULL);\n" x 10), '>', \$sender{out}, '2>', \$sender{err}); \%sender } 1 .. 4;
$_->{run}->finish for @senders;
is($lead->safe_psql('postgres', 'SELECT count(*) FROM aurora.webhook'), 20, 'as many webhooks are kept as may lie unverified');
is(scalar(grep { /ERROR:  53400/ } map { split(/\n/, $_->{err}) } @senders), 20, 'and the others are refused');
is(as_gate($standby, "SELECT aurora.store_webhook('hub', '{}', 'x', NULL)"), '25006', 'they are kept on the lead');

# ---- the lead is dead ----

catch_up(@both);
my $held = log_in_by_password($lead, 'battery staple');
my $position = as_gate($standby, 'CALL aurora.wait_published(0, 0)');
$lead->stop('immediate');
is(by_key($standby, 'ann', 'SELECT count(*) > 0 FROM aurora.items'), 't', 'with the lead dead keys hold');
is(by_session($standby, $held), 'ann', 'and sessions that it began');
my $begun = log_in_by_password($standby, 'battery staple');
is(by_session($standby, $begun), 'ann', 'and somebody logs in');
is(log_in_by_password($standby, 'wrong horse')->{error}, '28000', 'but not by a wrong password');
is(by_key($standby, 'ann', "SELECT aurora.add_item('x')"), '25006', 'writes say that this is a standby');
is(as_gate($standby, "CALL aurora.wait_for_lsn('FFFF/0', 100)"), 'f', 'what never comes is not waited for long');
like(as_gate($standby, "CALL aurora.wait_published($position, 100)"), qr/^\d+$/, 'news neither');

# ---- promotion ----

$waiting = waits_for_news($standby);
$standby->promote;
like(end_of($waiting), qr/^\d+$/, 'a promotion ends the wait for news of a standby');
comes($standby, "SELECT aurora.lead_duty() AND count(*) = 2 FROM aurora.lead_epoch", 'the standby takes up the duties');
is(by_session($standby, $begun, "SELECT aurora.add_item('after the promotion') > 0", 1), 't', 'sessions hold on the new lead, and write');
$waiting = waits_for_news($standby);
publish($standby, 'chat');
like(end_of($waiting), qr/^\d+$/, 'its events wake who waits');
is(as_gate($standby, "SELECT aurora.log_out('$begun->{token}')"), '', 'somebody logs out there');
is(by_session($standby, $begun), '28000', 'and is out');
is(by_key($standby, 'ann', 'SELECT 1'), '1', 'keys hold');

# ---- without a key ring ----

unlink(key_file('beta'));
$standby->reload;
ok(wait_until(sub { (log_in_by_password($standby, 'battery staple')->{error} // '') =~ /F0000|25006/ }), 'without its key ring a node begins no session');
like(log_in_by_password($standby, 'battery staple')->{text}, qr/aurora\.secrets_key_file/, 'and says why');
is(by_key($standby, 'ann', 'SELECT 1'), '1', 'but keys hold');

done_testing();
