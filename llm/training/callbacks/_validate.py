"""The loss on the validation split, at fixed steps and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from llm.runs.event_kinds import TrainValidation
from llm.training.callbacks._callback import Callback, StepDone

if TYPE_CHECKING:
    from llm.data.shards import TokenShards
    from llm.training.trainer import Trainer

SEQUENCES = 64


class Validate(Callback):
    """Measures on the same windows of the split every time; the ranks share them."""

    def __init__(self, trainer: Trainer, shards: TokenShards) -> None:
        """Cut this rank's share of the first SEQUENCES windows into micro-batches."""
        length, size = trainer.config.batch.sequence_length, trainer.config.batch.micro_batch_size
        first = shards.tokens("validation")[: SEQUENCES * length + 1]
        tokens = torch.from_numpy(first.astype("int64"))
        windows = (len(tokens) - 1) // length
        inputs = tokens[: windows * length].view(windows, length)[trainer.rank :: trainer.world]
        targets = tokens[1 : windows * length + 1].view(windows, length)[trainer.rank :: trainer.world]
        parts = [slice(start, start + size) for start in range(0, len(inputs), size)]
        self.batches: list[tuple[Tensor, Tensor]] = [(inputs[part], targets[part]) for part in parts]

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Measure, if it is time."""
        if done.number % trainer.config.validation.every_steps and not done.is_last:
            return
        loss = self.loss(trainer)
        if trainer.rank == 0 and loss is not None:
            trainer.log.emit(TrainValidation(step=done.number, loss=loss))
            trainer.history.append({"step": done.number, "validation_loss": loss})

    def loss(self, trainer: Trainer) -> float | None:
        """Mean loss in nats a token, equal on all ranks; None if the split is shorter than one window."""
        totals = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for inputs_BT, targets_BT in self.batches:
                logits_BTV = trainer.model(inputs_BT)
                loss = cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="sum")
                totals += torch.tensor([loss, targets_BT.numel()])
        dist.all_reduce(totals)
        return float(totals[0] / totals[1]) if totals[1] > 0 else None
