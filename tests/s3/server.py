#!/usr/bin/env python3
"""Runs a command beside an S3 server (moto) on a free port: tests/s3/server.py COMMAND…

The command finds its address in S3_TEST_URL, and credentials as any program does. Below /_test/ stands what tests need
beside the protocol: many objects at once, and answers as a store gives them that is overloaded or refuses.

Buckets that a test calls Google's are asked as Google's documentation of its XML interface has it: signed with GOOG4-HMAC-SHA256,
without any header x-amz-*, and with conditions of its own for writing. All that is checked here and then asked of moto.
"""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qsl, quote

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ERROR = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code><Message>{}</Message>{}<RequestId>test</RequestId></Error>'


# moto looks for no more than that there is one.
MOTO_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
GOOGLE_KEY, GOOGLE_SECRET = "GOOG1EXAMPLE", "google-test-secret"


class Refused(Exception):
    pass


def google_signature(method, path, query, headers, payload, time_, scope):
    """As the documentation of the V4 signing process says, and not as the program that is tested does."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query)
    request = [method, path, "&".join(f"{name}={value}" for name, value in pairs)]
    request += [f"{name}:{value.strip()}" for name, value in sorted(headers.items())]
    request += ["", ";".join(sorted(headers)), payload]
    digest = hashlib.sha256("\n".join(request).encode()).hexdigest()
    text = "\n".join(["GOOG4-HMAC-SHA256", time_, scope, digest])
    key = ("GOOG4" + GOOGLE_SECRET).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def google_to_s3(environ):
    """Checks a request to a bucket of Google's, and makes it one that moto knows."""
    path, _, query = environ["REQUEST_URI"].partition("?")
    query = parse_qsl(query, keep_blank_values=True)
    sent = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    if any(name.startswith("x-amz-") for name in sent):
        raise Refused(400, "ExcessHeaderValues" if any(name.startswith("x-goog-") for name in sent) else "InvalidSecurity")
    sent["content-type"] = environ.get("CONTENT_TYPE", "")
    in_query = dict(query)
    if "X-Goog-Signature" in in_query:
        given, names = in_query["X-Goog-Signature"], in_query["X-Goog-SignedHeaders"].split(";")
        credential, time_, payload = in_query["X-Goog-Credential"], in_query["X-Goog-Date"], "UNSIGNED-PAYLOAD"
        signed_query = [pair for pair in query if pair[0] != "X-Goog-Signature"]
    else:
        kind, _, parts = sent.pop("authorization", "").partition(" ")
        if kind != "GOOG4-HMAC-SHA256":
            raise Refused(403, "AccessDenied")
        parts = dict(part.strip().split("=", 1) for part in parts.split(","))
        given, names, credential = parts["Signature"], parts["SignedHeaders"].split(";"), parts["Credential"]
        time_, payload, signed_query = sent["x-goog-date"], sent["x-goog-content-sha256"], query
        if any(name.startswith("x-goog-") and name not in names for name in sent):
            raise Refused(403, "SignatureDoesNotMatch")
    key, _, scope = credential.partition("/")
    if key != GOOGLE_KEY:
        raise Refused(403, "InvalidSecurity")
    if scope != f"{time_[:8]}/auto/storage/goog4_request":
        raise Refused(400, "InvalidArgument")
    headers = {name: sent[name] for name in names}
    if given != google_signature(environ["REQUEST_METHOD"], path, signed_query, headers, payload, time_, scope):
        raise Refused(403, "SignatureDoesNotMatch")
    kept = [(name, value) for name, value in query if not name.startswith("X-Goog-")]
    environ["QUERY_STRING"] = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in kept)
    for name in ["HTTP_X_GOOG_DATE", "HTTP_X_GOOG_CONTENT_SHA256"]:
        environ.pop(name, None)
    environ["HTTP_AUTHORIZATION"] = MOTO_AUTHORIZATION
    if environ["REQUEST_METHOD"] == "PUT":
        # Conditions of this name are for reading.
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0"
    return False


class Server:
    def __init__(self):
        self.s3 = DomainDispatcherApplication(create_backend_app)
        self.lock = threading.Lock()
        # By bucket: what to answer instead, and how often (for ever if negative).
        self.faults = {}
        # By bucket: requests so far.
        self.requests = {}
        # Buckets that are Google's.
        self.google = set()
        self.creating = threading.Lock()

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
        if parts[1] in self.google:
            return self.as_google(parts, environ, start_response)
        return self.s3(environ, start_response)

    def as_google(self, parts, environ, start_response):
        try:
            if not google_to_s3(environ):
                return self.s3(environ, start_response)
            with self.creating:
                key = "/".join(parts[2:])
                if key in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[parts[1]].keys:
                    raise Refused(412, "PreconditionFailed")
                return self.s3(environ, start_response)
        except Refused as refused:
            status, code = refused.args
            body = ERROR.format(code, "As Google would.", "").encode()
            start_response(f"{status} Refused", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

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
            elif what == "google":
                self.google.add(bucket)
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
        "GS_ACCESS_KEY_ID": GOOGLE_KEY,
        "GS_SECRET_ACCESS_KEY": GOOGLE_SECRET,
    }
    sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)


main()
