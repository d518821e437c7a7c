"""The state of a TrainJob. Its conditions decide, and nothing else: pods fail and come back while it continues."""

from __future__ import annotations

from llm.cluster.api import Json

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"


def ended(job: Json) -> str | None:
    """`Complete` or `Failed`; None before its end."""
    return next((kind for kind in (COMPLETE, FAILED) if condition(job, kind) is not None), None)


def is_suspended(job: Json) -> bool:
    """Whether it waits until somebody starts it: a queue, or a person."""
    return bool(job["spec"].get("suspend")) or condition(job, SUSPENDED) is not None


def is_going(job: Json) -> bool:
    """Whether its deletion was asked for."""
    return "deletionTimestamp" in job["metadata"]


def condition(job: Json, kind: str) -> Json | None:
    """The condition of that kind, if it is true now."""
    conditions: list[Json] = (job.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind and one["status"] == "True"), None)
