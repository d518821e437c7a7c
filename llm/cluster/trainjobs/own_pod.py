"""The pod that a launcher runs in: the image that its training runs too, and the owner of its TrainJob.

Kubernetes deletes the TrainJob with the launcher's pod: so it goes with the run, and where Argo removes a step's pod at
its end (podGC), with the step, however that ends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llm.cluster.api import Api, Json, pod_namespace
from llm.cluster.pod_requests import pod_document
from llm.cluster.trainjobs.trainjob import Owner
from llm.errors import UserError
from llm.images import PROJECT, TRAIN_IMAGE, built, cuda_image, pinned

MAIN = "main"
"""The container that Argo runs a step in."""


@dataclass(frozen=True)
class Launcher:
    """The launcher's own pod."""

    pod: str
    namespace: str
    image: str
    owner: Owner | None
    """None if the TrainJob is in another namespace: an owner must be in the same one."""


def own_pod(api: Api) -> Launcher | None:
    """The launcher's pod; None outside of a pod. Raises UserError if there is none of its name."""
    namespace = pod_namespace()
    if namespace is None:
        return None
    name = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")
    found = pod_document(api, name, namespace)
    if found is None:
        raise UserError(
            f"this pod calls itself {name}, and namespace {namespace} has no pod of that name",
            "Set KFP_POD_NAME to the pod's name (fieldRef metadata.name): the TrainJob is deleted with it.",
        )
    return Launcher(name, namespace, _image(found), _owner(found) if namespace == api.namespace else None)


def training_image(launcher: Launcher | None, device: str, project: Path = PROJECT) -> str:
    """The image of a training's pods: as the environment says, the launcher's own, or the one built here.

    `device` is `training.compute.device`: with `cuda` it is the image with the CUDA build of torch, where that was
    built here. The environment of a launcher in a cluster names it (`pipelines.wiring`).
    """
    if (image := os.environ.get(TRAIN_IMAGE)) is not None:
        return image
    if launcher is not None:
        return launcher.image
    if device == "cuda" and (image := cuda_image(project)) is not None:
        return image
    if (train := built(project).get("train")) is not None:  # pods of another tree refuse the plan themselves
        return pinned("train", train)
    raise UserError(
        "there is no image to train with",
        f"Build it with `make images`, or name one with the environment's {TRAIN_IMAGE}.",
    )


def _image(found: Json) -> str:
    containers = found["spec"]["containers"]
    main = next((container for container in containers if container["name"] == MAIN), containers[0])
    return str(main["image"])


def _owner(found: Json) -> Owner:
    return Owner("v1", "Pod", found["metadata"]["name"], found["metadata"]["uid"])
