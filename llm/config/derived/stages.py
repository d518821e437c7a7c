"""Progressive training: stages with shorter sequences or fewer layers come before the training itself.

A stage is a training of its own, which starts from the weights of the stage before it. The layers that it has more are
copies of those that are there. Sources: Li et al. 2021, arXiv:2108.06084 (short sequences first); Gong et al. 2019,
"Efficient training of BERT by progressively stacking", and Du et al. 2024, arXiv:2405.15319 (the whole stack again,
G_stack); Kim et al. 2023, arXiv:2312.15166, section 3.1 (less than twice as deep: two copies that overlap).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm.config.sections import ModelConfig, RunConfig
from llm.config.sections.training.steps import LengthConfig
from llm.errors import UserError

SEEDS = 2**31


def stages_of(config: RunConfig) -> list[RunConfig]:
    """The configuration of each stage, the training itself at the end; without stages that alone."""
    training = config.training
    if not training.stages:
        return [config]
    found = []
    for number, stage in enumerate((*training.stages, None)):
        seed = (training.seed + number) % SEEDS  # with the same one a stage would begin with the windows of the last
        change: dict[str, Any] = {"stages": (), "seed": seed}
        model = config.model
        if stage is not None:
            length = stage.sequence_length or training.batch.sequence_length
            change["batch"] = training.batch.model_copy(update={"sequence_length": length})
            change["length"] = LengthConfig(steps=stage.steps)
            model = model.model_copy(update={"num_hidden_layers": stage.num_hidden_layers or model.num_hidden_layers})
        found.append(config.model_copy(update={"model": model, "training": training.model_copy(update=change)}))
    return found


def source_layers(layers: int, wanted: int) -> list[int]:
    """For each of the wanted layers, the layer that it is a copy of; raises UserError where no rule fits."""
    if wanted >= layers and wanted % layers == 0:
        return list(range(layers)) * (wanted // layers)
    if layers < wanted < 2 * layers:
        half = -(-wanted // 2)
        return [*range(half), *range(layers - (wanted - half), layers)]
    raise UserError(
        f"a model of {layers} layers cannot grow to model.num_hidden_layers={wanted}",
        f"allowed: {layers} to {2 * layers}, and multiples of {layers}.",
    )


def refuse_other_attention(model: ModelConfig, kinds: Sequence[str]) -> None:
    """Raise UserError if a layer would be the copy of one with another attention; `kinds` are those of the copied."""
    for layer, source in enumerate(source_layers(len(kinds), model.num_hidden_layers)):
        if model.layers[layer] != kinds[source]:
            raise UserError(
                f"layer {layer} has {model.layers[layer]}, and would be a copy of layer {source}, which has"
                f" {kinds[source]} (model.layer_types)",
                "Let the number of layers grow by whole repetitions of model.layer_types.",
            )
