"""What MLflow is told: a run's events as points, its configuration as parameters, its origin as tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm.config import Decides, RunConfig, deciding
from llm.errors import EXIT_OK, Preempted

Event = dict[str, Any]
TRAINING_METRICS = ("loss", "lr", "grad_norm", "tokens", "tokens_per_second", "mfu", "memory_bytes")
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
    milliseconds, step = round(event["time"] * 1000), int(event["step"]) if _is_number(event.get("step")) else 0
    return [
        Point(_allowed(name), float(value), milliseconds, step) for name, value in _values(event) if _is_number(value)
    ]


def parameters(config: RunConfig) -> dict[str, str]:
    """The settings by dotted key that decide the result or choose the input."""
    return dict(_flatten("", deciding(config, Decides.RESULT, Decides.INPUT)))


def tags(event: Event) -> dict[str, str]:
    """What an event says of the run's origin: `run_started`, and `versions` of the images of later steps."""
    if event["kind"] not in ("run_started", "versions"):
        return {}
    found = {f"gristmill.{name}": event.get(name) for name in ("pipeline", "command", "config_sha256", "kfp_run")}
    found |= {f"version.{name}": version for name, version in (event.get("versions") or {}).items()}
    return {name: str(value) for name, value in found.items() if value is not None}


def status(exit_code: int) -> str:
    """MLflow's word for how a run ended."""
    return {EXIT_OK: "FINISHED", STOPPED: "KILLED"}.get(exit_code, "FAILED")


def _values(event: Event) -> Iterator[tuple[str, Any]]:
    match event["kind"]:
        case "train_step":
            yield from ((f"train/{name}", event.get(name)) for name in TRAINING_METRICS)
        case "train_validation":
            yield "validation/loss", event.get("loss")
        case "train_plan":
            yield "train/parameters", event.get("parameters")
            yield "train/world_size", event.get("world_size")
        case "checkpoint_saved":
            yield "checkpoint/seconds", event.get("seconds")
        case "step_finished" | "step_failed":
            yield f"seconds/{event['step']}", event.get("seconds")
        case "metric":
            yield str(event["name"]), event.get("value")
        case "run_finished":
            yield "seconds/run", event.get("seconds")
            yield "memory/peak_bytes", event.get("peak_memory_bytes")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _allowed(name: str) -> str:
    """The name with what MLflow does not allow in one replaced."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and (value or not prefix):
        for key, inner in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield _allowed(prefix), str(value)
