#!/usr/bin/env bash
# Installs and starts what is missing on a Debian machine with Rust and nothing else. Quick when nothing is.
#
#   setup.sh            what Grapnel needs to be built and run
#   setup.sh --tests    what its tests and checks need besides
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$repository/scripts

have cargo || die "there is no Rust: install it from https://rustup.rs"

need cc=gcc make=make git=git curl=curl jq=jq python3=python3 iptables=iptables
# The C library's headers, and the static libraries that the runner is linked with.
if [ ! -e /usr/include/stdio.h ]; then
    apt_install libc6-dev ca-certificates
fi
"$here/docker.sh"
# Where no registry answers, base images are made from Debian's packages.
if is_root; then
    need debootstrap=debootstrap
fi

if [ "${1:-}" = --tests ]; then
    need busybox=busybox-static
    python3 -c 'import venv, ensurepip' 2>/dev/null || apt_install python3-venv
    "$here/postgres.sh" install
    "$here/tools.sh"
fi
