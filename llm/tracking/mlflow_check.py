"""Checks of MLflow before a run's first step."""

from __future__ import annotations

from pathlib import Path

from llm.config import TrackingConfig
from llm.errors import ServiceError
from llm.tracking.mlflow_database import check_place, database, deleted_experiment, experiment_is_deleted
from llm.tracking.mlflow_server import connection, is_server, sqlite_file, tracking_uri, without_password


def check_mlflow(config: TrackingConfig, runs: Path) -> list[str]:
    """Warnings about a server that does not answer now; raises UserError for a setting that register refuses."""
    if config.uri is None:
        check_place(runs)
        return _check_file(config, database(runs))
    if (file := sqlite_file(config.uri)) is not None:
        return _check_file(config, file)
    return _check_server(config, runs) if is_server(tracking_uri(config, runs)) else []


def _check_file(config: TrackingConfig, file: Path) -> list[str]:
    if (number := deleted_experiment(file, config.experiment)) is not None:
        raise experiment_is_deleted(config.experiment, number, f"sqlite:///{file}")
    return []


def _check_server(config: TrackingConfig, runs: Path) -> list[str]:
    try:
        with connection(config, runs) as client:
            experiment = client.get_experiment_by_name(config.experiment)
    except ServiceError as error:  # it may be there again before a step needs it
        return [f"{str(error).splitlines()[0]}. The steps gate, register and promote need it"]
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise experiment_is_deleted(config.experiment, str(experiment.experiment_id), without_password(str(config.uri)))
    return []
