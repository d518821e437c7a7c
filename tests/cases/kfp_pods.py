"""The pods that Kubeflow Pipelines 2.17 makes of a compiled package, without a Kubeflow Pipelines.

Read from its source at 7b70c7b (backend/src/v2/compiler/argocompiler: argo.go, container.go, security_context.go;
backend/src/v2/driver: driver.go, k8s.go) and from pods seen running. What Argo adds (`init`, `wait`) is restricted, and
asks for nothing unless its administrator says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

Json = dict[str, Any]
BASELINE = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
RESTRICTED = {**BASELINE, "runAsNonRoot": True}
DRIVER = {"limits": {"memory": "0.5Gi", "cpu": "0.5"}, "requests": {"memory": "64Mi", "cpu": "0.1"}}
LAUNCHER = {"limits": {"memory": "256Mi", "cpu": "0.5"}, "requests": {"cpu": "0.1"}}
SCRATCH = (
    "kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "dot-local-scratch", "dot-cache-scratch",
    "dot-config-scratch",
)  # fmt: skip
OF_KFP = "ghcr.io/kubeflow/{}:2.17.0"
OF_ARGO = "quay.io/argoproj/argoexec:v4.0.5"


def pods_of(package: str, account: str) -> Iterator[Json]:
    """Every pod of a run: for each step one that Kubeflow's driver runs in, and the step's own."""
    pipeline, platforms = yaml.safe_load_all(package)
    kubernetes = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        step = name.removeprefix("exec-")
        yield driver_pod(step, account)
        yield step_pod(step, account, executor["container"], kubernetes.get(name, {}))


def driver_pod(step: str, account: str) -> Json:
    main = {"name": "main", "image": OF_KFP.format("kfp-driver"), "resources": DRIVER, "securityContext": RESTRICTED}
    return _pod(f"{step}-driver", account, {"containers": [main, _argo("wait")], "initContainers": [_argo("init")]})


def step_pod(step: str, account: str, container: Json, platform: Json) -> Json:
    """A step's pod: the launcher that Kubeflow copies into it, and the container with the step."""
    given = platform.get("securityContext", {})
    user = {key: value if key == "runAsNonRoot" else int(value) for key, value in given.items()}
    main = {
        "name": "main",
        "image": container["image"],
        "resources": resources_of(container.get("resources", {})),
        "securityContext": {**BASELINE, **user},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in SCRATCH],
    }
    launcher = {
        "name": "kfp-launcher", "image": OF_KFP.format("kfp-launcher"),
        "resources": LAUNCHER, "securityContext": RESTRICTED,
    }  # fmt: skip
    spec = {
        "containers": [main, _argo("wait")],
        "initContainers": [_argo("init"), launcher],
        "volumes": [{"name": name, "emptyDir": {}} for name in SCRATCH],
        "nodeSelector": platform.get("nodeSelector", {}).get("labels", {}),
        "tolerations": platform.get("tolerations", []),
    }
    if "activeDeadlineSeconds" in platform:
        spec["activeDeadlineSeconds"] = int(platform["activeDeadlineSeconds"])
    return _pod(step, account, spec, platform.get("podMetadata", {}))


def resources_of(asked: Json) -> Json:
    """What a container asks for, in Kubernetes' words."""
    found: Json = {"limits": {}, "requests": {}}
    for kind, key in (("limits", "Limit"), ("requests", "Request")):
        for resource, word in (("cpu", "Cpu"), ("memory", "Memory")):
            if (amount := asked.get(f"resource{word}{key}")) is not None:
                found[kind][resource] = amount
    if (accelerator := asked.get("accelerator")) is not None:
        found["limits"][accelerator["resourceType"]] = accelerator["resourceCount"]
    return found


def _argo(name: str) -> Json:
    return {"name": name, "image": OF_ARGO, "securityContext": RESTRICTED}


def _pod(name: str, account: str, spec: Json, metadata: Json | None = None) -> Json:
    common = {
        "serviceAccountName": account, "restartPolicy": "Never",
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    named = {"name": name, **(metadata or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": {**common, **spec}}
