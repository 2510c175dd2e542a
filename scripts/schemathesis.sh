#!/usr/bin/env bash
# Installs schemathesis, which holds a server against its OpenAPI description, from PyPI into target/tools; prints its path.
source "$(dirname "$0")/lib.sh"
version=4.32.5
made=$tools/schemathesis-$version
once "$made" python_install "$made" "schemathesis==$version"
echo "$made/bin/schemathesis"
