"""Stages 0 to 2: every rank holds all weights; optimizer states (stage 1) and gradients (stage 2) are split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from llm.config import TrainingConfig
from llm.errors import UserError
from llm.training.backend._optimizer import accumulate, optimizer_of
from llm.training.backend._protocol import StepResult
from llm.training.backend._scale import LossScale
from llm.training.backend._zero.engine import engine_config, import_deepspeed
from llm.training.checkpoint.pieces import Group, Piece, Saved, States
from llm.training.checkpoint.states import groups_of, load_groups, load_states, states_of
from llm.training.optimizer import set_lr
from llm.training.rank.mesh import Mesh
from llm.training.rank.task import Task

if TYPE_CHECKING:
    from llm.training.backend._protocol import Batch, MayUpdate
    from llm.training.backend.deepspeed import DeepSpeed


class Zero:
    """A DeepSpeed engine over the default process group."""

    def __init__(self, task: Task, mesh: Mesh, config: TrainingConfig, section: DeepSpeed) -> None:
        """Build the engine; the ranks start with equal weights, drawn from the same seed."""
        deepspeed = import_deepspeed()
        self._task, self._mesh = task, mesh
        vector = max(parameter.numel() for parameter in task.parameters() if parameter.dim() < 2)
        settings = engine_config(config, section, vector)
        optimizer = self._prepared(deepspeed, config, settings)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=task, optimizer=optimizer, config=settings, dist_init_required=False
        )
        self._shares = bool(self._engine.zero_optimization())
        self._torch: Optimizer = self._optimizer.optimizer if self._shares else self._optimizer
        """torch's own optimizer: over this rank's flat share of each group, or over the parameters."""
        self._begin(config)

    def _prepared(self, deepspeed: Any, config: TrainingConfig, settings: dict[str, Any]) -> Optimizer:
        """The optimizer over parameters with memory."""
        self._task.fill(config.seed)
        return optimizer_of(config, self._task.model)

    def _begin(self, config: TrainingConfig) -> None:
        """Give first values to parameters that have none yet."""

    def step(self, batches: Sequence[Batch], rate: float, may_update: MayUpdate | None = None) -> StepResult:
        """Stage 2 sends every micro-batch's gradients, the others the last one's."""
        assert may_update is None, "llm.config.checks refuses it: the engine clips and updates in one call"
        loss = accumulate(
            batches, self._engine, partial(self._engine.backward, scale_wrt_gas=False),
            self._engine.set_gradient_accumulation_boundary,
        )  # fmt: skip
        set_lr(self._optimizer, rate)
        norm = None if self._shares else self._gradient_norm()
        self._engine.step()
        return StepResult(loss, torch.as_tensor(self._engine.get_global_grad_norm() if norm is None else norm))

    def evaluate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Each rank for itself."""
        loss: Tensor = self._task(inputs_BT, targets_BT)
        return loss

    def weights(self, owners: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """Every rank has all of them."""
        return self._task.named()

    def states(self) -> States:
        """The rank's runs of each parameter; without ZeRO all ranks hold all states, and the first saves them."""
        if not self._shares:
            return states_of(self._torch, self._task.named()) if self._mesh.is_first else {}
        pieces: States = {}
        for name, parameter, flat in self._shared():
            whole, here = parameter._hp_mapping.lp_fragment_address, parameter._hp_mapping.hp_fragment_address
            for kind, value in self._torch.state.get(flat, {}).items():
                if value.shape == flat.shape:
                    run = value.narrow(0, here.start, here.numel)
                    pieces[f"{kind}/{name}"] = Piece(run, whole.start, tuple(parameter.shape))
                elif whole.start == 0:  # a count of steps, say: that of the rank with the first value
                    pieces[f"{kind}/{name}"] = Piece(value.flatten(), 0, tuple(value.shape))
        return pieces

    def groups(self) -> list[Group]:
        """The same on all ranks."""
        return groups_of(self._torch)

    def load(self, saved: Saved) -> None:
        """Weights go into the module and the rank's share of them, states into the flat shares."""
        with torch.no_grad():
            for name, parameter in self._task.named().items():
                parameter.copy_(saved.weight(name))
            if not self._shares:
                load_states(self._torch, self._task.named(), saved, LossScale.without(saved.groups))
                return
            for name, parameter, flat in self._shared():
                self._load_run(name, parameter, flat, saved)
        load_groups(self._torch, LossScale.without(saved.groups))

    def _load_run(self, name: str, parameter: Any, flat: Tensor, saved: Saved) -> None:
        """The rank's run of one parameter."""
        whole, here = parameter._hp_mapping.lp_fragment_address, parameter._hp_mapping.hp_fragment_address
        flat.narrow(0, here.start, here.numel).copy_(parameter.flatten().narrow(0, whole.start, whole.numel))
        states = self._torch.state[flat]
        for kind, shape in saved.kinds(name).items():
            if shape == tuple(parameter.shape):
                values = states.setdefault(kind, torch.zeros_like(flat))
                values.narrow(0, here.start, here.numel).copy_(saved.run(kind, name, whole.start, whole.numel))
            elif shape in ((), (1,)):
                states[kind] = saved.state(kind, name).to(flat.device)
            else:
                raise UserError(
                    f"the state {kind} of {name} has the shape {shape}, which DeepSpeed's ZeRO cannot cut",
                    "Set training.parallel.backend.name=torch.",
                )

    def _shared(self) -> Iterator[tuple[str, Any, Tensor]]:
        """Each parameter of which this rank has a run, with its name and the group's flat share."""
        names = {parameter: name for name, parameter in self._task.named().items()}
        groups = zip(self._optimizer.bit16_groups, self._optimizer.single_partition_of_fp32_groups, strict=True)
        for parameters, flat in groups:
            for parameter in parameters:
                if parameter._hp_mapping is not None:
                    yield names[parameter], parameter, flat

    def _gradient_norm(self) -> Tensor:
        """Norm of the averaged gradients, which the engine does not give without ZeRO."""
        gradients = [p.grad for p in self._engine.module.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)
