"""The memory of a rank at its highest, by kind, as the sum of what is there at each moment of a step.

Counted are torch's tensors. An allocator, a library and the processor's own context need more: see `plan.memory_share`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from llm.config import ModelConfig, TrainingConfig
from llm.training.estimate.activations import (
    copied_weights,
    entry_bytes,
    kept_bytes,
    layer_bytes,
    loss_bytes,
    recomputed_bytes,
)
from llm.training.estimate.sizes import FLOAT32, HALF, Sizes


@dataclass(frozen=True)
class RankMemory:
    """Bytes of a rank of a stage at the moment when it has the most."""

    stage: int
    weights: int
    gradients: int
    states: int
    activations: int
    """Tensors that the backward pass needs, the logits, and those that a layer computes with."""
    buffers: int
    """Weights that were gathered, gradients before they are shared, and buckets."""

    @property
    def peak(self) -> int:
        """All together."""
        return self.weights + self.gradients + self.states + self.activations + self.buffers


def fullest_rank(
    model: ModelConfig, training: TrainingConfig, vocab_size: int, *, autocasts: bool = True
) -> RankMemory:
    """The memory of a rank of the stage that needs most; `autocasts` as in `Sizes`."""
    stages = range(training.parallel.pipeline)
    found = (rank_memory(Sizes(model, training, vocab_size, stage, autocasts)) for stage in stages)
    return max(found, key=lambda one: one.peak)


def rank_memory(sizes: Sizes) -> RankMemory:
    """The memory of the first rank of a stage."""
    training = sizes.training
    held = training.parallel.backend.holds(training.parallel)
    weights = gradients = states = 0.0
    for shape, is_hidden in sizes.shapes():
        number = prod(shape)
        weights += FLOAT32 * number * _share(shape, held.weights)
        gradients += FLOAT32 * number * _share(shape, held.gradients)
        kept = training.optimizer.state_bytes(shape, is_hidden=is_hidden) + (FLOAT32 * number if held.copies else 0)
        states += kept * _share(shape, held.states)
    if sizes.autocasts:  # a device with a memory of its own
        kinds = {"weights": weights, "gradients": gradients, "states": states}
        weights, gradients, states = (0.0 if kind in held.on_host else value for kind, value in kinds.items())
    moments = [_loss_forward(sizes), _loss_backward(sizes), _layer_backward(sizes), _last_layer(sizes), _end(sizes)]
    activations, buffers = max(moments, key=sum)
    buffers += FLOAT32 * min(sizes.values, held.bucket_values)
    return RankMemory(sizes.stage, *(round(one) for one in (weights, gradients, states, activations, buffers)))


def _share(shape: tuple[int, ...], ranks: int) -> float:
    """The part of a parameter that the first of so many ranks has: its rows are shared."""
    return -(-shape[0] // ranks) / shape[0]


Moment = tuple[float, float]
"""Bytes of activations and of buffers."""


def _loss_forward(sizes: Sizes) -> Moment:
    if not sizes.has_head:
        return 0.0, 0.0
    copies = HALF * sizes.head_values if sizes.is_half else 0.0
    if sizes.training.compute.recompute != "none":  # autocast keeps its copies to the end of the pass
        copies += sizes.own_layers * copied_weights(sizes)
    return _kept(sizes) + loss_bytes(sizes)[0], _gathered(sizes) + copies


def _loss_backward(sizes: Sizes) -> Moment:
    if not sizes.has_head:
        return 0.0, 0.0
    head = HALF * sizes.head_values if sizes.is_half else 0
    return _kept(sizes) + loss_bytes(sizes)[1], _gathered(sizes) + head


def _layer_backward(sizes: Sizes) -> Moment:
    """In the first layer that goes back: all others still keep what they have. The next one is gathered already."""
    again = layer_bytes(sizes) - recomputed_bytes(sizes)
    made = max(rows * columns for rows, columns in sizes.layer_matrices)
    if _gathers(sizes) and not _is_pipeline(sizes):  # these and the head's wait until they are shared
        made = sizes.layer_values + sizes.head_values
    return _kept(sizes) + again + _in_layer(sizes), _gathered(sizes, layers=2) + FLOAT32 * made


def _last_layer(sizes: Sizes) -> Moment:
    """In a pipeline, weights that were gathered for a backward pass stay until the next forward pass."""
    if not _is_pipeline(sizes):
        return 0.0, 0.0
    others = (_under_way(sizes) - 1) * kept_bytes(sizes) / len(sizes.parts) + _mailboxes(sizes)
    here = max(layer_bytes(sizes) + _in_layer(sizes), _embedding_gradient(sizes) + entry_bytes(sizes))
    return others + here, _gathered(sizes, layers=sizes.layers)


def _end(sizes: Sizes) -> Moment:
    """When the last gradients are shared: those of embedding and head, and in a pipeline all, one part by one."""
    made = 0
    if _is_pipeline(sizes):
        made = max(sizes.outer_values, sizes.layer_values)
    elif _gathers(sizes):
        made = 2 * sizes.outer_values - sizes.head_values
    kept = entry_bytes(sizes) + _mailboxes(sizes) + _embedding_gradient(sizes)
    return kept, _gathered(sizes) + FLOAT32 * made


def _embedding_gradient(sizes: Sizes) -> float:
    """It has the whole vocabulary before each rank takes its part: so torch does for an embedding that is cut."""
    return FLOAT32 * sizes.head_values * sizes.tensor if sizes.has_embedding else 0.0


def _in_layer(sizes: Sizes) -> float:
    """Gradients of activations inside a layer; what the layer kept is given up meanwhile."""
    inner = sizes.value * sizes.tokens * sizes.model.intermediate_size / sizes.tensor
    return inner + FLOAT32 * sizes.stream * sizes.model.hidden_size


def _kept(sizes: Sizes) -> float:
    """The bytes that the layers keep, of all micro-batches under way, and the stream after the last of them."""
    return _under_way(sizes) * kept_bytes(sizes) / len(sizes.parts) + entry_bytes(sizes) + _mailboxes(sizes)


def _mailboxes(sizes: Sizes) -> float:
    """In a pipeline, the room for all that a step gets from the stages before and after."""
    if not _is_pipeline(sizes):
        return 0.0
    neighbours = (len(sizes.parts) - sizes.has_embedding) + (len(sizes.parts) - sizes.has_head)
    return neighbours * sizes.micro_batches * entry_bytes(sizes)


def _is_pipeline(sizes: Sizes) -> bool:
    return sizes.training.parallel.pipeline > 1


def _under_way(sizes: Sizes) -> int:
    """Passes through a part of this rank whose backward pass is still to come, at most (1F1B, interleaved or not)."""
    parallel = sizes.training.parallel
    if not _is_pipeline(sizes):
        return 1
    after = parallel.pipeline - 1 - sizes.stage
    if parallel.stages_per_rank == 1:
        return min(sizes.micro_batches, after + 1)
    rounds = max(1, sizes.micro_batches // parallel.pipeline)
    warm_up = (parallel.stages_per_rank - 1) * (sizes.micro_batches // rounds) + 2 * after
    return min(sizes.micro_batches * parallel.stages_per_rank, warm_up + 1)


def _gathers(sizes: Sizes) -> bool:
    return sizes.training.parallel.backend.holds(sizes.training.parallel).gathers


def _gathered(sizes: Sizes, layers: int = 0) -> float:
    """Weights that are whole: embedding, head and so many layers; in a pipeline gradients too, until a step's end."""
    held = sizes.training.parallel.backend.holds(sizes.training.parallel)
    if not held.gathers:
        return 0.0
    layers = sizes.own_layers if held.keeps_gathered else min(layers, sizes.own_layers)
    whole = sizes.outer_values + layers * sizes.layer_values
    sent = sizes.layer_values  # the last layer that was gathered, as it came
    made = 0
    if _is_pipeline(sizes):
        made = sizes.values + (sizes.head_values * (sizes.tensor - 1) if sizes.has_embedding else 0)
    return FLOAT32 * (whole + sent + made)
