"""A run's folder in the store, for steps that share no disk.

Each step of a run on a cluster is a pod of its own. It begins with the files of the steps before it, and leaves its
part:

    <run.folder>/<name>/events/<time>-<step>.jsonl   what this step appended to the event log
    <run.folder>/<name>/manifests/<step>.json        what it made
    <run.folder>/<name>/recipes/<step>-<recipe>.json what that was made of
    <run.folder>/<name>/tracking/<server>.json       how much MLflow has of it
    <run.folder>/<name>/report.html, config.yaml

The event log is the parts in the order of their times. The pod writes its part again every few seconds, so that little
of it is lost with a pod that is killed. The record of what MLflow has is written after the part that it counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from llm.errors import GristmillError
from llm.runs.folder import RunFolder
from llm.storage import Objects

EVENTS, MANIFESTS, RECIPES, TRACKING = "events/", "manifests/", "recipes/", "tracking/"
WHOLE = ("report.html", "config.yaml")
FLUSH_SECONDS = 20.0


@contextmanager
def mirrored(folder: RunFolder, home: Objects, step: str) -> Iterator[None]:
    """Fill `folder` with the files of `home`; at the end, and now and then, put the additions of `step` there.

    Raises ServiceError or UserError if S3 refuses at the beginning; at the end only if nothing else went wrong.
    """
    part = _Part(folder, home, f"{EVENTS}{time.time_ns() // 1_000_000:015d}-{step}.jsonl")
    part.pull()
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(FLUSH_SECONDS):
            with suppress(GristmillError, OSError):  # the next time, or at the end
                part.push_events()

    thread = threading.Thread(target=work, name="run-mirror", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        with suppress(GristmillError, OSError):  # what ended the step is worth more
            part.push_events()
        raise
    else:
        part.push()
    finally:
        stop.set()  # one more flush does no harm: it writes no less than was written before


def whole_log(home: Objects) -> bytes:
    """The event log of a run in the store: the parts in their order, each line whole."""
    parts = [home.read(name) or b"" for name in home.names(EVENTS)]
    return b"".join(part if part.endswith(b"\n") or not part else part + b"\n" for part in parts)


class _Part:
    def __init__(self, folder: RunFolder, home: Objects, name: str) -> None:
        self._folder, self._home, self._name = folder, home, name
        self._before: dict[str, bytes] = {}
        self._offset = 0
        self._one_at_a_time = threading.Lock()

    def pull(self) -> None:
        self._folder.path.mkdir(parents=True, exist_ok=True)
        log = whole_log(self._home)
        self._folder.events.write_bytes(log)
        self._offset = len(log)
        for name in [*(name for folder in (MANIFESTS, RECIPES, TRACKING) for name in self._home.names(folder)), *WHOLE]:
            if (content := self._home.read(name)) is not None:
                path = self._folder.path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self._before[name] = content

    def push(self) -> None:
        self._write(self._changed(f"{MANIFESTS}*.json", f"{RECIPES}*.json", *WHOLE))
        self.push_events()

    def push_events(self) -> None:
        """Write the part again. One write at a time: a slow one would put its older content over ours."""
        with self._one_at_a_time:
            told = self._changed(f"{TRACKING}*.json")  # before the events that it counts, and written after them
            with self._folder.events.open("rb") as log:
                log.seek(self._offset)
                if added := log.read():
                    self._home.write(self._name, added)
            self._write(told)

    def _changed(self, *patterns: str) -> dict[str, bytes]:
        """The files that are not as they came from the store, by name."""
        paths = sorted(path for pattern in patterns for path in self._folder.path.glob(pattern))
        found = {path.relative_to(self._folder.path).as_posix(): path.read_bytes() for path in paths}
        return {name: content for name, content in found.items() if content != self._before.get(name)}

    def _write(self, contents: dict[str, bytes]) -> None:
        for name, content in contents.items():
            self._home.write(name, content)
            self._before[name] = content
