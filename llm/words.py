"""Durations, sizes, counts, times and quotes in one form for every page and message; `n/a` for a missing number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

MISSING = "n/a"
QUOTED_CHARACTERS = 400
"""Characters of a server's words that a message repeats."""


def duration(seconds: float | None) -> str:
    """A length of time in two units at most: `0.4 s`, `12 s`, `7 min`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"


def hours(seconds: float | None) -> str:
    """A time that something was held, in hours, to three digits or four places: `0.17`, `36.5`, `1,204`, `0.0016`."""
    if seconds is None:
        return MISSING
    number = seconds / 3600
    if 0 < number < 0.1:
        return _four_places(number)
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def money(amount: float | None) -> str:
    """An amount without its currency: `1,204.50`; a small one to four places: `0.0041`, `<0.0001`."""
    if amount is None:
        return MISSING
    return _four_places(amount) if 0 < amount < 0.01 else f"{amount:,.2f}"


def _four_places(number: float) -> str:
    return f"{number:.4f}" if number >= 0.0001 else "<0.0001"


def size(number_bytes: float | None) -> str:
    """Three digits in bytes, KiB, MiB, GiB or TiB: `12.4 MiB`."""
    if number_bytes is None:
        return MISSING
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number_bytes < 999.5:  # above, three digits would round to 1e+03
            return f"{number_bytes:.3g} {unit}"
        number_bytes /= 1024
    return f"{number_bytes:.3g} TiB"


def scaled(number: float | None) -> str:
    """Three significant digits with k, M, B or T: `41.2k`."""
    if number is None:
        return MISSING
    for unit in ("", "k", "M", "B"):
        if abs(number) < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}T"


def local_time(seconds: float) -> str | None:
    """A time since the epoch as local ISO 8601 to the second; None for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a damaged log
        return None


def in_one_line(reasons: Sequence[str], shown: int = 4) -> str:
    """The first reasons, and how many more there are: `config training.optimizer.lr; library polars; and 3 more`."""
    more = len(reasons) - shown
    return "; ".join([*reasons[:shown], *([f"and {more:,} more"] if more > 0 else [])])


def shortened(text: str, characters: int = QUOTED_CHARACTERS) -> str:
    """The text on one line, cut off after so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[:characters]}…"
