"""Which source reads a path, and which format reads a file.

They are found in the modules of `llm.data.sources` (a constant `SOURCE`) and of `llm.data.sources.formats` (a constant
`FORMAT`), and in the entry points `gristmill.sources` and `gristmill.formats` of installed packages. Local files and
plain text take every path and file that no other one recognises.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar, cast

from llm.data.sources.protocol import Format, InputFile, Source
from llm.errors import UserError

Kind = TypeVar("Kind", Source, Format)

LAST_SOURCE = "local"
LAST_FORMAT = "text"


def source_of(path: str) -> Source:
    """The source that reads `data.path`; raises UserError if two recognise it."""
    found = sources()
    names = [name for name, source in found.items() if name != LAST_SOURCE and source.recognises(path)]
    return found[_one(names, LAST_SOURCE, f"data.path={path}")]


def format_of(file: InputFile) -> Format:
    """The format that reads a file; raises UserError if two recognise it."""
    found = formats()
    names = [name for name, one in found.items() if name != LAST_FORMAT and one.recognises(file)]
    return found[_one(names, LAST_FORMAT, file.name)]


def code_of(source: Source, files: Iterable[InputFile]) -> tuple[str, ...]:
    """The modules that read: the source's and the formats'; a recipe follows what they import."""
    return tuple(sorted({type(source).__module__, *(type(format_of(file)).__module__ for file in files)}))


def sources() -> dict[str, Source]:
    """All sources, by name."""
    package = importlib.import_module("llm.data.sources")
    return cast(dict[str, Source], _loaded("source", tuple(package.__path__), tuple(sys.path)))


def formats() -> dict[str, Format]:
    """All formats, by name."""
    package = importlib.import_module("llm.data.sources.formats")
    return cast(dict[str, Format], _loaded("format", tuple(package.__path__), tuple(sys.path)))


def _one(names: list[str], last: str, what: str) -> str:
    if len(names) > 1:
        raise UserError(
            f"{what}: {' and '.join(names)} both read it",
            "Remove one of the packages that bring them, or rename the file.",
        )
    return names[0] if names else last


@cache  # a corpus may have 100,000 files; where Python looks for modules is all that decides
def _loaded(kind: str, folders: tuple[str, ...], python_path: tuple[str, ...]) -> dict[str, object]:
    package = "llm.data.sources" if kind == "source" else "llm.data.sources.formats"
    found: dict[str, object] = {}
    for name, one in (*_in_modules(package, kind, folders), *_in_entry_points(kind)):
        wanted = Source if kind == "source" else Format
        if not isinstance(one, wanted):
            raise UserError(
                f"the {kind} {name} is not an object of a class of llm.data.sources.{wanted.__name__}",
                "docs/extend/source.md shows one.",
            )
        if name in found:
            raise UserError(f"there are two {kind}s called {name}", "Remove one of the packages that bring them.")
        found[name] = one
    return found


def _in_modules(package: str, kind: str, folders: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    for module in sorted(found.name for found in pkgutil.iter_modules(folders) if not found.ispkg):
        loaded: ModuleType = importlib.import_module(f"{package}.{module}")
        if (one := getattr(loaded, kind.upper(), None)) is not None:
            yield module, one


def _in_entry_points(kind: str) -> Iterator[tuple[str, object]]:
    for point in sorted(entry_points(group=f"gristmill.{kind}s"), key=lambda point: point.name):
        try:
            yield point.name, point.load()
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"the {kind} {point.name} of an installed package cannot be loaded: {error}",
                f"Its entry point is {point.value}. Repair or remove that package.",
            ) from error
