#!/usr/bin/env bash
# The main job, shown: a hook is created, its URL is requested, the site is built in a sandbox and served; then again.
source "$(dirname "$0")/lib.sh"

work=$(mktemp -d)
server=
finish() {
    local status=$?
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    # What the demo built with is of no use to anybody else.
    docker volume ls -q --filter "label=grapnel.executor=$name" | xargs -r docker volume rm >/dev/null
    [ $status = 0 ] || { echo "--- the service's log"; tail -n 30 "$work/grapnel.log"; } >&2
    rm -rf "$work"
}
trap finish EXIT

name=demo-$$
export GRAPNEL_DATA_DIR=$work/data GRAPNEL_EXECUTOR_NAME=$name GRAPNEL_GIT_ALLOWED_DIRS=$work
for listener in GATEWAY HOOKS EXECUTOR SITES; do
    export "GRAPNEL_${listener}_LISTEN=127.0.0.1:$(free_port)"
done
bundle=$(ca_bundle)
[ -z "$bundle" ] || export GRAPNEL_CA_BUNDLE=$bundle
grapnel=$root/target/debug/grapnel

say "a site's repository"
cp -r "$root/examples/vite-site" "$work/site"
rm -rf "$work/site/node_modules" "$work/site/dist"
git=(git -C "$work/site" -c user.name=Editor -c user.email=editor@example.org)
"${git[@]}" init --quiet --initial-branch main
"${git[@]}" add --all
"${git[@]}" commit --quiet --message "Begin the log"

say "grapnel up"
"$grapnel" up >"$work/grapnel.log" 2>&1 &
server=$!
wait_for 20 curl -fsS "http://$GRAPNEL_GATEWAY_LISTEN/healthz" || fail "the service does not start"
export GRAPNEL_URL=http://$GRAPNEL_HOOKS_LISTEN GRAPNEL_KEY_FILE=$GRAPNEL_DATA_DIR/admin.key

say "a project and a hook"
"$grapnel" project create harbour --repo "$work/site"
url=$("$grapnel" hook create harbour "Editor's desk" --output json | jq -r .url)
echo "hook URL     ${url%/*}/grh_…"

# deploy EXPECTED: requests the URL, follows the build, and looks for a text on the page that comes out.
deploy() {
    say "curl -X POST <the hook's URL>"
    local answer id site
    answer=$(curl -fsS -X POST "$url")
    echo "$answer"
    id=$(jq -r .job.id <<<"$answer")
    "$grapnel" deployment logs --follow "$id"
    site=http://harbour.localhost:${GRAPNEL_SITES_LISTEN##*:}/
    say "$site"
    curl -fsS --resolve "harbour.localhost:${GRAPNEL_SITES_LISTEN##*:}:127.0.0.1" "$site" | tee "$work/page" | grep '<title>'
    grep -q "$1" "$work/page" || fail "the page does not say “$1”"
}

deploy "The Harbour Log"

say "somebody edits the content"
sed -i 's/The Harbour Log/The Harbour Log, second edition/' "$work/site/content/site.json"
"${git[@]}" commit --quiet --all --message "Second edition"
deploy "The Harbour Log, second edition"

say "what happened"
"$grapnel" hook list harbour
"$grapnel" deployment list harbour
echo
echo "Both builds ran in sandboxes of their own and were served from their artifacts. Everything is stopped now;"
echo "\`make up\` keeps it running."
