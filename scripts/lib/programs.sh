# shellcheck shell=bash disable=SC2034,SC2154
# Programs that run in the background for the demo. Each has a name, its process id in NAME.pid and its
# output in NAME.log of the folder "state"; "started" lists what this run has started.

# $1 name; the others are the program and its arguments.
start_program() {
    local name=$1
    shift
    ! program_runs "$name" || return 0
    started+=("$name")
    # shellcheck disable=SC2016
    as_server sh -c 'out=$1 pid=$2; shift 2; "$@" >"$out" 2>&1 </dev/null 9>&- & echo "$!" >"$pid"' sh \
        "$state/$name.log" "$state/$name.pid" "$@"
}

# Is the process of that id one of ours, whose arguments name a folder of the demo?
program_runs() {
    local pid
    pid=$(cat "$state/$1.pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" |
        grep -qF -e "$state/" -e "${sockets:-$state}/"
}

stop_program() {
    local left=100
    program_runs "$1" || return 0
    as_server kill "$(cat "$state/$1.pid")" 2>/dev/null || true
    while program_runs "$1" && [ "$left" -gt 0 ]; do
        left=$((left - 1))
        sleep 0.1
    done
}
