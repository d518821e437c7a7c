from __future__ import annotations

import threading

from llm.config import TrackingConfig
from llm.runs import RunFolder
from llm.runs.event_kinds import Progress, Warned
from llm.runs.events import EventLog
from llm.tracking.live import LiveDelivery
from llm.tracking.sink import Delivery


def test_a_server_that_stops_answering_is_told_once(run_folder: RunFolder):
    live = LiveDelivery(run_folder, TrackingConfig(uri="http://mlflow"))
    for error in ("down\n  for now", "down\n  for now", None, None):
        live.look("MLflow", Delivery(0, 1, error))
    log = EventLog(run_folder.events)
    assert [event.message for event in log.of_kind(Warned)] == ["down for now"]
    assert [event.message for event in log.of_kind(Progress)] == ["MLflow answers again"]


def test_a_database_beside_the_runs_is_left_alone_until_the_end(run_folder: RunFolder):
    before = threading.active_count()
    with LiveDelivery(run_folder, TrackingConfig()):
        assert threading.active_count() == before


def test_a_server_is_delivered_to_while_the_run_lasts(run_folder: RunFolder, closed_port: str):
    config = TrackingConfig(uri=closed_port, timeout_seconds=5)
    told = threading.Event()
    live = LiveDelivery(run_folder, config, every_seconds=0.01)
    look = live.look
    live.look = lambda name, delivery: (look(name, delivery), told.set())[0]  # type: ignore[method-assign]
    with live:
        assert told.wait(60)
    assert "Connection refused" in EventLog(run_folder.events).of_kind(Warned)[0].message
