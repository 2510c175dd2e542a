#!/usr/bin/env bash
# Installs and starts what is missing. Does nothing, quickly, when nothing is.
source "$(dirname "$0")/lib.sh"

have cargo || fail "Rust is missing: see https://rustup.rs"

missing=()
have git || missing+=(git)
have cc || missing+=(gcc libc6-dev)
have curl || missing+=(curl)
have jq || missing+=(jq)
have column || missing+=(bsdextrautils)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
have npm || missing+=(nodejs npm)
# Its pages are to look the same on every machine.
[ -x /usr/bin/chromium ] || missing+=(chromium)
compgen -G '/usr/share/fonts/truetype/liberation*/LiberationSans-Regular.ttf' >/dev/null || missing+=(fonts-liberation)
compgen -G '/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf' >/dev/null || missing+=(fonts-dejavu-core)
[ -x /usr/lib/postgresql/15/bin/initdb ] || have initdb || missing+=(postgresql-15)
have setsid || missing+=(util-linux)
have nft || [ -x /usr/sbin/nft ] || missing+=(nftables)
have ip || missing+=(iproute2)
have pkill || missing+=(procps)
have strace || missing+=(strace)
have ssh || missing+=(openssh-client)
[ -x /usr/sbin/sshd ] || missing+=(openssh-server)
have git-lfs || missing+=(git-lfs)
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(faketime)
[ ${#missing[@]} = 0 ] || install "${missing[@]}"

if ! docker info >/dev/null 2>&1; then
    is_root || fail "no Docker engine answers, or this user may not use it: install and start Docker Engine 20.10 or newer"
    have dockerd || install docker.io iptables
    say "starting the Docker engine"
    if have systemctl && systemctl is-system-running --quiet 2>/dev/null; then
        systemctl start docker
    else
        setsid dockerd >/var/log/grapnel-dockerd.log 2>&1 </dev/null &
    fi
    wait_for 60 docker info || { tail -n 20 /var/log/grapnel-dockerd.log >&2; fail "the Docker engine does not start; its log is above"; }
fi
if is_root && ! docker image inspect grapnel/base:bookworm >/dev/null 2>&1; then
    have debootstrap || install debootstrap
fi

if ! cargo nextest --version >/dev/null 2>&1; then
    say "installing cargo-nextest"
    cargo install --locked --quiet cargo-nextest
fi
