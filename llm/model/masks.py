"""Who sees whom: masks as functions, and what the attention makes of them.

A mask is a function of FlexAttention's kind: (sequence, head, query, key) -> bool, on index tensors of any shapes that
broadcast. So one function makes a dense mask on a CPU and a block mask on a GPU.

Shapes: B sequences, N heads, T queries, S keys. Sources: Press et al. 2021, arXiv:2108.12409 (ALiBi); Child et al.
2019, arXiv:1904.10509 (block-sparse); Beltagy et al. 2020, arXiv:2004.05150 (sliding window); Raffel et al. 2019,
arXiv:1910.10683, section 3.2.1 (prefix); Dong et al. 2024, arXiv:2412.05496 (FlexAttention).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Mask = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """Everything up to the query itself."""
    return k <= q


def both(one: Mask, other: Mask) -> Mask:
    """The positions that two masks let through."""
    return lambda b, h, q, k: one(b, h, q, k) & other(b, h, q, k)


def window(size: int) -> Mask:
    """The query and the `size` - 1 positions before it."""
    return lambda b, h, q, k: (k <= q) & (q - k < size)


def documents(ids_BT: Tensor, end_of_text: int) -> Mask:
    """Earlier positions of the query's own document, which begins with the `<|endoftext|>` that ends the one before."""
    number_BT = (ids_BT == end_of_text).cumsum(1)
    return lambda b, h, q, k: (k <= q) & (number_BT[b, q] == number_BT[b, k])


def prefix(length: int) -> Mask:
    """Earlier positions, and all of the first `length`."""
    return lambda b, h, q, k: (k <= q) | (k < length)


def block_sparse(block: int, stride: int) -> Mask:
    """Earlier positions of the query's own block, and of the last block of every `stride`."""
    return lambda b, h, q, k: (k <= q) & ((q // block == k // block) | (k // block % stride == stride - 1))


def slopes(heads: int) -> Tensor:
    """ALiBi's penalty for each step of distance, [N]: a geometric series from 2^(-8/N), as the paper has it.

    Where the heads are no power of two, the series of the next smaller power is filled up with every second term of
    the next larger one.
    """
    power = 1 << (heads.bit_length() - 1)
    exponents = [8 * (head + 1) / power for head in range(power)]
    exponents += [4 * (2 * head + 1) / power for head in range(heads - power)]
    return torch.tensor([2.0**-exponent for exponent in exponents])


def dense(mask: Mask, sequences: int, queries: Tensor | int, keys: int, device: torch.device) -> Tensor:
    """The mask as booleans, [B or 1, 1, T, S]; `queries` are positions, or the number of the last ones."""
    b = torch.arange(sequences, device=device)[:, None, None, None]
    h = torch.zeros(1, dtype=torch.long, device=device)[None, :, None, None]
    k = torch.arange(keys, device=device)[None, None, None, :]
    return mask(b, h, _places(queries, keys, device)[None, None, :, None], k)


def with_penalty(mask_BNTS: Tensor, slopes_N: Tensor, queries: Tensor | int) -> Tensor:
    """The mask as numbers to add to the scores, [B or 1, N, T, S]: ALiBi's penalties, and minus infinity."""
    keys, device = mask_BNTS.shape[-1], mask_BNTS.device
    distance_TS = _places(queries, keys, device)[:, None] - torch.arange(keys, device=device)[None, :]
    penalty_NTS = -slopes_N[:, None, None] * distance_TS.abs()
    return penalty_NTS.masked_fill(~mask_BNTS, -torch.inf)


def _places(queries: Tensor | int, keys: int, device: torch.device) -> Tensor:
    return torch.arange(keys - queries, keys, device=device) if isinstance(queries, int) else queries
