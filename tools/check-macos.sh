#!/bin/sh
# For make check-macos: types and lints of the whole workspace, tests too, for macOS on Apple silicon, from any machine. Nothing is linked
# and nothing runs. What build scripts compile (SQLite, zstd, ring) goes through Zig, which brings macOS' headers; it comes from PyPI.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-apple-darwin
tools=target/macos-tools

if [ ! -e $tools/zigbuild-0.24.1 ]; then
  python3 -m venv $tools
  $tools/bin/pip install --quiet cargo-zigbuild==0.24.1 ziglang==0.17.1
  touch $tools/zigbuild-0.24.1
fi
rustup target list --installed | grep -qx $target || rustup target add $target

# Checked code runs nowhere: nothing but build scripts and macros is made, and those are not worth optimising.
PATH=$PWD/$tools/bin:$PATH CARGO_TARGET_DIR=target/macos CARGO_INCREMENTAL=0 exec cargo-zigbuild clippy --locked --target $target \
  --config 'profile.dev.package."*".opt-level=0' --config profile.dev.debug=false --workspace "$@" -- -D warnings
