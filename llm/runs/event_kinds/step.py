"""The beginning and the end of a step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llm.runs.event_kinds.event import Event


class StepStarted(Event):
    """A step began."""

    kind: Literal["step_started"] = "step_started"
    step: str
    """Name of the step."""
    pid: int | None = None
    """Id of its process on its machine."""


class StepExplained(Event):
    """A step knows whether it must work, and why: it looked in the store for the product that it would make."""

    kind: Literal["step_explained"] = "step_explained"
    step: str
    """Name of the step."""
    sought: str
    """The name of the recipe that it looked for; a step may look for more than its own product."""
    reused: bool
    """Whether the store has it."""
    why: list[str] = Field(default_factory=list)
    """Changes since the nearest earlier recipe, in words: `config training.optimizer.lr 0.003 -> 0.001`."""


class StepFinished(Event):
    """A step ended well, by work or by reuse."""

    kind: Literal["step_finished"] = "step_finished"
    step: str
    """Name of the step."""
    seconds: float | None = None
    """Duration of the step."""
    reused: bool = False
    """Whether the store had its product already."""
    manifest: str | None = None
    """Id of the product."""
    product: str | None = None
    """URI of the product."""
    name: str | None = None
    """Its name in the store that people can read: `corpus/RUN@1`; None if it has no files there."""


class StepFailed(Event):
    """A step ended with an error, or stopped."""

    kind: Literal["step_failed"] = "step_failed"
    step: str
    """Name of the step."""
    exit_code: int | None = None
    """The exit code that it asked for."""
    message: str = ""
    """The error, with its advice in further lines."""
    seconds: float | None = None
    """Time that the step had run."""
