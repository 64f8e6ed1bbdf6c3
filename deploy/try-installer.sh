#!/usr/bin/env bash
# Runs install.sh against a server on this machine: with the release as it is, and with everything that must be refused.
#   deploy/try-installer.sh DIST    the folder that deploy/package.sh filled
set -euo pipefail
dist=$(realpath "$1")
installer=$(dirname "$(realpath "$0")")/../install.sh
version=$("$(dirname "$0")/version.sh")
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

mkdir -p "$work/releases/latest/download" "$work/releases/download/v$version"
cp "$dist"/{*.tar.gz,SHA256SUMS} "$work/releases/latest/download/"
cp "$dist"/{*.tar.gz,SHA256SUMS} "$work/releases/download/v$version/"
python3 -u -m http.server --bind 127.0.0.1 --directory "$work" 0 >"$work/log" 2>&1 & server=$!
for _ in $(seq 100); do
  port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$work/log")
  if [ -n "$port" ]; then break; fi
  sleep 0.1
done

download=$work/releases/latest/download
archive=$(cd "$download" && echo *-"$(uname -m)"-*.tar.gz)
export INSTALL_RELEASES=http://127.0.0.1:$port/releases INSTALL_PREFIX=$work/prefix HOME=$work/home
mkdir "$HOME"

step() { echo "== $1"; }
refused() { # WORDS
  if sh "$installer" >"$work/out" 2>&1; then echo "FAILED: it was installed" >&2; cat "$work/out" >&2; exit 1; fi
  grep -q "$1" "$work/out" || { echo "FAILED: it does not say: $1" >&2; cat "$work/out" >&2; exit 1; }
  grep 'was not installed' "$work/out"
}
unchanged() {
  [ "$("$INSTALL_PREFIX/bin/image-search" --version)" = "$installed" ] || { echo "FAILED: the program changed" >&2; exit 1; }
}

step "the newest, then the same by its number, over the first"
sh < "$installer"
installed=$("$INSTALL_PREFIX/bin/image-search" --version)
INSTALL_VERSION=$version sh "$installer" >/dev/null
unchanged

step "what was installed finds its engine and its pictures"
demo=("$INSTALL_PREFIX"/lib/image-search/*/demo/pictures)
mkdir "$work/pictures" && cp "${demo[0]}"/{tennis,guitar,pizza}.png "$work/pictures/"
"$INSTALL_PREFIX/bin/image-search" index --images "$work/pictures" --data-dir "$work/data" --model emoji-clip
"$INSTALL_PREFIX/bin/image-search" doctor --images "$work/pictures" --data-dir "$work/data" --model emoji-clip \
  > "$work/doctor" || true
grep 'onnxruntime\|ONNX Runtime is here' "$work/doctor" || { echo "FAILED: no ONNX Runtime" >&2; cat "$work/doctor" >&2; exit 1; }

step "refused, and the program that is there stays: one changed byte"
cp "$download/$archive" "$work/good.tar.gz"
printf 'x' | dd of="$download/$archive" bs=1 seek=1000 conv=notrunc status=none
refused "is not what the release lists"
unchanged
step "another archive in its place"
mkdir "$work/${archive%.tar.gz}" && printf '#!/bin/sh\necho stolen\n' > "$work/${archive%.tar.gz}/image-search"
chmod +x "$work/${archive%.tar.gz}/image-search" && tar -C "$work" -czf "$download/$archive" "${archive%.tar.gz}"
refused "is not what the release lists"
unchanged
step "half of it"
head -c 100000 "$work/good.tar.gz" > "$download/$archive"
refused "is not what the release lists"
cp "$work/good.tar.gz" "$download/$archive"
step "a list without it, an empty list, a list with a path, none"
cp "$download/SHA256SUMS" "$work/sums"
sed -i '/tar.gz$/d' "$download/SHA256SUMS" && refused "has no program for"
: > "$download/SHA256SUMS" && refused "has no program for"
sed "s|image-search-|image-search-0/../../evil-|" "$work/sums" > "$download/SHA256SUMS" && refused "names a strange file\|has no program for"
rm "$download/SHA256SUMS" && refused "cannot be downloaded"
cp "$work/sums" "$download/SHA256SUMS"
step "a server elsewhere without TLS"
INSTALL_RELEASES=http://mirror.invalid/releases refused "is not https"
unchanged

step "uninstall"
sh "$installer" --uninstall
[ ! -e "$INSTALL_PREFIX/bin/image-search" ] && [ ! -e "$INSTALL_PREFIX/lib/image-search" ]
[ -e "$work/data/catalog.db" ]
echo "The installer installs what the release lists, and nothing else."
