# The mesh of the installation that aurora is built for: a lead and three hot standbys, each on a
# machine of its own as far as the network can tell.
package AuroraMesh;

use strict;
use warnings;

use Exporter 'import';
use AuroraNetwork;
use AuroraNode;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_mesh start_lead add_standby streams_from);

# Returns the four nodes, the lead first, configured but without data. robbiebook1 shows a
# certificate, the others know their passwords. %conf are settings for all of them.
sub new_mesh
{
    my (%conf) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my @nodes = map { AuroraNode->new($_) } qw(aurora runpod-tx vengeance robbiebook1);

    make_authority($folder);
    build_network($folder);
    $nodes[3]{certified} = 1;
    for my $node (@nodes)
    {
        my @others = grep { $_ != $node } @nodes;

        # On loopback the agents of another mesh may have their usual port.
        $node->write_configuration($folder, \@others, %conf, 'aurora.node_name' => $node->name,
            has_tunnels() ? () : ('aurora.agent_port' => $node->port));
    }
    return @nodes;
}

sub make_authority
{
    my ($folder) = @_;

    system_or_bail('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
        '-days', '2', '-subj', '/CN=mesh', '-keyout', "$folder/ca.key", '-out', "$folder/ca.crt");
    return;
}

# Starts a node for the first time, as the lead.
sub start_lead
{
    my ($node) = @_;

    $node->init;
    $node->start;
    $node->safe_psql('postgres', $AuroraNode::replicator);
    return;
}

# Starts a node for the first time, as a standby of the lead.
sub add_standby
{
    my ($lead, $node) = @_;

    $node->copy_data($lead);
    $node->start;
    return;
}

# Waits until these standbys, and no other, stream from the lead.
sub streams_from
{
    my ($lead, $standbys, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $names = join(',', sort map { $_->name } @$standbys);

    return ok($lead->poll_query_until('postgres',
            "SELECT string_agg(application_name, ',' ORDER BY application_name COLLATE \"C\") FROM pg_stat_replication
             WHERE state = 'streaming'", $names), $name);
}

1;
