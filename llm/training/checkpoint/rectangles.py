"""The part of a sharded tensor that is on this rank: always a rectangle of rows and columns of the whole.

`torch.chunk` is the rule of every cut. Tensor parallelism cuts first, and FSDP cuts what is left: of a matrix that is
cut both ways by rows, the ranks of a tensor group have neighbouring blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate


@dataclass(frozen=True)
class Rectangle:
    """Rows and columns of a tensor; a vector has rows alone, and more dimensions are all there."""

    rows: tuple[int, int]
    """First row and end."""
    columns: tuple[int, int]
    """First column and end."""
    is_own: bool
    """Whether this rank is the first of those that hold it."""


def rectangle(tensor: DTensor) -> Rectangle:
    """That of this rank."""
    bounds = [(0, size) for size in (*tensor.shape[:2], 1, 1)[:2]]
    is_own = True
    mesh = tensor.device_mesh
    for dimension in reversed(range(mesh.ndim)):
        placement, number = tensor.placements[dimension], mesh.get_local_rank(dimension)
        if placement.is_replicate():
            is_own = is_own and number == 0
            continue
        cut: int = placement.dim  # type: ignore[attr-defined]
        bounds[cut] = _chunk(bounds[cut], number, mesh.size(dimension))
    return Rectangle(bounds[0], bounds[1], is_own)


def own_rows(tensor: DTensor) -> tuple[Tensor, int] | None:
    """Whole rows and the number of the first, such that all ranks together have each row once; None if it has none.

    Where columns are cut, the ranks that share the rows gather them, so all of them must come.
    """
    placements = [Replicate() if getattr(placement, "dim", 0) == 1 else placement for placement in tensor.placements]
    if placements != list(tensor.placements):
        tensor = tensor.redistribute(placements=placements)
    here = rectangle(tensor)
    return (tensor.to_local().detach(), here.rows[0]) if here.is_own else None


def _chunk(bounds: tuple[int, int], number: int, parts: int) -> tuple[int, int]:
    """Part `number` of a range, as torch.chunk cuts it; the last parts may be empty."""
    first, end = bounds
    each = math.ceil((end - first) / parts)
    begin = min(end, first + each * number)
    return begin, min(end, begin + each)
