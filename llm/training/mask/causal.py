"""Every earlier position, over the ends of documents too: the mask of the model at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.config.sections.training import MaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from llm.model.masks import Mask


class Causal(MaskConfig):
    """The mask that costs nothing."""

    def mask(self, ids_BT: Tensor, end_of_text: int) -> Mask:
        """The same for all sequences."""
        from llm.model.masks import causal

        return causal
