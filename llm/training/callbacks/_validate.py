"""The loss on the validation split, at fixed steps and at the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llm.runs.event_kinds import TrainValidation
from llm.tokenizer.token_bytes import token_bytes
from llm.training.callbacks._callback import Callback, StepDone

if TYPE_CHECKING:
    from llm.data.shards import Tokens, TokenShards
    from llm.training.trainer import Trainer

SEQUENCES = 64


class Validate(Callback):
    """Measures on the same windows of the split every time; the ranks share them."""

    def __init__(self, trainer: Trainer, shards: TokenShards) -> None:
        """Cut this rank's share of the first SEQUENCES windows into micro-batches, of which all ranks have as many."""
        length, size = trainer.config.batch.sequence_length, trainer.config.batch.micro_batch_size
        share, shares = trainer.mesh.share, trainer.mesh.shares
        first = shards.tokens("validation")[: SEQUENCES * length + 1]
        tokens = trainer.device.here(torch.from_numpy(first.astype("int64")))
        windows = (len(tokens) - 1) // length
        inputs = tokens[: windows * length].view(windows, length)[share::shares]
        targets = tokens[1 : windows * length + 1].view(windows, length)[share::shares]
        self.batches: list[tuple[Tensor, Tensor]] = [
            (inputs[start : start + size], targets[start : start + size]) for start in range(0, len(inputs), size)
        ]
        self._rounds = math.ceil(math.ceil(windows / shares) / size)
        """Micro-batches of the rank with most of them."""
        self._bytes_per_token = _bytes_per_token(trainer, first[1 : windows * length + 1])
        self._nothing = torch.zeros(1, length, dtype=torch.int64, device=tokens.device)

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """When it measures."""
        return done % trainer.config.validation.every_steps == 0

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Measure, if it is time."""
        if not (done.is_last or self.needs_state(trainer, done.number)):
            return
        loss = self.loss(trainer)
        if trainer.mesh.is_first and loss is not None:
            bits = None if self._bytes_per_token is None else loss / math.log(2) / self._bytes_per_token
            trainer.log.emit(TrainValidation(step=done.number, loss=loss, bits_per_byte=bits))
            trainer.history.append({"step": done.number, "validation_loss": loss})

    def loss(self, trainer: Trainer) -> float | None:
        """Mean loss in nats a token, equal on all ranks; None if the split is shorter than one window."""
        total, count = 0.0, 0
        trainer.task.eval()
        with torch.no_grad():
            for number in range(self._rounds):
                if number < len(self.batches):
                    inputs_BT, targets_BT = self.batches[number]
                    total += targets_BT.numel() * float(trainer.backend.evaluate(inputs_BT, targets_BT))
                    count += targets_BT.numel()
                else:  # a backend that shares weights needs every rank
                    trainer.backend.evaluate(self._nothing, self._nothing)
        trainer.task.train()
        sum_of_all, tokens = trainer.mesh.sums(total, count)
        return sum_of_all / tokens if tokens else None


def _bytes_per_token(trainer: Trainer, targets: Tokens) -> float | None:
    """Of the tokens that are predicted; None on all ranks but the first, and where the tokenizer does not say it."""
    if not trainer.mesh.is_first or not len(targets):
        return None
    bytes_of = token_bytes(trainer.plan.tokenizer.file("tokenizer.json").read_bytes())
    if bytes_of is None or int(targets.max()) >= len(bytes_of):
        return None
    return float(bytes_of[targets].mean()) or None
