"""The sizes that one rank computes with: its part of the model, and of a micro-batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from llm.config import ModelConfig, TrainingConfig
from llm.model.size import matrices_of_a_layer, vectors_of_a_layer

FLOAT32, HALF = 4, 2
"""Bytes of a value."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """Of the ranks of one stage of the pipeline: the ranks of a stage have the same shapes."""

    model: ModelConfig
    training: TrainingConfig
    vocab_size: int
    stage: int
    autocasts: bool = True
    """Whether it is a GPU: bf16 is torch's autocast, and its memory is its own. On processors a library's switch."""

    @property
    def layers(self) -> int:
        """Layers that are computed here."""
        return sum(len(part) for part in self.parts)

    @property
    def own_layers(self) -> int:
        """Layers here with weights of their own."""
        return min(self.layers, self.model.unique_layers)

    @property
    def parts(self) -> list[range]:
        """The layers of each part of the pipeline that is here, as `llm.training.backend._pipeline` cuts them."""
        parallel = self.training.parallel
        count = parallel.pipeline * parallel.stages_per_rank
        cuts = [round(self.model.num_hidden_layers * number / count) for number in range(count + 1)]
        return [range(*pair) for pair in list(pairwise(cuts))[self.stage :: parallel.pipeline]]

    @property
    def has_embedding(self) -> bool:
        """Whether the ids come in here."""
        return self.stage == 0

    @property
    def has_head(self) -> bool:
        """Whether the loss is computed here."""
        return self.stage == self.training.parallel.pipeline - 1

    @property
    def micro_batches(self) -> int:
        """Of a step."""
        batch, parallel = self.training.batch, self.training.parallel
        return batch.tokens // batch.sequence_length // parallel.data_shares // batch.micro_batch_size

    @property
    def tokens(self) -> int:
        """Positions of a micro-batch that are this rank's."""
        batch = self.training.batch
        return batch.micro_batch_size * batch.sequence_length // self.training.parallel.context

    @property
    def stream(self) -> float:
        """Positions of the stream between the layers: the ranks of tensor parallelism share them."""
        return self.tokens / self.tensor

    @property
    def tensor(self) -> int:
        """Ranks that share each matrix."""
        return self.training.parallel.tensor

    @property
    def is_half(self) -> bool:
        """Whether products are computed in 16 bits."""
        precision = self.training.compute.precision
        return precision in ("fp16", "fp8") or (precision == "bf16" and self.autocasts)

    @property
    def value(self) -> int:
        """Bytes of what a product gives."""
        return HALF if self.is_half else FLOAT32

    @property
    def layer_matrices(self) -> list[Shape]:
        """Rows and columns of a layer's matrices here, as a layer of the whole model has them, over the ranks."""
        return [(-(-rows // self.tensor), columns) for rows, columns in matrices_of_a_layer(self.model)]

    @property
    def layer_values(self) -> int:
        """Weights of a layer here."""
        return values(self.layer_matrices) + vectors_of_a_layer(self.model)

    @property
    def head_values(self) -> int:
        """Weights of the head, or of the embedding, here."""
        return -(-self.vocab_size // self.tensor) * self.model.hidden_size

    @property
    def outer_values(self) -> int:
        """Weights here that belong to no layer: embedding, head and the last norm."""
        is_tied = self.model.tie_word_embeddings
        tables = self.has_embedding + (self.has_head and not (is_tied and self.has_embedding))
        return tables * self.head_values + self.has_head * self.model.hidden_size

    @property
    def values(self) -> int:
        """All weights here, before a backend shares them."""
        return self.own_layers * self.layer_values + self.outer_values

    def shapes(self) -> Iterator[tuple[Shape, bool]]:
        """Each parameter's shape here, and whether it is a matrix of a layer."""
        for _ in range(self.own_layers):
            yield from ((shape, True) for shape in self.layer_matrices)
            yield (vectors_of_a_layer(self.model),), False
        table = (-(-self.vocab_size // self.tensor), self.model.hidden_size)
        if self.has_embedding:
            yield table, False
        if self.has_head:
            yield (self.model.hidden_size,), False
            if not self.model.tie_word_embeddings:
                yield table, False


def values(shapes: list[Shape]) -> int:
    """The number of values in tensors of two dimensions."""
    return sum(rows * columns for rows, columns in shapes)
