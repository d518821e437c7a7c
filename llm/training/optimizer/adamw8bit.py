"""AdamW whose two states take 8 bits a value: a quarter of the memory of AdamW's states.

Sources: Dettmers et al. 2021, arXiv:2110.02861; the update: Loshchilov and Hutter 2017, arXiv:1711.05101.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from llm.config.sections.base import Beta, PositiveInt
from llm.config.sections.training import OptimizerConfig
from llm.training.optimizer._groups import matrices_and_vectors

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class AdamW8bit(OptimizerConfig):
    """AdamW over two groups of parameters; large matrices have states of 8 bits."""

    needs_parameters: ClassVar[bool] = True
    needs_rows: ClassVar[bool] = True

    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decay of matrices; vectors are not decayed."""
    beta1: Beta = 0.9
    """The first beta: decay of the mean of the gradients."""
    beta2: Beta = 0.95
    """The second beta: decay of the mean of their squares."""
    smallest_matrix: PositiveInt = 4096
    """Values from which on a matrix has states of 8 bits; a smaller one, and every vector, has float32."""

    def build(self, model: nn.Module) -> Optimizer:
        """Matrices first, then vectors, each in the model's order."""
        from llm.training.optimizer._adamw8bit import BlockwiseAdamW

        groups = matrices_and_vectors(model.parameters(), self.weight_decay)
        settings = {"lr": self.lr, "beta1": self.beta1, "beta2": self.beta2, "smallest_matrix": self.smallest_matrix}
        return BlockwiseAdamW(groups, settings)

    def state_bytes(self, shape: tuple[int, ...], *, is_hidden: bool) -> float:
        """Two codes of a byte for each value, and two scales for each 256 values of a row; small ones as AdamW."""
        if len(shape) < 2 or math.prod(shape) < self.smallest_matrix:
            return super().state_bytes(shape, is_hidden=is_hidden)
        rows, columns = shape
        return 2.0 * rows * columns + 8.0 * rows * -(-columns // 256)
