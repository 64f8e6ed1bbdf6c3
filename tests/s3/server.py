#!/usr/bin/env python3
"""Runs a command beside an S3 server (moto) on a free port: tests/s3/server.py COMMAND…

The command finds its address in S3_TEST_URL, and credentials as any program does. Below /_test/ stands what tests need
beside the protocol: many objects at once, and answers as a store gives them that is overloaded or refuses.
"""

import base64
import json
import os
import subprocess
import sys
import threading
import time

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message>{}<RequestId>test</RequestId></Error>'


class Server:
    def __init__(self):
        self.s3 = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        # By bucket: what to answer instead, and how often (for ever if negative).
        self.faults = {}
        # By bucket: requests so far.
        self.requests = {}

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        parts = path.split("/", 3)
        if parts[1] == "_test":
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            answer = json.dumps(self.control(parts[2], parts[3], json.loads(body or b"{}"))).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
            return [answer]
        fault = self.fault(parts[1])
        if fault:
            time.sleep(fault.get("hang_s", 0))
            body = ERROR.format(fault["code"], fault.get("message", "As the test wants it."), fault.get("more", "")).encode()
            length = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response(f"{fault['status']} Fault", length + list(fault.get("headers", {}).items()))
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]
        return self.s3(environ, start_response)

    def fault(self, bucket):
        with self.lock:
            self.requests[bucket] = self.requests.get(bucket, 0) + 1
            fault = self.faults.get(bucket)
            if not fault or not fault["count"]:
                return None
            # Only from a certain request on.
            if fault.get("after", 0) > 0:
                fault["after"] -= 1
                return None
            fault["count"] -= 1
            return fault

    def control(self, what, bucket, body):
        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        with self.lock:
            if what == "make":
                backend.create_bucket(bucket, "us-east-1")
            elif what == "put":
                for key in body["keys"]:
                    backend.put_object(bucket, key, bytes(body["bytes"]))
            elif what == "fill":
                for key, content in body.items():
                    backend.put_object(bucket, key, base64.b64decode(content))
            elif what == "remove":
                for key in body["keys"]:
                    backend.delete_object(bucket, key)
            elif what == "fault":
                self.faults[bucket] = body
            elif what == "state":
                keys = sorted(key for key in backend.buckets[bucket].keys.keys())
                return {"keys": keys, "requests": self.requests.get(bucket, 0)}
            else:
                raise ValueError(what)
        return {}


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_):
        pass


def main():
    server = make_server("127.0.0.1", 0, Server(), threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "S3_TEST_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
    }
    sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)


main()
