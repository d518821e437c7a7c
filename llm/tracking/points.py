"""Data for MLflow: a run's events as points, its configuration as parameters, its origin as tags."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llm.config import Decides, RunConfig, deciding
from llm.errors import EXIT_OK, Preempted
from llm.runs.event_kinds import (
    CheckpointSaved,
    Event,
    MetricMeasured,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    TrainPlan,
    TrainStep,
    TrainValidation,
    Versions,
)

TRAINING_METRICS = (
    "loss", "lr", "grad_norm", "tokens", "tokens_per_second", "mfu", "memory_bytes", "cost", "data_seconds",
    "checkpoint_seconds", "loss_scale",
)  # fmt: skip
LARGEST_LOSS = 700.0
ORIGIN = ("pipeline", "command", "config_sha256", "kfp_run")
STOPPED = Preempted.exit_code


@dataclass(frozen=True)
class Point:
    """One value of one metric; the time is the event's own, so a point that is sent twice is the same point."""

    name: str
    value: float
    milliseconds: int
    step: int


def points(event: Event) -> list[Point]:
    """The points that an event holds; a value that is missing gives none."""
    milliseconds = round(event.time * 1000)
    step = event.step if isinstance(event, TrainStep | TrainValidation | CheckpointSaved) else 0
    return [
        Point(_allowed(name), float(value), milliseconds, step) for name, value in _values(event) if value is not None
    ]


def parameters(config: RunConfig) -> dict[str, str]:
    """The settings by dotted key that decide the result or choose the input."""
    return dict(_flatten("", deciding(config, Decides.RESULT, Decides.INPUT)))


def tags(event: Event) -> dict[str, str]:
    """The run's origin as an event gives it: `run_started`, and `versions` of the images of later steps."""
    if not isinstance(event, RunStarted | Versions):
        return {}
    found: dict[str, str | None] = {}
    if isinstance(event, RunStarted):
        found = {f"gristmill.{name}": getattr(event, name) for name in ORIGIN}
    found |= {f"version.{name}": version for name, version in (event.versions or {}).items()}
    return {name: value for name, value in found.items() if value is not None}


def status(exit_code: int) -> str:
    """MLflow's word for how a run ended."""
    return {EXIT_OK: "FINISHED", STOPPED: "KILLED"}.get(exit_code, "FAILED")


def _values(event: Event) -> Iterator[tuple[str, float | None]]:
    match event:
        case TrainStep():
            yield from ((f"train/{name}", getattr(event, name)) for name in TRAINING_METRICS)
            yield from ((f"train/lr/{number}", rate) for number, rate in enumerate(event.rates or ()))
            yield "train/device_hours", None if event.device_seconds is None else event.device_seconds / 3600
        case TrainValidation():
            yield "validation/loss", event.loss
            yield "validation/perplexity", _perplexity(event.loss)
            yield "validation/bits_per_byte", event.bits_per_byte
        case TrainPlan():
            yield "train/parameters", event.parameters
            yield "train/world_size", event.world_size
        case CheckpointSaved():
            yield "checkpoint/seconds", event.seconds
        case StepFinished() | StepFailed():
            yield f"seconds/{event.step}", event.seconds
        case MetricMeasured():
            yield event.name, event.value
        case RunFinished():
            yield "seconds/run", event.seconds
            yield "memory/peak_bytes", event.peak_memory_bytes


def _perplexity(loss: float) -> float | None:
    """e to the loss in nats a token; None where it is too large for a number."""
    return math.exp(loss) if loss < LARGEST_LOSS else None


def _allowed(name: str) -> str:
    """The name; characters that MLflow does not allow are replaced."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield _allowed(prefix), str(value)
