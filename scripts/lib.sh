# What the scripts share. Sourced, never run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# install PACKAGE...: installs Debian packages, or says what to install.
install() {
    is_root && have apt-get || fail "install these first: $*"
    say "installing $*"
    # A mirror may fail once, and somebody else may be installing.
    local patient=(-o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
    # The lists' own lock is not waited for by itself; the last try says what is wrong.
    [ -n "${apt_updated:-}" ] || wait_for 120 apt-get update -qq "${patient[@]}" || apt-get update -qq "${patient[@]}"
    apt_updated=1
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${patient[@]}" "$@" >/dev/null
}

# once DIRECTORY COMMAND...: has a command fill a directory, unless it did before. What was broken off has no mark, and is
# made anew. It is not made elsewhere and moved, because a Python environment holds its own path.
once() {
    local made=$1; shift
    [ ! -e "$made/complete" ] || return 0
    rm -rf "$made"
    mkdir -p "$made"
    "$@" >&2
    touch "$made/complete"
}

# npm_install DIRECTORY PACKAGE@VERSION...: installs packages from npm into a directory. A registry may fail a few times.
npm_install() {
    npm install --loglevel=error --no-audit --no-fund --no-update-notifier --fetch-retries=5 --prefix "$@"
}

# python_install DIRECTORY PACKAGE==VERSION...: installs packages from PyPI into an environment of their own.
python_install() {
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --retries 5 "${@:2}"
}

# wait_for SECONDS COMMAND...: runs a command until it succeeds.
wait_for() {
    local until=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || return 1
        read -rt 0.2 <> <(:) || true
    done
}

# Builds and git need the authorities that this machine trusts, where they are not the usual ones.
ca_bundle() { echo "${SSL_CERT_FILE:-${NODE_EXTRA_CA_CERTS:-}}"; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
