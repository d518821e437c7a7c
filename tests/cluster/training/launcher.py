"""The training component as Kubeflow Pipelines runs it: the compiled package's own command, in a plain pod.

The pod has the component's image, the service account of the platform chart, the manifests of its inputs as files and
`{{$}}` filled in as the driver does it. Argo makes such a pod for each try of a step, and nothing replaces it.
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
from tests.cases.cluster import Json, apply, restricted_pod

INPUTS = {"shards": "tokenize", "vocabulary": "tokenizer"}
"""Input artifact of the component: the step that makes it."""
OUTLIVED = ["sh", "-c", '"$@" & wait $!; code=$?; sleep 3; exit $code', "sh"]
"""First process of a pod, as Argo has one. A script in the pod that sends a signal to all processes (-1) reaches the
launcher, and not the first process. The three seconds let that script come to its end."""


def start_launcher(
    namespace: str,
    name: str,
    config: RunConfig,
    manifests: Mapping[str, Manifest],
    image: str,
    folder: Path,
) -> None:
    """Make the pod, and the ConfigMap with its inputs."""
    files = {f"{artifact}.json": manifests[step].document().decode() for artifact, step in INPUTS.items()}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}
    apply(namespace, config_map, _pod(name, _container(config, image, folder)))


def _container(config: RunConfig, image: str, folder: Path) -> Json:
    package = folder / "package.yaml"
    compiler.Compiler().compile(pretrain, str(package), pipeline_parameters={"config": "{}"})
    document = next(yaml.safe_load_all(package.read_text()))
    compiled = document["deploymentSpec"]["executors"]["exec-train"]["container"]
    arguments = [argument.replace("{{$}}", json.dumps(_executor_input(config))) for argument in compiled["args"]]
    return {
        "image": image,
        "command": [*OUTLIVED, *compiled["command"]],
        "args": arguments,
        "envFrom": [{"configMapRef": {"name": "gristmill-environment"}}],
        "volumeMounts": [{"name": "inputs", "mountPath": "/inputs"}],
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


def _pod(name: str, container: Json) -> Json:
    inputs = {"name": "inputs", "configMap": {"name": name}}
    spec = restricted_pod(container, inputs, serviceAccountName="gristmill-train")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
