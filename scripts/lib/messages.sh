# shellcheck shell=bash disable=SC2034,SC2154
# What the scripts tell a person: progress and results on standard output, trouble on standard error.
# "Part" is the name that each line begins with, the script's own by default.

part=${0##*/}

say() {
    printf '%s: %s\n' "$part" "$*"
}

warn() {
    printf '%s: %s\n' "$part" "$*" >&2
}

die() {
    warn "$*"
    exit 1
}

# Runs a command with its output in the log file $1; a failure shows the end of that log. In a
# subshell, so that a trap that Ctrl-C sets off speaks to the person and not to the log.
logged() {
    local log=$1 first status=0
    shift
    mkdir -p "${log%/*}"
    first=$(wc -l 2>/dev/null <"$log") || first=0
    ("$@") >>"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n "+$((first + 1))" "$log" | tail -n 30 >&2
        [ "$(wc -l <"$log")" -gt "$first" ] || warn "$log has not a word on it: is the disk full?"
    fi
    return "$status"
}
