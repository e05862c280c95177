# Ends a test file that hangs, so that it fails as one file and its servers are stopped.
#
# AURORA_FILE_TIME_LIMIT is the limit in seconds. It is many times what a file takes, since no test
# is about time.
package AuroraTimeLimit;

use strict;
use warnings;

my $limit = $ENV{AURORA_FILE_TIME_LIMIT} || 900;

# Again and again: somebody's eval may catch it.
$SIG{ALRM} = sub {
    alarm(10);
    die "the file has taken more than $limit seconds\n";
};
alarm($limit);

# What is stopped at the end is not limited.
END { alarm(0) }

1;
