"""The processors, memory and accelerators that a run takes, as the ledger counts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from llm.runs.event_kinds.event import Event


class Usage(Event):
    """A container, or on one machine a process, that holds resources. `key` says which start of which one it is."""

    step: str
    """Name of the step that it works for."""
    pod: str | None = None
    """Name of the pod; null: a process on one machine."""
    uid: str | None = None
    """Uid of the pod."""
    node: int | None = None
    """Number of the training's node; null: the step's own pod or process."""
    attempt: int = 0
    """Restarts of the training before."""
    started: float
    """When its container began, in seconds since the epoch, by the clock of its node."""
    cpu: float | None = None
    """Processors that it asks for; on one machine those that it may use; null: it asks for none."""
    memory_bytes: int | None = None
    """Memory that it asks for; null: it asks for none, or it is a process on one machine."""
    accelerators: Mapping[str, float] = Field(default_factory=dict)
    """Number of accelerators that it asks for, by the name of the resource."""
    team: str | None = None
    """The team that pays: the value of the label `costs.team_label`; null: there is no such label."""

    @property
    def key(self) -> tuple[str, str, float]:
        """The same for all events about one start of one container: step, pod, time of the start."""
        return self.step, self.uid or self.pod or "", self.started


class PodRuns(Usage):
    """A container was seen to run. A launcher that takes a training over says it again for the same start."""

    kind: Literal["pod_runs"] = "pod_runs"


class PodUsed(Usage):
    """A container has ended, or its pod is gone: this is what it held, and for how long."""

    kind: Literal["pod_used"] = "pod_used"
    ended: float
    """When it ended, in seconds since the epoch; of a pod that is gone, when that was seen."""
