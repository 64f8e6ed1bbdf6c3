#!/usr/bin/env python3
"""Compares settings of the program's own way to learn (src/search/memory), offline, with the users of simulate.py. Needs numpy.

Beside formulas.py it knows how far sources are trusted, and that only the first candidates are ordered again. Each setting that is named
(`list_weight=0.5,depth=128`) is compared with answers before the first rating."""

import random
from collections import defaultdict

import numpy as np
from formulas import Pictures, arguments, ndcg, parse, read_vectors
from simulate import Plan, Truth, Users

SETTINGS = {"near": 0.72, "far": 0.65, "list_weight": 0.5, "middle": 5.5, "attention": 0.6, "doubt": 1.0, "boost": 1.2, "depth": 128, "sources_min": 2,
            "strangers": 0.8, "prior_agreed": 1.8, "prior_compared": 2.0}
VOTE_MIN = 0.01


class Program:
    """Stands in for the server of simulate.py."""

    def __init__(self, settings, texts, pictures):
        self.s, self.texts, self.pictures = settings, texts, pictures
        self.middle = np.mean(list(texts.values()), axis=0)
        self.rated, self.rows, self.trusted = {}, [], None
        self.others = True  # whether what others said counts

    def row(self, text):
        row = self.texts[text] - self.middle
        return row / np.linalg.norm(row)

    def json(self, method, path, body, client):
        text, order = body["jwt"]
        says = {}
        if number := body.get("user_feedback"):
            value = self.s["list_weight"] * (number - self.s["middle"]) / 4.5
            says = {n: value * (place + 1) ** -self.s["attention"] for place, n in enumerate(order)}
        says |= {t["image_name"]: 1.0 if t["relevant"] else -1.0 for t in body.get("image_feedback", [])}
        if text not in self.rated:
            self.rated[text] = []
            self.rows.append(self.row(text))
        self.rated[text].append((client, says))
        self.trusted = None

    def trust(self):
        if self.trusted is None:
            compared = []
            for ratings in self.rated.values():
                values = defaultdict(lambda: defaultdict(list))
                for client, says in ratings:
                    for name, value in says.items():
                        values[name][client].append(value)
                compared += [{c: np.mean(v) for c, v in of.items()} for of in values.values() if len(of) > 1]
            clients = {client for ratings in self.rated.values() for client, _ in ratings}
            self.trusted = dict.fromkeys(clients, self.s["strangers"])
            for _ in range(2):
                self.trusted = self.trust_round(compared, self.trusted)
        return self.trusted

    def trust_round(self, compared, trust):
        agreed, of = defaultdict(float), defaultdict(float)
        for votes in compared:
            total = sum(trust[client] * vote for client, vote in votes.items())
            for client, vote in votes.items():
                others = total - trust[client] * vote
                weight = min(abs(others), 1.0) * abs(vote)
                of[client] += weight
                agreed[client] += weight if others * vote > 0 else 0
        share = {c: (agreed[c] + self.s["prior_agreed"]) / (of[c] + self.s["prior_compared"]) for c in trust}
        return {client: max(0.0, 2 * share[client] - 1) for client in trust}

    def opinions(self, text, client, besides=None):
        """What counts for this client, as if the source `besides` had never rated."""
        if not self.rows:
            return {}
        similarity, far = np.array(self.rows) @ self.row(text), self.s["far"]
        nearness = np.where(similarity > self.s["near"], np.clip((similarity - far) / (1 - far), 0, 1), 0)
        tallies = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0, 0.0]))
        for counts, ratings in zip(nearness, self.rated.values()):
            for source, says in ratings if counts > 0 else ():
                for name, value in says.items():
                    tally = tallies[name][source]
                    tally[:] = [tally[0] + counts * value, tally[1] + counts, max(tally[2], counts)]
        trust = self.trust()
        opinions = {}
        for name, of in tallies.items():
            votes = {s: (1.0 if s == client else trust.get(s, self.s["strangers"])) * most * sum_ / weight for s, (sum_, weight, most) in of.items()}
            votes = {source: vote for source, vote in votes.items() if abs(vote) >= VOTE_MIN and source != besides}
            total = sum(votes.values())
            if not self.others or sum(vote * total > 0 for vote in votes.values()) < self.s["sources_min"]:
                votes = {source: vote for source, vote in votes.items() if source == client}
            if total := sum(votes.values()):
                opinions[name] = total / (sum(map(abs, votes.values())) + self.s["doubt"])
        return opinions

    def ranking(self, text, opinions):
        scores = self.pictures.matrix @ self.texts[text]
        order = np.argsort(-scores, kind="stable")[: int(self.s["depth"])]
        if opinions:
            reach = self.s["boost"] * (scores[order[0]] - scores[order[-1]])
            places = [scores[i] + reach * opinions.get(self.pictures.names[i], 0) for i in order]
            order = order[np.argsort(-np.array(places), kind="stable")]
        return [self.pictures.names[i] for i in order]

    def search(self, text, client=None, limit=20):
        names = self.ranking(text, self.opinions(text, client))[:limit]
        return {"matches": [{"image_name": name} for name in names], "jwt": (text, names)}


def figures(server, truth, plan):
    return {g: np.mean([ndcg(server.search(t), truth.right[k] & truth.first) for t, k in q]) for g, q in plan.groups.items()}


def one_seed(options, settings, seed, vectors, texts):
    rng = random.Random(seed)
    truth = Truth(options.labels, options.pictures, rng)
    plan = Plan(truth, rng, 40)
    first = Pictures({name: vectors[source] for name, source in truth.files.items()}, truth.first)
    users, server, rated = Users(rng, 30, options.liars), Program(settings, texts, first), 0
    before, gains = figures(server, truth, plan), []
    for checkpoint in (200, 1000):
        for _ in range((checkpoint - rated) // 25):
            users.day(server, truth, plan, 25)
        rated = checkpoint
        gains.append({group: value - before[group] for group, value in figures(server, truth, plan).items()})
    return gains


def main():
    parser = arguments(__doc__, [1, 2, 3])
    parser.add_argument("--setting", action="append", default=[], help="for example list_weight=0.5,depth=128; several times for several")
    options = parse(parser)
    vectors, texts = read_vectors(options)
    print(f"{'gain of nDCG@10':34}" + "".join(f"{g + ' after ' + n:>16}" for n in ("200", "1000") for g in ("a", "b1", "b2", "c")))
    for text in options.setting or [""]:
        changed = {key: float(value) for key, value in (pair.split("=") for pair in text.split(",") if pair)}
        runs = [one_seed(options, SETTINGS | changed, seed, vectors, texts) for seed in options.seeds]
        gains = (np.mean([run[n][g] for run in runs]) for n in (0, 1) for g in ("a", "b1", "b2", "c"))
        print(f"{text or 'as it is':34}" + "".join(f"{gain:+16.3f}" for gain in gains), flush=True)


if __name__ == "__main__":
    main()
