#!/usr/bin/env bash
# postgres.sh start|stop|url: a PostgreSQL cluster of the tests' own, below target/, on a free port of 127.0.0.1.
source "$(dirname "$0")/lib.sh"
cluster=${TMPDIR:-/tmp}/grapnel-test-postgres-$(id -u)
bin=/usr/lib/postgresql/15/bin
[ -x "$bin/initdb" ] || bin=$(dirname "$(command -v initdb)")

# PostgreSQL refuses to run as root.
as_postgres() { if is_root; then setpriv --reuid postgres --regid postgres --init-groups -- "$@"; else "$@"; fi; }
running() { [ -f "$cluster/port" ] && as_postgres "$bin/pg_isready" -q -h 127.0.0.1 -p "$(cat "$cluster/port")"; }

case "${1:-}" in
    start)
        running && exit 0
        rm -rf "$cluster"
        mkdir -p "$cluster"
        free_port > "$cluster/port"
        if is_root; then chown -R postgres "$cluster"; fi
        cd "$cluster"
        as_postgres "$bin/initdb" --username postgres --auth trust --no-sync --pgdata "$cluster/data" >/dev/null
        as_postgres "$bin/pg_ctl" --pgdata "$cluster/data" --log "$cluster/log" --wait start \
            --options "-p $(cat "$cluster/port") -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200" >/dev/null
        ;;
    stop)
        [ -d "$cluster/data" ] || exit 0
        cd "$cluster"
        as_postgres "$bin/pg_ctl" --pgdata "$cluster/data" --mode immediate stop >/dev/null || true
        rm -rf "$cluster"
        ;;
    url) echo "postgres://postgres@127.0.0.1:$(cat "$cluster/port")/postgres" ;;
    *) fail "usage: postgres.sh start|stop|url" ;;
esac
