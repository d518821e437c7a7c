"""The learning rate of an optimizer."""

from __future__ import annotations

from typing import Any


def set_lr(optimizer: Any, lr: float) -> None:
    """Give all parameter groups this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
