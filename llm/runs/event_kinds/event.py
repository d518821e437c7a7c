"""The base of all kinds of event.

Laws: `Event.read(event.document()) == event`, and `Event.read(document).document() == document` for every document with
a kind and a time, whichever version wrote it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

EVENT_KINDS: dict[str, type[Event]] = {}
"""The model of each kind, by the name that the log has for it."""


class Event(BaseModel):
    """One thing that happened in a run."""

    # strict: a value goes out as it came in, so that a log is not changed by the version that copies it
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    """Name of the kind in the log."""
    time: float = Field(default_factory=lambda: round(time.time(), 3))
    """When it happened, in seconds since the epoch; now, if not given."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Make the kind known to the reader of the log."""
        kind = cls.model_fields["kind"].default
        if not isinstance(kind, str):
            return  # any kind: `UnknownEvent`
        known = EVENT_KINDS.setdefault(kind, cls)
        if known is not cls:
            raise TypeError(f"two kinds of event are called {kind}: {known.__qualname__} and {cls.__qualname__}")

    def document(self) -> dict[str, Any]:
        """The event as the log has it: time, kind, then the fields that were given."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {"time": self.time, "kind": self.kind, **given, **(self.model_extra or {})}

    @staticmethod
    def read(document: object) -> Event | None:
        """The event in a JSON value; None if it is none, since it has no kind or no time.

        An unknown kind, and a known one without a field that it needs, is an `UnknownEvent`; unknown fields are kept.
        """
        if not isinstance(document, Mapping) or "time" not in document or not isinstance(document.get("kind"), str):
            return None
        for model in (EVENT_KINDS.get(document["kind"], UnknownEvent), UnknownEvent):
            with suppress(ValidationError):
                return model.model_validate(document, extra="allow")
        return None


class UnknownEvent(Event):
    """An event of a kind that this version does not know, with its fields in `model_extra`."""
