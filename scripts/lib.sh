# shellcheck shell=bash
# What the scripts of this folder share. Sourced, never run.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$repository/target/tools
builder_image=${GRAPNEL_BUILDER_IMAGE:-grapnel/builder:latest}
base_image=grapnel/base:bookworm

# rustup puts its programs here, and a fresh shell may not know it yet; Debian's administration programs
# are not on everybody's path.
export PATH="$tools/bin:${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/sbin:/sbin"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' plain=$'\e[0m'
else
    bold='' plain=''
fi

# heading TEXT...: a line that can be found among the output of what runs below it.
heading() {
    printf '\n%s== %s%s\n' "$bold" "$*" "$plain"
}

say() {
    printf '%s\n' "$*"
}

# die TEXT...: ends the script with a complaint that says what to do.
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}

# wait_for SECONDS COMMAND...: runs the command until it succeeds; fails when the time is over.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# apt_install PACKAGE...: installs Debian's packages, or says which ones to install.
apt_install() {
    have apt-get || die "please install what Debian calls: $*"
    is_root || die "please install, as root: apt-get install $*"
    say "installing $*"
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
        # The package lists of a fresh machine are missing or old.
        apt-get update -qq >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "apt-get update failed"; }
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null \
            || { tail -n 20 "$log" >&2; die "apt-get install $* failed"; }
    fi
    rm -f "$log"
}

# need PROGRAM=PACKAGE...: installs the packages whose program is not there.
need() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

# The bundle of authorities with which this machine reaches the world, where it was told one.
host_ca_bundle() {
    local bundle=${GRAPNEL_CA_BUNDLE:-${NODE_EXTRA_CA_CERTS:-${SSL_CERT_FILE:-}}}
    if [ -n "$bundle" ] && [ -r "$bundle" ]; then
        printf '%s' "$bundle"
    fi
}

# Builds in containers do not see the host's bundle unless Grapnel is told of it.
use_host_ca_bundle() {
    local bundle
    bundle=$(host_ca_bundle)
    if [ -n "$bundle" ]; then
        export GRAPNEL_CA_BUNDLE=$bundle
    fi
}
