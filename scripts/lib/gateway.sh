# shellcheck shell=bash disable=SC2034,SC2154
# The demo's gateway, which is the standby's, and nginx in front of it on free ports of 127.0.0.1. The
# ports of its groups lie in the file "ports" while it runs.

gateway_groups=(web events gpu priorities registry)
declare -A usual_port=([web]=3000 [events]=8000 [gpu]=8001 [priorities]=8002 [registry]=9999)

# Prints the first port from $1 on that nobody has.
free_port() {
    local port=$1
    while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 10))
    done
    printf '%s\n' "$port"
}

port_of() {
    sed -n "s/^$1=//p" "$state/ports" 2>/dev/null
}

start_gateway() {
    local group
    program_runs gateway || say 'starting the gateway of the standby, and nginx'
    on_lead -c "DO \$\$ BEGIN CREATE ROLE demo_gateway LOGIN IN ROLE aurora_gateway; EXCEPTION WHEN duplicate_object THEN NULL; END \$\$" \
        -c 'ALTER ROLE demo_gateway SET log_parameter_max_length = 0'
    await_replay
    write_gateway_configuration
    start_program gateway "$state/tree/programs/aurora-gateway" --config "$state/gateway.ini"
    await_answer "the gateway did not start; $state/gateway.log says more" --unix-socket "$sockets/web.sock" http://localhost/live
    if ! program_runs nginx; then
        for group in "${gateway_groups[@]}"; do
            printf '%s=%s\n' "$group" "$(free_port "${usual_port[$group]}")"
        done | as_server tee "$state/ports" >/dev/null
        as_server mkdir -p "$sockets/nginx"
        mapfile -t ports <"$state/ports"
        as_server "$state/tree/nginx/render" "$sockets/nginx" "${ports[@]}" secrets=off address=127.0.0.1 tls=off workers=1 \
            "sockets=$sockets" "logs=$sockets/nginx" || die 'nginx could not be configured'
        start_program nginx env PATH="$PATH:/usr/sbin" nginx -p "$sockets/nginx" -e "$sockets/nginx/error.log" \
            -c "$sockets/nginx/nginx.conf" -g 'daemon off;'
    fi
    await_answer "nginx did not start; $state/nginx.log says more" "http://127.0.0.1:$(port_of web)/live"
}

stop_gateway() {
    stop_program nginx
    stop_program gateway
}

# await_answer COMPLAINT CURL'S ARGUMENT...
await_answer() {
    local complaint=$1 left=100
    shift
    until as_server curl -sf -o /dev/null "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || die "$complaint"
        sleep 0.1
    done
}

write_gateway_configuration() {
    local group routes
    {
        printf '# Written by scripts/demo at each start.\n[database]\n'
        printf '%s = "%s"\n' local "host=$(conf_quote "$sockets") port=$standby_port user=demo_gateway dbname=aurora" \
            lead "host=$(conf_quote "$sockets") port=$lead_port user=demo_gateway dbname=aurora"
        printf '[gateway]\ncookie_secure = no\ndrain_limit = 1s\n'
        for group in "${gateway_groups[@]}"; do
            case $group in
                web) routes=all ;;
                events) routes='events webhooks' ;;
                registry) routes='registry metrics' ;;
                *) routes=$group ;;
            esac
            printf '[listen %s]\nsocket = %s/%s.sock\nroutes = %s\n' "$group" "$sockets" "$group" "$routes"
        done
    } | as_server tee "$state/gateway.ini" >/dev/null
}

# A key for dana, which nothing keeps; the one of the last start ends.
show_gateway() {
    local key address
    address=http://127.0.0.1:$(port_of web)
    key=$(on_lead -c "SELECT aurora.revoke_api_key(key_id) FROM aurora.api_keys WHERE name = 'demo' AND is_valid" \
        -c "SELECT aurora.add_api_key('demo', owner => 'dana', company => 'Lumen Works')" | tail -n 1)
    await_replay
    printf '\nBy HTTP, from the gateway of the standby, with a key that is shown this once:\n\n'
    printf "curl -H 'Authorization: Bearer %s' '%s/api/priorities/surface?top_n=2'\n" "$key" "$address"
    as_server curl -sS -H "Authorization: Bearer $key" "$address/api/priorities/surface?top_n=2" || die 'the gateway does not answer'
    printf '\n'
    say_ports
}

say_ports() {
    program_runs nginx || return 0
    say "nginx listens on 127.0.0.1:$(port_of web) for all, $(port_of events) events, $(port_of gpu) gpu, $(port_of priorities) priorities, $(port_of registry) registry"
}
