"""The TrainJob of a training: what it is called, what it asks for, and the fingerprint of that.

Only fields that Kubeflow Trainer 2.0 to 2.3 share. What a pod is besides its image and command (resources, volumes,
selectors, restarts, grace) belongs to the pool, a TrainingRuntime of the platform chart.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from llm.storage import sha256_of_json

GROUP = "trainer.kubeflow.org"
VERSION = "v1alpha1"
MANAGED_BY = "app.kubernetes.io/managed-by"
RUN = "gristmill.io/run"
TASK = "gristmill.io/task"
SPEC_HASH = "gristmill.io/spec-sha256"
WORK = "gristmill.io/work"
"""Label with a hash of the command: the same for two runs that train the same, into the same place of the store."""

NAME_CHARACTERS = 40
"""Room for what JobSet adds to a pod's name, which is a host name of 63 characters: `<name>-node-0-<index>-xxxxx`."""
LABEL_CHARACTERS = 63
HASH_CHARACTERS = 8
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class TrainJobSpec:
    """What a step asks of the cluster."""

    run: str
    task: str
    pool: str
    """Name of a TrainingRuntime in the namespace."""
    nodes: int
    processes: int
    """Ranks on each node."""
    command: tuple[str, ...]


@dataclass(frozen=True)
class Owner:
    """An object of the namespace with which the TrainJob is deleted."""

    api_version: str
    kind: str
    name: str
    uid: str

    def reference(self) -> dict[str, Any]:
        """The ownerReference; the owner's own deletion does not wait for the TrainJob's."""
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid}


def trainjob_name(run: str, task: str) -> str:
    """The same name for the same run and task: a DNS label (RFC 1035) with a readable part and a hash of both.

    The names of two runs differ although their readable parts may not.
    """
    room = NAME_CHARACTERS - HASH_CHARACTERS - len(_slug(task)) - 2
    readable = f"{_slug(run)[:room].rstrip('-')}-{_slug(task)}".strip("-")
    if not readable[:1].isalpha():
        readable = f"run-{readable}"[: NAME_CHARACTERS - HASH_CHARACTERS - 1].rstrip("-")
    return f"{readable}-{_hash(run, task)}"


def is_label_value(text: str) -> bool:
    """Whether Kubernetes takes the text as a label's value."""
    return len(text) <= LABEL_CHARACTERS and _LABEL.fullmatch(text) is not None


def label_value(text: str) -> str:
    """The text as a label's value: itself where Kubernetes takes it, else a readable part and a hash."""
    if is_label_value(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[: LABEL_CHARACTERS - HASH_CHARACTERS - 1].strip("-_.")
    return f"{readable}-{_hash(text)}".lstrip("-")


def manifest(spec: TrainJobSpec, namespace: str, image: str, owner: Owner | None) -> dict[str, Any]:
    """The TrainJob to create."""
    wanted = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": spec.pool},
        "trainer": {
            "image": image,
            "command": list(spec.command),
            "numNodes": spec.nodes,
            "numProcPerNode": spec.processes,
        },
    }
    metadata: dict[str, Any] = {
        "name": trainjob_name(spec.run, spec.task),
        "namespace": namespace,
        "labels": {
            MANAGED_BY: "gristmill",
            RUN: label_value(spec.run),
            TASK: label_value(spec.task),
            WORK: _hash(*spec.command),
        },
        "annotations": {SPEC_HASH: sha256_of_json(wanted)},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner.reference()]
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": wanted}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH_CHARACTERS]
