#!/usr/bin/env python3
"""Writes what the program is made of as a CycloneDX 1.5 document: every crate that is built into it, with licence, address
and checksum, and the packages that the page is built from. Needs cargo and nothing else; asks no network.

    python3 tools/sbom.py > target/sbom.cdx.json
"""
import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "image-search"


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def built_in(nodes, root):
    """What `root` is built from: normal and build dependencies, and theirs; not what only tests need."""
    seen, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return seen


def licence_of(package):
    text = package.get("license")
    # Older crates write "MIT/Apache-2.0", which is no SPDX expression.
    return [{"expression": text.replace("/", " OR ")}] if text else []


def component(package, checksums):
    name, version = package["name"], package["version"]
    entry = {
        "type": "library",
        "bom-ref": f"pkg:cargo/{name}@{version}",
        "name": name,
        "version": version,
        "licenses": licence_of(package),
        "purl": f"pkg:cargo/{name}@{version}",
    }
    if checksum := checksums.get((name, version)):
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if repository := package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": repository}]
    return entry


def page():
    """What the page in web/dist is built from."""
    lock = json.loads((ROOT / "web/package-lock.json").read_text())
    for path, package in sorted(lock["packages"].items()):
        if path and "version" in package:
            name = path.split("node_modules/")[-1]
            purl = f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"
            licences = [{"expression": package["license"]}] if package.get("license") else []
            yield {
                "type": "library",
                "bom-ref": f"{purl}#{path}",
                "scope": "optional",
                "name": name,
                "version": package["version"],
                "licenses": licences,
                "purl": purl,
            }


def main():
    found = metadata()
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    root = next(i for i, package in packages.items() if package["name"] == PROGRAM)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    used = built_in(nodes, root)

    def ref(package):
        return f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}"

    crates = sorted((component(packages[i], checksums) for i in used if i != root), key=lambda c: c["bom-ref"])
    depends = [
        {"ref": ref(i), "dependsOn": sorted({ref(d["pkg"]) for d in nodes[i]["deps"] if d["pkg"] in used})}
        for i in sorted(used)
    ]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(crates))}",
        "version": 1,
        "metadata": {"component": {**component(packages[root], checksums), "type": "application"}},
        "components": crates + list(page()),
        "dependencies": depends,
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
