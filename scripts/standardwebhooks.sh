#!/usr/bin/env bash
# Installs the official Standard Webhooks library for Python from PyPI into target/tools, and prints the interpreter that has it.
source "$(dirname "$0")/lib.sh"
version=1.1.0
made=$tools/standardwebhooks-$version
once "$made" python_install "$made" "standardwebhooks==$version"
echo "$made/bin/python"
