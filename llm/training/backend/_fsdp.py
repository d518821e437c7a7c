"""FSDP2, with tensor and context parallelism inside and replicas outside of it.

Each layer's weights, gradients and states are cut by rows over the ranks, and whole only while it computes.
Source: Zhao et al. 2023, arXiv:2304.11277; `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from llm.config import TrainingConfig
from llm.training.backend._context import exchange_keys, positions_of
from llm.training.backend._optimizer import accumulate, clip_and_update, optimizer_of
from llm.training.backend._protocol import StepResult
from llm.training.backend._scale import LossScale
from llm.training.backend._tensor import cut_matrices
from llm.training.checkpoint.pieces import Group, Saved, States
from llm.training.checkpoint.rectangles import rectangle
from llm.training.checkpoint.states import groups_of, load_states, states_of
from llm.training.rank.mesh import Mesh
from llm.training.rank.task import Task

if TYPE_CHECKING:
    from llm.training.backend._protocol import Batch, MayUpdate


class FullyShard:
    """FSDP2 over all ranks with data of their own; the layers of the decoder are its units."""

    def __init__(self, task: Task, mesh: Mesh, config: TrainingConfig, *, reshard: bool) -> None:
        """`reshard`: whether a layer's weights are given up after its forward pass, and gathered again."""
        self._task, self._mesh = task, mesh
        self._max_grad_norm = config.optimizer.max_grad_norm
        kind = task.device.kind
        if mesh.tensor > 1:
            cut_matrices(task.model, mesh.of_tensor(kind))
        if mesh.context > 1:
            context = mesh.grid(kind)["context"]
            exchange_keys(task.model, context.get_group())
            length = config.batch.sequence_length
            task.positions_T = positions_of(context.get_local_rank(), mesh.context, length).to(kind)
        self._shard(config, reshard=reshard)
        task.fill(config.seed, _part)  # only now: no rank ever has the whole model
        self._optimizer = optimizer_of(config, task.model)
        self._scale = LossScale(config.compute.precision)

    def _reshard(self) -> None:
        """Give up weights that a forward pass without a backward pass left whole: no state is found by them."""
        for module in self._units:
            module.reshard()

    def _shard(self, config: TrainingConfig, *, reshard: bool) -> None:
        """Cut what this rank has of the model, each layer by itself."""
        shards = self._mesh.weights(self._task.device.kind)
        units: list[nn.Module] = [*self._task.model.model.layers, self._task]
        self._units = [fully_shard(unit, mesh=shards, reshard_after_forward=reshard) for unit in units]

    def step(self, batches: Sequence[Batch], rate: float, may_update: MayUpdate | None = None) -> StepResult:
        """Every micro-batch's gradients are sent, so that no rank ever holds them whole."""
        loss = accumulate(batches, self._task, self._scale.backward)
        parameters = list(self._task.parameters())
        return clip_and_update(self._optimizer, parameters, self._max_grad_norm, rate, self._scale, loss, may_update)

    def evaluate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Gathers the weights of each layer, so all ranks must come."""
        loss: Tensor = self._task(inputs_BT, targets_BT)
        self._reshard()
        return loss

    def weights(self, owners: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """Gathered one by one; their owner keeps them, in the memory of the machine."""
        kept = {}
        for name, parameter in self._task.named().items():
            tensor = whole_tensor(parameter)
            if self._mesh.rank == (owners or {}).get(name, 0):
                kept[name] = tensor.cpu()
        return kept

    def states(self) -> States:
        """The rank's rows; a state that has not as many rows as its parameter is the first rank's of a stage."""
        states = states_of(self._optimizer, self._task.named())
        rows = {name: tuple(parameter.shape[:1]) for name, parameter in self._task.named().items()}
        return {
            name: piece
            for name, piece in states.items()
            if piece.shape[:1] == rows[name.split("/", 1)[1]] or self._mesh.is_first_of_stage
        }

    def groups(self) -> list[Group]:
        """The same on all ranks."""
        return groups_of(self._optimizer) + self._scale.group()

    def load(self, saved: Saved) -> None:
        """Every rank reads its part."""
        with torch.no_grad():
            for name, parameter in self._task.named().items():
                assert isinstance(parameter, DTensor)
                here = rectangle(parameter)
                if here.rows[0] < here.rows[1]:  # more ranks than rows leave some without
                    rows = saved.rows(name, *here.rows)
                    parameter.to_local().copy_(rows if rows.dim() < 2 else rows[:, slice(*here.columns)])
        load_states(self._optimizer, self._task.named(), saved, self._scale.take(saved.groups))


def _part(parameter: nn.Parameter) -> tuple[Tensor, int, int]:
    assert isinstance(parameter, DTensor)
    here = rectangle(parameter)
    return parameter.to_local(), here.rows[0], here.columns[0]


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor that may be sharded; all ranks that share it come."""
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    found: Tensor = tensor.full_tensor().detach()
    return found
