"""One rank of a rehearsal: `python -m llm.training.rehearsal.rank RANK`, the plan in JSON on stdin.

It builds the backend as a worker does, in a fake process group of all ranks, gives the parameters fake memory, and does
two steps. What it prints is JSON: the memory by kind at its highest, and the bytes sent by axis in a step.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.pipelining._utils import InferenceMode

from llm.config import ModelConfig, TrainingConfig
from llm.model.decoder import Part, all_rows
from llm.training.rank.device import HALF, Device
from llm.training.rank.mesh import Mesh
from llm.training.rank.task import Task
from llm.training.rehearsal.memory import Memory, states_of
from llm.training.rehearsal.rehearse import Rehearsed
from llm.training.rehearsal.traffic import Traffic, axes_of


class FakeDevice(Device):
    """A processor without memory, that computes in the precision a GPU would."""

    def autocast(self, precision: str) -> AbstractContextManager[object]:
        """In bf16 too: a CPU would do it by a switch."""
        return torch.autocast(self.kind, HALF[precision]) if precision in HALF else nullcontext()


class FakeTask(Task):
    """Its parameters are given fake memory and no values."""

    fake: FakeTensorMode

    def fill(self, seed: int, part: Part = all_rows) -> None:
        """Sizes alone."""
        with self.fake:
            self.to_empty(device=self.device.kind)
            self.model.make_tables()


def rehearse(model: ModelConfig, training: TrainingConfig, vocab_size: int, rank: int) -> Rehearsed:
    """Do the step of a rank of a training; raises what the GPUs would meet."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    began = time.perf_counter()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=training.parallel.world_size)
    mesh, kind = Mesh.here(training.parallel), Device.kind
    traffic, memory = Traffic(axes_of(mesh.axes(kind))), Memory()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    task = FakeTask(model, vocab_size, 0, training, FakeDevice())
    task.fake = fake
    backend: Any = training.parallel.backend.build(task, mesh, training)
    _vote_for_static_shapes(getattr(backend, "_schedule", None))
    backend._scale.overflowed = lambda norm: False  # fp16: a norm without a value cannot be judged
    weights = memory.watch(task.parameters())
    with fake:
        batches = list(_batches(training, mesh))
        with memory:
            backend.step(batches, 1e-4)  # makes the states
            states = _bytes(states_of(backend._optimizer))
            gradients = _bytes([one.grad for one in task.parameters() if one.grad is not None])
            memory.peak = memory.live
            with traffic:
                backend.step(batches, 1e-4)
    known = weights + states + gradients
    return Rehearsed(
        rank, sum(_local(one).numel() for one in task.parameters()), weights, gradients, states,
        max(0, memory.peak - known), memory.peak, dict(traffic.sent), dict(traffic.collectives),
        round(time.perf_counter() - began, 1),
    )  # fmt: skip


def _vote_for_static_shapes(schedule: Any) -> None:
    """The stages of a pipeline agree on this by numbers that they send, and a fake group sends none."""
    if schedule is not None:

        def warm_up(stages: Any, *others: Any) -> None:
            for stage in stages:
                stage._inference_mode = InferenceMode.STATIC

        schedule._warmup_p2p = warm_up


def _batches(training: TrainingConfig, mesh: Mesh) -> Any:
    batch = training.batch
    share = batch.tokens // batch.sequence_length // mesh.shares
    for _ in range(share // batch.micro_batch_size):
        ids = torch.zeros(batch.micro_batch_size, batch.sequence_length, dtype=torch.int64)
        yield ids, ids.clone()


def _local(tensor: Tensor) -> Tensor:
    local: Tensor = getattr(tensor, "_local_tensor", tensor)
    return local


def _bytes(tensors: list[Tensor]) -> int:
    return sum(_local(tensor).numel() * tensor.element_size() for tensor in tensors)


def main(rank: int) -> None:
    """Read the plan from stdin, and print what was found."""
    warnings.simplefilter("ignore")
    document = json.loads(sys.stdin.read())
    found = rehearse(
        ModelConfig.model_validate(document["model"]), TrainingConfig.model_validate(document["training"]),
        document["vocab_size"], rank,
    )  # fmt: skip
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
