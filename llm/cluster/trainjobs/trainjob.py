"""The TrainJob of a training: its name, what it asks for, and the fingerprint of that.

It uses only fields that Kubeflow Trainer 2.0 to 2.3 share. The pool, a TrainingRuntime of the platform chart, says all
else about its pods: resources, volumes, selectors, restarts, grace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llm.cluster.labels import HASH_CHARACTERS, label_value, short_hash
from llm.config.sections.cluster import PRIORITY_LABEL, QUEUE_LABEL
from llm.storage import sha256_of_json

GROUP = "trainer.kubeflow.org"
VERSION = "v1alpha1"
NODE = "node"
"""Name of the pools' replicated job and of its pods' container."""
MANAGED_BY = "app.kubernetes.io/managed-by"
RUN = "gristmill.io/run"
TASK = "gristmill.io/task"
SPEC_HASH = "gristmill.io/spec-sha256"
WORK = "gristmill.io/work"
"""Label with a hash of the command: the same for two runs that train the same, into the same place of the store."""

NAME_CHARACTERS = 40
"""Room for JobSet's ending of a pod's name, which is a host name of 63 characters: `<name>-node-0-<index>-xxxxx`."""


@dataclass(frozen=True)
class TrainJobSpec:
    """The request of a training to the cluster."""

    run: str
    task: str
    """The step `train`, or `train-N` for a stage of it that has a TrainJob of its own."""
    pool: str
    """Name of a TrainingRuntime in the namespace."""
    nodes: int
    processes: int
    """Ranks on each node."""
    command: tuple[str, ...]
    team_label: str = "team"
    """Label of pods that names the team that pays."""
    team: str | None = None
    """The team that pays for a pod without that label."""
    queue: str | None = None
    """LocalQueue of Kueue; None: the namespace's queue `default`, if there is one."""
    priority: str | None = None
    """WorkloadPriorityClass of Kueue."""
    device: str = "auto"
    """`training.compute.device`."""

    @property
    def step(self) -> str:
        """The step that the task is of."""
        return self.task.partition("-")[0]


@dataclass(frozen=True)
class Owner:
    """An object of the namespace: when it is deleted, Kubernetes deletes the TrainJob too."""

    api_version: str
    kind: str
    name: str
    uid: str

    def reference(self) -> dict[str, Any]:
        """The ownerReference; the owner is deleted without waiting for the TrainJob."""
        return {"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid}


def trainjob_name(run: str, task: str) -> str:
    """The same name for the same run and task: a DNS label (RFC 1035) with a readable part and a hash of both.

    The names of two runs differ although their readable parts may not.
    """
    room = NAME_CHARACTERS - HASH_CHARACTERS - len(_slug(task)) - 2
    readable = f"{_slug(run)[:room].rstrip('-')}-{_slug(task)}".strip("-")
    if not readable[:1].isalpha():
        readable = f"run-{readable}"[: NAME_CHARACTERS - HASH_CHARACTERS - 1].rstrip("-")
    return f"{readable}-{short_hash(run, task)}"


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
            WORK: short_hash(*spec.command),
            **_queue_labels(spec),
        },
        "annotations": {SPEC_HASH: sha256_of_json(wanted)},
    }
    if owner is not None:
        metadata["ownerReferences"] = [owner.reference()]
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": wanted}


def _queue_labels(spec: TrainJobSpec) -> dict[str, str]:
    """Not a part of the fingerprint: the same training in another queue is the same training."""
    labels = ((QUEUE_LABEL, spec.queue), (PRIORITY_LABEL, spec.priority))
    return {key: name for key, name in labels if name is not None}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
