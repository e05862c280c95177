# shellcheck shell=bash disable=SC2034,SC2154
# The walls between parts of the code, checked on a built copy that is the working folder. Each
# function prints what breaks its wall and fails then.

# Prints lines of standard input under a heading, and fails when there are any.
none_of() {
    local lines
    lines=$(cat)
    [ -n "$lines" ] || return 0
    printf '%s:\n%s\n' "$1" "$lines"
    return 1
}

capabilities() {
    sed -n 's/^CAPABILITIES *= *//p' Makefile
}

exports_only_aurora() {
    nm -D --defined-only aurora.so | awk '{ print $3 }' |
        grep -vE '^(aurora_.*|pg_finfo_aurora_.*|_PG_init|Pg_magic_func)$' | none_of 'exported beside aurora_*'
}

libpq_only_in_core() {
    find src -name '*.o' ! -path 'src/core/*' -exec nm -A --undefined-only {} + | grep -E ' U PQ' |
        none_of 'uses libpq outside src/core'
}

hiredis_only_in_events() {
    find src -name '*.o' ! -path 'src/events/*' -exec nm -A --undefined-only {} + | grep -E ' U redis' |
        none_of 'uses hiredis outside src/events'
}

# Prints "file header" for each included header that lies in a folder of src/.
included_folders() {
    find "src/$1" -name '*.[ch]' -exec grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+["<][^">]+' {} + |
        sed -E 's/:[[:space:]]*#[[:space:]]*include[[:space:]]+["<]/ /'
}

# $1 folder of src/; the others are the folders whose headers it may include.
includes_only() {
    local folder=$1 file header part allowed
    shift
    allowed=" $folder $* "
    included_folders "$folder" | while read -r file header; do
        part=${header%%/*}
        if [ "$part" = .. ]; then
            printf '%s includes %s: name headers from src/ on\n' "$file" "$header"
        elif [ -d "src/$part" ] && [ "${allowed#* "$part" }" = "$allowed" ]; then
            printf '%s includes %s\n' "$file" "$header"
        fi
    done
}

includes_go_one_way() {
    local name before=
    {
        includes_only shared
        includes_only core shared
        for name in $(capabilities); do
            # shellcheck disable=SC2086
            includes_only "$name" core shared $before
            before="$before $name"
        done
    } | none_of 'includes a header of a later part'
}

every_folder_is_listed() {
    find src -mindepth 1 -maxdepth 1 -type d ! -name core ! -name shared -printf '%f\n' | while read -r name; do
        capabilities | grep -qw -- "$name" || printf 'src/%s\n' "$name"
    done | none_of 'not in CAPABILITIES of the Makefile'
}

shared_is_pure() {
    {
        included_folders shared | grep -E ' (postgres(_fe)?|c|fmgr|libpq-fe)\.h| (utils|storage|access|catalog|nodes|lib)/' || true
        grep -nE '\b(palloc[a-z0-9_]*|pfree|malloc|calloc|realloc|free|strdup|ereport|elog)\(' -r src/shared --include='*.[ch]' || true
    } | none_of 'src/shared serves the server and the programs, so it needs neither'
}

versions_only_in_compat() {
    grep -rn PG_VERSION_NUM src --include='*.[ch]' | grep -v '^src/core/compat\.h:' | none_of 'PG_VERSION_NUM outside src/core/compat.h'
}

programs_stay_outside() {
    [ -d workers ] || return 0
    grep -rnE '#[[:space:]]*include[[:space:]]+["<]postgres(_fe)?\.h' workers --include='*.[ch]' | none_of 'programs never see the server'
}
