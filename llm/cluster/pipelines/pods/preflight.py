"""Things that a run in pods cannot do: refused before anything is made on the cluster.

The steps of a submitted run are pods. They share no folder with each other or with the machine that submits, and
everybody who sees the run in Kubeflow Pipelines can read its parameters.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from llm.adoption.find import refuse_folders
from llm.cluster.labels import is_label_value
from llm.config import RunConfig, to_yaml, without_secrets
from llm.data.sources import source_of
from llm.data.validation.suite import is_path
from llm.errors import UserError
from llm.evaluation.metric import check_metrics
from llm.storage import is_s3
from llm.storage.recipe.sources import check_sources
from llm.tracking.mlflow_server import is_server
from llm.tracking.sink import find_sinks
from llm.training.estimate.fit import check_memory

OPTIONAL_SINKS = ("wandb",)
"""Their package need not be here, but in the images of the steps."""
THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104  nothing is bound to it


def pod_preflight(config: RunConfig) -> list[str]:
    """Warnings about facts that only the pods can know; raises UserError for a setting that cannot work there."""
    _check_store(config)
    _check_machines(config)
    _check_tracking(config)
    find_sinks([name for name in config.tracking.sinks if name not in OPTIONAL_SINKS])
    check_secrets(config)
    _check_name(config)
    check_metrics(config.evaluation, config.gate)
    check_sources(config.training.modules)
    check_memory(config)
    refuse_folders(config)
    paths = {}
    if source_of(config.data.path).host_paths(config.data.path):
        paths["data.path"] = config.data.path
    if is_path(config.validation.suite):  # the suites that are known by name are in the image
        paths["validation.suite"] = config.validation.suite
    return [_check_path(key, value) for key, value in paths.items()]


def _check_store(config: RunConfig) -> None:
    if not is_s3(config.storage.uri):
        raise UserError(
            f"storage.uri={config.storage.uri} is a folder, and the steps of a submitted run are pods: they share none",
            "Set storage.uri=s3://BUCKET/PREFIX.",
        )


def _check_machines(config: RunConfig) -> None:
    training = config.training
    if training.parallel.rendezvous is not None:
        raise UserError(
            f"training.parallel.rendezvous={training.parallel.rendezvous} is for machines without Kubernetes",
            "Name a pool with training.pool=…: its pods find each other.",
        )
    if training.compute.device == "cuda" and training.pool is None and not config.pods.of("train").accelerators:
        raise UserError(
            "training.compute.device=cuda without a pool: the pod of the step train has no GPU",
            "Name a pool with GPUs (training.pool=…, docs/gpus.md), or set training.compute.device=auto.",
        )


def _check_tracking(config: RunConfig) -> None:
    uri = config.tracking.uri
    if uri is None or not is_server(uri):
        raise UserError(
            f"tracking.uri={'null' if uri is None else without_secrets(uri)} keeps what is tracked in files,"
            " which the pods of a submitted run do not share",
            "Set tracking.uri=http://HOST:PORT of an MLflow server that the pods can reach.",
        )
    if urlsplit(uri).hostname in THIS_MACHINE:
        raise UserError(
            f"tracking.uri={without_secrets(uri)} is this machine; in a pod it would be the pod itself",
            "Set it to an address of the MLflow server that the pods can reach.",
        )


def check_secrets(config: RunConfig) -> None:
    """Raise UserError if a run's parameter would hold a password."""
    document = to_yaml(config)
    if without_secrets(document) != document:
        raise UserError(
            "an address in the configuration holds a password, and everybody who sees a run can read its parameters",
            "Leave it out, and let the pods have it from a secret: MLFLOW_TRACKING_USERNAME and"
            " MLFLOW_TRACKING_PASSWORD, or AWS_SECRET_ACCESS_KEY.",
        )


def _check_name(config: RunConfig) -> None:
    if not is_label_value(str(config.run.name)):
        raise UserError(
            f"run.name={config.run.name} cannot be the name of a run on a cluster",
            "Allowed: up to 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends.",
        )


def _check_path(key: str, value: str) -> str:
    """A path must be the pod's: in its image, or in a volume."""
    if "://" in value:
        raise UserError(
            f"{key}={value} is an address, and only files are read",
            "Give an absolute path of the pod: a file in its image, or in a volume that is mounted there.",
        )
    if not value.startswith("/"):
        raise UserError(
            f"{key}={value} is a path on this machine, and the step that reads it is a pod",
            "Give an absolute path of the pod: a file in its image, or in a volume that is mounted there.",
        )
    return f"{key}={value} must be there in the pod that reads it: nothing is sent from this machine"
