"""Random numbers of a parameter, drawn from its name: every row by itself, in any process, in any order.

A model is drawn in parts where it is sharded, and the weights are those of one process that drew them all. The numbers
come from Philox, a counter-based generator: a row has its own range of the counter, and the parameter's name and the
seed are the key. NumPy promises its raw numbers from version to version (NEP 19), and not what it makes of them: so the
normal distribution is ours.

Sources: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; Box and Muller 1958.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

NUMBERS_OF_A_COUNT = 4
"""Philox gives four numbers of 64 bits for one value of its counter."""
AT_ONCE = 1 << 22
"""Numbers that are drawn at once: little memory is needed besides that of the parameter itself."""


def draw_normal(rows_RC: Tensor, std: float, seed: int, name: str, first_row: int = 0) -> None:
    """Fill rows of a matrix [rows, columns] in place, the first of which is row `first_row` of the whole parameter."""
    rows, columns = rows_RC.shape
    key = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:16], "little")
    pairs = (columns + 1) // 2
    counts = -(-pairs // NUMBERS_OF_A_COUNT)
    generator = np.random.Philox(key=key, counter=first_row * counts)
    step = max(1, AT_ONCE // (counts * NUMBERS_OF_A_COUNT))
    for begin in range(0, rows, step):
        some = min(step, rows - begin)
        raw = generator.random_raw(some * counts * NUMBERS_OF_A_COUNT).reshape(some, -1)[:, :pairs]
        rows_RC[begin : begin + some] = torch.from_numpy(_normal(raw)[:, :columns]).mul_(std)


def _normal(raw: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """Two standard normal numbers of each of 64 bits, [rows, 2 * pairs]; none is beyond 6.7 deviations."""
    uniform = ((raw & np.uint64(0xFFFFFFFF)).astype(np.float32) + np.float32(1)) * np.float32(2**-32)
    angle = (raw >> np.uint64(32)).astype(np.float32) * np.float32(2 * np.pi * 2**-32)
    radius = np.sqrt(np.float32(-2) * np.log(uniform))
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1).reshape(len(raw), -1)
