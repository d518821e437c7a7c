"""The training component as Kubeflow Pipelines runs it: the compiled package's own command, in a pod of a Job.

The pod has the component's image, the service account of the platform chart, the manifests of its inputs as files and
`{{$}}` filled in as the driver does it. The Job stands for an Argo that replaces a launcher that was lost; a pod alone
for one that does not.
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
from tests.cluster_case import Json, apply, restricted_pod

INPUTS = {"shards": "tokenize", "vocabulary": "tokenizer"}
"""Input artifact of the component: the step that makes it."""
OUTLIVED = ["sh", "-c", '"$@" & wait $!; code=$?; sleep 3; exit $code', "sh"]
"""First process of a pod alone, as Argo's: a signal from within the pod reaches the launcher and not the first process,
whose end would be the end of all."""


def start_launcher(
    namespace: str,
    name: str,
    config: RunConfig,
    manifests: Mapping[str, Manifest],
    image: str,
    folder: Path,
    retries: int | None,
) -> None:
    """Make the Job, or a pod alone where `retries` is None; its pods carry the label `launcher=<name>`."""
    files = {f"{artifact}.json": manifests[step].document().decode() for artifact, step in INPUTS.items()}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}
    pod = _pod(name, _container(config, image, folder))
    apply(namespace, config_map, _alone(name, pod) if retries is None else _job(name, pod, retries))


def _container(config: RunConfig, image: str, folder: Path) -> Json:
    package = folder / "package.yaml"
    compiler.Compiler().compile(pretrain, str(package), pipeline_parameters={"config": "{}"})
    document = next(yaml.safe_load_all(package.read_text()))
    compiled = document["deploymentSpec"]["executors"]["exec-train"]["container"]
    arguments = [argument.replace("{{$}}", json.dumps(_executor_input(config))) for argument in compiled["args"]]
    return {
        "image": image,
        "command": compiled["command"],
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
    """The template of the launcher's pod."""
    inputs = {"name": "inputs", "configMap": {"name": name}}
    spec = restricted_pod(container, inputs, serviceAccountName="gristmill-train")
    return {"metadata": {"labels": {"launcher": name}}, "spec": spec}


def _alone(name: str, pod: Json) -> Json:
    (container,) = pod["spec"]["containers"]
    spec = {**pod["spec"], "containers": [{**container, "command": [*OUTLIVED, *container["command"]]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **pod["metadata"]}, "spec": spec}


def _job(name: str, pod: Json, retries: int) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": retries, "template": pod},
    }
