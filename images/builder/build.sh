#!/usr/bin/env bash
# Makes the builder image grapnel/builder:latest; does nothing when it is there and nothing has changed.
#
# The base is debian:bookworm-slim where a registry answers, and one made with debootstrap where none does (as root).
# A bundle of authorities named by SSL_CERT_FILE is used while the image is made, and is not in it afterwards.
set -euo pipefail
cd "$(dirname "$0")"

image=${1:-grapnel/builder:latest}
own_base=grapnel/base:bookworm
parts=(Dockerfile install-tools grapnel-node yarn)
hash=$(cat "${parts[@]}" base.sh build.sh | sha256sum | cut -c1-16)

is=$(docker image inspect --format '{{ index .Config.Labels "dev.grapnel.builder" }}' "$image" 2>/dev/null || true)
if [ "$is" = "$hash" ]; then
    echo "the builder image $image is up to date"
    exit 0
fi

./base.sh "$own_base"

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "${parts[@]}" "$context/"
chmod 755 "$context"/{install-tools,grapnel-node,yarn}
: >"$context/extra-ca.pem"
bundle=${SSL_CERT_FILE:-${NODE_EXTRA_CA_CERTS:-}}
if [ -n "$bundle" ] && [ -r "$bundle" ]; then
    cp "$bundle" "$context/extra-ca.pem"
fi

echo "making the builder image $image; this takes a minute or two, once"
# The classic builder: the engine may be old, and a client may have come without buildx.
if ! DOCKER_BUILDKIT=0 docker build --tag "$image" --label "dev.grapnel.builder=$hash" --build-arg "BASE=$own_base" \
    "$context" >"$context.log" 2>&1; then
    tail -n 40 "$context.log" >&2
    echo "the builder image was not made; the whole log is $context.log" >&2
    exit 1
fi
rm -f "$context.log"
docker tag "$image" "${image%:*}:$hash"
echo "made $image ($hash)"
