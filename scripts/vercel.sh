#!/usr/bin/env bash
# Installs Vercel's own command from npm into target/tools, and prints the path of the program that Node.js runs.
source "$(dirname "$0")/lib.sh"
version=54.21.1
made=$tools/vercel-$version
once "$made" npm_install "$made" --ignore-scripts "vercel@$version"
echo "$made/node_modules/vercel/dist/vc.js"
