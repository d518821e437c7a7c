"""The beginning and the end of a step."""

from __future__ import annotations

from typing import Literal

from llm.runs.event_kinds.event import Event


class StepStarted(Event):
    """A step began."""

    kind: Literal["step_started"] = "step_started"
    step: str
    """Name of the step."""
    pid: int | None = None
    """Id of its process on its machine."""


class StepFinished(Event):
    """A step ended well, by work or by reuse."""

    kind: Literal["step_finished"] = "step_finished"
    step: str
    """Name of the step."""
    seconds: float | None = None
    """How long it took."""
    reused: bool = False
    """Whether the store had its product already."""
    manifest: str | None = None
    """Id of the product."""
    product: str | None = None
    """URI of the product."""


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
    """How long the step had run."""
