"""Rotary positions: each pair of numbers of a head is turned by an angle that grows with the position.

The layout and every bit are those of Hugging Face's models, scaled or not. Sources: Su et al. 2021, arXiv:2104.09864;
Chen et al. 2023, arXiv:2306.15595 (linear); Peng et al. 2023, arXiv:2309.00071 (NTK, YaRN); Llama 3.1's release
(llama3). Shapes: B sequences, N heads, T positions, H head width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from llm.config.sections.model import RopeScaling


def rotary_tables(
    head_size: int, length: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's rotation, [length, head_size] each, halves repeated."""
    frequencies, factor = _frequencies(head_size, theta, scaling)
    angles_TH = torch.outer(torch.arange(length, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles_TH.cos() * factor, angles_TH.sin() * factor


def rotate(x_BNTH: Tensor, cos_TH: Tensor, sin_TH: Tensor) -> Tensor:
    """Turn every pair (i, i + H/2) of a head by its position's angle."""
    first, second = x_BNTH.chunk(2, dim=-1)
    return (x_BNTH * cos_TH + torch.cat((-second, first), dim=-1) * sin_TH).to(x_BNTH.dtype)


def _frequencies(head_size: int, theta: float, scaling: RopeScaling | None) -> tuple[Tensor, float]:
    """Angle of one position for each pair, [H / 2], and the factor on cosines and sines."""
    if scaling is None:
        return _plain(head_size, theta), 1.0
    if scaling.type == "linear":
        return _plain(head_size, theta) / scaling.factor, 1.0
    if scaling.type == "ntk":
        return _plain(head_size, scaling.stretched(theta, head_size)), 1.0
    if scaling.type == "llama3":
        return _llama3(_plain(head_size, theta), scaling), 1.0
    factor = scaling.attention_factor
    return _yarn(head_size, theta, scaling), 0.1 * math.log(scaling.factor) + 1.0 if factor is None else factor


def _plain(head_size: int, theta: float) -> Tensor:
    """A quotient: as a power of a negative exponent its last bit differs, and at 8,192 positions a logit by 5e-3."""
    return 1.0 / _powers(head_size, theta)


def _powers(head_size: int, theta: float) -> Tensor:
    return torch.as_tensor(theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size))


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Slow frequencies are divided, fast ones stay, and those between are mixed by their wavelength."""
    context, low, high = scaling.original_max_position_embeddings, scaling.low_freq_factor, scaling.high_freq_factor
    wavelengths = 2 * math.pi / frequencies
    is_slow, is_fast = wavelengths > context / low, wavelengths < context / high
    divided = torch.where(is_slow, frequencies / scaling.factor, frequencies)
    share = (context / wavelengths - low) / (high - low)
    mixed = (1 - share) * divided / scaling.factor + share * divided
    return torch.where(~is_slow & ~is_fast, mixed, divided)


def _yarn(head_size: int, theta: float, scaling: RopeScaling) -> Tensor:
    """As llama3, but mixed by the frequency's place in the row."""

    def place(turns: float) -> float:
        """Where the frequency with so many turns in the earlier context stands."""
        context = scaling.original_max_position_embeddings
        return head_size * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = place(scaling.beta_fast), place(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_size - 1)
    ramp = (torch.arange(head_size // 2, dtype=torch.float32) - low) / ((high if high != low else high + 0.001) - low)
    kept = 1 - ramp.clamp(0, 1)
    powers = _powers(head_size, theta)
    return 1.0 / (scaling.factor * powers) * (1 - kept) + 1.0 / powers * kept
