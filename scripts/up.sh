#!/usr/bin/env bash
# Runs Grapnel from this checkout until it is stopped.
source "$(dirname "$0")/lib.sh"
bundle=$(ca_bundle)
[ -z "$bundle" ] || export GRAPNEL_CA_BUNDLE=$bundle
exec "$root/target/debug/grapnel" up
