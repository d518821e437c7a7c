"""Batches a second of our loader against a bare read of the same windows from a memory map, and its memory.

    python benchmarks/loader.py

The bare read knows the windows beforehand: it is `numpy.memmap` indexed by an array. Both take turns over the same
file, which is in the system's cache. Memory is that of a loader over 100 million windows at its highest, with its
batches.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from ranks import verdict, when_and_where

from llm.data.shards.loader import Loader

ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "4"))
"""Epochs; a test takes one."""
STEPS, TOKENS, VOCABULARY = 40, 1 << 26, 50_000
SHAPES = [(512, 64), (2048, 256), (8192, 64)]
"""Length of a sequence, and sequences of a step."""
MANY_WINDOWS = 100_000_000
READ_TARGET = 0.9


def main() -> int:
    """Print the ratio at each shape, then the memory."""
    print(when_and_where())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.bin"
        np.random.default_rng(0).integers(0, VOCABULARY, TOKENS, dtype=np.uint16).tofile(path)
        tokens = np.memmap(path, dtype=np.uint16, mode="r")
        tokens.max()  # maps its pages
        for length, sequences in SHAPES:
            ratio, speed = _compare(tokens, length, sequences)
            said = verdict(ratio, READ_TARGET, at_least=True)
            print(
                f"{sequences:4} x {length:5}: {speed / 1e6:6.0f} M tokens/s   loader / bare read: {ratio:.3f}   {said}"
            )
        print(f"{MANY_WINDOWS:,} windows: {_memory(Path(folder)):.1f} MiB of memory")
    return 0


def _compare(tokens: np.ndarray, length: int, sequences: int) -> tuple[float, float]:
    """Speed of ours by that of the bare read, and tokens a second of ours."""
    loader, other = (Loader(tokens, length, sequences, seed=seed) for seed in (1, 2))
    rows = sliding_window_view(tokens, length + 1)[::length]

    def bare(windows: list[np.ndarray]) -> None:
        for chosen in windows:
            read = rows[chosen].astype(np.int64)
            assert read[:, :-1].shape == read[:, 1:].shape

    def ours(first: int) -> None:
        for step in range(first, first + STEPS):
            loader.batch(step)

    steps, taken = ROUNDS * loader.windows // sequences, [0.0, 0.0]  # whole epochs, so all of the order is made
    for first in range(0, steps - STEPS + 1, STEPS):
        windows = [other.indices(first + step) for step in range(STEPS)]
        for place, (read, what) in enumerate(((bare, windows), (ours, first))):
            started = time.perf_counter()
            read(what)
            taken[place] += time.perf_counter() - started
    return taken[0] / taken[1], steps // STEPS * STEPS * sequences * length / taken[1]


def _memory(folder: Path) -> float:
    """MiB of memory of a loader over very many windows at its highest, with its batches."""
    path, length = folder / "many.bin", 128
    with path.open("wb") as file:
        file.truncate(2 * (MANY_WINDOWS * length + 1))  # holes: they take no disk
    tokens = np.memmap(path, dtype=np.uint16, mode="r")
    tracemalloc.start()  # the pages of the file are not counted: the system takes them back when it likes
    loader = Loader(tokens, length, 256, seed=1)
    for step in range(STEPS):
        loader.batch(step)
    return tracemalloc.get_traced_memory()[1] / 2**20


if __name__ == "__main__":
    sys.exit(main())
