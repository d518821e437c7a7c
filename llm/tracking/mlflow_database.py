"""MLflow's SQLite database next to the runs: where it is, how it comes to be, and what it says without MLflow.

MLflow makes its tables in about fifty migrations and does not expect company: of two processes that do so at once one
dies, and the database stays half made. So one process makes it under another name while the others wait, and it gets
its name when it is whole.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from llm.errors import BusyError, ServiceError, UserError
from llm.storage import only_process_in

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
MAKING_SECONDS = 300.0
"""Seconds that another process may take to make the database."""
NOT_IN_A_PATH = "?%"
"""Characters that an address of a database gives a meaning of its own."""


def database(runs: Path) -> Path:
    """The SQLite database next to the runs."""
    return runs.resolve() / DATABASE


def check_place(runs: Path) -> None:
    """Raise UserError if MLflow would read the name of the folder as another folder."""
    found = [character for character in NOT_IN_A_PATH if character in str(runs.resolve())]
    if found:
        raise UserError(
            f"MLflow cannot keep its database in {runs.resolve()}: it cannot read {' and '.join(found)} in a path",
            "Rename the folder, set run.folder to another one, or set tracking.uri to an MLflow server.",
        )


def ensure_database(path: Path) -> None:
    """Make an empty database with all tables, unless it is there.

    Raises ServiceError if another process is making it and does not get done.
    """
    if is_made(path):
        return
    try:
        with only_process_in(path.parent, wait_seconds=MAKING_SECONDS):
            if not is_made(path):
                _make(path)
    except BusyError as error:
        raise ServiceError(
            f"MLflow's database {path} is being made by another process, for more than {MAKING_SECONDS:g} s",
            *str(error).splitlines()[:1],
            "Wait for that process or stop it, then run the same command again.",
        ) from error


def deleted_experiment(path: Path, name: str) -> str | None:
    """Id of the experiment of that name if somebody deleted it; None if it is usable, or not there yet.

    Reads the database itself: MLflow's import would cost seconds at the start of every run.
    """
    if not is_made(path):
        return None
    query = "SELECT experiment_id FROM experiments WHERE name = ? AND lifecycle_stage = 'deleted'"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(query, (name,)).fetchone()
        return None if found is None else str(found[0])
    return None


def experiment_is_deleted(name: str, number: str, uri: str) -> UserError:
    """Somebody deleted the experiment: MLflow keeps its name, and takes nothing for it."""
    return UserError(
        f"the experiment {name} in MLflow at {uri} was deleted, and MLflow takes nothing for it",
        f"Bring it back: MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {number}",
        "Or choose another one with tracking.experiment=…",
    )


def is_made(path: Path) -> bool:
    """Whether the database is there; an empty file has no tables yet."""
    return path.is_file() and path.stat().st_size > 0


def _make(path: Path) -> None:
    """Let MLflow make it; what a process left that was killed meanwhile is begun again."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    store = SqlAlchemyStore(f"sqlite:///{new}", (path.parent / ARTIFACTS).as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    os.replace(new, path)
