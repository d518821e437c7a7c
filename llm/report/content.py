"""What a report shows, gathered from a run folder: whatever is there, and a note for what should be and is not.

Only the products of the latest attempt count: a manifest that an earlier one left is not shown as if it were new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm.errors import Preempted, UserError
from llm.evaluation.words import verdict_in_words
from llm.runs.attempt import Attempt, StepOutcome, last_attempt
from llm.runs.folder import RunFolder
from llm.runs.listing import local_time
from llm.storage import Manifest
from llm.tracking.events import read_events

Point = tuple[int, float]


@dataclass
class Content:
    """A run for a reader; None or empty: not there (yet)."""

    name: str
    attempt: Attempt
    config: str | None
    manifests: Mapping[str, Manifest]
    notes: list[str] = field(default_factory=list)
    """What could not be shown, and why."""
    evaluation: dict[str, Any] | None = None
    samples: list[dict[str, Any]] = field(default_factory=list)
    gate: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    statistics: list[dict[str, Any]] = field(default_factory=list)
    training_loss: Sequence[Point] = ()
    validation_loss: Sequence[Point] = ()
    speeds: Sequence[Point] = ()

    @property
    def started(self) -> str | None:
        """When the attempt began."""
        return None if self.attempt.started is None else local_time(self.attempt.started)

    @property
    def origin(self) -> dict[str, Any]:
        """The attempt's first event: pipeline, command, versions."""
        return next(iter(self.attempt.of_kind("run_started")), {})

    @property
    def plan(self) -> dict[str, Any]:
        """The training's plan, from this attempt; empty if nothing was trained in it."""
        return next(iter(reversed(self.attempt.of_kind("train_plan"))), {})

    @property
    def last_training_step(self) -> dict[str, Any]:
        """The last training step of this attempt; empty if there was none."""
        return next(iter(reversed(self.attempt.of_kind("train_step"))), {})

    @property
    def warnings(self) -> list[str]:
        """What was warned of, each once."""
        return list(dict.fromkeys(str(event["message"]) for event in self.attempt.of_kind("warning")))

    def counts(self, step: str) -> dict[str, Any] | None:
        """The counts of what a step made; None if it made nothing in this attempt."""
        return self.manifests[step].counts if step in self.manifests else None

    def rows(self) -> list[tuple[str, dict[str, Any]]]:
        """The evaluation's figures, overall first, then by domain."""
        if self.evaluation is None:
            return []
        return [("overall", self.evaluation["overall"]), *sorted(self.evaluation["domains"].items())]

    def headline(self) -> tuple[str, str, list[str]]:
        """How it ended: a tone (good, bad, unsure, plain), a title, and lines that explain it."""
        failed = self.attempt.failure
        if failed is not None and not self.attempt.finished("gate"):
            return "bad", *_failure(failed)
        if self.gate is not None:
            lines = verdict_in_words(self.gate)
            title, tone = VERDICTS[self.gate["verdict"]]
            if self.gate["verdict"] == "PASS" and failed is not None:
                title, message = _failure(failed)
                return "bad", f"Passed the gate, but {title[0].lower()}{title[1:]}", message + lines
            return tone, title, lines
        last = next(reversed(self.attempt.steps.values()), None)
        if last is None:
            where = "before its first step"
        else:
            where = f"after {last.name}" if last.state in ("done", "reused") else f"in {last.name}"
        return "plain", f"Not finished: this is how it stood {where}", []


VERDICTS = {
    "PASS": ("Passed the gate", "good"),
    "FAIL": ("Did not pass the gate", "bad"),
    "INCONCLUSIVE": ("The gate could not tell", "unsure"),
}


def gather(folder: RunFolder) -> Content:
    """Read the run folder and the products that its manifests name."""
    attempt = last_attempt(folder.events)
    made = {step: manifest for step, manifest in folder.manifests().items() if attempt.finished(step)}
    in_order = {step: made[step] for step in attempt.steps if step in made}
    config = folder.config.read_text(encoding="utf-8") if folder.config.is_file() else None
    content = Content(folder.name, attempt, config, in_order)
    content.evaluation = _document(content, "evaluate", "summary.json")
    content.samples = _document(content, "evaluate", "samples.json") or []
    content.gate = _document(content, "gate", "gate.json")
    content.checks = (_document(content, "export", "checks.json") or {}).get("checks", [])
    content.statistics = _statistics(content)
    _read_training(content, folder)
    return content


def _failure(step: StepOutcome) -> tuple[str, list[str]]:
    stopped = step.exit_code == Preempted.exit_code
    title = f"Stopped in {step.name}" if stopped else f"Failed in {step.name}"
    return title, (step.message or "no reason was given").splitlines()


def _document(content: Content, step: str, name: str) -> Any:
    """A JSON file of a step's product; None, with a note, if it is damaged or gone."""
    if step not in content.manifests:
        return None
    try:
        return json.loads(content.manifests[step].file(name).read_text(encoding="utf-8"))
    except UserError as error:
        content.notes.append(str(error).partition("\n")[0])
        return None


def _statistics(content: Content) -> list[dict[str, Any]]:
    """Rows of the corpus's statistics."""
    if "validate" not in content.manifests:
        return []
    import polars as pl

    try:
        return pl.read_parquet(content.manifests["validate"].file("statistics.parquet")).to_dicts()
    except UserError as error:
        content.notes.append(str(error).partition("\n")[0])
        return []


def _read_training(content: Content, folder: RunFolder) -> None:
    """Loss from the checkpoint's own history, else from the events; speed is in the events alone.

    A step that was done again after an interruption counts once, as it was done last.
    """
    steps: dict[int, dict[str, Any]] = {}
    validations: dict[int, float] = {}
    for event, _ in read_events(folder.events):
        if event["kind"] == "train_plan" and not event.get("start"):
            steps.clear()
            validations.clear()
        elif event["kind"] == "train_step":
            steps[event["step"]] = event
        elif event["kind"] == "train_validation":
            validations[event["step"]] = event["loss"]
    losses = {step: event["loss"] for step, event in steps.items()}
    if (history := _history(content)) is not None:
        losses = {line["step"]: line["loss"] for line in history if "loss" in line}
        validations = {line["step"]: line["validation_loss"] for line in history if "validation_loss" in line}
    content.training_loss, content.validation_loss = sorted(losses.items()), sorted(validations.items())
    content.speeds = sorted(
        (step, event["tokens_per_second"]) for step, event in steps.items() if event.get("tokens_per_second")
    )


def _history(content: Content) -> list[dict[str, Any]] | None:
    if "train" not in content.manifests:
        return None
    try:
        text = content.manifests["train"].file("history.jsonl").read_text(encoding="utf-8")
    except UserError as error:
        content.notes.append(str(error).partition("\n")[0])
        return None
    return [json.loads(line) for line in text.splitlines()]
