"""The settings of a cross-entropy, whichever code computes it.

Sources: Szegedy et al. 2015, arXiv:1512.00567, section 7 (label smoothing); Chowdhery et al. 2022, arXiv:2204.02311,
section 5 (z-loss).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm.config.sections.base import Fraction
from llm.config.sections.training import LossConfig


class SmoothedLoss(LossConfig):
    """Label smoothing and z-loss."""

    label_smoothing: Fraction = 0.0
    """Share of the target's probability that all tokens get."""
    z_loss: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """Factor of the squared logarithm of the softmax's denominator, which keeps logits small (PaLM: 1e-4)."""
