"""Cross-entropy by Liger's fused kernels, for GPUs: the logits of some tokens at a time, made and used in one go.

Source: Hsu et al. 2024, arXiv:2410.10989, section 3.2; the package liger-kernel. Never run on a GPU here: the tests run
its kernels through Triton's interpreter.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llm.errors import UserError
from llm.training.loss._smoothed import SmoothedLoss

if TYPE_CHECKING:
    from torch import Tensor

    from llm.model import Decoder


class Liger(SmoothedLoss):
    """The loss of `cross_entropy`."""

    def tokens_at_once(self, tokens: int, width: int, vocab_size: int) -> int:
        """As Liger chooses them: their logits take about as much as the stream, or twice as much."""
        enough = -(-tokens // -(-vocab_size // width))
        return min(1 << (enough - 1).bit_length(), tokens)

    def compute(self, model: Decoder, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Loss of a micro-batch; raises UserError without the package, or where its kernels cannot run."""
        from llm.training.loss._linear import IGNORED

        fused, bound = _import_liger(x_BTD.device.type), model.config.final_logit_softcapping
        # The sum: Liger would divide the gradients in 16 bits, and in fp16 the quotients would be zero.
        settings = (None, None, IGNORED, self.z_loss, self.label_smoothing, "sum", bound)
        total: Tensor = fused.apply(x_BTD.flatten(0, 1), model.head, targets_BT.flatten(), *settings)[0]
        return total / (targets_BT != IGNORED).sum()


def _import_liger(device: str) -> Any:
    if device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(
            "training.loss.name=liger needs a GPU, and these ranks are on processors",
            "Set training.loss.name=cross_entropy, with slice_tokens if the logits are too large.",
        )
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction
    except ImportError as error:
        raise UserError(
            f"training.loss.name=liger needs the package liger-kernel: {error}",
            "Install it (pip install 'gristmill[liger]'), or set training.loss.name=cross_entropy.",
        ) from error
    return LigerFusedLinearCrossEntropyFunction
