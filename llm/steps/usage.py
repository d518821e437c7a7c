"""The use of a step itself: the requests of its own pod, or on one machine the processors that it may use.

The configuration says what the pod of a step asks for (`pods.all`, `pods.steps.STEP`): the package was compiled from
it. A container cannot see its own requests, only its limits.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from llm.config import RunConfig
from llm.config.quantity import amount
from llm.process.cpus import usable_cpus
from llm.runs.event_kinds import PodRuns, PodUsed
from llm.runs.events import EventLog
from llm.runs.origin import kfp_run


@contextmanager
def accounted(step: str, config: RunConfig, log: EventLog, *, from_the_start: bool = True) -> Iterator[None]:
    """Write into the log what the step holds, and at its end, however it ends, for how long it held it.

    Without `from_the_start` only the latter: the page of the report does not show the report as still running.
    """
    started, clock = round(time.time(), 3), time.monotonic()
    held = {"step": step, "started": started, **_held(step, config)}
    if from_the_start:
        log.emit(PodRuns(**held))
    try:
        yield
    finally:
        with suppress(OSError):  # a full disk: the end of the step is worth more than this line
            # by the clock that nobody sets: a clock that is put right meanwhile does not change the duration
            log.emit(PodUsed(ended=round(started + time.monotonic() - clock, 3), **held))


def _held(step: str, config: RunConfig) -> dict[str, Any]:
    pod = config.pods.of(step)
    team = pod.labels.get(config.costs.team_label)
    if kfp_run() is None:
        return {"cpu": float(_processors(step, config)), "team": team}
    cpu, memory = pod.cpu_request or pod.cpu_limit, pod.memory_request or pod.memory_limit
    held_bytes = None if memory is None else amount(memory)
    accelerators = {} if pod.accelerator is None else {pod.accelerator: float(pod.accelerators or 0)}
    return {
        "pod": os.environ.get("KFP_POD_NAME") or socket.gethostname(),
        "uid": os.environ.get("KFP_POD_UID"),
        "cpu": None if cpu is None else amount(cpu),
        "memory_bytes": None if held_bytes is None else round(held_bytes),
        "accelerators": accelerators,
        "team": team,
    }


def _processors(step: str, config: RunConfig) -> int:
    """Processors that the step keeps busy here: those that it may use, of a training those that its ranks share."""
    usable = usable_cpus()
    if step != "train" or config.training.pool is not None:
        return usable
    ranks = config.training.parallel.processes
    return min(usable, ranks * max(1, usable // ranks))
