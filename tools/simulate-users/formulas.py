#!/usr/bin/env python3
"""Compares ways to learn from ratings, on vectors that the binary computed, with the users of simulate.py. Needs numpy.

Each way gets the same votes (what sources say of contents under near queries, as the program counts them, without trust), and turns a query's
scores into others: `votes` moves the contents themselves; `rocchio`, `qdrant` and `seesaw` move the query's vector, or do what comes to the same.
"""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile
from collections import defaultdict

import numpy as np
from simulate import PARAPHRASES, ROOT, Plan, Truth, Users, measures

NEAR, LIST_WEIGHT, ATTENTION, DOUBT, SOURCES_MIN = 0.65, 0.15, 0.6, 1.0, 2


def embed(binary, kind, inputs):
    vectors = {}
    with tempfile.TemporaryDirectory() as data:
        for at in range(0, len(inputs), 500):
            piece = inputs[at : at + 500]
            flags = [f for text in piece for f in ("--text", text)] if kind == "text" else ["--image", *map(str, piece)]
            lines = subprocess.run([binary, "embed", "--model", "emoji-clip", "--data-dir", data, *flags],
                                   check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
            vectors |= {i: np.array(json.loads(line)["embedding"], np.float32) for i, line in zip(piece, lines)}
    return vectors


def votes(base, pictures, query, said):
    best = np.sort(base)[::-1]
    reach = best[0] - best[min(255, len(best) - 1)]
    return base + reach * np.array([1.2 * said.get(name, 0) for name in pictures.names])


def rocchio(alpha, gamma):
    def learn(base, pictures, query, said):
        moved = query.copy()
        for share, sign in ((alpha, 1), (-gamma, -1)):
            found = [(abs(v), pictures.of[n]) for n, v in said.items() if v * sign > 0]
            if found:
                moved += share * sum(v * x for v, x in found) / sum(v for v, _ in found)
        return pictures.matrix @ moved
    return learn


def qdrant(c):
    """a*score + sum(conf^b * c * delta) over pairs, with a = b = 1, as of version 1.17."""
    def learn(base, pictures, query, said):
        ordered = sorted(said.items(), key=lambda pair: -pair[1])
        ordered = ordered[:4] + ordered[-4:] if len(ordered) > 8 else ordered
        scores = base.copy()
        for n, (better, high) in enumerate(ordered):
            for worse, low in ordered[n + 1 :]:
                if (confidence := (high - low) / 2) > 0.1:
                    scores += confidence * c * (pictures.matrix @ (pictures.of[better] - pictures.of[worse]))
        return scores
    return learn


def seesaw(hold):
    """Logistic loss of what was said, held to the words (the query alignment of SeeSaw)."""
    def learn(base, pictures, query, said):
        vectors = np.array([pictures.of[name] for name in said])
        signs, weights = np.sign(list(said.values())), np.abs(list(said.values()))
        bound, moved = np.sort(base)[-10], query.copy()
        for _ in range(30):
            margin = 10 * (vectors @ moved - bound)
            moved -= 0.1 * (-(weights * signs / (1 + np.exp(signs * margin))) @ vectors + hold * (moved - query))
        return pictures.matrix @ moved
    return learn


def with_votes(way):
    return lambda base, pictures, query, said: votes(way(base, pictures, query, said), pictures, query, said)


WAYS = {"votes": votes}
for alpha, gamma in ((0.75, 0.15), (0.3, 0.1), (0.15, 0.0)):
    WAYS[f"rocchio {alpha} {gamma}"] = rocchio(alpha, gamma)
for c in (0.01, 0.02, 0.05):
    WAYS[f"qdrant {c}"] = qdrant(c)
for hold in (1.0, 3.0, 10.0):
    WAYS[f"seesaw {hold}"] = seesaw(hold)
for name in ("rocchio 0.15 0.0", "qdrant 0.01", "seesaw 10.0"):
    WAYS[f"votes + {name}"] = with_votes(WAYS[name])


class Pictures:
    def __init__(self, vectors, names):
        self.of, self.names = vectors, sorted(names)
        self.matrix = np.array([vectors[name] for name in self.names])


class Offline:
    """Stands in for the server of simulate.py."""

    def __init__(self, way, texts, pictures):
        self.way, self.texts, self.pictures = way, texts, pictures
        self.queries, self.rated = [], []

    def search(self, text, client=None, limit=20):
        query = self.texts[text]
        scores = self.pictures.matrix @ query
        if said := self.said(query, client):
            scores = self.way(scores, self.pictures, query, said)
        order = [self.pictures.names[n] for n in np.argsort(-scores, kind="stable")[:limit]]
        return {"matches": [{"image_name": name} for name in order], "jwt": (text, order)}

    def said(self, query, client):
        if not self.queries:
            return {}
        nearness = np.clip((np.array(self.queries) @ query - NEAR) / (1 - NEAR), 0, 1)
        sums = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0, 0.0]))
        for n in np.nonzero(nearness)[0]:
            source, says = self.rated[n]
            for name, value in says.items():
                tally = sums[name][source]
                tally[0] += nearness[n] * value
                tally[1] += nearness[n]
                tally[2] = max(tally[2], nearness[n])
        said = {}
        for name, tallies in sums.items():
            sources = {source: t[0] / t[1] * t[2] for source, t in tallies.items()}
            total = sum(sources.values())
            if sum(vote * total > 0 for vote in sources.values()) < SOURCES_MIN:
                sources = {client: sources[client]} if client in sources else {}
            if total := sum(sources.values()):
                said[name] = total / (sum(map(abs, sources.values())) + DOUBT)
        return said

    def json(self, method, path, body, client):
        text, order = body["jwt"]
        says = {}
        if number := body.get("user_feedback"):
            says = {n: LIST_WEIGHT * (number - 5.5) / 4.5 * (p + 1) ** -ATTENTION for p, n in enumerate(order)}
        says |= {t["image_name"]: 1.0 if t["relevant"] else -1.0 for t in body.get("image_feedback", [])}
        self.queries.append(self.texts[text])
        self.rated.append((client, says))


def gains(options, seed, vectors, texts):
    truth_rng = random.Random(seed)
    truth = Truth(options.labels, options.pictures, truth_rng)
    plan = Plan(truth, truth_rng, 40)
    of = {name: vectors[source] for name, source in truth.files.items()}
    first, every = Pictures(of, truth.first), Pictures(of, truth.files)
    state = truth_rng.getstate()
    rows = {}
    for name, way in WAYS.items():
        rng = random.Random()
        rng.setstate(state)
        users, offline, figures = Users(rng, 30, options.liars), Offline(way, texts, first), []
        for ratings in (0, 200):
            for _ in range(ratings // 25):
                users.day(offline, truth, plan, 25)
            found = {}
            for group, queries in plan.groups.items():
                found[group] = np.mean([ndcg(offline.search(t), truth.right[k] & truth.first) for t, k in queries])
            offline.pictures = every
            later = lambda answer: [m for m in answer["matches"] if m["image_name"] in truth.later]  # noqa: E731
            found["d"] = np.mean([ndcg({"matches": later(offline.search(t, limit=200))}, truth.right[k] & truth.later)
                                  for t, k in plan.groups["a"] if truth.right[k] & truth.later])
            offline.pictures = first
            figures.append(found)
        rows[name] = {group: figures[1][group] - figures[0][group] for group in figures[0]}
    return rows, session(first, truth, plan, texts, random.Random(seed))


def ndcg(answer, right):
    return measures([match["image_name"] for match in answer["matches"]], right)["ndcg10"]


def session(pictures, truth, plan, texts, rng):
    """Thumbs on the first ten, and then the order of the others: nDCG@10 with and without."""
    found = defaultdict(list)
    for text, key in plan.groups["a"] + plan.groups["c"]:
        base = pictures.matrix @ texts[text]
        order = [pictures.names[n] for n in np.argsort(-base)]
        shown, right = order[:10], truth.right[key] & truth.first
        rest = right - set(shown)
        if len(rest) < 3:
            continue
        said = {n: 1.0 if (n in right) != (rng.random() < 0.05) else -1.0 for n in shown if rng.random() < 0.7}
        for name, way in {"nothing": lambda base, *_: base, **WAYS}.items():
            if said and not name.startswith("votes"):
                scores = way(base, pictures, texts[text], said)
                ranked = [pictures.names[n] for n in np.argsort(-scores) if pictures.names[n] not in shown]
                found[name].append(measures(ranked, rest)["ndcg10"])
    return {name: np.mean(values) for name, values in found.items()}


def read_vectors(options):
    """Of all pictures and of all texts that may be asked."""
    entries = json.loads(options.labels.read_text())
    keywords = sorted({keyword for entry in entries for keyword in entry["keywords"]})
    texts = embed(options.binary, "text", keywords + [p.format(k) for k in keywords for p in PARAPHRASES])
    files = [options.pictures / entry["file"] for entry in entries if (options.pictures / entry["file"]).exists()]
    return embed(options.binary, "image", files), texts


def arguments(description, seeds):
    """What every comparison without a server takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--binary", default=ROOT / "target/release/image-search", type=pathlib.Path)
    parser.add_argument("--pictures", default=ROOT / "demo/pictures", type=pathlib.Path)
    parser.add_argument("--labels", default=ROOT / "models/emoji-clip/eval/demo.json", type=pathlib.Path)
    parser.add_argument("--seeds", default=seeds, type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--liars", default=0.0, type=float)
    return parser


def parse(parser):
    options = parser.parse_args()
    options.pictures, options.binary = options.pictures.resolve(), options.binary.resolve()
    return options


def main():
    parser = arguments(__doc__, [1, 2, 3])
    options = parse(parser)
    vectors, texts = read_vectors(options)
    runs = [gains(options, seed, vectors, texts) for seed in options.seeds]
    print(f"{'gain of nDCG@10 after 200 ratings':34} {'a':>8}{'b1':>8}{'b2':>8}{'c':>8}{'d':>8}")
    for name in WAYS:
        print(f"{name:34} " + "".join(f"{np.mean([rows[name][g] for rows, _ in runs]):+8.3f}" for g in ("a", "b1", "b2", "c", "d")))
    print("\nnDCG@10 of the pictures not shown yet, after thumbs on the first ten")
    for name in runs[0][1]:
        print(f"{name:34} {np.mean([found[name] for _, found in runs]):8.3f}")


if __name__ == "__main__":
    main()
