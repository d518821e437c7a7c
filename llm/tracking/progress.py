"""A run's events as a person follows them in a terminal.

On a terminal one live line is redrawn, and each step leaves a line when it ends. Elsewhere (a file, a pod's log)
there is no colour and no redrawing: a line when a step ends, and every 30 s how far the running one is.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from llm.errors import Preempted
from llm.runs.event_kinds import (
    Admitted,
    Event,
    Evicted,
    Judged,
    Progress,
    Queued,
    RankSlow,
    RolledBack,
    StartsFrom,
    StepExplained,
    StepFailed,
    StepFinished,
    StepStarted,
    TrainingChanged,
    TrainingDiscarded,
    TrainingHangs,
    TrainJobBegun,
    TrainPlan,
    TrainResumed,
    TrainStep,
    TrainValidation,
    UpdateSkipped,
    Warned,
)
from llm.runs.events import read_events
from llm.tracking.queue_words import queue_words
from llm.words import duration, in_one_line, scaled, size

POLL_SECONDS = 0.2
LINE_EVERY_SECONDS = 30.0
ERASE_LINE = "\r\x1b[2K"


class Follower:
    """Follows an event log in a thread from where it ends now; `stop` shows what is left and returns."""

    def __init__(self, path: Path, stream: TextIO, line_every_seconds: float = LINE_EVERY_SECONDS) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._screen = Screen(stream, line_every_seconds)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Show the events up to now and end."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Follower:
        """Begin to follow."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Show the events up to now and end."""
        self.stop()

    def _follow(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(POLL_SECONDS)  # one more look after the request
            for event, offset in read_events(self._path, self._offset):
                self._screen.show(event)
                self._offset = offset
            self._screen.tick(time.time())
        self._screen.close()


class Screen:
    """The text on the terminal: lines that stay, and on a real one a live line below them."""

    def __init__(self, stream: TextIO, line_every_seconds: float = LINE_EVERY_SECONDS) -> None:
        self._stream, self._line_every_seconds = stream, line_every_seconds
        self._is_terminal = stream.isatty()
        self._step: StepStarted | None = None
        self._news: TrainStep | Progress | None = None
        self._next_line = 0.0

    def show(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, StepStarted):
            self._step, self._news = event, None
            self._next_line = event.time + self._line_every_seconds
        elif isinstance(event, TrainStep | Progress):
            self._news = event
        elif (line := lasting_line(event)) is not None:
            if isinstance(event, StepFinished | StepFailed):
                self._step = self._news = None
            self._write(f"{ERASE_LINE if self._is_terminal else ''}{line}\n")

    def tick(self, now: float) -> None:
        """Redraw the live line, or print how far the step is if its time has come."""
        if self._step is None:
            return
        line = live_line(self._step, self._news, now)
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{ERASE_LINE}{line[:width]}")
        elif now >= self._next_line:
            self._next_line = now + self._line_every_seconds
            self._write(f"{line}\n")

    def close(self) -> None:
        """Leave the terminal with an empty line."""
        if self._is_terminal:
            self._write(ERASE_LINE)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, or a terminal that has gone (EIO)
            self._step = None  # nobody reads on; the run does not end for that


def lasting_line(event: Event) -> str | None:
    """The line that an event leaves for good; None if it leaves none."""
    match event:
        case StepFinished():
            how = "reused" if event.reused else f"done in {duration(event.seconds)}"
            return f"{event.step:<10} {how}{f' ({event.name})' if event.name else ''}"
        case StepExplained(reused=False):
            return f"{event.step:<10} made again: {in_one_line(event.why)}" if event.why else None
        case TrainingDiscarded():
            return f"{'train':<10} made again: run.retrain=true"
        case StepFailed():
            first = event.message.partition("\n")[0]
            how = "stopped" if event.exit_code == Preempted.exit_code else "failed"
            return f"{event.step:<10} {how} after {duration(event.seconds)}: {first}"
        case TrainPlan():
            return (
                f"{'train':<10} {scaled(event.parameters)} parameters, {event.steps:,} steps of"
                f" {event.tokens_per_step:,} tokens on {event.world_size} ranks, {event.backend}"
            )
        case TrainJobBegun():
            return f"{'train':<10} TrainJob {event.namespace}/{event.name} {event.how}"
        case Queued() | Evicted() | Admitted():
            return f"{'train':<10} {queue_words(event)}"
        case StartsFrom():
            new = (
                f", {event.of_parts:,} of their parts, {event.of_all:,} of all"
                if event.of_parts or event.of_all
                else ""
            )
            return (
                f"{'train':<10} starts from checkpoint {event.checkpoint}: {event.kept:,} rows of the vocabulary{new}"
            )
        case TrainingChanged():
            return f"{'train':<10} at step {event.step:,} it goes on with another recipe: {in_one_line(event.changes)}"
        case UpdateSkipped():
            return (
                f"{'train':<10} step {event.step:,} is a spike, its update is skipped: loss {event.loss:.3f} (limit"
                f" {event.loss_limit:.3f}), gradient norm {event.grad_norm:.3g} (limit {event.grad_norm_limit:.3g})"
            )
        case RolledBack():
            return (
                f"{'train':<10} step {event.step:,}: spikes in a row, so it goes on from step {event.to:,} with the"
                f" batches after them (rollback {event.number})"
            )
        case RankSlow():
            times = f"{event.seconds / event.usual_seconds:.1f} times" if event.usual_seconds else "longer than"
            return (
                f"{'train':<10} step {event.step:,}: rank {event.rank} on {event.host} takes {times} the others' time"
            )
        case TrainingHangs():
            who = in_one_line(event.silent) if event.silent else "all ranks of this machine answer"
            return (
                f"{'train':<10} no step after {event.step:,} for {duration(event.seconds)}: {who}. Stacks: {event.log}"
            )
        case TrainResumed():
            return f"{'train':<10} goes on from the checkpoint at step {event.step:,}"
        case TrainValidation():
            bits = "" if event.bits_per_byte is None else f"  {event.bits_per_byte:.3f} bits/byte"
            return f"{'train':<10} step {event.step:,}  validation loss {event.loss:.3f} nats/token{bits}"
        case Judged():
            return "\n".join(f"{'gate':<10} {line}" for line in event.words)
        case Warned():
            return f"warning: {event.message}"
    return None


def live_line(step: StepStarted, news: TrainStep | Progress | None, now: float) -> str:
    """The progress of the running step."""
    if news is None:
        return f"{step.step:<10} {duration(max(0.0, now - step.time))}"
    return f"{step.step:<10} {training_figures(news) if isinstance(news, TrainStep) else progress_figures(news)}"


def training_figures(event: TrainStep) -> str:
    """A training step: `step 300/2,000  loss 2.914 nats/token  41.2k tokens/s  MFU 38 %  3m20s left`."""
    return "  ".join(_training_parts(event))


def _training_parts(event: TrainStep) -> Iterable[str]:
    yield f"step {event.step:,}/{event.steps:,}"
    yield f"loss {event.loss:.3f} nats/token"
    yield f"{scaled(event.tokens_per_second)} tokens/s"
    if event.mfu is not None:
        yield f"MFU {100 * event.mfu:.0f} %"
    if event.memory_bytes is not None:
        yield size(event.memory_bytes)
    yield f"{duration(event.seconds_left)} left"


def progress_figures(event: Progress) -> str:
    """The work that a step does now, with its share where it is known."""
    share = f"  {100 * event.done / event.total:.0f} %" if event.done is not None and event.total else ""
    return f"{event.message}{share}"
