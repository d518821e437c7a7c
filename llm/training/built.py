"""The object that a section of the configuration builds, checked."""

from __future__ import annotations

from typing import TypeVar

from llm.errors import UserError

T = TypeVar("T")


def built(setting: str, made: object, kind: type[T], remedy: str) -> T:
    """The object; raises UserError, which begins with the setting and ends with the remedy, if it is no `kind`."""
    if not isinstance(made, kind):
        raise UserError(f"{setting}: `build` gives {type(made).__name__} in place of {kind.__name__}", remedy)
    return made
