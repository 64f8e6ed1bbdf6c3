#!/usr/bin/env python3
"""What a linear query adapter would add to what the program learns, and whether a gate would let it in. Offline, with the users of
simulate.py and the votes of formulas.py. Needs numpy.

The adapter is the closed-form ridge solution W that brings each rated query q towards the mean of what was liked under it: q + share * qW. The
gate holds back one rating in five, fits on the rest, and replays: of each pair of one liked and one disliked picture of a held-back rating, is
the liked one above? It lets the adapter in if that improves with 95 % confidence, bootstrapped over ratings."""

import random

import numpy as np
from formulas import Offline, Pictures, arguments, ndcg, parse, read_vectors, votes
from simulate import Plan, Truth, Users

SHARES = ((100, 1.0), (10, 0.3), (10, 1.0), (1, 0.1), (1, 0.3))
HELD_BACK = 5
BOOTSTRAPS = 2000


class Adapted(Offline):
    def __init__(self, texts, pictures):
        super().__init__(votes, texts, pictures)
        self.matrix, self.share = None, 0.0

    def fit(self, ridge, share, ratings):
        """Of these ratings: pairs of a query and what was said."""
        per_query = {}
        for query, says in ratings:
            told = per_query.setdefault(query.tobytes(), (query, {}))[1]
            for name, value in says.items():
                told.setdefault(name, []).append(value)
        queries, moves, weights = [], [], []
        for query, told in per_query.values():
            liked = [(sum(v) / (len(v) + 1), self.pictures.of[n]) for n, v in told.items() if sum(v) / (len(v) + 1) > 0.1]
            if liked:
                target = sum(v * x for v, x in liked)
                queries.append(query)
                moves.append(target / np.linalg.norm(target) - query)
                weights.append(sum(v for v, _ in liked))
        self.matrix, self.share = None, share
        if queries:
            root = np.sqrt(np.array(weights))[:, None]
            a, b = np.array(queries) * root, np.array(moves) * root
            self.matrix = np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ b)

    def adapted(self, query):
        if self.matrix is None:
            return query
        moved = query + self.share * (query @ self.matrix)
        return moved / np.linalg.norm(moved)

    def search(self, text, client=None, limit=20):
        query = self.texts[text]
        said = self.said(query, client)
        scores = self.pictures.matrix @ self.adapted(query)
        if said:
            scores = votes(scores, self.pictures, query, said)
        order = [self.pictures.names[n] for n in np.argsort(-scores, kind="stable")[:limit]]
        return {"matches": [{"image_name": name} for name in order], "jwt": (text, order)}


def gate(server, ridge, share, rng):
    """Gain of right pairs among held-back ratings, and its interval."""
    ratings = [(query, says) for query, (_, says) in zip(server.queries, server.rated)]
    order = list(range(len(ratings)))
    rng.shuffle(order)
    held = set(order[: len(order) // HELD_BACK])
    server.fit(ridge, share, [rating for n, rating in enumerate(ratings) if n not in held])
    gains = []
    for n in held:
        query, says = ratings[n]
        liked = [server.pictures.of[name] for name, value in says.items() if value >= 0.5]
        disliked = [server.pictures.of[name] for name, value in says.items() if value <= -0.5]
        if liked and disliked:
            right = [np.mean([u @ q > d @ q for u in liked for d in disliked]) for q in (query, server.adapted(query))]
            gains.append(right[1] - right[0])
    if not gains:
        return 0.0, 0.0, 0.0
    means = np.sort([np.mean(rng.choices(gains, k=len(gains))) for _ in range(BOOTSTRAPS)])
    return float(np.mean(gains)), means[int(0.025 * BOOTSTRAPS)], means[int(0.975 * BOOTSTRAPS)]


def figures(server, truth, plan, first, every):
    found = {}
    for group, queries in plan.groups.items():
        found[group] = np.mean([ndcg(server.search(t), truth.right[k] & truth.first) for t, k in queries])
    server.pictures = every
    later = lambda answer: {"matches": [m for m in answer["matches"] if m["image_name"] in truth.later]}  # noqa: E731
    found["d"] = np.mean([ndcg(later(server.search(t, limit=200)), truth.right[k] & truth.later)
                          for t, k in plan.groups["a"] if truth.right[k] & truth.later])
    server.pictures = first
    return found


def one_seed(options, seed, vectors, texts):
    rng = random.Random(seed)
    truth = Truth(options.labels, options.pictures, rng)
    plan = Plan(truth, rng, 40)
    of = {name: vectors[source] for name, source in truth.files.items()}
    first, every = Pictures(of, truth.first), Pictures(of, truth.files)
    users, server = Users(rng, 30, options.liars), Adapted(texts, first)
    rows = {}
    for _ in range(options.ratings // 25):
        users.day(server, truth, plan, 25)
    without = figures(server, truth, plan, first, every)
    ratings = [(query, says) for query, (_, says) in zip(server.queries, server.rated)]
    for ridge, share in SHARES:
        decided = gate(server, ridge, share, random.Random(seed))
        server.fit(ridge, share, ratings)
        with_it = figures(server, truth, plan, first, every)
        rows[ridge, share] = ({group: with_it[group] - without[group] for group in without}, decided)
        server.matrix = None
    return rows


def main():
    parser = arguments(__doc__, [101, 102, 103])
    parser.add_argument("--ratings", default=200, type=int)
    options = parse(parser)
    vectors, texts = read_vectors(options)
    runs = [one_seed(options, seed, vectors, texts) for seed in options.seeds]
    print(f"what the adapter adds after {options.ratings} ratings (nDCG@10); what the gate saw, one interval a seed")
    print(f"{'ridge':>6}{'share':>7} {'a':>8}{'b1':>8}{'b2':>8}{'c':>8}{'d':>8}  let in")
    for key in SHARES:
        gains = "".join(f"{np.mean([run[key][0][g] for run in runs]):+8.3f}" for g in ("a", "b1", "b2", "c", "d"))
        seen = [run[key][1] for run in runs]
        intervals = "  ".join(f"{low:+.3f} to {high:+.3f}" for _, low, high in seen)
        print(f"{key[0]:>6}{key[1]:>7} {gains}  {sum(low > 0 for _, low, _ in seen)} of {len(seen)}: {intervals}")


if __name__ == "__main__":
    main()
