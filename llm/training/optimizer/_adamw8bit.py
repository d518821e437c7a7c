"""AdamW with states of 8 bits in blocks of a row (`llm.training.optimizer._blocks`).

The mean of the gradients is kept in codes with a sign. Of the mean of their squares the root is kept, in codes without:
the levels then reach down to 1e-14 of the largest square. Both are plain tensors with as many rows as the parameter.
So a backend that cuts parameters by rows cuts them too, and a checkpoint of any number of ranks gives them back bit for
bit. The gradients of more ranks differ in their last bits, and so do some codes.

torchao's AdamW8bit (0.18) is not used. It compiles its step, which needs a C++ compiler at run time, and images have
none. Its states are subclasses of tensors in blocks over all of a rank's values, which depend on the number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from llm.training.checkpoint.states import as_part_of
from llm.training.optimizer._blocks import decode, encode, make_tables

EPSILON = 1e-8
State = dict[str, Any]


class BlockwiseAdamW(Optimizer):
    """AdamW; matrices of `smallest_matrix` values or more have states of 8 bits."""

    def __init__(self, groups: list[dict[str, Any]], settings: dict[str, Any]) -> None:
        super().__init__(groups, {"weight_decay": 0.0, **settings})
        for device in {parameter.device for group in self.param_groups for parameter in group["params"]}:
            make_tables(device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None, "a backend calls `step` alone"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """One parameter's step, on the rows that are here."""
        state, beta1, beta2 = self.state[parameter], group["beta1"], group["beta2"]
        step = int(state.get("step", 0)) + 1
        state["step"] = float(step)  # no tensor: a rehearsal has none with values
        here, gradient = _here(parameter), _here(parameter.grad)
        if not here.numel():
            return  # more ranks than rows leave some without
        is_coded = parameter.dim() >= 2 and parameter.numel() >= group["smallest_matrix"]
        rows = gradient.flatten(1) if is_coded else gradient
        mean = _read(state, "exp_avg", rows, is_coded, is_signed=True)
        root = _read(state, "exp_avg_sq_root", rows, is_coded, is_signed=False)
        mean.lerp_(rows, 1 - beta1)
        root.square_().mul_(beta2).addcmul_(rows, rows, value=1 - beta2).sqrt_()
        _keep(state, "exp_avg", mean, parameter, is_coded, is_signed=True)
        _keep(state, "exp_avg_sq_root", root, parameter, is_coded, is_signed=False)
        divisor = root.div_((1 - beta2**step) ** 0.5).add_(EPSILON)
        here.mul_(1 - group["lr"] * group["weight_decay"])
        here.sub_((mean / divisor).view_as(here), alpha=group["lr"] / (1 - beta1**step))


def _here(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _read(state: State, kind: str, like: Tensor, is_coded: bool, *, is_signed: bool) -> Tensor:
    """A state as numbers in memory of their own; zeros before the first step."""
    if not is_coded:
        return _here(state[kind]).clone() if kind in state else torch.zeros_like(like)
    if f"{kind}_codes" not in state:
        return torch.zeros_like(like)
    codes, scales = _here(state[f"{kind}_codes"]), _here(state[f"{kind}_scales"])
    return decode(codes.flatten(1), scales, is_signed=is_signed)


def _keep(state: State, kind: str, values: Tensor, parameter: Tensor, is_coded: bool, *, is_signed: bool) -> None:
    """Put a state where `_read` finds it: codes have the parameter's shape, scales its rows."""
    parts = {kind: values.clone()}
    if is_coded:
        codes, scales = encode(values, is_signed=is_signed)
        parts = {f"{kind}_codes": codes.view(len(codes), *parameter.shape[1:]), f"{kind}_scales": scales}
    for name, part in parts.items():
        state[name] = as_part_of(parameter, part) if isinstance(parameter, DTensor) else part
