"""Uses of the pods of a training: each start of a container gives one event when it runs, and one when it ended.

Pods vanish with a restart, a preemption or the TrainJob, and nobody can be asked about them afterwards. So their times
are kept while they can be seen. All here is pure: a look goes in, events come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from llm.cluster.pods import Pod, Ran
from llm.cluster.trainjobs.follower.endings import attempt_of, index_of
from llm.cluster.trainjobs.trainjob import TrainJobSpec
from llm.config.quantity import amount
from llm.runs.event_kinds import PodRuns, PodUsed, Usage

Key = tuple[str, str, float]


@dataclass(frozen=True)
class Account:
    """Starts of containers, as far as they were told."""

    running: Mapping[Key, PodRuns] = field(default_factory=dict)
    """Those that run, when last looked at."""
    told: frozenset[Key] = frozenset()
    """Those whose end was told, by an earlier launcher too."""


def account_so_far(events: Iterable[object]) -> Account:
    """The account that the run's log has already, so that a launcher that adopts a training tells no end twice."""
    return Account(told=frozenset(event.key for event in events if isinstance(event, PodUsed)))


def count_pods(
    account: Account, spec: TrainJobSpec, pods: Iterable[Pod], date: datetime
) -> tuple[Account, list[Usage]]:
    """The account after a look at `date`, and the events to write."""
    now, running, told = round(date.timestamp(), 3), dict(account.running), set(account.told)
    events: list[Usage] = []
    seen_running: set[Key] = set()
    for pod in pods:
        for ran in pod.ran:
            begun = PodRuns(time=now, **_held(pod, ran, spec))
            if begun.key in told:
                continue
            ended = _ended(pod, ran, now)
            if ended is not None:
                told.add(begun.key)
                running.pop(begun.key, None)
                events.append(_used(begun, ended, now))
                continue
            seen_running.add(begun.key)
            if begun.key not in running:
                running[begun.key] = begun
                events.append(begun)
    for key in sorted(running.keys() - seen_running):  # its pod is gone, or its node lost: nobody says when it ended
        told.add(key)
        events.append(_used(running.pop(key), now, now))
    return replace(account, running=running, told=frozenset(told)), events


def _held(pod: Pod, ran: Ran, spec: TrainJobSpec) -> dict[str, Any]:
    asked = {**pod.limits, **pod.requests}  # a limit without a request is the request too
    amounts = {name: number for name, text in asked.items() if (number := amount(text)) is not None}
    memory = amounts.get("memory")
    return {
        "step": spec.step, "pod": pod.name, "uid": pod.uid or None, "node": index_of(pod), "attempt": attempt_of(pod),
        "started": _seconds(ran.started), "cpu": amounts.get("cpu"),
        "memory_bytes": None if memory is None else round(memory),
        "accelerators": {name: number for name, number in amounts.items() if "/" in name and number},
        "team": pod.labels.get(spec.team_label, spec.team),
    }  # fmt: skip


def _ended(pod: Pod, ran: Ran, now: float) -> float | None:
    """When the container ended; None if it runs. Of a pod that its node gave up, only the pod says that it ended."""
    if ran.ended is not None:
        return _seconds(ran.ended)
    return now if pod.has_ended else None


def _used(begun: PodRuns, ended: float, now: float) -> PodUsed:
    return PodUsed(ended=ended, **{**begun.model_dump(exclude={"kind"}), "time": now})


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
