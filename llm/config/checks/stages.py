"""Rules of a training in stages: every stage must be a training that can work, and grow from the one before it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from llm.config.derived.stages import refuse_other_attention, stages_of
from llm.config.sections import RunConfig
from llm.errors import UserError

KEY = "training.stages"


def check_stages(config: RunConfig, check: Callable[[RunConfig], None]) -> None:
    """Raise UserError for stages that cannot work; `check` is the check of a configuration without stages."""
    training, model = config.training, config.model
    if training.grow and training.start_from is None:
        raise UserError(
            "training.grow=true without training.start_from: random weights have nothing to grow from",
            "Name a checkpoint, or set training.grow=false.",
        )
    if not training.stages:
        return
    if training.batch.ramp:
        raise UserError(f"{KEY} with training.batch.ramp: every stage would have the ramp", "Leave one of the two out.")
    if model.unique_layers < model.num_hidden_layers:
        raise UserError(
            f"{KEY} with model.num_unique_layers={model.num_unique_layers}: layers that share weights cannot be copied"
            " one by one",
            "Leave out model.num_unique_layers.",
        )
    stages = stages_of(config)
    for number, (one, after) in enumerate(pairwise(stages)):
        (layers, length), (more_layers, longer) = _shape(one), _shape(after)
        if layers > more_layers or length > longer or (layers, length) == (more_layers, longer):
            raise UserError(
                f"{KEY}[{number}] has {layers} layers and sequences of {length} tokens, and the stage after it"
                f" {more_layers} layers and sequences of {longer} tokens",
                "Each stage must have more layers or longer sequences than the one before it, and less of neither.",
            )
        try:
            refuse_other_attention(after.model, one.model.layers)
            check(one)
        except UserError as error:
            first, *others = str(error).split("\n  ")
            raise UserError(f"{KEY}[{number}]: {first}", *others) from error


def _shape(stage: RunConfig) -> tuple[int, int]:
    return stage.model.num_hidden_layers, stage.training.batch.sequence_length
