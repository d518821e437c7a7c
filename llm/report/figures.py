"""Numbers as the report prints them: with their unit or scale, and `n/a` for one that is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm.evaluation.words import column, direction, heading, short, title
from llm.words import MISSING, duration, hours, in_one_line, money, scaled, size

NO_BREAK = "\u00a0"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(number: int | None) -> str:
    """Whole, with commas: `1,234,567`."""
    return MISSING if number is None else f"{number:,}"


def fixed(number: float | None, digits: int = 3) -> str:
    """With so many digits behind the point: `1.934`."""
    return MISSING if number is None else f"{number:.{digits}f}"


def signed(number: float | None, digits: int = 4) -> str:
    """With its sign, a real minus: `−0.0214`."""
    return MISSING if number is None else f"{number:+.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one in percent: `9.8 %`."""
    return MISSING if share is None else f"{100 * share:.{digits}f}{NO_BREAK}%"


def measured(number: float | None) -> str:
    """A figure of unknown size in its own digits: `7`, `0.91`, `3.1 × 10⁻⁶`."""
    if number is None:
        return MISSING
    text = count(number) if isinstance(number, int) else f"{number:g}"
    mantissa, exponent, power = text.partition("e")
    if not exponent:
        return text.replace("-", "−")
    digits = str(int(power)).translate(SUPERSCRIPT)
    return f"{mantissa.replace('-', '−')}{NO_BREAK}×{NO_BREAK}10{digits}"


def against(model: float | None, other: float | None) -> str:
    """The model's figure compared with another one: `the model is 8 % higher`."""
    if model is None or not other:
        return MISSING
    ratio = model / other - 1
    if abs(ratio) < 0.005:
        return "the model is equal"
    return f"the model is {abs(100 * ratio):.0f}{NO_BREAK}% {'higher' if ratio > 0 else 'lower'}"


def figure(number: float | None) -> str:
    """A metric's further figure: whole numbers with commas, others to one digit behind the point or three in all."""
    if number is None or isinstance(number, int):
        return count(number)
    return f"{number:,.1f}" if abs(number) >= 1 else f"{number:.3g}"


def weight(number: float | None, unit: str) -> str:
    """A weight of items: bytes as a size, anything else counted."""
    return unbroken(size)(number) if unit == "bytes" else measured(number)


def unbroken(words: Callable[[float | None], str]) -> Callable[[float | None], str]:
    """The same words, which no line break of a page separates from their units."""
    return lambda number: words(number).replace(" ", NO_BREAK)


FILTERS: dict[str, Callable[..., Any]] = {
    "against": against, "column": column, "count": count, "direction": direction, "duration": unbroken(duration),
    "figure": figure, "fixed": fixed, "heading": heading, "hours": hours,
    "in_one_line": in_one_line, "measured": measured, "money": money,
    "percent": percent, "scaled": scaled, "short": short, "signed": signed, "size": unbroken(size), "title": title,
    "weight": weight,
}  # fmt: skip
