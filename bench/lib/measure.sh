# shellcheck shell=bash disable=SC2034,SC2154
# Timing calls inside a backend, and printing tables in markdown with the targets at their end.

surface="SELECT * FROM aurora.surface(10, 'ann', bench.at())"
target_rows=

# Prints first, p50 and p99 in milliseconds, separated by blanks, of calls on a node: lead or standby.
# time_calls NODE SET USER QUERY CALLS [STATEMENT TO RUN BEFORE EACH]
time_calls() {
    "on_$1" "$2" "$3" --field-separator=' ' -v query="$4" -v calls="$5" -v before="${6:-}" <<'END'
CALL bench.time_calls(:'query', :calls, :'before') \gset
SELECT * FROM bench.summary(:'ms');
END
}

# Keeps running a statement on the lead, as ann, until end_background.
begin_background() {
    PGAPPNAME='bench background' on_lead "$1" ann -c "$2" >/dev/null 2>&1 &
    until [ "$(on_lead "$1" postgres -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bench background'")" = 1 ]; do
        sleep 0.1
    done
}

end_background() {
    on_lead postgres postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bench background'" >/dev/null
    wait $! || true
}

# calc EXPRESSION: prints its value with three significant digits or so.
calc() {
    awk "BEGIN { v = $1; printf (v >= 100 || v == int(v) ? \"%.0f\" : v >= 10 ? \"%.1f\" : v >= 1 ? \"%.2f\" : \"%.3f\"), v }"
}

# ---- tables ----

heading() {
    printf '\n### %s\n\n%s\n\n' "$1" "$2"
}

# A row of a table; the first one of a table is its head.
head_row() {
    row "$@"
    row "${@/*/---}"
}

row() {
    local cell
    printf '|'
    for cell in "$@"; do
        printf ' %s |' "$cell"
    done
    printf '\n'
}

# 1000000 as 1M.
short_number() {
    awk -v n="$1" 'BEGIN { print (n >= 1000000 ? n / 1000000 "M" : n >= 1000 ? n / 1000 "k" : n) }'
}

# Notes a target: what, limit, "most" or "least", what was reached, unit. The ratio is reached to limit, and 0 where that is 0.
target() {
    local ok
    ok=$(awk -v limit="$2" -v reached="$4" -v way="$3" 'BEGIN { print (way == "most" ? reached <= limit : reached >= limit) ? "yes" : "**no**" }')
    target_rows+=$(row "$1" "at $3 $2${5:+ $5}" "$4${5:+ $5}" "$(calc "$2 == 0 ? 0 : $4 / $2")" "$ok")$'\n'
}

print_targets() {
    heading "$1: targets" 'Ratio is what was reached to the target.'
    head_row what target reached ratio ok
    printf '%s' "$target_rows"
}
