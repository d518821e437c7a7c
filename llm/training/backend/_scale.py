"""The loss scale of fp16: gradients are made larger, so that the small ones do not become zero.

Source: Micikevicius et al. 2017, arXiv:1710.03740, section 3.2. The scale follows the norm of all gradients, which all
ranks see alike, so they skip a step together.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from llm.training.checkpoint.pieces import Group
from llm.training.loss._linear import over_cut_vocabulary

FIRST_SCALE = 2.0**16
LARGEST_SCALE = 2.0**24
GROWTH_STEPS = 1000
"""Steps without an overflow after which the scale is doubled."""


class LossScale:
    """A dynamic scale for fp16; for any other precision it is one, and nothing is judged."""

    def __init__(self, precision: str) -> None:
        self.is_dynamic = precision == "fp16"
        self.scale, self.steps = (FIRST_SCALE if self.is_dynamic else 1.0), 0

    def backward(self, loss: Tensor) -> None:
        """The backward pass with larger gradients; a loss over a vocabulary that is cut needs its own rules."""
        with over_cut_vocabulary():
            Tensor.backward(loss * self.scale if self.is_dynamic else loss)  # type: ignore[no-untyped-call]

    def down(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide the gradients by the scale."""
        if self.is_dynamic:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.div_(self.scale)

    def overflowed(self, norm: Tensor) -> bool:
        """Whether this step is to be skipped; the scale is for the next one.

        At a scale of one nothing is left to lower: the step is done, and the trainer refuses a norm that is no number.
        """
        if not self.is_dynamic:
            return False
        if not torch.isfinite(norm):
            if self.scale <= 1.0:
                return False
            self.scale, self.steps = max(1.0, self.scale / 2), 0
            return True
        self.steps += 1
        if self.steps % GROWTH_STEPS == 0:
            self.scale = min(LARGEST_SCALE, self.scale * 2)
        return False

    def group(self) -> list[Group]:
        """Its part of a checkpoint, as a group of settings."""
        return [{"loss_scale": self.scale, "loss_scale_steps": self.steps}] if self.is_dynamic else []

    def take(self, groups: list[Group]) -> list[Group]:
        """Go on from those of a checkpoint; returns the groups that are the optimizer's."""
        for group in groups:
            if self.is_dynamic and "loss_scale" in group:
                self.scale, self.steps = float(group["loss_scale"]), int(group["loss_scale_steps"])
        return self.without(groups)

    @staticmethod
    def without(groups: list[Group]) -> list[Group]:
        """The groups of a checkpoint that are the optimizer's."""
        return [group for group in groups if "loss_scale" not in group]
