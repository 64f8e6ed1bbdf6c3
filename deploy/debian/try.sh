#!/usr/bin/env bash
# Boots Debian with systemd in a container without a network, and tries the package in it (try-installed.sh). Needs root, and
# Debian's debootstrap and systemd-container; the container's files are kept in target/try-deb, what happens in it is not.
#   deploy/debian/try.sh IMAGE-SEARCH.deb [SUITE]
set -euo pipefail
deb=$(realpath "$1") suite=${2:-bookworm}
cd "$(dirname "$0")/../.."
root=$PWD/target/try-deb/$suite

if [ ! -e "$root/etc/debian_version" ]; then
  rm -rf "$root.partial" && mkdir -p "$(dirname "$root")"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,adduser,ca-certificates,curl,libstdc++6 "$suite" "$root.partial" \
    http://deb.debian.org/debian >/dev/null
  mv "$root.partial" "$root"
fi

work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
mkdir "$work/try"
cp deploy/debian/try-installed.sh "$deb" "$work/try/"
cat > "$work/try.service" <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:/try/log
StandardError=inherit
ExecStart=bash /try/try-installed.sh /try/$(basename "$deb")
ExecStartPost=touch /try/passed
ExecStopPost=systemctl --no-block poweroff
UNIT
timeout 300 systemd-nspawn --quiet --directory "$root" --volatile=overlay --private-network --register=no --keep-unit \
  --bind "$work/try:/try" --bind-ro "$work/try.service:/etc/systemd/system/try.service" \
  --boot systemd.unit=multi-user.target systemd.wants=try.service \
  >"$work/console" 2>&1 </dev/null || { cat "$work/console"; echo "the container did not end by itself" >&2; }
cat "$work/try/log"
[ -e "$work/try/passed" ]
