"""What others do, as a process of its own: Pillow decodes ahead in two threads, the published graph or PyTorch encodes.

Usage: python peers.py onnxruntime|torch BUNDLE index FOLDER | query JSON_LIST. Prints JSON.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

START = time.monotonic()

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
CONTEXT, EDGE = 77, 224


def pixels(path):
    """Resized by the shorter edge and cut in the middle, as CLIP wants it."""
    image = Image.open(path).convert("RGB")
    scale = EDGE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - EDGE) // 2, (image.height - EDGE) // 2
    image = image.crop((left, top, left + EDGE, top + EDGE))
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)


class OnnxRuntime:
    batch = 1

    def __init__(self, bundle):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        load = lambda path: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.vision, self.text = load(bundle / "visual/model.onnx"), load(bundle / "textual/model.onnx")

    def pictures(self, batch):
        return self.vision.run(None, {"image": batch})[0]

    def texts(self, ids):
        return self.text.run(None, {"text": ids.astype(np.int32)})[0]


class Torch:
    batch = 8

    def __init__(self, bundle):
        import open_clip
        import torch

        self.torch, self.model = torch, open_clip.create_model(bundle.name, pretrained=None).eval()

    def pictures(self, batch):
        with self.torch.inference_mode():
            return self.model.encode_image(self.torch.from_numpy(batch), normalize=True).numpy()

    def texts(self, ids):
        with self.torch.inference_mode():
            return self.model.encode_text(self.torch.from_numpy(ids), normalize=True).numpy()


def index(peer, folder):
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    peer.pictures(np.zeros((peer.batch, 3, EDGE, EDGE), np.float32))
    start, rows, waiting = time.monotonic(), [], []
    with ThreadPoolExecutor(2) as pool:
        # decoders stay a few pictures ahead, as ours do; all at once would only cost memory
        for picture in ahead(pool, files, 16):
            waiting.append(picture)
            if len(waiting) == peer.batch:
                rows.append(peer.pictures(np.stack(waiting)))
                waiting.clear()
    if waiting:
        rows.append(peer.pictures(np.stack(waiting)))
    assert sum(map(len, rows)) == len(files)
    return {"seconds": time.monotonic() - start}


def ahead(pool, files, limit):
    jobs = []
    for file in files:
        jobs.append(pool.submit(pixels, file))
        if len(jobs) >= limit:
            yield jobs.pop(0).result()
    for job in jobs:
        yield job.result()


def query(peer, bundle, texts):
    tokenizer = Tokenizer.from_file(str(bundle / "textual/tokenizer.json"))
    pad = json.loads((bundle / "textual/tokenizer_config.json").read_text())["pad_token"]
    tokenizer.enable_padding(length=CONTEXT, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    tokenizer.enable_truncation(max_length=CONTEXT)
    encode = lambda text: peer.texts(np.array([tokenizer.encode(text).ids], np.int64))
    encode("a warm-up")
    first, times = time.monotonic() - START, []
    for text in texts:
        start = time.monotonic()
        encode(text)
        times.append(time.monotonic() - start)
    return {"ms": statistics.median(times) * 1e3, "first": first}


kind, bundle, task, argument = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
peer = {"onnxruntime": OnnxRuntime, "torch": Torch}[kind](bundle)
print(json.dumps(index(peer, argument) if task == "index" else query(peer, bundle, json.loads(argument))))
