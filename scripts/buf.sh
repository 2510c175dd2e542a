#!/usr/bin/env bash
# buf.sh ARGUMENTS...: runs buf, from npm, on the contracts.
source "$(dirname "$0")/lib.sh"
version=1.57.2
if [ ! -x "$tools/buf-$version/node_modules/.bin/buf" ]; then
    npm install --silent --no-audit --no-fund --prefix "$tools/buf-$version" "@bufbuild/buf@$version"
fi
cd "$root/proto"
exec "$tools/buf-$version/node_modules/.bin/buf" "$@"
