#!/usr/bin/env bash
# buf.sh ARGUMENTS...: runs buf, from npm, on the contracts.
source "$(dirname "$0")/lib.sh"
version=1.57.2
made=$tools/buf-$version
once "$made" npm_install "$made" "@bufbuild/buf@$version"
cd "$root/proto"
exec "$made/node_modules/.bin/buf" "$@"
