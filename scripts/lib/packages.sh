# shellcheck shell=bash disable=SC2034,SC2154
# Debian packages: which are missing, and how they get in.

# Prints those of the given packages that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
    done
}

# Installs those of the given packages that are missing; does nothing, and needs nobody, when none is.
need_packages() {
    local missing status=0
    command -v dpkg-query >/dev/null 2>&1 || die "this is not a Debian system: install the like of $* by hand, see README.md"
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${missing[*]} (some minutes)"
    as_root "install ${missing[*]}" env "${apt_environment[@]}" "$scripts/lib/install-packages" "${missing[@]}" || status=$?
    [ "$status" -lt 128 ] || exit "$status"
    [ "$status" -eq 0 ] || die 'the packages could not be installed'
}

# sudo drops what apt may need to reach its mirror.
apt_environment=()
for name in http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || apt_environment+=("$name=${!name}")
done
unset name
