"""Keys that a configuration may no longer have, and what to write in their place.

A key that stands here is refused with its new name, whether it comes from the command line or from a file. Keys
below an old key move with it: if `a.b` is now `c.d`, then `a.b.x` is now `c.d.x`. To rename or remove a setting,
add one line here; nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {}
"""Old dotted key to new dotted key."""
REMOVED: Mapping[str, str] = {}
"""Old dotted key to a sentence: what holds now, or what to do."""


def what_replaces(key: str) -> tuple[str, str] | None:
    """The message and the hint for a dotted key that was renamed or removed; None for any other key."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        old, rest = ".".join(parts[:length]), "".join(f".{part}" for part in parts[length:])
        if old in RENAMED:
            return f"{key} has a new name", f"Write {RENAMED[old]}{rest}."
        if old in REMOVED:
            return f"{key} is no longer a setting", REMOVED[old]
    return None
