#!/usr/bin/env bash
# Generates a Python and a TypeScript client from a server's own document, and searches and rates with each.
#   examples/clients/run.sh http://localhost:3000     (a server on demo/pictures; needs Python, Node.js and their registries)
set -euo pipefail
url=${1:?the address of a server}
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cd "$work"
curl -fsS "$url/openapi.json" -o openapi.json

echo "== Python"
python3 -m venv venv
# 0.28 and 0.29 make modules that cannot be imported where a request takes more than one kind of body.
venv/bin/pip install --quiet openapi-python-client==0.27.1
PATH=$PWD/venv/bin:$PATH venv/bin/openapi-python-client generate --path openapi.json --output-path client --meta none >generated.log 2>&1 \
  || { cat generated.log; exit 1; }
PYTHONPATH=$PWD venv/bin/python "$here/search.py" "$url"

echo "== TypeScript"
npm install --silent --no-audit --no-fund openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3 @types/node@20
npx openapi-typescript openapi.json --output api.d.ts >/dev/null
cp "$here/search.ts" .
npm pkg set type=module
npx tsc --strict --target es2022 --module nodenext --skipLibCheck search.ts
node search.js "$url"
