"""Actions of a follower after each look at its TrainJob: a pure function of what it knows, what it sees, and the time.

The TrainJob's conditions decide, its pods and the controllers' warnings explain, and rank 0's log is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from llm.cluster.api import Json
from llm.cluster.obstacles import Obstacle, ObstacleClock
from llm.cluster.pod_requests import time_of_event
from llm.cluster.pods import Pod
from llm.cluster.trainjobs.conditions import COMPLETE, FAILED, condition, ended, is_going, is_suspended
from llm.cluster.trainjobs.follower.actions import Action, Done, Fail, GiveUp, ReadLogs, ReadRest, Say, Tell, Warn
from llm.cluster.trainjobs.follower.diagnosis import in_the_way_of, to_making, to_preparing
from llm.cluster.trainjobs.follower.endings import Ending, attempt_of, ending_of, index_of
from llm.cluster.trainjobs.follower.failure import FINAL, STOPPED, as_raised, cause
from llm.cluster.trainjobs.follower.queue_news import QueueState, in_the_way, is_due, take_in
from llm.cluster.trainjobs.follower.snapshot import Followed, Snapshot, Wants
from llm.cluster.trainjobs.follower.usage import Account, count_pods
from llm.config.sections.cluster import QUEUE_LABEL
from llm.errors import GristmillError, Preempted

GAP_SECONDS = 5.0
WARNINGS_EVERY_SECONDS = 3.0
PREPARATION_SECONDS = 30.0
"""For so long a node may prepare a pod before its warnings are read. A large image takes longer without one."""
PODS_HIDDEN = "the pods of the training may not be seen: its progress, and what they hold, are not known here"
WARNINGS_HIDDEN = "the warnings about the training may not be seen (events): why pods are missing is not known here"
RECENT_SECONDS = 180.0
"""A kubelet that cannot prepare a pod repeats its warning within two minutes; an older one is of the past."""


@dataclass(frozen=True)
class State:
    """Facts that a follower knows from its earlier looks, and what it said."""

    endings: Mapping[str, Ending] = field(default_factory=dict)
    """The end of each pod, by its name: a restart removes the pods."""
    alive: frozenset[str] = frozenset()
    lost: str | None = None
    """The explanation for a pod that is gone without an ending."""
    attempt: int | None = None
    progress: str = ""
    """The last word about the training's progress."""
    obstacles: ObstacleClock = field(default_factory=lambda: ObstacleClock(GAP_SECONDS))
    said: frozenset[str] = frozenset()
    """The obstacles, and what may not be seen, that the user knows."""
    preparing_since: Mapping[str, float] = field(default_factory=dict)
    """Since when each pod has had a node and no running container."""
    warned: Obstacle | None = None
    """The obstacle in the controllers' warnings when they were last read."""
    warnings_read_at: float | None = None
    account: Account = field(default_factory=Account)
    """The uses of the pods, as far as they were told."""
    queue: QueueState = field(default_factory=QueueState)


def wanted(followed: Followed, state: State, now: float, seen: Snapshot) -> Wants:
    """Facts to read in addition to the TrainJob and its pods, which `seen` has."""
    assert seen.job is not None
    new = [ending for pod in seen.pods if (ending := ending_of(pod)) is not None and ending.pod not in state.endings]
    tails = tuple(ending.pod for ending in new if _is_a_crash(ending))
    if ended(seen.job) == FAILED:
        return Wants((followed.job_name,), tails)
    return Wants(_wanted_warnings(followed, state, now, seen), tails, _wants_queue(state, now, seen.job))


def _wanted_warnings(followed: Followed, state: State, now: float, seen: Snapshot) -> tuple[str, ...]:
    is_time = state.warnings_read_at is None or now - state.warnings_read_at >= WARNINGS_EVERY_SECONDS
    if not is_time or not _is_to_run(seen) or in_the_way_of(seen.pods, "", 0.0) is not None:
        return ()
    if _lacks_pods(followed, seen):
        return (followed.name, followed.job_name)
    slow = _slow(seen.pods, _preparing(state, seen.pods, now), now)
    return (slow.name,) if slow else ()


def _wants_queue(state: State, now: float, job: Json) -> bool:
    has_queue = QUEUE_LABEL in (job["metadata"].get("labels") or {})
    return not is_going(job) and is_due(state.queue, now, is_suspended=is_suspended(job), has_queue=has_queue)


def decide(followed: Followed, state: State, seen: Snapshot, now: float) -> tuple[State, list[Action]]:
    """The state after a look at `now` (seconds), and the actions to take, in this order."""
    account, usages = count_pods(state.account, followed.spec, seen.pods, seen.date)
    state = replace(state, account=account)
    actions: list[Action] = [Tell(usage) for usage in usages]
    if seen.job is None:
        return state, [*actions, ReadRest(), Fail(_deleted(followed, state))]
    state, more = _take_in(state, seen)
    actions += more
    state, more = _say_what_is_hidden(state, seen)
    actions += more
    actions.append(ReadLogs(_logs(seen.pods)))
    end = ended(seen.job)
    if end is not None:
        actions.append(ReadRest())
    if end == FAILED:
        return state, [*actions, Fail(_failure(followed, state, seen))]
    state, more = _queue_news(state, seen, now)
    actions += more
    words = _progress(followed, seen, state)
    if words is not None and words != state.progress:
        state = replace(state, progress=words)
        actions.append(Say(words))
    state, obstacle = _obstacle(followed, state, seen, now)
    if obstacle is not None:
        state, more = _mind(followed, state, obstacle, now)
        actions += more
    return state, [*actions, Done()] if end == COMPLETE else actions


def _say_what_is_hidden(state: State, seen: Snapshot) -> tuple[State, list[Action]]:
    """Say once what we may not see: then less is said of the training."""
    hidden = {PODS_HIDDEN: seen.pods_are_hidden, WARNINGS_HIDDEN: seen.warnings_are_hidden}
    new = [words for words, is_so in hidden.items() if is_so and words not in state.said]
    return replace(state, said=state.said.union(new)), [Warn(words) for words in new]


def _is_to_run(seen: Snapshot) -> bool:
    """Whether its pods should run now: it has not ended, nobody deletes it, no queue holds it back."""
    job = seen.job
    return job is not None and ended(job) is None and not is_suspended(job) and not is_going(job)


def _take_in(state: State, seen: Snapshot) -> tuple[State, list[Action]]:
    """Keep how each pod ended; say that the training starts again."""
    endings = dict(state.endings)
    for pod in seen.pods:
        if (ending := ending_of(pod)) is not None and ending.pod not in endings:
            endings[ending.pod] = ending.with_last_lines(seen.last_lines.get(ending.pod, ()))
    alive = frozenset(pod.name for pod in seen.pods) - endings.keys()
    gone = sorted(state.alive - alive - endings.keys())
    lost = state.lost or (f"pod {gone[0]} is gone: deleted, or its node is lost" if gone else None)
    attempt = max((attempt_of(pod) for pod in seen.pods), default=state.attempt)
    actions: list[Action] = []
    if state.attempt is not None and attempt is not None and attempt > state.attempt:
        before = cause(ending for ending in endings.values() if ending.attempt == attempt - 1)
        why = before or lost or "its pods are gone"
        actions.append(Warn(f"the training starts again (restart {attempt}): {why}"))
        lost = None
    return replace(state, endings=endings, alive=alive, lost=lost, attempt=attempt), actions


def _is_a_crash(ending: Ending) -> bool:
    """Whether the trainer may not have said why it ended, so that the end of its log must."""
    return ending.exit_code not in (0, STOPPED) and not (ending.exit_code in FINAL and ending.message)


def _logs(pods: Sequence[Pod]) -> tuple[str, ...]:
    """The pods of rank 0 that have a log, those of earlier attempts first."""
    return tuple(pod.name for pod in sorted(pods, key=attempt_of) if index_of(pod) == 0 and pod.has_log)


def _queue_news(state: State, seen: Snapshot, now: float) -> tuple[State, list[Action]]:
    if not seen.queue_is_read or seen.job is None:
        return state, []
    queue, events = take_in(state.queue, seen.workload, now, is_suspended=is_suspended(seen.job))
    return replace(state, queue=queue), [Tell(event) for event in events]


def _progress(followed: Followed, seen: Snapshot, state: State) -> str | None:
    assert seen.job is not None
    if is_going(seen.job):
        return "the TrainJob is being deleted"
    if is_suspended(seen.job):
        return state.queue.words or "queued: the TrainJob is suspended until its queue starts it"
    if seen.pods_are_hidden:
        return "it runs; its pods may not be seen"
    if any(ending_of(pod) is not None for pod in seen.pods):
        return None  # an end or a restart; other words say that
    return f"{sum(pod.is_running for pod in seen.pods)} of {followed.spec.nodes} pods run"


def _obstacle(followed: Followed, state: State, seen: Snapshot, now: float) -> tuple[State, Obstacle | None]:
    """The obstacle to the admission of a TrainJob that is suspended, or to the pods of one that is not."""
    if seen.job is not None and is_suspended(seen.job) and not is_going(seen.job) and ended(seen.job) is None:
        return state, in_the_way(state.queue.hopeless, followed.patience_seconds)
    if not _is_to_run(seen):
        return state, None
    preparing = _preparing(state, seen.pods, now)
    state = replace(state, preparing_since=preparing)
    obstacle = in_the_way_of(seen.pods, followed.spec.pool, followed.patience_seconds)
    if obstacle is None:
        state = _read_warnings(followed, state, seen, _slow(seen.pods, preparing, now), now)
        obstacle = state.warned
    return state, obstacle


def _mind(followed: Followed, state: State, obstacle: Obstacle, now: float) -> tuple[State, list[Action]]:
    """Say the obstacle once, and give the training up when patience with it is at an end."""
    key = (followed.name, obstacle.kind)
    state = replace(state, obstacles=state.obstacles.see([key], now))
    lasts = state.obstacles.lasts(key)
    if lasts >= obstacle.patience_seconds:
        return state, [GiveUp(obstacle)]
    if lasts < obstacle.quiet_seconds or obstacle.summary in state.said:
        return state, []
    state = replace(state, said=state.said | {obstacle.summary})
    return state, [Warn(f"{obstacle.summary} ({obstacle.details[0]})")]


def _read_warnings(followed: Followed, state: State, seen: Snapshot, slow: Pod | None, now: float) -> State:
    """Keep the words of the warnings while pods are missing, or do not start; forget it when all is well."""
    lacks = _lacks_pods(followed, seen)
    if not lacks and slow is None:
        return replace(state, warned=None, warnings_read_at=None)
    if not seen.warnings:
        return state
    if lacks:
        said = [warning for warnings in seen.warnings.values() for warning in warnings]
        warned: Obstacle | None = to_making(said, followed.made_at, followed.name, followed.patience_seconds)
    else:
        assert slow is not None
        lately = (seen.date - timedelta(seconds=RECENT_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ")
        warned = to_preparing(seen.warnings.get(slow.name, ()), lately, slow, followed.patience_seconds)
    return replace(state, warned=warned, warnings_read_at=now)


def _lacks_pods(followed: Followed, seen: Snapshot) -> bool:
    if seen.pods_are_hidden:
        return False
    return len(seen.pods) < followed.spec.nodes and not any(pod.is_going for pod in seen.pods)


def _preparing(state: State, pods: Sequence[Pod], now: float) -> dict[str, float]:
    names = [pod.name for pod in pods if pod.node and not pod.has_log]
    return {name: state.preparing_since.get(name, now) for name in names}


def _slow(pods: Sequence[Pod], preparing: Mapping[str, float], now: float) -> Pod | None:
    """A pod that its node has been preparing for long."""
    return next((pod for pod in pods if now - preparing.get(pod.name, now) > PREPARATION_SECONDS), None)


def _failure(followed: Followed, state: State, seen: Snapshot) -> GristmillError:
    assert seen.job is not None
    failed = condition(seen.job, FAILED) or {}
    reason, message = str(failed.get("reason") or ""), str(failed.get("message") or "")
    ending, why = cause(state.endings.values()), []
    if ending is None or ending.exit_code not in FINAL:
        if _is_past_its_deadline(followed, seen):
            why.append(f"The deadline of pool {followed.spec.pool} has passed (its deadlineSeconds).")
        elif reason == "ReachedMaxRestarts":
            why.append(f"The restarts of pool {followed.spec.pool} are used up (its maxRestarts).")
        else:
            why.append(f"TrainJob {followed.name}: {reason}: {message}")
    if ending is None:
        left = "its pods may not be seen" if seen.pods_are_hidden else "nothing is left of its pods"
        return GristmillError(f"TrainJob {followed.name} failed, and {left}", *why)
    return as_raised(ending, followed.name, why)


def _is_past_its_deadline(followed: Followed, seen: Snapshot) -> bool:
    warnings = seen.warnings.get(followed.job_name, ())
    return any(one.get("reason") == "DeadlineExceeded" and time_of_event(one) >= followed.made_at for one in warnings)


def _deleted(followed: Followed, state: State) -> Preempted:
    last = max(state.endings.values(), key=lambda ending: (ending.attempt, -ending.index), default=None)
    words = [f"{last}: {last.message}" if last.message else str(last)] if last is not None else []
    return Preempted(
        f"TrainJob {followed.name} was deleted while it was followed",
        "By `gristmill cancel`, by the end of the run that created it, or by hand.",
        *words,
        "Run the same command again to go on from the last checkpoint.",
    )
