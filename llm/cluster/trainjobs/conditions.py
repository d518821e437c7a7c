"""How a TrainJob stands. Its conditions decide, and nothing else: pods fail and come back while it goes on."""

from __future__ import annotations

from llm.cluster.api import Json

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"


def ended(job: Json) -> str | None:
    """`Complete` or `Failed`; None while it goes on."""
    return next((kind for kind in (COMPLETE, FAILED) if condition(job, kind) is not None), None)


def is_suspended(job: Json) -> bool:
    """Whether it waits for somebody to start it: a queue, or a person."""
    return bool(job["spec"].get("suspend")) or condition(job, SUSPENDED) is not None


def is_going(job: Json) -> bool:
    """Whether it is being deleted."""
    return "deletionTimestamp" in job["metadata"]


def condition(job: Json, kind: str) -> Json | None:
    """The condition of that kind, if it is true now."""
    conditions: list[Json] = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), None)
