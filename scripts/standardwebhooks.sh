#!/usr/bin/env bash
# Installs the official Standard Webhooks library for Python from PyPI into target/tools, and prints the interpreter that has it.
source "$(dirname "$0")/lib.sh"
venv=$tools/standardwebhooks
if ! "$venv/bin/python" -c 'import standardwebhooks' 2>/dev/null; then
    mkdir -p "$tools"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet standardwebhooks==1.1.0 >&2
fi
echo "$venv/bin/python"
