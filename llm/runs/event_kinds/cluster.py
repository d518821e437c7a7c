"""News from the launcher of a training that runs on a cluster."""

from __future__ import annotations

from typing import Literal

from llm.runs.event_kinds.event import Event


class TrainJobBegun(Event):
    """The TrainJob of the training is on the cluster."""

    kind: Literal["trainjob"] = "trainjob"
    name: str
    """Name of the TrainJob."""
    namespace: str
    """Its namespace."""
    uid: str | None = None
    """Its uid."""
    how: str
    """`created` by this launcher, or `adopted` from an earlier one."""


class TrainStarted(Event):
    """The first step of the training is done, on a TrainJob that this launcher created."""

    kind: Literal["train_started"] = "train_started"
    seconds: float
    """Time from the creation of the TrainJob to the end of its first step."""
