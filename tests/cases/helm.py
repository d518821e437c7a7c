"""Helm for the tests of charts: where it is found, and its output as documents.

Helm is one binary that no package registry for Python has, so it may be missing: then these tests are skipped, and say
so. It is looked for on PATH, then in the folder that GRISTMILL_TEST_TOOLS names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHARTS = Path(__file__).parents[2] / "charts"
TRAINER = ("trainer.kubeflow.org/v1alpha1", "trainer.kubeflow.org/v1alpha1/TrainingRuntime")
JOBSET = ("jobset.x-k8s.io/v1alpha2", "jobset.x-k8s.io/v1alpha2/JobSet")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where PyYAML has it: ten times as fast."""
A_CLUSTER = ("v1/Secret", "v1/Pod")
"""API versions that Helm knows only from a cluster."""


def find_helm() -> str | None:
    """Path of the helm command; None where there is none."""
    folders = [os.environ.get("PATH", ""), os.environ.get("GRISTMILL_TEST_TOOLS", "")]
    return shutil.which("helm", path=os.pathsep.join(folder for folder in folders if folder))


class Helm:
    """One chart, rendered without a cluster."""

    def __init__(self, chart: str | Path) -> None:
        found = find_helm()
        if found is None:
            pytest.skip("helm is neither on PATH nor in the folder that GRISTMILL_TEST_TOOLS names")
        self.command, self.chart = found, CHARTS / chart

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Helm's answer, without a kubeconfig to find a cluster by."""
        environment = {**os.environ, "KUBECONFIG": os.devnull}
        command = [self.command, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    def template(self, *arguments: str | Path, release: str = "gristmill") -> str:
        """The rendered manifests; a refusal fails the test."""
        done = self.run("template", release, self.chart, "--namespace", "ml", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def documents(self, *arguments: str | Path, release: str = "gristmill") -> list[dict[str, Any]]:
        """The rendered manifests as documents, those of `helm test` among them."""
        return documents(self.template(*arguments, release=release))

    def refusal(self, *arguments: str | Path) -> str:
        """What helm says where it must refuse."""
        done = self.run("template", "gristmill", self.chart, "--namespace", "ml", *arguments)
        assert done.returncode != 0, "helm rendered what it should have refused"
        return done.stderr


def documents(rendered: str) -> list[dict[str, Any]]:
    """The documents of rendered manifests, without the empty ones."""
    return [document for document in yaml.load_all(rendered, Loader=LOADER) if document is not None]


def one(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The document of a kind and name."""
    (match,) = [item for item in found if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return match


STRINGS = {"labels", "matchLabels", "selector", "annotations", "resourceNames"}
"""Keys of a manifest below which everything is a string, beside what is called a name or a namespace."""


def misread(node: Any, path: str = "", strings: bool = False) -> list[str]:
    """Where a rendered name, label or annotation is not a string, as an unquoted `100` or `true` would not be."""
    if isinstance(node, dict):
        below = [
            (key, strings or key in STRINGS or key.lower().endswith(("name", "namespace")), node[key])
            for key in node if key != "shareProcessNamespace"
        ]  # fmt: skip
    elif isinstance(node, list):
        below = [(index, strings, item) for index, item in enumerate(node)]
    else:
        return [f"{path}: {node!r}"] if strings and not isinstance(node, str) else []
    return [found for key, named, item in below for found in misread(item, f"{path}.{key}", named)]


def tidy(rendered: str) -> str:
    """Rendered manifests without what differs between versions of Helm: blank lines and spaces at line ends."""
    lines = (line.rstrip() for line in rendered.splitlines())
    return re.sub(r"\n{2,}", "\n", "\n".join(lines)).strip() + "\n"
