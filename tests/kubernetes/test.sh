#!/usr/bin/env bash
# What needs a real Kubernetes: the contract of engines, held against pods of a node, and an installation, driven from outside.
# Leaves no cluster behind, unless GRAPNEL_TEST_KEEP says so.
source "$(dirname "$0")/../../scripts/lib.sh"
cd "$root"
cluster=tests/kubernetes/cluster.sh
export GRAPNEL_TEST_CLUSTER=${GRAPNEL_TEST_CLUSTER:-/var/tmp/grapnel-cluster}
export KUBECONFIG=$GRAPNEL_TEST_CLUSTER/kubeconfig
# The machine, as the nodes see it.
machine=10.77.0.1
node=10.77.0.11
work=$(mktemp -d)
beside=()

finish() {
    local status=$?
    if [ $status != 0 ]; then
        kubectl get pods --all-namespaces -o wide || true
        kubectl -n grapnel logs --tail=40 --prefix -l app.kubernetes.io/name=grapnel || true
    fi >&2
    [ ${#beside[@]} = 0 ] || kill "${beside[@]}" || true
    [ -n "${GRAPNEL_TEST_KEEP:-}" ] || "$cluster" down
    scripts/postgres.sh stop
    rm -rf "$work"
}

# Makes the image of our own, with the binary that was built for tests.
image() {
    images/builder/base.sh grapnel/base:bookworm
    mkdir -p "$work/image/bin"
    cp Dockerfile "$work/image/"
    strip -o "$work/image/bin/grapnel" target/debug/grapnel
    DOCKER_BUILDKIT=0 docker build --quiet --tag grapnel:test --build-arg BASE=grapnel/base:bookworm "$work/image" >/dev/null
}

# Starts PostgreSQL and a bucket, where the cluster's pods reach them, and installs what speaks to them.
install_grapnel() {
    local bundle data settings=$work/deploy/tests/kubernetes/installation
    scripts/postgres.sh start
    local postgres=${machine}:25432 own
    own=$(scripts/postgres.sh url | sed -E 's,.*@([^/]*)/.*,\1,')
    socat "TCP-LISTEN:25432,bind=$machine,fork,reuseaddr" "TCP:$own" &
    beside+=($!)
    target/debug/bucket "$machine" >"$work/bucket" &
    beside+=($!)
    wait_for 10 test -s "$work/bucket" || fail "the bucket does not start"
    bucket() { sed -n "s/^GRAPNEL_ARTIFACTS_$1=//p" "$work/bucket"; }

    mkdir -p "$work/deploy/tests/kubernetes"
    cp -r deploy "$work/deploy/"
    cp -r tests/kubernetes/installation "$settings"
    cat >"$settings/settings.env" <<ENV
GRAPNEL_PUBLIC_URL=http://$node:30300
GRAPNEL_SITES_URL=http://localhost:30380
GRAPNEL_ARTIFACTS_URL=$(bucket URL)
GRAPNEL_ARTIFACTS_ENDPOINT=$(bucket ENDPOINT)
GRAPNEL_BUILDER_IMAGE=grapnel/builder:latest
GRAPNEL_KUBERNETES_PULL=Never
GRAPNEL_KUBERNETES_CPU_RESERVED=10
GRAPNEL_EXECUTOR_NETWORK=open
GRAPNEL_LOG_FORMAT=text
ENV
    bundle=$(ca_bundle)
    for data in "$GRAPNEL_TEST_CLUSTER"/node*/data; do
        cp "${bundle:-/etc/ssl/certs/ca-certificates.crt}" "$data/authorities.pem"
    done
    kubectl apply -f deploy/kubernetes/base/namespaces.yaml
    kubectl -n grapnel create secret generic grapnel \
        --from-literal=database-url="postgres://postgres@$postgres/postgres" \
        --from-literal=admin-key="$(target/debug/grapnel key generate)" \
        --from-literal=gateway-key="$(target/debug/grapnel key generate)" \
        --from-literal=executor-key="$(target/debug/grapnel key generate)" \
        --from-literal=secret.key="$(head -c 32 /dev/urandom | base64)" \
        --from-literal=bucket-key-id="$(bucket ACCESS_KEY_ID)" \
        --from-literal=bucket-key-secret="$(bucket SECRET_ACCESS_KEY)"
    kubectl apply -k "$settings"
    for what in deployment/grapnel-hooks deployment/grapnel-gateway daemonset/grapnel-executor; do
        kubectl -n grapnel rollout status "$what" --timeout=180s
    done
    kubectl -n grapnel get secret grapnel -o 'go-template={{ index .data "admin-key" | base64decode }}' >"$work/admin.key"
}

is_root || fail "a cluster of network and mount namespaces needs root"
trap finish EXIT
say "build"
cargo build --locked --workspace
cargo nextest run --locked --workspace --no-run
say "images"
images/builder/build.sh
image
say "a cluster of two nodes"
"$cluster" up 2
"$cluster" load grapnel/builder:latest
"$cluster" load grapnel:test
say "an installation"
install_grapnel

say "the contract of engines, on a node"
# As a process of the node: with its network, and its mounts, which its pods see.
target=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
env GRAPNEL_TEST_KUBERNETES_NODE=node1 "CARGO_TARGET_${target}_RUNNER=$root/$cluster in 1" \
    cargo nextest run --locked --workspace --ignore-default-filter \
    --filterset 'binary_id(grapnel-executor::it) and test(/\bon_kubernetes::/)'

say "the installation, from outside"
export GRAPNEL_TEST_CLUSTER_GATEWAY=http://$node:30300 GRAPNEL_TEST_CLUSTER_HOOKS=http://$node:30301
export GRAPNEL_TEST_CLUSTER_SITES=$node:30380 GRAPNEL_TEST_CLUSTER_KEY=$work/admin.key GRAPNEL_TEST_CLUSTER_MACHINE=$machine
cargo nextest run --locked --workspace --ignore-default-filter --filterset 'binary(kubernetes)' --success-output immediate
