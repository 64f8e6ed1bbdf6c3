#!/bin/sh
# Is the committed dist/ what the sources build? Installs the locked packages, builds, and compares byte for byte.
set -eu
cd "$(dirname "$0")"
npm ci --no-fund --no-audit
npm run build
changed=$(git status --porcelain -- dist)
if [ -n "$changed" ]; then
    printf '%s\n' "$changed"
    echo "web/dist does not match its sources: run 'npm run build' in web/ and commit dist." >&2
    exit 1
fi
echo "web/dist is what its sources build."
