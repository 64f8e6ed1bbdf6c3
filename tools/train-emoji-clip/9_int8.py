"""Measures a variant with weights and activations quantised to int8 at run time, in the same way as the float32 bundle.

Only the comparison is kept (BUNDLE/eval/int8.json): the variant itself stays in WORK. usage: 9_int8.py WORK BUNDLE DEMO
"""
import json, os, shutil, subprocess, sys
from onnxruntime.quantization import QuantType, quantize_dynamic

WORK, BUNDLE, DEMO = sys.argv[1:4]
variant = f"{WORK}/int8"
shutil.rmtree(variant, ignore_errors=True)
shutil.copytree(BUNDLE, variant, ignore=shutil.ignore_patterns("model.onnx", "README.md", "figures.json"))
for tower in ("visual", "textual"):
    quantize_dynamic(f"{BUNDLE}/{tower}/model.onnx", f"{variant}/{tower}/model.onnx", weight_type=QuantType.QUInt8, per_channel=False)
subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "8_evaluate.py"), WORK, variant, DEMO], check=True, stdout=subprocess.DEVNULL)
before, after = (json.load(open(f"{b}/eval/figures.json")) for b in (BUNDLE, variant))
size = lambda b: sum(os.path.getsize(f"{b}/{t}/model.onnx") for t in ("visual", "textual"))
rows = {"bytes": {"float32": size(BUNDLE), "int8": size(variant)}}
for what in ("demo", "unseen_sample", "unseen_names"):
    for k in ("recall_at_1", "recall_at_5"):
        rows[f"{what} {k}"] = {"float32": before[what][k], "int8": after[what][k]}
json.dump(rows, open(f"{BUNDLE}/eval/int8.json", "w"), indent=1)
print(json.dumps(rows, indent=1))
