#!/usr/bin/env python3
"""How much learning from ratings could gain at all, offline, with the users of simulate.py: what is right is known of the pictures that somebody
judged, and all others stay where they are. Needs numpy.

`agreed` knows it of the pictures on which two sources agree under the query or a near one (by thumbs, or by numbers for whole lists), `with a thumb`
of those of them that at least one thumb is for, `judged` of all that got a thumb, and `seen` of all that stood in a rated answer. Each puts what is
right first, and what is wrong last. `as it is` is what the program makes of the same ratings."""

import random
from collections import defaultdict

import numpy as np
from formulas import Pictures, arguments, ndcg, parse, read_vectors
from settings import SETTINGS, Program
from simulate import Plan, Truth, Users


class Known(Program):
    """Keeps who put a thumb on what, and what was seen, by text."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.looked_at = defaultdict(list)

    def json(self, method, path, body, client):
        super().json(method, path, body, client)
        text, shown = body["jwt"]
        self.looked_at[text].append(([t["image_name"] for t in body.get("image_feedback", [])], shown))

    def known(self, text):
        similarity = np.array(self.rows) @ self.row(text)
        near = [rated for rated, value in zip(self.rated, similarity) if value > self.s["near"]]
        judged = {name for rated in near for thumbs, _ in self.looked_at[rated] for name in thumbs}
        seen = {name for rated in near for _, shown in self.looked_at[rated] for name in shown}
        agreed = set(self.opinions(text, None))
        return {"agreed": agreed, "with a thumb": agreed & judged, "judged": judged, "seen": seen}


def ideal(server, text, right, known):
    order = server.ranking(text, {})
    place = lambda name: (name in known) * (1 if name in right else -1)  # noqa: E731
    names = sorted(order, key=place, reverse=True)
    return ndcg({"matches": [{"image_name": name} for name in names]}, right)


def one_seed(options, seed, vectors, texts):
    rng = random.Random(seed)
    truth = Truth(options.labels, options.pictures, rng)
    plan = Plan(truth, rng, 40)
    first = Pictures({name: vectors[source] for name, source in truth.files.items()}, truth.first)
    users, server, rated, found = Users(rng, 30, options.liars), Known(SETTINGS, texts, first), 0, {}
    for checkpoint in (50, 200, 1000):
        for _ in range((checkpoint - rated) // 25):
            users.day(server, truth, plan, 25)
        rated = checkpoint
        gains = defaultdict(list)
        for text, key in plan.groups["a"]:
            right = truth.right[key] & truth.first
            before = ndcg({"matches": [{"image_name": n} for n in server.ranking(text, {})]}, right)
            gains["as it is"].append(ndcg(server.search(text), right) - before)
            for name, known in server.known(text).items():
                gains[name].append(ideal(server, text, right, known) - before)
            gains["everything"].append(ideal(server, text, right, truth.first) - before)
        found[checkpoint] = {name: np.mean(values) for name, values in gains.items()}
    return found


def main():
    options = parse(arguments(__doc__, [1, 2, 3]))
    vectors, texts = read_vectors(options)
    runs = [one_seed(options, seed, vectors, texts) for seed in options.seeds]
    for checkpoint in runs[0]:
        for name in runs[0][checkpoint]:
            values = [run[checkpoint][name] for run in runs]
            print(f"{checkpoint:5} {name:12} {np.mean(values):+.3f}   " + " ".join(f"{value:+.3f}" for value in values))


if __name__ == "__main__":
    main()
