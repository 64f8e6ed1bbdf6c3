#!/usr/bin/env bash
# The whole recipe: data, tokenizer, training, export, pictures, evaluation.
# usage: ./run.sh [MINUTES of training] — WORK (default target/train-emoji-clip) takes everything that is not a result.
# SMOKE=1 runs every step for a moment from an empty WORK and leaves the results there too, with a model that knows nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ "${SMOKE:-0}" = 1 ]; then
  work=${WORK:-$root/target/train-emoji-clip-smoke}
  minutes=${1:-0.4} text_steps=20 bundle=$work/bundle demo=$work/demo kept_log=$work/kept.log
  if [ -n "$(ls -A "$work" 2>/dev/null)" ]; then
    echo "$work is not empty: remove it, or set WORK to an empty folder" >&2
    exit 1
  fi
else
  work=${WORK:-$root/target/train-emoji-clip}
  minutes=${1:-42} text_steps=7000 bundle=${BUNDLE:-$root/models/emoji-clip} demo=${DEMO:-$root/demo/pictures} kept_log=$here/training.log
fi
mkdir -p "$work/npm" "$bundle" "$demo"

[ -d "$work/venv" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q -r "$here/requirements.txt"
cp "$here/package.json" "$here/package-lock.json" "$work/npm/"
(cd "$work/npm" && npm ci --no-audit --no-fund)
python="$work/venv/bin/python"

"$python" "$here/1_concepts.py" "$work"
node "$here/2_render.mjs" "$work"
"$python" "$here/3_pack.py" "$work"
"$python" "$here/4_tokenizer.py" "$work" "$bundle"

# Two processes of one thread each, gradients averaged: a busy machine hurts them less than one process of two threads.
export OMP_NUM_THREADS=1 WORLD=2
RANK=1 "$python" -u "$here/5_train.py" "$work" "$bundle" "$minutes" &
second=$!
trap 'kill "$second" 2>/dev/null || true' EXIT
RANK=0 "$python" -u "$here/5_train.py" "$work" "$bundle" "$minutes" | tee "$work/training.log"
wait "$second"
trap - EXIT
"$python" -u "$here/5b_fit_text.py" "$work" "$bundle" "$text_steps" | tee -a "$work/training.log"

"$python" "$here/6_export.py" "$work" "$bundle"
"$python" "$here/7_pictures.py" "$work" "$bundle" "$demo"
"$python" "$here/8_evaluate.py" "$work" "$bundle" "$demo"
"$python" "$here/9_int8.py" "$work" "$bundle" "$demo"
cp "$work/training.log" "$kept_log"
echo "done: the bundle is in $bundle, the demo pictures in $demo"
