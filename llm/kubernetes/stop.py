"""A stop while a TrainJob is followed: first the TrainJob is deleted, then everything else.

After Kubeflow Pipelines' Terminate a step lives for less than a second, whatever its grace: Argo signals the process
group and does not wait for it. So all that the DELETE needs is made ready before.

A pod of a Job that is deleted (an eviction, a node that is drained) is signalled too, and then the training goes on for
the pod that takes its place. There a look at one's own pod comes first, which tells the two apart in milliseconds.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

from llm.errors import Preempted, ServiceError
from llm.kubernetes.api import Api
from llm.kubernetes.objects import delete_trainjob, trainjob
from llm.kubernetes.own_pod import Launcher, is_replaced
from llm.process.signals import while_signals

DELETE_SECONDS = 5.0
LOOK_SECONDS = 0.3
"""How long the look at our own pod may take: after that the second that is ours is better spent on the DELETE."""
CREATING_SECONDS = 2.0
"""How long a TrainJob may take to exist whose creation was on its way when the signal came."""
AGAIN_SECONDS = 0.05


class DeletesWhenStopped:
    """Between `with` and its end a stop signal deletes the TrainJob and raises Preempted in the main thread."""

    def __init__(self, api: Api, name: str, launcher: Launcher | None) -> None:
        """Make ready to delete the TrainJob, which need not exist yet; `launcher` is our own pod if we are in one."""
        self._launcher, self._look = launcher, api.twin(LOOK_SECONDS)
        self._api = api.twin(DELETE_SECONDS)  # connections of its own: the main thread may hold a lock of the other's
        self._name = name
        self._asked = False
        self._signals = ExitStack()
        self.is_creating = False
        """Whether a request is on its way that may create it."""

    def __enter__(self) -> DeletesWhenStopped:
        """Begin; the connection is opened now, so that the DELETE need not."""
        trainjob(self._api, self._name)
        self._is_replaced()
        self._api.patience_seconds = DELETE_SECONDS
        self._signals.enter_context(while_signals(self._stop))
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the signals as they were."""
        self._signals.close()
        self._api.close()
        self._look.close()

    def _stop(self, number: int) -> None:
        if self._asked:  # Ctrl-C reaches us and our runner, which passes it on
            return
        self._asked = True
        if self._is_replaced():
            what = f"This pod is being deleted. TrainJob {self._name} goes on, for the pod that takes its place."
        else:
            what = self._delete()
        name = signal.Signals(number).name
        raise Preempted(f"stopped by {name}", what, "Run the same command again to go on.")

    def _is_replaced(self) -> bool:
        try:
            return self._launcher is not None and is_replaced(self._look, self._launcher)
        except ServiceError:
            return False

    def _delete(self) -> str:
        """Delete it; says what became of it."""
        deadline = time.monotonic() + (CREATING_SECONDS if self.is_creating else 0.0)
        try:
            while not delete_trainjob(self._api, self._name):
                if time.monotonic() > deadline:
                    return f"There was no TrainJob {self._name} to delete."
                time.sleep(AGAIN_SECONDS)
        except ServiceError as error:
            return f"TrainJob {self._name} could not be deleted and goes on without us: {error}"
        return f"TrainJob {self._name} is being deleted; its pods save a checkpoint in their grace."
