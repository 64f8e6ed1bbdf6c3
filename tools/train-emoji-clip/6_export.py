"""Writes the bundle's ONNX graphs and config files from WORK/model.pt, BatchNorm folded into the convolutions,
and fails unless ONNX Runtime agrees with PyTorch to 1e-4 on pictures and texts. usage: 6_export.py WORK BUNDLE
"""
import glob, json, os, sys, warnings
import numpy as np
import onnx, onnxruntime, torch
from PIL import Image
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tokenizers import Tokenizer
from model import CONTEXT, Clip, ConvBN, DIM, MEAN, SIZE, STD, VOCABULARY

WORK, BUNDLE = sys.argv[1], sys.argv[2]
warnings.filterwarnings("ignore")


def fold(module):
    for name, child in module.named_children():
        if isinstance(child, ConvBN):
            setattr(module, name, fuse_conv_bn_eval(child[0], child[1]))
        else:
            fold(child)


def write(tower, example, name, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.onnx.export(tower, (example,), path, input_names=[name], output_names=["embedding"], opset_version=17, dynamo=False,
                      dynamic_axes={name: {0: "batch"}, "embedding": {0: "batch"}})
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    print(path, os.path.getsize(path), "bytes:", sorted({n.op_type for n in graph.graph.node}))
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


model = Clip()
model.load_state_dict(torch.load(f"{WORK}/model.pt")["model"])
model.eval()
reference = Clip().eval()
reference.load_state_dict(model.state_dict())
fold(model.picture)
visual = write(model.picture, torch.randn(2, 3, SIZE, SIZE), "image", f"{BUNDLE}/visual/model.onnx")
textual = write(model.text, torch.randint(0, VOCABULARY, (2, CONTEXT), dtype=torch.int32), "text", f"{BUNDLE}/textual/model.onnx")
json.dump({"size": [SIZE, SIZE], "mode": "RGB", "mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0},
          open(f"{BUNDLE}/visual/preprocess_cfg.json", "w"), indent=1)
json.dump({"embed_dim": DIM, "vision_cfg": {"image_size": SIZE}, "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY}},
          open(f"{BUNDLE}/config.json", "w"), indent=1)

files = sorted(glob.glob(f"{WORK}/png/noto/*.png"))[:200]
pictures = np.stack([np.asarray(Image.open(f).convert("RGB").resize((SIZE, SIZE), Image.BICUBIC), np.float32) / 255 for f in files])
pictures = ((pictures - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2).copy()
tokenizer = Tokenizer.from_file(f"{BUNDLE}/textual/tokenizer.json")
end = tokenizer.token_to_id("<|endoftext|>")
texts = [n for c in json.load(open(f"{WORK}/concepts.json")) for n in c["names"][:1]] + ["", "a photo of the very long text " * 5]
rows = {}
for pad in (end, 0):
    tokenizer.enable_padding(length=CONTEXT, pad_id=pad, pad_token="<|endoftext|>")
    rows[pad] = np.array([e.ids for e in tokenizer.encode_batch(texts)], np.int32)
with torch.no_grad():
    differences = {
        "pictures": np.abs(reference.picture(torch.from_numpy(pictures)).numpy() - visual.run(None, {"image": pictures})[0]).max(),
        "one picture": np.abs(reference.picture(torch.from_numpy(pictures[:1])).numpy() - visual.run(None, {"image": pictures[:1]})[0]).max(),
        "texts": np.abs(reference.text(torch.from_numpy(rows[end])).numpy() - textual.run(None, {"text": rows[end]})[0]).max(),
        "texts padded with 0": np.abs(reference.text(torch.from_numpy(rows[end])).numpy() - textual.run(None, {"text": rows[0]})[0]).max()}
differences = {k: float(v) for k, v in differences.items()}
print("largest difference between PyTorch and ONNX Runtime:", differences)
assert max(differences.values()) <= 1e-4, differences
json.dump(differences, open(f"{WORK}/agreement.json", "w"))
