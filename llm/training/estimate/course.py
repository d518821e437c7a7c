"""The length of a training on a device: operations, time, device-hours and money."""

from __future__ import annotations

from dataclasses import dataclass

from llm.config import RunConfig
from llm.config.accelerators import RESOURCE
from llm.config.derived.stages import stages_of
from llm.model.size import flops_per_token


@dataclass(frozen=True)
class Course:
    """A training of a given length."""

    tokens: int
    flops: int
    """Those of the model's own arithmetic: what is computed again does not count, as in an MFU."""
    seconds: float | None
    """None: the device is not named."""
    device_seconds: float | None
    cost: float | None
    """In `costs.currency`; None: no price, or no device."""


def course(config: RunConfig) -> Course | None:
    """The training's course, with all its stages; None if its length is set in minutes."""
    training, plan = config.training, config.plan
    if training.length.steps is None:
        return None
    tokens = flops = 0
    for stage in stages_of(config):
        made = stage.training.batch.tokens_before(stage.training.length.steps or 0)
        length = stage.training.batch.sequence_length
        tokens, flops = tokens + made, flops + made * flops_per_token(stage.model, config.tokenizer.vocab_size, length)
    if plan.accelerator is None:
        return Course(tokens, flops, None, None, None)
    device_seconds = flops / (plan.accelerator.peak(training.compute.precision) * plan.share_of_peak)
    price = config.costs.accelerator_hour.get(RESOURCE, 0.0)
    ranks = training.parallel.world_size
    cost = device_seconds / 3600 * price if price else None
    return Course(tokens, flops, device_seconds / ranks, device_seconds, cost)
