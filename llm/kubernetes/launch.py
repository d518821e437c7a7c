"""A training on a pool: what the train step hands to a TrainJob, and waits for."""

from __future__ import annotations

from collections.abc import Callable

from llm.config import ClusterConfig, TrainingConfig
from llm.kubernetes.api import connect
from llm.kubernetes.follow import follow
from llm.kubernetes.pool import check_right, read_pool
from llm.kubernetes.trainjob import TrainJobSpec
from llm.runs.events import EventLog

TASK = "train"
POD = ("python", "-m", "llm.training.pod")


def train_job(run: str, training: TrainingConfig, cluster: ClusterConfig, log: EventLog) -> Callable[[str], None]:
    """What runs a plan, given by its URI, as a TrainJob on the pool that the training names; see `follow`."""
    assert training.pool is not None
    pool = training.pool

    def run_plan(plan_uri: str) -> None:
        spec = TrainJobSpec(
            run=run, task=TASK, pool=pool, nodes=training.parallel.nodes, processes=training.parallel.processes,
            command=(*POD, plan_uri),
        )  # fmt: skip
        # anew: we are called when the store has no checkpoint, so a complete TrainJob made one that was since removed
        follow(spec, cluster, log, anew=True)

    return run_plan


def check_pool(pool: str, cluster: ClusterConfig) -> None:
    """Raise UserError or ServiceError now, rather than at the training, if there is no such pool or right for us."""
    api = connect(cluster)
    try:
        read_pool(api, pool)
        check_right(api)
    finally:
        api.close()
