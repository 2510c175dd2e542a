#!/usr/bin/env bash
# Compiles Kubernetes 1.20 from Debian's source package, once, and prints the directory that its programs are in.
# Takes four minutes and 2 GB on two cores; what stays is the programs, 240 MB.
source "$(dirname "$0")/../../scripts/lib.sh"

version=1.20.2
made=${XDG_CACHE_HOME:-$HOME/.cache}/grapnel/kubernetes-$version
programs=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet)

# sources DIRECTORY: fetches the package's source, by lists of its own: this machine's may name no sources.
sources() {
    mkdir -p "$1/lists/partial"
    cat >"$1/sources.list" <<LIST
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
LIST
    local own=(-o Acquire::Retries=5 -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$1/lists")
    apt-get update -qq "${own[@]}"
    (cd "$1" && apt-get source -qq "${own[@]}" --download-only kubernetes && dpkg-source -x ./*.dsc tree)
}

compile() {
    local work=$1/work
    mkdir -p "$work/home" "$1/bin"
    sources "$work"
    # It is built as it was before Go had modules, in a tree of the name that its packages have.
    local go=$work/tree/.go
    mkdir -p "$go/src/k8s.io"
    ln -sfn ../../.. "$go/src/k8s.io/kubernetes"
    export CGO_ENABLED=0 GO111MODULE=off GOCACHE=$work/cache HOME=$work/home GOPATH=$go
    say "compiling Kubernetes $version"
    # The one generated file that the source comes without; `make generated_files` makes all of the others once more.
    (cd "$work/tree" && make -f Makefile.generated_files gen_openapi CALLED_FROM_MAIN_MAKEFILE=1 KUBE_VERBOSE=1 \
        PRJ_SRC_PATH=k8s.io/kubernetes OUT_DIR=_output BIN_DIR=_output/bin GENERATED_FILE_PREFIX=zz_generated.) \
        >"$work/generate.log" 2>&1 || { tail -n 20 "$work/generate.log" >&2; return 1; }
    local set=k8s.io/kubernetes/vendor/k8s.io/component-base/version
    cd "$go/src/k8s.io/kubernetes"
    # Without the providers of clouds, on none of which these nodes are.
    go build -tags providerless -trimpath -ldflags "-s -w -X $set.gitVersion=v$version -X $set.gitMajor=1 -X $set.gitMinor=20" \
        -o "$1/bin/" "${programs[@]/#/./cmd/}"
    cd "$root"
    rm -rf "$work"
}

if [ ! -e "$made/complete" ]; then
    missing=()
    have go || missing+=(golang-go)
    have rsync || missing+=(rsync)
    have make || missing+=(make)
    have dpkg-source || missing+=(dpkg-dev)
    [ ${#missing[@]} = 0 ] || install "${missing[@]}" >&2
    once "$made" compile "$made"
fi
echo "$made/bin"
