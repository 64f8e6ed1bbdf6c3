#!/usr/bin/env bash
# Installs the Debian package on a machine that is there for nothing else, uses the service, and removes it again. As root,
# under systemd: in a release on the runner, elsewhere through deploy/debian/try.sh.
#   deploy/debian/try-installed.sh IMAGE-SEARCH.deb
set -euo pipefail
deb=$(realpath "$1")
home=/var/lib/image-search
api=http://localhost:3000/api/v1

step() { echo "== $1"; }

fail() {
  echo "FAILED: $1" >&2
  systemctl status --no-pager --full image-search >&2 || true
  journalctl --no-pager --unit image-search --lines 40 >&2 || true
  exit 1
}

until_true() { # SECONDS WHAT COMMAND…
  local seconds=$1 what=$2
  shift 2
  for _ in $(seq "$((seconds * 4))"); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.25
  done
  fail "not within $seconds seconds: $what"
}

search() { curl -fsS --json '{"text":"tennis"}' "$api/search-image"; }
finds_tennis() { search | grep -q '"image_name":"tennis.png"'; }

step "install"
dpkg -i "$deb"
until_true 30 "the service is ready" curl -fsS http://localhost:3000/readyz
[ "$(systemctl show --property User --value image-search)" = image-search ] || fail "it runs as another user"
systemctl is-enabled --quiet image-search || fail "it is not started at boot"
image-search --version

step "drop pictures, search, rate"
cp /usr/share/image-search/demo/pictures/{tennis,red-apple,dog-face,guitar,pizza}.png $home/images/
until_true 60 "tennis.png is found" finds_tennis
jwt=$(search | sed 's/.*"jwt":"\([^"]*\)".*/\1/')
curl -fsS --json "{\"user_feedback\":9,\"jwt\":\"$jwt\"}" "$api/create-feedback" >/dev/null || fail "a rating is not taken"
curl -fsS $api/status; echo
[ "$(stat -c %U:%a $home/data/jwt.key)" = image-search:600 ] || fail "the signing key is not private"
[ -z "$(find $home -newer "$deb" ! -user image-search ! -path "$home/images/*" -print -quit)" ] || fail "files of another user"
grep -q libonnxruntime /proc/"$(systemctl show --property MainPID --value image-search)"/maps || fail "ONNX Runtime is not used"

step "hardening: exposure, and what it refuses"
systemd-analyze security --no-pager image-search | tail -1
pid=$(systemctl show --property MainPID --value image-search)
grep -q 'NoNewPrivs:.1' "/proc/$pid/status" || fail "new privileges can be had"
grep -q 'CapEff:.0000000000000000' "/proc/$pid/status" || fail "it has capabilities"
grep -q 'Seccomp:.2' "/proc/$pid/status" || fail "its system calls are not filtered"

step "installed over itself, it goes on"
dpkg -i "$deb" >/dev/null
until_true 30 "the service is ready again" curl -fsS http://localhost:3000/readyz
finds_tennis || fail "the index is lost"

step "remove"
dpkg --remove image-search
systemctl is-active --quiet image-search && fail "it still runs"
[ -e $home/data/catalog.db ] || fail "removing took the index along"
[ -e /etc/image-search/config.toml ] || fail "removing took the settings along"

step "purge: index and settings go, pictures stay"
dpkg --purge image-search
for gone in $home/data $home/models /etc/image-search; do
  [ ! -e "$gone" ] || fail "purging left $gone behind"
done
[ -e $home/images/tennis.png ] || fail "purging took pictures along"
[ -z "$(find /etc /usr /var/lib/systemd -name 'image-search*' -print)" ] || fail "purging left files behind"

step "and once more, from nothing to nothing"
rm -r $home/images
dpkg -i "$deb" >/dev/null
until_true 30 "the service is ready" curl -fsS http://localhost:3000/readyz
dpkg --purge image-search >/dev/null
[ ! -e $home ] || fail "purging left $home behind"
echo "The package installs, serves, survives an upgrade, and goes without a trace."
