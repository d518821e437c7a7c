"""What was run, and how it ended: the table behind `gristmill runs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from llm.errors import UserError
from llm.runs.attempt import Attempt, State, last_attempt
from llm.runs.folder import RunFolder, all_runs
from llm.storage.products import Counts, EvaluationCounts, GateCounts
from llm.words import local_time

C = TypeVar("C", bound=Counts)


@dataclass(frozen=True)
class RunSummary:
    """One run in a line; None: not known (yet)."""

    name: str
    state: State
    verdict: str | None
    bits_per_byte: float | None
    seconds: float | None
    started: str | None
    """Local time, ISO 8601."""


def list_runs(root: Path) -> list[RunSummary]:
    """The runs below `root`, the one with the newest event first."""
    return [summarise(folder) for folder in all_runs(root)]


def summarise(folder: RunFolder) -> RunSummary:
    """How a run stands; figures are those of its latest attempt."""
    attempt = last_attempt(folder.events)
    judgement = _counts(folder, attempt, "gate", GateCounts)
    scores = _counts(folder, attempt, "evaluate", EvaluationCounts)
    return RunSummary(
        name=folder.name,
        state=attempt.state(is_held=folder.is_held()),
        verdict=None if judgement is None else judgement.verdict,
        bits_per_byte=None if scores is None else scores.figures.get("bits_per_byte"),
        seconds=attempt.seconds,
        started=None if attempt.started is None else local_time(attempt.started),
    )


def _counts(folder: RunFolder, attempt: Attempt, step: str, kind: type[C]) -> C | None:
    if not attempt.finished(step):
        return None
    try:
        return kind.of(folder.manifest(step))
    except UserError:
        return None  # a damaged run does not hide the others
