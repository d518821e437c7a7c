"""The latest attempt at a run, read from the event log.

A run that was interrupted goes on in its folder and its log, so the log may hold several attempts; each begins with
`run_started`. On a cluster the first step of a submission emits it, or several steps that begin side by side, with the
id of their run in Kubeflow Pipelines: the same id is the same attempt. Steps that are run by hand
(`gristmill tokenize --run …`) belong to the attempt before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

from llm.errors import EXIT_OK, GateNotPassed, Preempted
from llm.runs.event_kinds import (
    Event,
    RunFinished,
    RunStarted,
    StepExplained,
    StepFailed,
    StepFinished,
    StepStarted,
    Versions,
)
from llm.runs.events import read_events

E = TypeVar("E", bound=Event)
State = Literal["finished", "not promoted", "stopped", "failed", "running", "interrupted"]

ENDS: dict[int | None, State] = {
    EXIT_OK: "finished", GateNotPassed.exit_code: "not promoted", Preempted.exit_code: "stopped",
}  # fmt: skip


@dataclass(frozen=True)
class StepOutcome:
    """The state of a step of the attempt."""

    name: str
    state: Literal["done", "reused", "failed", "unfinished"]
    seconds: float | None
    message: str | None = None
    exit_code: int | None = None
    why: tuple[str, ...] = ()
    """Why its work was done again; empty if it was reused, or a log from before does not say it."""
    product: str | None = None
    """The name of its product that people can read, `corpus/RUN@1`."""


@dataclass(frozen=True)
class Attempt:
    """The events of one attempt, in order."""

    events: Sequence[Event]

    def of_kind(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @cached_property
    def steps(self) -> dict[str, StepOutcome]:
        """The state of each step that was begun, in the order of their beginnings."""
        found: dict[str, StepOutcome] = {}

        def why(step: str) -> tuple[str, ...]:
            return found[step].why if step in found else ()

        for event in self.events:
            match event:
                case StepStarted():
                    found[event.step] = StepOutcome(event.step, "unfinished", None)
                case StepExplained(reused=False) if event.step in found:
                    so_far = found[event.step]
                    found[event.step] = replace(so_far, why=(*so_far.why, *event.why))
                case StepFinished():
                    state: Literal["reused", "done"] = "reused" if event.reused else "done"
                    found[event.step] = StepOutcome(
                        event.step, state, event.seconds, why=why(event.step), product=event.name
                    )
                case StepFailed():
                    found[event.step] = StepOutcome(
                        event.step, "failed", event.seconds, event.message, event.exit_code, why(event.step)
                    )
        return found

    @property
    def versions(self) -> dict[str, str | None]:
        """Versions of the libraries where the run began and in the images of its steps; None if none has it."""
        named = [event.versions or {} for event in self.events if isinstance(event, RunStarted | Versions)]
        return {name: version for one in named for name, version in one.items()}

    @property
    def failure(self) -> StepOutcome | None:
        """The step that failed, if one did."""
        return next((step for step in self.steps.values() if step.state == "failed"), None)

    @property
    def started(self) -> float | None:
        """Time of the first event, in seconds since the epoch."""
        return self.events[0].time if self.events else None

    @property
    def seconds(self) -> float | None:
        """Its duration, or the time up to its last event."""
        if (end := self._end) is not None:
            return end.seconds
        return self.events[-1].time - self.events[0].time if self.events else None

    @property
    def exit_code(self) -> int | None:
        """The exit code that it ended with; None if it did not end."""
        return None if self._end is None else self._end.exit_code

    def finished(self, step: str) -> bool:
        """Whether the step ended well, by work or by reuse."""
        return step in self.steps and self.steps[step].state in ("done", "reused")

    def state(self, *, is_held: bool) -> State:
        """The state of the attempt; `is_held` says whether a process works in the folder now."""
        code = self.exit_code
        if code is None and is_held:
            return "running"
        if code is None and self.failure is not None:
            code = self.failure.exit_code
        if code is None:
            began_by_hand = bool(self.events) and not isinstance(self.events[0], RunStarted)
            whole = all(step.state != "unfinished" for step in self.steps.values())
            return "finished" if began_by_hand and whole else "interrupted"
        return ENDS.get(code, "failed")

    @property
    def _end(self) -> RunFinished | None:
        return next(reversed(self.of_kind(RunFinished)), None)


def last_attempt(events: Path) -> Attempt:
    """The latest attempt in an event log; an empty one if there is no log."""
    found = [event for event, _ in read_events(events)]
    begin, kfp_run = 0, None
    for place, event in enumerate(found):
        if isinstance(event, RunStarted) and (kfp_run is None or event.kfp_run != kfp_run):
            begin, kfp_run = place, event.kfp_run
    return Attempt(found[begin:])
