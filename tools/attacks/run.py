#!/usr/bin/env python3
"""Attacks on memory and connections, and requests of other web pages, that once worked, against a server of its own on this
machine, with the largest memory that the server and the process that decodes for it had during each. Python and nothing else.

    python3 tools/attacks/run.py [PROGRAM]

Ends with 1 if the peak of an attack is more than decode.memory_bytes_max (512 MiB) plus 200 MB above what the idle
server has, if others are not answered meanwhile, or if a request of another page is answered.

flat.avif is 5,500 x 5,500 pixels of one colour; its decoder runs in the process of its own.
"""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/release/image-search")
ALLOWED_MB = 512 * 1.048576 + 200


def png(width, height, depth, colour, channels):
    """All zeros: a few hundred kilobytes for hundreds of megabytes of pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + width * channels * depth // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp(width, height):
    row = bytes((width * 3 + 3) // 4 * 4)
    size = 54 + len(row) * height
    return struct.pack("<2sIHHIIiiHHIIiiII", b"BM", size, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + row * height


def told(path):
    """What the system says; nothing of a thread or process that ended meanwhile."""
    try:
        return path.read_text()
    except OSError:
        return ""


class Server:
    def __init__(self, work):
        (work / "images").mkdir()
        (work / "images/large.bmp").write_bytes(bmp(5400, 5400))
        for name in ("axe", "apple"):
            for found in (ROOT / "demo/pictures").glob(f"{name}*.png"):
                (work / "images" / found.name).write_bytes(found.read_bytes())
        command = [PROGRAM, "serve", "--images", work / "images", "--data-dir", work / "data", "--model", "emoji-clip", "--port", "0"]
        environment = {**os.environ, "IMAGE_SEARCH_LOG__LEVEL": "error", "IMAGE_SEARCH_MODELS__OFFLINE": "true",
                       "IMAGE_SEARCH_THUMBNAILS__WHILE_INDEXING": "false"}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        lock = work / "data/LOCK"
        while True:
            time.sleep(0.2)
            if self.process.poll() is not None:
                sys.exit("the server ended at its start; run it by hand to see why")
            self.url = lock.read_text() if lock.exists() else ""
            if self.url and self.status("/readyz") == 200 and self.is_idle():
                break
        self.port = int(self.url.rsplit(":", 1)[1])

    def status(self, path, timeout=60):
        try:
            return urllib.request.urlopen(self.url + path, timeout=timeout).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def is_idle(self):
        status = json.load(urllib.request.urlopen(self.url + "/api/v1/status"))
        return status["images"]["pending"] == 0 and status["images"]["indexed"] > 1

    def processes(self):
        """The server, and what it started to decode."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [self.process.pid, *(child for task in tasks for child in told(task / "children").split())]

    def memory(self, field):
        """Of all processes together. Peaks need not be at the same time, so a sum of them is an upper bound."""
        total = 0
        for pid in self.processes():
            for line in told(Path(f"/proc/{pid}/status")).splitlines():
                if line.startswith(field):
                    total += int(line.split()[1]) * 1024 / 1e6
        return total

    def forget_peak(self):
        for pid in self.processes():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass

    def answer(self, headers, body=b""):
        """The status of a search with these headers."""
        with self.connect() as stream:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            stream.sendall(f"POST /api/v1/search-image HTTP/1.1\r\n{head}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body)
            return int(stream.recv(12).split()[1])

    def connect(self, address="127.0.0.1"):
        stream = socket.socket()
        stream.bind((address, 0))
        stream.settimeout(30)
        stream.connect(("127.0.0.1", self.port))
        return stream

    def searches(self):
        """How long others wait for an answer, in milliseconds; None if they get none."""
        request = urllib.request.Request(self.url + "/api/v1/search-image", json.dumps({"text": f"an axe {time.time()}"}).encode(),
                                         {"content-type": "application/json"})
        started = time.monotonic()
        try:
            urllib.request.urlopen(request, timeout=30).read()
        except OSError:
            return None
        return (time.monotonic() - started) * 1000


def form(picture):
    head = b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return head + picture + b"\r\n--x--\r\n"


def post(length):
    return (f"POST /api/v1/search-image HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
            f"content-length: {length}\r\n\r\n").encode()


def at_once(count, attack):
    threads = [threading.Thread(target=attack, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def large_pictures(server, picture, hang_up=False):
    body = form(picture)

    def one(_):
        stream = server.connect()
        stream.sendall(post(len(body)) + body)
        if hang_up:
            stream.close()
        else:
            stream.recv(100)

    return at_once(6, one)


def unfinished_bodies(server):
    def one(number):
        stream = server.connect(f"127.0.0.{2 + number % 4}")
        try:
            stream.sendall(post(21_000_000) + form(bytes(20_000_000))[:-10])
            stream.recv(100)
        except OSError:
            pass
        time.sleep(5)

    return at_once(60, one)


def thumbnails(server):
    widths = [160, 320, 640, 1280]
    return at_once(20, lambda number: server.status(f"/api/v1/images/large.bmp/thumbnail?width={widths[number % 4]}"))


def held(server, path):
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()

    def one(number):
        try:
            stream = server.connect(f"127.0.0.{2 + number % 8}")
            stream.sendall(request)
            time.sleep(8)
        except OSError:
            pass

    return at_once(1100, one)


REFUSED, TAKEN = png(9000, 9000, 16, 6, 8), png(5000, 5000, 16, 6, 8)
AVIF = (ROOT / "tools/attacks/flat.avif").read_bytes()
ATTACKS = [
    ("6 searches by a 9000x9000 RGBA16 PNG", lambda server: large_pictures(server, REFUSED)),
    ("the same, hanging up at once", lambda server: large_pictures(server, REFUSED, True)),
    ("6 searches by a 5000x5000 RGBA16 PNG", lambda server: large_pictures(server, TAKEN)),
    ("the same, hanging up at once", lambda server: large_pictures(server, TAKEN, True)),
    ("6 searches by a 5500x5500 AVIF", lambda server: large_pictures(server, AVIF)),
    ("60 unfinished bodies of 20 MB", unfinished_bodies),
    ("20 thumbnails of an 87 MB BMP", thumbnails),
    ("1,100 event streams", lambda server: held(server, "/api/v1/events")),
    ("1,100 readers that never read an 87 MB file", lambda server: held(server, "/api/v1/images/large.bmp")),
]

# What pages of other sites may have a browser send, and what each must be answered.
JSON_BODY = b'{"text": "tennis"}'
OTHER_PAGES = [
    ("a name of its own (DNS rebinding)", 421, {"host": "evil.example", "content-type": "application/json"}, JSON_BODY),
    ("the same with our port", 421, {"host": "evil.example:3000", "content-type": "application/json"}, JSON_BODY),
    ("a form from another site", 403, {"host": "localhost", "origin": "https://evil.example", "content-type": "multipart/form-data; boundary=x"},
     form(png(8, 8, 8, 2, 3))),
    ("the same without an origin", 403, {"host": "localhost", "sec-fetch-site": "cross-site", "content-type": "multipart/form-data; boundary=x"},
     form(png(8, 8, 8, 2, 3))),
    ("the page itself, for comparison", 200, {"host": "localhost", "content-type": "application/json"}, JSON_BODY),
]


def main():
    failed = False
    with tempfile.TemporaryDirectory() as work:
        server = Server(Path(work))
        try:
            server.searches()
            print("| other web pages: a search with | answer |\n|---|---|")
            for name, wanted, headers, body in OTHER_PAGES:
                status = server.answer(headers, body)
                print(f"| {name} | {status} |")
                failed |= status != wanted
            time.sleep(1)
            idle = server.memory("VmRSS")
            print(f"\nidle: {idle:.0f} MB\n\n| attack | peak MB | above idle | others' slowest search ms |\n|---|---|---|---|", flush=True)
            for name, attack in ATTACKS:
                server.forget_peak()
                threads, waits, peak = attack(server), [], 0
                while any(thread.is_alive() for thread in threads) or len(waits) < 3:
                    waits.append(server.searches())
                    peak = max(peak, server.memory("VmRSS"))
                    time.sleep(0.05)
                time.sleep(2)
                peak = max(peak, server.memory("VmHWM"))
                answered = [wait for wait in waits if wait is not None]
                slowest = f"{max(answered):.0f}" if len(answered) == len(waits) else f"{len(waits) - len(answered)} unanswered"
                print(f"| {name} | {peak:.0f} | {peak - idle:.0f} | {slowest} |", flush=True)
                failed |= peak - idle > ALLOWED_MB or len(answered) < len(waits)
        finally:
            server.process.kill()
            server.process.wait()
    sys.exit(failed)


if __name__ == "__main__":
    main()
