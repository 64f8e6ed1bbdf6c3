#!/usr/bin/env python3
"""What a release contains beside our own code: sbom.cdx.json (CycloneDX 1.5) and THIRD-PARTY-LICENSES.txt, into a folder.

    deploy/bill-of-materials.py x86_64-unknown-linux-gnu OUT

Crates are those that are linked into the program: no build tools, no macros, nothing of the tests. Their licences are read from
the crates themselves, so cargo must have fetched them. ONNX Runtime and the page's libraries come from the files that pin them.
"""

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LICENCE_FILE = re.compile(r"^(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)


def metadata(target):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def linked(meta):
    """Packages that are in the program, ours included, by name and version."""
    packages = {package["id"]: package for package in meta["packages"]}
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    root = next(i for i, package in packages.items() if package["name"] == "image-search")
    found, waiting = {}, [root]
    while waiting:
        identity = waiting.pop()
        package = packages[identity]
        is_macro = any("proc-macro" in target["kind"] for target in package["targets"])
        if identity in found or is_macro:
            continue
        found[identity] = package
        for dependency in nodes[identity]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted(found.values(), key=lambda package: (package["name"], package["version"]))


def checksums():
    """What Cargo.lock says of each crate's archive."""
    text = (ROOT / "Cargo.lock").read_text()
    entry = re.compile(r'name = "([^"]+)"\nversion = "([^"]+)"\n(?:source = "[^"]+"\n)?(?:checksum = "([^"]+)")?')
    return {(name, version): checksum for name, version, checksum in entry.findall(text)}


def component(kind, name, version, purl, licence=None, checksum=None):
    entry = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if licence:
        entry["licenses"] = [{"expression": licence.replace("/", " OR ")}]
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def components(packages):
    sums = checksums()
    crates = [
        component(
            "library", package["name"], package["version"], f"pkg:cargo/{package['name']}@{package['version']}",
            package["license"], sums.get((package["name"], package["version"])),
        )
        for package in packages
        if package["name"] != "image-search"
    ]
    version = re.search(r"onnxruntime==(\S+)", (ROOT / "deploy/onnxruntime.txt").read_text()).group(1)
    onnxruntime = component("library", "onnxruntime", version, f"pkg:pypi/onnxruntime@{version}", "MIT")
    lock = json.loads((ROOT / "web/package-lock.json").read_text())["packages"]
    in_page = [(name, lock[f"node_modules/{name}"]["version"]) for name in ("svelte", "thumbhash")]
    page = [component("library", name, version, f"pkg:npm/{name}@{version}", "MIT") for name, version in in_page]
    return [*crates, onnxruntime, *page]


def sbom(packages, target):
    """The same input gives the same bytes; its number is made of what is described."""
    own = next(package for package in packages if package["name"] == "image-search")
    described = component("application", "image-search", own["version"], f"pkg:cargo/image-search@{own['version']}", own["license"])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{described['purl']}#{target}").urn,
        "version": 1,
        "metadata": {"component": described},
        "components": components(packages),
    }


def licences(packages):
    """Each text once, above it the crates that bring it."""
    texts, without = {}, []
    for package in packages:
        if package["source"] is None:
            continue
        folder = Path(package["manifest_path"]).parent
        files = sorted(path for path in folder.iterdir() if LICENCE_FILE.match(path.name) and path.is_file())
        name = f"{package['name']} {package['version']} ({package['license']})"
        for path in files:
            texts.setdefault(path.read_text(errors="replace").strip(), []).append(name)
        if not files:
            without.append(f"{name}, {package['repository']}")
    rule = "=" * 100
    parts = ["image-search contains these libraries. Our own licence is in LICENSE."]
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        parts.append(f"{rule}\n" + "\n".join(dict.fromkeys(names)) + f"\n{rule}\n\n{text}")
    if without:
        parts.append(f"{rule}\nWithout a text of their own; under the licence that is named:\n" + "\n".join(without))
    parts.append(f"{rule}\nThe page\n{rule}\n\n" + (ROOT / "web/LICENSES.txt").read_text().strip())
    return "\n\n".join(parts) + "\n"


def main():
    target, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    packages = linked(metadata(target))
    (out / "sbom.cdx.json").write_text(json.dumps(sbom(packages, target), indent=1) + "\n")
    (out / "THIRD-PARTY-LICENSES.txt").write_text(licences(packages))


if __name__ == "__main__":
    main()
