"""DistributedDataParallel: gradients are averaged while the backward pass still runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from llm.config import TrainingConfig
from llm.training.backend._optimizer import accumulate, clip_and_update, optimizer_of
from llm.training.backend._protocol import StepResult
from llm.training.backend._scale import LossScale
from llm.training.checkpoint.pieces import Group, Saved, States
from llm.training.checkpoint.states import groups_of, load_states, states_of
from llm.training.rank.mesh import Mesh
from llm.training.rank.task import Task

if TYPE_CHECKING:
    from llm.training.backend._protocol import Batch, MayUpdate


class DataParallel:
    """DDP over the default process group; every rank holds all weights and states."""

    def __init__(self, task: Task, mesh: Mesh, config: TrainingConfig) -> None:
        """Broadcasts rank 0's weights, so that all ranks start alike."""
        self._task, self._mesh = task, mesh
        self._max_grad_norm = config.optimizer.max_grad_norm
        task.fill(config.seed)
        self._optimizer = optimizer_of(config, task.model)
        self._scale = LossScale(config.compute.precision)
        # With more than two ranks the order of a sum depends on the buckets, and DDP arranges them again after the
        # first backward pass of a process: a resumed training would differ in its first step. Looking for unused
        # parameters keeps the first arrangement.
        self._wrapped = DistributedDataParallel(
            task, gradient_as_bucket_view=True, forward_sync_buffers=False, find_unused_parameters=True
        )

    def step(self, batches: Sequence[Batch], rate: float, may_update: MayUpdate | None = None) -> StepResult:
        """Only the last micro-batch's gradients are sent, summed with those before it."""
        loss = accumulate(batches, self._wrapped, self._scale.backward, self._send)
        parameters = list(self._task.parameters())
        return clip_and_update(self._optimizer, parameters, self._max_grad_norm, rate, self._scale, loss, may_update)

    def evaluate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Each rank for itself."""
        loss: Tensor = self._task(inputs_BT, targets_BT)
        return loss

    def weights(self, owners: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """Every rank has all of them."""
        return self._task.named()

    def states(self) -> States:
        """All ranks hold all states, so each saves a part of them."""
        states = states_of(self._optimizer, self._task.named())
        return {name: states[name] for name in sorted(states)[self._mesh.rank :: self._mesh.ranks]}

    def groups(self) -> list[Group]:
        """The same on all ranks."""
        return groups_of(self._optimizer) + self._scale.group()

    def load(self, saved: Saved) -> None:
        """Every rank reads everything."""
        with torch.no_grad():
            for name, parameter in self._task.named().items():
                parameter.copy_(saved.weight(name))
        load_states(self._optimizer, self._task.named(), saved, self._scale.take(saved.groups))

    def _send(self, is_last: bool) -> None:
        self._wrapped.require_backward_grad_sync = is_last  # as `no_sync()` does
