"""The norms of a model. Sources: Zhang and Sennrich 2019, arXiv:1910.07467; Ba et al. 2016, arXiv:1607.06450."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from llm.config import ModelConfig


class UnitOffsetRMSNorm(nn.RMSNorm):
    """RMSNorm that multiplies by 1 + weight, as Gemma has it: its weights begin at zero."""

    def forward(self, x: Tensor) -> Tensor:
        """The normalised x."""
        assert self.weight is not None
        return functional.rms_norm(x, list(self.normalized_shape), self.weight + 1, self.eps)


def norm(config: ModelConfig, width: int, kind: str) -> nn.Module:
    """A norm over the last dimension; kind is `rms` or `layer`."""
    if kind == "layer":
        return nn.LayerNorm(width, eps=config.rms_norm_eps)
    return (UnitOffsetRMSNorm if config.unit_offset_norms else nn.RMSNorm)(width, eps=config.rms_norm_eps)
