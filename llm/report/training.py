"""The course of a training, out of the event log and the checkpoint's own history.

An interrupted training leaves the events of several invocations: a step counts once, as it was done last, and when an
invocation begins, what it will do again is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm.runs.event_kinds import TrainPlan, TrainStep, TrainValidation
from llm.runs.events import read_events
from llm.storage.products import CheckpointCounts

Point = tuple[int, float]
Line = Mapping[str, Any]


@dataclass(frozen=True)
class Training:
    """The figures of a training; empty if there are none."""

    plan: TrainPlan | None = None
    """The last plan; None if this checkpoint was trained in another run."""
    last: TrainStep | None = None
    """The last step; None if this checkpoint was trained in another run."""
    tokens: int | None = None
    """Tokens trained on, in another run too."""
    loss: Sequence[Point] = ()
    validation_loss: Sequence[Point] = ()
    speeds: Sequence[Point] = ()
    """Tokens per second over all ranks."""
    memory_bytes: int | None = None
    """Peak memory of all ranks together."""
    resumed: Sequence[int] = ()
    """Steps from which it went on after an interruption."""


def read_training(events: Path, history: Sequence[Line] | None, counts: CheckpointCounts | None) -> Training:
    """Put the training together: loss from the checkpoint's history if there is one, else from the events.

    `counts` are the checkpoint's. Events that do not lead to it are another training's, and are left out.
    """
    found = _from_events(events)
    if counts is not None and not _leads_to(found.last, counts):
        found = Training(tokens=counts.tokens)
    if history is None:
        return found
    return replace(
        found,
        loss=[(line["step"], line["loss"]) for line in history if "loss" in line],
        validation_loss=[(line["step"], line["validation_loss"]) for line in history if "validation_loss" in line],
    )


def _leads_to(last: TrainStep | None, counts: CheckpointCounts) -> bool:
    """Whether a training's last step is that of the checkpoint with these counts."""
    if last is None or last.tokens != counts.tokens:
        return False
    return counts.loss is None or last.loss == counts.loss


def _from_events(events: Path) -> Training:
    plan: TrainPlan | None = None
    steps: dict[int, TrainStep] = {}
    validations: dict[int, float] = {}
    resumed: list[int] = []
    for event, _ in read_events(events):
        match event:
            case TrainPlan(start=start):
                plan = event
                steps = {step: line for step, line in steps.items() if step <= start}
                validations = {step: loss for step, loss in validations.items() if step <= start}
                resumed = [*(step for step in resumed if step < start), start] if start else []
            case TrainStep():
                steps[event.step] = event
            case TrainValidation():
                validations[event.step] = event.loss
    in_order = [steps[step] for step in sorted(steps)]
    return Training(
        plan=plan,
        last=in_order[-1] if in_order else None,
        tokens=in_order[-1].tokens if in_order else None,
        loss=[(line.step, line.loss) for line in in_order],
        validation_loss=sorted(validations.items()),
        speeds=[(line.step, line.tokens_per_second) for line in in_order if line.tokens_per_second],
        memory_bytes=max((line.memory_bytes for line in in_order if line.memory_bytes), default=None),
        resumed=resumed,
    )
