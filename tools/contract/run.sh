#!/usr/bin/env bash
# Holds a running server to its own OpenAPI document with schemathesis (from PyPI, into target/contract): thousands of requests that fit
# the document and that do not, without a key and with one. Any answer that the document does not name is a finding.
#
#   tools/contract/run.sh [PROGRAM] [requests per operation]
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:-target/debug/image-search}
examples=${2:-60}
tools=target/contract

[ -x $tools/bin/st ] || { python3 -m venv $tools && $tools/bin/pip install --quiet schemathesis==4.32.5; }

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT

start() { # name, further environment
  mkdir -p "$work/$1/images"
  cp demo/pictures/a*.png "$work/$1/images"
  env IMAGE_SEARCH_LOG__LEVEL=error IMAGE_SEARCH_MODELS__OFFLINE=true "${@:2}" \
    "$program" serve --images "$work/$1/images" --data-dir "$work/$1/data" --model emoji-clip --port 0 2> "$work/$1.log" &
  server=$!
  for _ in $(seq 600); do
    url=$(cat "$work/$1/data/LOCK" 2>/dev/null || true)
    [ -n "$url" ] && curl --silent --fail --output /dev/null "$url/readyz" && return
    sleep 0.1
  done
  cat "$work/$1.log"; echo "the server does not start"; exit 1
}

check() { # further arguments
  # An endless stream has no answer that could be waited for.
  $tools/bin/st --config-file tools/contract/schemathesis.toml run "$url/openapi.json" --exclude-path /api/v1/events \
    --phases examples,coverage,fuzzing --max-examples "$examples" --no-shrink --workers 1 --request-timeout 30 --suppress-health-check all \
    --warnings off --seed 1 "$@"
}

findings=0
echo "== without a key"
start open
# Where uploads are switched off there is nothing to be authorised for.
check --exclude-checks missing_required_header || findings=1
kill "$server" && wait "$server" || true

echo "== with a key"
key=0123456789abcdef0123456789abcdef
start locked IMAGE_SEARCH_UPLOADS__ENABLED=true IMAGE_SEARCH_UPLOADS__API_KEY=$key
check --header "Authorization: Bearer $key" || findings=1
exit $findings
