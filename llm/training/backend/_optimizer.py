"""The optimizer of a backend, and the parts of a step that backends share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from llm.config import TrainingConfig
from llm.training.backend._protocol import StepResult
from llm.training.backend._scale import LossScale
from llm.training.built import built
from llm.training.optimizer import set_lr, split_groups

if TYPE_CHECKING:
    from llm.training.backend._protocol import Batch, MayUpdate


def optimizer_of(config: TrainingConfig, model: nn.Module) -> Optimizer:
    """That of the configuration, over the model's parameters, with its groups; the same on all ranks.

    Raises UserError if its section builds something else, or if a group of the configuration gets no parameter.
    """
    remedy = "Let it return a torch.optim.Optimizer, as docs/extend/optimizer.md shows."
    name = config.optimizer.name
    optimizer = built(f"training.optimizer.name={name}", config.optimizer.build(model), Optimizer, remedy)
    split_groups(optimizer, dict(model.named_parameters()), config.optimizer)
    return optimizer


def accumulate(
    batches: Sequence[Batch],
    forward: Callable[[Tensor, Tensor], Tensor],
    backward: Callable[[Tensor], None] = Tensor.backward,
    begin: Callable[[bool], None] = lambda is_last: None,
) -> Tensor:
    """Add up the gradients of the micro-batches' mean; returns that mean, float64. `begin` comes before each."""
    total: Tensor | None = None
    for number, (inputs_BT, targets_BT) in enumerate(batches, start=1):
        begin(number == len(batches))
        loss = forward(inputs_BT, targets_BT) / len(batches)
        backward(loss)
        own = loss.detach().double()
        total = own if total is None else total + own
    assert total is not None
    return total


def clip_and_update(
    optimizer: Optimizer, parameters: Sequence[nn.Parameter], max_grad_norm: float, rate: float, scale: LossScale,
    loss: Tensor, may_update: MayUpdate | None, norm_of_all: Callable[[Tensor], Tensor] = lambda norm: norm,
) -> StepResult:  # fmt: skip
    """Clip by the global norm, update, reset; returns the step, of which `loss` is this rank's.

    `norm_of_all` gives the norm where other ranks have other parameters.
    """
    scale.down(parameters)
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    whole = norm_of_all(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    skipped = scale.overflowed(whole)
    if not skipped and may_update is not None:
        skipped = not may_update(loss, whole.detach())
    if not skipped:
        nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, whole)
        set_lr(optimizer, rate)
        optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return StepResult(loss, whole.detach(), skipped)
