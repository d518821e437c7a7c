"""Why a step is made again, in words: which part of its recipe changed since the nearest earlier one.

The earlier recipes are the one that this run used for the step (`<run>/recipes/`) and the newest that the store made
(`<store>/recipes/newest/`); of the two the nearer counts. Both are small documents of the recipe's parts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from llm.config import RunConfig, marked
from llm.runs.folder import RunFolder
from llm.steps.step import Step
from llm.storage import Recipe, Store, write_atomically
from llm.storage.recipe import Change, Parts, changes
from llm.words import shortened

LONGEST = 80
NO_RECORD = "there is no record of the earlier recipe"
FORGOTTEN = "the store forgot what this recipe led to"
GONE = "what it made is gone from the store"


def why_made(step: Step, recipe: Recipe, store: Store, folder: RunFolder) -> list[str]:
    """Changes since it was made, most telling first, if the store has no product of this recipe.

    Empty if the step was never done here.
    """
    if store.led_to(recipe) is not None:
        return [GONE]
    earlier = [parts for parts in (recorded(folder, step, recipe), store.newest_parts(recipe.step)) if parts]
    if not earlier:
        return [NO_RECORD] if store.has_made(recipe.step) else []
    found = min((changes(parts, recipe.parts) for parts in earlier), key=len)
    return [in_words(change, step) for change in found] or [FORGOTTEN]


def in_words(change: Change, step: Step) -> str:
    """A change with the key that a user would set: `config training.optimizer.lr 0.003 -> 0.001`."""
    if change.kind != "config":
        return shortened(str(change), LONGEST)
    keys = [f"{section}.{change.name}" for section in step.sections]
    named = next((key for key in keys if any(key == one or key.startswith(f"{one}.") for one in _keys())), change.name)
    return shortened(str(change.named(named)), LONGEST)


def recorded(folder: RunFolder, step: Step, recipe: Recipe) -> Parts | None:
    """The parts of the recipe that this run used last for the step; None if it used none, or they cannot be read."""
    try:
        return cast("Parts", json.loads(_record(folder, step, recipe).read_bytes()))
    except (OSError, ValueError):
        return None


def record(folder: RunFolder, step: Step, recipe: Recipe) -> None:
    """Keep the parts of the recipe that this run used for the step."""
    write_atomically(_record(folder, step, recipe), json.dumps(recipe.parts, default=str))


def _record(folder: RunFolder, step: Step, recipe: Recipe) -> Path:
    """A step may look for more than its own product: the gate scores a champion again."""
    return folder.path / "recipes" / f"{step.name}-{recipe.step}.json"


def _keys() -> list[str]:
    return [key for key, _, _ in marked(RunConfig)]
