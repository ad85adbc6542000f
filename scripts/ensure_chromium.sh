#!/usr/bin/env bash
# Make sure that a Chromium is there for the browser tests. Instant and quiet when it is.
# Without one the browser tests skip and say why; where CI=true that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=.venv/bin/python

found() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null && return 0
    done
    compgen -G "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}/chromium-*/*/chrome" >/dev/null
}

apt_as_root() {
    command -v apt-get >/dev/null || return 1
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        root=(sudo -n)
    fi
    "${root[@]}" apt-get update -qq &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation
}

found && exit 0
echo "No Chromium found; installing one for the browser tests." >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_as_root >"$log" 2>&1 || "$PYTHON" -m playwright install chromium >>"$log" 2>&1 || true
found && exit 0

tail -n 5 "$log" >&2
cat >&2 <<'TEXT'
No Chromium could be installed, so the browser tests cannot run. Install one by hand:
    apt-get install chromium                            (as root, Debian or Ubuntu)
    .venv/bin/python -m playwright install chromium     (any Linux or macOS, needs the network)
TEXT
if [ "${CI:-}" = "true" ]; then exit 1; fi
