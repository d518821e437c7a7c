"""MLflow's database in the folder of the runs, after its project was moved or copied.

MLflow keeps whole addresses of the folders with a run's files, and has no command to change them. The files lie next to
the database, so where they are is known: addresses that name another place are those of the project before its move.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

WAIT_SECONDS = 30.0


def settle(database: Path, artifacts: str) -> None:
    """Let the experiments that we made, and their runs, name the folder of files that is next to the database now.

    `artifacts` is the URI of that folder. Raises sqlite3.Error for a file that is not such a database.
    """
    name = artifacts.rpartition("/")[2]
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection, connection:
        found = connection.execute(
            "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE 'file:%/' || ?", (name,)
        ).fetchall()
        for (before,) in found:
            if before == artifacts:
                continue
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?",
                (artifacts, len(before) + 1, len(before) + 1, f"{before}/"),
            )
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (artifacts, before)
            )
