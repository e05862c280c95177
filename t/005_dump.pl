# pg_dump of a filled database, restored into an empty cluster, gives everything back: tables,
# sequences, settings and the same surface; and work goes on there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use AuroraReference qw(reference_sql);
use AuroraWorld;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = random_seed();
my $source = new_lead('source');
$source->safe_psql('postgres', 'CREATE DATABASE filled');
$source->safe_psql('postgres', 'DROP EXTENSION aurora CASCADE');
$source->safe_psql('postgres', 'DROP SCHEMA reference CASCADE');
my $folder = PostgreSQL::Test::Utils::tempdir();
my $target = new_cluster('target');

# ---- a filled database, without the tests' own schema ----

fill();

sub fill
{
    my $filler = new_lead('filler');

    install_worlds($filler);
    make_world($filler, seed => $seed % 1000 / 1100, items => 700, owners => 3);
    $filler->safe_psql('postgres', <<'SQL');
SET client_min_messages = warning;
SELECT reference.live_on();
SELECT aurora.undo(item_id) FROM (SELECT max(item_id) AS item_id FROM aurora.item_history WHERE action = 'complete') h;
SELECT aurora.add_item('feed', owner => 'owner 1', company => 'company 1', provider => 'hubspot', external_id => 'd1', amount => 10, currency => 'JPY', details => '{"a": [1, "ü"]}');
INSERT INTO aurora.item (company_id, owner, kind, title, received_at, state, state_at, outcome)
    SELECT company_id, 'owner 1', 'deal', 'old deal ' || n, now() - interval '1 day' * (200 + n), 'done',
           now() - interval '1 day' * (n % 150), CASE WHEN n % 3 = 0 THEN 'won' ELSE 'lost' END::aurora.item_outcome
    FROM aurora.company, generate_series(1, 60) n;
SELECT aurora.set_groups_apart(2), aurora.run_duty('archive_q4'), aurora.run_duty('sample_surface'), aurora.run_duty('refresh_win_chances');
SQL
    $filler->safe_psql('postgres', mesh_sql());
    $filler->safe_psql('postgres', secrets_sql());
    $filler->safe_psql('postgres', jobs_sql());
    $filler->safe_psql('postgres', events_sql());
    $filler->safe_psql('postgres', gpu_sql());
    $filler->safe_psql('postgres', gateway_sql());
    settle($filler);
    # A change of settings that is half applied is carried on where it is restored.
    $filler->safe_psql('postgres', "SELECT aurora.set_company('company 2', big_threshold => 777)");
    $filler->safe_psql('postgres', 'SELECT aurora.apply_settings_batch(100)');
    $filler->safe_psql('postgres', 'DROP SCHEMA reference CASCADE');
    run_ok([ 'pg_dump', '-Fc', '-f', "$folder/first.dump", $filler->connstr('postgres') ], 'a filled database is dumped');
    $filler->stop;
    $source->safe_psql('postgres', 'SELECT 1');
    local $ENV{PGOPTIONS} = '-c session_replication_role=replica';
    run_ok([ 'pg_restore', '--exit-on-error', '-d', $source->connstr('filled'), "$folder/first.dump" ],
        'its dump in custom format is restored in another database');
    return;
}

# A row in every table of the mesh.
sub mesh_sql
{
    return <<'SQL';
SET client_min_messages = error;
SELECT aurora.take_up_lead('one'), aurora.register_node('one', 'backup', '10.0.0.1'),
       aurora.register_node('two', 'compute', '10.0.0.2'), aurora.maintenance('two', '1 day', 'ü'),
       aurora.add_service('two', 'web', 'http', 'http://10.0.0.2/'), aurora.watch_api('mail', 'https://mail.example/'),
       aurora.beat_lead();
SELECT aurora.report_heartbeat('two', '{"instance": "i", "incarnation": "n", "is_lead": 0, "beat": 0, "timeline": 1,
    "receive_lsn": "0/1", "replay_lsn": "0/1", "wal_receiver": "streaming", "version": "1.0", "postgres_version": "15",
    "started_age_us": 1, "agent_port": 9998, "drops": 0}', '[
    {"kind": "probe", "body": {"to": "one", "failures": 0, "attempt_age_us": 1, "success_age_us": 1, "rtt_us": 5}},
    {"kind": "capability", "body": {"name": "cpu_cores", "value": 4}},
    {"kind": "service", "body": {"service": "web", "state": "up", "since_age_us": 1, "age_us": 1, "latency_us": 9, "checks": 1,
                                 "failures": 0, "latency_sum_us": 9, "latency_max_us": 9, "detail": ""}},
    {"kind": "connectivity", "body": {"api": "mail", "status": "healthy", "latency_us": 9, "age_us": 1, "reported_by": "agent"}},
    {"kind": "recovery", "body": {"service": "web", "attempt": 1, "exit_status": 0, "timed_out": 0, "age_us": 1,
                                  "duration_us": 2, "output": "done"}}]');
SELECT aurora.judge_nodes();
SQL
}

# A row in every table of secrets but the one that is always empty. Without the preloaded library no
# value can be put, and a dump does not look at tokens.
sub secrets_sql
{
    return <<'SQL';
INSERT INTO aurora.secret_data_key (company_id, master_key_id, wrapped)
    VALUES (NULL, '0123456789abcdef', 'wrapped'), ((SELECT min(company_id) FROM aurora.company), '0123456789abcdef', 'wrapped too');
INSERT INTO aurora.secret (company_id, service, key_name, node, version, strict)
    VALUES (NULL, 'hubspot', 'token', NULL, 1, false), ((SELECT min(company_id) FROM aurora.company), 'hubspot', 'ü', 'one', 2, true);
INSERT INTO aurora.secret_version (secret_id, version, company_id, key_no, token, created_by)
    SELECT s.secret_id, s.version, s.company_id, k.key_no, 'token', 'ann'
    FROM aurora.secret s JOIN aurora.secret_data_key k ON k.company_id IS NOT DISTINCT FROM s.company_id;
INSERT INTO aurora.secret_grant (company_id, grantee, service, may, role_oid, system_identifier, granted_by)
    VALUES (NULL, 'aurora_node', 'hub*', 'read', 1, 1, 'ann');
INSERT INTO aurora.secret_rotation (rotation_id, started_at, started_by, total) VALUES (1, now(), 'ann', 7);
SELECT aurora.receive_secret_audit('two', '{"chain": "0123456789abcdef0123456789abcdef", "records": ["{\"seq\":1,\"hash\":\"\"}"]}'),
       aurora.receive_secret_cache('two', '{"hits": 1, "misses": 2, "evictions": 3, "invalidations": 4}');
SQL
}

# A row in every table of events; items have made some already.
sub events_sql
{
    return <<'SQL';
SELECT aurora.publish('chat', '{"text": "ü"}', 'a', company => 'company 1'), aurora.publish('chat', '[1, 2]', company => 'company 1'),
       aurora.publish('mesh/news', '1');
SELECT aurora.subscribe('mailer', 'chat', 1, 'company 1'), aurora.set_topic('chat', '90 days', 1000, 'company 1');
INSERT INTO aurora.event_note (company_id, topic, payload, noted_at) VALUES (1, 'items/owner 1', '{"changed": [1]}', now());
SQL
}

# Jobs of every state, and some in each place of the archive's ring. They go by their kinds.
sub jobs_sql
{
    return <<'SQL';
SET client_min_messages = error;
SELECT aurora.add_queue('dumped'), aurora.add_queue('own', 'company 1');
SELECT aurora.submit_job('dumped', kind => kind, company => 'company 1') FROM unnest('{dead,done}'::text[]) kind;
SELECT aurora.fail_job(job_id, attempt, final => true) FROM aurora.take_jobs('dumped');
SELECT aurora.finish_job(job_id, attempt, '"ü"') FROM aurora.take_jobs('dumped');
SELECT aurora.submit_job('dumped', kind => kind, concurrency_key => 'key', company => 'company 1') FROM unnest('{running,held,held too}'::text[]) kind;
SELECT count(*) FROM aurora.take_jobs('dumped', 9);
SELECT aurora.submit_job('dumped', kind => 'blocked', run_after => ARRAY[job_id], unique_key => 'u', company => 'company 1') FROM aurora.jobs WHERE kind = 'running';
SELECT aurora.submit_job('dumped', '{"a": [1, "ü"]}', kind => kind, class => 'interactive', company => company) FROM unnest('{first,second,third}'::text[]) kind, unnest('{company 1,company 2}'::text[]) company;
SELECT aurora.submit_job('dumped', kind => 'scheduled', delay => '1 hour', company => 'company 2'), aurora.submit_job('own', kind => 'own', company => 'company 1');
SELECT aurora.cancel_job(aurora.submit_job('own', kind => 'ended ' || n, company => 'company 1')), aurora.rotate_job_archive(now() + n * interval '5 days') FROM generate_series(0, 7) n;
SELECT aurora.cancel_job(aurora.submit_job('own', kind => 'ended 8', company => 'company 1'));
SELECT aurora.finish_job(job_id, 7, '"ü"') FROM aurora.jobs WHERE kind = 'running';
INSERT INTO aurora.job_minute (queue_id, class, minute, submitted) VALUES (1, 'normal', date_trunc('minute', now()), 7);
SQL
}

# A row in every table of the GPU mesh.
sub gpu_sql
{
    return <<'SQL';
SELECT aurora.report_devices('[{"index": 0, "kind": "cuda", "name": "ü", "models": [{"name": "m", "resident": true, "size": 5}]}]', 'two'),
       aurora.learn_speed('two', 0, 'm', '{"usage": {"completion_tokens": 9}, "timings": {"decode_ms": 90}}'), aurora.rotate_generation_output();
SELECT aurora.generate('m', 'ü', company => 'company 1', timeout => '30 days');
INSERT INTO aurora.generation_output (job_id, company_id, token_no, began_at, slot, text)
    SELECT job_id, company_id, 3, 0, slot, 'ü' FROM aurora.generation, generate_series(0, 2) slot;
SQL
}

# A row in every table of the gateway. Without a key ring nothing is signed, and a dump does not look
# at keys that are.
sub gateway_sql
{
    return <<'SQL';
INSERT INTO aurora.api_key (key_hash, role, company_id, owner, routes, expires_at, name, created_by)
    SELECT sha256('aur_dumped'), 'user', company_id, owner, '{GET /api/*,* /nodes}', now() + interval '90 days', 'ü', 'ann' FROM aurora.principal WHERE owner = 'owner 1' LIMIT 1;
INSERT INTO aurora.session_key (master_key_id, wrapped) VALUES ('0123456789abcdef', 'wrapped');
INSERT INTO aurora.principal_password (company_id, owner, generation, password_hash) SELECT company_id, owner, 3, 'hash' FROM aurora.api_key;
INSERT INTO aurora.session_revocation (session_id, company_id, owner, expires_at) SELECT gen_random_uuid(), company_id, owner, now() + interval '90 days' FROM aurora.api_key;
SELECT aurora.add_webhook('hub', 'company 1'), aurora.store_webhook('hub', '{"a": "ü"}', '\x00ff', '192.0.2.1');
SQL
}

sub run_ok
{
    my ($command, $name) = @_;
    my ($out, $err) = ('', '');
    my $done = IPC::Run::run($command, '>', \$out, '2>', \$err);

    ok($done, $name) or diag($err);
    return $done;
}

# Every table's rows, and every sequence's next value, as one text for each.
my @relations = split(/\n/, $source->safe_psql('filled', <<'SQL'));
SELECT c.oid::regclass, c.relkind FROM pg_class c
WHERE c.relnamespace = 'aurora'::regnamespace AND c.relkind IN ('r', 'S') ORDER BY 1
SQL
cmp_ok(scalar(@relations), '>=', 20, 'tables and sequences are compared (' . scalar(@relations) . ')');

sub content
{
    my ($node, $database) = @_;
    my %content;

    for my $relation (@relations)
    {
        my ($name, $kind) = split(/\|/, $relation);
        my $of_rows = $kind eq 'S'
          ? "SELECT last_value, is_called FROM $name"
          : "SELECT t::text FROM $name t ORDER BY t::text COLLATE \"C\"";

        $content{$name} = $node->safe_psql($database, "SET timezone = 'UTC'; SET extra_float_digits = 3; $of_rows");
    }
    return \%content;
}

my $time = world_time();
my @reads = (
    (map { "SELECT * FROM aurora.surface(100, 'owner $_', '$time')" } 1 .. 3),
    "SELECT * FROM aurora.company_surface(100, 'company 1', '$time')",
    "SELECT * FROM aurora.company_surface(100, 'company 2', '$time')",
    'SELECT * FROM aurora.weights ORDER BY company, owner, name',
    'SELECT * FROM aurora.kinds ORDER BY company, kind_no');

my $before = content($source, 'filled');
my @answers = map { $source->safe_psql('filled', $_) } @reads;
my @empty = grep { $before->{$_} eq '' && $_ ne 'aurora.secret_signal' } sort keys %$before;
is("@empty", '', 'every table of the database that is dumped has rows');

# A plain restore places items anew: by the settings that were half applied when the dump was made.
my %placed_anew = ('aurora.item' => 1, 'aurora.item_cell' => 1);

sub is_restored
{
    my ($database, $how, $plainly) = @_;
    my $after = content($target, $database);
    my @different = grep { $after->{$_} ne $before->{$_} } sort keys %$before;

    @different = grep { !$placed_anew{$_} } @different if $plainly;
    is("@different", '', "$how: all tables and sequences are equal");
    return if $plainly;
    my @wrong = grep { $target->safe_psql($database, $reads[$_]) ne $answers[$_] } 0 .. $#reads;
    is("@reads[@wrong]", '', "$how: surfaces and settings are equal");
    return;
}

sub goes_on
{
    my ($database, $how) = @_;
    my $last = $target->safe_psql($database, 'SELECT max(item_id) FROM aurora.item');

    $target->safe_psql($database, 'CALL aurora.apply_settings()');
    is_sql($target, "SELECT aurora.add_item('next', owner => 'owner 1', company => 'company 1')", $last + 1, "$how: ids go on", $database);
    is_sql($target, "SELECT aurora.publish('chat', '3', company => 'company 1'), aurora.publish('chat', '1', 'a', 'company 1')", '3|1', "$how: events go on", $database);
    is_sql($target, "SELECT string_agg(seq::text, ' ') FROM aurora.fetch('mailer', 'chat', 10, 'company 1')", '2 3', "$how: a consumer is where it was", $database);
    is_sql($target, "SELECT count(DISTINCT epoch), count(*) FROM aurora.events('chat', company => 'company 1')", '2|3', "$how: in an epoch of their own", $database);
    is_sql($target, "SELECT aurora.add_item('feed', owner => 'owner 1', company => 'company 1', provider => 'hubspot', external_id => 'd1')
                     = (SELECT item_id FROM aurora.item WHERE external_id = 'd1')", 't', "$how: items of a source are known again", $database);
    my ($out, $err) = try_sql($target, "SET client_min_messages = warning; SELECT aurora.add_company('company 3'), aurora.set_weight('vip', 3, company => 'company 1'),
        aurora.set_kind('gadget', company => 'company 1'), aurora.complete($last + 1)", $database);
    is($err, '', "$how: companies, weights, kinds and actions go on");
    jobs_go_on($database, $how);
    is_sql($target, "SELECT owner FROM aurora.assume_key(sha256('aur_dumped'), 'GET /nodes', NULL, 0)", 'owner 1', "$how: a key is good", $database);
    is_sql($target, "SELECT aurora.add_api_key('next', owner => 'owner 1', company => 'company 1') LIKE 'aur_%'", 't', "$how: another is added", $database);
    is_sql($target, "SELECT aurora.store_webhook('hub', '{}', '', NULL)", 2, "$how: webhooks go on", $database);
    $target->safe_psql($database, reference_sql());
    $target->safe_psql($database, 'SELECT aurora.sweep_cells()');
    is_sql($target, "SELECT difference FROM reference.all_differences('$time') difference LIMIT 1", '',
        "$how: all surfaces equal the reference", $database);
    for my $check (qw(unregistered_items wrong_scopes wrong_open_blockers wrong_blocking misplaced_items shared_slots))
    {
        is_sql($target, "SELECT count(*) FROM reference.$check()", 0, "$how: there are no $check", $database);
    }
    return;
}

sub jobs_go_on
{
    my ($database, $how) = @_;
    my $take = "SELECT string_agg(t.kind || coalesce(' ' || c.name, ''), ', ' ORDER BY t.ordinality) FROM aurora.take_jobs('dumped', 9) WITH ORDINALITY t
                LEFT JOIN aurora.company c ON c.company_id = t.company_id AND t.class = 'interactive'";
    my $done = "SELECT aurora.finish_job(job_id, attempt) FROM aurora.jobs WHERE kind =";

    is_sql($target, "SELECT string_agg(DISTINCT state::text, ' ') FROM aurora.jobs", 'blocked cancelled dead done held running scheduled waiting', "$how: there are jobs of all states", $database);
    is_sql($target, $take, 'first company 1, second company 1, third company 1, first company 2, second company 2, third company 2', "$how: waiting jobs are taken in their order", $database);
    is_sql($target, "SELECT aurora.submit_job('dumped', unique_key => 'u', company => 'company 1') = job_id FROM aurora.jobs WHERE kind = 'blocked'", 't', "$how: a unique key is known", $database);
    is_sql($target, "$done 'running'", 't', "$how: a running job is finished by who had it", $database);
    is_sql($target, $take, 'held, blocked', "$how: so that what was held, or runs after it, is taken", $database);
    is_sql($target, "$done 'held'", 't', "$how: then what is held by the same key", $database);
    is_sql($target, $take, 'held too', "$how: is next", $database);
    is_sql($target, "SELECT aurora.replay_jobs('dumped')", 1, "$how: a dead job is replayed", $database);
    $target->safe_psql($database, "UPDATE aurora.job SET ready_at = now() WHERE kind = 'scheduled'; SELECT aurora.settle_queue(aurora.find_queue('dumped'))");
    is_sql($target, "SELECT string_agg(kind, ' ' ORDER BY kind) FROM aurora.take_jobs('dumped', 9)", 'dead scheduled', "$how: and taken, as what was scheduled is in its time", $database);
    is_sql($target, "SELECT string_agg(kind, ' ') FROM aurora.take_jobs('own', company => 'company 1')", 'own', "$how: a company's own queue has its jobs", $database);
    is_sql($target, "SELECT count(*), count(DISTINCT a.tableoid) FROM aurora.job_archive a WHERE kind LIKE 'ended%'", '9|8', "$how: jobs that have ended are in their places", $database);
    is_sql($target, "SELECT slot FROM aurora.job_archive WHERE kind = 'running'", 7, "$how: and the next ones go where they would have", $database);
    return;
}

run_ok([ 'pg_dump', '-Fc', '-f', "$folder/filled.dump", $source->connstr('filled') ], 'the database is dumped in custom format');
run_ok([ 'pg_dump', '-f', "$folder/filled.sql", $source->connstr('filled') ], 'the database is dumped as SQL');

for my $way ([ 'as documented', '-c session_replication_role=replica' ], [ 'plainly', '' ])
{
    my ($how, $options) = @$way;
    my ($custom, $sql) = map { my $name = "$how $_"; $name =~ tr/ /_/; $name } qw(custom sql);

    $target->safe_psql('postgres', "CREATE DATABASE $custom");
    $target->safe_psql('postgres', "CREATE DATABASE $sql");
    local $ENV{PGOPTIONS} = $options;
    my %done = (
        $custom => run_ok([ 'pg_restore', '--exit-on-error', '-d', $target->connstr($custom), "$folder/filled.dump" ],
            "pg_restore into an empty cluster, $how, succeeds"),
        $sql => run_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr($sql), '-f', "$folder/filled.sql" ],
            "psql of the SQL into an empty cluster, $how, succeeds"));
    local $ENV{PGOPTIONS} = '';
    for my $database (grep { $done{$_} } $custom, $sql)
    {
        is_restored($database, "in $database", $options eq '');
        goes_on($database, "afterwards in $database");
    }
}
is_sql($target, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aurora\\_%'", 7, 'the extension has made its roles in the empty cluster');

# ---- a plain restore never makes items wait for what has ended ----

$source->safe_psql('postgres', 'CREATE DATABASE waiting');
$source->safe_psql('waiting', <<'SQL');
SET client_min_messages = warning;
CREATE EXTENSION aurora;
SELECT aurora.add_item('first'), aurora.add_item('second');
SELECT aurora.add_dependency(2, 1);
SQL
run_ok([ 'pg_dump', '-f', "$folder/waiting.sql", $source->connstr('waiting') ], 'a small database with a dependency is dumped');
$target->safe_psql('postgres', 'CREATE DATABASE waiting');
run_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $target->connstr('waiting'), '-f', "$folder/waiting.sql" ],
    'and restored plainly');
is_sql($target, "SELECT open_blockers, blocking FROM aurora.item ORDER BY item_id", "0|1\n1|0",
    'restored plainly, an item waits for as many others as before', 'waiting');
$target->safe_psql('waiting', 'SELECT aurora.complete(1)');
is_sql($target, 'SELECT title FROM aurora.surface(10)', 'second',
    'restored plainly, it is on the surface when the other has ended', 'waiting');

done_testing();
