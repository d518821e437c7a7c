"""Which tokens a step trains on: a seeded global order, of which a rank takes its slice.

The row of tokens is cut into windows; an epoch is a permutation of them drawn from (seed, epoch). Step `s` of all
ranks together takes the next `global_batch` windows. So a batch is a function of the step alone: the step is the only
state to save, and the number of ranks does not matter. The order comes from raw PCG64 numbers, which NumPy promises to
keep from version to version (NEP 19). It does not promise that for its own shuffles: after an upgrade a resumed
training would see other data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from llm.data.shards import Tokens
from llm.errors import UserError

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class Loader:
    """Batches of windows over a row of tokens."""

    def __init__(self, tokens: Tokens, sequence_length: int, global_batch: int, seed: int) -> None:
        """Windows of `sequence_length`, `global_batch` of them a step over all ranks.

        Raises UserError if the tokens do not fill one global batch.
        """
        self._global_batch, self._seed = global_batch, seed
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
        self._epoch: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def indices(self, step: int, rank: int = 0, world: int = 1) -> list[int]:
        """Windows of a rank at a step, which may hold the end of one epoch and the beginning of the next.

        `world` must divide the global batch, as `llm.config` checks.
        """
        assert self._global_batch % world == 0
        assert 0 <= rank < world
        share = self._global_batch // world
        first = step * self._global_batch + rank * share
        return [self._window(position) for position in range(first, first + share)]

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Inputs and the tokens that follow them, [global_batch / world, sequence_length] each."""
        rows = self._rows[self.indices(step, rank, world)].astype(np.int64)
        return rows[:, :-1], rows[:, 1:]

    def _window(self, position: int) -> int:
        epoch, place = divmod(position, self.windows)
        if self._epoch[0] != epoch:
            draws = np.random.PCG64(np.random.SeedSequence([self._seed, epoch])).random_raw(self.windows)
            order = np.argsort(draws, kind="stable")
            self._epoch = (epoch, order)
        return int(self._epoch[1][place])
