"""Callbacks: one module for each behaviour that `training.callbacks` may add.

Modules with an underscore are the callbacks of every training: they record each step, measure the loss on the
validation split and save checkpoints.
"""

from llm.training.callbacks._callback import Callback, StepDone

__all__ = ["Callback", "StepDone"]
