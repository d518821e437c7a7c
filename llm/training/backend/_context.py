"""Context parallelism: the ranks of a group hold parts of each sequence, and give each other keys and values.

A sequence is cut into twice as many chunks as there are ranks, and a rank takes one from each end: in causal attention
the late positions see more, so all ranks have the same work. Source: Dubey et al. 2024, arXiv:2407.21783, 3.3.2.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._functional_collectives import all_gather_tensor_autograd

from llm.model import Decoder
from llm.model.attention import Attention


def positions_of(rank: int, ranks: int, length: int) -> Tensor:
    """The positions of a sequence that a rank computes, [length / ranks]."""
    chunks = torch.arange(length).chunk(2 * ranks)
    return torch.cat((chunks[rank], chunks[2 * ranks - 1 - rank]))


def exchange_keys(model: Decoder, group: dist.ProcessGroup) -> None:
    """Let every attention see the keys and values of all ranks of the group, in the order of their positions."""
    ranks = dist.get_world_size(group)
    orders: dict[int, Tensor] = {}

    def gathered(part_BKTH: Tensor) -> Tensor:
        length = part_BKTH.shape[2] * ranks
        if length not in orders:
            places = torch.cat([positions_of(rank, ranks, length) for rank in range(ranks)])
            orders[length] = places.argsort().to(part_BKTH.device)
        whole: Tensor = all_gather_tensor_autograd(part_BKTH.contiguous(), gather_dim=2, group=group)
        return whole.index_select(2, orders[length])

    for module in model.modules():
        if isinstance(module, Attention):
            module.gather = gathered
