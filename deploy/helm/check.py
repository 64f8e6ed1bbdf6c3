#!/usr/bin/env python3
"""Renders the chart as Helm does, checks what comes out against Kubernetes' schemas, and holds it to what we promise of it."""

import sys
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

CHART = Path(__file__).parent
# The oldest and the newest that the chart is for.
VERSIONS = ["1.27", "1.33"]


def rendered(values):
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name="pictures", namespace="search")
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def check_pod(name, spec):
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"], name
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        if container["args"][0] == "serve":
            assert all(container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")), name
        secret = ("PASSWORD", "API_KEY", "KEY")
        for variable in container["env"]:
            named = variable["name"].endswith(secret)
            assert not named, f"{name}: {variable['name']} is a secret, and not a reference to one"


def main():
    example = yaml.safe_load((CHART / "example-values.yaml").read_text())
    found = helm.lint(str(CHART), values=example, strict=True)
    findings = [message for message in found["messages"] if message["severity"] > 1] + found["errors"]
    assert not findings, findings
    plain = {**example, "worker": {}, "ingress": {}, "networkPolicy": {"enabled": False}}
    for values in (example, plain):
        documents = rendered(values)
        for document in documents:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
            name = f"{document['kind']} {document['metadata']['name']}"
            if document["kind"] in ("Deployment", "Job"):
                check_pod(name, document["spec"]["template"]["spec"])
        print(f"{len(documents)} documents:", ", ".join(sorted({document["kind"] for document in documents})))
    for wrong in ({"catalog": {"url": "sqlite"}}, {"images": []}, {"tokenSecret": {"name": "", "key": "x"}}):
        try:
            rendered({**example, **wrong})
        except helm.HelmError:
            continue
        sys.exit(f"the chart takes {wrong}")


main()
