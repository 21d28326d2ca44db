#!/usr/bin/env bash
# Installs Azurite, the one test server that does not come from PyPI, into tests/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."

installed=tests/node_modules/.package-lock.json
[ -f "$installed" ] && [ "$installed" -nt tests/package-lock.json ] && exit 0

if ! command -v npm >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "test servers: installing nodejs and npm with apt-get"
        mkdir -p var/logs
        { apt-get update && apt-get install -y --no-install-recommends nodejs npm; } >var/logs/apt.log 2>&1 || {
            tail -n 5 var/logs/apt.log >&2
            echo "test servers: apt-get could not install nodejs and npm; see var/logs/apt.log" >&2
            exit 1
        }
    else
        echo "test servers: the tests run against Azurite, which needs Node.js 18 or newer with npm" >&2
        echo "To fix: sudo apt-get install nodejs npm, then run it again" >&2
        exit 1
    fi
fi
echo "test servers: installing Azurite into tests/node_modules"
npm ci --prefix tests --no-audit --no-fund --loglevel=error
touch "$installed"
