"""Cross-entropy of the next token, with label smoothing and z-loss, whole or in slices.

Source: Hsu et al. 2024, arXiv:2410.10989, section 3.2 (gradients of the head made in the forward pass).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.config.sections.base import PositiveInt
from llm.training.loss._smoothed import SmoothedLoss

if TYPE_CHECKING:
    from torch import Tensor

    from llm.model import Decoder


class CrossEntropy(SmoothedLoss):
    """Mean over the tokens that are learned from."""

    slice_tokens: PositiveInt | None = None
    """Tokens whose logits are in memory at once; None: those of the whole micro-batch."""

    def tokens_at_once(self, tokens: int, width: int, vocab_size: int) -> int | None:
        """Those of a slice."""
        return None if self.slice_tokens is None else min(self.slice_tokens, tokens)

    def compute(self, model: Decoder, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Loss of a micro-batch from the stream before the head; targets of -100 are not learned from."""
        from llm.training.loss._linear import sliced_loss, whole_loss

        if self.slice_tokens is None:
            return whole_loss(model.logits(x_BTD), targets_BT, self.label_smoothing, self.z_loss)
        return sliced_loss(
            x_BTD, model.head, targets_BT, self.label_smoothing, self.z_loss, self.slice_tokens,
            model.config.final_logit_softcapping,
        )  # fmt: skip
