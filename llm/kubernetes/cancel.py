"""Cancelling the trainings of a run, as `gristmill cancel` does."""

from __future__ import annotations

from collections.abc import Callable

from llm.config import ClusterConfig
from llm.kubernetes.api import connect, tell_nobody
from llm.kubernetes.deletion import delete_and_wait
from llm.kubernetes.objects import trainjobs_of
from llm.kubernetes.refusal import Refused


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
