#!/usr/bin/env python3
"""After how many ratings the gate (src/search/memory/gate.rs) lets others see what was learned, offline, with the users of simulate.py. Needs numpy.

Every rating is judged by what came before it, as somebody would see it who never rated (the votes of its own source do not count). Every 50 ratings
the gate looks at the newest 300, and decides. `--random` has everybody rate by throwing dice, so that there is nothing to learn."""

import math
import random
from collections import defaultdict

import numpy as np
from formulas import Pictures, arguments, parse, read_vectors
from settings import SETTINGS, Program, figures
from simulate import THUMB, Plan, Truth, Users

EVERY, WINDOW, QUERIES_MIN = 50, 300, 20
# How much of a proof is a sign.
SIGN = 0.25
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228]


class Dice(Users):
    def rate(self, shown, right, lies):
        thumbs = [name for place, name in enumerate(shown) if self.rng.random() < (place + 1) ** -0.6 and self.rng.random() < THUMB]
        return {"image_feedback": [{"image_name": name, "relevant": self.rng.random() < 0.5} for name in thumbs]}


class Gated(Program):
    """What others said counts only while `others` is on."""

    def __init__(self, settings, texts, pictures):
        super().__init__(settings, texts, pictures)
        self.others, self.judged, self.ratings = False, [], 0

    def json(self, method, path, body, client):
        text, _ = body["jwt"]
        gains = {t["image_name"]: float(t["relevant"]) for t in body.get("image_feedback", [])}
        if len(set(gains.values())) == 2 and (pair := self.pair(text, client, gains)):
            self.judged.append((self.ratings, client, text, pair))
        self.ratings += 1
        # Whom to trust is found out once a day.
        trusted = self.trusted
        super().json(method, path, body, client)
        self.trusted = trusted

    def pair(self, text, client, gains):
        now, self.others = self.others, True
        opinions = self.opinions(text, None, besides=client)
        self.others = now
        if opinions:
            return [ndcg([gains[n] for n in self.ranking(text, said) if n in gains]) for said in ({}, opinions)]

    def look(self):
        """The gain and its interval; how many could be compared."""
        new = [pair for pair in self.judged if pair[0] >= self.ratings - WINDOW]
        return (*interval(new), len(new))


def ndcg(gains):
    dcg = lambda gains: sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:10]))  # noqa: E731
    return dcg(gains) / dcg(sorted(gains, reverse=True))


def interval(judged):
    """Of the mean over sources, by leaving out each source, and each query, in turn."""
    if not judged:
        return 0.0, 0.0, 0.0
    gains = np.array([after - before for _, _, _, (before, after) in judged])
    of = defaultdict(int)
    for _, source, _, _ in judged:
        of[source] += 1
    weights = np.array([1 / of[source] for _, source, _, _ in judged])
    mean, widest = np.sum(weights * gains) / np.sum(weights), 0.0
    for key in (1, 2):
        groups = np.unique([row[key] for row in judged], return_inverse=True)[1]
        count = groups.max() + 1
        if count < 2:
            return mean, -1.0, 1.0
        without = [np.sum((weights * gains)[groups != g]) / np.sum(weights[groups != g]) for g in range(count)]
        error = math.sqrt((count - 1) / count * np.sum((np.array(without) - mean) ** 2))
        t = STUDENT[count - 2] if count - 2 < len(STUDENT) else 1.96 + 2.5 / (count - 1)
        widest = max(widest, t * error)
    return mean, mean - widest, mean + widest


def decide(is_on, mean, low, count):
    """On needs proof, off only a sign."""
    if count < QUERIES_MIN:
        return is_on
    return low > 0 or (is_on and mean >= -SIGN * (mean - low))


def one_seed(options, seed, vectors, texts):
    rng = random.Random(seed)
    truth = Truth(options.labels, options.pictures, rng)
    plan = Plan(truth, rng, 40)
    first = Pictures({name: vectors[source] for name, source in truth.files.items()}, truth.first)
    users = (Dice if options.random else Users)(rng, options.users, options.liars)
    server = Gated(SETTINGS | {"sources_min": options.sources_min}, texts, first)
    looks = []
    for day in range(options.ratings // 25):
        users.day(server, truth, plan, 25)
        server.trusted = None
        if server.ratings % EVERY == 0:
            mean, low, high, count = server.look()
            server.others = decide(server.others, mean, low, count)
            looks.append((server.ratings, mean, low, high, count, server.others))
    return looks


def main():
    parser = arguments(__doc__, [1, 2, 3])
    parser.add_argument("--random", action="store_true", help="ratings say nothing")
    parser.add_argument("--users", default=30, type=int)
    parser.add_argument("--sources-min", default=2, type=int)
    parser.add_argument("--ratings", default=1000, type=int)
    parser.add_argument("--every-look", action="store_true")
    options = parse(parser)
    vectors, texts = read_vectors(options)
    for seed in options.seeds:
        looks = one_seed(options, seed, vectors, texts)
        on = next((look[0] for look in looks if look[-1]), None)
        share = np.mean([look[-1] for look in looks])
        print(f"seed {seed}: on after {on}, {share:.0%} of the time", "".join("+" if look[-1] else "-" for look in looks), flush=True)
        if options.every_look:
            for ratings, mean, low, high, count, is_on in looks:
                print(f"  {ratings:5} {mean:+.3f} ({low:+.3f} to {high:+.3f}) of {count} {'on' if is_on else 'off'}")


if __name__ == "__main__":
    main()
