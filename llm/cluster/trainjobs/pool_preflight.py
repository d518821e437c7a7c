"""Needs of a training, checked on the cluster before anything is made: Trainer, JobSet, pool, GPUs, queue, our right.

The versions come from the server's discovery, which every account may read. The CRDs not every account may read.
"""

from __future__ import annotations

from llm.cluster.api import Api, Json, connect
from llm.cluster.queues.queue_preflight import Asked, check_queue
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.gpus import AskedGpus, check_gpus
from llm.cluster.trainjobs.trainjob import GROUP, VERSION
from llm.cluster.trainjobs.trainjob_requests import pool, pools, right_to_create_trainjobs
from llm.config import ClusterConfig, TrainingConfig
from llm.errors import ServiceError, UserError

NEEDED = "Gristmill needs Kubeflow Trainer 2.0 to 2.3, which serves trainer.kubeflow.org/v1alpha1."
JOBSET_GROUP, JOBSET_VERSION = "jobset.x-k8s.io", "v1alpha2"
ROLE = "gristmill-train"
"""The platform chart's Role of a launcher, if the release has the name that its README gives it."""


def check_pool(training: TrainingConfig, cluster: ClusterConfig) -> list[str]:
    """Warnings about the training's GPUs and queue.

    Raises UserError or ServiceError if there is no such pool or queue, no right for us, if the pool has not the GPUs
    that the training needs, or if the queue can never start it: now, and not hours later.
    """
    api = connect(cluster)
    try:
        warnings = check_pool_and_queue(api, training, cluster)
        check_right(api)
        return warnings
    finally:
        api.close()


def check_pool_and_queue(api: Api, training: TrainingConfig, cluster: ClusterConfig) -> list[str]:
    """Warnings about GPUs and queue; raises what `read_pool`, `check_gpus` and `check_queue` raise."""
    assert training.pool is not None
    asked = Asked(training.queue, training.priority, training.pool, training.parallel.nodes)
    pool = read_pool(api, training.pool)
    return [*check_gpus(api, AskedGpus.of(training, cluster), pool), *check_queue(api, asked, pool)]


def check_trainer(api: Api) -> None:
    """Raise ServiceError unless the cluster has the Trainer and JobSet whose objects we write."""
    try:
        served = _discover(api, f"/apis/{GROUP}/{VERSION}")
        if served is None:
            raise _without_trainer(api)
        kinds = {resource["name"] for resource in served.get("resources") or []}
        if missing := {"trainjobs", "trainingruntimes"} - kinds:
            names = ", ".join(f"{name}.{GROUP}" for name in sorted(missing))
            raise ServiceError(f"the cluster's {GROUP}/{VERSION} has no {names}", NEEDED, _see(f"crd {names}"))
        if _discover(api, f"/apis/{JOBSET_GROUP}/{JOBSET_VERSION}") is None:
            raise ServiceError(
                f"the cluster has Kubeflow Trainer but no {JOBSET_GROUP}/{JOBSET_VERSION}",
                "Trainer makes a training's pods through JobSet, 0.8 or newer: install it together with Trainer.",
                _see(f"crd jobsets.{JOBSET_GROUP}"),
            )
    except Refused as error:
        if error.status != 403:  # a cluster that hides its APIs will refuse the TrainJob itself
            raise


def read_pool(api: Api, name: str) -> Json:
    """The pool's TrainingRuntime.

    Raises UserError, with the pools that there are, if the namespace has none of that name; ServiceError as
    `check_trainer` does.
    """
    check_trainer(api)
    if (found := pool(api, name)) is not None:
        return found
    there = pools(api)
    raise UserError(
        f"training.pool={name}: namespace {api.namespace} has no TrainingRuntime of that name",
        f"Pools there: {', '.join(there)}." if there else "It has none at all.",
        "Name one of them with training.pool=…, or let an administrator add it to the values of gristmill-platform.",
    )


def check_right(api: Api) -> None:
    """Raise UserError if we may not create TrainJobs. A server that does not say it will refuse the TrainJob itself."""
    right = right_to_create_trainjobs(api)
    if right is None or right.get("allowed", True):
        return
    said = right.get("reason") or right.get("evaluationError")
    raise UserError(
        f"the credentials of {api.source} may not create trainjobs.{GROUP} in namespace {api.namespace}",
        *([f"The API server says: {said}"] if said else []),
        f"The Role {ROLE} of the chart gristmill-platform in that namespace (rbac.train=true) allows it, and all else"
        " that a training needs.",
        f"An administrator grants it: kubectl --namespace {api.namespace} create rolebinding NAME --role={ROLE}"
        " --user=NAME (or --serviceaccount=NAMESPACE:NAME)",
    )


def _without_trainer(api: Api) -> ServiceError:
    group = _discover(api, f"/apis/{GROUP}")
    if group is not None:
        versions = ", ".join(f"{GROUP}/{version['version']}" for version in group.get("versions") or [])
        return ServiceError(f"the cluster's Kubeflow Trainer serves {versions}, not {VERSION}", NEEDED)
    if _discover(api, "/apis/kubeflow.org/v1") is not None:
        return ServiceError(
            "the cluster's Kubeflow training is too old: it serves kubeflow.org/v1 (PyTorchJob)",
            f"{NEEDED} Install it next to the old operator; both can run.",
        )
    return ServiceError(
        "Kubeflow Trainer is not installed: the cluster does not know trainjobs.trainer.kubeflow.org",
        NEEDED,
        _see(f"crd trainjobs.{GROUP}"),
    )


def _see(what: str) -> str:
    return f"To look: kubectl get {what}"


def _discover(api: Api, path: str) -> Json | None:
    try:
        return api.get(path, "list its APIs")
    except Refused as error:
        if error.status != 404:
            raise
        return None
