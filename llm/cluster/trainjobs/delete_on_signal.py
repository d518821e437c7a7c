"""A signal while a TrainJob is followed: the TrainJob is deleted first, and then everything else ends.

After Kubeflow Pipelines' Terminate a step lives for less than a second, whatever its grace: Argo signals the process
group and does not wait for it. So everything that the DELETE needs is ready before the signal comes.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack

from llm.cluster.api import Api
from llm.cluster.trainjobs.trainjob_requests import delete_trainjob, trainjob
from llm.errors import Preempted, ServiceError
from llm.process.signals import while_signals

DELETE_SECONDS = 5.0
CREATING_SECONDS = 2.0
"""A TrainJob whose creation was on its way when the signal came may take so long to exist."""
AGAIN_SECONDS = 0.05


class DeletesOnSignal:
    """Between `with` and its end a stop signal deletes the TrainJob and raises Preempted in the main thread."""

    def __init__(self, api: Api, name: str) -> None:
        """Make ready to delete the TrainJob, which need not exist yet."""
        # The main thread may hold a lock of the first connection.
        self._api = api.new_connection(DELETE_SECONDS)
        self._name = name
        self._asked = False
        self._signals = ExitStack()
        self.is_creating = False
        """Whether a request is on its way that may create it."""

    def __enter__(self) -> DeletesOnSignal:
        """Begin; open the connection now, so that the DELETE need not."""
        trainjob(self._api, self._name)
        self._api.patience_seconds = DELETE_SECONDS
        self._signals.enter_context(while_signals(self._stop))
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the signals as they were."""
        self._signals.close()
        self._api.close()

    def _stop(self, number: int) -> None:
        if self._asked:  # a Ctrl-C comes twice: the terminal sends it to us, and so does our runner
            return
        self._asked = True
        what = self._delete()
        name = signal.Signals(number).name
        raise Preempted(f"stopped by {name}", what, "Run the same command again to go on.")

    def _delete(self) -> str:
        """Delete it; returns a sentence that says whether that worked."""
        deadline = self._api.clock.now() + (CREATING_SECONDS if self.is_creating else 0.0)
        try:
            while not delete_trainjob(self._api, self._name):
                if self._api.clock.now() > deadline:
                    return f"There was no TrainJob {self._name} to delete."
                self._api.clock.sleep(AGAIN_SECONDS)
        except ServiceError as error:
            return f"TrainJob {self._name} could not be deleted and continues without this command: {error}"
        return f"TrainJob {self._name} is being deleted; its pods save a checkpoint in their grace."
