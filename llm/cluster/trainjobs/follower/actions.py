"""Actions of a follower: what it does after a look at its TrainJob."""

from __future__ import annotations

from dataclasses import dataclass

from llm.cluster.obstacles import Obstacle
from llm.errors import GristmillError
from llm.runs.event_kinds import Event


@dataclass(frozen=True)
class Say:
    """Say how far the training is."""

    message: str


@dataclass(frozen=True)
class Warn:
    """Say what is wrong, though the training goes on."""

    message: str


@dataclass(frozen=True)
class Tell:
    """Write an event into the run's log."""

    event: Event


@dataclass(frozen=True)
class ReadLogs:
    """Show the logs of these pods, one after the other."""

    pods: tuple[str, ...]


@dataclass(frozen=True)
class ReadRest:
    """Show the rest of the logs: the pods write no more."""


@dataclass(frozen=True)
class GiveUp:
    """Delete the TrainJob, and raise a UserError that names its obstacle."""

    obstacle: Obstacle


@dataclass(frozen=True)
class Fail:
    """Raise the error."""

    error: GristmillError


@dataclass(frozen=True)
class Done:
    """Return: the training is complete."""


Action = Say | Warn | Tell | ReadLogs | ReadRest | GiveUp | Fail | Done
