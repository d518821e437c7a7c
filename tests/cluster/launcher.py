"""The training component as Kubeflow Pipelines runs it: the compiled package's own command, in a pod of a Job.

The pod has the component's image, the service account of the platform chart, the manifests of its inputs as files and
`{{$}}` filled in as the driver does it. The Job stands for Argo: it replaces a launcher that was lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from llm.config import RunConfig, to_yaml
from llm.storage import Manifest
from pipelines.pretrain import pretrain
from tests.cluster_case import S3_SECRET, Json, apply

INPUTS = {"shards": "tokenize", "vocabulary": "tokenizer"}
"""Input artifact of the component: the step that makes it."""


def start_launcher(
    namespace: str,
    name: str,
    config: RunConfig,
    manifests: Mapping[str, Manifest],
    image: str,
    folder: Path,
    retries: int,
) -> None:
    """Make the Job; its pods carry the label `job-name=<name>`."""
    files = {f"{artifact}.json": manifests[step].document().decode() for artifact, step in INPUTS.items()}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}
    apply(namespace, config_map, _job(name, _container(config, image, folder), retries))


def _container(config: RunConfig, image: str, folder: Path) -> Json:
    package = folder / "package.yaml"
    compiler.Compiler().compile(pretrain, str(package), pipeline_parameters={"config": "{}"})
    document = next(yaml.safe_load_all(package.read_text()))
    compiled = document["deploymentSpec"]["executors"]["exec-train"]["container"]
    arguments = [argument.replace("{{$}}", json.dumps(_executor_input(config))) for argument in compiled["args"]]
    return {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": compiled["command"],
        "args": arguments,
        "env": [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": S3_SECRET, "key": key}}}
            for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ],
        "envFrom": [{"configMapRef": {"name": "gristmill-environment"}}],
        "volumeMounts": [{"name": "inputs", "mountPath": "/inputs"}, {"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _executor_input(config: RunConfig) -> Json:
    def artifact(uri: str, title: str) -> Json:
        return {"artifacts": [{"name": "x", "type": {"schemaTitle": title}, "uri": uri, "metadata": {}}]}

    inputs: dict[str, Any] = {name: artifact(f"/inputs/{name}.json", "system.Artifact") for name in INPUTS}
    outputs = {
        "checkpoint": artifact("/tmp/outputs/checkpoint", "system.Model"),
        "metrics": artifact("/tmp/outputs/metrics", "system.Metrics"),
    }
    return {
        "inputs": {"parameterValues": {"config": to_yaml(config)}, "artifacts": inputs},
        "outputs": {"artifacts": outputs, "outputFile": "/tmp/outputs/executor.json"},
    }


def _job(name: str, container: Json, retries: int) -> Json:
    pod = {
        "serviceAccountName": "gristmill-train",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "inputs", "configMap": {"name": name}}, {"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": retries, "template": {"spec": pod}},
    }
