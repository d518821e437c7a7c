"""The optimizer that a section of the configuration builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.config.sections.training import OptimizerConfig
from llm.errors import UserError

if TYPE_CHECKING:  # a configuration is read without torch, and its optimizer's package is loaded for that
    from torch import nn
    from torch.optim import Optimizer


def built(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """The optimizer of the model's parameters; raises UserError if the section builds something else."""
    from torch.optim import Optimizer

    optimizer: object = config.build(model)
    if not isinstance(optimizer, Optimizer):
        raise UserError(
            f"training.optimizer.name={config.name}: `build` gives a {type(optimizer).__name__}, not an optimizer",
            "Let it return a torch.optim.Optimizer, as docs/extend/optimizer.md shows.",
        )
    return optimizer
