# shellcheck shell=bash disable=SC2034,SC2154
# A private cluster: a folder with data/, a "socket folder", and a port number that only names the
# socket, since nothing here listens on the network.

# Makes the data folder $1 with the superuser $2, whom only the socket's folder lets in.
make_cluster() {
    as_server "$pg_bin/initdb" --pgdata="$1" --username="$2" --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-instructions --no-sync || return
    printf 'local all all trust\nlocal replication all trust\n' | as_server tee "$1/pg_hba.conf" >/dev/null
}

# $1 data folder, $2 log file. Says why when it does not start.
start_cluster() {
    local output left=50
    while [ "$(postmaster_state "$1")" = Z ] && [ "$left" -gt 0 ]; do
        left=$((left - 1))
        sleep 0.2
    done
    output=$(as_server "$pg_bin/pg_ctl" start --pgdata="$1" --log="$2" --wait --timeout=60 --silent 2>&1 </dev/null 9>&-) &&
        return
    printf '%s\n' "$output" >&2
    [ ! -f "$2" ] || tail -n 15 "$2" >&2
    return 1
}

# Prints the letter that the kernel has for the process of the data folder $1: Z when it was killed
# and nobody has taken notice yet, which PostgreSQL takes for running.
postmaster_state() {
    local pid
    pid=$(as_server head -n 1 "$1/postmaster.pid" 2>/dev/null) || true
    sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/${pid:-none}/status" 2>/dev/null || true
}

# $1 data folder, $2 how: fast or immediate. No error when it does not run.
stop_cluster() {
    cluster_runs "$1" || return 0
    as_server "$pg_bin/pg_ctl" stop --pgdata="$1" --mode="${2:-fast}" --wait --timeout=60 --silent
}

cluster_runs() {
    [ -n "${pg_bin:-}" ] && [ -x "$pg_bin/pg_ctl" ] && [ "$(postmaster_state "$1")" != Z ] &&
        (as_server "$pg_bin/pg_ctl" status --pgdata="$1") >/dev/null 2>&1
}

# Prints a value as a configuration file wants it.
conf_quote() {
    printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"
}

# Makes a file with a random key for secrets, which only the server user can read.
make_key_file() {
    # shellcheck disable=SC2016
    as_server sh -c 'umask 077 && head -c 32 /dev/urandom | base64 | tr +/ -_ >"$1"' sh "$1"
}
