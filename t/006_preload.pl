# The extension with and without shared_preload_libraries: what works at once, in a fresh database,
# from the first statement on; what a NOTICE tells; and what is left alone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraCluster;
use Test::More;

my $node = new_cluster('node');

sub new_database
{
    my ($name) = @_;

    $node->safe_psql('postgres', "CREATE DATABASE $name");
    return $name;
}

sub create_extension
{
    my ($database) = @_;

    return try_sql($node, 'CREATE EXTENSION aurora', $database);
}

# ---- roles that are there already are left as they are ----

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE aurora_user LOGIN CONNECTION LIMIT 5 VALID UNTIL '2099-01-01';
COMMENT ON ROLE aurora_user IS 'made by hand';
CREATE ROLE somebody LOGIN;
CREATE ROLE developer LOGIN CREATEDB CREATEROLE;
SQL
my $role = "SELECT rolcanlogin, rolconnlimit, rolvaliduntil, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = 'aurora_user'";
my $role_before = $node->safe_psql('postgres', $role);

# ---- not preloaded ----

new_database('fresh');
my ($out, $err) = try_sql($node, 'CREATE EXTENSION aurora', 'fresh');
unlike($err, qr/ERROR/, 'CREATE EXTENSION works in a fresh database without preloading');
like($err, qr/(?:INFO|NOTICE|WARNING):.*shared_preload_libraries/, 'a message tells that the workers do not run');
like($err, qr/HINT:.*restart/, 'and how to have them');
is_sql($node, $role, $role_before, 'a role that was there is not altered');
is_sql($node, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aurora\\_%'", 7, 'the roles that were missing are made');
is_sql($node, "SELECT bool_or(rolcanlogin) FROM pg_roles WHERE rolname LIKE 'aurora\\_%' AND rolname <> 'aurora_user'", 'f',
    'and none of those can log in');
is_sql($node, 'SELECT count(*) FROM pg_depend d WHERE d.refclassid = \'pg_extension\'::regclass AND d.classid = \'pg_extension\'::regclass', 0,
    'it needs no other extension', 'fresh');
is_sql($node, 'SELECT aurora.library_preloaded()', 'f', 'the library knows that it was not preloaded', 'fresh');
is_sql($node, 'SELECT scheduled FROM aurora.duties WHERE runs_by = \'worker\' GROUP BY 1', 'f', 'no worker is said to run', 'fresh');

# ---- the very first statements ----

is_sql($node, "SELECT aurora.add_item('the very first')", 1, 'add_item is the very first statement in the database', 'fresh');
is_sql($node, 'SELECT rank, title, kind FROM aurora.surface(10)', '1|the very first|task', 'surface(10) shows it', 'fresh');
is_sql($node, "SELECT c.name, p.owner, p.trust, p.login_role = current_user FROM aurora.company c JOIN aurora.principal p USING (company_id)",
    'default|' . $node->safe_psql('postgres', 'SELECT current_user') . '|admin|t', 'the default company is made, with the caller as its owner', 'fresh');

new_database('fresh_read');
create_extension('fresh_read');
($out, $err) = try_sql($node, 'SELECT * FROM aurora.surface(10)', 'fresh_read');
is("$out$err", '', 'surface(10) as the very first statement gives no rows and no error');
($out, $err) = try_sql($node, 'SET SESSION AUTHORIZATION somebody; SELECT * FROM aurora.surface(10)', 'fresh_read');
is(sql_state($err), '42501', 'somebody without a role of aurora is refused') or diag($err);

# ---- the library comes into a session by the first call, or by LOAD ----

is_sql($node, "SET aurora.some_setting_of_later = 'x'; SELECT length(aurora.trust_labels()::text) > 0", 't',
    'a session that set an unknown parameter before still loads the library', 'fresh');
is_sql($node, "BEGIN; SAVEPOINT s; SELECT count(*) FROM aurora.surface(3); ROLLBACK TO s; COMMIT; LOAD 'aurora'; SELECT count(*) FROM aurora.surface(3)",
    "1\n1", 'the first call in a subtransaction that is rolled back loads it, and LOAD again does no harm', 'fresh');
is_sql($node, "LOAD 'aurora'; SELECT 1", 1, 'LOAD works in a database without the extension');
($out, $err) = try_sql($node, "LOAD 'aurora'; SET aurora.no_such_setting = 'x'");
isnt(sql_state($err), 'none', 'once it is loaded an unknown parameter of aurora is refused');
($out, $err) = try_sql($node, "LOAD 'aurora'; DROP DATABASE fresh_read; CREATE DATABASE fresh_read");
is($err, '', 'a session with the library drops and creates databases');
create_extension('fresh_read');

for my $call ("aurora.complete(1)", "aurora.undo(1)", "aurora.snooze(1, now() + interval '1 hour')", "aurora.set_weight('vip', 3)",
    "aurora.set_company(big_threshold => 9000)", "aurora.apply_settings_batch()", "aurora.run_duty('archive_q4')",
    "aurora.run_duty('sample_surface')", "aurora.run_duty('wake_snoozed')", "aurora.run_duty('sweep_cells')")
{
    ($out, $err) = try_sql($node, "SET client_min_messages = warning; SELECT $call", 'fresh');
    is($err, '', "works without preloading: $call");
}
($out, $err) = try_sql($node, 'SELECT aurora.set_company(sla_hours => 3)', 'fresh');
like($err, qr/NOTICE:.*apply_settings/, 'a changed setting tells that CALL aurora.apply_settings() is to be run by hand');

# ---- jobs without the preloaded library: all but waiting ----

my $taken = "SELECT string_agg(t.kind, ' ' ORDER BY t.ordinality) FROM aurora.take_jobs('default', 9) WITH ORDINALITY t";
is_sql($node, "SELECT count(aurora.submit_job(kind => 'j' || n, concurrency_key => CASE WHEN n > 3 THEN 'k' END)) FROM generate_series(1, 5) n", 5, 'jobs are submitted without preloading', 'fresh');
is_sql($node, $taken, 'j1 j2 j3 j4', '... and taken in order', 'fresh');
is_sql($node, "SELECT bool_and(aurora.finish_job(job_id, attempt)) FROM aurora.jobs WHERE state = 'running' AND kind IN ('j1', 'j4')", 't', '... and finished', 'fresh');
is_sql($node, $taken, 'j5', '... and let the next go', 'fresh');
is_sql($node, "SELECT aurora.fail_job(job_id, attempt, retry_in => '1 millisecond') FROM aurora.jobs WHERE kind = 'j2'", 'scheduled', '... or fail', 'fresh');
is_sql($node, "UPDATE aurora.job SET lease_until = now() WHERE kind = 'j3'; $taken", "j2 j3", 'who takes sees to delays and leases that are over', 'fresh');
is_sql($node, "BEGIN; SELECT aurora.submit_job(kind => 'undone') > 0; ROLLBACK; BEGIN; SELECT aurora.submit_job(kind => 'j6') > 0; $taken; ROLLBACK; $taken", "t\nt\nj6\n", 'a transaction takes what it submits, and nothing is left when it is rolled back', 'fresh');
($out, $err) = try_sql($node, "CALL aurora.wait_jobs('default', '1 s')", 'fresh');
is(sql_state($err), '55000', 'waiting for jobs is refused') or diag($err);
like($err, qr/HINT:.*shared_preload_libraries/, '... with a hint');

# ---- who may create it, dropping it and creating it again ----

new_database('by_hand');
$node->safe_psql('postgres', 'ALTER DATABASE by_hand OWNER TO developer');
($out, $err) = try_sql($node, 'SET SESSION AUTHORIZATION developer; CREATE EXTENSION aurora', 'by_hand');
is(sql_state($err), '42501', 'CREATE EXTENSION by one who is no superuser is refused') or diag($err);
is_sql($node, "SELECT count(*) FROM pg_namespace WHERE nspname = 'aurora'", 0, 'and leaves nothing behind', 'by_hand');
($out, $err) = create_extension('by_hand');
unlike($err, qr/ERROR/, 'a superuser creates it there afterwards');
$node->safe_psql('by_hand', "SELECT aurora.add_item('lost')");
($out, $err) = try_sql($node, 'DROP EXTENSION aurora', 'by_hand');
is($err, '', 'DROP EXTENSION needs no CASCADE');
is_sql($node, "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) + (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid)
               + (SELECT count(*) FROM pg_type WHERE typnamespace = n.oid) FROM pg_namespace n WHERE nspname = 'aurora'", 0,
    'DROP EXTENSION leaves nothing in its schema', 'by_hand');
is_sql($node, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'aurora\\_%'", 7, 'and leaves the roles', 'by_hand');
($out, $err) = create_extension('by_hand');
unlike($err, qr/ERROR/, 'CREATE EXTENSION again works');
is_sql($node, "SELECT aurora.add_item('new'), (SELECT count(*) FROM aurora.item)", '1|0', 'and begins anew', 'by_hand');
my $session = $node->background_psql('by_hand');
$session->query_safe('SELECT count(*) FROM aurora.surface(10)');
$node->safe_psql('by_hand', 'SET client_min_messages = warning; DROP EXTENSION aurora; CREATE EXTENSION aurora');
$node->safe_psql('by_hand', "SELECT aurora.add_item('newer')");
is($session->query('SELECT title FROM aurora.surface(10)'), 'newer', 'a session that used it before sees the one created again');
$session->quit;

# ---- two databases know nothing of one another ----

$node->safe_psql('fresh_read', "SELECT aurora.add_item('here', amount => 70000)");
is_sql($node, 'SELECT string_agg(title, \',\') FROM aurora.surface(10)', 'here', 'two databases keep their items apart', 'fresh_read');
is_sql($node, 'SELECT string_agg(title, \',\') FROM aurora.surface(10)', 'newer', 'in either direction', 'by_hand');

# ---- preloaded ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'aurora'\naurora.database = 'preloaded'");
$node->restart;
new_database('preloaded');
($out, $err) = create_extension('preloaded');
is($err, '', 'preloaded, CREATE EXTENSION says nothing');
is_sql($node, 'SELECT aurora.library_preloaded()', 't', 'the library knows that it was preloaded', 'preloaded');
is_sql($node, "SELECT aurora.add_item('the very first')", 1, 'preloaded, add_item is the very first statement', 'preloaded');
is_sql($node, 'SELECT title FROM aurora.surface(10)', 'the very first', 'preloaded, surface(10) shows it', 'preloaded');
is_sql($node, 'SELECT title FROM aurora.surface(10)', 'here', 'what was made without preloading is there', 'fresh_read');
is_sql($node, $role, $role_before, 'the role that was there is still as it was');
($out, $err) = try_sql($node, 'DROP DATABASE preloaded');
is($err, '', 'the database of the workers can be dropped');

done_testing();
