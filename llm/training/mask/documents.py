"""Earlier positions of the same document: what was packed before it is not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.config.sections.training import MaskConfig

if TYPE_CHECKING:
    from torch import Tensor

    from llm.model.masks import Mask


class Documents(MaskConfig):
    """Documents of a sequence do not see each other."""

    def mask(self, ids_BT: Tensor, end_of_text: int) -> Mask:
        """Each sequence has its own."""
        from llm.model.masks import documents

        return documents(ids_BT, end_of_text)
