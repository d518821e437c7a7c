"""The trainings in a store that did not come to their end: how far they are, how they differ, and how they go.

A training that nobody will continue keeps its checkpoints for ever. Nothing here loads torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llm.errors import BusyError, UserError
from llm.storage import Store
from llm.storage.lock import is_held
from llm.storage.recipe import changes
from llm.training.checkpoint.find import STEP, complete_names, step_of
from llm.training.checkpoint.keep import ENDED, read_kept
from llm.training.guards.budget import device_seconds
from llm.training.identity import Record, changes_so_far, recorded

FOLDER = "training"


@dataclass(frozen=True)
class Unfinished:
    """A training that is not at its end."""

    key: str
    """Its place in the store: `training/KEY`."""
    step: int | None
    """Steps that its newest checkpoint holds; None without a checkpoint."""
    record: Record | None
    """Its last attempt; None for one of an earlier version."""
    changes: int
    """Changes that it went on after."""
    is_running: bool
    """Whether a process of this machine works on it."""
    has_ended: bool
    """Whether it came to its end, and some of its checkpoints are kept for good."""
    device_seconds: float
    """Time of all its ranks, over all attempts."""
    kept: Mapping[str, list[str]]
    """Why each of its checkpoints is kept, by its name; empty for one of an earlier version."""

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """The settings of `model` and `training` in which it differs, in words: its own value, then the given one."""
        if self.record is None:
            return ["made by an earlier version"]
        mine = self.record.parts.get("config", {})
        given = {key: settings[key] for key in mine if key in settings}
        return [str(change) for change in changes({"config": {key: mine[key] for key in given}}, {"config": given})]


def unfinished(store: Store) -> Iterator[Unfinished]:
    """Every training in the store that is not at its end, or whose checkpoints are kept for good, by its key."""
    home = store.objects.below(FOLDER)
    for key in sorted({name.partition("/")[0] for name in home.names() if "/" in name}):
        workspace = home.below(key)
        record, made = recorded(workspace), complete_names(workspace)
        if record is None and not workspace.names(STEP):
            continue  # it came to its end: its log is kept
        yield Unfinished(
            key, step_of(made[-1]) if made else None, record, len(changes_so_far(workspace)),
            is_held(store.root / FOLDER / key), workspace.read(ENDED) is not None, device_seconds(workspace),
            {name: why for name, why in read_kept(workspace).items() if name in made},
        )  # fmt: skip


def remove_unfinished(store: Store, key: str) -> None:
    """Remove the checkpoints of a training and all else that it keeps.

    Raises UserError if there is none of that key, BusyError if a process of this machine works on it.
    """
    found = next((one for one in unfinished(store) if one.key == key), None)
    if found is None:
        raise UserError(f"there is no unfinished training {key} in {store.objects.uri}", "`gristmill trainings`")
    if found.is_running:
        raise BusyError(f"a process of this machine works on training {key}", "Stop it first.")
    store.objects.remove(f"{FOLDER}/{key}/")
    shutil.rmtree(store.root / FOLDER / key, ignore_errors=True)
