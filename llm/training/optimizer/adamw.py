"""AdamW: matrices are decayed, vectors (norms) are not. Source: Loshchilov and Hutter 2017, arXiv:1711.05101."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from llm.config.sections.base import Beta
from llm.config.sections.training import OptimizerConfig
from llm.training.optimizer._groups import matrices_and_vectors

if TYPE_CHECKING:
    import torch
    from torch import nn


class AdamW(OptimizerConfig):
    """AdamW over two groups of parameters."""

    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decay of matrices; vectors are not decayed."""
    beta1: Beta = 0.9
    """The first beta: decay of the mean of the gradients."""
    beta2: Beta = 0.95
    """The second beta: decay of the mean of their squares."""

    def build(self, model: nn.Module) -> torch.optim.AdamW:
        """Matrices first, then vectors, each in the model's order."""
        import torch

        groups = matrices_and_vectors(model.parameters(), self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.lr, betas=(self.beta1, self.beta2), fused=True)
