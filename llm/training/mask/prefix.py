"""The first tokens of a sequence see each other, the others what is before them (a prefix language model)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.config.sections.base import PositiveInt
from llm.config.sections.training import MaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from llm.model.masks import Mask


class Prefix(MaskConfig):
    """A prefix of fixed length; its tokens see the answer to their own loss, so the loss leaves them out."""

    tokens: PositiveInt
    """Tokens of the prefix."""

    def mask(self, ids_BT: Tensor, end_of_text: int) -> Mask:
        """The same for all sequences."""
        from llm.model.masks import prefix

        return prefix(self.tokens)

    def targets(self, targets_BT: Tensor) -> Tensor:
        """All but those of positions that see their own target."""
        learned = targets_BT.clone()
        learned[:, : self.tokens - 1] = -100
        return learned
