"""Muon: the momentum of a hidden matrix is made orthogonal before it is applied; all else is trained by AdamW.

The update of a matrix is scaled by 0.2 times the root of its longer side. So its values are about as large as those of
AdamW, and one learning rate serves both.

Sources: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; Liu et al. 2025, arXiv:2502.16982, section 2.2
(the scale, and the weight decay).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from llm.config.sections.base import Beta
from llm.config.sections.training import OptimizerConfig
from llm.training.optimizer._groups import matrices_and_vectors

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class Muon(OptimizerConfig):
    """Muon over the matrices of the layers, AdamW over embedding, head, norms and biases."""

    needs_parameters: ClassVar[bool] = True

    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decay of matrices, embedding and head included; vectors are not decayed."""
    momentum: Beta = 0.95
    """Share of the last mean of the gradients that the next one keeps."""
    newton_schulz_steps: Annotated[int, Field(ge=1, lt=100)] = 5
    """Steps of the iteration that makes a matrix orthogonal."""
    beta1: Beta = 0.9
    """The first beta of AdamW."""
    beta2: Beta = 0.95
    """The second beta of AdamW."""

    def build(self, model: nn.Module) -> Optimizer:
        """Matrices of the layers first, then embedding and head, then vectors, each in the model's order."""
        from llm.training.optimizer._muon import MuonWithAdamW

        named = dict(model.named_parameters())
        hidden = [one for name, one in named.items() if one.dim() == 2 and ".layers." in f".{name}"]
        taken = {id(one) for one in hidden}
        rest = [one for one in named.values() if id(one) not in taken]
        of_muon = {"params": hidden, "weight_decay": self.weight_decay, "momentum": self.momentum,
                   "newton_schulz_steps": self.newton_schulz_steps}  # fmt: skip
        groups = [of_muon, *matrices_and_vectors(rest, self.weight_decay)]
        return MuonWithAdamW(groups, self.lr, (self.beta1, self.beta2))

    def state_bytes(self, shape: tuple[int, ...], *, is_hidden: bool) -> float:
        """One momentum in hidden matrices, AdamW's two moments elsewhere."""
        return (4.0 if is_hidden else 8.0) * math.prod(shape)
