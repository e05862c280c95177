# Leads and hot standbys with aurora, and what all tests ask of them.
#
# A "lead" is a cluster with the extension in its database postgres and the slow reference in the
# schema "reference"; a "standby" streams from it. "Invariants" are what holds whatever happened.
package AuroraCluster;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AuroraTimeLimit;
use AuroraReference qw(reference_sql);

our @EXPORT = qw(
  new_cluster new_lead new_standby catch_up try_sql sql_state
  is_same_on_both invariants_hold surfaces_are_exact settle is_sql
);

# A running cluster without the extension; %conf are its settings.
sub new_cluster
{
    my ($name, %conf) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);

    $node->init(allows_streaming => 1);
    configure($node, %conf);
    $node->start;
    return $node;
}

sub configure
{
    my ($node, %conf) = @_;
    my %standard = (
        log_statement => 'none',
        log_min_duration_statement => "'3s'",
        max_connections => 50,
        shared_buffers => "'32MB'",
        hot_standby_feedback => 'on',
        max_standby_streaming_delay => -1,
        autovacuum_naptime => "'5s'",
        max_wal_size => "'1GB'");

    %conf = (%standard, %conf);
    $node->append_conf('postgresql.conf', join('', map { "$_ = $conf{$_}\n" } sort keys %conf));
    return;
}

# A running cluster with the extension and the reference.
sub new_lead
{
    my ($name, %conf) = @_;
    my $lead = new_cluster($name, %conf);

    $lead->safe_psql('postgres', 'SET client_min_messages = warning; CREATE EXTENSION aurora');
    $lead->safe_psql('postgres', reference_sql());
    return $lead;
}

# A running hot standby of the lead.
sub new_standby
{
    my ($lead, $name, %conf) = @_;
    my $standby = PostgreSQL::Test::Cluster->new($name);
    my $backup = "for_$name";

    $lead->backup($backup);
    $standby->init_from_backup($lead, $backup, has_streaming => 1);
    $standby->append_conf('postgresql.conf', join('', map { "$_ = $conf{$_}\n" } sort keys %conf));
    $standby->start;
    return $standby;
}

# Returns when the standby has replayed all that the lead has committed.
sub catch_up
{
    my ($lead, $standby) = @_;

    $lead->wait_for_catchup($standby, 'replay', $lead->lsn('insert'));
    return;
}

# Runs SQL that may fail: its output, and the error with SQLSTATE, detail and hint.
sub try_sql
{
    my ($node, $sql, $database) = @_;
    my ($out, $err) = ('', '');

    $node->psql(
        $database // 'postgres', $sql,
        stdout => \$out, stderr => \$err, on_error_stop => 1,
        extra_params => [ '-v', 'VERBOSITY=verbose' ]);
    return ($out, $err);
}

# The SQLSTATE in an error that try_sql() returned.
sub sql_state
{
    my ($err) = @_;

    return $err =~ /(?:ERROR|FATAL):  ([0-9A-Z]{5}):/ ? $1 : 'none';
}

sub is_sql
{
    my ($node, $sql, $expected, $name, $database) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    return is($node->safe_psql($database // 'postgres', $sql), $expected, $name);
}

sub is_same_on_both
{
    my ($lead, $standby, $sql, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($here, $there) = map { $_->safe_psql('postgres', $sql) } $lead, $standby;

    return ok(0, "$name (nothing was read)") if $here eq '';
    return is($there, $here, $name);
}

# Has all settings applied and the cells swept.
sub settle
{
    my ($lead) = @_;

    $lead->safe_psql('postgres', 'CALL aurora.apply_settings()');
    $lead->safe_psql('postgres', 'SELECT aurora.sweep_cells()');
    return;
}

# What holds at any time; with settled => 1 also what holds once settings are applied.
sub invariants_hold
{
    my ($node, $when, %option) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @always = (
        unregistered_items => 'every open item has its cell in the registry',
        wrong_scopes => 'every item has the number of its owner and level',
        wrong_open_blockers => 'open_blockers equals a recount',
        wrong_blocking => 'blocking equals a recount',
        circular_dependencies => 'no item waits for itself',
        lost_history => 'every closed item tells in its history who closed it');
    my @settled = (
        misplaced_items => 'every open item is where present settings place it',
        pending_runs => 'no settings are left to apply',
        shared_slots => 'no two groups share a cell that is set apart');
    my @checks = (@always, $option{settled} ? @settled : ());

    while (my ($check, $sentence) = splice(@checks, 0, 2))
    {
        is_sql($node, "SELECT count(*), min(found) FROM reference.$check() found", '0|', "$when $sentence");
    }
    return;
}

# Every owner's surface, agenda, quadrants and each company's surface equal the reference.
sub surfaces_are_exact
{
    my ($node, $when, $at) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $time = $at ? "timestamptz '$at'" : 'now()';

    return is_sql($node, "SELECT difference FROM reference.all_differences($time) difference LIMIT 1",
        '', "$when all surfaces equal the reference");
}

1;
