"""The log of rank 0 as it is written, pod after pod: a thread reads it while the follower looks at the TrainJob.

When a pod has ended, the rest of its log is read once more without following it, since the end of a stream does not
say whether the log ended or the connection broke.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable

from llm.cluster.api import Api
from llm.cluster.pod_log import PodLog
from llm.cluster.pod_requests import pod_document
from llm.cluster.pods import read_pod
from llm.cluster.refusal import Refused
from llm.cluster.trainjobs.follower.endings import ending_of
from llm.cluster.trainjobs.trainjob import NODE
from llm.errors import ServiceError

RETRY_SECONDS = 1.0


class LogStream:
    """Reads in a thread: `see` gives it pods, `finish` waits for the end of their logs, `close` stops it at once."""

    def __init__(self, api: Api, take: Callable[[str], None]) -> None:
        """Give each line, without its end, to `take`, in the thread."""
        self._api, self._take = api, take
        self._names: queue.Queue[str | None] = queue.Queue()
        self._known: set[str] = set()
        self._closed = threading.Event()
        self._log: PodLog | None = None
        self._error: BaseException | None = None
        self.is_hidden = False
        """Whether a log may not be read."""
        self._thread = threading.Thread(target=self._work, name="training-log", daemon=True)

    def __enter__(self) -> LogStream:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the rest unread."""
        self.close()

    def see(self, pods: Iterable[str]) -> None:
        """Read the logs of these pods, each once, in this order. Raises the error that `take` raised."""
        self._raise_error()
        for name in pods:
            if name not in self._known:
                self._known.add(name)
                self._names.put(name)

    def finish(self, seconds: float) -> bool:
        """Read to the end of all logs that were seen; False if that takes longer."""
        self._names.put(None)
        self._thread.join(seconds)
        self._raise_error()
        return not self._thread.is_alive()

    def close(self) -> None:
        """Stop at once."""
        self._closed.set()
        self._names.put(None)
        if self._log is not None:
            self._log.hang_up()
        self._thread.join(2)

    def _work(self) -> None:
        try:
            while (name := self._names.get()) is not None and not self._closed.is_set():
                self._read(name)
        except BaseException as error:  # noqa: BLE001 - the outermost edge of the thread: a full disk, or a fault of ours
            self._error = error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _read(self, name: str) -> None:
        """A pod's log to its end, or until the pod is gone."""
        log = self._log = PodLog(self._api, self._api.namespace, name, NODE)
        while not self._closed.is_set():
            try:
                self._show(log, follow=True)
                document = pod_document(self._api, name, self._api.namespace)
                if document is None:
                    return
                if ending_of(read_pod(document, NODE)) is not None:
                    self._show(log, follow=False)
                    return
            except Refused as error:
                if error.status == 403:
                    self.is_hidden = True
                if error.status in (403, 404):
                    return
            except ServiceError:  # no answer, or a stream that broke: read on from the last line
                pass
            self._closed.wait(RETRY_SECONDS)

    def _show(self, log: PodLog, *, follow: bool) -> None:
        for line in log.new_lines(follow=follow, is_complete=not follow):
            if self._closed.is_set():
                return
            self._take(line)
