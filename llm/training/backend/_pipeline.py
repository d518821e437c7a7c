"""Pipeline parallelism: each rank has some layers, and micro-batches follow each other through them.

The first stage has the embedding, the last one the norm, the head and the loss. Schedules are torch's own
(`torch.distributed.pipelining`): 1F1B, and interleaved with several stages a rank. Inside a stage all is as without a
pipeline: FSDP2, tensor and context parallelism. Sources: Narayanan et al. 2019, SOSP (1F1B); Narayanan et al. 2021,
arXiv:2104.04473 (interleaved).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from llm.config import TrainingConfig
from llm.training.backend._fsdp import FullyShard, whole_tensor
from llm.training.backend._optimizer import clip_and_update
from llm.training.backend._protocol import StepResult
from llm.training.loss._linear import over_cut_vocabulary
from llm.training.rank.task import Task

if TYPE_CHECKING:
    from llm.training.backend._protocol import Batch, MayUpdate


class Stage(nn.Module):
    """Some layers of a task: ids or a stream in, a stream or the loss out."""

    def __init__(self, task: Task, layers: range) -> None:
        """The task keeps the parameters and their names; this is a view of a part of it."""
        super().__init__()
        self.numbers, model = layers, task.model
        self.layers = nn.ModuleList(model.model.layers[number] for number in layers)
        self.is_first, self.is_last = layers.start == 0, layers.stop == model.config.num_hidden_layers
        if self.is_first:
            self.embed_tokens = model.model.embed_tokens
        if self.is_last:
            self.norm, self.lm_head = model.model.norm, model.lm_head
        self._task = [task]
        """In a list, so that its modules are not this one's."""

    def forward(self, x: Tensor, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """The stream after these layers, [B, T, D]; of the last stage the loss, [1]."""
        (task,) = self._task
        mask, places, length = task.mask.mask(inputs_BT, task.end_of_text), task.positions_T, inputs_BT.shape[1]
        with task.device.autocast(task.precision):
            if self.is_first:
                x = task.model.embedded(inputs_BT if places is None else inputs_BT[:, places])
            queries = length if places is None else places
            x = task.model.through_layers(x, len(inputs_BT), queries, length, mask=mask, layers=self.numbers)
            if not self.is_last:
                return x
            targets_BT = task.mask.targets(targets_BT)
            targets_BT = targets_BT if places is None else targets_BT[:, places]
            return task.loss_of(task.model.model.norm(x), targets_BT).view(1)


class Pipelined(FullyShard):
    """Stages over the ranks; what a stage's ranks do together is FSDP2's."""

    def _shard(self, config: TrainingConfig, *, reshard: bool) -> None:
        """Drop the layers of other ranks, and shard those of each stage here."""
        task, mesh, kind = self._task, self._mesh, self._task.device.kind
        layers = task.model.config.num_hidden_layers
        self._names = list(task.named())
        self._shapes = {name: parameter.shape for name, parameter in task.named().items()}
        count = mesh.pipeline * config.parallel.stages_per_rank
        cuts = [round(layers * number / count) for number in range(count + 1)]
        self._ranges = [range(*pair) for pair in pairwise(cuts)]
        self._mine = range(mesh.stage, count, mesh.pipeline)
        stages = {number: Stage(task, self._ranges[number]) for number in self._mine}
        _drop_others(task, [stage.numbers for stage in stages.values()])
        shards = mesh.weights(kind)
        layers_here = [layer for stage in stages.values() for layer in stage.layers]
        self._units = [fully_shard(layer, mesh=shards, reshard_after_forward=reshard) for layer in layers_here]
        self._units += [fully_shard(stage, mesh=shards, reshard_after_forward=False) for stage in stages.values()]
        self._stages = stages
        self._group = mesh.grid(kind)["pipeline"].get_group()
        self._schedule = self._schedule_of(config)

    def _schedule_of(self, config: TrainingConfig) -> Any:
        batch, width = config.batch, self._task.model.config.hidden_size
        length = batch.sequence_length // (self._mesh.context * self._mesh.tensor)
        stream = torch.empty(batch.micro_batch_size, length, width, device=self._task.device.kind, requires_grad=True)
        ids = torch.zeros(batch.micro_batch_size, batch.sequence_length, dtype=torch.int64, device=stream.device)
        count = len(self._ranges)
        loss_1 = torch.empty_like(stream[0, 0, :1])
        made = [
            PipelineStage(
                stage, number, count, stream.device, group=self._group,
                input_args=ids if stage.is_first else stream, output_args=loss_1 if stage.is_last else stream,
            )
            for number, stage in self._stages.items()
        ]  # fmt: skip
        sequences = batch.tokens // batch.sequence_length // self._mesh.shares
        self._micro_batches = sequences // batch.micro_batch_size
        loss: Any = lambda output, target: output.sum()  # noqa: E731 - the last stage has computed it
        if len(made) == 1:
            return Schedule1F1B(made[0], self._micro_batches, loss, scale_grads=False)
        return ScheduleInterleaved1F1B(made, self._micro_batches, loss, scale_grads=False)  # type: ignore[arg-type]

    def step(self, batches: Sequence[Batch], rate: float, may_update: MayUpdate | None = None) -> StepResult:
        """All micro-batches go through the schedule; the loss is the last stage's."""
        inputs_BT, targets_BT = (torch.cat(parts) for parts in zip(*batches, strict=True))
        losses: list[Tensor] = []
        arguments = (inputs_BT,) if 0 in self._stages else ()
        target = targets_BT if len(self._ranges) - 1 in self._stages else None
        with over_cut_vocabulary():  # where the vocabulary is cut, the backward pass has rules of its own
            self._schedule.step(
                *arguments, target=target, losses=losses, return_outputs=False, inputs_BT=inputs_BT,
                targets_BT=targets_BT,
            )  # fmt: skip
        parameters = list(self._task.parameters())
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(self._micro_batches)
        loss = torch.stack(losses).double().mean() if losses else torch.zeros((), dtype=torch.float64)
        return clip_and_update(
            self._optimizer, parameters, self._max_grad_norm, rate, self._scale, loss * self._mesh.pipeline, may_update,
            self._norm_of_all,
        )  # fmt: skip

    def evaluate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """One stage after the other; the last one tells its loss to all."""
        x: Tensor = inputs_BT
        ranks = dist.get_process_group_ranks(self._group)
        for number in range(len(self._ranges)):
            owner, here = number % self._mesh.pipeline, number in self._stages
            if here:
                if number and ranks[(number - 1) % self._mesh.pipeline] != self._mesh.rank:
                    x = self._stream(inputs_BT)
                    dist.recv(x, ranks[(number - 1) % self._mesh.pipeline], self._group)
                x = self._stages[number](x, inputs_BT, targets_BT)
                after = ranks[(owner + 1) % self._mesh.pipeline]
                if number + 1 < len(self._ranges) and after != self._mesh.rank:
                    dist.send(x.contiguous(), after, self._group)
        loss = x.detach().view(1).clone() if len(self._ranges) - 1 in self._stages else torch.zeros(1)
        loss = loss.to(inputs_BT.device)
        self._reshard()
        dist.broadcast(loss, ranks[(len(self._ranges) - 1) % self._mesh.pipeline], self._group)
        return loss[0]

    def weights(self, owners: Mapping[str, int] | None = None) -> Mapping[str, Tensor]:
        """Each stage's are gathered one by one, and its first rank sends them to an owner in another stage."""
        kept: dict[str, Tensor] = {}
        own, a_stage = self._task.named(), self._mesh.ranks // self._mesh.pipeline
        for name in self._names:
            source, owner = self._stage_of(name) * a_stage, (owners or {}).get(name, 0)
            tensor = whole_tensor(own[name]) if name in own else None
            if tensor is not None and self._mesh.rank == source and owner // a_stage != source // a_stage:
                dist.send(tensor.contiguous(), owner)
            if self._mesh.rank == owner:
                if tensor is None:
                    tensor = torch.empty(self._shapes[name], device=self._task.device.kind)
                    dist.recv(tensor, source)
                kept[name] = tensor.cpu()
        return kept

    def _stage_of(self, name: str) -> int:
        """The place along the pipeline of the ranks that have a parameter."""
        if name.startswith("model.layers."):
            number = int(name.split(".")[2])
            stage = next(place for place, numbers in enumerate(self._ranges) if number in numbers)
        else:
            stage = 0 if "embed_tokens" in name else len(self._ranges) - 1
        return stage % self._mesh.pipeline

    def _norm_of_all(self, norm: Tensor) -> Tensor:
        """The norm over all stages, from this one's."""
        square = norm.detach().square()
        dist.all_reduce(square, group=self._group)
        return square.sqrt()

    def _stream(self, inputs_BT: Tensor) -> Tensor:
        length = inputs_BT.shape[1] // (self._mesh.context * self._mesh.tensor)
        width = self._task.model.config.hidden_size
        return torch.empty(len(inputs_BT), length, width, device=inputs_BT.device)


def _drop_others(task: Task, kept: Sequence[range]) -> None:
    """Leave the parameters of these layers, and of what belongs to the first and last of them; names stay."""
    model = task.model
    for number in range(len(model.model.layers)):
        if not any(number in numbers for numbers in kept):
            model.model.layers[number] = nn.Identity()
    if not any(0 in numbers for numbers in kept):
        model.model.embed_tokens = nn.Identity()  # type: ignore[assignment]
    if not any(numbers.stop == len(model.model.layers) for numbers in kept):
        model.model.norm, model.lm_head = nn.Identity(), None
