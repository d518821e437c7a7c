"""The state of a training in its queue, as Kueue's Workload says it.

Conditions decide: QuotaReserved and Admitted let it run, Evicted took it out again. Each has the time since when it
is so, which tells one wait from the next. Seen with Kueue 0.17.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from llm.cluster.api import Api, Json
from llm.cluster.queues.kueue_requests import place_in_queue, workload_of

LIMIT_RANGE = "LimitRange constraints"
"""Kueue's word for pods that a LimitRange of the namespace would refuse."""
NEVER = (
    "maximum capacity", "unavailable in ClusterQueue", "untolerated taint", "doesn't match node affinity",
    "doesn't match ClusterQueue selector", "resources validation failed", LIMIT_RANGE,
)  # fmt: skip
"""Kueue's words for a request that a flavor, the queue or the namespace can never take."""
ROOM_LATER = "insufficient unused quota"
"""Kueue's words for a flavor that is large enough and in use."""
NOT_THERE = ("doesn't exist", "does not exist", "not found")
_ASSIGN = re.compile(r"couldn't assign flavors to pod set [\w.-]+: ")
_JOB_UID = re.compile(r"JobUID: ([\w-]+)")
_PREEMPTOR = re.compile(r"preemptor path: /(?:[^;\s]*/)?([^;/\s]+)")
"""The path of the cohorts down to the ClusterQueue whose work takes the place."""


@dataclass(frozen=True)
class Condition:
    """One condition of a Workload."""

    is_true: bool
    reason: str
    message: str
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Workload:
    """A training as Kueue holds it."""

    name: str
    queue: str
    """Name of its LocalQueue."""
    cluster_queue: str | None
    """The ClusterQueue that admitted it."""
    created: float
    """Seconds since the epoch."""
    is_active: bool
    """False once Kueue or a person has deactivated it: then it is never admitted."""
    reserved: Condition | None
    admitted: Condition | None
    evicted: Condition | None
    checks: tuple[str, ...]
    """Admission checks that are not passed yet, with their words."""
    place: int | None = None
    """Its place among those that wait; the first is 1. None: not known."""
    preemptor: str | None = None
    """The work that it was stopped for: a job of this namespace, else its ClusterQueue; None: not known."""

    @property
    def is_admitted(self) -> bool:
        """Whether it may run now."""
        return self.admitted is not None and self.admitted.is_true and not self.is_evicted

    @property
    def is_evicted(self) -> bool:
        """Whether Kueue has taken it out again; its pods may still save."""
        return self.evicted is not None and self.evicted.is_true

    @property
    def is_ending(self) -> bool:
        """Whether Kueue has taken it out and its pods have not ended yet: it waits in the queue only after that."""
        return self.is_evicted and self.reserved is not None and self.reserved.is_true

    @property
    def waits_since(self) -> float:
        """When its present wait began, in seconds since the epoch."""
        if self.is_evicted and self.evicted is not None:
            return self.evicted.since
        return self.created

    @property
    def waits_for(self) -> str:
        """The thing that keeps it from being admitted, mostly in Kueue's words; empty if Kueue has not said it."""
        if not self.is_active:
            return "its Workload is deactivated (spec.active: false)"
        if self.reserved is None:
            return ""
        if self.is_ending:
            return "its pods have not ended yet"
        if self.reserved.is_true:
            return f"its quota is reserved; it waits for {', '.join(self.checks) or 'an admission check'}"
        if self.is_evicted and self.evicted is not None and self.reserved.message == self.evicted.message:
            return ""  # why it was stopped, and not what it waits for
        return " ".join(_ASSIGN.sub("", self.reserved.message).split()).rstrip(".")

    @property
    def is_hopeless(self) -> bool:
        """Whether it is never admitted unless somebody changes it or the queue."""
        if not self.is_active:
            return True
        if self.reserved is None or self.reserved.is_true:
            return False
        words = self.waits_for
        if ROOM_LATER not in words and any(sign in words for sign in NEVER):
            return True
        return any(sign in words for sign in NOT_THERE)


def read_workload(document: Json) -> Workload:
    """Read the API server's JSON of a Workload."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    found = {one["type"]: _condition(one) for one in status.get("conditions") or ()}
    checks = [one for one in status.get("admissionChecks") or () if one.get("state") != "Ready"]
    return Workload(
        name=metadata["name"], queue=str(spec.get("queueName") or ""),
        cluster_queue=(status.get("admission") or {}).get("clusterQueue"),
        created=_epoch(metadata["creationTimestamp"]), is_active=spec.get("active") is not False,
        reserved=found.get("QuotaReserved"), admitted=found.get("Admitted"), evicted=found.get("Evicted"),
        checks=tuple(f"{one['name']} ({one.get('message') or one.get('state')})" for one in checks),
    )  # fmt: skip


def look_at_workload(api: Api, job_uid: str) -> Workload | None:
    """The Workload of a job, with its place in the queue while it waits; None if there is none that we may see."""
    document = workload_of(api, job_uid)
    if document is None:
        return None
    found = read_workload(document)
    place = None
    if not found.is_admitted and found.queue:
        place = place_in_queue(api, found.queue, found.name)
    return replace(found, place=place, preemptor=_preemptor(api, found))


def _preemptor(api: Api, found: Workload) -> str | None:
    """The work that needs the place, by Kueue's message."""
    if found.evicted is None or not found.is_evicted:
        return None
    uid, path = _JOB_UID.search(found.evicted.message), _PREEMPTOR.search(found.evicted.message)
    if uid is not None and (other := workload_of(api, uid[1])) is not None:
        return _job_of(other)
    return f"ClusterQueue {path[1]}" if path is not None else None


def _job_of(document: Json) -> str:
    owner: Json = next(iter(document["metadata"].get("ownerReferences") or ()), {})
    return f"{owner['kind']} {owner['name']}" if owner else f"Workload {document['metadata']['name']}"


def _condition(document: Json) -> Condition:
    return Condition(
        document["status"] == "True", str(document.get("reason") or ""), str(document.get("message") or ""),
        _epoch(document["lastTransitionTime"]),
    )  # fmt: skip


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
