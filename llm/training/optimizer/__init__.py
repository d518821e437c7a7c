"""Optimizers: one module for each that `training.optimizer.name` may choose."""

from llm.training.optimizer._lr import set_lr

__all__ = ["set_lr"]
