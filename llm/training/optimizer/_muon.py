"""One torch optimizer for both kinds of groups: those with a momentum are Muon's, the others torch's own AdamW's.

A matrix is made orthogonal as a whole: where the rows are shared between ranks, each rank gathers the update, makes it
orthogonal, and takes its own rows. So a rank needs memory for one whole matrix, and all ranks do the same work.

`torch.optim.Muon` has the same formulas, which a test compares, and is not used: it iterates in bfloat16, where the
last bits of a gradient decide a rounding. After 9 steps of the test's training the weights of 1 and of 2 ranks
differed by 1.5e-3; in float32 they differ by 2e-7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from llm.training.checkpoint.rectangles import rectangle

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of x, x³ and x⁵ in each step, as Jordan et al. chose them: the small singular values grow fast."""
SMALLEST_NORM = 1e-7
RMS_OF_ADAMW = 0.2
"""Root mean square of an update of AdamW, in learning rates, as Liu et al. measured it."""


class MuonWithAdamW(Optimizer):
    """Muon where a group has `momentum`, AdamW elsewhere."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        others = [group for group in groups if "momentum" not in group]
        self._adamw = torch.optim.AdamW(others, lr=lr, betas=betas, fused=True)  # completes their settings
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None, "a backend calls `step` alone"
        self._adamw.state = self.state
        self._adamw.param_groups = [group for group in self.param_groups if "momentum" not in group]
        self._adamw.step()
        for group in self.param_groups:
            if "momentum" in group:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, state, momentum = parameter.grad, self.state[parameter], group["momentum"]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        mean: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        looking_ahead = gradient.lerp(mean, momentum)  # Nesterov's
        whole = looking_ahead.full_tensor() if isinstance(looking_ahead, DTensor) else looking_ahead
        change = orthogonal(whole, group["newton_schulz_steps"])
        here = parameter
        if isinstance(parameter, DTensor):
            part = rectangle(parameter)
            here, change = parameter.to_local(), change[slice(*part.rows), slice(*part.columns)]
        here.mul_(1 - group["lr"] * group["weight_decay"])
        here.add_(change, alpha=-group["lr"] * RMS_OF_ADAMW * max(parameter.shape) ** 0.5)


def orthogonal(update: Tensor, steps: int) -> Tensor:
    """A matrix with the singular vectors of this one, whose singular values are all near 1 (0.7 to 1.2).

    Law: it does not depend on the size of the update. Zeros give zeros.
    """
    x = update / update.norm().clamp(min=SMALLEST_NORM)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x  # the product below is then the smaller one
    first, third, fifth = COEFFICIENTS
    for _ in range(steps):
        product = x @ x.T
        x = torch.addmm(x, torch.addmm(product, product, product, beta=third, alpha=fifth), x, beta=first)
    found: Tensor = x.T if is_tall else x
    return found
