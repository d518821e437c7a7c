"""The trainings of a run, for the verbs about runs.

`llm.cluster.pipelines` and `llm.cluster.trainjobs` do not know each other: the command line joins them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from llm.config import ClusterConfig


def end_training(name: str, cluster: ClusterConfig, tell: Callable[[str], None], namespace: str | None = None) -> bool:
    """Delete what the run of that name trains on pools, with all its pods; returns whether there was anything.

    It is looked for in the configured namespace, else in the given one, else in ours.
    """
    from llm.cluster.api import connect
    from llm.cluster.trainjobs.delete import delete_trainings

    there = cluster.model_copy(update={"namespace": cluster.namespace or namespace})
    with closing(connect(there)) as api:
        return bool(delete_trainings(api, name, tell))
