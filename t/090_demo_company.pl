# The generated company of samples/demo.sql: the same everywhere, and a surface worth showing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraTimeLimit;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $lead = PostgreSQL::Test::Cluster->new('lead');
$lead->init(allows_streaming => 1);
$lead->append_conf('postgresql.conf', "shared_preload_libraries = 'aurora'");
$lead->start;
$lead->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($lead, 'base', has_streaming => 1);
$standby->start;

my @load = ('psql', '-X', '-q', '-d', $lead->connstr('postgres'), '--single-transaction', '-f', 'samples/demo.sql');
my $count = 'SELECT count(*) FROM aurora.item';

# Everything but the times, which are distances from now().
my $digest = q{
    SELECT md5(string_agg(concat_ws('|', item_id, kind, title, owner, level, amount, currency, win_chance, risk, vip,
                                    severity, sender, group_key, state, open_blockers), E'\n' ORDER BY item_id))
    FROM aurora.item};

$lead->safe_psql('postgres', 'CREATE EXTENSION aurora');
command_ok(\@load, 'the company loads');

my $items = $lead->safe_psql('postgres', $count);
cmp_ok($items, '>=', 2000, 'it has some thousand items');
cmp_ok($items, '<', 10000, 'and no more');
is($lead->safe_psql('postgres', $digest), 'b9446ae7a03ed1d520989b5ac34f634c',
    'its items are the same ones on every machine (samples/demo.sql decides which)');
is($lead->safe_psql('postgres', q{SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM aurora.item}),
    'chore deal email incident meeting task', 'it has all kinds');

my ($half, $tenth) = split /\|/, $lead->safe_psql('postgres', q{
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY amount DESC),
           sum(amount) FILTER (WHERE place <= 0.1) / sum(amount)
    FROM (SELECT amount, percent_rank() OVER (ORDER BY amount DESC) AS place FROM aurora.item WHERE kind = 'deal') AS deal});
cmp_ok($half, '<', 2000, 'half of the deals are small');
cmp_ok($tenth, '>', 0.7, 'and a tenth of them brings more than 70 % of the money');

command_fails(\@load, 'it does not load a second time');
is($lead->safe_psql('postgres', $count), $items, 'and a second try changes nothing');

$lead->wait_for_catchup($standby, 'replay');
my $now = $lead->safe_psql('postgres', 'SELECT now()');
my $surface = "SELECT * FROM aurora.surface(10, at => '$now')";
my $seen = $standby->safe_psql('postgres', $surface);
is($seen, $lead->safe_psql('postgres', $surface), 'the standby shows what the lead shows');

my @rows = split /\n/, $seen;
is(scalar @rows, 10, 'which is ten rows');
like($rows[0], qr/Castellan Motors/, 'the largest deal at risk comes first');
like($seen, qr/$_/, "and \"$_\" is among the ten")
  foreach ('Cancelling our pilot', 'Inference API returns 503', 'Sign the order form');

done_testing();
