"""What several areas share: an MLflow database that is made once, as its migrations take seconds; no variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.config import TrackingConfig, imported
from llm.process import reach
from llm.tracking.mlflow_server import connection, database

os.environ["TRITON_INTERPRET"] = "1"  # kernels run on the processor; read when one is defined, Triton's own ones too

OF_THE_CALLER = (
    "KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT", "KFP_EXISTING_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH",
    "KF_PIPELINES_UI_ENDPOINT", "MLFLOW_TRACKING_URI", "GRISTMILL_IMAGE_PREFIX", "GRISTMILL_TRAIN_IMAGE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _of_this_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests; and no patience with a server that is not there: a test is no new pod."""
    for name in OF_THE_CALLER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("components.images.ARE_PINNED", False)  # whatever was built here
    monkeypatch.setattr(imported, "_named", set())  # by an earlier test: it would blame this one's own modules
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # a search for keys that takes seconds


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as `tracking.uri: null` makes it, to be copied."""
    runs = tmp_path_factory.mktemp("mlflow")
    with connection(TrackingConfig(), runs):
        pass
    return database(runs)
