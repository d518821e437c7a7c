"""Optimizers: one module for each that `training.optimizer.name` may choose."""

from llm.training.optimizer._groups import split_groups
from llm.training.optimizer._lr import LR_FACTOR, set_lr

__all__ = ["LR_FACTOR", "set_lr", "split_groups"]
