# shellcheck shell=bash disable=SC2034,SC2154
# What passed, failed and was skipped. A line of each check, and the sum at the end.

passed=0
failed=0
skipped=0

pass() {
    passed=$((passed + 1))
    printf 'ok      %s\n' "$1"
}

flunk() {
    failed=$((failed + 1))
    printf 'FAILED  %s\n' "$1"
}

skip() {
    skipped=$((skipped + 1))
    printf 'skipped %s\n' "$1"
}

# Runs a command as the check called $1. It passes when the command succeeds; its output shows when not.
check() {
    local name=$1 output status=0
    shift
    output=$("$@" 2>&1 </dev/null) || status=$?
    if [ "$status" -eq 0 ]; then
        pass "$name"
    else
        flunk "$name"
        printf '%s\n' "$output" | tail -n 100 | sed 's/^/        /'
        return 1
    fi
}

# Counts what pg_regress or pg_isolation_regress printed: "test x ... ok" up to 15, "ok 1 - x" later.
# $1 name of the suite, $2 its output, $3 its exit status.
count_regress() {
    local good bad
    good=$(grep -cE '^(test)? +[^ ]+ +\.\.\. +ok( |$)|^ok [0-9]+ ' "$2") || true
    bad=$(grep -cE '^(test)? +[^ ]+ +\.\.\. +(FAILED|failed)|^not ok [0-9]+ ' "$2") || true
    add_counts "$1" "$good" "$bad" 0 "$3"
}

# Counts assertions in the output of prove --verbose; those of subtests are part of one. A file that
# ends early or without a plan has a failure more.
count_tap() {
    local good bad left_out broken
    good=$(grep -E '^ok [0-9]+' "$2" | grep -cvE '# skip' -i) || true
    bad=$(grep -E '^not ok [0-9]+' "$2" | grep -cvE '# TODO' -i) || true
    left_out=$(grep -ciE '^ok [0-9]+.*# skip|^1\.\.0 # skip|^(\[[0-9:]+\] )?t/[^ ]+ \.+ skipped: ' "$2") || true
    broken=$(grep -cE '\(Wstat: .* Failed: 0\)' "$2") || true
    add_counts "$1" "$good" "$((bad + broken))" "$left_out" "$3"
}

# A suite that fails as a whole, for a crash say, has a failure even when no test of it tells.
add_counts() {
    local bad=$3
    [ "$5" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + $2))
    failed=$((failed + bad))
    skipped=$((skipped + $4))
    printf '%s: %d passed, %d failed, %d skipped\n' "$1" "$2" "$bad" "$4"
}

# The very last line that a script prints.
print_counts() {
    if [ "$skipped" -gt 0 ]; then
        printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    else
        printf '%d passed, %d failed\n' "$passed" "$failed"
    fi
}
