"""The steps of a training: the batch of each, and how many there are."""

from __future__ import annotations

from typing import Annotated

from llm.config.decides import ADDED
from llm.config.sections.base import PositiveFloat, PositiveInt, Section


class RampConfig(Section):
    """Steps at the beginning of a training that have a smaller batch."""

    tokens: PositiveInt
    """Tokens in each of these steps over all ranks."""
    steps: PositiveInt
    """How many they are."""


class BatchConfig(Section):
    """The tokens of one optimizer step."""

    tokens: PositiveInt = 8192
    """Tokens in one optimizer step over all ranks."""
    sequence_length: PositiveInt = 256
    """Tokens in a training sequence; at most the model's context."""
    micro_batch_size: PositiveInt = 16
    """Sequences in one forward pass of one rank. `auto` becomes the largest number that fits the memory."""
    ramp: Annotated[tuple[RampConfig, ...], ADDED] = ()
    """Steps at the beginning that have fewer tokens, in their order: `{tokens: 2048, steps: 100}`."""

    def tokens_before(self, step: int) -> int:
        """Tokens of all steps before the one with this number (from 0)."""
        tokens = 0
        for part in self.ramp:
            here = min(step, part.steps)
            tokens, step = tokens + here * part.tokens, step - here
        return tokens + step * self.tokens

    def sequences_before(self, step: int) -> int:
        """Sequences of all steps before the one with this number (from 0)."""
        return self.tokens_before(step) // self.sequence_length


class StageConfig(Section):
    """A training that comes before the configured one, with a smaller shape."""

    steps: PositiveInt
    """Optimizer steps of the stage."""
    sequence_length: PositiveInt | None = None
    """Tokens in a training sequence; None: those of `training.batch`."""
    num_hidden_layers: PositiveInt | None = None
    """Decoder layers; None: those of the model."""


class LengthConfig(Section):
    """How long the training is: exactly one of the two."""

    steps: PositiveInt | None = 200
    """Optimizer steps; None if `minutes` is given."""
    minutes: PositiveFloat | None = None
    """Minutes in place of steps: the speed of the first steps fixes the number of steps."""
