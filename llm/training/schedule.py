"""The learning rate of each step: linear warm-up, then half a cosine. Source: Loshchilov and Hutter 2016,
arXiv:1608.03983."""

from __future__ import annotations

import math

from llm.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Rate of the step with this number (from 0) in a training of `steps`; positive at every step."""
    warmup = max(1, round(config.warmup_fraction * steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    floor = config.lr * config.min_lr_fraction
    return floor + (config.lr - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
