"""The course of a training, out of the event log and the checkpoint's own history.

An interrupted training leaves the events of several invocations: a step counts once, as it was done last, and what an
invocation was going to do again is forgotten when the next begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.runs.events import read_events

Point = tuple[int, float]
Line = Mapping[str, Any]
RESULT = ("tokens", "loss")
"""What the last step of a training and the counts of its checkpoint have in common."""


@dataclass(frozen=True)
class Training:
    """What is known of a training; empty: nothing."""

    plan: Line = field(default_factory=dict)
    """The last `train_plan`; empty if this checkpoint was trained in another run."""
    last: Line = field(default_factory=dict)
    """The last `train_step`; its tokens are known for a training of another run too."""
    loss: Sequence[Point] = ()
    validation_loss: Sequence[Point] = ()
    speeds: Sequence[Point] = ()
    """Tokens per second over all ranks."""
    memory_bytes: int | None = None
    """Peak memory of all ranks together."""
    resumed: Sequence[int] = ()
    """Steps from which it went on after an interruption."""


def read_training(events: Path, history: Sequence[Line] | None, counts: Line | None) -> Training:
    """Put the training together: loss from the checkpoint's history if there is one, else from the events.

    `counts` are the checkpoint's. Events that do not lead to it are another training's, and are left out.
    """
    found = _from_events(events)
    if counts is not None and any(found.last.get(name) != counts[name] for name in RESULT if name in counts):
        found = Training(last={"tokens": counts.get("tokens")})
    if history is None:
        return found
    return Training(
        plan=found.plan,
        last=found.last,
        loss=[(line["step"], line["loss"]) for line in history if "loss" in line],
        validation_loss=[(line["step"], line["validation_loss"]) for line in history if "validation_loss" in line],
        speeds=found.speeds,
        memory_bytes=found.memory_bytes,
        resumed=found.resumed,
    )


def _from_events(events: Path) -> Training:
    plan: Line = {}
    steps: dict[int, Line] = {}
    validations: dict[int, float] = {}
    resumed: list[int] = []
    for event, _ in read_events(events):
        if event["kind"] == "train_plan":
            plan, start = event, int(event.get("start") or 0)
            steps = {step: line for step, line in steps.items() if step <= start}
            validations = {step: loss for step, loss in validations.items() if step <= start}
            resumed = [*(step for step in resumed if step < start), start] if start else []
        elif event["kind"] == "train_step":
            steps[event["step"]] = event
        elif event["kind"] == "train_validation":
            validations[event["step"]] = event["loss"]
    in_order = [steps[step] for step in sorted(steps)]
    return Training(
        plan=plan,
        last=in_order[-1] if in_order else {},
        loss=[(line["step"], line["loss"]) for line in in_order],
        validation_loss=sorted(validations.items()),
        speeds=[(line["step"], line["tokens_per_second"]) for line in in_order if line.get("tokens_per_second")],
        memory_bytes=max((line["memory_bytes"] for line in in_order if line.get("memory_bytes")), default=None),
        resumed=resumed,
    )
