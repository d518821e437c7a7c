"""Check our manifests against the CustomResourceDefinitions of a version that no cluster at hand has.

    python scripts/check_crds.py FILE...

Each FILE holds CRDs, such as those of another Kubeflow Trainer: `git show release-2.0:manifests/base/crds/…` in a
clone of it. Checked are the TrainJobs and the runtimes of tests/golden. A field that a CRD does not know is a fault,
although an API server drops it without a word. Ends with 1 if there is one, and with 2 if no manifest was checked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
OF_THE_API_SERVER = ("apiVersion", "kind", "metadata")
"""Fields that every object has, whatever its CRD says."""
Schema = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Check each CRD's kind; 0 if all manifests fit."""
    checked, faults = 0, []
    for path in map(Path, arguments):
        for crd in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            for version in crd["spec"]["versions"]:
                for name, document in manifests(
                    crd["spec"]["names"]["kind"], f"{crd['spec']['group']}/{version['name']}"
                ):
                    checked += 1
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    faults += [f"{path.name}: {name}: {fault}" for fault in faults_of(document, schema)]
    print("\n".join([*faults, f"{checked} manifests checked, {len(faults)} faults"]))
    return 1 if faults else 0 if checked else 2


def manifests(kind: str, api_version: str) -> Iterator[tuple[str, Any]]:
    """Our golden manifests of a kind, with the name of their file."""
    for path in sorted(GOLDEN.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(document, dict) and (document.get("kind"), document.get("apiVersion")) == (kind, api_version):
                yield path.name, document


def faults_of(document: Any, schema: Schema) -> Iterator[str]:
    """Every place of a document that does not fit, and why."""
    for error in jsonschema.Draft202012Validator(schema).iter_errors(document):
        yield f"{'/'.join(map(str, error.path))}: {error.message[:200]}"


def strict(schema: Any, *, is_root: bool = True) -> Any:
    """The schema of a CRD as JSON Schema that knows no other fields."""
    if not isinstance(schema, dict):
        return schema
    made: Schema = {key: value for key, value in schema.items() if key not in ("format", "default")}
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in made:
        made["properties"] = {key: strict(value, is_root=False) for key, value in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = strict(made[key], is_root=False)
    if is_root:
        made["properties"] = {**made.get("properties", {}), **dict.fromkeys(OF_THE_API_SERVER, True)}
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
