# Programs beside the server that a test starts, signals and ends.
#
# A "program" is a reference to a hash with name, pid, log and, when it has ended, status.
package AuroraProgram;

use strict;
use warnings;

use AuroraNodes;
use Exporter 'import';
use File::Basename ();
use POSIX ();
use PostgreSQL::Test::Utils;

our @EXPORT = qw(
  program_path program_is_missing start_program end_program signal_program program_is_over program_log program_log_comes
);

my $folder = $ENV{AURORA_WORKERS} // "$FindBin::RealBin/../workers/build";
my @running;

# The build with checks of memory, where there is one.
sub program_path
{
    my ($name) = @_;
    my $checked = "$folder/sanitize/$name";

    return -x $checked ? $checked : "$folder/$name";
}

# Why a program cannot be tested, or ''. With AURORA_WORKERS it has to be there.
sub program_is_missing
{
    my ($name) = @_;

    return '' if defined $ENV{AURORA_WORKERS} || -x program_path($name);
    return program_path($name) . ' is not built: make -C workers builds it';
}

# Starts a program with its output in a log of that name.
sub start_program
{
    my ($name, @command) = @_;
    my $log = "$PostgreSQL::Test::Utils::log_path/" . File::Basename::basename($0, '.pl') . "_$name.log";
    my $pid = fork() // die "fork: $!";

    if ($pid == 0)
    {
        open(STDIN, '<', '/dev/null') or die;
        open(STDOUT, '>>', $log) or die "$log: $!";
        open(STDERR, '>&', \*STDOUT) or die;
        exec(@command) or die "$command[0]: $!";
    }
    my $program = { name => $name, pid => $pid, log => $log };
    push(@running, $program);
    return $program;
}

# Waits for its end, after a signal if one is given; returns its status.
sub end_program
{
    my ($program, $signal) = @_;

    return $program->{status} if !$program->{pid};
    kill($signal, $program->{pid}) if $signal;
    waitpid($program->{pid}, 0);
    $program->{status} = $?;
    $program->{pid} = 0;
    return $program->{status};
}

sub signal_program
{
    my ($program, $signal) = @_;

    return kill($signal, $program->{pid});
}

# Waits until it has ended by itself, and returns how.
sub program_is_over
{
    my ($program) = @_;

    wait_until(sub { waitpid($program->{pid}, 1) == $program->{pid} }) or return 'still there';
    $program->{status} = $?;
    $program->{pid} = 0;
    return $program->{status};
}

sub program_log
{
    my ($program) = @_;

    return -e $program->{log} ? slurp_file($program->{log}) : '';
}

# Waits until a line of its log matches.
sub program_log_comes
{
    my ($program, $pattern) = @_;

    return wait_until(sub { program_log($program) =~ $pattern });
}

# Children of a program that is killed would stay, so each is first told to end, and killed a second later.
END
{
    local $?;
    my @left = grep { $_->{pid} } @running;

    kill('TERM', $_->{pid}) for @left;
    for (1 .. 10)
    {
        @left = grep { waitpid($_->{pid}, POSIX::WNOHANG) == 0 } @left or last;
        select(undef, undef, undef, 0.1);
    }
    kill('KILL', $_->{pid}) for @left;
}

1;
