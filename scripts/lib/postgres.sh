# shellcheck shell=bash disable=SC2034,SC2154
# Which PostgreSQL, what it takes from Debian, and the "tree": a private copy of its programs beside
# links to everything else of it, into which the extension is installed. PostgreSQL finds its
# libraries and extensions by where its programs lie, so clusters of a tree run with this checkout's
# aurora while the machine's own PostgreSQL and whatever runs on it stay as they are.

# Sets pg_version: PGVERSION, or that of PG_CONFIG, or the newest one that extensions can be built
# for, or else what this Debian has. Sets pg_config to its program, which may not be there yet.
choose_postgres() {
    local found
    if [ -n "${PGVERSION:-}" ]; then
        pg_version=$PGVERSION
    elif [ -n "${PG_CONFIG:-}" ]; then
        pg_version=$("$PG_CONFIG" --version) || die "PG_CONFIG=$PG_CONFIG does not run"
        pg_version=$(printf '%s\n' "$pg_version" | sed -E 's/[^0-9]*([0-9]+).*/\1/')
        pg_config=$PG_CONFIG
        return
    else
        found=$(find /usr/lib/postgresql/*/lib/pgxs/src/makefiles/pgxs.mk 2>/dev/null | sort -V | tail -n 1) || true
        pg_version=$(printf '%s\n' "$found" | cut -d / -f 5)
        [ -n "$pg_version" ] || pg_version=$(debian_postgres_version)
    fi
    case $pg_version in
        '' | *[!0-9]*) die "PGVERSION=$pg_version is no major version like 15 or 17" ;;
    esac
    pg_config=/usr/lib/postgresql/$pg_version/bin/pg_config
}

debian_postgres_version() {
    # shellcheck source=/dev/null
    case $(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-} ${VERSION_ID:-}") in
        'debian 12') printf '15\n' ;;
        'debian 13') printf '17\n' ;;
        *) die "this is neither Debian 12 nor 13: say with PGVERSION=15 or so which PostgreSQL to use" ;;
    esac
}

# Prints the packages that building takes, one a line. A PostgreSQL that is no Debian package is taken as it is.
build_packages() {
    printf '%s\n' make gcc libc6-dev libcurl4-openssl-dev libhiredis-dev libpq-dev libssl-dev libjansson-dev libmicrohttpd-dev libwslay-dev
    case $pg_config in
        /usr/lib/postgresql/*) printf '%s\n' "postgresql-$pg_version" "postgresql-server-dev-$pg_version" ;;
    esac
}

# Copies what a build reads from the checkout $1 into the folder $2, for the server user.
copy_sources() {
    tar -C "$1" --exclude=./.git --exclude=./.aurora --exclude='*.o' --exclude='*.so' --exclude='*.bc' \
        --exclude=./tmp_check --exclude=./workers/build --exclude=./results --exclude=./output_iso --exclude='./regression.*' --exclude=./log \
        --no-acls --owner=0 --group=0 -cf - . | as_server tar -C "$2" --no-same-owner -xf -
}

# Builds in the folder $1; further arguments are make's.
build_extension() {
    local folder=$1
    shift
    as_server make -s -C "$folder" -j "$(nproc)" PG_CONFIG="$pg_config" "$@"
}

# Makes the tree in the empty folder $1; sets pg_bin to where its programs are.
make_tree() {
    local bin lib share
    bin=$("$pg_config" --bindir)
    lib=$("$pg_config" --pkglibdir)
    share=$("$pg_config" --sharedir)
    as_server mkdir -p "$1${bin%/*}" "$1$lib" "$1$share/extension"
    as_server cp -RL "$bin" "$1${bin%/*}/"
    link_all "$lib" "$1$lib"
    link_all "$share" "$1$share"
    link_all "$share/extension" "$1$share/extension"
    use_tree "$1"
    "$pg_bin/postgres" --version >/dev/null || die "programs in $1 cannot be run: is its file system mounted noexec?"
}

use_tree() {
    pg_bin=$1$("$pg_config" --bindir)
}

# Links what is in the folder $1 into $2, but for what is there already and for an aurora of the machine's own.
link_all() {
    local file links=()
    for file in "$1"/*; do
        case ${file##*/} in
            aurora.so | aurora.control | aurora--*) ;;
            *) [ -e "$2/${file##*/}" ] || links+=("$file") ;;
        esac
    done
    as_server ln -s -t "$2" "${links[@]}"
}

# Installs what was built in the folder $1 into the tree $2 beside it; a relative path is none that
# make could stumble over.
install_extension() {
    as_server make -s -C "$1" PG_CONFIG="$pg_config" DESTDIR="../${2##*/}" install
}
