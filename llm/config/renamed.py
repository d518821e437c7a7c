"""Keys that a configuration may no longer have, and what to write in their place.

A key that stands here is refused with its new name, whether it comes from the command line or from a file. Keys
below an old key move with it: if `a.b` is now `c.d`, then `a.b.x` is now `c.d.x`. To rename or remove a setting,
add one line here; nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping

RENAMED: Mapping[str, str] = {
    "gate.bootstrap_resamples": "evaluation.bootstrap_resamples",
    "gate.confidence": "evaluation.confidence",
    "gate.max_bits_per_byte": "gate.metrics.bits_per_byte.floor",
    "gate.max_domain_bits_per_byte": "gate.metrics.bits_per_byte.domain_floors",
    "gate.non_inferiority_margin": "gate.metrics.bits_per_byte.margin",
    "gate.seed": "evaluation.seed",
}
"""Old dotted key to new dotted key."""
REMOVED: Mapping[str, str] = {
    "evaluation.sample_temperature": "The drawn samples have temperature 0.8; `gristmill generate` takes any.",
    "evaluation.sample_tokens": "A sample has 64 tokens; `gristmill generate` gives as many as you ask for.",
    "evaluation.sample_top_p": "The drawn samples have top-p 0.95; `gristmill generate` takes any.",
}
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
