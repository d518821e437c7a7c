"""What several areas share: an MLflow database that is made once, since its migrations take seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.config import TrackingConfig
from llm.tracking.mlflow_server import connection, database


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `tracking.uri: null` makes it, to be copied."""
    runs = tmp_path_factory.mktemp("mlflow")
    with connection(TrackingConfig(), runs):
        pass
    return database(runs)
