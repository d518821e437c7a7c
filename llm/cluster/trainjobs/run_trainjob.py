"""A training as a TrainJob: created or adopted, shown while it runs, and ended as its trainer ended."""

from __future__ import annotations

from collections.abc import Callable

from llm.cluster.api import Api, connect
from llm.cluster.trainjobs.acquire import Begun, begin
from llm.cluster.trainjobs.delete_on_signal import DeletesWhenStopped
from llm.cluster.trainjobs.follower import Following
from llm.cluster.trainjobs.own_pod import own_pod, training_image
from llm.cluster.trainjobs.pool_preflight import read_pool
from llm.cluster.trainjobs.trainjob import TrainJobSpec, manifest, trainjob_name
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob
from llm.config import ClusterConfig, TrainingConfig
from llm.errors import ServiceError
from llm.runs.event_kinds import Progress, TrainJobBegun, Warned
from llm.runs.events import EventLog

TASK = "train"
POD = ("python", "-m", "llm.training.pod")
PATIENCE_SECONDS = 600.0
"""How long an outage of the API server is waited out once the TrainJob is there: an upgrade of a control plane."""


def train_job(run: str, training: TrainingConfig, cluster: ClusterConfig, log: EventLog) -> Callable[[str], None]:
    """What runs a plan, given by its URI, as a TrainJob on the pool that the training names; see `follow`."""
    assert training.pool is not None
    pool = training.pool

    def run_plan(plan_uri: str) -> None:
        spec = TrainJobSpec(
            run=run, task=TASK, pool=pool, nodes=training.parallel.nodes,
            processes=training.parallel.processes,
            command=(*POD, plan_uri),
        )  # fmt: skip
        # anew: we are called when the store has no checkpoint, so a complete TrainJob made one that was since removed
        follow(spec, cluster, log, anew=True)

    return run_plan


def follow(spec: TrainJobSpec, cluster: ClusterConfig, log: EventLog, *, anew: bool = False) -> None:
    """Run a training as a TrainJob and return when it is complete.

    The TrainJob of an earlier launcher is adopted if it asks for the same, UserError if it asks for something else; one
    that has failed is replaced, and with `anew` one that is complete. Rank 0's events come into `log`, its other lines
    to stderr. SIGTERM and SIGINT delete the TrainJob before anything else. One that nothing owns (outside of a pod) is
    deleted when it is complete.

    Raises what the trainer raised, by its exit code and in its words; Preempted after a stop, or if the TrainJob was
    deleted by others; UserError for what keeps it from starting, once patience with that is at an end (then it is
    deleted); ServiceError if the cluster refuses or does not answer.
    """

    def tell(message: str) -> None:
        log.emit(Progress(step=spec.task, message=message))

    api = connect(cluster)
    try:
        launcher = own_pod(api)
        with DeletesWhenStopped(api, trainjob_name(spec.run, spec.task)) as stop:
            read_pool(api, spec.pool)
            image = training_image(launcher)
            body = manifest(spec, api.namespace, image, launcher.owner if launcher else None)
            begun = begin(api, body, stop, tell, anew=anew)
            _tell_begun(begun, log)
            api.patience_seconds = PATIENCE_SECONDS
            api.tell = lambda message: log.emit(Warned(message=message.replace("\n  ", " ")))
            Following(api, begun, spec, cluster, log).to_the_end()
            if not begun.job["metadata"].get("ownerReferences"):
                _tidy_up(api, begun, log)
    finally:
        api.close()


def _tidy_up(api: Api, begun: Begun, log: EventLog) -> None:
    """Delete a complete TrainJob: while it is there its pool cannot be changed. The training is done either way."""
    name = begun.job["metadata"]["name"]
    try:
        delete_trainjob(api, name)
    except ServiceError as error:
        what = str(error).replace("\n  ", " ")
        log.emit(Warned(message=f"TrainJob {name} is complete and could not be deleted: {what}"))


def _tell_begun(begun: Begun, log: EventLog) -> None:
    metadata = begun.job["metadata"]
    how = "adopted" if begun.created_at is None else "created"
    log.emit(TrainJobBegun(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"], how=how))
