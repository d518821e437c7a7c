"""Callbacks: one module for each behaviour that `training.callbacks` may add.

Modules with an underscore are what every training does: it records each step, measures the loss on the validation split
and saves checkpoints.
"""

from llm.training.callbacks._callback import Callback, StepDone

__all__ = ["Callback", "StepDone"]
