#!/usr/bin/env bash
# base.sh IMAGE: makes a minimal Debian image, unless it is there.
set -euo pipefail
image=${1:?usage: base.sh IMAGE}

if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
if timeout 20 docker pull --quiet debian:bookworm-slim >/dev/null 2>&1; then
    docker tag debian:bookworm-slim "$image"
    exit 0
fi
if ! command -v debootstrap >/dev/null; then
    echo "no registry answers, and there is no debootstrap to make a base image with: apt-get install debootstrap" >&2
    exit 1
fi
echo "no registry answers: making $image with debootstrap"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root.log"
tar -C "$root" -c . | docker import - "$image" >/dev/null
