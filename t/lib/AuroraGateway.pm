# Gateways of nodes, and nginx in front of them with the project's own templates.
#
# A "gateway" is a running aurora-gateway; its "sockets" are a folder with one socket for each group
# of routes, and its places are those and the ports of its nginx.
package AuroraGateway;

use strict;
use warnings;

use AuroraCluster;
use AuroraHttp;
use AuroraNodes;
use AuroraProgram;
use AuroraSecrets;
use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  gateway_is_missing nginx_is_missing new_gateway_login gateway_config start_gateway restart_gateway write_gateway_config
  end_gateway kill_gateway gateway_log socket_of new_gateway_world new_gateway_lead add_key one_of_two has_problem
  start_nginx render_nginx end_nginx port_of make_tls_files
);

my $checkout = "$FindBin::RealBin/..";
my %routes = (
    web => 'all',
    events => 'events webhooks',
    gpu => 'gpu',
    priorities => 'priorities',
    secrets => 'secrets',
    registry => 'registry metrics');

sub gateway_is_missing
{
    return program_is_missing('aurora-gateway') || nginx_is_missing();
}

sub nginx_is_missing
{
    $ENV{PATH} .= ':/usr/sbin' unless $ENV{PATH} =~ m{(^|:)/usr/sbin(:|$)};
    return system('command -v nginx >/dev/null 2>&1') == 0 ? '' : 'there is no nginx';
}

# ---- the gateway ----

# A role that gateways log in as, set up as docs/gateway.md has it.
sub new_gateway_login
{
    my ($lead) = @_;

    $lead->safe_psql('postgres', 'CREATE ROLE gateway_login LOGIN IN ROLE aurora_gateway; ALTER ROLE gateway_login SET log_parameter_max_length = 0');
    return;
}

sub conninfo
{
    my ($node) = @_;

    return '"' . ($node->connstr('postgres') =~ s/(["\\])/\\$1/gr) . ' user=gateway_login"';
}

# The text of a configuration; %option has settings by section, and sockets, the folder.
sub gateway_config
{
    my ($node, $lead, $sockets, %section) = @_;
    my %all = (
        database => { local => conninfo($node), lead => conninfo($lead), %{ $section{database} // {} } },
        gateway => { cookie_secure => 'no', log_level => 'debug', %{ $section{gateway} // {} } },
        map { ("listen $_" => { socket => "$sockets/$_.sock", routes => $routes{$_} }) } keys %routes);
    my $text = '';

    for my $name (sort keys %all)
    {
        $text .= "[$name]\n" . join('', map { "$_ = $all{$name}{$_}\n" } sort keys %{ $all{$name} });
    }
    return $text;
}

sub write_gateway_config
{
    my ($gateway, $text) = @_;

    open(my $file, '>', "$gateway->{sockets}/gateway.ini") or die "$gateway->{sockets}: $!";
    print $file $text;
    close($file) or die $!;
    return;
}

# Starts the gateway of a node. %option: lead (the node itself when there is none), name, command (words
# before the program), and settings by section.
sub start_gateway
{
    my ($node, %option) = @_;
    my $lead = delete $option{lead} // $node;
    my $name = delete $option{name} // 'gateway_' . $node->name;
    my $gateway = { name => $name, node => $node, sockets => PostgreSQL::Test::Utils::tempdir_short(), options => delete $option{options} // [] };

    write_gateway_config($gateway, gateway_config($node, $lead, $gateway->{sockets}, %option));
    return restart_gateway($gateway);
}

# Starts it, again when it has ended, with the configuration that lies there.
sub restart_gateway
{
    my ($gateway) = @_;
    my $before = -e ($gateway->{log} // '') ? -s $gateway->{log} : 0;
    my $program = start_program($gateway->{name}, program_path('aurora-gateway'), '--config', "$gateway->{sockets}/gateway.ini",
        @{ $gateway->{options} });

    $gateway->{program} = $program;
    $gateway->{log} = $program->{log};
    return $gateway if @{ $gateway->{options} };
    wait_until(sub { waitpid($program->{pid}, 1) == $program->{pid} || request(socket_of($gateway, 'web'), 'GET', '/live')->{status} == 200 })
      or die "$gateway->{name} does not start: " . program_log($program);
    kill(0, $program->{pid}) or die "$gateway->{name} has ended: " . substr(program_log($program), $before);
    return $gateway;
}

# Has it finish what runs; its exit status.
sub end_gateway
{
    my ($gateway) = @_;

    return end_program($gateway->{program}, 'TERM');
}

sub kill_gateway
{
    my ($gateway) = @_;

    return end_program($gateway->{program}, 'KILL');
}

sub socket_of
{
    my ($gateway, $group) = @_;

    return "$gateway->{sockets}/" . ($group // 'web') . '.sock';
}

sub gateway_log
{
    my ($gateway) = @_;

    return slurp_file($gateway->{log});
}

# Is the answer a problem+json with such a status, and with the number of its request? OpenAI's routes
# have errors of another form.
sub has_problem
{
    my ($answer, $status, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $json = ref $answer->{json} eq 'HASH' ? $answer->{json} : {};

    if (ref $json->{error})
    {
        return is($answer->{status}, $status, $name) && ok(length($json->{error}{message}), '... in the form of OpenAI');
    }
    my $is_problem = $answer->{status} == $status
      && ($answer->{headers}{'content-type'} // '') =~ m{^application/problem\+json}
      && ($json->{status} // 0) == $status
      && length($json->{request_id} // '');

    return ok($is_problem, $name)
      || diag("expected a problem with status $status, it is $answer->{status}: " . substr($answer->{body}, 0, 500));
}

# ---- who is there ----

# Settings for a connection to whichever of two nodes takes writes.
sub one_of_two
{
    my (@nodes) = @_;

    return '"host=' . join(',', map { $_->host } @nodes) . ' port=' . join(',', map { $_->port } @nodes) . ' dbname=postgres user=gateway_login"';
}

# A lead with two companies and keys of their people: ann manages Acme, bob is one of it, scout its
# agent, eve manages Other; watch is a monitor.
sub new_gateway_lead
{
    my ($name, $secrets_key, %conf) = @_;
    my $lead = new_secret_lead($name, [$secrets_key], max_connections => 100, %conf);
    my %key;

    new_gateway_login($lead);
    $lead->safe_psql('postgres', <<'SQL');
SELECT aurora.add_company('Acme');
SELECT aurora.add_company('Other');
CREATE ROLE ann LOGIN;
SELECT aurora.add_principal('ann', 'Acme', 'ann', trust => 'manager');
SELECT aurora.grant_secret('ann', 'hubspot', 'Acme', 'read'), aurora.grant_secret('ann', 'hubspot', 'Acme', 'write');
SELECT aurora.add_principal('bob', 'Acme', trust => 'member');
SELECT aurora.add_principal('scout', 'Acme', trust => 'agent');
SELECT aurora.add_principal('eve', 'Other', trust => 'manager');
SELECT aurora.add_item('Task ' || n || ' of ' || owner, company => company, owner => owner, due_at => now() + n * interval '1 day')
    FROM generate_series(1, 15) n, (VALUES ('Acme', 'ann'), ('Acme', 'bob'), ('Other', 'eve')) p (company, owner);
SQL
    $key{$_} = add_key($lead, "'$_', owner => '$_', company => 'Acme'") for qw(ann bob);
    $key{eve} = add_key($lead, "'eve', owner => 'eve', company => 'Other'");
    $key{scout} = add_key($lead, "'scout', 'agent', owner => 'scout', company => 'Acme'");
    $key{watch} = add_key($lead, "'watch', 'monitor'");
    $key{$name} = add_key($lead, "'$name', 'node', node => '$name'");
    return { lead => $lead, key => \%key, secrets_key => $secrets_key };
}

# The same with a standby, which has a key, too.
sub new_gateway_world
{
    my ($lead_name, $standby_name, %conf) = @_;
    my $world = new_gateway_lead($lead_name, fernet_key(), %conf);

    $world->{standby} = new_secret_standby($world->{lead}, $standby_name, [ $world->{secrets_key} ], %conf);
    $world->{key}{$standby_name} = add_key($world->{lead}, "'$standby_name', 'node', node => '$standby_name'");
    catch_up($world->{lead}, $world->{standby});
    return $world;
}

# A new key: add_api_key() with arguments in SQL.
sub add_key
{
    my ($lead, $arguments) = @_;

    return $lead->safe_psql('postgres', "SELECT aurora.add_api_key($arguments)");
}

# ---- nginx ----

# Renders the templates into a folder: exit status and what was said.
sub render_nginx
{
    my ($folder, @settings) = @_;
    my $output = '';
    my $done = IPC::Run::run([ "$checkout/docker/nginx/render", $folder, @settings ], '<', \undef, '>', \$output, '2>&1');

    return ($done ? 0 : $? >> 8, $output);
}

# Starts nginx before sockets; %option are settings of the template. All groups have a port.
sub start_nginx
{
    my ($name, $sockets, %option) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    my %port = map { ($_ => $option{$_} // PostgreSQL::Test::Cluster::get_free_port()) } keys %routes;
    my %setting = (
        address => '127.0.0.1',
        tls => 'off',
        sockets => $sockets,
        logs => $folder,
        workers => 1,
        rate => 100000,
        burst => 100000,
        log_in_rate => 100000,
        log_in_burst => 100000,
        webhook_rate => 100000,
        webhook_burst => 100000,
        connections => 5000,
        %port,
        %option);
    my ($status, $output) = render_nginx($folder, map { "$_=$setting{$_}" } sort keys %setting);

    die "nginx is not configured: $output" if $status != 0;
    my $nginx = {
        folder => $folder,
        port => \%port,
        program => start_program($name, 'nginx', '-p', $folder, '-e', "$folder/error.log", '-c', "$folder/nginx.conf", '-g', 'daemon off;')
    };
    my ($first) = grep { $_ ne 'off' } values %port;

    wait_until(sub { connect_to($first) }) or die "$name does not start: " . program_log($nginx->{program});
    return $nginx;
}

sub end_nginx
{
    my ($nginx) = @_;

    return end_program($nginx->{program}, 'TERM');
}

sub port_of
{
    my ($nginx, $group) = @_;

    return $nginx->{port}{ $group // 'web' };
}

# A certificate of its own authority for localhost: the folder with cert.pem and key.pem.
sub make_tls_files
{
    my $folder = PostgreSQL::Test::Utils::tempdir();

    IPC::Run::run(
        [   qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost),
            '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
            '-keyout', "$folder/key.pem", '-out', "$folder/cert.pem" ], '>', '/dev/null', '2>&1') or die 'openssl made no certificate';
    return $folder;
}

1;
