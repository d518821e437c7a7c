"""Rotary positions: each pair of numbers of a head is turned by an angle that grows with the position.

Source: Su et al. 2021, arXiv:2104.09864. Shapes: B sequences, N heads, T positions, H head width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_tables(head_size: int, length: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's rotation, [length, head_size] each, halves repeated.

    The layout and every bit are those of Hugging Face's Llama, so the frequency is a quotient: as a power of a negative
    exponent its last bit differs, and at 8,192 positions a logit differs by up to 5e-3.
    """
    frequencies = 1.0 / theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    angles_TH = torch.outer(torch.arange(length, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles_TH.cos(), angles_TH.sin()


def rotate(x_BNTH: Tensor, cos_TH: Tensor, sin_TH: Tensor) -> Tensor:
    """Turn every pair (i, i + H/2) of a head by its position's angle."""
    first, second = x_BNTH.chunk(2, dim=-1)
    return x_BNTH * cos_TH + torch.cat((-second, first), dim=-1) * sin_TH
