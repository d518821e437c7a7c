"""The first task of a run in a cluster, in a pod: the compiled package's own command, and texts put into the pod."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import yaml
from kfp import compiler

from components.pod import STEP_LABEL
from llm.config import RunConfig, to_yaml
from llm.steps.pods import REUSE
from tests.cases.cluster import Json, apply, kubectl, phase, pod_log, restricted_pod, wait_for

TEXTS = "/tmp/texts"
"""Folder of the texts in the pod."""
SCRIPT = f"""
until [ -e {TEXTS}/.whole ]; do sleep 0.1; done
begin=$(date +%s.%N)
"$@" || exit
cat /tmp/executor.json; echo
echo "took $(echo "$(date +%s.%N) $begin" | awk '{{print $1 - $2}}')"
"""


def search(
    namespace: str, config: RunConfig, pattern: str, image: str, folder: Path, prepare: Callable[[str], object]
) -> tuple[int, float, str]:
    """Whether it leaves the steps to do (0: no), its seconds and its log; `pattern` names texts of this machine.

    Before it begins, `prepare` is called with the version of Python in the image.
    """
    spec = restricted_pod(_container(config, image, folder))
    metadata = {"name": REUSE, "labels": {STEP_LABEL: REUSE}}
    apply(namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    wait_for(lambda: phase(namespace, REUSE) == "Running", "the pod to run")
    asked = "import platform; print(platform.python_version())"
    prepare(kubectl("-n", namespace, "exec", REUSE, "--", "python3", "-c", asked).strip())
    _put_texts(namespace, pattern)
    wait_for(lambda: phase(namespace, REUSE) in ("Succeeded", "Failed"), "the end of the search")
    log = pod_log(namespace, REUSE)
    assert phase(namespace, REUSE) == "Succeeded", log
    result, took = log.splitlines()[-2:]
    return int(json.loads(result)["parameterValues"]["Output"]), float(took.split()[1]), log


def _container(config: RunConfig, image: str, folder: Path) -> Json:
    from pipelines.pretrain import pretrain
    from pipelines.wiring import sized

    package = folder / "package.yaml"
    compiler.Compiler().compile(sized(pretrain, config), str(package), pipeline_parameters={"config": "{}"})
    document = next(yaml.safe_load_all(package.read_text()))
    compiled = document["deploymentSpec"]["executors"][f"exec-{REUSE}"]["container"]
    executor_input = {
        "inputs": {"parameterValues": {"config": to_yaml(config), "pipeline": "pretrain"}},
        "outputs": {"parameters": {"Output": {"outputFile": "/tmp/output"}}, "outputFile": "/tmp/executor.json"},
    }
    return {
        "image": image,
        "command": ["sh", "-c", SCRIPT, "sh", *compiled["command"]],
        "args": [argument.replace("{{$}}", json.dumps(executor_input)) for argument in compiled["args"]],
        "envFrom": [{"configMapRef": {"name": "gristmill-environment"}}],
    }


def _put_texts(namespace: str, pattern: str) -> None:
    """Put the texts into the pod, and a mark behind them."""
    library = Path(sysconfig.get_path("stdlib"))
    names = sorted(path.name for path in library.glob(pattern))
    pack = subprocess.run(["tar", "-C", str(library), "-cf", "-", *names], capture_output=True, check=True, timeout=60)
    unpack = f"mkdir {TEXTS}; tar -C {TEXTS} -xf - && touch {TEXTS}/.whole"
    subprocess.run(
        ["kubectl", "-n", namespace, "exec", "-i", REUSE, "--", "sh", "-c", unpack],
        input=pack.stdout, check=True, timeout=60, capture_output=True,
    )  # fmt: skip
