"""A sink of events: found by its name, given each event once, and never in the way of the run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llm.config import RunConfig, TrackingConfig, compose, to_yaml
from llm.errors import UserError
from llm.runner.preflight import preflight
from llm.runs import RunFolder
from llm.runs.event_kinds import Event, TrainStep, UnknownEvent, Warned
from llm.runs.events import EventLog
from llm.steps import report_component
from llm.tracking.live import LiveDelivery
from llm.tracking.sink import Delivery, EventSink, find_sinks, open_sinks
from llm.tracking.sinks.mlflow import MlflowSink
from tests.cases.extend import example, installed


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.write_config(to_yaml(RunConfig()))
    log = EventLog(folder.events)
    for step in (1, 2):
        log.emit(TrainStep(step=step, steps=2, loss=3.0 - step))
    return folder


class Kept(EventSink):
    """Keeps what it is given, and cannot take a loss of zero."""

    name = "kept"
    is_live = True
    taken: list[Event]

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None:
        super().__init__(folder, config)
        self.taken, self.ended = [], []  # type: ignore[var-annotated]

    def take(self, event: Event) -> None:
        if isinstance(event, TrainStep) and event.loss == 0:
            raise ValueError("a loss of zero")
        self.taken.append(event)

    def close(self, exit_code: int) -> None:
        self.ended.append(exit_code)


def losses(sink: Kept) -> list[float]:
    return [event.loss for event in sink.taken if isinstance(event, TrainStep)]


def test_each_event_is_taken_once_by_whichever_process_comes(folder: RunFolder):
    first, second = (Kept(folder, TrackingConfig()) for _ in range(2))
    assert first.deliver() == Delivery(sent=2, pending=0)
    EventLog(folder.events).emit(TrainStep(step=3, steps=3, loss=0.5))
    assert second.finish(4) == Delivery(sent=1, pending=0)
    assert (losses(first), losses(second), first.ended, second.ended) == ([2.0, 1.0], [0.5], [], [4])


def test_a_log_that_was_put_together_in_another_order_is_taken_from_its_beginning(folder: RunFolder):
    Kept(folder, TrackingConfig()).deliver()
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(reversed(lines)))
    sink = Kept(folder, TrackingConfig())
    assert sink.deliver() == Delivery(sent=2, pending=0)
    assert losses(sink) == [1.0, 2.0]


def test_a_kind_of_event_that_this_version_does_not_know_is_taken_too(folder: RunFolder):
    with folder.events.open("a") as log:
        log.write('{"time": 1.0, "kind": "from_the_future", "x": 1}\n')
    sink = Kept(folder, TrackingConfig())
    sink.deliver()
    assert isinstance(sink.taken[-1], UnknownEvent)


def test_an_event_that_a_sink_cannot_take_stays_pending_with_its_reason(folder: RunFolder):
    log = EventLog(folder.events)
    log.emit(TrainStep(step=3, steps=4, loss=0))
    log.emit(TrainStep(step=4, steps=4, loss=0.1))
    sink = Kept(folder, TrackingConfig())
    assert sink.finish(0) == Delivery(sent=2, pending=2, error="kept: ValueError: a loss of zero")
    assert sink.ended == []
    assert sink.deliver() == Delivery(sent=0, pending=2, error="kept: ValueError: a loss of zero")


@pytest.mark.parametrize("place", ["", '{"offset": 1', "[]", "{}", "null", '{"offset": "x", "last": null}', "\udcff"])
def test_a_place_that_cannot_be_read_lets_the_whole_log_come_again(folder: RunFolder, place: str):
    sink = Kept(folder, TrackingConfig())
    sink.deliver()
    (folder.tracking / "kept.json").write_text(place, errors="surrogateescape")
    assert sink.deliver() == Delivery(sent=2, pending=0)
    assert sink.deliver() == Delivery(sent=0, pending=0)


class Counts(Kept):
    """Keeps the sum of the losses from one process to the next, in a place that may be lost."""

    name = "counts"
    is_there = True

    def take(self, event: Event) -> None:
        super().take(event)
        self.state["sum"] = self.state.get("sum", 0) + getattr(event, "loss", 0)

    def is_intact(self) -> bool:
        return self.is_there


def test_a_state_goes_from_process_to_process_and_is_lost_with_what_was_taken(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    Counts(folder, TrackingConfig()).deliver()
    EventLog(folder.events).emit(TrainStep(step=3, steps=3, loss=0.5))
    later = Counts(folder, TrackingConfig())
    assert later.deliver() == Delivery(sent=1, pending=0)
    assert later.state == {"sum": 3.5}
    monkeypatch.setattr(Counts, "is_there", False)
    again = Counts(folder, TrackingConfig())
    assert again.deliver() == Delivery(sent=3, pending=0)
    assert again.state == {"sum": 3.5}


def test_a_place_of_an_earlier_version_has_no_state(folder: RunFolder):
    sink = Counts(folder, TrackingConfig())
    sink.deliver()
    place = json.loads((folder.tracking / "counts.json").read_text())
    del place["state"]
    (folder.tracking / "counts.json").write_text(json.dumps(place))
    assert sink.deliver() == Delivery(sent=0, pending=0)
    assert sink.state == {}


def make_kept(folder: RunFolder, config: TrackingConfig) -> Kept:
    """A function that makes a sink, so that only the sink has a name."""
    return Kept(folder, config)


def test_two_sinks_of_one_name_are_refused(folder: RunFolder):
    here = __name__
    for two in ([f"{here}:Kept"] * 2, ["mlflow", "mlflow"], ["mlflow", "llm.tracking.sinks.mlflow:SINK"]):
        with pytest.raises(UserError, match=r"^tracking.sinks has several sinks named (kept|MLflow)\n  Name each sink"):
            find_sinks(two)
    made = TrackingConfig(sinks=(f"{here}:Kept", f"{here}:make_kept"))
    assert len(find_sinks(made.sinks)) == 2
    with pytest.raises(UserError, match=r"^tracking.sinks has several sinks named kept\n  Name each sink once"):
        open_sinks(folder, made)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mlfow",
            r"tracking.sinks: there is no sink named mlfow\n  Did you mean mlflow\? An import path",
        ),
        ("no_such_module:SINK", r"no_such_module:SINK cannot be imported: No module named 'no_such_module'\n  Write a"),
        ("llm.words:NOTHING", r"llm.words:NOTHING cannot be imported: .*NOTHING"),
        ("llm:__version__", r"tracking.sinks: llm:__version__ is a str, and makes no sink\n.*docs/extend/sink.md"),
    ],
)
def test_a_sink_that_is_not_there_is_refused_before_the_first_step(tmp_path: Path, name: str, message: str):
    config = compose([f"tracking.sinks=[mlflow,'{name}']", f"storage.uri={tmp_path}", f"run.folder={tmp_path / 'r'}"])
    with pytest.raises(UserError, match=message):
        preflight(config)


class Nameless(EventSink):
    """Has no name."""

    def take(self, event: Event) -> None: ...


class Elsewhere(Nameless):
    """Would keep its place outside of the run's folder."""

    name = "../../elsewhere"


class Unfinished(EventSink):
    """Takes nothing."""

    name = "unfinished"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nameless", r"tracking.sinks: the `name` of .*:Nameless is None\n  Give it a name of letters"),
        ("Elsewhere", r"tracking.sinks: the `name` of .*:Elsewhere is '../../elsewhere'"),
        ("Unfinished", r"tracking.sinks: .*:Unfinished has no take\n  Make it a class of sinks"),
    ],
)
def test_a_class_that_cannot_be_a_sink_is_refused_before_the_first_step(name: str, message: str):
    with pytest.raises(UserError, match=message):
        find_sinks([f"{__name__}:{name}"])


class NotASink:
    """Lacks everything."""

    name = "not_a_sink"

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None: ...


class Raises(Kept):
    """Cannot be made."""

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None:
        raise KeyError("no channel")


class Leaves(Kept):
    """Ends the process with the first event."""

    def take(self, event: Event) -> None:
        sys.exit(0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NotASink", r"tracking.sinks: NotASink gives a NotASink without deliver, finish, is_live"),
        ("Raises", r"failed: KeyError: 'no channel' \(.*test_sink.py, line \d+\)"),
    ],
)
def test_a_sink_that_cannot_be_made_is_refused_in_words(folder: RunFolder, name: str, message: str):
    with pytest.raises(UserError, match=message):
        open_sinks(folder, TrackingConfig(sinks=(f"{__name__}:{name}",)))


def test_a_sink_that_leaves_does_not_end_the_run(folder: RunFolder):
    assert Leaves(folder, TrackingConfig()).finish(0) == Delivery(sent=0, pending=2, error="kept: SystemExit: 0")


def test_mlflow_is_the_sink_of_a_run_unless_the_configuration_says_otherwise(folder: RunFolder):
    assert find_sinks(TrackingConfig().sinks) == [MlflowSink]
    assert open_sinks(folder, TrackingConfig(sinks=())) == []


def test_an_entry_point_of_another_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    information = tmp_path / "somebodys-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[gristmill.sinks]\nchat = somebodys_sink:Chat\n")
    (tmp_path / "somebodys_sink.py").write_text("class Chat:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        (found,) = find_sinks(["chat"])
        assert found.__name__ == "Chat"  # type: ignore[attr-defined]
    finally:
        sys.modules.pop("somebodys_sink", None)


def test_the_example_of_the_page_works(tmp_path: Path, folder: RunFolder):
    page = example("sink")
    assert list(page.files) == ["llm/tracking/sinks/loss_csv.py"]
    with installed(page, tmp_path / "readers"):
        config = compose([
            *page.settings, f"run.folder={folder.runs}", "run.name=one", f"storage.uri={tmp_path / 'store'}",
        ])  # fmt: skip
        assert config.tracking.sinks == ("mlflow", "loss_csv")
        without_mlflow = config.model_copy(
            update={"tracking": config.tracking.model_copy(update={"sinks": ("loss_csv",)})}
        )
        with LiveDelivery(folder, without_mlflow.tracking, every_seconds=0.01) as live:
            assert [sink.name for sink in live._sinks] == ["loss_csv"]
        report_component(to_yaml(without_mlflow), str(tmp_path / "page.html"))
    table = (folder.path / "loss.csv").read_text()
    assert table == "1,2.0\n2,1.0\n# the run ended with 0\n"
    assert EventLog(folder.events).of_kind(Warned) == []
