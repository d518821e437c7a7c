"""Names and figures of metrics in print, in one form for terminal, report and gate. Needs nothing but Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm.words import MISSING


def title(name: str) -> str:
    """A metric's name in words: `words_per_second` is "words per second"."""
    return name.replace("_", " ")


def short(unit: str) -> str:
    """A unit for a narrow column: "milliseconds per token" is "milliseconds/token"."""
    return unit.replace(" per ", "/")


def column(name: str, unit: str) -> str:
    """The head of a metric's column: its unit, if that says the name already."""
    return short(unit) if title(name) == unit else name


def heading(name: str, unit: str) -> str:
    """A metric's name with its unit, if the name does not say it already."""
    return title(name) if unit in ("", title(name)) else f"{title(name)} ({unit})"


def direction(better: str) -> str:
    """Which values are good."""
    return "less is better" if better == "lower" else "more is better"


def quantity(number: float | None, unit: str, form: str = ".3f") -> str:
    """A figure with its unit: `2.041 errors per word`; `n/a` if it is missing."""
    return MISSING if number is None else f"{number:{form}} {unit}".rstrip()


def counted(number: int, item: str) -> str:
    """`1 document`, `149 documents`."""
    return f"1 {item}" if number == 1 else f"{number} {item}s"


def several(comparisons: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a gate compared more than one metric, so that each line must name its own."""
    return len({comparison.get("metric") for comparison in comparisons}) > 1
