#!/bin/sh
# For make site: the documents as mdBook reads them. Links that lead out of docs/ become addresses in the repository.
set -eu
cd "$(dirname "$0")/.."
repository=$(deploy/version.sh repository)
rm -rf target/site && cp -r docs target/site
find target/site -mindepth 2 -name '*.md' -exec sed -i "s|](\.\./\.\./\([^)]*\))|]($repository/blob/main/\1)|g" {} +
# From docs/ itself one step up leaves it; from docs/decisions it does not.
sed -i "s|](\.\./\([^)]*\))|]($repository/blob/main/\1)|g" target/site/*.md
mdbook build
