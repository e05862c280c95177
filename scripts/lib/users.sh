# shellcheck shell=bash disable=SC2034,SC2154
# Who does what. PostgreSQL refuses to run as root, and packages want root.
# The "server user" runs the clusters: whoever runs the script, or, when that is root, the owner of
# the checkout where that is an ordinary user, and the packages' user postgres otherwise.

# Sets server_user. Call it when the packages are there, since they make the user postgres.
choose_server_user() {
    if [ "$EUID" -ne 0 ]; then
        server_user=$(id -un 2>/dev/null) || die "user id $(id -u) has no name, which PostgreSQL wants: add it to /etc/passwd"
        return
    fi
    server_user=$(stat -c %U "$1")
    case $server_user in
        root | UNKNOWN) server_user=postgres ;;
    esac
    id -u "$server_user" >/dev/null 2>&1 || die "there is no user $server_user to run PostgreSQL as"
}

# Runs a command as the server user. Its working folder must be one that this user can enter.
as_server() {
    if [ "$EUID" -ne 0 ]; then
        "$@"
    else
        setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --init-groups \
            env HOME=/nonexistent USER="$server_user" LOGNAME="$server_user" "$@"
    fi
}

# Runs a command as root; $1 says what for, in case that it cannot.
as_root() {
    local purpose=$1
    shift
    if [ "$EUID" -eq 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null 2>&1; then
        die "root is needed to $purpose, and there is no sudo: run this once as root"
    elif sudo -n true 2>/dev/null; then
        sudo -n -- "$@"
    elif [ -t 0 ] || [ -n "${SUDO_ASKPASS:-}" ]; then
        say "sudo is needed to $purpose"
        sudo -- "$@"
    else
        die "sudo is needed to $purpose, but it wants a password and there is no terminal to ask on: run this once as root"
    fi
}
