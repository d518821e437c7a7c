"""Which parts of a recipe changed since an earlier one: the answer to "why is this made again?"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["config", "code", "library", "input", "parent"]
KINDS: tuple[Kind, ...] = ("config", "input", "parent", "library", "code")
"""In the order in which a person wants to know of them."""


@dataclass(frozen=True)
class Change:
    """One part that differs: `training.optimizer.lr`, `llm/data/readers.py`, `polars`, `x.jsonl`, a parent's kind."""

    kind: Kind
    name: str
    before: Any = None
    now: Any = None
    how: Literal["changed", "new", "gone"] = "changed"

    def __str__(self) -> str:
        """The change in a few words: `config training.seed 1 -> 2`, `library polars 1.30.0 -> 1.31.0`."""
        if self.how != "changed":
            return f"{self.kind} {self.name} ({self.how})"
        values = f" {self.before} -> {self.now}" if self.kind in ("config", "library") else ""
        return f"{self.kind} {self.name}{values}"

    def named(self, name: str) -> Change:
        """The same change under another name."""
        return replace(self, name=name)


def changes(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Every part that differs, kind by kind. Law: it is empty exactly when the parts are equal."""
    found = []
    for kind in KINDS:
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted({*old, *new}):
            if name not in old:
                found.append(Change(kind, name, now=new[name], how="new"))
            elif name not in new:
                found.append(Change(kind, name, before=old[name], how="gone"))
            elif old[name] != new[name]:
                found.append(Change(kind, name, old[name], new[name]))
    return found
