"""The work of a training as one module: model and loss together, which is what a backend wraps.

A backend that shards, compiles or cuts the module sees the loss too, and so can a loss that never makes all logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate

from llm.config import ModelConfig, TrainingConfig
from llm.model import Decoder, initialise
from llm.model.decoder import Part, all_rows, draw_rows
from llm.training.loss._linear import whole_loss
from llm.training.rank.device import Device
from llm.training.rank.layers import prepare, use_window_kernel

Rows = Callable[[str, int, int], Tensor]
"""Rows of a parameter by its name, from the first to the one before the last: float32 on the CPU."""


class Task(nn.Module):
    """Language modelling: the next token of each position."""

    def __init__(
        self, model: ModelConfig, vocab_size: int, end_of_text: int, training: TrainingConfig, device: Device,
        first_rows: Rows | None = None,
    ) -> None:  # fmt: skip
        """A model without memory: a backend cuts it into parts first, if it does, and then lets it `fill`.

        `first_rows` gives the first values; None: they are drawn.
        """
        super().__init__()
        self.device, self.precision = device, training.compute.precision
        self._first_rows = first_rows
        self.loss, self.mask, self.end_of_text = training.loss, training.mask, end_of_text
        with torch.device("meta"):
            self.model = Decoder(model, vocab_size)
        if training.compute.attention == "triton":
            use_window_kernel(self.model, device.kind)
        if self.precision == "fp8":
            device.in_float8(self.model)
        prepare(self.model.model.layers, training.compute)
        self.positions_T: Tensor | None = None
        """The positions of each sequence that are this rank's, where ranks share a sequence; None: all."""

    def fill(self, seed: int, part: Part = all_rows) -> None:
        """Give the parameters, or the part of each that is here, memory and their first values."""
        self.to_empty(device=self.device.kind)
        self.model.make_tables()
        if self._first_rows is None:
            initialise(self.model, seed, part)
        else:
            self._copy(self._first_rows, part)

    @torch.no_grad()
    def _copy(self, first_rows: Rows, part: Part) -> None:
        for name, parameter in self.named().items():
            here, row, column = part(parameter)
            if len(here):  # more ranks than rows leave some without
                rows = first_rows(name, row, row + len(here))
                here.copy_(rows if rows.dim() < 2 else rows[:, column : column + here.shape[1]])

    def first(self, name: str, shape: torch.Size, seed: int, begin: int, end: int) -> Tensor:
        """First values of rows of a parameter, on the CPU: for a backend that has no whole rows to `fill`."""
        if self._first_rows is not None:
            return self._first_rows(name, begin, end)
        rows = torch.empty(end - begin, *shape[1:])
        draw_rows(rows, name, self.model.config, seed, begin)
        return rows

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Loss of this rank's positions; in evaluation mode the plain cross-entropy, in nats a token."""
        mask, targets_BT = self.mask.mask(inputs_BT, self.end_of_text), self.mask.targets(targets_BT)
        places, length = self.positions_T, inputs_BT.shape[1]
        if places is not None:
            inputs_BT, targets_BT = inputs_BT[:, places], targets_BT[:, places]
        with self.device.autocast(self.precision):
            x_BTD = self.model.hidden(inputs_BT, mask=mask, positions_T=places, length=length)
            return self.loss_of(x_BTD, targets_BT)

    def loss_of(self, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """The loss from the normalised stream."""
        if isinstance(x_BTD, DTensor):  # cut along the sequence
            x_BTD = x_BTD.redistribute(placements=[Replicate()])
        if self.training:
            loss: Tensor = self.loss.compute(self.model, x_BTD, targets_BT)
        else:
            loss = whole_loss(self.model.logits(x_BTD), targets_BT)
        return loss.full_tensor() if isinstance(loss, DTensor) else loss

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters by the names that the model's file has."""
        return dict(self.model.named_parameters())
