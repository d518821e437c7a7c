"""Deleting TrainJobs so that one knows when their pods are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from llm.cluster import pods as of
from llm.cluster.api import Api, Json, connect, tell_nobody
from llm.cluster.pod_requests import pods_of
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob, trainjob, trainjobs_of
from llm.config import ClusterConfig
from llm.errors import ServiceError

POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.0
"""How long nothing must be seen of a TrainJob before it counts as gone: see `_is_there`."""
MARGIN_SECONDS = 60.0
"""What controllers and kubelets may take beyond the pods' grace."""


def cancel_training(run: str, cluster: ClusterConfig, progress: Callable[[str], None] = tell_nobody) -> list[str]:
    """Delete all TrainJobs of a run and wait until their pods are gone; returns the names, none if there were none.

    The pods save a checkpoint in their grace, so the same run goes on from there. Raises ServiceError if the cluster
    refuses, or if pods outlast their grace.
    """
    api = connect(cluster)
    try:
        jobs = trainjobs_of(api, run)
        delete_and_wait(api, jobs, progress)
    except Refused as error:
        if error.status != 404:
            raise
        return []  # a cluster without Kubeflow Trainer has no trainings
    finally:
        api.close()
    return [str(job["metadata"]["name"]) for job in jobs]


def delete_and_wait(api: Api, jobs: Sequence[Json], tell: Callable[[str], None]) -> None:
    """Delete these TrainJobs, and return when they, their JobSets and their pods are gone.

    The pods have their grace to save a checkpoint; `tell` hears how many there still are. Raises ServiceError if some
    outlast that.
    """
    grace = max((of.grace_seconds(pods_of(api, _name(job))) for job in jobs), default=0.0)
    for job in jobs:
        delete_trainjob(api, _name(job))
    deadline = time.monotonic() + grace + MARGIN_SECONDS
    told = ""
    gone_since: float | None = None
    while jobs and (gone_since is None or time.monotonic() < gone_since + SETTLE_SECONDS):
        there = [job for job in jobs if _is_there(api, job)]
        gone_since = None if there else gone_since or time.monotonic()
        pods = [pod for job in there for pod in pods_of(api, _name(job))]
        running = sum(map(of.is_running, pods))
        what = f"waiting for {running} of the pods of {', '.join(map(_name, there))}, which have {grace:.0f} s to save"
        if what != told and running:
            tell(what)
            told = what
        if there and time.monotonic() > deadline:
            raise ServiceError(
                f"TrainJob {', '.join(map(_name, there))} was deleted and is still there after"
                f" {grace + MARGIN_SECONDS:.0f} s",
                *(f"pod {of.name_of(pod)} on node {of.node_of(pod) or 'none'} has not ended" for pod in pods),
                "A node that does not answer keeps its pods: kubectl delete pod NAME --force, once the node is off.",
            )
        time.sleep(POLL_SECONDS)


def _is_there(api: Api, job: Json) -> bool:
    """Whether this very TrainJob, and not another of its name, or pods of it are left.

    It is deleted in the foreground, so it goes after its JobSet, and that after its pods. But Trainer (2.0 to 2.3) also
    keeps the JobSet of a TrainJob that is being deleted as it should be: it makes it anew, with pods that come a moment
    after the TrainJob went, and are deleted as they start.
    """
    found = trainjob(api, _name(job))
    if found is not None:
        return bool(found["metadata"]["uid"] == job["metadata"]["uid"])
    return bool(pods_of(api, _name(job)))


def _name(job: Json) -> str:
    return str(job["metadata"]["name"])
