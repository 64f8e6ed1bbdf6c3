#!/usr/bin/env bash
# The whole recipe: data, tokenizer, training, export, pictures, evaluation.
# usage: ./run.sh [MINUTES of training] — WORK (default target/train-emoji-clip) takes everything that is not a result.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
minutes=${1:-42}
work=${WORK:-$root/target/train-emoji-clip}
bundle=${BUNDLE:-$root/models/emoji-clip}
demo=${DEMO:-$root/demo/pictures}
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
RANK=0 "$python" -u "$here/5_train.py" "$work" "$bundle" "$minutes" | tee "$work/training.log"
wait
"$python" -u "$here/5b_fit_text.py" "$work" "$bundle" 4.5 | tee -a "$work/training.log"

"$python" "$here/6_export.py" "$work" "$bundle"
"$python" "$here/7_pictures.py" "$work" "$bundle" "$demo"
"$python" "$here/8_evaluate.py" "$work" "$bundle" "$demo"
"$python" "$here/9_int8.py" "$work" "$bundle" "$demo"
cp "$work/training.log" "$here/training.log"
