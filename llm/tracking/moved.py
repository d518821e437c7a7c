"""MLflow's database in the folder of the runs, after its project was moved or copied.

MLflow keeps whole addresses of the folders with a run's files, and has no command to change them. The files lie next to
the database, so where they are is known. MLflow's own experiment, `Default`, lies there too: where it says it is, the
project was before its move. Experiments that somebody keeps in another place stay there.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from llm.storage import local_path

WAIT_SECONDS = 30.0
DEFAULT = 0
"""Number of the experiment that MLflow makes with the database."""


def settle(database: Path, artifacts: str) -> None:
    """Let the experiments that we made, and their runs, name the folder of files that is next to the database now.

    `artifacts` is the URI of that folder. Raises sqlite3.Error for a file that is not such a database.
    """
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection, connection:
        rows = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        places = {number: place or "" for number, place in rows}
        name = artifacts.rpartition("/")[2]
        default = places.pop(DEFAULT, "")
        before = default.removesuffix(f"/{DEFAULT}") if default.endswith(f"/{name}/{DEFAULT}") else None
        if before == artifacts:
            return
        if before is not None:
            _move(connection, before, artifacts)
        if before is None or not any(f"{place}/".startswith(f"{before}/") for place in places.values()):
            for place in {place for place in places.values() if _is_gone(place, name)} - {artifacts}:
                _move(connection, place, artifacts)


def _move(connection: sqlite3.Connection, before: str, after: str) -> None:
    """Change the beginning of each address that lies in `before`."""
    given = (after, len(before) + 1, len(before) + 1, f"{before}/")
    connection.execute(
        "UPDATE experiments SET artifact_location = ? || substr(artifact_location, ?)"
        " WHERE substr(artifact_location || '/', 1, ?) = ?",
        given,
    )
    connection.execute(
        "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri || '/', 1, ?) = ?", given
    )


def _is_gone(place: str, name: str) -> bool:
    """Whether an address is a folder of files as ours, which is no longer there."""
    if not place.startswith("file:///") or not place.endswith(f"/{name}"):
        return False
    return not local_path(place).exists()
