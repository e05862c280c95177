# The network between the nodes of a mesh, and its failures.
#
# On "wireguard" each node is a network namespace with an "outside address", behind which there is
# only the internet, played by the namespace of the test itself, and a mesh address at the end of
# the tunnels that wireguard-go makes. On "loopback", where the machine permits no namespaces, the
# mesh addresses are some of 127.0.0.0/8, and nothing can be cut.
package AuroraNetwork;

use strict;
use warnings;

use Exporter 'import';
use FindBin;

# To be loaded before the modules of PostgreSQL: the test starts anew within its namespaces.
BEGIN
{
    if (($ENV{AURORA_MESH} // '') !~ /^wireguard$|^loopback: /)
    {
        my $script = "$FindBin::RealBin/../scripts/lib/mesh-netns";

        exec($script, $^X, (map { "-I$_" } @INC), $0, @ARGV) or die "$script: $!";
    }
}

use PostgreSQL::Test::Utils;
use Test::More;
use AuroraTimeLimit;

our @EXPORT = qw(
  build_network has_tunnels mesh_address mesh_range outside_address on_node cut_path heal_path
);

my %number = (aurora => 1, 'runpod-tx' => 3, vengeance => 4, robbiebook1 => 5);
my $port = 51820;

sub has_tunnels
{
    return $ENV{AURORA_MESH} eq 'wireguard';
}

sub why_no_tunnels
{
    return $ENV{AURORA_MESH} =~ s/^loopback: //r;
}

sub mesh_address
{
    my ($name) = @_;

    return (has_tunnels() ? '10.0.0.' : '127.0.0.') . $number{$name};
}

sub mesh_range
{
    return has_tunnels() ? '10.0.0.0/24' : '127.0.0.0/8';
}

sub outside_address
{
    my ($name) = @_;

    return "192.0.2.$number{$name}";
}

# What to put before a command so that it runs on the node, without the rights over namespaces that
# the test has.
sub on_node
{
    my ($name) = @_;

    return () unless has_tunnels();
    return ('nsenter', "--net=/run/netns/$name", 'setpriv', '--inh-caps=-all', '--ambient-caps=-all');
}

# Makes the nodes and their tunnels, and returns when each node reaches each other one. The folder
# is for the keys.
sub build_network
{
    my ($folder) = @_;
    my @names = sort { $number{$a} <=> $number{$b} } keys %number;

    return note('the nodes are on loopback: ' . why_no_tunnels()) unless has_tunnels();
    connect_to_internet($_) for @names;
    make_key($folder, $_) for @names;
    make_tunnels($folder, $_, @names) for reverse @names;
    wait_for_tunnels(@names);
    note('the nodes are in namespaces, on a WireGuard mesh');
    return;
}

sub connect_to_internet
{
    my ($name) = @_;
    my $address = outside_address($name);
    my $gateway = '192.0.2.254';
    my @ip = ('ip', '-n', $name);

    system_or_bail('ip', 'netns', 'add', $name);
    system_or_bail('ip', 'link', 'add', "to$number{$name}", 'type', 'veth', 'peer', 'name', 'eth0', 'netns', $name);
    system_or_bail('ip', 'address', 'add', "$gateway/32", 'peer', "$address/32", 'dev', "to$number{$name}");
    system_or_bail('ip', 'link', 'set', "to$number{$name}", 'up');
    system_or_bail(@ip, 'link', 'set', 'lo', 'up');
    system_or_bail(@ip, 'address', 'add', "$address/32", 'peer', "$gateway/32", 'dev', 'eth0');
    system_or_bail(@ip, 'link', 'set', 'eth0', 'up');
    system_or_bail(@ip, 'route', 'add', 'default', 'via', $gateway);
    return;
}

sub make_key
{
    my ($folder, $name) = @_;

    system_or_bail('sh', '-c', 'umask 077; wg genkey >"$0.key"; wg pubkey <"$0.key" >"$0.pub"', "$folder/$name");
    return;
}

# Of two nodes only that with the lower number keeps the tunnel alive, and so begins: when both do,
# their handshakes may undo each other for good. Call it for the highest number first, or a handshake
# is sent to where nobody is yet, and the next one comes seconds later.
sub make_tunnels
{
    my ($folder, $name, @names) = @_;
    my $device = "wg$number{$name}";
    my $conf = "[Interface]\nListenPort = $port\nPrivateKey = " . slurp_file("$folder/$name.key");

    for my $peer (grep { $_ ne $name } @names)
    {
        $conf .= "[Peer]\nPublicKey = " . slurp_file("$folder/$peer.pub")
          . "AllowedIPs = " . mesh_address($peer) . "/32\nEndpoint = " . outside_address($peer) . ":$port\n";
        $conf .= "PersistentKeepalive = 25\n" if $number{$name} < $number{$peer};
    }
    append_to_file("$folder/$name.conf", $conf);
    system_or_bail('nsenter', "--net=/run/netns/$name", 'wireguard-go', $device);
    system_or_bail('wg', 'setconf', $device, "$folder/$name.conf");
    system_or_bail('ip', '-n', $name, 'address', 'add', mesh_address($name) . '/24', 'dev', $device);
    system_or_bail('ip', '-n', $name, 'link', 'set', $device, 'up');
    return;
}

# PostgreSQL binds its addresses only when it starts, so the mesh has to be there first.
sub wait_for_tunnels
{
    my (@names) = @_;

    for my $name (@names)
    {
        my $attempts = 10 * $PostgreSQL::Test::Utils::timeout_default;
        my $handshakes = '';

        while ((() = $handshakes =~ /\t[1-9]\d*$/mg) < @names - 1)
        {
            BAIL_OUT("the tunnels of $name do not come up:\n$handshakes") if $attempts-- == 0;
            select(undef, undef, undef, 0.1);
            $handshakes = `wg show wg$number{$name} latest-handshakes`;
        }
    }
    return;
}

# From now on nothing of what one node sends arrives at the other one, or at any; neither of them is
# told. Only with tunnels.
sub cut_path
{
    my ($from, $to) = @_;

    system_or_bail('ip', 'rule', 'add', path($from, $to), 'blackhole');
    return;
}

sub heal_path
{
    my ($from, $to) = @_;

    system_or_bail('ip', 'rule', 'delete', path($from, $to), 'blackhole');
    return;
}

# As ip says it; undef is any node.
sub path
{
    my ($from, $to) = @_;

    return ((defined $from ? ('from', outside_address($from)) : ()), (defined $to ? ('to', outside_address($to)) : ()));
}

1;
