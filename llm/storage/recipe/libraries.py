"""The libraries that a recipe counts: those installed here, or those of the image that the work is done in.

The first step in a cluster looks for every product of a run, in an image that lacks most of the libraries. It takes
their versions from the pins of the image of each step (`pinned`): `make images` installs exactly these.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version

Pins = frozenset[tuple[str, str]]
"""Distributions with their versions."""
PINS: ContextVar[Pins | None] = ContextVar("pins of the image that the work is done in", default=None)


@contextmanager
def pinned(pins: Mapping[str, str]) -> Iterator[None]:
    """Let recipes count the libraries of an image, by its pins, in place of those that are installed here."""
    before = PINS.set(frozenset((_canonical(name), version) for name, version in pins.items()))
    try:
        yield
    finally:
        PINS.reset(before)


def versions_of(name: str) -> dict[str, str]:
    """Versions of the distributions that give a top name, without a local `+cpu`; none if there is none.

    An image's pins know a distribution by its own name only: that of every library that our recipes count is the name
    that is imported.
    """
    if (pins := PINS.get()) is not None:
        return {name.replace("_", "-"): _plain(one) for known, one in pins if known == _canonical(name)}
    return {distribution: version_of(distribution) for distribution in installed(name)}


def version_of(distribution: str) -> str:
    """Version of a distribution, without its local part: 2.13.0+cpu and 2.13.0+cu130 count as one.

    Raises PackageNotFoundError if it is not there.
    """
    if (pins := PINS.get()) is None:
        return _plain(version(distribution))
    for name, pin in pins:
        if name == _canonical(distribution):
            return _plain(pin)
    raise PackageNotFoundError(distribution)


@cache
def installed(name: str) -> tuple[str, ...]:
    """The distributions that are installed here and give a top name; none if there is none."""
    with suppress(PackageNotFoundError):
        version(name)
        return (name.replace("_", "-"),)
    if not name or spec_of(name) is None:
        return ()
    return tuple(sorted({one.name for one in distributions() if name in _top_names(one)}))


def spec_of(top: str) -> ModuleSpec | None:
    """The place of a top name; None if Python would not find it."""
    return sys.modules[top].__spec__ if top in sys.modules else importlib.util.find_spec(top)


def _top_names(distribution: Distribution) -> set[str]:
    """Names to import from a distribution (`packages_distributions` of Python 3.11 fails on a file named `.`)."""
    listed = distribution.read_text("top_level.txt")
    if listed is not None:
        return set(listed.split())
    return {file.parts[0].removesuffix(".py") for file in distribution.files or () if file.parts}


def _plain(version: str) -> str:
    return version.partition("+")[0]


def _canonical(name: str) -> str:
    """The name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
