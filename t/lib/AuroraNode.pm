# A cluster that is a node of a mesh: it listens there and nowhere else, speaks TLS only, and keeps
# its configuration, keys and passwords in a folder beside its data, which copies of the data leave
# alone. The test itself talks to it over its socket, which needs no network.
package AuroraNode;

use strict;
use warnings;

use AuroraNetwork;
use parent 'PostgreSQL::Test::Cluster';
use PostgreSQL::Test::Utils;
use Test::More;

# Rights that pg_rewind needs on the server that it reads from.
our $replicator = <<'SQL';
CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'of replicator';
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text),
    pg_read_binary_file(text, bigint, bigint, boolean) TO replicator;
SQL

sub etc
{
    my ($self, $file) = @_;

    return $self->basedir . '/etc' . (defined $file ? "/$file" : '');
}

sub address
{
    my ($self) = @_;

    return mesh_address($self->name);
}

# The role as which the node's agent logs in.
sub login
{
    my ($self) = @_;

    return 'aurora_node_' . $self->name;
}

# A key and a certificate for the common name, by the authority whose ca.key and ca.crt are in the
# folder $authority.
sub make_certificate
{
    my ($self, $authority, $file, $common_name) = @_;

    system_or_bail('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
        '-days', '2', '-CA', "$authority/ca.crt", '-CAkey', "$authority/ca.key", '-subj', "/CN=$common_name",
        '-addext', 'basicConstraints=critical,CA:FALSE',
        '-keyout', $self->etc("$file.key"), '-out', $self->etc("$file.crt"));
    chmod(0600, $self->etc("$file.key"));
    return;
}

# Writes all of the node's configuration; $others are the nodes that it may have to follow. A node
# with a certificate shows it instead of a password. %conf are further settings.
sub write_configuration
{
    my ($self, $authority, $others, %conf) = @_;

    mkdir($self->etc);
    system_or_bail('cp', "$authority/ca.crt", $self->etc('ca.crt'));
    $self->make_certificate($authority, 'server', $self->address);
    $self->make_certificate($authority, 'client', $self->login) if $self->{certified};
    $self->set_password($self->login, 'of ' . $self->name);
    append_to_file($self->etc('pg_hba.conf'), $self->admission);
    $self->configure($self->standard_settings,
        primary_conninfo => $self->conninfo($others, user => 'replicator', application_name => $self->name), %conf);
    return;
}

# What the node's agent, logging in as that role, says when it is asked for its password.
sub set_password
{
    my ($self, $login, $password) = @_;
    my $file = $self->etc('passwords');

    unlink($file);
    append_to_file($file, "*:*:*:replicator:of replicator\n*:*:*:$login:$password\n");
    chmod(0600, $file);
    return;
}

# Nobody comes in but over the mesh, under TLS, as one of the roles of the mesh.
sub admission
{
    my $range = mesh_range();

    return <<"HBA";
local   all          all                      trust
hostssl replication  replicator               $range  scram-sha-256
hostssl postgres     replicator               $range  scram-sha-256
hostssl all          aurora_node_robbiebook1  $range  cert
hostssl all          +aurora_node             $range  scram-sha-256
HBA
}

sub standard_settings
{
    my ($self) = @_;

    return (
        listen_addresses => $self->address,
        port => $self->port,
        unix_socket_directories => $self->host,
        hba_file => $self->etc('pg_hba.conf'),
        ssl => 'on',
        ssl_ca_file => $self->etc('ca.crt'),
        ssl_cert_file => $self->etc('server.crt'),
        ssl_key_file => $self->etc('server.key'),
        password_encryption => 'scram-sha-256',
        fsync => 'off',
        shared_buffers => '16MB',
        max_connections => 40,
        max_wal_size => '128MB',
        wal_keep_size => '64MB',
        wal_log_hints => 'on',
        wal_sender_timeout => '5s',
        wal_receiver_timeout => '5s',
        wal_retrieve_retry_interval => '500ms',
        max_standby_streaming_delay => '-1',
        log_line_prefix => '%m [%p] %b %u ',
        log_replication_commands => 'on');
}

# Adds settings to those of the node; the last value of a name counts.
sub configure
{
    my ($self, %conf) = @_;

    append_to_file($self->etc('postgresql.conf'),
        join('', map { "$_ = '" . ($conf{$_} =~ s/'/''/gr) . "'\n" } sort keys %conf));
    return;
}

# A connection from this node to whichever of the nodes takes writes. The WAL receiver heeds no
# connect_timeout: without tcp_user_timeout (in ms) a host that is cut off holds it up for minutes.
sub conninfo
{
    my ($self, $nodes, %option) = @_;
    my %conninfo = (
        host => join(',', map { $_->address } @$nodes),
        port => join(',', map { $_->port } @$nodes),
        passfile => $self->etc('passwords'),
        sslmode => 'verify-ca',
        sslrootcert => $self->etc('ca.crt'),
        target_session_attrs => 'read-write',
        connect_timeout => 2,
        tcp_user_timeout => 3000);

    @conninfo{qw(sslcert sslkey)} = map { $self->etc("client.$_") } qw(crt key) if $self->{certified};
    %conninfo = (%conninfo, %option);
    return join(' ', map { "$_='$conninfo{$_}'" } sort keys %conninfo);
}

# Copies the data of a node over the mesh.
sub copy_data
{
    my ($self, $from) = @_;

    $self->run_here('pg_basebackup', '--pgdata', $self->data_dir, '--checkpoint', 'fast', '--no-sync',
        '--dbname', $self->conninfo([$from], user => 'replicator'));
    $self->become_standby;
    return;
}

# Makes a stopped node, whose data went its own way, a standby of the node that now leads.
sub rewind
{
    my ($self, $lead) = @_;

    # pg_rewind tells the lead's timeline by its control file, which a promotion does not wait for.
    $lead->safe_psql('postgres', 'CHECKPOINT');
    $self->run_here('pg_rewind', '--target-pgdata', $self->data_dir, '--config-file', $self->etc('postgresql.conf'),
        '--no-sync', '--source-server', $self->conninfo([$lead], user => 'replicator', dbname => 'postgres'));
    $self->become_standby;
    return;
}

sub become_standby
{
    my ($self) = @_;

    append_to_file($self->data_dir . '/standby.signal', '');
    return;
}

sub run_here
{
    my ($self, @command) = @_;

    system_or_bail(on_node($self->name), @command);
    return;
}

# As that of PostgreSQL::Test::Cluster, but on the node, and without an environment that would stand
# in for what its configuration lacks.
sub start
{
    my ($self, %params) = @_;
    my $name = $self->name;

    BAIL_OUT("node \"$name\" is already running") if defined $self->{_pid};
    print("### Starting node \"$name\"\n");
    local %ENV = $self->_get_env(map { $_ => undef } qw(PGAPPNAME PGHOST PGPORT));
    my $failed = PostgreSQL::Test::Utils::system_log(on_node($name), 'pg_ctl', '--wait', '--pgdata', $self->data_dir,
        '--log', $self->logfile,
        '--options', "--config-file='" . $self->etc('postgresql.conf') . "' --cluster-name=$name", 'start');

    $self->_update_pid($failed ? -1 : 1);
    return 1 unless $failed;
    BAIL_OUT("node \"$name\" does not start, see " . $self->logfile) unless $params{fail_ok};
    return 0;
}

sub restart
{
    my ($self) = @_;

    $self->stop;
    return $self->start;
}

# Cuts the node off from a peer, or from all. Without tunnels it dies instead and answers nobody, not
# even the test.
sub cut_off
{
    my ($self, $peer) = @_;
    my @path = ($self->name, $peer ? $peer->name : undef);

    return $self->stop('immediate') unless has_tunnels();
    cut_path(@path);
    cut_path(reverse @path);
    return;
}

# Undoes that.
sub reconnect
{
    my ($self, $peer) = @_;
    my @path = ($self->name, $peer ? $peer->name : undef);

    return $self->start unless has_tunnels();
    heal_path(@path);
    heal_path(reverse @path);
    return;
}

1;
