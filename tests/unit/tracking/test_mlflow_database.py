"""MLflow's database beside the runs: made once by whoever comes first, and only where MLflow can find it again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llm.config import TrackingConfig
from llm.errors import ServiceError, UserError
from llm.storage import only_process_in
from llm.tracking.mlflow_database import database, deleted_experiment, ensure_database
from llm.tracking.mlflow_server import connection, sqlite_file

FIRST_DELIVERY = """
import sys
from pathlib import Path
import mlflow, sqlalchemy
from llm.config import RunConfig, TrackingConfig, to_yaml
from llm.runs.event_kinds import TrainStep
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.tracking.mlflow_sink import deliver

folder = RunFolder(Path(sys.argv[1]) / sys.argv[2])
folder.write_config(to_yaml(RunConfig()))
EventLog(folder.events).emit(TrainStep(step=1, steps=2, loss=1.0))
print("ready", flush=True)
sys.stdin.readline()   # until both are
delivery = deliver(folder, TrackingConfig())
print(delivery.sent, delivery.pending, delivery.error)
"""


def test_two_first_runs_in_one_folder_both_deliver(tmp_path: Path):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", FIRST_DELIVERY, str(tmp_path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd(),
        )
        for name in ("one", "two")
    ]  # fmt: skip
    try:
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in both:
            said, complaint = process.communicate(timeout=240)
            assert said == "1 0 None\n", complaint
    finally:
        for process in both:
            process.kill()
            process.wait()
    client = MlflowClient(f"sqlite:///{database(tmp_path)}")
    experiment = client.get_experiment_by_name("gristmill")
    assert experiment is not None
    assert {run.info.run_name for run in client.search_runs([experiment.experiment_id])} == {"one", "two"}


def test_a_database_that_a_killed_process_left_half_made_is_begun_again(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "mlflow.db.new")) as half:
        half.execute("CREATE TABLE metrics (step BIGINT)")
    ensure_database(tmp_path / "mlflow.db")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as made:
        assert made.execute("SELECT name FROM experiments").fetchall() == [("Default",)]
    assert not (tmp_path / "mlflow.db.new").exists()


def test_a_process_that_does_not_get_done_with_the_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llm.tracking.mlflow_database.MAKING_SECONDS", 0.0)
    message = rf"mlflow.db is being made by another process.*\n.*process {os.getpid()}\)\n  Wait for that process"
    with only_process_in(tmp_path), pytest.raises(ServiceError, match=message):
        ensure_database(tmp_path / "mlflow.db")


def test_a_database_that_is_there_is_left_alone(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("somebody's")
    ensure_database(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_text() == "somebody's"
    assert deleted_experiment(tmp_path / "mlflow.db", "gristmill") is None


@pytest.mark.parametrize("character", ["?", "%"])
def test_a_folder_that_mlflow_would_read_as_another_is_refused(tmp_path: Path, character: str):
    runs = tmp_path / f"a{character}41b" / "runs"
    message = rf"MLflow cannot keep its database in .*: it cannot read \{character} in a path\n.*run.folder"
    with pytest.raises(UserError, match=message), connection(TrackingConfig(), runs):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a#b", "it's a folder", "ä"])
def test_any_other_folder_holds_its_database(tmp_path: Path, name: str, empty_mlflow_database: Path):
    runs = tmp_path / name
    runs.mkdir()
    database(runs).write_bytes(empty_mlflow_database.read_bytes())
    with connection(TrackingConfig(), runs) as client:
        client.create_experiment("mine")
    with closing(sqlite3.connect(database(runs))) as made:
        assert ("mine",) in made.execute("SELECT name FROM experiments").fetchall()


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////a/b.db", Path("/a/b.db")),
        ("sqlite:///b.db?timeout=3", Path("b.db").absolute()),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:/a/b.db?uri=true", None),
        ("http://host:5000", None),
    ],
)
def test_the_file_of_an_address_of_sqlite(uri: str, path: Path | None):
    assert sqlite_file(uri) == path
