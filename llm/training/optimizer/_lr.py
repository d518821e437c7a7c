"""The learning rate of an optimizer."""

from __future__ import annotations

from typing import Any

LR_FACTOR = "lr_factor"
"""Key of a parameter group: the factor of the schedule's rate."""


def set_lr(optimizer: Any, lr: float) -> None:
    """Give all parameter groups this learning rate, times the factor that a group may have."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get(LR_FACTOR, 1.0)
