"""Runs, and how they ended: the table behind `gristmill runs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from llm.errors import UserError
from llm.runs.attempt import Attempt, State, last_attempt
from llm.runs.folder import RunFolder, all_runs
from llm.storage.products import Counts, EvaluationCounts, GateCounts
from llm.words import local_time

C = TypeVar("C", bound=Counts)


@dataclass(frozen=True)
class Score:
    """A metric of a run, over all domains."""

    value: float
    unit: str | None
    """None: a run of an earlier version, which did not write it down."""


@dataclass(frozen=True)
class RunSummary:
    """One run in a line; None: not known (yet)."""

    name: str
    state: State
    verdict: str | None
    seconds: float | None
    started: str | None
    """Local time, ISO 8601."""
    metrics: Mapping[str, Score] = field(default_factory=dict)
    """Scores of the evaluation, in its order; empty: nothing yet."""


def list_runs(root: Path) -> list[RunSummary]:
    """The runs below `root`, the one with the newest event first."""
    return [summarise(folder) for folder in all_runs(root)]


def summarise(folder: RunFolder) -> RunSummary:
    """The state of a run; figures are those of its latest attempt."""
    attempt = last_attempt(folder.events)
    judgement = _counts(folder, attempt, "gate", GateCounts)
    scores = _counts(folder, attempt, "evaluate", EvaluationCounts)
    return RunSummary(
        name=folder.name,
        state=attempt.state(is_held=folder.is_held()),
        verdict=None if judgement is None else judgement.verdict,
        metrics={} if scores is None else scores_of(scores),
        seconds=attempt.seconds,
        started=None if attempt.started is None else local_time(attempt.started),
    )


def scores_of(counts: EvaluationCounts) -> dict[str, Score]:
    """The metrics among the figures: those that the counts name, or that are there by domain too (`NAME/DOMAIN`)."""
    by_domain = (name.partition("/")[0] for name in counts.figures if "/" in name)
    found: dict[str, Score] = {}
    for name in dict.fromkeys([*counts.metrics, *by_domain]):
        value, kind = counts.figures.get(name), counts.metrics.get(name)
        if value is not None:
            found[name] = Score(value, None if kind is None else kind.unit)
    return found


def _counts(folder: RunFolder, attempt: Attempt, step: str, kind: type[C]) -> C | None:
    if not attempt.finished(step):
        return None
    try:
        return kind.of(folder.manifest(step))
    except UserError:
        return None  # a damaged run does not hide the others
