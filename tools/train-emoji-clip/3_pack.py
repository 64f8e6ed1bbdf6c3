"""Packs the rendered drawings of the training sets into WORK/images.npz (uint8 RGBA, premultiplied, 80 px)."""
import json, sys
import numpy as np
from PIL import Image

WORK, SIZE = sys.argv[1], 80
SETS = ["noto", "emojione", "fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast", "noto-v1", "emojione-v1",
        "openmoji", "openmoji-thin", "fxemoji", "streamline-emojis", "flag", "circle-flags", "flagpack", "fluent-3d"]
concepts = json.load(open(f"{WORK}/concepts.json"))
images, ids, sets = [], [], []
for number, name in enumerate(SETS):
    if name == "fluent-3d":
        have = [c["id"] for c in concepts if name in c["drawings"]]
        path = f"{WORK}/npm/node_modules/@lobehub/fluent-emoji-3d/assets/"
        pixels = np.stack([np.array(Image.open(path + concepts[i]["drawings"][name]).convert("RGBa").resize((SIZE, SIZE), Image.LANCZOS)) for i in have])
    else:
        have = json.load(open(f"{WORK}/raw/{name}.json"))
        pixels = np.fromfile(f"{WORK}/raw/{name}.bin", np.uint8).reshape(-1, SIZE, SIZE, 4)
    assert len(have) == len(pixels)
    images.append(pixels); ids += have; sets += [number] * len(have)
    print(name, len(have))
np.savez(f"{WORK}/images.npz", images=np.concatenate(images), concept=np.array(ids), set=np.array(sets))
json.dump(SETS, open(f"{WORK}/sets.json", "w"))
