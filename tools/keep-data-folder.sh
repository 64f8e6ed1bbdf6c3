#!/usr/bin/env bash
# Makes tests/fixtures/schema-N.tar.gz: a data folder as a released program leaves it (three pictures, one rating), which every
# later version must open (tests/it/upgrade.rs). Run it with the program of a release that has new migrations.
#   tools/keep-data-folder.sh PROGRAM
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")/.."
newest=$(find migrations/sqlite -name '*.sql' -printf '%f\n' | sort | tail -1 | sed 's/^0*\([0-9]*\)_.*/\1/')
out=$PWD/tests/fixtures/schema-$newest.tar.gz api=http://localhost:3431/api/v1
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
mkdir "$work/images" && cp demo/pictures/{tennis,guitar,pizza}.png "$work/images/"
cd "$work"
search() { curl -fsS --json '{"text":"a tennis ball"}' $api/search-image; }

"$program" serve --images images --data-dir data --model emoji-clip --port 3431 >log 2>&1 & server=$!
until search 2>/dev/null | grep -q guitar; do kill -0 $server; sleep 0.3; done
jwt=$(search | sed 's/.*"jwt":"\([^"]*\)".*/\1/')
curl -fsS --json "{\"user_feedback\":9,\"jwt\":\"$jwt\"}" $api/create-feedback >/dev/null
curl -fsS "$api/images/pizza.png/thumbnail?width=160" -o /dev/null
kill $server && wait $server

# What every version writes again by itself.
rm -rf data/models data/LOCK
mkdir -p "$(dirname "$out")"
tar --sort=name --owner=0 --group=0 --numeric-owner -cf - images data | gzip -9n > "$out"
ls -l "$out"
