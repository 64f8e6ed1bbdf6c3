"""Writes the pictures the repository carries: the demo (Noto, trained concepts only) and 100 of the unseen set
(Twemoji, trained concepts only), as palette PNG, with their lists. usage: 7_pictures.py WORK BUNDLE DEMO
"""
import json, os, random, re, sys
from PIL import Image

WORK, BUNDLE, DEMO = sys.argv[1:4]
concepts = [c for c in json.load(open(f"{WORK}/concepts.json")) if not c["held_out"]]
slug = lambda c: re.sub("[^a-z0-9]+", "-", c["names"][0]).strip("-")


def save(source, c, folder, colours):
    target = f"{folder}/{slug(c)}.png"
    picture = Image.open(f"{WORK}/png/{source}/{c['id']}.png").convert("RGB")
    assert not os.path.exists(target), target
    picture.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(target, optimize=True)
    return os.path.getsize(target)


def fresh(folder):
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if name.endswith(".png"):
            os.remove(f"{folder}/{name}")


def rows(some, keywords):
    lines = [{"file": slug(c) + ".png", "name": c["names"][0]} | ({"keywords": c["keywords"][:8] + c["categories"]} if keywords else {}) for c in some]
    return "[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n"


demo = [c for c in concepts if os.path.exists(f"{WORK}/png/noto/{c['id']}.png")]
fresh(DEMO)
size = sum(save("noto", c, DEMO, 128) for c in demo)
os.makedirs(f"{BUNDLE}/eval/unseen", exist_ok=True)
open(f"{BUNDLE}/eval/demo.json", "w").write(rows(demo, True))
sample = sorted(random.Random(100).sample([c for c in concepts if c["unseen"]], 100), key=lambda c: c["id"])
fresh(f"{BUNDLE}/eval/unseen")
unseen_size = sum(save("twemoji", c, f"{BUNDLE}/eval/unseen", 64) for c in sample)
open(f"{BUNDLE}/eval/unseen.json", "w").write(rows(sample, False))
print(len(demo), "demo pictures,", size, "bytes; 100 unseen pictures,", unseen_size, "bytes")
