"""The config.json of a model's folder, read without the weights and without torch."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from llm.config.derived.stages import refuse_other_attention
from llm.config.families import exported, read
from llm.config.sections.model import ModelConfig
from llm.errors import UserError

CONFIG = "config.json"
MAY_GROW = {"num_hidden_layers", "layer_types", "max_position_embeddings", "rope_theta", "rope_scaling"}
"""Settings of a model that may differ from those of a checkpoint that grows."""


def read_config(folder: Path) -> tuple[ModelConfig, int]:
    """The model of a folder's config.json, and its vocabulary; raises UserError if it is not understood."""
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no mapping")
    except FileNotFoundError as error:
        raise UserError(f"there is no {CONFIG} in {folder}", "Name the folder of a model.") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}", "Get the file again.") from error
    try:
        return read(found, str(path))
    except KeyError as error:
        raise UserError(f"{path} has no key {error}", "Get the file again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {key}={first['input']!r} is not understood: {first['msg']}") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:  # a value of another kind than is meant
        raise UserError(f"{path} has a value that is not understood: {error}", "Get the file again.") from error


def refuse_other_model(setting: str, model: ModelConfig, found: ModelConfig, *, grows: bool = False) -> None:
    """Raise UserError, naming the first key, unless both are one model; what only a training uses may differ.

    With `grows` the model may have more layers, and a longer context.
    """
    if model.unique_layers < model.num_hidden_layers:
        raise UserError(
            f"{setting} gives each layer its own weights, and model.num_unique_layers={model.num_unique_layers}",
            "Leave out model.num_unique_layers.",
        )
    ours, theirs = exported(model), exported(found)
    for name in ModelConfig.model_fields:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine != other and not (grows and name in MAY_GROW):
            raise UserError(
                f"{setting} is another model: model.{name} is {other} there, and {mine} in the configuration",
                "Give the model's own settings: `gristmill adopt checkpoint` prints them.",
            )
    if not grows:
        return
    if ours.max_position_embeddings < theirs.max_position_embeddings:
        raise UserError(
            f"{setting} has a context of {theirs.max_position_embeddings} tokens, and model.max_position_embeddings="
            f"{ours.max_position_embeddings}: a model does not grow to less",
            f"Set model.max_position_embeddings to {theirs.max_position_embeddings} or more.",
        )
    refuse_other_attention(ours, theirs.layers)
