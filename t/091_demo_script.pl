# scripts/demo on a copy of the checkout: makes, keeps, stops and removes a lead and its standby.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/lib";
use AuroraTimeLimit;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'scripts/demo wants Debian' unless -x '/usr/bin/dpkg-query';

# Not the checkout itself, where somebody may have a demo running.
my $checkout = PostgreSQL::Test::Utils::tempdir_short() . '/check out';
mkdir $checkout or die "cannot make $checkout: $!";
system('cp', '-R', glob('Makefile aurora.control aurora--*.sql src workers scripts samples docker'), $checkout) == 0
  or die 'cannot copy the checkout';
my $demo = "$checkout/scripts/demo";

sub run_demo
{
    my ($out, $err) = ('', '');
    IPC::Run::run([ $demo, @_ ], '<', \undef, '>', \$out, '2>', \$err);
    my $status = $? >> 8;
    diag("scripts/demo @_ ended with $status:\n$out$err") if $status == 1;
    return ($status, $out, $err);
}

# What the person would type, as the demo has printed it for a node.
sub ask
{
    my ($output, $node, $query) = @_;
    my ($command) = $output =~ /^On the $node: +(.*)$/m or return "no command for the $node";
    my $answer = `$command -X -A -t -c "$query" 2>&1`;
    chomp $answer;
    return $answer;
}

# What the person would get by the request that the demo has printed.
sub curl
{
    my ($output) = @_;
    my ($command) = $output =~ /^(curl -H .*)$/m or return 'no request';
    return `$command -sS 2>&1`;
}

# Interrupts a first run once it prints what matches.
sub interrupt_at
{
    my ($moment) = @_;
    my ($out, $err) = ('', '');
    my $run = IPC::Run::start([$demo], init => sub { setpgrp; $SIG{INT} = 'DEFAULT'; },
        '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
    $run->pump until $out =~ $moment;
    kill 'INT', -$run->{KIDS}[0]{PID};
    $run->finish;
    return ($run->result(0), $err);
}

my ($status, $out, $err) = run_demo('status');
is($status, 3, 'without a demo, status says so');

foreach my $moment (qr/making the lead/, qr/making the standby/, qr/loading a company/)
{
    ($status, $err) = interrupt_at($moment);
    is($status, 130, "Ctrl-C at \"$moment\" ends it") or diag($err);
    like($err, qr/interrupted/, 'with a word on it');
    ok(!-e "$checkout/.aurora/$_", "and leaves no $_") foreach 'lead', 'standby';
}

($status, $out) = run_demo();
is($status, 0, 'the first whole run succeeds');
is(scalar(() = $out =~ /\| Q[1-4]_/g), 10, 'and shows ten rows');
is(ask($out, 'lead', 'SELECT pg_is_in_recovery()'), 'f', 'the command for the lead leads to the lead');
is(ask($out, 'standby', 'SELECT pg_is_in_recovery()'), 't', 'the command for the standby leads to the standby');
is(ask($out, $_, 'SHOW listen_addresses'), '', "the $_ listens on no network") foreach 'lead', 'standby';
is(ask($out, $_, q{SELECT string_agg(name || ' ' || role || ' ' || state, ', ' ORDER BY name) FROM aurora.nodes}),
    'lead lead up, standby backup up', "the $_ shows both nodes up") foreach 'lead', 'standby';
like($out, qr/verdict +\| up/, 'and it tells that all is well');
like($out, qr/TEST SERVER without a model.*standby \| +0 \|.*\| ready/s, 'a text streams from what it says is a test server');

my $first = $out;
is(scalar(() = curl($first) =~ /"rank":/g), 2, 'the request that it shows gives two rows');
like($out, qr/nginx listens on 127\.0\.0\.1:\d+ for all/, 'and it tells the ports');

ask($out, 'lead', q{SELECT aurora.add_item('Kept by the second run')});
($status, $out) = run_demo();
is($status, 0, 'a second run succeeds');
unlike($out, qr/building|making|loading/, 'and has nothing left to make');
my $kept = q{SELECT count(*) FROM aurora.item WHERE title = 'Kept by the second run'};
is(ask($out, 'standby', $kept), '1', 'and keeps the data');
is(scalar(() = curl($out) =~ /"rank":/g), 2, 'with a new key');
like(curl($first), qr/"status":401/, 'which ends the one before');

($status, $out) = run_demo('status');
is($status, 0, 'status says that both run');
unlike($out, qr/does not run/, 'and so do the programs');
like($out, qr/nginx listens on/, 'with the ports of nginx');
($status) = run_demo('stop');
is($status, 0, 'stop succeeds');
like(curl($first), qr/Connection refused|Couldn't connect|Failed to connect/, 'and nobody answers any more');
($status, $out) = run_demo('status');
is($status, 3, 'then status says that they do not');
($status, $out) = run_demo();
is($status, 0, 'a run after stop starts both');
is(ask($out, 'standby', $kept), '1', 'with the data');

($status) = run_demo('clean');
is($status, 0, 'clean succeeds');
ok(!-e "$checkout/.aurora", 'and removes everything');

($status, $out, $err) = run_demo('tidy');
is($status >> 0, 2, 'an unknown word is refused');
like($err, qr/Usage/, 'with the usage');

END
{
    my $ended = $?;
    system($demo, "clean") if defined $demo && -d "$checkout/.aurora";
    $? = $ended;
}

done_testing();
