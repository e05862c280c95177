# The worker: what it does by itself on the lead, and that it never stands in the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use AuroraCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $worker = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'aurora worker'";

sub worker_comes
{
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return ok($node->poll_query_until('template1', "$worker AND datname = 'app'", '1'), $name);
}

my $lead = new_cluster('worker_lead',
    shared_preload_libraries => "'aurora'", 'aurora.database' => "'app'", 'aurora.surface_sample_interval' => "'1s'");

ok($lead->poll_query_until('postgres',
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'aurora launcher'", '1'),
    'the launcher runs while the database is missing');

$lead->safe_psql('postgres', 'CREATE DATABASE app');
worker_comes($lead, 'the worker comes when its database is made');

$lead->safe_psql('app', 'CREATE EXTENSION aurora');
$lead->safe_psql('app', "SELECT aurora.add_item('small', amount => 300)");
$lead->safe_psql('app', 'SELECT aurora.set_company(big_threshold => 200)');
ok($lead->poll_query_until('app', 'SELECT count(*) = 0 FROM aurora.placement_run'),
    'it applies changed settings by itself');
is_sql($lead, 'SELECT (aurora.cell_features(cell)).big FROM aurora.item', 't', 'and items are in their new cells', 'app');
ok($lead->poll_query_until('app', 'SELECT count(*) = 1 FROM aurora.item_surfaced'), 'it samples the surfaces');
is_sql($lead, "SELECT bool_and(scheduled) FROM aurora.duties WHERE runs_by = 'worker'", 't',
    'duties show it as scheduled', 'app');

my $broken = "ALTER FUNCTION aurora.sample_surface(timestamptz) RENAME TO sample_surface_away";
$lead->safe_psql('app', $broken);
ok($lead->poll_query_until('app', "SELECT last_error IS NOT NULL FROM aurora.duties WHERE duty = 'sample_surface'"),
    'a duty that fails is shown with its error');
$lead->safe_psql('app', 'ALTER FUNCTION aurora.sample_surface_away(timestamptz) RENAME TO sample_surface');
ok($lead->poll_query_until('app', "SELECT last_error IS NULL FROM aurora.duties WHERE duty = 'sample_surface'"),
    'and the worker goes on after it');

my $standby = new_standby($lead, 'worker_standby');
is($standby->safe_psql('app', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'aurora worker'"), '0',
    'a standby has no worker');

$lead->safe_psql('app', 'DROP EXTENSION aurora CASCADE');
my $pid = $lead->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'aurora worker'");
$lead->safe_psql('app', 'CREATE EXTENSION aurora');
is($lead->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'aurora worker'"), $pid,
    'it survives DROP EXTENSION and CREATE EXTENSION');
$lead->safe_psql('app', "SELECT aurora.add_item('again')");

my $restoring = $lead->background_psql('app');
$restoring->query_safe('SET client_min_messages = warning; SET session_replication_role = replica; DROP EXTENSION aurora CASCADE; CREATE EXTENSION aurora');
# The workers look every half second, and take up the lead within five.
$lead->safe_psql('postgres', 'SELECT pg_sleep(7)');
is($lead->safe_psql('app', 'SELECT count(*) FROM aurora.lead_epoch'), '0', 'it writes nothing while a session restores a dump');
$restoring->quit;
ok($lead->poll_query_until('app', 'SELECT count(*) = 1 FROM aurora.lead_epoch'), 'and goes on when that session has ended');
$lead->safe_psql('app', "SELECT aurora.add_item('again')");

$lead->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
worker_comes($lead, 'its database can be copied, and it comes back');
$lead->safe_psql('postgres', 'ALTER DATABASE app RENAME TO elsewhere');
$lead->safe_psql('postgres', 'ALTER DATABASE elsewhere RENAME TO app');
worker_comes($lead, 'its database can be renamed, and it comes back');
kill 'TERM', $lead->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'aurora worker'");
worker_comes($lead, 'it comes back when it is ended');

catch_up($lead, $standby);
$lead->stop('immediate');
$standby->promote;
worker_comes($standby, 'a promoted standby has its own worker');
ok($standby->poll_query_until('app', 'SELECT count(*) = 1 FROM aurora.item_surfaced'), 'and it does its duties');

$standby->safe_psql('postgres', 'DROP DATABASE app');
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = 'app'"), '0',
    'its database can be dropped');
$standby->safe_psql('postgres', 'CREATE DATABASE app');
worker_comes($standby, 'and it comes back with the next of that name');

done_testing();
