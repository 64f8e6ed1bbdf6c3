"""The training drawings: which concepts are trained, which drawings show them, and which are kept for validation."""
import json
import numpy as np
import torch
import torch.nn.functional as F
from augment import normalise
from model import SIZE

# How often a set is drawn. Four renderings of one design must not count as four vendors.
WEIGHT = {"noto": 1.4, "noto-v1": 1., "emojione": 1., "emojione-v1": .8, "fluent-emoji": .4, "fluent-emoji-flat": .6, "fluent-3d": .3,
          "fluent-emoji-high-contrast": .1, "openmoji": .5, "openmoji-thin": .5, "fxemoji": .8, "streamline-emojis": .5,
          "flag": 1., "circle-flags": .5, "flagpack": .7}


def load(work):
    """(pixels, trained concepts, per trained concept its (drawing, weight) list, validation (drawing, row) list)"""
    concepts, sets, data = json.load(open(f"{work}/concepts.json")), json.load(open(f"{work}/sets.json")), np.load(f"{work}/images.npz")
    trained = [c for c in concepts if not c["held_out"]]
    row = {c["id"]: i for i, c in enumerate(trained)}
    drawings, validation = [[] for _ in trained], []
    for k, (c, s) in enumerate(zip(data["concept"].tolist(), data["set"].tolist())):
        if c not in row:
            continue
        if concepts[c]["validation"] and sets[s].startswith("emojione"):
            validation += [(k, row[c])] if sets[s] == "emojione" else []
        else:
            drawings[row[c]].append((k, WEIGHT[sets[s]]))
    return torch.from_numpy(data["images"]), trained, drawings, validation


def on_white(pixels):
    x = pixels.permute(0, 3, 1, 2).float() / 255
    return normalise(F.interpolate(x[:, :3] + 1 - x[:, 3:], size=SIZE, mode="bicubic", antialias=True).clamp(0, 1))
