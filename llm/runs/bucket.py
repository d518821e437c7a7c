"""Runs in a bucket, for a reader on this machine: each is copied here, and read like a run of this machine.

The copy is for reading alone. It is another than the one that a step of the run works on (`llm.runs.mirror`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llm.runs.events import read_events
from llm.runs.folder import RunFolder
from llm.storage import Objects, cache_folder, folder_of, is_s3, open_objects, sha256_of_json

EVENTS, MANIFESTS, RECIPES, TRACKING = "events/", "manifests/", "recipes/", "tracking/"
"""The folders of a run in the store."""
WHOLE = ("report.html", "config.yaml")
"""Its other files."""
READERS = 16
"""Requests at a time."""


def runs_to_read(root: str, name: str | None = None) -> Path:
    """The folder with the runs of `root`: itself, or a copy of what S3 has of them (of one run, if it is named).

    Raises UserError or ServiceError if S3 refuses, or does not answer.
    """
    if not is_s3(root):
        return folder_of(root)
    home, copies = open_objects(root.rstrip("/")), cache_folder() / "read" / sha256_of_json(root.rstrip("/"))[:16]
    of_runs: dict[str, list[str]] = {}
    for key in home.names("" if name is None else f"{name}/"):
        run, slash, rest = key.partition("/")
        if slash and (rest in WHOLE or rest.startswith((EVENTS, MANIFESTS))):
            of_runs.setdefault(run, []).append(rest)
    for copy in copies.iterdir() if copies.is_dir() and name is None else ():
        if copy.name not in of_runs:
            shutil.rmtree(copy, ignore_errors=True)
    with ThreadPoolExecutor(READERS) as readers:
        for run_name, names in of_runs.items():
            _copy(home.below(run_name), names, RunFolder(copies / run_name), readers)
    return copies


def whole_log(parts: Iterable[bytes]) -> bytes:
    """The event log that the steps' parts make, in the order of their names."""
    return b"".join(part if part.endswith(b"\n") or not part else part + b"\n" for part in parts)


def _copy(home: Objects, names: Iterable[str], folder: RunFolder, readers: ThreadPoolExecutor) -> None:
    contents = dict(zip(names, readers.map(home.read, names), strict=True))
    log = whole_log(content or b"" for name, content in sorted(contents.items()) if name.startswith(EVENTS))
    for name, content in contents.items():
        if content is not None and not name.startswith(EVENTS):
            path = folder.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if log:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.events.write_bytes(log)
        times = [event.time for event, _ in read_events(folder.events)]
        if times:  # the run with the newest event is the latest, whenever it was copied
            os.utime(folder.events, (times[-1], times[-1]))
