"""Which tokens a step trains on: a seeded global order, of which a rank takes its slice.

The row of tokens is cut into windows; an epoch is a permutation of them drawn from (seed, epoch). Each step of all
ranks together takes the next windows, as many as its batch has. So a batch is a function of the step alone: the step is
the only state to save, and the number of ranks does not matter. Each place of the order is computed by itself, so a
trillion tokens need no more memory than a thousand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from llm.data.shards import Tokens
from llm.data.shards.permutation import Permutation
from llm.errors import UserError

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Before = Callable[[int], int]
"""Windows of all steps before the one with a number."""
BLOCK = 1 << 16
"""Places of the order that are found at once (0.5 MB)."""


class Loader:
    """Batches of windows over a row of tokens."""

    def __init__(
        self, tokens: Tokens, sequence_length: int, global_batch: int, seed: int, before: Before | None = None
    ) -> None:
        """Windows of `sequence_length`, at most `global_batch` of them a step over all ranks.

        `before` gives the windows of all steps before one; None: each step has `global_batch`.
        Raises UserError if the tokens do not fill one global batch.
        """
        self._before = before or (lambda step: step * global_batch)
        self._seed = seed
        self.windows = max(0, (len(tokens) - 1) // sequence_length)
        """Windows in an epoch; the rest at the end, shorter than a window, is not used."""
        if self.windows < global_batch:
            fitting = self.windows * sequence_length
            raise UserError(
                f"the train split has {len(tokens):,} tokens: less than one global batch, which is"
                f" {global_batch:,} sequences of {sequence_length:,} and the token after them",
                "Give more text, or lower "
                + (f"training.batch.tokens to at most {fitting}." if fitting else "training.batch.sequence_length."),
            )
        self._rows = sliding_window_view(tokens, sequence_length + 1)[::sequence_length]
        self._block = (-1, -1), np.empty(0, dtype=np.int64)

    def indices(self, step: int, rank: int = 0, world: int = 1) -> npt.NDArray[np.int64]:
        """Windows of a rank at a step, which may hold the end of one epoch and the beginning of the next.

        `world` must divide the batch, as `llm.config` checks.
        """
        begin, end = self._before(step), self._before(step + 1)
        assert (end - begin) % world == 0
        assert 0 <= rank < world
        share = (end - begin) // world
        place, last, found = begin + rank * share, begin + (rank + 1) * share, []
        while place < last:
            epoch, inside = divmod(place, self.windows)
            part = self._block_of(epoch, inside // BLOCK)[inside % BLOCK :][: last - place]
            found.append(part)
            place += len(part)
        return np.concatenate(found)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Inputs and the tokens that follow them, [the step's batch / world, sequence_length] each."""
        rows = self._rows[self.indices(step, rank, world)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    def _block_of(self, epoch: int, number: int) -> npt.NDArray[np.int64]:
        """The windows of a part of an epoch: found together, a place takes a tenth of the time that it takes alone."""
        if self._block[0] != (epoch, number):
            places = np.arange(number * BLOCK, min((number + 1) * BLOCK, self.windows))
            self._block = (epoch, number), Permutation(self.windows, self._seed, epoch)[places]
        return self._block[1]
