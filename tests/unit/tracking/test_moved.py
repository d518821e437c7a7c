"""Whose addresses in MLflow's database change after a move, and whose do not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm.tracking.moved import settle

NEW = "file:///new/runs/mlartifacts"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The two tables with addresses."""
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
        connection.execute("CREATE TABLE runs (experiment_id INTEGER, artifact_uri TEXT)")
    return path


def put(database: Path, *places: str) -> None:
    """Experiments from number 0 on, each with a run."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany("INSERT INTO experiments VALUES (?, ?)", enumerate(places))
        connection.executemany("INSERT INTO runs VALUES (?, ? || '/r/artifacts')", enumerate(places))


def settled(database: Path) -> list[str]:
    """The places of the experiments after `settle`; those of their runs are the same."""
    settle(database, NEW)
    with closing(sqlite3.connect(database)) as connection:
        places = [
            place for (place,) in connection.execute("SELECT artifact_location FROM experiments ORDER BY experiment_id")
        ]
        of_runs = [place for (place,) in connection.execute("SELECT artifact_uri FROM runs ORDER BY experiment_id")]
    assert of_runs == [f"{place}/r/artifacts" for place in places]
    return places


@pytest.mark.parametrize("foreign", ["is there", "is not mounted now"])
def test_an_experiment_in_another_place_stays_there(database: Path, tmp_path: Path, foreign: str):
    team = tmp_path / "team" / "mlartifacts"
    if foreign == "is there":
        team.mkdir(parents=True)
    put(database, "file:///old/runs/mlartifacts/0", "file:///old/runs/mlartifacts", team.as_uri())
    for _ in range(2):
        assert settled(database) == [f"{NEW}/0", NEW, team.as_uri()]


@pytest.mark.parametrize("default", ["mlflow-artifacts:/0", f"{NEW}-before/0", "file:///before/runs/mlartifacts/0"])
def test_without_the_place_before_the_move_what_is_gone_is_ours(database: Path, tmp_path: Path, default: str):
    team = tmp_path / "team" / "mlartifacts"
    team.mkdir(parents=True)
    put(database, default, "file:///old/runs/mlartifacts", team.as_uri(), "file://server/x/mlartifacts")
    found = settled(database)
    assert NEW in found
    assert team.as_uri() in found
    assert "file://server/x/mlartifacts" in found


def test_a_copy_of_a_moved_project_does_not_write_into_that_one(database: Path, tmp_path: Path):
    before = tmp_path / "runs" / "mlartifacts"
    before.mkdir(parents=True)
    put(database, f"{before.as_uri()}/0", before.as_uri())
    assert settled(database) == [f"{NEW}/0", NEW]
