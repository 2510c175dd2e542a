#!/usr/bin/env bash
# Makes sure that a Docker engine answers. As root it installs Debian's and starts it, without a service manager too.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

log=/var/log/grapnel-dockerd.log

engine_answers() {
    have docker && timeout 10 docker version --format '{{.Server.Version}}'
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker || die "docker.service did not start: journalctl -u docker says why"
    else
        say "starting dockerd; its log is $log"
        # A session of its own, so that the engine outlives this script and a Ctrl-C to it.
        setsid dockerd >>"$log" 2>&1 </dev/null &
    fi
}

if engine_answers >/dev/null 2>&1; then
    exit 0
fi
if ! is_root; then
    die "no Docker engine answers. Install one and let this user reach it, as root:
    apt-get install docker.io && usermod -aG docker $(id -un)
and log in anew; or name another engine in DOCKER_HOST."
fi
if [ -n "${DOCKER_HOST:-}" ]; then
    die "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer"
fi
have dockerd || apt_install docker.io iptables
# From Debian 13 on the client is a package of its own.
have docker || apt_install docker-cli
start_engine
if ! wait_for 60 engine_answers; then
    [ ! -f "$log" ] || tail -n 20 "$log" >&2
    die "the Docker engine did not answer within 60 s"
fi
say "Docker Engine $(engine_answers) answers"
