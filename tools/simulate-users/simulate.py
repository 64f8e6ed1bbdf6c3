#!/usr/bin/env python3
"""Simulated users search, rate and search again, over HTTP, on the real binary. See README.md."""

import argparse
import collections
import concurrent.futures
import http.client
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARAPHRASES = ["a picture of {}", "{} picture"]
VISITOR = "198.51.100.1"  # never rates
LATER_SHARE = 0.2
ATTENTION = 0.6  # place r is looked at with r to the minus this
THUMB = 0.7  # … and then gets a thumb so often
NOISE = 0.08  # … which is wrong so often
RATINGS_PER_DAY = 25
GATE_EVERY = 50  # learning.gate_every_ratings
GROUPS = {
    "a": "repeated queries",
    "b": "paraphrases and neighbours of rated queries",
    "b1": "  paraphrases",
    "b2": "  neighbours",
    "c": "unrelated queries",
    "d": "pictures added later, among themselves",
    "d2": "repeated queries, with the pictures added later",
}


class Truth:
    """Which pictures are right for which keyword. The program never sees it: pictures have neutral names."""

    def __init__(self, labels, pictures, rng):
        entries = [e for e in json.loads(labels.read_text()) if (pictures / e["file"]).exists()]
        rng.shuffle(entries)
        self.files = {f"p{n:05}.png": pictures / e["file"] for n, e in enumerate(entries)}
        self.right = collections.defaultdict(set)
        for name, entry in zip(self.files, entries):
            for keyword in set(entry["keywords"]):
                self.right[keyword].add(name)
        names = list(self.files)
        self.later = set(names[: int(len(names) * LATER_SHARE)])
        self.first = set(names) - self.later


class Plan:
    """What is asked: rated queries, and the groups that are measured."""

    def __init__(self, truth, rng, queries):
        usable = sorted(k for k, p in truth.right.items() if 5 <= len(p & truth.first) <= 40)
        rng.shuffle(usable)
        self.rated = usable[:queries]
        overlap = {k: max(jaccard(truth.right[k], truth.right[r]) for r in self.rated) for k in usable[queries:]}
        paraphrases = [(p.format(k), k) for k in self.rated for p in PARAPHRASES]
        neighbours = [(k, k) for k, o in overlap.items() if o >= 0.4]
        unrelated = [(k, k) for k, o in overlap.items() if o < 0.05][: 2 * queries]
        repeated = [(k, k) for k in self.rated]
        self.groups = {"a": repeated, "b1": paraphrases, "b2": neighbours, "c": unrelated}
        weights = [1 / math.sqrt(place + 1) for place in range(queries)]
        self.weights = [weight / sum(weights) for weight in weights]


def jaccard(a, b):
    return len(a & b) / len(a | b)


class Server:
    """The binary on folders of its own."""

    def __init__(self, binary, folder, learning):
        self.binary, self.data = binary, folder / "data"
        self.images = folder / "images"
        self.images.mkdir()
        config = folder / "config.toml"
        config.write_text(
            '[server]\ntrusted_proxies = ["127.0.0.1"]\n[access]\naddress_requests_per_s = 0\n'
            f"[ingest]\nsettle_ms = 50\n[learning]\n{learning}\n"
        )
        self.log = open(folder / "log.txt", "w")
        self.lock = folder / "data" / "LOCK"
        self.process = subprocess.Popen(
            [binary, "serve", "--config", config, "--images", self.images, "--data-dir", folder / "data",
             "--model", "emoji-clip", "--port", "0"], stdout=self.log, stderr=self.log)
        self.until("an address", lambda: self.lock.exists() and self.lock.read_text().startswith("http"))
        self.address = self.lock.read_text().strip().removeprefix("http://")
        self.connection = http.client.HTTPConnection(self.address, timeout=120)
        self.until("a model", lambda: self.status("/readyz") == 200)

    def until(self, what, holds, patience_s=600):
        end = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"the server did not get to: {what}; see {self.log.name}")
            time.sleep(0.05)

    def send(self, method, path, body=None, client=VISITOR):
        headers = {"Content-Type": "application/json", "X-Forwarded-For": client}
        body = json.dumps(body) if body is not None else None
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # An idle connection was closed. Whatever is sent here may be sent twice.
            self.connection.close()
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
        return answer.status, answer.read()

    def status(self, path):
        return self.send("GET", path)[0]

    def json(self, method, path, body=None, client=VISITOR):
        status, text = self.send(method, path, body, client)
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {text[:300]}")
        return json.loads(text)

    def search(self, text, client=VISITOR, limit=20, **more):
        return self.json("POST", "/api/v1/search-image", {"text": text, "limit": limit, **more}, client)

    def put(self, files):
        for name, source in files.items():
            shutil.copyfile(source, self.images / name)

    def until_indexed(self, count):
        def settled():
            images = self.json("GET", "/api/v1/status")["images"]
            return images["indexed"] == count and images["pending"] == 0
        self.until(f"{count} pictures", settled)

    def until_remembered(self, count):
        line = f"image_search_remembered_ratings {count}\n"
        self.until(f"{count} ratings remembered", lambda: line in self.send("GET", "/metrics")[1].decode())

    def learn_by_hand(self):
        subprocess.run([self.binary, "learn", "--on", "--data-dir", self.data], check=True, capture_output=True)
        self.until("learning by hand", self.learns_from_others)

    def learns_from_others(self):
        return self.json("GET", "/api/v1/status")["learning"]["from_others"]

    def until_judged(self, ratings):
        """The gate judges after so many ratings, always the same ones."""
        line = f"image_search_learning_version {ratings // GATE_EVERY}\n"
        self.until(f"a decision after {ratings} ratings", lambda: line in self.send("GET", "/metrics")[1].decode())

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def names(answer):
    return [match["image_name"] for match in answer["matches"]]


def measures(ranking, right):
    gain = sum(1 / math.log2(place + 2) for place, name in enumerate(ranking[:10]) if name in right)
    best = sum(1 / math.log2(place + 2) for place in range(min(10, len(right))))
    first = next((place + 1 for place, name in enumerate(ranking) if name in right), None)
    found = len(right & set(ranking[:20])) / min(20, len(right))
    return {"ndcg10": gain / best, "recall20": found, "mrr": 1 / first if first else 0.0}


def measure(server, truth, plan):
    """Each measure of each query of each group, as a visitor sees it who never rated."""
    figures = {}
    for group, queries in plan.groups.items():
        figures[group] = [measures(names(server.search(text)), truth.right[key] & truth.first) for text, key in queries]
    server.put({name: truth.files[name] for name in truth.later})
    server.until_indexed(len(truth.files))
    figures["d"], figures["d2"] = [], []
    for text, key in plan.groups["a"]:
        ranking = names(server.search(text, limit=200))
        figures["d2"].append(measures(ranking, truth.right[key]))
        if right := truth.right[key] & truth.later:
            figures["d"].append(measures([name for name in ranking if name in truth.later], right))
    for name in truth.later:
        (server.images / name).unlink()
    server.until_indexed(len(truth.first))
    figures["b"] = figures["b1"] + figures["b2"]
    return figures


class Users:
    def __init__(self, rng, count, liars):
        self.rng = rng
        self.users = [(f"10.1.{n // 250}.{n % 250 + 1}", n < round(count * liars)) for n in range(count)]

    def day(self, server, truth, plan, ratings):
        """Everybody searches, and then rates what they found."""
        searched = []
        for _ in range(ratings):
            client, lies = self.rng.choice(self.users)
            key = self.rng.choices(plan.rated, plan.weights)[0]
            text = self.rng.choice(PARAPHRASES).format(key) if self.rng.random() < 0.2 else key
            searched.append((client, lies, key, server.search(text, client, limit=10)))
        for client, lies, key, answer in searched:
            rating = self.rate(names(answer), truth.right[key], lies)
            server.json("POST", "/api/v1/create-feedback", {"jwt": answer["jwt"], **rating}, client)

    def rate(self, shown, right, lies):
        seen = [name for place, name in enumerate(shown) if self.rng.random() < (place + 1) ** -ATTENTION]
        thumbs = []
        for name in seen:
            if self.rng.random() < THUMB:
                relevant = (name in right) != (self.rng.random() < NOISE)
                thumbs.append({"image_name": name, "relevant": relevant != lies})
        share = sum(name in right for name in seen) / len(seen) if seen else 0
        number = min(10, max(1, round(1 + 9 * share + self.rng.gauss(0, 1))))
        number = 11 - number if lies else number
        kind = self.rng.choices(["thumbs", "number", "both"], [0.4, 0.3, 0.3])[0]
        rating = {} if kind == "thumbs" else {"user_feedback": number}
        return rating if kind == "number" else {**rating, "image_feedback": thumbs}


def one_seed(options, seed):
    rng = random.Random(seed)
    truth = Truth(options.labels, options.pictures, rng)
    plan = Plan(truth, rng, options.queries)
    users = Users(rng, options.users, options.liars)
    learning = f"sources_min = {options.sources_min}"
    with tempfile.TemporaryDirectory(prefix="simulate-users-") as folder:
        server = Server(options.binary, pathlib.Path(folder), learning)
        try:
            server.put({name: truth.files[name] for name in truth.first})
            server.until_indexed(len(truth.first))
            if options.learn == "on":
                server.learn_by_hand()
            rated, figures, costs, on_after = 0, {}, {}, None
            for checkpoint in options.ratings:
                while rated < checkpoint:
                    today = min(RATINGS_PER_DAY, checkpoint - rated)
                    users.day(server, truth, plan, today)
                    rated += today
                    server.until_remembered(rated)
                    if options.learn == "auto":
                        server.until_judged(rated)
                        on_after = on_after or (rated if server.learns_from_others() else None)
                figures[checkpoint] = measure(server, truth, plan)
                costs[checkpoint] = cost(server, plan)
            return figures, costs, on_after
        finally:
            server.stop()


def cost(server, plan):
    """Milliseconds that learning adds to a search, as the median of pairs."""
    pairs = []
    for text, _ in plan.groups["a"] * 3:
        times = []
        for learn in (False, True):
            started = time.perf_counter()
            server.search(text, limit=10, learn=learn)
            times.append(time.perf_counter() - started)
        pairs.append(times[1] - times[0])
    return 1000 * sorted(pairs)[len(pairs) // 2]


def interval(differences, rng):
    means = sorted(
        sum(rng.choices(differences, k=len(differences))) / len(differences) for _ in range(2000))
    return means[50], means[1949]


def report(options, runs):
    rng = random.Random(1)
    rows = []
    for checkpoint in options.ratings:
        for group, title in GROUPS.items():
            for name in ("ndcg10", "recall20", "mrr"):
                before = [query[name] for figures, *_ in runs for query in figures[options.ratings[0]][group]]
                after = [query[name] for figures, *_ in runs for query in figures[checkpoint][group]]
                gains = [b - a for a, b in zip(before, after)]
                if not gains:
                    continue
                low, high = interval(gains, rng)
                rows.append({"ratings": checkpoint, "group": group, "title": title.strip(), "measure": name,
                             "queries": len(gains), "value": mean(after), "gain": mean(gains), "low": low, "high": high})
    print(f"{'ratings':>7}  {'':50} {'nDCG@10':>7}  gain and its 95 % interval   {'recall@20':>16} {'MRR':>16}")
    for checkpoint in options.ratings:
        for group, title in GROUPS.items():
            row = {r["measure"]: r for r in rows if (r["ratings"], r["group"]) == (checkpoint, group)}
            if row:
                n = row["ndcg10"]
                rest = "  ".join(f"{row[m]['value']:8.3f} {row[m]['gain']:+.3f}" for m in ("recall20", "mrr"))
                print(f"{checkpoint:>7}  {group:>2} {title:47} {n['value']:7.3f}  {n['gain']:+.3f} ({n['low']:+.3f} to {n['high']:+.3f})  {rest}")
    costs = {c: round(mean([cost[c] for _, cost, _ in runs]), 2) for c in options.ratings}
    print("ms that learning adds to a search (median):", costs)
    on_after = [on for *_, on in runs]
    if options.learn == "auto":
        print("what others said counts after so many ratings, by seed:", dict(zip(options.seeds, on_after)))
    if options.output:
        settings = {k: str(v) for k, v in vars(options).items()}
        options.output.write_text(json.dumps({"settings": settings, "figures": rows, "added_ms": costs, "on_after": on_after}, indent=1) + "\n")


def mean(values):
    return sum(values) / len(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser.add_argument("--binary", default=ROOT / "target/release/image-search", type=pathlib.Path)
    parser.add_argument("--pictures", default=ROOT / "demo/pictures", type=pathlib.Path)
    parser.add_argument("--labels", default=ROOT / "models/emoji-clip/eval/demo.json", type=pathlib.Path)
    parser.add_argument("--seeds", default="101,102,103", type=numbers)
    parser.add_argument("--ratings", default="0,50,200,1000", type=numbers, help="when to measure; begins with 0")
    parser.add_argument("--queries", default=40, type=int, help="different queries that are rated")
    parser.add_argument("--users", default=30, type=int)
    parser.add_argument("--liars", default=0.0, type=float, help="share of users who say the contrary")
    parser.add_argument("--sources-min", default=2, type=int, help="learning.sources_min of the server")
    parser.add_argument("--learn", default="on", choices=("on", "auto"), help="whether others' ratings count from the beginning, or when the gate says so")
    parser.add_argument("--at-once", default=1, type=int, help="seeds at the same time; the figures stay the same, not the milliseconds")
    parser.add_argument("--output", type=pathlib.Path, help="the figures as JSON")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        runs = list(pool.map(lambda seed: one_seed(options, seed), options.seeds))
    report(options, runs)


if __name__ == "__main__":
    os.environ.setdefault("RUST_BACKTRACE", "1")
    main()
