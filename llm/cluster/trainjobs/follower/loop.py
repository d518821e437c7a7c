"""Following one TrainJob to its end: look, decide, act, and look again a second later."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from llm.cluster.api import Api
from llm.cluster.obstacles import Obstacle
from llm.cluster.refusal import Refused, Unreachable
from llm.cluster.trainjobs.acquire import Acquired
from llm.cluster.trainjobs.follower.actions import Action, Done, Fail, GiveUp, ReadLogs, ReadRest, Say, Tell, Warn
from llm.cluster.trainjobs.follower.copy_events import CopyEvents
from llm.cluster.trainjobs.follower.decide import State, decide, wanted
from llm.cluster.trainjobs.follower.log_stream import LogStream
from llm.cluster.trainjobs.follower.queue_news import QueueState, told_already
from llm.cluster.trainjobs.follower.snapshot import Followed, observe
from llm.cluster.trainjobs.follower.usage import account_so_far
from llm.cluster.trainjobs.gpus import nodes_with
from llm.cluster.trainjobs.trainjob import TrainJobSpec
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob
from llm.config import ClusterConfig
from llm.errors import ServiceError, UserError
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog

POLL_SECONDS = 1.0
REST_OF_LOG_SECONDS = 60.0
"""Seconds that it may take to read the rest of the log of a training that has ended."""


def follow_to_the_end(api: Api, acquired: Acquired, spec: TrainJobSpec, cluster: ClusterConfig, log: EventLog) -> None:
    """Return when the TrainJob is complete; raises the errors of `llm.cluster.trainjobs.run_trainjob.follow`."""
    metadata = acquired.job["metadata"]
    followed = Followed(
        metadata["name"], metadata["uid"], metadata["creationTimestamp"], spec, cluster.unschedulable_after_seconds
    )
    before = log.read()
    state = State(account=account_so_far(before), queue=QueueState(told=told_already(before)))
    try:
        with LogStream(api.new_connection(api.timeout_seconds), CopyEvents(log, acquired.created_at)) as stream:
            act = Act(api, followed, cluster.gpu_resource, stream, log)
            while True:
                now = api.clock.now()
                seen = observe(api, followed, partial(wanted, followed, state, now))
                state, actions = decide(followed, state, seen, now)
                if any(act(action) for action in actions):
                    return
                api.clock.sleep(POLL_SECONDS)
    except (Refused, Unreachable) as error:
        raise ServiceError(
            str(error),
            f"TrainJob {followed.name} continues without this command: run the same command again to follow it, or end"
            f" it with gristmill cancel {spec.run}",
        ) from error


class Act:
    """Carries out the decisions; True if the training is complete."""

    def __init__(self, api: Api, followed: Followed, gpu_resource: str, stream: LogStream, log: EventLog) -> None:
        """Act on the cluster, on the stream of the training's log, and on the run's events."""
        self._api, self._followed, self._stream, self._log = api, followed, stream, log
        self._gpu_resource = gpu_resource

    def __call__(self, action: Action) -> bool:
        """Do it; raises the error of Fail, and that of GiveUp."""
        match action:
            case Say(message):
                self._log.emit(Progress(step=self._followed.spec.step, message=message))
            case Warn(message):
                self._log.emit(Warned(message=message))
            case Tell(event):
                self._log.emit(event)
            case ReadLogs(pods):
                self._stream.see(pods)
            case ReadRest():
                self._read_the_rest()
            case GiveUp(obstacle):
                raise self._given_up(obstacle)
            case Fail(error):
                raise error
            case Done():
                return True
        return False

    def _read_the_rest(self) -> None:
        is_read = self._stream.finish(REST_OF_LOG_SECONDS)
        if self._stream.is_hidden:
            what = "the log of the training may not be read: its steps are not known here"
            self._log.emit(Warned(message=what))
        if not is_read:
            what = f"the end of the training's log could not be read within {REST_OF_LOG_SECONDS:.0f} s"
            self._log.emit(Warned(message=what))

    def _given_up(self, obstacle: Obstacle) -> UserError:
        name, patience_seconds = self._followed.name, self._followed.patience_seconds
        done = f"TrainJob {name} was deleted"
        if obstacle.patience_seconds == patience_seconds:
            done += f" after {patience_seconds:g} s (cluster.unschedulable_after_seconds)"
        try:
            delete_trainjob(self._api, name)
        except ServiceError as error:
            done = f"TrainJob {name} could not be deleted: {error}"
        return UserError(obstacle.summary, *obstacle.details, *self._nodes(obstacle), done)

    def _nodes(self, obstacle: Obstacle) -> list[str]:
        """Which nodes have GPUs, where pods are short of them and we may see nodes."""
        if self._gpu_resource not in obstacle.summary:
            return []
        with suppress(ServiceError):  # the obstacle is the news
            if (found := nodes_with(self._api, self._gpu_resource)) is not None:
                return [found]
        return []
