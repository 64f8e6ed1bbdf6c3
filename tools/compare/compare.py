"""Compares image-search with what else there is, on the same machine, model and pictures, and prints a table.

Usage: python compare.py WORK [--binary …/image-search] [--onnxruntime …/libonnxruntime.so] [--small DIR] [--large DIR]
       [--rounds 3] [--queries 200]

WORK keeps the model (ViT-B/32, random weights, exported as published ones are: batch of one, 77 tokens) and, unless folders are given,
200 made pictures of about 110 kB and 60 of 12 megapixels. Everybody runs in turn, round after round; medians count.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
MODEL = "ViT-B-32-quickgelu"
WORDS = "red green old small wooden dog cat tree house boat car bird table garden beach street night snow rain sun".split()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--binary", type=Path, default=HERE / "../../target/release/image-search")
    parser.add_argument("--onnxruntime", type=Path, help="library for our second engine; default: that of the installed package")
    parser.add_argument("--small", type=Path)
    parser.add_argument("--large", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    work = options.work.resolve()
    bundle = work / MODEL
    if not (bundle / "textual/model.onnx").is_file():
        subprocess.run([sys.executable, HERE / "../golden/make_full.py", work, MODEL], check=True)
    folders = {"small": options.small or made(work / "small", 200, (800, 600), 88), "12 MP": options.large or made(work / "large", 60, (4000, 3000), 92)}
    library = options.onnxruntime or installed_library()
    ours = {"ours, rten": {"engine": "rten"}}
    if library:
        ours |= {"ours, ONNX Runtime": {"engine": "onnxruntime"}, "ours, ONNX Runtime, int8": {"engine": "onnxruntime", "precision": "int8"}}
    peers = {"peer, Pillow + ONNX Runtime, batch 1": "onnxruntime"} | ({"peer, Pillow + PyTorch, batch 8": "torch"} if has_torch() else {})
    contenders = [Ours(name, options.binary.resolve(), bundle, work, library, settings) for name, settings in ours.items()]
    contenders += [Peer(name, kind, bundle) for name, kind in peers.items()]
    measured = {contender.name: {} for contender in contenders}
    for number in range(options.rounds):
        for folder, path in folders.items():
            for contender in contenders:
                keep(measured[contender.name], contender.index(path, folder), f"round {number + 1}, {folder}, {contender.name}")
        for contender in contenders:
            keep(measured[contender.name], contender.query(options.queries, number), f"round {number + 1}, queries, {contender.name}")
    print(table(measured, list(peers)))


def keep(figures, new, what):
    print(what, new, file=sys.stderr)
    for key, value in new.items():
        figures.setdefault(key, []).append(value)


class Ours:
    def __init__(self, name, binary, bundle, work, library, settings):
        self.name, self.binary, self.bundle = name, binary, bundle
        self.home = work / "ours" / name.replace(" ", "-").replace(",", "")
        self.environment = os.environ | {"IMAGE_SEARCH_INGEST__SETTLE_MS": "0", "IMAGE_SEARCH_LOG__LEVEL": "error"}
        self.environment |= {f"IMAGE_SEARCH_EMBED__{key.upper()}": value for key, value in settings.items()}
        self.environment |= {"ORT_DYLIB_PATH": str(library)} if library else {}
        # once without a picture: graphs are prepared once in a lifetime, which is not what is compared
        self.run("index", self.empty(), self.home / "data")

    def empty(self):
        folder = self.home / "empty"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def command(self, verb, images, data):
        return [str(self.binary), verb, "--images", str(images), "--data-dir", str(data), "--model", str(self.bundle)]

    def run(self, verb, images, data):
        start = time.monotonic()
        process = subprocess.Popen(self.command(verb, images, data), env=self.environment, stdout=subprocess.DEVNULL)
        peak = watch(process)
        if process.returncode != 0:
            sys.exit(f"{self.name}: {verb} ended with {process.returncode}")
        return time.monotonic() - start, peak

    def index(self, folder, name):
        """Folder to searchable, without start and loading, which an empty folder takes as well."""
        data = self.home / "round"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        shutil.copytree(self.home / "data/prepared", data / "prepared", symlinks=True)
        idle, _ = self.run("index", self.empty(), data)
        busy, peak = self.run("index", folder, data)
        return {f"{name}, pictures/s": count(folder) / max(busy - idle, 1e-3), f"{name}, peak MB": peak}

    def query(self, queries, number):
        port = free_port()
        command = self.command("serve", self.empty(), self.home / "data") + ["--port", str(port)]
        start = time.monotonic()
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)
        try:
            while not asked(port, "a warm-up"):
                if process.poll() is not None or time.monotonic() - start > 120:
                    sys.exit(f"{self.name}: the server does not answer")
                time.sleep(0.02)
            first = time.monotonic() - start
            times = [timed(lambda: asked(port, text)) for text in texts(queries, number)]
            return {"query, ms": statistics.median(times) * 1e3, "first answer, s": first}
        finally:
            process.terminate()
            process.wait()


class Peer:
    def __init__(self, name, kind, bundle):
        self.name, self.kind, self.bundle = name, kind, bundle

    def run(self, *arguments):
        process = subprocess.Popen([sys.executable, HERE / "peers.py", self.kind, self.bundle, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
        peak = watch(process)
        if process.returncode != 0:
            sys.exit(f"{self.name} ended with {process.returncode}")
        return json.loads(process.stdout.read()), peak

    def index(self, folder, name):
        told, peak = self.run("index", folder)
        return {f"{name}, pictures/s": count(folder) / told["seconds"], f"{name}, peak MB": peak}

    def query(self, queries, number):
        told, _ = self.run("query", json.dumps(texts(queries, number)))
        return {"query, ms": told["ms"], "first answer, s": told["first"]}


def watch(process):
    """Waits for the end; returns the greatest resident memory in MB."""
    peak = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), peak)
        except OSError:
            pass
        time.sleep(0.02)
    return peak


def asked(port, text):
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/search-image", body, {"content-type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=30).status == 200
    except OSError:
        return False


def timed(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start


def texts(queries, number):
    """New ones in every round, of about eight tokens, so that no cache answers."""
    pick = lambda index: WORDS[index % len(WORDS)]
    return [f"a {pick(i)} {pick(i // 20 + number)} and {pick(i * 7 + 3)} {i + 1000 * number}" for i in range(queries)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def count(folder):
    return sum(1 for path in folder.iterdir() if path.is_file())


def made(folder, number, size, quality):
    """Pictures that take a decoder about as long as photos: soft shapes with grain."""
    import numpy as np
    from PIL import Image, ImageFilter

    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    for index in range(number):
        path = folder / f"{index}.jpg"
        if path.is_file():
            continue
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        grain = Image.fromarray(rng.integers(0, 255, (height // 2, width // 2, 3), dtype=np.uint8)).resize(size).filter(ImageFilter.GaussianBlur(1.2))
        Image.blend(coarse, grain, 0.12).save(path, quality=quality)
    return folder


def installed_library():
    try:
        import onnxruntime
    except ImportError:
        return None
    return next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so*"), None)


def has_torch():
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def table(measured, peers):
    columns = list(dict.fromkeys(key for figures in measured.values() for key in figures))
    more_is_better = lambda column: column.endswith("/s")
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    best = {}
    for column in columns:
        values = [statistics.median(measured[peer][column]) for peer in peers]
        best[column] = max(values) if more_is_better(column) else min(values)
    for name, figures in measured.items():
        cells = []
        for column in columns:
            value = statistics.median(figures[column])
            ratio = value / best[column] if more_is_better(column) else best[column] / value
            cells.append(f"{value:.1f} ({ratio:.2f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nMedians; in brackets how many times as good as the best peer."


if __name__ == "__main__":
    main()
