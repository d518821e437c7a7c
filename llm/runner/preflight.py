"""Checks before the first step of a run: a mistake that is found here costs a second; in its own step, the training."""

from __future__ import annotations

from llm.config import RunConfig
from llm.data.validation import suite_path
from llm.errors import UserError
from llm.evaluation.metric import check_metrics
from llm.export.tensorrt import check_tensorrt
from llm.runs.folder import runs_folder
from llm.steps.pods import check_pods
from llm.storage import Store, is_s3
from llm.storage.recipe.sources import check_sources
from llm.tracking.mlflow_check import check_mlflow
from llm.tracking.sink import find_sinks
from llm.training.estimate.fit import check_memory


def offline_preflight(config: RunConfig) -> None:
    """Raise UserError for a setting that a later step would refuse, if that is known without a server or the store."""
    check_pods(config)
    check_memory(config)
    suite_path(config.validation.suite)
    check_metrics(config.evaluation, config.gate)
    check_sources(config.training.modules)
    find_sinks(config.tracking.sinks)
    if is_s3(config.run.folder):
        raise UserError(
            f"run.folder={config.run.folder} is in S3, and this run's steps share the disk of this machine",
            "Name a folder here; `gristmill submit` runs the steps on a cluster.",
        )


def preflight(config: RunConfig) -> list[str]:
    """Warnings about this machine; raises UserError for a setting that a later step would refuse."""
    offline_preflight(config)
    warnings = Store(config.storage.uri).check_access()
    if config.training.pool is not None:
        from llm.cluster.trainjobs.pool_preflight import check_pool

        warnings += check_pool(config.training, config.cluster)
    warnings += check_mlflow(config.tracking, runs_folder(config.run.folder))
    check_tensorrt(config.export.tensorrt)
    return warnings
