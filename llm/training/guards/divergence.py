"""Divergence: a loss or a gradient norm that is no number ends the training, and the documents of its batch are named.

A broken document is one cause among others. The ranks whose own loss is no number had such a document, if one there is;
their share of the batch is named: windows, tokens and documents of the train split.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch.distributed as dist

from llm.errors import UserError
from llm.runs.event_kinds import TrainingDiverged

if TYPE_CHECKING:
    from llm.training.trainer import Trainer

NAMED_WINDOWS = 8
"""Windows that the message names; the event has all of them."""


@dataclass(frozen=True)
class Window:
    """A window of the train split, and the documents that it is cut from."""

    number: int
    tokens: tuple[int, int]
    """The first token, and the one after the last target."""
    documents: range
    """Their places in the order of the shards."""
    domains: tuple[str, ...]
    """Their domains."""

    def __str__(self) -> str:
        """In words."""
        first, last = self.documents[0], self.documents[-1]
        which = f"document {first:,}" if first == last else f"documents {first:,} to {last:,}"
        where = f"window {self.number:,}, tokens {self.tokens[0]:,} to {self.tokens[1] - 1:,}"
        return f"{where}: {which} ({', '.join(self.domains)})"


def refuse_divergence(trainer: Trainer, number: int, loss: float, norm: float | None, own_loss: float) -> None:
    """Raise UserError, on all ranks, if loss or norm of the step of this number (from 0) is no number.

    Loss and norm are the same on all ranks, so all stop; the weights may be lost, and nothing of this step is saved.
    `norm` is None where nothing was updated. `own_loss` is this rank's.
    """
    if math.isfinite(loss) and (norm is None or math.isfinite(norm)):
        return
    what, value = ("gradient norm", norm) if math.isfinite(loss) else ("loss", loss)
    assert value is not None
    ranks, windows = _suspects(trainer, number, own_loss)
    if trainer.mesh.is_first:
        trainer.log.emit(TrainingDiverged(
            step=number + 1, what=what, value=value, ranks=ranks, windows=[window.number for window in windows],
            documents=sorted({one for window in windows for one in window.documents}),
            domains=sorted({domain for window in windows for domain in window.domains}),
        ))  # fmt: skip
    whose = f"of rank {', '.join(map(str, ranks))}" if ranks else "of all ranks"
    more = len(windows) - NAMED_WINDOWS
    raise UserError(
        f"the {what} is {value} at step {number + 1}: the training diverged",
        f"The last checkpoint is from before it. Lower training.optimizer.lr (now {trainer.config.optimizer.lr:g})"
        " or training.optimizer.max_grad_norm, and run again.",
        f"Its batch {whose} had, of the train split:",
        *(str(window) for window in windows[:NAMED_WINDOWS]),
        *([f"and {more:,} more windows: the event training_diverged has all"] if more > 0 else []),
    )


def _suspects(trainer: Trainer, number: int, own_loss: float) -> tuple[list[int], list[Window]]:
    """The ranks whose own loss is no number, and the windows of their share; without such a rank those of all ranks."""
    mesh = trainer.mesh
    found: list[tuple[int, bool]] = [(0, False)] * mesh.ranks
    dist.all_gather_object(found, (mesh.share, not math.isfinite(own_loss)), trainer.saver.group)
    ranks = [rank for rank, (_, is_bad) in enumerate(found) if is_bad]
    shares = sorted({share for share, is_bad in found if is_bad or not ranks})
    windows = [
        int(one) for share in shares for one in trainer.loader.indices(trainer.batch_of(number), share, mesh.shares)
    ]
    length = trainer.config.batch.sequence_length
    offsets, domains = trainer.shards.document_offsets("train"), trainer.shards.domains("train")
    named = []
    for window in windows:
        first, end = window * length, (window + 1) * length + 1
        documents = range(int(offsets.searchsorted(first, "right")) - 1, int(offsets.searchsorted(end, "left")))
        here = sorted({domains[one] for one in documents})
        named.append(Window(window, (first, end), documents, tuple(here)))
    return ranks, named
