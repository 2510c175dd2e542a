#!/usr/bin/env bash
# A real Kubernetes of a few nodes on one machine, for tests. Needs root, Debian 12, and a file system that overlays.
#
#   cluster.sh up [N]        starts etcd, the control plane and N nodes (2)
#   cluster.sh load IMAGE    brings an image of this machine's Docker engine to every node
#   cluster.sh in I COMMAND  runs a command as on node I: with its network and its mounts
#   cluster.sh node-down I   kills a node with all that runs on it; node-up I brings it back
#   cluster.sh plane-down    kills etcd and the API server; plane-up brings them back
#   cluster.sh down          stops and removes all of it
#
# Each node is a network and a mount namespace with a Docker engine, a kubelet, a kube-proxy and a /var/lib/grapnel of its
# own, at 10.77.0.1I. The machine is 10.77.0.1 to them. There is no network plugin, so no NetworkPolicy has an effect.
# All state is below $GRAPNEL_TEST_CLUSTER (/var/tmp/grapnel-cluster), with a `kubeconfig` in it.
source "$(dirname "$0")/../../scripts/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)

lab=${GRAPNEL_TEST_CLUSTER:-/var/tmp/grapnel-cluster}
net=10.77.0
pods=10.78
bridge=grapnel-k8s
etcd=http://127.0.0.1:23790
pause=k8s.gcr.io/pause:3.2
export KUBECONFIG=$lab/kubeconfig

# daemon NAME COMMAND...: starts a program that outlives this script.
daemon() {
    local name=$1; shift
    setsid "$@" >>"$lab/$name.log" 2>&1 </dev/null &
    echo $! >"$lab/$name.pid"
}

runs() { kill -0 "$(cat "$lab/$1.pid" 2>/dev/null || echo none)" 2>/dev/null; }

# stop NAME: asks a program to end, and kills it after five seconds.
stop() {
    local pid
    pid=$(cat "$lab/$1.pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || true
    wait_for 5 eval "! kill -0 $pid 2>/dev/null" || kill -9 "$pid" 2>/dev/null || true
    rm -f "$lab/$1.pid"
}

kill_now() {
    kill -9 "$(cat "$lab/$1.pid" 2>/dev/null || echo none)" 2>/dev/null || true
    rm -f "$lab/$1.pid"
}

requirements() {
    local missing=()
    [ -x /usr/bin/etcd ] || missing+=(etcd-server)
    have kubectl || missing+=(kubernetes-client)
    have iptables || [ -x /usr/sbin/iptables ] || missing+=(iptables)
    have conntrack || [ -x /usr/sbin/conntrack ] || missing+=(conntrack)
    have socat || missing+=(socat)
    have ethtool || [ -x /usr/sbin/ethtool ] || missing+=(ethtool)
    have openssl || missing+=(openssl)
    have dnsmasq || [ -x /usr/sbin/dnsmasq ] || missing+=(dnsmasq-base)
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
    bin=$("$here/binaries.sh")
    ln -sfn "$bin" "$lab/bin"
}

network() {
    ip link show "$bridge" >/dev/null 2>&1 || {
        ip link add "$bridge" type bridge
        ip addr add $net.1/24 dev "$bridge"
        ip link set "$bridge" up
    }
    sysctl -qw net.ipv4.ip_forward=1
    local out=(POSTROUTING -s $net.0/24 ! -d $net.0/24 -j MASQUERADE)
    iptables -t nat -C "${out[@]}" 2>/dev/null || iptables -t nat -A "${out[@]}"
    local way
    for way in -i -o; do
        iptables -C FORWARD "$way" "$bridge" -j ACCEPT 2>/dev/null || iptables -I FORWARD "$way" "$bridge" -j ACCEPT
    done
}

plane_up() {
    daemon etcd etcd --data-dir "$lab/etcd" --unsafe-no-fsync --listen-client-urls $etcd --advertise-client-urls $etcd \
        --listen-peer-urls http://127.0.0.1:23800
    daemon apiserver "$lab/bin/kube-apiserver" --etcd-servers=$etcd --bind-address=$net.1 --advertise-address=$net.1 \
        --secure-port=16443 --insecure-port=0 --cert-dir="$lab/certs" --token-auth-file="$lab/tokens.csv" \
        --authorization-mode=RBAC --service-account-key-file="$lab/sa.pub" --service-account-signing-key-file="$lab/sa.key" \
        --service-account-issuer=https://kubernetes.default.svc --service-cluster-ip-range=10.96.0.0/16 \
        --allow-privileged=true --kubelet-preferred-address-types=InternalIP
    wait_for 60 kubectl get --raw /readyz || { tail -n 20 "$lab/etcd.log" "$lab/apiserver.log" >&2; fail "the API server does not start"; }
}

plane_down() {
    kill_now apiserver
    kill_now etcd
}

# A node that is lost is known to be after 12 s, and its pods are told to end 5 s later: a cloud's defaults take minutes.
managers_up() {
    daemon controller "$lab/bin/kube-controller-manager" --kubeconfig="$KUBECONFIG" \
        --service-account-private-key-file="$lab/sa.key" --root-ca-file="$lab/certs/apiserver.crt" \
        --use-service-account-credentials=true --leader-elect=false --port=0 --secure-port=0 \
        --node-startup-grace-period=15s --node-monitor-grace-period=12s --pod-eviction-timeout=5s
    daemon scheduler "$lab/bin/kube-scheduler" --kubeconfig="$KUBECONFIG" --leader-elect=false --port=0 --secure-port=0
    daemon names "$here/names.sh" "$lab" $net.1
}

keys() {
    [ -f "$lab/sa.key" ] || {
        openssl genrsa -out "$lab/sa.key" 2048 2>/dev/null
        openssl rsa -in "$lab/sa.key" -pubout -out "$lab/sa.pub" 2>/dev/null
    }
    [ -f "$lab/tokens.csv" ] || echo "$(openssl rand -hex 16),admin,admin,\"system:masters\"" >"$lab/tokens.csv"
    cat >"$KUBECONFIG" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$net.1:16443", certificate-authority: "$lab/certs/apiserver.crt"}}]
users: [{name: admin, user: {token: $(cut -d, -f1 "$lab/tokens.csv")}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
YAML
}

# Where root lacks CAP_SYS_RESOURCE, containers can have nothing that needs it: an OCI runtime that asks for none of it.
runtime() {
    cat >"$lab/runc" <<'SH'
#!/bin/sh
asked= previous=
for argument in "$@"; do
    case $previous in
        --bundle) asked=$argument/config.json ;;
        --process) asked=$argument ;;
    esac
    previous=$argument
done
[ -f "$asked" ] && sed -i -E 's/"oomScoreAdj":-[0-9]+/"oomScoreAdj":0/; s/"CAP_SYS_RESOURCE",?//g; s/,\]/]/g' "$asked"
exec /usr/sbin/runc "$@"
SH
    chmod +x "$lab/runc"
}

up() {
    local nodes=${1:-2} node
    mkdir -p "$lab"
    requirements
    network
    keys
    runtime
    plane_up
    managers_up
    for node in $(seq "$nodes"); do node_up "$node"; done
    wait_for 60 sh -c "[ \"\$(kubectl get nodes --no-headers | grep -c ' Ready')\" = $nodes ]" ||
        { tail -n 20 "$lab"/kubelet*.log >&2; fail "the nodes do not come up"; }
    kubectl get nodes -o wide
}

# Control groups of a node's own, below which its kubelet makes those of pods: two nodes are on one kernel.
groups() {
    local of set
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mkdir -p "/sys/fs/cgroup/$1"
        for of in cpu cpuset memory pids; do echo "+$of" >/sys/fs/cgroup/cgroup.subtree_control; done
        return
    fi
    for of in /sys/fs/cgroup/*/; do
        [ -e "$of/cgroup.clone_children" ] || continue
        mkdir -p "$of$1"
        # A set of processors begins empty.
        for set in cpuset.cpus cpuset.mems; do
            [ ! -e "$of$set" ] || cat "$of$set" >"$of$1/$set"
        done
    done
}

# The command that enters a node, one word each in `enter`.
entering() { enter=(nsenter --net="/var/run/netns/$bridge-$1" --mount="/proc/$(cat "$lab/holder$1.pid")/ns/mnt"); }

node_up() {
    local node=$1 space=$bridge-$1 own=$lab/node$1 enter other
    mkdir -p "$own"/{data,log,dockershim} /var/lib/grapnel /var/lib/dockershim
    [ -e "/var/run/netns/$space" ] || {
        ip netns add "$space"
        ip link add "gk8s$node" type veth peer name eth0 netns "$space"
        ip link set "gk8s$node" master "$bridge" up
        ip -n "$space" addr add "$net.1$node/24" dev eth0
        ip -n "$space" link set lo up
        ip -n "$space" link set eth0 up
        ip -n "$space" route add default via $net.1
        # Pods of one node reach those of another, as with any network plugin.
        ip route replace "$pods.$node.0/24" via "$net.1$node"
        for other in $(seq 9); do
            [ "$other" = "$node" ] || ip -n "$space" route add "$pods.$other.0/24" via "$net.1$other"
        done
    }
    # What holds the node's mounts while nothing else runs there. They are shared, as systemd makes them on a real host.
    runs "holder$node" || {
        rm -f "$own/mounted"
        daemon "holder$node" nsenter --net="/var/run/netns/$space" unshare --mount --propagation private sh -c \
            "mount --bind $own/data /var/lib/grapnel && mount --bind $own/log /var/log && mount --bind $own/dockershim /var/lib/dockershim &&
             mount --make-rshared / && touch $own/mounted && exec sleep infinity"
        wait_for 5 test -f "$own/mounted" || fail "the mounts of node $node cannot be made"
    }
    entering "$node"
    groups "$space"
    echo '{}' >"$own/daemon.json"
    daemon "dockerd$node" "${enter[@]}" dockerd --data-root "$own/docker" --exec-root "$own/exec" --pidfile "$own/docker.pid" \
        -H "unix://$own/docker.sock" --bip "$pods.$node.1/24" --add-runtime "test=$lab/runc" --default-runtime test \
        --config-file "$own/daemon.json"
    wait_for 30 docker -H "unix://$own/docker.sock" info || { tail -n 20 "$lab/dockerd$node.log" >&2; fail "the engine of node $node does not start"; }
    "${enter[@]}" iptables -P FORWARD ACCEPT
    docker -H "unix://$own/docker.sock" image inspect $pause >/dev/null 2>&1 || pause_image | docker -H "unix://$own/docker.sock" load -q
    cat >"$own/kubelet.yaml" <<YAML
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failSwapOn: false
cgroupRoot: /$space
enforceNodeAllocatable: []
podPidsLimit: 1024
volumeStatsAggPeriod: 5s
syncFrequency: 10s
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", memory.available: "50Mi"}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 3s
clusterDNS: ["$net.1"]
clusterDomain: cluster.local
YAML
    # By `--docker` it learns what pods use, without which it evicts none.
    daemon "kubelet$node" "${enter[@]}" "$lab/bin/kubelet" --config="$own/kubelet.yaml" --kubeconfig="$KUBECONFIG" \
        --hostname-override="node$node" --node-ip="$net.1$node" --address="$net.1$node" --root-dir="$own/kubelet" \
        --cert-dir="$own/pki" --container-runtime=docker --docker-endpoint="unix://$own/docker.sock" \
        --docker="unix://$own/docker.sock" --pod-infra-container-image=$pause --network-plugin=
    # Pods share a bridge, so what one sends to a service that another one answers has to come back by the node.
    daemon "proxy$node" "${enter[@]}" "$lab/bin/kube-proxy" --kubeconfig="$KUBECONFIG" --hostname-override="node$node" \
        --proxy-mode=iptables --masquerade-all --conntrack-max-per-core=0 --healthz-bind-address= --metrics-bind-address=
}

# Makes an image that only waits, once, and prints it.
pause_image() {
    docker image inspect $pause >/dev/null 2>&1 || {
        local made
        made=$(mktemp -d)
        (cd "$made" && apt-get download -qq busybox-static && dpkg -x busybox-static*.deb . && mkdir -p root/bin && cp bin/busybox root/bin/sh && ln -s sh root/bin/sleep) >&2
        # It ends when it is told to, and so holds no pod back.
        local wait='trap "exit 0" TERM; while :; do sleep 3600 & wait; done'
        tar -C "$made/root" -c . | docker import -c "ENTRYPOINT [\"/bin/sh\", \"-c\", $(jq -n --arg wait "$wait" '$wait')]" - $pause >/dev/null
        rm -rf "$made"
    }
    docker save $pause
}

# A machine that loses its power: nothing on it ends in order, and nothing reports.
node_down() {
    local node=$1 own=$lab/node$1 pid holder name
    holder=$(cat "$lab/holder$1.pid")
    for name in kubelet proxy dockerd; do kill_now "$name$node"; done
    # The engine's own containerd and its shims, then what ran in containers.
    pkill -9 -f "$own/exec" || true
    for pid in $(ip netns pids "$bridge-$node") $(grep -ls "$own" /proc/[0-9]*/mountinfo | cut -d/ -f3); do
        [ "$pid" = "$holder" ] || [ "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/$$/ns/mnt)" ] || kill -9 "$pid" 2>/dev/null || true
    done
    rm -f "$own/docker.pid"
}

in_node() {
    local node=$1 enter; shift
    entering "$node"
    exec "${enter[@]}" "$@"
}

load() {
    local socket
    for socket in "$lab"/node*/docker.sock; do
        local image=$1 wanted found
        wanted=$(docker image inspect --format '{{.Id}}' "$image")
        found=$(docker -H "unix://$socket" image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
        [ "$found" = "$wanted" ] || docker save "$image" | docker -H "unix://$socket" load -q
    done
}

down() {
    local file socket space
    for file in "$lab"/{names,kubelet*,proxy*,scheduler,controller}.pid; do [ ! -e "$file" ] || stop "$(basename "$file" .pid)"; done
    for socket in "$lab"/node*/docker.sock; do
        [ ! -S "$socket" ] || docker -H "unix://$socket" ps -aq | xargs -r docker -H "unix://$socket" rm -f >/dev/null || true
    done
    for file in "$lab"/{dockerd*,apiserver,etcd,holder*}.pid; do [ ! -e "$file" ] || stop "$(basename "$file" .pid)"; done
    for space in /var/run/netns/"$bridge"-*; do [ ! -e "$space" ] || ip netns del "$(basename "$space")"; done
    ip link del "$bridge" 2>/dev/null || true
    find /sys/fs/cgroup/"$bridge"-* /sys/fs/cgroup/*/"$bridge"-* -depth -type d -exec rmdir {} + 2>/dev/null || true
    rm -rf "$lab"
}

case ${1:-} in
    up) up "${@:2}" ;;
    load) load "${@:2}" ;;
    in) in_node "${@:2}" ;;
    node-up) node_up "$2" ;;
    node-down) node_down "$2" ;;
    plane-up) plane_up ;;
    plane-down) plane_down ;;
    down) down ;;
    *) sed -n '2,13s/^# \?//p' "$0" >&2; exit 2 ;;
esac
