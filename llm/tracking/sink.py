"""A sink of events: something outside of the run that follows its event log, and never holds up the work.

`tracking.sinks` names the sinks of a run. A name is a module of `llm.tracking.sinks`, an entry point of the group
`gristmill.sinks`, or an import path `package.module:OBJECT`. The object takes a run's folder and the tracking's
configuration, and makes a `Sink`. `EventSink` is the base for one that takes event after event.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llm.config import TrackingConfig, import_named, mistake_in_named, nearest
from llm.errors import GristmillError, UserError
from llm.runs.event_kinds import Event
from llm.runs.events import read_events
from llm.runs.folder import RunFolder
from llm.storage import only_process_in, write_atomically
from llm.tracking.log_place import bytes_before

HOME = "llm.tracking.sinks"
ENTRY_POINTS = "gristmill.sinks"
ATTRIBUTE = "SINK"
NAME = re.compile(r"\w[\w-]*")
SHOWN = "Make it a class of sinks, as docs/extend/sink.md shows."
WAIT_SECONDS = 10.0
"""Seconds that one process waits for another one that delivers the same run to the same sink."""


@dataclass(frozen=True)
class Delivery:
    """The result of one delivery: how much was sent, how much is pending, and why."""

    sent: int
    pending: int
    error: str | None = None


class Sink(Protocol):
    """Takes the events of one run to somewhere."""

    name: str
    """Its name in messages."""
    is_live: bool
    """Whether it wants the events while a training goes on; otherwise it gets them at the end of the run."""

    def deliver(self) -> Delivery:
        """Send what is new. Never raises: events that cannot be sent now stay pending."""

    def finish(self, exit_code: int) -> Delivery:
        """Send the rest, and how the run ended. Never raises."""


MakeSink = Callable[[RunFolder, TrackingConfig], Sink]


class EventSink(ABC):
    """A sink that takes one event after the other, in order.

    A file in `tracking/` in the run's folder says how far it got, so each event comes once. After a crash in between
    the last event comes again, with the `state` that was kept before it. Where pods put the log together in another
    order, the whole log comes again, with an empty state. An exception of `take` leaves this event and those after it
    pending.
    """

    name: str
    is_live: bool = False
    package: str | None = None
    """Package that it imports when it works; without it the run is refused before its first step."""
    state: dict[str, Any]
    """Whatever `take` must know in the next process, in JSON: it is kept together with the place in the log."""

    def __init__(self, folder: RunFolder, config: TrackingConfig) -> None:
        """Follow the run in `folder`."""
        self.folder, self.config = folder, config

    def is_intact(self) -> bool:
        """Whether what was taken is still where it was put; if not, the whole log comes again, with an empty state."""
        return True

    @abstractmethod
    def take(self, event: Event) -> None:
        """Take one event."""

    def close(self, exit_code: int) -> None:  # noqa: B027 - most sinks need none
        """Take the end of the run; nothing unless a sink wants it."""

    def deliver(self) -> Delivery:
        """Take every event that is new."""
        return self._delivered(None)

    def finish(self, exit_code: int) -> Delivery:
        """Take the rest and the end."""
        return self._delivered(exit_code)

    def _delivered(self, exit_code: int | None) -> Delivery:
        sent, error = 0, None
        try:
            with only_process_in(self.folder.tracking / self.name, wait_seconds=WAIT_SECONDS):
                for event, after in read_events(self.folder.events, self._begin()):
                    self.take(event)
                    self._keep(after)
                    sent += 1
                if exit_code is not None:
                    self.close(exit_code)
        except GristmillError as refused:
            error = str(refused)
        except (Exception, SystemExit) as fault:  # noqa: BLE001 - somebody else's code, and the run does not end for it
            error = f"{self.name}: {type(fault).__name__}: {fault}"
        return Delivery(sent, sum(1 for _ in read_events(self.folder.events, self._offset())), error)

    @property
    def _place(self) -> Path:
        return self.folder.tracking / f"{self.name}.json"

    def _keep(self, offset: int) -> None:
        place = {"offset": offset, "last": bytes_before(self.folder.events, offset), "state": self.state}
        write_atomically(self._place, json.dumps(place) + "\n")

    def _begin(self) -> int:
        """The start of the next event, with the state that belongs there."""
        offset, self.state = self._kept()
        if not self.is_intact():
            offset, self.state = 0, {}
        return offset

    def _offset(self) -> int:
        """The start of the next event: 0 if the file of the place is missing or torn, or belongs to another log."""
        return self._kept()[0]

    def _kept(self) -> tuple[int, dict[str, Any]]:
        if not self._place.is_file():
            return 0, {}
        try:
            place = json.loads(self._place.read_text(encoding="utf-8"))
            is_there = place["last"] == bytes_before(self.folder.events, place["offset"])
            return (int(place["offset"]), dict(place.get("state", {}))) if is_there else (0, {})
        except (ValueError, TypeError, KeyError):
            return 0, {}


def open_sinks(folder: RunFolder, config: TrackingConfig) -> list[Sink]:
    """The sinks of a run; raises UserError for a name that finds none, and for two sinks of one name."""
    sinks = [_made(make, folder, config) for make in find_sinks(config.sinks)]
    _refuse_equal_names([sink.name for sink in sinks])
    return sinks


def _made(make: MakeSink, folder: RunFolder, config: TrackingConfig) -> Sink:
    """The sink; raises UserError if it cannot be made, or is none."""
    what = getattr(make, "__qualname__", repr(make))
    try:
        sink = make(folder, config)
    except Exception as error:  # the class is the user's, and so is any error of it
        raise mistake_in_named(error) or UserError(f"tracking.sinks: {what} cannot be made: {error}", SHOWN) from error
    missing = [part for part in ("deliver", "finish", "is_live") if not hasattr(sink, part)]
    if missing:
        raise UserError(f"tracking.sinks: {what} gives a {type(sink).__name__} without {', '.join(missing)}", SHOWN)
    _check_name(what, getattr(sink, "name", None))
    return sink


def _check_name(what: str, name: object) -> None:
    """Raise UserError for a name that cannot be that of a file in `tracking/`."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise UserError(
            f"tracking.sinks: the `name` of {what} is {name!r}", "Give it a name of letters, digits, `_` and `-`."
        )


def find_sinks(names: Sequence[str]) -> list[MakeSink]:
    """The sinks that the names choose; raises UserError for a name without one, and for two classes of one name."""
    found = [_find(name) for name in names]
    known = [getattr(make, "name", None) for make in found]  # a function that makes a sink has none
    _refuse_equal_names([name for name in known if isinstance(name, str)])
    return found


def _refuse_equal_names(names: Sequence[str]) -> None:
    """Raise UserError for two sinks of one name: they would share the place in the log, and each would miss events."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"tracking.sinks has several sinks named {', '.join(twice)}",
            "Name each sink once, and give each class of sinks another `name`.",
        )


def _find(name: str) -> MakeSink:
    module_name, attribute = _source_of(name)
    found = import_named(
        f"tracking.sinks: {name}", module_name, attribute,
        "Write a name, or package.module:OBJECT. Install the package here, or name its folder in PYTHONPATH.",
    )  # fmt: skip
    if not callable(found):
        raise UserError(
            f"tracking.sinks: {module_name}:{attribute} is a {type(found).__name__}, and makes no sink",
            SHOWN,
        )
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(found.__abstractmethods__))
        raise UserError(f"tracking.sinks: {module_name}:{attribute} has no {lacking}", SHOWN)
    if inspect.isclass(found) and issubclass(found, EventSink):  # another class may name its sinks when it makes them
        _check_name(f"{module_name}:{attribute}", getattr(found, "name", None))
    _check_package(name, getattr(found, "package", None))
    make: MakeSink = found
    return make


def _check_package(name: str, package: object) -> None:
    """Raise UserError if the package that a sink imports is not installed."""
    if isinstance(package, str) and importlib.util.find_spec(package) is None:
        raise UserError(
            f"tracking.sinks: {name} needs the package {package}, which is not installed here",
            f"Run pip install {package}; on a cluster, in the images of the steps `train` and `report` too.",
        )


def _source_of(name: str) -> tuple[str, str]:
    """Module and attribute that a name stands for."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        return module, attribute
    ours = [module.name for module in pkgutil.iter_modules(importlib.import_module(HOME).__path__)]
    if name in ours:
        return f"{HOME}.{name}", ATTRIBUTE
    installed = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name in installed:
        return installed[name].module, installed[name].attr or ATTRIBUTE
    raise UserError(
        f"tracking.sinks: there is no sink named {name}",
        f"{nearest(name, [*ours, *installed])} An import path package.module:OBJECT is allowed too.",
    )
