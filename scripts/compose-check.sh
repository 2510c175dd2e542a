#!/usr/bin/env bash
# Checks docker-compose.yml as far as no registry is needed: the file itself, and the image of our own in it.
source "$(dirname "$0")/lib.sh"
cd "$root"

compose=()
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
else
    have docker-compose || install docker-compose
    compose=(docker-compose)
fi
"${compose[@]}" --file docker-compose.yml config --quiet
echo "docker-compose.yml is sound"

images/builder/base.sh grapnel/base:bookworm
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp Dockerfile "$context/"
mkdir -p "$context/bin"
cp "${GRAPNEL_BINARY:-target/debug/grapnel}" "$context/bin/grapnel"
DOCKER_BUILDKIT=0 docker build --quiet --tag grapnel:test --build-arg BASE=grapnel/base:bookworm "$context" >/dev/null
docker run --rm --network none grapnel:test --version
docker run --rm --network none grapnel:test doctor --help >/dev/null
docker image rm grapnel:test >/dev/null
echo "the image grapnel runs"
