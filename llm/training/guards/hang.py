"""Hangs: no step comes for long. The parent of the ranks looks, since a rank that hangs cannot.

Each rank leaves a *beat* after every step, and answers SIGUSR1 with the stacks of its threads, from a handler in C that
needs no step of Python. A rank that does not answer is named with the state of its process. If all of them answer, the
training waits on: the time limit of a collective operation ends it. If one does not, the training is ended after twice
the time. A rank that has no beat yet (it loads a checkpoint) is not watched.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import statistics
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llm.runs.event_kinds import TrainingHangs
from llm.training.callbacks._callback import Callback, StepDone

if TYPE_CHECKING:
    from llm.runs.events import EventLog
    from llm.training.trainer import Trainer

BEAT, STACKS = "beat-", "stacks-"
BEAT_BYTES = 64
USUAL_STEPS = 20
"""A hang is at least as long as so many usual steps."""
ANSWER_SECONDS = 2.0
SETTLED_SECONDS = 0.2
"""Without a further line, an answer is taken for whole."""
PAUSE_SECONDS = 5.0
"""Time between two looks from which the parent itself was paused, as by SIGSTOP: that time does not count."""
STOPPED = "T"
STATES = {STOPPED: "is stopped (SIGSTOP)", "t": "is held by a debugger", "D": "waits for a disk or a device",
          "Z": "has ended"}  # fmt: skip
"""States of a process in /proc/PID/stat in which it does not answer."""


class Beats(Callback):
    """A rank's beats: its process and the steps that are done, in a file of its own that is written in place."""

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """The first beat."""
        path = trainer.scratch / f"{BEAT}{trainer.rank}.json"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._beat(first)

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """It only tells that a step has ended."""
        return False

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """One after each step."""
        self._beat(done.number)
        if done.is_last:
            os.close(self._file)

    def _beat(self, step: int) -> None:
        os.pwrite(self._file, json.dumps([os.getpid(), step]).ljust(BEAT_BYTES).encode(), 0)


@dataclass(frozen=True)
class Beat:
    """The last beat of a rank."""

    rank: int
    pid: int
    step: int


def answer_with_stacks(folder: Path, rank: int) -> None:
    """From now on this process writes its stacks into the folder when SIGUSR1 comes."""
    file = (folder / f"{STACKS}{rank}.txt").open("wb")
    faulthandler.register(signal.SIGUSR1, file=file, all_threads=True)


def beats(folder: Path) -> list[Beat]:
    """Those of all ranks here, in the order of the ranks."""
    found = []
    for path in folder.glob(f"{BEAT}*.json"):
        with suppress(ValueError, OSError):  # just being made
            pid, step = json.loads(path.read_bytes())
            found.append(Beat(int(path.stem.removeprefix(BEAT)), pid, step))
    return sorted(found, key=lambda beat: beat.rank)


def state_of(pid: int) -> str | None:
    """The letter of a process's state; None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


class Watch:
    """Looks for hangs of the ranks of a folder, as often as it is asked to."""

    def __init__(self, folder: Path, workers_log: Path, seconds: float | None, events: EventLog) -> None:
        """`seconds` without a step are a hang; None: nothing is looked for."""
        self._folder, self._workers_log, self._seconds, self._events = folder, workers_log, seconds, events
        self.clear()
        self._steps: dict[int, int] = {}
        """Steps of each rank at the last progress."""
        self._times: deque[float] = deque(maxlen=USUAL_STEPS)
        self._progress = self._looked = time.monotonic()
        self._told = False
        self.silent: list[str] = []
        """In the hang that lasts: the ranks that did not answer, each with its state in words."""

    def clear(self) -> None:
        """Remove what ranks left, of this attempt or of one that was killed; no rank runs."""
        for name in (BEAT, STACKS):
            for path in self._folder.glob(f"{name}*"):
                path.unlink()

    def look(self) -> bool:
        """Tell of a hang, once; returns whether it has lasted so long that the ranks are to be ended."""
        now = time.monotonic()
        if now > self._looked + PAUSE_SECONDS:
            self._progress += now - self._looked
        self._looked = now
        found = beats(self._folder)
        if self._seconds is None or not found:
            return False
        if (steps := {beat.rank: beat.step for beat in found}) != self._steps:
            self._went_on(steps, now)
            return False
        waited = now - self._progress
        limit = max(self._seconds, USUAL_STEPS * statistics.median(self._times) if self._times else 0.0)
        if waited > limit and not self._told:
            self._told = True
            self.silent = self._ask(found)
            self._looked = time.monotonic()  # asking takes its time
            self._events.emit(TrainingHangs(
                step=max(steps.values()), seconds=round(waited, 1), silent=self.silent, log=str(self._workers_log),
            ))  # fmt: skip
        return waited > 2 * limit and bool(self.silent)

    def unanswered(self, ranks: Iterable[int]) -> list[str]:
        """Those of these processes that cannot answer, in words."""
        named = {beat.pid: f"rank {beat.rank}" for beat in beats(self._folder)}
        states = {pid: state_of(pid) for pid in ranks}
        return [
            f"{named.get(pid, f'process {pid}')} {STATES[state]}"
            for pid, state in states.items()
            if state is not None and state in STATES
        ]

    def _went_on(self, steps: dict[int, int], now: float) -> None:
        done = max(steps.values()) - max(self._steps.values(), default=0)
        if self._steps and done > 0 and not self._told:
            self._times.append((now - self._progress) / done)
        self._steps, self._progress, self._told, self.silent = steps, now, False, []

    def _ask(self, found: list[Beat]) -> list[str]:
        """Ask all ranks for their stacks, put these into the log; returns the ranks that did not answer."""
        files = {beat: self._folder / f"{STACKS}{beat.rank}.txt" for beat in found}
        before = {beat: _size(path) for beat, path in files.items()}
        for beat in found:
            with suppress(ProcessLookupError):
                os.kill(beat.pid, signal.SIGUSR1)
        _wait_for_answers([(path, before[beat]) for beat, path in files.items()])
        silent = []
        with self._workers_log.open("a") as log:
            for beat, path in files.items():
                state = state_of(beat.pid)
                words = "does not answer" if state else "is gone"
                if _size(path) > before[beat]:
                    words = "answers; its stacks:"
                else:
                    words = STATES.get(state or "", words)
                    silent.append(f"rank {beat.rank} {words}")
                log.write(f"no step for long: rank {beat.rank} (process {beat.pid}) {words}\n")
                log.write(_text(path)[before[beat] :])
        return silent


def _wait_for_answers(files: list[tuple[Path, int]]) -> None:
    """Until all files have grown beyond their sizes, and are written to no more; a stack comes line by line."""
    deadline, last, since = time.monotonic() + ANSWER_SECONDS, [size for _, size in files], time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.05)
        now = [_size(path) for path, _ in files]
        if now != last:
            last, since = now, time.monotonic()
        have_answered = all(size > before for size, (_, before) in zip(now, files, strict=True))
        if have_answered and time.monotonic() - since >= SETTLED_SECONDS:
            return


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
