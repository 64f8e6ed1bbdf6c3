"""Makes an int8 variant and measures it in the same way as the float32 bundle.

The text tower is quantised dynamically (its matrix products run in int8). The picture tower keeps its weights in int8, per channel,
and computes in float32: rten 0.27 gives wrong results for the ConvInteger that dynamic quantisation makes of its convolutions.

The comparison goes to BUNDLE/eval/int8.json, the variant to BUNDLE-int8. usage: 9_int8.py WORK BUNDLE DEMO
"""
import json, os, shutil, subprocess, sys
import numpy as np, onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic


def weights_in_int8(source, target):
    """Large weights become int8 with a scale per output channel, and a DequantizeLinear in front of their use."""
    model = onnx.load(source)
    graph, nodes = model.graph, []
    for weight in list(graph.initializer):
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < 1024:
            continue
        scale = np.abs(values).reshape(len(values), -1).max(1) / 127 + 1e-12
        rounded = np.round(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        graph.initializer.remove(weight)
        parts = {"int8": rounded, "scale": scale.astype(np.float32), "zero": np.zeros(len(values), np.int8)}
        for part, array in parts.items():
            graph.initializer.append(numpy_helper.from_array(array, f"{weight.name}.{part}"))
        inputs = [f"{weight.name}.{part}" for part in parts]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [weight.name], axis=0, name=f"{weight.name}.float"))
    for node in reversed(nodes):
        graph.node.insert(0, node)
    onnx.checker.check_model(model)
    onnx.save(model, target)


WORK, BUNDLE, DEMO = sys.argv[1:4]
variant = f"{WORK}/int8"
shutil.rmtree(variant, ignore_errors=True)
shutil.copytree(BUNDLE, variant, ignore=shutil.ignore_patterns("model.onnx", "README.md", "figures.json"))
weights_in_int8(f"{BUNDLE}/visual/model.onnx", f"{variant}/visual/model.onnx")
quantize_dynamic(f"{BUNDLE}/textual/model.onnx", f"{variant}/textual/model.onnx", weight_type=QuantType.QUInt8, per_channel=False)
subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "8_evaluate.py"), WORK, variant, DEMO], check=True, stdout=subprocess.DEVNULL)
before, after = (json.load(open(f"{b}/eval/figures.json")) for b in (BUNDLE, variant))
size = lambda b: sum(os.path.getsize(f"{b}/{t}/model.onnx") for t in ("visual", "textual"))
rows = {"bytes": {"float32": size(BUNDLE), "int8": size(variant)}}
for what in ("demo", "unseen_sample", "unseen_names"):
    for k in ("recall_at_1", "recall_at_5"):
        rows[f"{what} {k}"] = {"float32": before[what][k], "int8": after[what][k]}
json.dump(rows, open(f"{BUNDLE}/eval/int8.json", "w"), indent=1)
shutil.rmtree(f"{BUNDLE}-int8", ignore_errors=True)
shutil.copytree(variant, f"{BUNDLE}-int8", ignore=shutil.ignore_patterns("eval"))
print(json.dumps(rows, indent=1))
