"""A real cluster for the tests: kubectl, helm, namespaces under PodSecurity `restricted`, pods and what they printed.

Any cluster will do that KUBECONFIG names, with Kubeflow Trainer in it, an S3 server that this machine and the pods
reach, and the project's images on its nodes: see tests/cluster/conftest.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHARTS = Path(__file__).parents[2] / "charts"
S3_SECRET = "gristmill-s3"  # the platform chart's default
PATIENCE_SECONDS = 180.0

Json = dict[str, Any]


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """What kubectl prints; fails the test with its error."""
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def apply(namespace: str, *documents: Json) -> None:
    """Apply documents."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    kubectl("-n", namespace, "apply", "-f", "-", stdin=text)


def objects(namespace: str, kind: str, *selector: str) -> list[Json]:
    """All objects of a kind."""
    found: list[Json] = json.loads(kubectl("-n", namespace, "get", kind, *selector, "-o", "json"))["items"]
    return found


def everything(namespace: str) -> set[str]:
    """All objects of a namespace, of every kind that the API server has, but for the events that tell of them."""
    kinds = kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    named = ",".join(kind for kind in kinds if not kind.startswith("events"))
    return set(kubectl("-n", namespace, "get", named, "-o", "name", "--ignore-not-found").split())


def helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=600)
    assert not check or done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}{done.stdout}"
    return done


def wait_for(what: Callable[[], Any], why: str, seconds: float = PATIENCE_SECONDS, every: float = 0.5) -> Any:
    """Poll until it gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {why}"
        time.sleep(every)
    return found


@contextmanager
def fresh_namespace(prefix: str) -> Iterator[str]:
    """A namespace that enforces `restricted`, with the S3 secret in it; gone afterwards."""
    name = f"{prefix}-{os.urandom(3).hex()}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kubectl("apply", "-f", "-", stdin=json.dumps(document))
    keys = {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if key in os.environ}
    apply(name, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": S3_SECRET}, "stringData": keys})
    try:
        yield name
    finally:
        kubectl("-n", name, "delete", "trainjobs", "--all", "--wait=false", check=False)
        kubectl("delete", "namespace", name, "--wait=false")


def restricted_pod(container: Json, *volumes: Json, **others: Any) -> Json:
    """The spec of a pod that `restricted` admits: one container with the keys of S3, and /tmp to write to."""
    keys = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": S3_SECRET, "key": key}}}
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    ]
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    whole = {
        "name": "main",
        "imagePullPolicy": "IfNotPresent",
        **container,
        "env": [*keys, *container.get("env", [])],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *container.get("volumeMounts", [])],
        "securityContext": security,
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [whole],
        "volumes": [{"name": "tmp", "emptyDir": {}}, *volumes],
        **others,
    }


def phase(namespace: str, pod: str) -> str:
    """Where a pod stands: Pending, Running, Succeeded, Failed."""
    return kubectl("-n", namespace, "get", "pod", pod, "-o", "jsonpath={.status.phase}")


def pod_log(namespace: str, pod: str, container: str | None = None, *options: str) -> str:
    """What a pod has printed so far; empty if it has not begun."""
    return kubectl("-n", namespace, "logs", pod, *(["-c", container] if container else []), *options, check=False)


def pods_of(namespace: str, job: str) -> list[Json]:
    """Pods of a TrainJob."""
    return objects(namespace, "pods", "-l", f"jobset.sigs.k8s.io/jobset-name={job}")
