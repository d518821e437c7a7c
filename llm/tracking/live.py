"""Delivery while a run goes on, for those who watch it in MLflow's UI.

A thread wakes every few seconds and delivers what is new. It is for servers: the database beside the runs is told at
the end, since nobody watches it meanwhile and MLflow's import would take time from the training on the same machine.
"""

from __future__ import annotations

import threading

from llm.config import TrackingConfig
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.tracking.mlflow_server import is_server, tracking_uri
from llm.tracking.mlflow_sink import Delivery, deliver

EVERY_SECONDS = 15.0


class LiveDelivery:
    """Delivers in the background between `with` and its end; does nothing where MLflow is not a server."""

    def __init__(self, folder: RunFolder, config: TrackingConfig, every_seconds: float = EVERY_SECONDS) -> None:
        self._folder, self._config, self._every_seconds = folder, config, every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-delivery", daemon=True)
        self._is_down = False

    def __enter__(self) -> LiveDelivery:
        """Begin, if there is a server to deliver to."""
        if is_server(tracking_uri(self._config, self._folder.runs)):
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End within the time that an answer may take; what is pending stays for `finish`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._config.timeout_seconds)

    def _work(self) -> None:
        while not self._stop.wait(self._every_seconds):
            self.look(deliver(self._folder, self._config))

    def look(self, delivery: Delivery) -> None:
        """Warn in the run's log when the server stops answering, once, and when it answers again."""
        log = EventLog(self._folder.events)
        if delivery.error is not None and not self._is_down:
            log.emit(Warned(message=delivery.error.replace("\n  ", " ")))
        elif delivery.error is None and self._is_down:
            log.emit(Progress(step="tracking", message="MLflow answers again"))
        self._is_down = delivery.error is not None
