"""Which checkpoints are kept, and why: the last ones, those of every so many steps, and the best.

    <workspace>/kept.json    {"step-00000100": ["every 50 steps", "validation loss 2.914"]}: written with each save
    <workspace>/ended.json   the training came to its end, and the checkpoints that are kept for good are still here

A checkpoint that is only among the last ones goes when newer ones come, and at the end of the training. The others stay
until somebody removes the training, or makes it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from llm.training.checkpoint.find import complete_names, step_of

if TYPE_CHECKING:
    from llm.config.sections.training import TrainingConfig
    from llm.storage import Objects

KEPT, ENDED = "kept.json", "ended.json"
LAST, POINT = "last", "to roll back to"
PASSING = {LAST, POINT}
"""The reasons that end with the training."""
Reasons = dict[str, list[str]]
"""By the name of a checkpoint, why it is kept."""
_Reasons = TypeAdapter(Reasons)


def is_due(step: int, training: TrainingConfig) -> bool:
    """Whether a checkpoint is saved after this step: one that may be the best is saved when its loss is known."""
    checkpoints = training.checkpoints
    every = [
        checkpoints.every_steps, checkpoints.keep_every_steps, training.guards.rollback_steps,
        training.validation.every_steps if checkpoints.keep_best else None,
    ]  # fmt: skip
    return any(step % one == 0 for one in every if one is not None)


def kept(complete: Iterable[str], training: TrainingConfig, history: Iterable[Mapping[str, Any]]) -> Reasons:
    """Those of the complete checkpoints that are kept, the oldest first, each with its reasons.

    `history` tells the loss on the validation split. Of equal losses the earlier one is the better.
    """
    names, checkpoints = sorted(complete), training.checkpoints
    losses = {line["step"]: line["validation_loss"] for line in history if "validation_loss" in line}
    losses = {step: loss for step, loss in losses.items() if math.isfinite(loss)}
    measured = sorted((losses[step_of(name)], name) for name in names if step_of(name) in losses)
    best = {name: loss for loss, name in measured[: checkpoints.keep_best]}
    last, every = names[-checkpoints.keep :], checkpoints.keep_every_steps
    point = training.guards.rollback_point(step_of(names[-1])) if names else None
    found: Reasons = {}
    for name in names:
        reasons = [LAST] if name in last else []
        if point is not None and step_of(name) >= point and step_of(name) % (training.guards.rollback_steps or 1) == 0:
            reasons.append(POINT)
        if every is not None and step_of(name) % every == 0:
            reasons.append(f"every {every:,} steps")
        if name in best:
            reasons.append(f"validation loss {best[name]:.4g}")
        if reasons:
            found[name] = reasons
    return found


def write_kept(workspace: Objects, reasons: Reasons) -> None:
    """Say for people why each checkpoint is there."""
    workspace.write(KEPT, json.dumps(reasons, indent=1).encode())


def read_kept(workspace: Objects) -> Reasons:
    """The reasons that the last save gave; empty for a training of an earlier version."""
    try:
        return _Reasons.validate_json(workspace.read(KEPT) or b"{}")
    except ValueError:
        return {}


def end(workspace: Objects) -> list[str]:
    """The training is at its end: names of the checkpoints that stay. That of its last step is the product."""
    made, reasons = complete_names(workspace), read_kept(workspace)
    outlived = made if workspace.read(ENDED) is not None else made[:-1]
    names = [name for name in outlived if not PASSING.issuperset(reasons.get(name, []))]
    if names:
        write_kept(workspace, {name: [one for one in reasons[name] if one not in PASSING] for name in names})
        workspace.write(ENDED, b"true")
    return names
