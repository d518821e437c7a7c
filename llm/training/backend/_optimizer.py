"""The optimizer of a backend."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from llm.config import TrainingConfig
from llm.training.built import built


def optimizer_of(config: TrainingConfig, model: nn.Module) -> Optimizer:
    """That of the configuration, over the model's parameters; raises UserError if its section builds something else."""
    remedy = "Let it return a torch.optim.Optimizer, as docs/extend/optimizer.md shows."
    name = config.optimizer.name
    return built(f"training.optimizer.name={name}", config.optimizer.build(model), Optimizer, remedy)
