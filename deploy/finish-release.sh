#!/usr/bin/env bash
# What a release has once for all machines: SHA256SUMS, the installer, the API document, the Homebrew formula.
#   deploy/finish-release.sh DIST     into the folder with the archives and packages of all machines
#   deploy/finish-release.sh notes    prints this version's part of CHANGELOG.md
set -euo pipefail
[ $# = 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
root=$(dirname "$(realpath "$0")")/..
version=$("$root/deploy/version.sh") repository=$("$root/deploy/version.sh" repository)

if [ "$1" = notes ]; then
  awk -v start="## $version " 'index($0, start) == 1 {on = 1; next} /^## / {on = 0} on' "$root/CHANGELOG.md"
  exit
fi

cd "$1"
cp "$root/install.sh" "$root/web/openapi.json" .
sha256sum -- image-search*.{tar.gz,deb,cdx.json,debug.gz} install.sh openapi.json > SHA256SUMS
sum() { awk -v name="image-search-$version-$1.tar.gz" '$2 == name {print $1; found = 1} END {exit !found}' SHA256SUMS; }
intel=$(sum x86_64-unknown-linux-gnu) arm=$(sum aarch64-unknown-linux-gnu)
sed -e "s|@REPOSITORY@|$repository|g" -e "s/@VERSION@/$version/g" -e "s/@INTEL@/$intel/" -e "s/@ARM@/$arm/" \
  "$root/deploy/homebrew/image-search.rb.in" > image-search.rb
