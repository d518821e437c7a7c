"""A training as a TrainJob: created or adopted, shown while it runs, and ended as its trainer ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from llm.cluster.api import Api, Json, connect
from llm.cluster.queues.queue_preflight import Asked, check_queue
from llm.cluster.trainjobs.acquire import Acquired, acquire
from llm.cluster.trainjobs.delete_on_signal import DeletesOnSignal
from llm.cluster.trainjobs.follower.loop import follow_to_the_end
from llm.cluster.trainjobs.follower.usage import account_so_far, count_pods
from llm.cluster.trainjobs.gpus import AskedGpus, check_gpus
from llm.cluster.trainjobs.own_pod import own_pod, training_image
from llm.cluster.trainjobs.pool_preflight import read_pool
from llm.cluster.trainjobs.trainjob import TrainJobSpec, manifest, trainjob_name
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob, training_pods, trainjob
from llm.config import ClusterConfig, RunConfig
from llm.config.sections.cluster import PRIORITY_LABEL, QUEUE_LABEL
from llm.errors import ServiceError
from llm.runs.event_kinds import Progress, TrainJobBegun, Warned
from llm.runs.events import EventLog

TASK = "train"
POD = ("python", "-m", "llm.training.pod")
PATIENCE_SECONDS = 600.0
"""Seconds to wait out an outage of the API server once the TrainJob is there: an upgrade of a control plane."""


def train_job(run: str, config: RunConfig, log: EventLog, stage: int | None = None) -> Callable[[str], None]:
    """A function that runs a plan, given by its URI, as a TrainJob on the training's pool; see `run_trainjob`.

    `stage`: the number of one that comes before the last, which has a TrainJob of its own: that of the stage before it
    stays until its launcher's pod goes.
    """
    training, cluster, pool = config.training, config.cluster, config.training.pool
    assert pool is not None
    label = config.costs.team_label

    def run_plan(plan_uri: str) -> None:
        spec = TrainJobSpec(
            run=run, task=TASK if stage is None else f"{TASK}-{stage}", pool=pool, nodes=training.parallel.nodes,
            processes=training.parallel.processes,
            command=(*POD, plan_uri), queue=training.queue, priority=training.priority,
            team_label=label, team=config.pods.of(TASK).labels.get(label), device=training.compute.device,
        )  # fmt: skip
        api = connect(cluster)
        try:
            # we are called when the store has no checkpoint: that of a complete TrainJob was removed since
            run_trainjob(api, spec, cluster, log, replace_complete=True)
        finally:
            api.close()

    return run_plan


def run_trainjob(
    api: Api, spec: TrainJobSpec, cluster: ClusterConfig, log: EventLog, *, replace_complete: bool = False
) -> None:
    """Run a training as a TrainJob and return when it is complete.

    The TrainJob of an earlier launcher is adopted, or replaced: see `acquire`. Rank 0's events go to `log`, its other
    lines to stderr. SIGTERM, SIGINT and SIGHUP delete the TrainJob before anything else. A TrainJob without an owner
    (outside of a pod) is deleted when it is complete.

    Raises the trainer's error, by its exit code and in its words; Preempted after a signal, or if others deleted the
    TrainJob; UserError for an obstacle that keeps it from starting, once patience with that is at an end (then it is
    deleted); ServiceError if the cluster refuses or does not answer.
    """

    def tell(message: str) -> None:
        log.emit(Progress(step=spec.step, message=message))

    launcher = own_pod(api)
    with DeletesOnSignal(api, trainjob_name(spec.run, spec.task)) as on_signal:
        pool = read_pool(api, spec.pool)
        _check_gpus(api, spec, cluster, pool, log)
        _check_queue(api, spec, pool, log)
        image = training_image(launcher, spec.device)
        body = manifest(spec, api.namespace, image, launcher.owner if launcher else None)
        acquired = acquire(
            api, body, on_signal, tell, replace_complete=replace_complete,
            before_it_goes=lambda: _account_for_the_last(api, spec, log),
        )  # fmt: skip
        _tell_acquired(acquired, spec, log)
        api.patience_seconds = PATIENCE_SECONDS
        api.tell = lambda message: log.emit(Warned(message=message.replace("\n  ", " ")))
        follow_to_the_end(api, acquired, spec, cluster, log)
        if not acquired.job["metadata"].get("ownerReferences"):
            _tidy_up(api, acquired, log)


def _account_for_the_last(api: Api, spec: TrainJobSpec, log: EventLog) -> None:
    """Write down what the pods of the earlier TrainJob held: its launcher may have died before they ended."""
    with suppress(ServiceError):  # it keeps no training from starting
        pods = training_pods(api, trainjob_name(spec.run, spec.task))
        _, usages = count_pods(account_so_far(log.read()), spec, pods, api.clock.date())
        for usage in usages:
            log.emit(usage)


def _tidy_up(api: Api, acquired: Acquired, log: EventLog) -> None:
    """Delete a complete TrainJob: while it exists its pool cannot be changed. The training is done either way."""
    name = acquired.job["metadata"]["name"]
    try:
        delete_trainjob(api, name)
    except ServiceError as error:
        what = str(error).replace("\n  ", " ")
        log.emit(Warned(message=f"TrainJob {name} is complete and could not be deleted: {what}"))


def _check_gpus(api: Api, spec: TrainJobSpec, cluster: ClusterConfig, pool: Json, log: EventLog) -> None:
    asked = AskedGpus(spec.device, spec.nodes, spec.processes, cluster.gpu_resource)
    for warning in check_gpus(api, asked, pool):
        log.emit(Warned(message=warning))


def _check_queue(api: Api, spec: TrainJobSpec, pool: Json, log: EventLog) -> None:
    """Refuse a queue that cannot start the training, unless the TrainJob waits there already: others made it."""
    if trainjob(api, trainjob_name(spec.run, spec.task)) is not None:
        return
    for warning in check_queue(api, Asked(spec.queue, spec.priority, spec.pool, spec.nodes), pool):
        log.emit(Warned(message=warning))


def _tell_acquired(acquired: Acquired, spec: TrainJobSpec, log: EventLog) -> None:
    metadata = acquired.job["metadata"]
    how = "adopted" if acquired.created_at is None else "created"
    log.emit(TrainJobBegun(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"], how=how))
    labels = metadata.get("labels") or {}
    for key, label, wanted in (("queue", QUEUE_LABEL, spec.queue), ("priority", PRIORITY_LABEL, spec.priority)):
        if wanted is not None and labels.get(label) != wanted:
            has = f"TrainJob {metadata['name']} has {key} {labels.get(label) or 'none'} and keeps it"
            log.emit(Warned(message=f"{has}; for training.{key}={wanted} end it first: gristmill cancel {spec.run}"))
