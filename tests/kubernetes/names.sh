#!/usr/bin/env bash
# names.sh DIRECTORY ADDRESS: answers the names of a test cluster's services, in place of its DNS, until it is stopped.
source "$(dirname "$0")/../../scripts/lib.sh"
lab=$1 address=$2
hosts=$lab/names
touch "$hosts"

# A service with an address of its own has that, a headless one the addresses of its ready pods.
names() {
    kubectl --kubeconfig "$lab/kubeconfig" get services,endpoints --all-namespaces -o json | jq -r '
        .items | group_by([.metadata.namespace, .metadata.name])[]
        | (map(select(.kind == "Service"))[0] // empty) as $service
        | (map(select(.kind == "Endpoints"))[0] // {}) as $endpoints
        | (if $service.spec.clusterIP == "None" then [$endpoints.subsets[]?.addresses[]?.ip] else [$service.spec.clusterIP] end)[]
        | "\(.) \($service.metadata.name).\($service.metadata.namespace).svc.cluster.local"'
}

dnsmasq --keep-in-foreground --conf-file=/dev/null --no-hosts --addn-hosts="$hosts" --local=/cluster.local/ --local-ttl=1 \
    --listen-address="$address" --bind-interfaces --user=root --pid-file= &
server=$!
trap 'kill "$server"' EXIT
trap 'exit 0' TERM INT
while sleep 1; do
    names >"$hosts.new" 2>/dev/null || continue
    cmp -s "$hosts.new" "$hosts" || { mv "$hosts.new" "$hosts"; kill -HUP "$server"; }
done
