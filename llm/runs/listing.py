"""What was run, and how it ended: the table behind `gristmill runs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.errors import UserError
from llm.runs.attempt import Attempt, State, last_attempt
from llm.runs.folder import RunFolder, all_runs
from llm.storage import Manifest
from llm.words import local_time


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
    """What the evaluation measured, in its order; empty: nothing yet."""


def list_runs(root: Path) -> list[RunSummary]:
    """The runs below `root`, the one with the newest event first."""
    return [summarise(folder) for folder in all_runs(root)]


def summarise(folder: RunFolder) -> RunSummary:
    """How a run stands; figures are those of its latest attempt."""
    attempt = last_attempt(folder.events)
    return RunSummary(
        name=folder.name,
        state=attempt.state(is_held=folder.is_held()),
        verdict=_counts(folder, attempt, "gate").get("verdict"),
        metrics=scores(_counts(folder, attempt, "evaluate")),
        seconds=attempt.seconds,
        started=None if attempt.started is None else local_time(attempt.started),
    )


def scores(counts: Mapping[str, Any]) -> dict[str, Score]:
    """The metrics among an evaluation's counts: the numbers that are there by domain too (`NAME`, `NAME/DOMAIN`)."""
    units = counts.get("metrics", {})
    names = dict.fromkeys([*units, *(key.partition("/")[0] for key in counts if "/" in key)])
    return {
        name: Score(counts[name], units.get(name, {}).get("unit"))
        for name in names
        if isinstance(counts.get(name), int | float)
    }


def _counts(folder: RunFolder, attempt: Attempt, step: str) -> Mapping[str, Any]:
    if not attempt.finished(step):
        return {}
    try:
        return Manifest.read(folder.manifest_path(step)).counts
    except UserError:
        return {}  # a damaged run does not hide the others
