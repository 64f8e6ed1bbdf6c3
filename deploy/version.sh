#!/bin/sh
# The version, or with `repository` the address, as Cargo.toml says it: the one place for both.
set -eu
case ${1:-version} in
  version) sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml" ;;
  repository) sed -n '/^\[workspace.package\]/,/^$/s/^repository = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml" ;;
  *) echo "usage: $0 [version|repository]" >&2; exit 2 ;;
esac
