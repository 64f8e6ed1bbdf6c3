#!/usr/bin/env python3
"""Runs a command beside Azurite (Microsoft's stand-in for Azure Blob Storage) on a free port: tests/azure/server.py COMMAND…

The command finds its address in AZURE_TEST_URL, and an account with a key that is made up here as any program does. With
AZURE_TEST_SAS in an address tests change blobs behind the program's back; AZURE_TEST_SAS_EXPIRED is one that ended.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

AZURITE = Path(__file__).parents[2] / "target/azure-tests/node_modules/azurite/dist/src/blob/main.js"
ACCOUNT = "pictures"
SAS_VERSION = "2020-12-06"


def account_sas(key, ends):
    """As Microsoft's documentation of account SAS says, and not as the program that is tested does."""
    permissions, services, kinds = "rwdlac", "b", "sco"
    lines = [ACCOUNT, permissions, services, kinds, "", ends, "", "", SAS_VERSION, "", ""]
    signature = hmac.new(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256).digest()
    token = {"sv": SAS_VERSION, "ss": services, "srt": kinds, "sp": permissions, "se": ends}
    return urlencode({**token, "sig": base64.b64encode(signature).decode()})


def main():
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    others = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            ["node", AZURITE, "--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent", "--disableTelemetry"],
            cwd=folder,
            env={**others, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            said = []
            for line in server.stdout:
                said.append(line)
                listens = re.search(r"listens on (http://\S+)", line)
                if listens:
                    break
            else:
                sys.exit("Azurite did not start: " + "".join(said))
            environment = {
                **others,
                "AZURE_TEST_URL": f"{listens[1]}/{ACCOUNT}",
                "AZURE_TEST_SAS": account_sas(key, "2999-01-01T00:00:00Z"),
                "AZURE_TEST_SAS_EXPIRED": account_sas(key, "2020-01-01T00:00:00Z"),
                "AZURE_STORAGE_ACCOUNT": ACCOUNT,
                "AZURE_STORAGE_KEY": key,
            }
            code = subprocess.run(sys.argv[1:], env=environment).returncode
        finally:
            server.terminate()
            server.wait()
    sys.exit(code)


main()
