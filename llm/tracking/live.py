"""Delivery while a training goes on, for those who watch it.

A thread wakes every few seconds and lets each live sink send its new events.
"""

from __future__ import annotations

import threading

from llm.config import TrackingConfig
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog
from llm.runs.folder import RunFolder
from llm.tracking.sink import Delivery, open_sinks

EVERY_SECONDS = 15.0


class LiveDelivery:
    """Delivers in the background between `with` and its end; does nothing where no sink is live."""

    def __init__(self, folder: RunFolder, config: TrackingConfig, every_seconds: float = EVERY_SECONDS) -> None:
        self._folder, self._config, self._every_seconds = folder, config, every_seconds
        self._sinks = [sink for sink in open_sinks(folder, config) if sink.is_live]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live-delivery", daemon=True)
        self._down: set[str] = set()

    def __enter__(self) -> LiveDelivery:
        """Begin, if a sink is live."""
        if self._sinks:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End within the time that an answer may take; what is pending stays for the end of the run."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._config.timeout_seconds)

    def _work(self) -> None:
        while not self._stop.wait(self._every_seconds):
            for sink in self._sinks:
                self.look(sink.name, sink.deliver())

    def look(self, name: str, delivery: Delivery) -> None:
        """Warn in the run's log when a sink stops answering, once, and when it answers again."""
        log = EventLog(self._folder.events)
        if delivery.error is not None and name not in self._down:
            self._down.add(name)
            log.emit(Warned(message=delivery.error.replace("\n  ", " ")))
        elif delivery.error is None and name in self._down:
            self._down.discard(name)
            log.emit(Progress(step="tracking", message=f"{name} answers again"))
