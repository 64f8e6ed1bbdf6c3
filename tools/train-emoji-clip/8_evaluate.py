"""Measures the exported bundle as it would be used: ONNX Runtime, PNG files, bicubic resize, cosine ranking.

Writes BUNDLE/eval/figures.json and the table between the markers in BUNDLE/README.md. The unseen set (Twemoji) is
read here and nowhere else. usage: 8_evaluate.py WORK BUNDLE DEMO
"""
import json, os, sys
import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

WORK, BUNDLE, DEMO = sys.argv[1:4]
QUERIES = {"tennis": ["tennis"], "red apple": ["red-apple"], "pizza": ["pizza"], "snowman": ["snowman", "snowman-without-snow"],
           "guitar": ["guitar"], "cat": ["cat", "cat-face"], "dog": ["dog", "dog-face"], "birthday cake": ["birthday-cake"],
           "rainbow": ["rainbow"], "airplane": ["airplane"], "banana": ["banana"], "bicycle": ["bicycle"]}
WORDS = ["fruit", "sport", "happy", "animal", "music", "weather", "bird", "vehicle", "food", "flower", "sad", "drink", "tool", "building", "insect"]
cfg = json.load(open(f"{BUNDLE}/visual/preprocess_cfg.json"))
context = json.load(open(f"{BUNDLE}/config.json"))["text_cfg"]["context_length"]
visual, textual = (onnxruntime.InferenceSession(f"{BUNDLE}/{t}/model.onnx", providers=["CPUExecutionProvider"]) for t in ("visual", "textual"))
tokenizer = Tokenizer.from_file(f"{BUNDLE}/textual/tokenizer.json")
pad = json.load(open(f"{BUNDLE}/textual/tokenizer_config.json"))["pad_token"]
tokenizer.enable_padding(length=context, pad_token=pad, pad_id=tokenizer.token_to_id(pad))


def embed_pictures(files):
    out = []
    for a in range(0, len(files), 256):
        x = [np.asarray(Image.open(f).convert("RGB").resize(cfg["size"], Image.BICUBIC), np.float32) / 255 for f in files[a:a + 256]]
        out.append(visual.run(None, {"image": ((np.stack(x) - cfg["mean"]) / cfg["std"]).astype(np.float32).transpose(0, 3, 1, 2)})[0])
    return np.concatenate(out)


def embed_texts(texts):
    return np.concatenate([textual.run(None, {"text": np.array([e.ids for e in tokenizer.encode_batch(texts[a:a + 512])], np.int32)})[0]
                           for a in range(0, len(texts), 512)])


def recall(scores, gold):
    """A tie counts against us."""
    rank = (scores >= scores[np.arange(len(scores)), gold][:, None]).sum(1)
    return {f"recall_at_{k}": round(float((rank <= k).mean()), 4) for k in (1, 5, 10)} | {"queries": len(scores), "gallery": scores.shape[1]}


def average_precision(scores, relevant):
    hit = relevant[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hit)[hit] / (np.where(hit)[0] + 1)).mean())


def gallery(folder, listing):
    rows = json.load(open(listing))
    pictures = embed_pictures([f"{folder}/{r['file']}" for r in rows])
    return rows, pictures, recall(embed_texts([r["name"] for r in rows]) @ pictures.T, np.arange(len(rows)))


figures = {"note": "queries are the first English name of each picture; a tie counts as a miss; measured with ONNX Runtime on the committed files"}
rows, demo, figures["demo"] = gallery(DEMO, f"{BUNDLE}/eval/demo.json")
_, _, figures["unseen_sample"] = gallery(f"{BUNDLE}/eval/unseen", f"{BUNDLE}/eval/unseen.json")
top = np.argmax(embed_texts(list(QUERIES)) @ demo.T, 1)
figures["demo_queries"] = {q: {"top": rows[t]["file"], "right": rows[t]["file"][:-4] in QUERIES[q]} for q, t in zip(QUERIES, top)}

concepts = [c for c in json.load(open(f"{WORK}/concepts.json")) if c["unseen"]]
held = np.array([c["held_out"] for c in concepts])
flags, at = np.array([c["group"] == "flags" for c in concepts]), np.arange(len(concepts))
unseen = embed_pictures([f"{WORK}/png/twemoji/{c['id']}.png" for c in concepts])
scores = embed_texts([c["names"][0] for c in concepts]) @ unseen.T
figures["unseen_names"] = recall(scores[~held], at[~held])
figures["unseen_names_without_flags"] = recall(scores[~held & ~flags], at[~held & ~flags])
figures["unseen_a_picture_of"] = recall((embed_texts(["a picture of " + c["names"][0] for c in concepts]) @ unseen.T)[~held], at[~held])
figures["held_out_names"] = recall(scores[held], at[held])
figures["held_out_names_among_held_out"] = recall(scores[held][:, held], np.arange(held.sum()))

true = {}
for i, c in enumerate(concepts):
    for t in set(c["names"] + c["keywords"] + c["categories"]) | {w for n in c["names"] for w in n.split()}:
        true.setdefault(t, set()).add(i)
listed = {t for c in concepts for t in c["names"] + c["keywords"] + c["categories"]}
terms = sorted(t for t in listed if len(true[t]) >= 3)
relevant = np.zeros((len(terms), len(concepts)), bool)
for r, t in zip(relevant, terms):
    r[list(true[t])] = True
by_term = embed_texts(terms) @ unseen.T
precision = {t: average_precision(s, r) for t, s, r in zip(terms, by_term, relevant)}
figures["unseen_keywords"] = {"keywords": len(terms), "map": round(float(np.mean(list(precision.values()))), 4),
                              "chance": round(float(relevant.mean()), 4),
                              "precision_at_1": round(float(relevant[np.arange(len(terms)), by_term.argmax(1)].mean()), 4)}
figures["unseen_keyword_ap"] = {t: {"ap": round(precision[t], 3), "relevant": len(true[t])} for t in WORDS if t in precision}
also = [k for k in range(len(terms)) if relevant[k, held].any() and relevant[k, ~held].sum() >= 2]
figures["held_out_keywords"] = {"keywords": len(also), "gallery": int(held.sum()),
                                "map": round(float(np.mean([average_precision(by_term[k, held], relevant[k, held]) for k in also])), 4),
                                "chance": round(float(relevant[also][:, held].mean()), 4)}
figures["picture_to_picture"] = {}
for vendor in ["noto", "fluent-emoji", "emojione"]:
    own = {int(f[:-4]) for f in os.listdir(f"{WORK}/png/{vendor}")}
    have = [i for i, c in enumerate(concepts) if c["id"] in own]
    others = embed_pictures([f"{WORK}/png/{vendor}/{concepts[i]['id']}.png" for i in have])
    s, h = unseen[have] @ others.T, held[have]
    figures["picture_to_picture"][vendor] = {"trained": recall(s[~h], np.arange(len(have))[~h]), "held_out": recall(s[h], np.arange(len(have))[h])}
json.dump(figures, open(f"{BUNDLE}/eval/figures.json", "w"), indent=1)

line = lambda label, f: f"| {label} | {f['recall_at_1']:.3f} | {f['recall_at_5']:.3f} | {f['recall_at_10']:.3f} | {f['queries']} / {f['gallery']} |"
table = ["| what is asked of what | R@1 | R@5 | R@10 | queries / gallery |", "|---|---|---|---|---|",
         line("Unseen vendor: name -> picture", figures["unseen_names"]),
         line("the same, flags not asked for", figures["unseen_names_without_flags"]),
         line('the same as "a picture of NAME"', figures["unseen_a_picture_of"]),
         line("Unseen vendor, committed sample of 100", figures["unseen_sample"]),
         line("Held-out concepts, unseen vendor: name -> picture", figures["held_out_names"]),
         line("the same, among held-out pictures only", figures["held_out_names_among_held_out"])]
for vendor, f in figures["picture_to_picture"].items():
    table += [line(f"Unseen vendor's picture -> {vendor}'s picture, trained concepts", f["trained"]), line("the same, held-out concepts", f["held_out"])]
table += [line("**Demo pictures (trained on)**: name -> picture", figures["demo"]), "",
          "Keywords on the unseen vendor ({keywords} words or phrases with three or more true pictures): mean average precision {map:.3f} "
          "(chance {chance:.3f}), precision of the first {precision_at_1:.3f}.".format(**figures["unseen_keywords"]),
          "On the held-out concepts alone ({keywords} keywords, {gallery} pictures): {map:.3f} (chance {chance:.3f}).".format(**figures["held_out_keywords"]),
          "Average precision of single words: " + ", ".join(f"{t} {v['ap']:.2f}" for t, v in figures["unseen_keyword_ap"].items()) + ".", "",
          "Everyday queries on the demo pictures: " + ", ".join(f"{q} -> {v['top']}{'' if v['right'] else ' (wrong)'}" for q, v in figures["demo_queries"].items()) + "."]
print("\n".join(table))
card = f"{BUNDLE}/README.md"
if os.path.exists(card):
    text = open(card).read()
    before, rest = text.split("<!-- figures -->")
    after = rest.split("<!-- end of figures -->")[1]
    open(card, "w").write(before + "<!-- figures -->\n" + "\n".join(table) + "\n<!-- end of figures -->" + after)
