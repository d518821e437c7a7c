"""Ending a run before its time: the pipeline at Kubeflow Pipelines, and its training on the cluster.

KFP's Terminate stops the step that runs within a second, and tells nobody else. A step that follows a TrainJob deletes
it in that second; here it is made sure, also where KFP has no part in it (`gristmill run` with a pool).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from llm.cluster.pipelines.kfp_client import KfpApi
from llm.cluster.pipelines.kfp_requests import KfpError
from llm.cluster.pipelines.run_state import RunState
from llm.cluster.pipelines.wait import Narrator, Patience, wait
from llm.config import ClusterConfig, RunConfig, from_yaml
from llm.errors import ServiceError
from llm.process.interrupts import Interrupts


def ask_for_the_end(api: KfpApi, run: RunState, patience: Patience, interrupts: Interrupts) -> None:
    """Ask KFP to end a run, as often as it takes; raises KfpError if it refuses, or stays away."""
    given_up = time.monotonic() + patience.cancel_seconds
    while True:
        try:
            with interrupts.held():
                api.terminate(run.id)
            return
        except KfpError as error:
            if not error.may_pass or time.monotonic() >= given_up:
                raise
        interrupts.raise_held()
        time.sleep(patience.poll_seconds)


def end_training(name: str, cluster: ClusterConfig, tell: Callable[[str], None], namespace: str | None = None) -> bool:
    """Delete what the run of that name trains on pools, with all its pods; returns whether there was anything.

    It is looked for in the configured namespace, else in the given one, else in ours.
    """
    from llm.cluster.trainjobs.delete import cancel_training

    found = cluster.model_copy(update={"namespace": cluster.namespace or namespace})
    return bool(cancel_training(name, found, tell))


def await_the_end(api: KfpApi, run_id: str, narrator: Narrator, patience: Patience) -> RunState:
    """A run that was asked to end, at its end; raises ServiceError if it takes longer than `patience` allows."""
    run = wait(api, run_id, narrator, patience, for_seconds=patience.cancel_seconds)
    if not run.has_ended:
        raise ServiceError(
            f"run {run.name} was asked to end, and is still {run.state} after {patience.cancel_seconds:g} s",
            f"See its workflow: {api.page(run_id)}",
        )
    return run


def configuration_of(run: RunState) -> RunConfig | None:
    """The configuration that a run was started with; None if it has none. Raises UserError if it is not valid here."""
    document = run.parameter("config")
    return None if document is None else from_yaml(document)
