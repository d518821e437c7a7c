"""The training loop of one rank.

Everything that decides the result follows from the plan and the number of the step (the batch, the learning rate)
or is in the checkpoint (weights, optimizer state, the state of callbacks), so a training that continues from a
checkpoint is the same training, bit for bit. Callbacks do all that happens after a step.
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from llm.config.sections.training import CallbackConfig
from llm.data.shards import TokenShards
from llm.data.shards.loader import Loader
from llm.errors import Preempted, UserError
from llm.model import Decoder, initialise
from llm.process.signals import while_signals
from llm.runs.event_kinds import Warned
from llm.runs.events import EventLog
from llm.training.backend import Backend
from llm.training.built import built
from llm.training.callbacks import Callback, StepDone
from llm.training.callbacks._record import Record
from llm.training.callbacks._save import Save
from llm.training.callbacks._validate import Validate
from llm.training.checkpoint.find import TrainingState
from llm.training.meters import memory_bytes
from llm.training.plan import TrainingPlan
from llm.training.resume import resume
from llm.training.schedule import learning_rate

WARM_UP_STEPS = 2
MEASURE_STEPS = 3
MEASURE_FRACTION = 0.01
NO_BF16 = "training.compute.precision=bf16 has no effect: this processor has no arithmetic for it, so it is fp32"


class Trainer:
    """One rank of a training; all ranks run the same code at the same time."""

    def __init__(self, plan: TrainingPlan, folder: Path) -> None:
        self.plan, self.scratch, self.config = plan, folder, plan.training
        self.workspace = plan.objects
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.log = EventLog(plan.events)
        self.history: list[dict[str, Any]] = []
        """Rank 0's: a line for each step and each validation, which a checkpoint holds."""
        self._stop_requested = False
        batch = self.config.batch
        if self.config.compute.precision == "bf16":
            torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
        shards = TokenShards.open(plan.shards)
        sequences = batch.tokens // batch.sequence_length
        self.loader = Loader(shards.tokens("train"), batch.sequence_length, sequences, self.config.seed)
        self.fingerprint = shards.fingerprint
        self.model = Decoder(plan.model, plan.vocab_size)
        initialise(self.model, self.config.seed)
        self.backend: Backend = self.config.parallel.backend.build()
        self._wrapped = self.backend.wrap(self.model, self.config)
        self.validate = Validate(self, shards)
        self.added: list[Callback] = [_callback(callback) for callback in self.config.callbacks]
        """The callbacks that the configuration names."""
        self.callbacks: list[Callback] = [Record(), self.validate, *self.added, Save()]

    def train(self, steps: int) -> None:
        """Go from the newest checkpoint, or the beginning, to the last step; a checkpoint is there at the end.

        Raises Preempted after a checkpoint when a stop was asked for, UserError when the loss is no number or the
        disk is full.
        """
        if self.rank == 0 and self.config.compute.precision == "bf16" and not computes_bf16():
            self.log.emit(Warned(message=NO_BF16))
        with while_signals(self.request_stop):
            first = resume(self)
            if first > steps:
                raise UserError(
                    f"the training is at step {first}, and shall have {steps} steps",
                    f"Set training.length.steps to {first} or more, or training.on_change=anew.",
                )
            for callback in self.callbacks:
                callback.started(self, first, steps)
            for number in range(first, steps):
                done = self.step(number, steps)
                for callback in self.callbacks:
                    callback.step_ended(self, done)
                if done.stop_requested and not done.is_last:
                    raise Preempted(
                        f"stopped on request at step {done.number} of {steps}", "Run the same command to go on."
                    )

    def step(self, number: int, steps: int) -> StepDone:
        """Do the optimizer step of this number (from 0); raises UserError on all ranks when it diverges."""
        inputs, targets = self.loader.batch(number, self.rank, self.world)
        size = self.config.batch.micro_batch_size
        starts = range(0, len(inputs), size)
        total = 0.0
        for start in starts:
            part = slice(start, start + size)
            self.backend.begin(last=start == starts[-1])
            loss = self._loss(torch.from_numpy(inputs[part]), torch.from_numpy(targets[part])) / len(starts)
            self.backend.backward(loss)
            total += loss.item()
        shared = torch.tensor([total / self.world, self._stop_requested, memory_bytes()], dtype=torch.float64)
        dist.all_reduce(shared)
        mean_loss, stop, memory = shared.tolist()
        self._refuse_divergence("loss", mean_loss, number)
        lr = learning_rate(self.config.schedule, self.config.optimizer.lr, number, steps)
        norm = self.backend.clip_and_step(lr)
        self._refuse_divergence("gradient norm", norm, number)
        return StepDone(number + 1, steps, mean_loss, norm, lr, int(memory), stop > 0)

    def measure(self) -> int:
        """Fix how many steps fit into `minutes`, by the speed of some that do not count; equal on all ranks.

        The median over MEASURE_FRACTION of the time, and at least MEASURE_STEPS, so that a moment's load does not
        halve the training. The validation takes its part of the time. The trainer is of no use afterwards.
        """
        assert self.config.length.minutes is not None
        seconds = self.config.length.minutes * 60
        times = [self._timed(step) for step in range(WARM_UP_STEPS + MEASURE_STEPS)][WARM_UP_STEPS:]
        more = int(MEASURE_FRACTION * seconds / self._slowest(statistics.median(times)))
        times += [self._timed(WARM_UP_STEPS + step) for step in range(MEASURE_STEPS, more)]
        began = time.perf_counter()
        self.validate.loss(self)
        validation_seconds = (time.perf_counter() - began) / self.config.validation.every_steps
        fitting = max(1, int(seconds / self._slowest(statistics.median(times) + validation_seconds)))
        if self.rank == 0:
            self.plan.fix_steps(fitting)
        dist.barrier()
        return fitting

    def training_state(self, step: int) -> TrainingState:
        """The state that a checkpoint after this many steps must hold."""
        return TrainingState(
            step=step,
            tokens=step * self.config.batch.tokens,
            world_size=self.world,
            backend=self.config.parallel.backend.name,
            seed=self.config.seed,
            data_fingerprint=self.fingerprint,
        )

    def request_stop(self, number: int) -> None:
        """Leave after the step that runs, with a checkpoint."""
        self._stop_requested = True

    def _timed(self, step: int) -> float:
        started = time.perf_counter()
        self.step(step, 10_000)
        return time.perf_counter() - started

    def _slowest(self, seconds: float) -> float:
        """The longest of all ranks' times."""
        longest = torch.tensor([seconds], dtype=torch.float64)
        dist.all_reduce(longest, op=dist.ReduceOp.MAX)
        return float(longest)

    def _refuse_divergence(self, what: str, value: float, step: int) -> None:
        """All ranks see the same value, so all stop; nothing of this step is saved."""
        if not math.isfinite(value):
            raise UserError(
                f"the {what} is {value} at step {step + 1}: the training diverged",
                f"The last checkpoint is from before it. Lower training.optimizer.lr (now {self.config.optimizer.lr:g})"
                " or training.optimizer.max_grad_norm, and run again.",
            )

    def _loss(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        logits_BTV = self._wrapped(inputs_BT)
        return cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())


def computes_bf16() -> bool:
    """Whether a matrix product here is done in bf16 where it is asked for (torch: a processor with AVX-512)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _callback(config: CallbackConfig) -> Callback:
    """The callback of a section; raises UserError if it builds something else."""
    remedy = "Let it return a llm.training.callbacks.Callback, as docs/extend/callback.md shows."
    return built(f"training.callbacks, {config.name}", config.build(), Callback, remedy)
