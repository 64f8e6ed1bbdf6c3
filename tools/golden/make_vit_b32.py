"""Writes a bundle of ViT-B/32's shape with random weights. Its embeddings mean nothing; its speed does."""

import json
import sys
from pathlib import Path

import open_clip
import torch

from export import Call, export

out = Path(sys.argv[1])
torch.manual_seed(0)
model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).eval()
export(Call(model, lambda m, x: m.encode_image(x, normalize=True)), (torch.randn(1, 3, 224, 224),), out / "visual/model.onnx", ["image"], "embedding")
text = torch.ones(1, 77, dtype=torch.int32)
export(Call(model, lambda m, x: m.encode_text(x, normalize=True)), (text,), out / "textual/model.onnx", ["text"], "embedding")
config = {"embed_dim": 512, "vision_cfg": {"image_size": 224}, "text_cfg": {"context_length": 77, "vocab_size": 49408}}
(out / "config.json").write_text(json.dumps(config))
preprocess = {"size": [224, 224], "mode": "RGB", "mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD),
              "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0}
(out / "visual/preprocess_cfg.json").write_text(json.dumps(preprocess))
golden = Path(__file__).parent / "../../crates/clip/tests/golden/openclip/textual"
for name in ["tokenizer.json", "tokenizer_config.json"]:
    (out / "textual" / name).write_text((golden / name).read_text())
