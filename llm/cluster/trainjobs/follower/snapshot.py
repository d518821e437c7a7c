"""One look at a TrainJob: everything that is read of the cluster before the follower decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from llm.cluster.api import Api, Json
from llm.cluster.pod_requests import if_allowed, last_lines, warnings_of
from llm.cluster.pods import Pod
from llm.cluster.queues.workload import Workload, look_at_workload
from llm.cluster.trainjobs.follower.failure import LAST_LINES
from llm.cluster.trainjobs.trainjob import NODE, TrainJobSpec
from llm.cluster.trainjobs.trainjob_requests import trainjob, visible_pods


@dataclass(frozen=True)
class Followed:
    """The TrainJob that is followed, as far as it never changes."""

    name: str
    uid: str
    made_at: str
    """RFC 3339 in UTC."""
    spec: TrainJobSpec
    patience_seconds: float
    """Seconds to wait for nodes and quotas."""

    @property
    def job_name(self) -> str:
        """Name of the Job that makes the pods; the warnings about missing pods carry it."""
        return f"{self.name}-{NODE}-0"


@dataclass(frozen=True)
class Wants:
    """Facts that must be read in addition to the TrainJob and its pods."""

    warnings: tuple[str, ...] = ()
    """Names of objects."""
    last_lines: tuple[str, ...] = ()
    """Names of pods."""
    queue: bool = False
    """Whether to read its Workload."""


@dataclass(frozen=True)
class Snapshot:
    """The TrainJob, its pods, and the other facts that were wanted, all read at about the same time."""

    job: Json | None
    """None if it is gone, or if another has its name."""
    pods: tuple[Pod, ...] = ()
    pods_are_hidden: bool = False
    """Whether we may not see pods."""
    warnings: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    """By the name of the object that they are about."""
    warnings_are_hidden: bool = False
    """Whether we may not see events."""
    last_lines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The end of the logs, by pod."""
    date: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    workload: Workload | None = None
    """The training as Kueue holds it; None if it was not read, if there is none, or if we may not see it."""
    queue_is_read: bool = False


def observe(api: Api, followed: Followed, wanted: Callable[[Snapshot], Wants]) -> Snapshot:
    """Look; `wanted` says what else to read, once the TrainJob and its pods are known."""
    job = trainjob(api, followed.name)
    if job is None or job["metadata"]["uid"] != followed.uid:
        return Snapshot(None, date=api.clock.date())
    pods = visible_pods(api, followed.name)
    first = Snapshot(job, tuple(pods or ()), pods is None, date=api.clock.date())
    wants = wanted(first)
    warnings = {name: if_allowed(partial(warnings_of, api, name)) for name in wants.warnings}
    return replace(
        first,
        warnings={name: found or [] for name, found in warnings.items()},
        warnings_are_hidden=None in warnings.values(),
        last_lines={name: last_lines(api, name, NODE, LAST_LINES) for name in wants.last_lines},
        workload=look_at_workload(api, followed.uid) if wants.queue else None,
        queue_is_read=wants.queue,
    )
