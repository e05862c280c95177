# shellcheck shell=bash disable=SC2034,SC2154
# A lead and a hot standby in a temporary folder, run by an ordinary user and removed at the end. They
# run this checkout's aurora in a "tree" (see scripts/lib/postgres.sh), which AURORA_BENCH_TREE names
# when bench/run has built it for all. A "set" is a database of generated items, see items.sql.

set -eu
bench=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
checkout=${bench%/*}
scripts=$checkout/scripts
for file in messages users packages postgres cluster; do
    # shellcheck source=/dev/null
    . "$scripts/lib/$file.sh"
done
# shellcheck source=bench/lib/measure.sh
. "$bench/lib/measure.sh"
cd /
export LC_ALL=C.UTF-8
umask 022
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES "${!PGH@}" "${!PGO@}" "${!PGU@}" PGPORT PGDATABASE PGDATA PGPASSWORD PGSERVICE PGTZ

work=
largest=1000000
lead_port=5441
standby_port=5442

# ---- setting up and cleaning up ----

read_arguments() {
    while [ "$#" -gt 0 ]; do
        case $1 in
            --full) largest=10000000 ;;
            --items) largest=$2 && shift ;;
            *)
                printf 'Usage: %s [--full | --items N]\nN is how many items the largest set has: 1000000, or with --full 10000000.\n' "bench/$part" >&2
                exit 2
                ;;
        esac
        shift
    done
}

# Makes the temporary folder and the tree, and has both removed at the end, however it comes.
begin_bench() {
    local packages
    read_arguments "$@"
    choose_postgres
    mapfile -t packages < <(build_packages)
    need_packages "${packages[@]}" >&2
    choose_server_user "$checkout"
    work=$(mktemp -d "${TMPDIR:-/tmp}/aurora-bench.XXXXXX")
    trap end_bench EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    [ "$EUID" -ne 0 ] || chown "$server_user:" "$work"
    as_server test -x "$work" || die "user $server_user cannot enter ${work%/*}: set TMPDIR to a folder that it can"
    if [ -n "${AURORA_BENCH_TREE:-}" ]; then
        use_tree "$AURORA_BENCH_TREE"
    else
        build_tree
    fi
}

build_tree() {
    as_server mkdir "$work/source" "$work/tree"
    copy_sources "$checkout" "$work/source"
    logged "$work/build.log" build_extension "$work/source" || die 'aurora could not be built'
    logged "$work/build.log" make_tree "$work/tree" || die 'the programs of PostgreSQL could not be copied'
    logged "$work/build.log" install_extension "$work/source" "$work/tree" || die 'aurora could not be installed'
    use_tree "$work/tree"
}

end_bench() {
    local status=$?
    trap '' INT TERM
    stop_cluster "$work/standby" immediate || true
    stop_cluster "$work/lead" immediate || true
    wait
    rm -rf "$work"
    exit "$status"
}

# ---- the clusters ----

# An eighth of the memory for each node's buffers, from 128 MB to 4 GB.
buffers_mb() {
    awk '/^MemTotal/ { mb = int($2 / 8192); print (mb < 128 ? 128 : mb > 4096 ? 4096 : mb) }' /proc/meminfo
}

# Nothing here outlives the run, so nothing waits for the disk.
configure() {
    local node=$1 port=$2
    as_server tee -a "$work/$node/postgresql.conf" >/dev/null <<END
listen_addresses = ''
port = $port
unix_socket_directories = '$work'
shared_preload_libraries = 'aurora'
shared_buffers = $(buffers_mb)MB
max_wal_size = 8GB
checkpoint_timeout = 30min
fsync = off
jit = off
hot_standby_feedback = on
wal_receiver_status_interval = 1s
END
}

start_lead() {
    logged "$work/setup.log" make_cluster "$work/lead" postgres || die 'the lead could not be made'
    configure lead "$lead_port"
    start_cluster "$work/lead" "$work/lead.log" || die 'the lead did not start'
    on_lead postgres postgres -c 'CREATE DATABASE base' -c 'CREATE ROLE ann LOGIN'
    on_lead base postgres -c 'CREATE EXTENSION aurora' -f "$bench/lib/base.sql" >/dev/null
}

start_standby() {
    logged "$work/setup.log" as_server "$pg_bin/pg_basebackup" --host="$work" --port="$lead_port" --username=postgres \
        --pgdata="$work/standby" --write-recovery-conf --checkpoint=fast --no-sync || die 'the standby could not be made'
    configure standby "$standby_port"
    start_cluster "$work/standby" "$work/standby.log" || die 'the standby did not start'
}

# psql on a node: on_lead DATABASE USER ARGUMENT...
on_lead() {
    node_psql "$lead_port" "$@"
}

on_standby() {
    node_psql "$standby_port" "$@"
}

node_psql() {
    local port=$1 database=$2 user=$3
    shift 3
    PGOPTIONS="-c client_min_messages=warning ${options:-}" "$pg_bin/psql" --host="$work" --port="$port" --dbname="$database" \
        --username="$user" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"
}

wait_for_standby() {
    local position
    [ -d "$work/standby" ] || return 0
    position=$(on_lead postgres postgres -c 'SELECT pg_current_wal_insert_lsn()')
    until [ "$(on_standby postgres postgres -c "SELECT pg_last_wal_replay_lsn() >= '$position'")" = t ]; do
        sleep 0.2
    done
}

# ---- sets ----

# Makes the database $1 with $2 items of the shape $3, vacuumed and on both nodes.
make_set() {
    local script=items.sql
    [ "$3" != opposed ] || script=opposed.sql
    on_lead postgres postgres -c "CREATE DATABASE $1 TEMPLATE base"
    on_lead "$1" postgres -v items="$2" -v shape="$3" -f "$bench/lib/$script" -f "$bench/lib/placed.sql" >/dev/null
    settle "$1"
}

# Vacuums what was written, and waits until both nodes have done with it. First the standby has to have
# told which row versions it still needs, which it does each second.
settle() {
    [ ! -d "$work/standby" ] || sleep 2
    on_lead "$1" postgres -c 'VACUUM ANALYZE' -c CHECKPOINT
    wait_for_standby
}

drop_set() {
    on_lead postgres postgres -c "DROP DATABASE $1 WITH (FORCE)"
}
