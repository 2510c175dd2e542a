#!/usr/bin/env bash
# A PostgreSQL cluster for tests only, thrown away afterwards.
#
#   postgres.sh install         makes sure that the programs are there
#   postgres.sh start DIR       makes a cluster in DIR, which must not exist; prints its URL
#   postgres.sh stop DIR        stops it and removes DIR
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage="usage: postgres.sh install | start DIR | stop DIR"

# Debian keeps the server's programs off the path, a directory for each major version.
programs() {
    local found
    found=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -name initdb -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    if [ -z "$found" ]; then
        found=$(command -v initdb || true)
    fi
    [ -n "$found" ] && dirname "$found"
}

# PostgreSQL refuses to run as root.
as_owner() {
    if is_root; then
        runuser -u postgres -- "$@"
    else
        "$@"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

install() {
    programs >/dev/null && return
    # The package would start a cluster of its own, which nobody asked for.
    if [ ! -e /etc/postgresql-common/createcluster.conf ] && is_root; then
        mkdir -p /etc/postgresql-common
        printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
    fi
    apt_install postgresql
}

start() {
    local directory=$1 bin port password
    bin=$(programs) || die "there is no PostgreSQL: run scripts/setup.sh"
    [ ! -e "$directory" ] || die "$directory is there already"
    mkdir -p "$directory"
    chmod 711 "$directory"
    if is_root; then
        chown postgres "$directory"
    fi
    password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
    port=$(free_port)
    (umask 077 && printf '%s' "$password" >"$directory/password")
    if is_root; then
        chown postgres "$directory/password"
    fi
    cd "$directory"
    as_owner "$bin/initdb" --pgdata "$directory/data" --username grapnel --auth scram-sha-256 \
        --pwfile "$directory/password" --encoding UTF8 --locale C.UTF-8 --no-sync >"$directory.log" 2>&1 \
        || { tail -n 20 "$directory.log" >&2; die "initdb failed"; }
    # Nobody minds if a cluster for tests is lost in a power cut.
    if ! as_owner "$bin/pg_ctl" --pgdata "$directory/data" --log "$directory/server.log" --timeout 30 --wait --silent \
        --options "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=200" \
        start >>"$directory.log" 2>&1; then
        tail -n 20 "$directory.log" "$directory/server.log" >&2
        die "PostgreSQL did not start"
    fi
    rm -f "$directory.log"
    printf 'postgres://grapnel:%s@127.0.0.1:%s/postgres\n' "$password" "$port"
}

stop() {
    local directory=$1 bin
    if bin=$(programs) && [ -f "$directory/data/postmaster.pid" ]; then
        cd "$directory"
        as_owner "$bin/pg_ctl" --pgdata "$directory/data" --mode immediate --wait --silent stop || true
        cd /
    fi
    rm -rf "$directory"
}

case "${1:-}" in
    install) install ;;
    start) start "${2:?$usage}" ;;
    stop) stop "${2:?$usage}" ;;
    *) die "$usage" ;;
esac
