#!/usr/bin/env bash
# Is dist what src makes? Installs what package-lock.json names, checks the types, runs the tests, builds beside dist, and compares
# what is in the files: how well they are compressed is of no matter here. `check.sh --update` puts the new ones into dist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

command -v npm >/dev/null || { echo "promql/console was not checked: there is no npm (Debian: apt-get install nodejs npm)"; exit 1; }

# npm writes its stamp when it has installed all: with one younger than the lock file, there is nothing to fetch.
stamp=node_modules/.package-lock.json
[ -e $stamp ] && [ $stamp -nt package-lock.json ] || npm ci --no-audit --no-fund --silent
npm run --silent check
tests=$(npm test --silent 2>&1) || { echo "$tests"; exit 1; }

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
npm run --silent build -- --outDir "$new/dist" --logLevel warn

if [ "${1:-}" = --update ]; then
  rm -rf dist && cp -r "$new/dist" dist
  echo "promql/console/dist is written anew: $(find dist -type f -printf '%s\n' | awk '{ s += $1 } END { print s }') bytes"
  exit
fi

contents() { (cd "$1" && find . -type f | sort | while read -r f; do printf '%s  %s\n' "$(gzip -dc "$f" | sha256sum | cut -d' ' -f1)" "$f"; done); }
if ! diff <(contents dist) <(contents "$new/dist"); then
  echo "promql/console/dist is not what src makes: run promql/console/check.sh --update" >&2
  exit 1
fi
echo "promql/console/dist is current: $(find dist -type f -printf '%s\n' | awk '{ s += $1 } END { print s }') bytes"
