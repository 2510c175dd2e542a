#!/usr/bin/env bash
# Takes the pictures of docs/screenshots anew: those of the walk that the browser test goes.
source "$(dirname "$0")/lib.sh"
cd "$root"
GRAPNEL_TEST_BROWSER=$(scripts/browser.sh)
GRAPNEL_TEST_CA_BUNDLE=$(ca_bundle)
export GRAPNEL_TEST_BROWSER GRAPNEL_TEST_CA_BUNDLE
pictures=$(mktemp -d)
trap 'rm -rf "$pictures"' EXIT
GRAPNEL_TEST_SCREENSHOTS=$pictures cargo nextest run --locked --workspace --test it browser::walk::
mkdir -p docs/screenshots
for name in deployments deployment hooks; do
    cp "$pictures/$name.png" docs/screenshots/
done
