#!/usr/bin/env bash
# Makes the builder image grapnel/builder:latest; does nothing when it is there and nothing has changed.
#
# The base is debian:bookworm-slim where a registry answers, and one made with debootstrap where none does (as root).
# A bundle of authorities named by SSL_CERT_FILE is used while the image is made, and is in no layer of it.
set -euo pipefail
cd "$(dirname "$0")"

image=${1:-grapnel/builder:latest}
own_base=grapnel/base:bookworm
files=(Dockerfile install-tools grapnel-node yarn)
hash=$(cat "${files[@]}" build.sh | sha256sum | cut -c1-16)

if [ "$(docker image inspect --format '{{ index .Config.Labels "dev.grapnel.builder" }}' "$image" 2>/dev/null || true)" = "$hash" ]; then
    echo "the builder image $image is up to date"
    exit 0
fi

./base.sh "$own_base"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "${files[@]}" "$context/"
chmod 755 "$context"/install-tools "$context"/grapnel-node "$context"/yarn
: > "$context/extra-ca.pem"
bundle=${SSL_CERT_FILE:-${NODE_EXTRA_CA_CERTS:-}}
if [ -n "$bundle" ] && [ -r "$bundle" ]; then
    cp "$bundle" "$context/extra-ca.pem"
fi
echo "making the builder image $image"
DOCKER_BUILDKIT=0 docker build --quiet --tag "$image" --label "dev.grapnel.builder=$hash" --build-arg "BASE=$own_base" "$context"
# The legacy builder keeps the first stage as an image without a name.
docker image prune --force --filter label=dev.grapnel.stage=tools >/dev/null
