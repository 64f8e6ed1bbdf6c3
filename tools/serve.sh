#!/bin/sh
# For the Makefile: starts a server whose number stands in its data folder, and stops those that were started so.
#   tools/serve.sh start DATA PROGRAM serve …
#   tools/serve.sh stop DATA…
set -eu

pid_file() { echo "$1/serve.pid"; }

# The number of the server in DATA, if it is still that server: numbers are used again.
running() {
  pid=$(cat "$(pid_file "$1")" 2>/dev/null) || return 1
  if [ -e "/proc/$pid/cwd" ] && [ "$(readlink "/proc/$pid/cwd")" != "$(pwd -P)" ]; then return 1; fi
  case $(ps -p "$pid" -o args= 2>/dev/null) in
    *"image-search serve"*"--data-dir $1 "* | *"image-search serve"*"--data-dir $1") echo "$pid" ;;
    *) return 1 ;;
  esac
}

stop() {
  pid=$(running "$1") || return 1
  kill -TERM "$pid"
  # It finishes what is under way, and ends after server.shutdown_timeout_ms at the latest.
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || { echo "stopped the server in $1"; return; }
    sleep 0.1
  done
  echo "the server in $1 (process $pid) was told to stop and still runs" >&2
  exit 1
}

action=$1
shift
case $action in
  start)
    if pid=$(running "$1"); then
      echo "a server already works with $1 (process $pid); make down stops it" >&2
      exit 1
    fi
    mkdir -p "$1"
    # The number stays the same through exec.
    echo $$ > "$(pid_file "$1")"
    shift
    exec "$@"
    ;;
  stop)
    found=
    for data; do
      if stop "$data"; then found=yes; fi
      rm -f "$(pid_file "$data")"
    done
    [ -n "$found" ] || echo "no server of this checkout is running"
    ;;
esac
