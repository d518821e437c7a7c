"""Schedules of the learning rate: one module for each that `training.schedule.name` may choose."""

from llm.training.schedule._lengthened import steps_before_fall
from llm.training.schedule._warmup import learning_rate

__all__ = ["learning_rate", "steps_before_fall"]
