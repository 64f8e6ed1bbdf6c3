#!/bin/sh
# For make run: an empty folder of pictures is a dull start, so the demonstration pictures are offered.
set -eu
images=$1
mkdir -p "$images"
[ -z "$(find "$images" -type f ! -name '.*' -print -quit)" ] || exit 0
count=$(find demo/pictures -type f | wc -l | tr -d ' ')
if [ -t 0 ]; then
  printf '%s is empty. Copy the %s demonstration pictures (drawings) into it? [y/N] ' "$images" "$count"
  read -r answer || answer=
  case $answer in
    [yY]*) cp demo/pictures/* "$images/" && exit 0 ;;
  esac
fi
echo "$images is empty: copy pictures into it, now or while the server runs (to try it: cp demo/pictures/* $images/)"
