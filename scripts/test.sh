#!/usr/bin/env bash
# Everything: formatting, lints, contracts, unit and end-to-end tests on real engines and databases, compose.
source "$(dirname "$0")/lib.sh"
cd "$root"

say "formatting"
cargo fmt --all --check
say "contracts"
scripts/buf.sh lint
# What is fetched more than computed, beside the compiler. Later each of these scripts only says where its tool is.
fetch() {
    local tool
    images/builder/build.sh
    for tool in grpcurl prism standardwebhooks browser vercel schemathesis; do "scripts/$tool.sh"; done
}
fetched=$(mktemp)
fetch >"$fetched" 2>&1 &
fetching=$!
# Nothing is left half made where the compiler has found something.
trap wait EXIT
say "clippy"
cargo clippy --locked --workspace --all-targets -- -D warnings
say "build"
cargo build --locked --workspace
say "builder image, and tools of tests"
wait "$fetching" || { cat "$fetched" >&2; fail "they cannot be made"; }
cat "$fetched"
rm "$fetched"
say "compose and image"
scripts/compose-check.sh

say "tests"
scripts/postgres.sh start
trap 'scripts/postgres.sh stop' EXIT
GRAPNEL_TEST_POSTGRES_URL=$(scripts/postgres.sh url)
GRAPNEL_TEST_GRPCURL=$(scripts/grpcurl.sh)
GRAPNEL_TEST_PRISM=$(scripts/prism.sh)
GRAPNEL_TEST_CA_BUNDLE=$(ca_bundle)
GRAPNEL_TEST_STANDARDWEBHOOKS=$(scripts/standardwebhooks.sh)
GRAPNEL_TEST_BROWSER=$(scripts/browser.sh)
GRAPNEL_TEST_VERCEL=$(scripts/vercel.sh)
GRAPNEL_TEST_SCHEMATHESIS=$(scripts/schemathesis.sh)
export GRAPNEL_TEST_POSTGRES_URL GRAPNEL_TEST_GRPCURL GRAPNEL_TEST_CA_BUNDLE GRAPNEL_TEST_PRISM GRAPNEL_TEST_STANDARDWEBHOOKS
export GRAPNEL_TEST_BROWSER GRAPNEL_TEST_VERCEL GRAPNEL_TEST_SCHEMATHESIS
cargo nextest run --locked --workspace
say "tests of grapnel up once more, over PostgreSQL"
# What is left out starts no grapnel up, is about the embedded database, or is about what stands in front of the hooks
# service: pages and the interfaces of other tools, to which the database behind it makes no difference.
embedded='backup|browser|buckets|crashes|db|disk|faults|layers|openapi|processes|restarts|security|vercel'
# With `--workspace`, here and elsewhere: of a package alone cargo would compile another one, with fewer features.
GRAPNEL_TEST_DATABASE=postgres cargo nextest run --locked --workspace \
    --filterset "binary_id(grapnel-e2e::it) and not test(/^($embedded)::/)"

# A test holds the page against the code, so that each of its rows has just run.
say "$(grep -cE '^\| [A-Z][0-9].*\| `[a-z0-9_]+` \|' docs/security.md) attacks of docs/security.md were tried, and all was held"
