"""Deleting TrainJobs, and seeing when their pods are gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llm.cluster.api import Api, Json
from llm.cluster.patience import silent
from llm.cluster.pods import grace_seconds
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob, trainjob, trainjobs_of, visible_pods
from llm.errors import ServiceError
from llm.words import duration

POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.0
"""Seconds in which nothing must be seen of a TrainJob before it counts as gone: see `_is_there`."""
MARGIN_SECONDS = 60.0
"""Seconds that controllers and kubelets may take beyond the pods' grace."""


def delete_trainings(api: Api, run: str, tell: Callable[[str], None] = silent) -> list[str]:
    """Delete all TrainJobs of a run and wait until their pods are gone; returns the names, none if there were none.

    The pods save a checkpoint in their grace, so the same run goes on from there. Raises ServiceError if the cluster
    refuses, or if pods outlast their grace.
    """
    try:
        jobs = trainjobs_of(api, run)
        delete_and_wait(api, jobs, tell)
    except Refused as error:
        if error.status != 404:
            raise
        return []  # a cluster without Kubeflow Trainer has no trainings
    return [_name(job) for job in jobs]


def delete_and_wait(api: Api, jobs: Sequence[Json], tell: Callable[[str], None]) -> None:
    """Delete these TrainJobs, and return when they, their JobSets and their pods are gone.

    The pods have their grace to save a checkpoint; `tell` gets the number of those that still run. Raises ServiceError
    if some outlast that.
    """
    grace = max((grace_seconds(visible_pods(api, _name(job)) or ()) for job in jobs), default=0.0)
    for job in jobs:
        delete_trainjob(api, _name(job))
    deadline = api.clock.now() + grace + MARGIN_SECONDS
    told = ""
    gone_since: float | None = None
    while jobs and (gone_since is None or api.clock.now() < gone_since + SETTLE_SECONDS):
        there = [job for job in jobs if _is_there(api, job)]
        gone_since = None if there else gone_since or api.clock.now()
        pods = [pod for job in there for pod in visible_pods(api, _name(job)) or ()]
        running = sum(pod.is_running for pod in pods)
        what = (
            f"waiting for {running} of the pods of {', '.join(map(_name, there))}, which have {duration(grace)} to save"
        )
        if what != told and running:
            tell(what)
            told = what
        if there and api.clock.now() > deadline:
            raise ServiceError(
                f"TrainJob {', '.join(map(_name, there))} was deleted and is still there after"
                f" {duration(grace + MARGIN_SECONDS)}",
                *(f"pod {pod.name} on node {pod.node or 'none'} has not ended" for pod in pods),
                "A node that does not answer keeps its pods: kubectl delete pod NAME --force, once the node is off.",
            )
        api.clock.sleep(POLL_SECONDS)


def _is_there(api: Api, job: Json) -> bool:
    """Whether this very TrainJob, and not another of its name, or pods of it are left.

    It is deleted in the foreground: first its pods go, then its JobSet, then the TrainJob. But Trainer (2.0 to 2.3)
    also restores the JobSet of a TrainJob that is being deleted. The pods of that JobSet appear a moment after the
    TrainJob went, and are deleted as they start.
    """
    found = trainjob(api, _name(job))
    if found is not None:
        return bool(found["metadata"]["uid"] == job["metadata"]["uid"])
    return bool(visible_pods(api, _name(job)))


def _name(job: Json) -> str:
    return str(job["metadata"]["name"])
