"""The own block, and the last block of every few: long sequences with less work, where a kernel skips blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.config.sections.base import PositiveInt
from llm.config.sections.training import MaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from llm.model.masks import Mask


class BlockSparse(MaskConfig):
    """Fixed pattern of Child et al. 2019, arXiv:1904.10509; the model at work sees all positions."""

    block: PositiveInt = 128
    """Positions of a block."""
    stride: PositiveInt = 4
    """Blocks of which the last is seen by all later ones."""

    def mask(self, ids_BT: Tensor, end_of_text: int) -> Mask:
        """The same for all sequences."""
        from llm.model.masks import block_sparse

        return block_sparse(self.block, self.stride)
