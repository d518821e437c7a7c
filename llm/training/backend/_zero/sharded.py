"""Stage 3: a rank holds a run of each parameter's values, and of its gradient and states.

DeepSpeed gathers a parameter while its module computes. In between it has no values and no shape: its whole shape is
`ds_shape`. All runs of a parameter are equally long; the last ones may end in padding. Runs lie one after the other in
flat tensors, one for each group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from llm.config import TrainingConfig
from llm.errors import UserError
from llm.training.backend._optimizer import optimizer_of
from llm.training.backend._scale import LossScale
from llm.training.backend._zero.engine import import_deepspeed
from llm.training.backend._zero.whole import Zero
from llm.training.checkpoint.pieces import Piece, Saved, Shape, States, run_of
from llm.training.checkpoint.states import load_groups


@dataclass(frozen=True)
class Run:
    """The values of a parameter that a rank holds."""

    name: str
    parameter: Any
    """With what DeepSpeed adds to it."""
    start: int
    """Number of the first value in the whole parameter."""
    count: int
    """Values, without padding; 0 if there are fewer values than ranks."""
    offset: int
    """Number of the first value in the group's flat tensor."""

    @property
    def shape(self) -> Shape:
        """That of the whole parameter."""
        return tuple(self.parameter.ds_shape)

    def of(self, flat: Tensor) -> Tensor:
        """The values in the group's flat tensor, or in that of a state."""
        return flat.narrow(0, self.offset, self.count)

    def set_weight(self, flat: Tensor, values: Tensor) -> None:
        """Set the values in the group, and in the copy of them that computes (where there is one)."""
        self.of(flat).copy_(values)
        self.parameter.ds_tensor.data[: self.count].copy_(values)


class ZeroSharded(Zero):
    """A DeepSpeed engine in which no rank has the whole model."""

    def _prepared(self, deepspeed: Any, config: TrainingConfig, settings: dict[str, Any]) -> Optimizer:
        """The optimizer over parameters that are cut."""
        task = self._task
        optimizer = optimizer_of(config, task.model)  # now: its groups follow from shapes, which are gone later
        names = {parameter: name for name, parameter in task.named().items()}
        groups = [[names[parameter] for parameter in group["params"]] for group in optimizer.param_groups]
        deepspeed.init_distributed(dist_init_required=False)  # it takes our process group
        for module in list(task.modules()):
            if next(module.parameters(recurse=False), None) is not None:
                module.to_empty(device=task.device.kind, recurse=False)  # one whole module at a time, without values
                deepspeed.zero.Init(module=module, config_dict_or_path=settings)
        task.model.make_tables()
        named = task.named()
        for group, members in zip(optimizer.param_groups, groups, strict=True):
            group["params"] = [named[name] for name in members]
        return optimizer

    def evaluate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Gathers the weights of each module, so all ranks must come."""
        loss: Tensor = self._engine(inputs_BT, targets_BT)
        self._optimizer.empty_partition_cache()  # without a backward pass, what was gathered ahead stays whole
        return loss

    @torch.no_grad()
    def _begin(self, config: TrainingConfig) -> None:
        """Draw the rank's own runs."""
        for flat, runs in self._groups():
            flat.zero_()  # padding is decayed as weights are
            for run in runs:
                rows = partial(self._task.first, run.name, run.parameter.ds_shape, config.seed)
                run.set_weight(flat, run_of(rows, run.shape, run.start, run.count))

    def weights(self, owners: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """Gathered one by one; their owner keeps them, in the memory of the machine."""
        gathered, kept = import_deepspeed().zero.GatheredParameters, {}
        for name, parameter in self._task.named().items():
            with gathered([parameter]):
                if self._mesh.rank == (owners or {}).get(name, 0):
                    kept[name] = parameter.detach().cpu().clone()
        return kept

    def states(self) -> States:
        """The rank's runs; a state that is a number is the first rank's."""
        pieces: States = {}
        for flat, runs in self._groups():
            for kind, value in self._torch.state.get(flat, {}).items():
                for run in runs:
                    if value.shape != flat.shape:
                        if self._mesh.is_first:
                            pieces[f"{kind}/{run.name}"] = Piece(value.flatten(), 0, tuple(value.shape))
                    elif run.count:
                        pieces[f"{kind}/{run.name}"] = Piece(run.of(value), run.start, run.shape)
        return pieces

    @torch.no_grad()
    def load(self, saved: Saved) -> None:
        """Every rank reads its runs."""
        self._optimizer.empty_partition_cache()  # vectors stay whole between steps
        for flat, runs in self._groups():
            for run in runs:
                rows = partial(saved.rows, run.name)
                run.set_weight(flat, run_of(rows, run.shape, run.start, run.count))
                self._load_states(flat, run, saved)
        load_groups(self._torch, LossScale.without(saved.groups))

    def _load_states(self, flat: Tensor, run: Run, saved: Saved) -> None:
        states = self._torch.state[flat]
        for kind, shape in saved.kinds(run.name).items():
            if shape == run.shape:
                values = states.setdefault(kind, torch.zeros_like(flat))
                run.of(values).copy_(saved.run(kind, run.name, run.start, run.count))
            elif shape in ((), (1,)):
                states[kind] = saved.state(kind, run.name).to(flat.device)
            else:
                raise UserError(
                    f"the state {kind} of {run.name} has the shape {shape}, which DeepSpeed's ZeRO cannot cut",
                    "Set training.parallel.backend.name=torch.",
                )

    def _groups(self) -> Iterator[tuple[Tensor, list[Run]]]:
        """The flat tensor of each group, and the rank's runs in it in their order."""
        names = {parameter: name for name, parameter in self._task.named().items()}
        optimizer = self._optimizer
        for flat, parameters in zip(optimizer.fp32_partitioned_groups_flat, optimizer.fp16_groups, strict=True):
            runs = []
            for parameter in parameters:
                _, offset, length = optimizer.grad_position[optimizer.get_param_id(parameter)]
                start = min(self._mesh.rank * length, parameter.ds_numel)
                count = min(length, parameter.ds_numel - start)
                runs.append(Run(names[parameter], parameter, start, count, offset))
            yield flat, runs
