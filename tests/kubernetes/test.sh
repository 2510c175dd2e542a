#!/usr/bin/env bash
# What needs a real Kubernetes: the contract of engines, held against pods of a node. Leaves no cluster behind.
source "$(dirname "$0")/../../scripts/lib.sh"
cd "$root"
cluster=tests/kubernetes/cluster.sh

is_root || fail "a cluster of network and mount namespaces needs root"
say "builder image"
images/builder/build.sh
say "a cluster of two nodes"
trap '"$cluster" down' EXIT
"$cluster" up 2
"$cluster" load grapnel/builder:latest
export KUBECONFIG=${GRAPNEL_TEST_CLUSTER:-/var/tmp/grapnel-cluster}/kubeconfig
kubectl create namespace grapnel-builds

say "the contract of engines, on a node"
# As a process of the node: with its network, and its mounts, which its pods see.
target=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export GRAPNEL_TEST_KUBERNETES_NODE=node1 "CARGO_TARGET_${target}_RUNNER=$root/$cluster in 1"
cargo nextest run --locked --package grapnel-executor --ignore-default-filter --filterset 'test(/\bon_kubernetes::/)'
