"""The content of a report, gathered from a run folder: all that is there, and a note for each thing that is missing.

Only the products of the latest attempt count: a manifest that an earlier one left is not shown as if it were new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from llm.config import without_secrets
from llm.errors import UserError
from llm.report.training import Training, read_training
from llm.runs.accounts import account_of, in_one_line
from llm.runs.attempt import Attempt, last_attempt
from llm.runs.event_kinds import (
    Admitted,
    Evicted,
    Queued,
    RunFinished,
    RunStarted,
    TrainJobBegun,
    TrainResumed,
    Warned,
)
from llm.runs.folder import RunFolder
from llm.storage import Manifest
from llm.storage.products import (
    CheckpointCounts,
    CorpusCounts,
    Counts,
    ShardsCounts,
    TokenizerCounts,
    ValidationCounts,
)
from llm.tracking.progress import lasting_line
from llm.words import local_time

ON_CLUSTER = (Admitted, Evicted, Queued, TrainJobBegun, TrainResumed, Warned)
"""The events about pods that mattered to the run."""
T = TypeVar("T")
C = TypeVar("C", bound=Counts)


@dataclass
class Content:
    """A run for a reader; None or empty: not there (yet)."""

    name: str
    attempt: Attempt
    config: str | None
    manifests: Mapping[str, Manifest]
    notes: list[str] = field(default_factory=list)
    """The parts that could not be shown, and why."""
    evaluation: dict[str, Any] | None = None
    training_changes: list[dict[str, Any]] = field(default_factory=list)
    """The steps at which the training went on with another recipe, and what changed."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    gate: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    statistics: list[dict[str, Any]] = field(default_factory=list)
    corpus: CorpusCounts | None = None
    validation: ValidationCounts | None = None
    tokenizer: TokenizerCounts | None = None
    shards: ShardsCounts | None = None
    training: Training = field(default_factory=Training)
    cost: str | None = None
    """The use and the cost of all attempts, in a line."""

    @property
    def started(self) -> str | None:
        """When the attempt began."""
        return None if self.attempt.started is None else local_time(self.attempt.started)

    @property
    def origin(self) -> RunStarted | None:
        """The attempt's first event: pipeline, command, machine; None for steps that were run by hand."""
        return next(iter(self.attempt.of_kind(RunStarted)), None)

    @property
    def command(self) -> str | None:
        """The command that repeats it, without secrets."""
        command = self.origin.command if self.origin is not None else None
        return None if command is None else without_secrets(command)

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory of the whole run; None until it ended."""
        return next((event.peak_memory_bytes for event in self.attempt.of_kind(RunFinished)), None)

    @property
    def warnings(self) -> list[str]:
        """The warnings, each once."""
        return list(dict.fromkeys(event.message for event in self.attempt.of_kind(Warned)))

    @property
    def on_cluster(self) -> list[tuple[str | None, str]]:
        """The news of the training's pods and queue, each with its time; empty for a training on one machine."""
        if not self.attempt.of_kind(TrainJobBegun):
            return []
        lines = ((event.time, lasting_line(event)) for event in self.attempt.events if isinstance(event, ON_CLUSTER))
        return [(local_time(time), line) for time, line in lines if line is not None]

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The figures of each metric; empty before the evaluation."""
        return {} if self.evaluation is None else self.evaluation["metrics"]

    @property
    def comparisons(self) -> dict[str, list[dict[str, Any]]]:
        """The gate's comparisons by metric, in the gate's order."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.gate["comparisons"] if self.gate else ():
            found.setdefault(row.get("metric", ""), []).append(row)
        return found


def gather(folder: RunFolder) -> Content:
    """Read the run folder and the products that its manifests name."""
    attempt = last_attempt(folder.events)
    content = Content(folder.name, attempt, _config(folder), {})
    content.cost = in_one_line(account_of(folder))
    content.manifests = _manifests(content, folder)
    content.corpus = _counts(content, "ingest", CorpusCounts)
    content.validation = _counts(content, "validate", ValidationCounts)
    content.tokenizer = _counts(content, "tokenizer", TokenizerCounts)
    content.shards = _counts(content, "tokenize", ShardsCounts)
    content.evaluation = _evaluation(content)
    content.samples = _document(content, "evaluate", "samples.json") or []
    content.gate = _document(content, "gate", "gate.json")
    content.checks = (_document(content, "export", "checks.json") or {}).get("checks", [])
    content.statistics = _statistics(content)
    if "train" in attempt.steps:
        lines = _product(content, "train", "history.jsonl", _json_lines)
        content.training = read_training(folder.events, lines, _counts(content, "train", CheckpointCounts))
        content.training_changes = (_document(content, "train", "training.json") or {}).get("changes", [])
    return content


def _evaluation(content: Content) -> dict[str, Any] | None:
    """The summary of the scores; None, with a note, if an earlier version of this program made it."""
    summary: dict[str, Any] | None = _document(content, "evaluate", "summary.json")
    if summary is not None and "metrics" not in summary:
        content.notes.append("the evaluation, as an earlier version of Gristmill made it: run evaluate again")
        return None
    return summary


def _document(content: Content, step: str, name: str) -> Any:
    """A JSON file of a step's product; None, with a note, if it is damaged or gone."""
    return _product(content, step, name, lambda path: json.loads(path.read_text(encoding="utf-8")))


def _config(folder: RunFolder) -> str | None:
    if not folder.config.is_file():
        return None
    return without_secrets(folder.config.read_text(encoding="utf-8", errors="replace"))


def _manifests(content: Content, folder: RunFolder) -> dict[str, Manifest]:
    """The manifests of the attempt's finished steps, in its order; a note for each that cannot be read."""
    found: dict[str, Manifest] = {}
    for step in filter(content.attempt.finished, content.attempt.steps):
        try:
            found[step] = folder.manifest(step)
        except (UserError, OSError) as error:
            content.notes.append(f"{step}: {_first_line(error)}")
    return found


def _counts(content: Content, step: str, kind: type[C]) -> C | None:
    """The counts of a step's product; None, with a note if they cannot be read, if there are none."""
    if step not in content.manifests:
        return None
    try:
        return kind.of(content.manifests[step])
    except UserError as error:
        content.notes.append(_first_line(error))
        return None


def _statistics(content: Content) -> list[dict[str, Any]]:
    """Rows of the corpus's statistics."""

    def rows(path: Path) -> list[dict[str, Any]]:
        import polars as pl

        return pl.read_parquet(path, glob=False).to_dicts()

    return _product(content, "validate", "statistics.parquet", rows) or []


def _product(content: Content, step: str, name: str, read: Callable[[Path], T]) -> T | None:
    """A file of a step's product, checked and read; None, with a note, if that cannot be done."""
    if step not in content.manifests:
        return None
    try:
        return read(content.manifests[step].file(name))
    except (UserError, OSError, ImportError, ValueError) as error:
        content.notes.append(_first_line(error))
        return None


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
