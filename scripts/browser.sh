#!/usr/bin/env bash
# Installs what drives a browser, and what judges whether everybody can use a page, from npm into target/tools; prints the
# directory that has both. The browser is Debian's Chromium, which setup.sh installs.
source "$(dirname "$0")/lib.sh"
# The newest that does with Debian's Node.js.
playwright=1.61.0 axe=4.12.1
made=$tools/browser-$playwright-$axe
[ -x /usr/bin/chromium ] || fail "Chromium is missing: run \`make setup\`"
once "$made" npm_install "$made" --ignore-scripts "playwright-core@$playwright" "axe-core@$axe"
echo "$made"
