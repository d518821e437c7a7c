"""The closest of some names to one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, allowed: Iterable[str], prefix: str = "") -> str:
    """A hint with the closest allowed name, or all of them, each behind `prefix`."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"Did you mean {prefix}{close[0]}?" if close else f"Allowed: {', '.join(prefix + a for a in allowed)}."
