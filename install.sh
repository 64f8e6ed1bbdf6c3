#!/bin/sh
# Installs image-search for this user: checks the release's checksum, unpacks it, links the program. No root, no build.
#
#   curl -fsSL https://github.com/OWNER/image-search/releases/latest/download/install.sh | sh
#
# INSTALL_VERSION=1.2.3   that version instead of the newest
# INSTALL_PREFIX=DIR      into DIR/lib and DIR/bin instead of ~/.local
# INSTALL_RELEASES=URL    from a mirror of the releases (https, or http on this machine)
# sh install.sh --uninstall    removes the program again; pictures, indexes and models stay
set -eu

releases=${INSTALL_RELEASES:-https://github.com/OWNER/image-search/releases}
prefix=${INSTALL_PREFIX:-$HOME/.local}

fail() {
  echo "image-search was not installed: $1" >&2
  exit 1
}

say() { echo "${1:-}"; }

need() {
  command -v "$1" >/dev/null 2>&1 || fail "$1 is needed and not here"
}

target() {
  case $(uname -s) in
    Linux) ;;
    Darwin) fail "there is no program for macOS yet; build it from source (type-checked, never run there by us) or run the container, see docs/start.md" ;;
    *) fail "there is a program for Linux only; on Windows use WSL 2 or the container, see docs/start.md" ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) fail "there is no program for $(uname -m); build it from source" ;;
  esac
  # musl has no GNU C library, which the program needs.
  if [ -z "$(find /lib /lib64 /usr/lib /usr/lib64 -name 'ld-linux-*' 2>/dev/null | head -n 1)" ]; then
    fail "the GNU C library is not here (Alpine, for example); run the container, see docs/deployment.md"
  fi
  echo "$machine-unknown-linux-gnu"
}

fetch() { # URL FILE
  case $1 in
    https://* | http://localhost[:/]* | http://127.0.0.1[:/]*) ;;
    *) fail "$1 is not https" ;;
  esac
  if command -v curl >/dev/null 2>&1; then
    curl -fsSL --retry 2 --proto '=https,http' --proto-redir '=https' -o "$2" "$1" || fail "$1 cannot be downloaded"
  elif command -v wget >/dev/null 2>&1; then
    wget -q -O "$2" "$1" || fail "$1 cannot be downloaded"
  else
    fail "curl or wget is needed, and neither is here"
  fi
}

sum() { # FILE
  if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

# Refuses what is not exactly the file that the release lists.
verify() { # FILE NAME SUMS
  wanted=$(awk -v name="$2" '$2 == name || $2 == "*" name {print $1}' "$3")
  [ "$(printf %s "$wanted" | wc -c)" -eq 64 ] || fail "SHA256SUMS of the release does not list $2"
  found=$(sum "$1")
  [ "$found" = "$wanted" ] || fail "$2 is not what the release lists: its checksum is $found instead of $wanted"
}

uninstall() {
  if [ -L "$prefix/bin/image-search" ]; then rm "$prefix/bin/image-search"; fi
  rm -rf "$prefix/lib/image-search"
  say "image-search is removed from $prefix. Pictures, indexes and models were left alone."
}

install() {
  case $releases in
    *github.com/OWNER/*) fail "this copy does not know where releases are; take install.sh from a release, or set INSTALL_RELEASES" ;;
  esac
  need tar && need gzip && need awk
  machine=$(target)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM

  if [ -n "${INSTALL_VERSION:-}" ]; then
    from=$releases/download/v${INSTALL_VERSION#v}
  else
    from=$releases/latest/download
  fi
  fetch "$from/SHA256SUMS" "$work/SHA256SUMS"
  name=$(awk -v end="-$machine.tar.gz" \
    '{sub(/^\*/, "", $2)} substr($2, length($2) - length(end) + 1) == end {print $2}' "$work/SHA256SUMS")
  # One plain name, so that it can be neither a path nor an option.
  case $name in
    image-search-[0-9]*-"$machine".tar.gz) ;;
    *) fail "the release at $from has no program for $machine" ;;
  esac
  case $name in *[!A-Za-z0-9._-]*) fail "the release at $from names a strange file" ;; esac

  say "Downloading $name"
  fetch "$from/$name" "$work/$name"
  verify "$work/$name" "$name" "$work/SHA256SUMS"
  tar -xzf "$work/$name" -C "$work"
  folder=${name%.tar.gz}
  "$work/$folder/image-search" --version >/dev/null || fail "the program does not run on this machine; build it from source"

  # The new one is whole before the link points to it; a version that runs keeps its files.
  mkdir -p "$prefix/lib/image-search" "$prefix/bin"
  rm -rf "$prefix/lib/image-search/$folder"
  mv "$work/$folder" "$prefix/lib/image-search/$folder"
  ln -sfn "$prefix/lib/image-search/$folder/image-search" "$prefix/bin/image-search"

  say "Installed $("$prefix/bin/image-search" --version) in $prefix/lib/image-search"
  case :$PATH: in
    *":$prefix/bin:"*) command=image-search ;;
    *)
      command=$prefix/bin/image-search
      say "$prefix/bin is not in your PATH; the full path works, or add: export PATH=\"$prefix/bin:\$PATH\""
      ;;
  esac
  demo=$prefix/lib/image-search/$folder/demo/pictures
  say
  say "See it work, with bundled pictures and the small bundled model:"
  say "  $command serve --images $demo --data-dir ~/.local/share/image-search/demo --model emoji-clip"
  say "Your pictures:"
  say "  $command serve --images ~/Pictures --data-dir ~/.local/share/image-search/data"
  say "Then open http://localhost:3000"
}

# All is read before anything runs: a download that was cut off does nothing.
case ${1:-} in
  '') install ;;
  --uninstall) uninstall ;;
  *) fail "unknown option $1" ;;
esac
