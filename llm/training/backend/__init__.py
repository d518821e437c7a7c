"""Backends: one module for each that `training.parallel.backend.name` may choose.

Only the protocol is imported here, and it needs no torch: a configuration is read where torch is not installed.
"""

from llm.training.backend._protocol import Backend, StepResult

__all__ = ["Backend", "StepResult"]
