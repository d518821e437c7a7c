"""Addresses and names that MLflow would refuse after the training are refused when the configuration is read."""

from __future__ import annotations

import pytest

from llm.config import compose
from llm.errors import UserError


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "tracking.uri=./mlruns",
            r"tracking.uri=./mlruns is not an address .*\n.*no more runs in a folder.*\n  Allowed",
        ),
        ("tracking.uri=file:///data/mlruns", r"tracking.uri=file:///data/mlruns is not .*\n.*in a folder of files"),
        ("tracking.uri=/data/mlruns", "is not an address of MLflow\n.*Leave tracking.uri out"),
        (
            "tracking.uri=127.0.0.1:5000",
            r"is not .*\n  Without http:// it is a path. Set tracking.uri=http://127.0.0.1:5000",
        ),
        ("tracking.uri=mlflow:5000/x", "Set tracking.uri=http://mlflow:5000/x"),
        ("tracking.uri=databricks", r"tracking.uri=databricks is not .*\n.*\n  Allowed: http://HOST:PORT"),
        ("tracking.uri=ftp://me:hunter2@host/", r"tracking.uri=ftp://…@host/ is not an address of MLflow"),
        ("tracking.uri=http:/host", "tracking.uri=http:/host is not an address of MLflow"),
        ("tracking.uri=http://:5000", "tracking.uri=http://:5000 names no host"),
        ("tracking.uri=http://host:port", r"tracking.uri=http://host:port is not an address of MLflow: Port could not"),
        ("tracking.uri=sqlite://", "tracking.uri=sqlite:// names no database"),
        ("tracking.model=a/b", "tracking.model=a/b cannot be the name of a registered model\n  Leave out /"),
        ("tracking.model=a:b", "Leave out :"),
        ("tracking.model=it's", "tracking.model=it's cannot be the name of a registered model\n  Leave out '"),
        ("tracking.model=..", "It would be a folder in an address"),
        ("tracking.model= ", "tracking.model is empty"),
        (f"tracking.model={'x' * 257}", "tracking.model has 257 characters, and MLflow takes 256"),
        ("tracking.experiment=", "tracking.experiment is empty"),
        (f"tracking.experiment={'x' * 501}", "tracking.experiment has 501 characters, and MLflow takes 500"),
    ],
)
def test_what_mlflow_would_refuse_is_refused_with_what_to_do(setting: str, message: str):
    with pytest.raises(UserError, match=message):
        compose([setting])


@pytest.mark.parametrize(
    "setting",
    [
        "tracking.uri=http://127.0.0.1:5000",
        "tracking.uri=https://me:secret@mlflow.example/path",
        "tracking.uri=sqlite:///rel.db",
        "tracking.uri=postgresql+psycopg2://db/mlflow",
        "tracking.model=Ä model, (1)",
        "tracking.experiment=team a/it's: ä",
    ],
)
def test_what_mlflow_takes_is_taken(setting: str):
    assert compose([setting])
