"""The head and the loss together. Shapes: B sequences, T positions, N tokens, D width of the stream, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn.functional import cross_entropy

IGNORED = -100
"""A target that is not learned from (torch's own default)."""


_depth = 0


@contextmanager
def over_cut_vocabulary() -> Iterator[None]:
    """Forward and backward passes of a loss whose vocabulary is cut; torch's own context does not nest."""
    global _depth
    with loss_parallel() if _depth == 0 else nullcontext():
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


def whole_loss(logits_BTV: Tensor, targets_BT: Tensor, smoothing: float = 0.0, z_loss: float = 0.0) -> Tensor:
    """Mean loss in nats a token, with all logits in memory; of a vocabulary that is cut, each rank has its part.

    The backward pass of a cut one is in `over_cut_vocabulary` too.
    """
    if isinstance(logits_BTV, DTensor):
        if smoothing or z_loss:
            logits_BTV = logits_BTV.full_tensor()
        else:
            with over_cut_vocabulary():
                return cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=IGNORED)
    logits_NV, targets_N = logits_BTV.flatten(0, 1), targets_BT.flatten()
    loss = cross_entropy(logits_NV.float(), targets_N, label_smoothing=smoothing, ignore_index=IGNORED)
    if z_loss:
        learned_N = targets_N != IGNORED
        squares_N = logits_NV.float().logsumexp(-1).square() * learned_N
        loss = loss + z_loss * squares_N.sum() / learned_N.sum()
    return loss


def sliced_loss(
    x_BTD: Tensor, head_VD: Tensor, targets_BT: Tensor, smoothing: float, z_loss: float, tokens: int,
    bound: float | None = None,
) -> Tensor:  # fmt: skip
    """The same with the logits of so many tokens in memory at once; their gradients are made in the forward pass.

    `bound` is that of the logits, by a hyperbolic tangent, if the model has one.
    """
    apply: Callable[..., Tensor] = _Sliced.apply
    return apply(x_BTD.flatten(0, 1), head_VD, targets_BT.flatten(), smoothing, z_loss, tokens, bound)


class _Sliced(torch.autograd.Function):
    """Loss is a scalar, so its gradients are known up to a factor before the backward pass gives it."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, head_VD: Tensor, targets_N: Tensor, smoothing: float, z_loss: float, tokens: int,
        bound: float | None,
    ) -> Tensor:  # fmt: skip
        wants = ctx.needs_input_grad
        dx_ND = torch.empty_like(x_ND) if wants[0] else None
        dhead_VD = torch.zeros_like(head_VD, dtype=torch.float32) if wants[1] else None
        total = torch.zeros((), dtype=torch.float32, device=x_ND.device)
        learned = (targets_N != IGNORED).sum()
        for begin in range(0, len(x_ND), tokens):
            part = slice(begin, begin + tokens)
            targets = targets_N[part]
            logits_SV, slopes_SV = (x_ND[part] @ head_VD.T).float(), None
            if bound is not None:
                logits_SV = logits_SV.div_(bound).tanh_()
                slopes_SV = 1 - logits_SV.square()
                logits_SV.mul_(bound)
            losses_S, logits_SV = _losses_and_gradients(logits_SV, targets, smoothing, z_loss)
            total += losses_S.sum()
            gradients_SV = (logits_SV if slopes_SV is None else logits_SV.mul_(slopes_SV)).to(x_ND.dtype)
            if dx_ND is not None:
                dx_ND[part] = gradients_SV @ head_VD / learned  # not before: in fp16 the quotient would be zero
            if dhead_VD is not None:
                dhead_VD += gradients_SV.T @ x_ND[part]
        ctx.save_for_backward(dx_ND, None if dhead_VD is None else dhead_VD.div_(learned).to(head_VD.dtype))
        return total / learned

    @staticmethod
    def backward(ctx: Any, *factors: Tensor) -> tuple[Tensor | None, ...]:
        (factor,) = factors
        dx_ND, dhead_VD = ctx.saved_tensors
        scaled = (None if one is None else one * factor for one in (dx_ND, dhead_VD))
        return (*scaled, None, None, None, None, None)


def _losses_and_gradients(
    logits_SV: Tensor, targets_S: Tensor, smoothing: float, z_loss: float
) -> tuple[Tensor, Tensor]:
    """Losses of a slice's tokens [S], and the gradients of their sum by the logits, in the memory of the logits."""
    learned_S = targets_S != IGNORED
    index_S1 = targets_S.clamp(min=0)[:, None]
    lse_S = logits_SV.logsumexp(-1)
    losses_S = lse_S - (1 - smoothing) * logits_SV.gather(1, index_S1)[:, 0] + z_loss * lse_S.square()
    if smoothing:
        losses_S -= smoothing * logits_SV.mean(-1)
    factor_S = 1 + 2 * z_loss * lse_S
    gradients_SV = logits_SV.sub_(lse_S[:, None]).exp_().mul_(factor_S[:, None])
    if smoothing:
        gradients_SV -= smoothing / gradients_SV.shape[1]
    gradients_SV.scatter_add_(1, index_S1, gradients_SV.new_full(index_S1.shape, smoothing - 1))
    return losses_S * learned_S, gradients_SV.mul_(learned_S[:, None])
