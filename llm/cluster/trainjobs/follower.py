"""Following one TrainJob to its end: its conditions decide, its pods explain, and rank 0's log shows the way."""

from __future__ import annotations

import time
from collections.abc import Sequence

from llm.cluster import pods as of
from llm.cluster.api import Api, Json
from llm.cluster.log_stream import LogStream
from llm.cluster.obstacles import Obstacle
from llm.cluster.pod_requests import last_lines, pods_of, time_of_event, warnings_of
from llm.cluster.pods import NODE
from llm.cluster.refusal import Refused, Unreachable
from llm.cluster.trainjobs.acquire import Begun
from llm.cluster.trainjobs.conditions import COMPLETE, FAILED, condition, ended, is_going, is_suspended
from llm.cluster.trainjobs.diagnosis import Obstacles
from llm.cluster.trainjobs.failure import FINAL, LAST_LINES, STOPPED, as_raised, cause
from llm.cluster.trainjobs.log_lines import Intake
from llm.cluster.trainjobs.trainjob import TrainJobSpec
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob, trainjob
from llm.config import ClusterConfig
from llm.errors import GristmillError, Preempted, ServiceError, UserError
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog

POLL_SECONDS = 1.0
REST_OF_LOG_SECONDS = 60.0
"""How long reading what is left of the log of an ended training may take."""


class Following:
    """What is known of a TrainJob, and what was told of it."""

    def __init__(self, api: Api, begun: Begun, spec: TrainJobSpec, cluster: ClusterConfig, log: EventLog) -> None:
        """Follow a TrainJob that was begun just now, or adopted."""
        self._api, self._spec, self._log = api, spec, log
        metadata = begun.job["metadata"]
        self._name, self._uid, self._made_at = metadata["name"], metadata["uid"], metadata["creationTimestamp"]
        self._intake = Intake(log, begun.created_at)
        self._patience_seconds = cluster.unschedulable_after_seconds
        self._obstacles = Obstacles(api, self._name, spec, self._patience_seconds, self._warn)
        self._endings: dict[str, of.Ending] = {}
        self._alive: set[str] = set()
        self._lost: str | None = None
        self._attempt: int | None = None
        self._standing = ""

    def to_the_end(self) -> None:
        """Return when the TrainJob is complete; raises as `follow` says."""
        try:
            with LogStream(self._api.twin(self._api.timeout_seconds), self._intake) as stream:
                while not self._look(stream):
                    time.sleep(POLL_SECONDS)
        except (Refused, Unreachable) as error:
            raise ServiceError(
                str(error),
                f"TrainJob {self._name} goes on without us: run the same command again to follow it, or end it with"
                f" gristmill cancel {self._spec.run}",
            ) from error

    def _look(self, stream: LogStream) -> bool:
        """Take in how the TrainJob stands; True when it is complete."""
        job = trainjob(self._api, self._name)
        if job is None or job["metadata"]["uid"] != self._uid:
            self._read_the_rest(stream)
            raise self._deleted()
        pods = pods_of(self._api, self._name)
        self._take_in(pods)
        stream.see(pods)
        state = ended(job)
        if state is not None:
            self._read_the_rest(stream)
        if state == FAILED:
            raise self._failure(job)
        self._tell_standing(job, pods)
        if state is None and not is_suspended(job) and not is_going(job):
            obstacle = self._obstacles.look(pods, self._made_at)
            if obstacle is not None:
                raise self._given_up(obstacle)
        return state == COMPLETE

    def _take_in(self, pods: Sequence[Json]) -> None:
        """Keep how each pod ended, since a restart removes it; tell of restarts."""
        for pod in pods:
            ending = of.ending_of(pod)
            if ending is None or ending.pod in self._endings:
                continue
            if ending.exit_code not in (0, STOPPED) and not (ending.exit_code in FINAL and ending.message):
                ending = ending.with_last_lines(last_lines(self._api, ending.pod, LAST_LINES))
            self._endings[ending.pod] = ending
        alive = {of.name_of(pod) for pod in pods} - self._endings.keys()
        lost = sorted(self._alive - alive - self._endings.keys())
        if lost and self._lost is None:
            self._lost = f"pod {lost[0]} is gone: deleted, or its node is lost"
        self._alive = alive
        self._tell_restart(max((of.attempt_of(pod) for pod in pods), default=self._attempt))

    def _tell_restart(self, attempt: int | None) -> None:
        if self._attempt is not None and attempt is not None and attempt > self._attempt:
            before = cause(ending for ending in self._endings.values() if ending.attempt == attempt - 1)
            self._warn(f"the training starts again (restart {attempt}): {before or self._lost or 'its pods are gone'}")
            self._lost = None
        self._attempt = attempt

    def _tell_standing(self, job: Json, pods: Sequence[Json]) -> None:
        if is_going(job):
            standing = "the TrainJob is being deleted"
        elif is_suspended(job):
            standing = "queued: the TrainJob is suspended until its queue starts it"
        elif any(of.ending_of(pod) is not None for pod in pods):
            return  # an end or a restart, which is told elsewhere
        else:
            standing = f"{sum(map(of.is_running, pods))} of {self._spec.nodes} pods run"
        if standing != self._standing:
            self._standing = standing
            self._log.emit(Progress(step=self._spec.task, message=standing))

    def _read_the_rest(self, stream: LogStream) -> None:
        if not stream.finish(REST_OF_LOG_SECONDS):
            self._warn(f"the end of the training's log could not be read within {REST_OF_LOG_SECONDS:.0f} s")

    def _failure(self, job: Json) -> GristmillError:
        failed = condition(job, FAILED) or {}
        reason, message = str(failed.get("reason") or ""), str(failed.get("message") or "")
        ending, why = cause(self._endings.values()), []
        if ending is None or ending.exit_code not in FINAL:
            if self._is_past_its_deadline():
                why.append(f"The deadline of pool {self._spec.pool} has passed (its deadlineSeconds).")
            elif reason == "ReachedMaxRestarts":
                why.append(f"The restarts of pool {self._spec.pool} are used up (its maxRestarts).")
            else:
                why.append(f"TrainJob {self._name}: {reason}: {message}")
        if ending is None:
            return GristmillError(f"TrainJob {self._name} failed, and nothing is left of its pods", *why)
        return as_raised(ending, self._name, why)

    def _is_past_its_deadline(self) -> bool:
        events = warnings_of(self._api, f"{self._name}-{NODE}-0")
        return any(one.get("reason") == "DeadlineExceeded" and time_of_event(one) >= self._made_at for one in events)

    def _deleted(self) -> Preempted:
        last = max(self._endings.values(), key=lambda ending: (ending.attempt, -ending.index), default=None)
        words = [f"{last}: {last.message}" if last.message else str(last)] if last is not None else []
        return Preempted(
            f"TrainJob {self._name} was deleted while it was followed",
            "By `gristmill cancel`, by the end of the run that created it, or by hand.",
            *words,
            "Run the same command again to go on from the last checkpoint.",
        )

    def _given_up(self, obstacle: Obstacle) -> UserError:
        done = f"TrainJob {self._name} was deleted"
        if obstacle.patience_seconds == self._patience_seconds:
            done += f" after {self._patience_seconds:g} s (cluster.unschedulable_after_seconds)"
        try:
            delete_trainjob(self._api, self._name)
        except ServiceError as error:
            done = f"TrainJob {self._name} could not be deleted: {error}"
        return UserError(obstacle.summary, *obstacle.details, done)

    def _warn(self, message: str) -> None:
        self._log.emit(Warned(message=message))
