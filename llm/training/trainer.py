"""The training loop of one rank.

Everything that decides the result follows from the plan and the number of the step (the batch, the learning rate)
or is in the checkpoint (weights, optimizer state), so a training that goes on from a checkpoint is the same
training, bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import statistics
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from llm.data.loader import Loader
from llm.data.shards import TokenShards
from llm.errors import Preempted, UserError
from llm.model import Decoder, count_parameters, flops_per_token, initialise
from llm.runs.events import EventLog
from llm.training.backend import Backend
from llm.training.checkpoint.find import HISTORY, Checkpoint, TrainingState, newest_checkpoint, refuse_other_run
from llm.training.checkpoint.write import read_rank_state, save_checkpoint
from llm.training.meters import Speedometer, measure_peak_flops, memory_bytes
from llm.training.plan import TrainingPlan

VALIDATION_SEQUENCES = 64
WARM_UP_STEPS = 2
MEASURE_STEPS = 3
MEASURE_FRACTION = 0.01


class Trainer:
    """One rank of a training; all ranks run the same code at the same time."""

    def __init__(self, plan: TrainingPlan, folder: Path) -> None:
        self.plan, self.scratch, self.config = plan, folder, plan.training
        self.vault = plan.objects
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.log = EventLog(plan.events)
        self.history: list[dict[str, Any]] = []
        self.memory_bytes = 0.0
        """Peak resident memory of all ranks."""
        self._stop_requested = False
        if self.config.compute.precision == "bf16":
            torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
        shards = TokenShards.open(plan.shards)
        sequences = self.config.batch.tokens // self.config.batch.sequence_length
        self.loader = Loader(shards.tokens("train"), self.config.batch.sequence_length, sequences, self.config.seed)
        self.fingerprint = shards.fingerprint
        self.validation = self._validation_batches(shards)
        model = Decoder(plan.model, plan.vocab_size)
        initialise(model, self.config.seed)
        self.model = model
        self.backend: Backend = self.config.parallel.backend.build()
        self.wrapped = self.backend.wrap(model, self.config)

    def train(self, steps: int) -> None:
        """Go from the newest checkpoint, or the beginning, to the last step; a checkpoint stands at the end.

        Raises Preempted after a checkpoint when a stop was asked for, UserError when the loss is no number or the
        disk is full.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)
        start = self._resume()
        speed = self._announce(steps, start)
        for step in range(start, steps):
            stop = self.advance(step, steps, speed)
            done = step + 1
            if done % self.config.validation.every_steps == 0 or done == steps:
                self._validate(done)
            if done % self.config.checkpoints.every_steps == 0 or done == steps or stop:
                self._save(done)
            if stop and done < steps:
                raise Preempted(f"stopped on request at step {done} of {steps}", "Run the same command to go on.")

    def measure(self) -> int:
        """Fix how many steps fit into `minutes`, by the speed of some that do not count; equal on all ranks.

        The median over MEASURE_FRACTION of the time, and at least MEASURE_STEPS, so that a moment's load does not
        halve the training. Looks at the validation split take part in the time. The trainer is of no use afterwards.
        """
        assert self.config.length.minutes is not None
        seconds = self.config.length.minutes * 60
        times = [self._timed(step) for step in range(WARM_UP_STEPS + MEASURE_STEPS)][WARM_UP_STEPS:]
        more = int(MEASURE_FRACTION * seconds / self._slowest(statistics.median(times)))
        times += [self._timed(WARM_UP_STEPS + step) for step in range(MEASURE_STEPS, more)]
        looked = time.perf_counter()
        self._validation_loss()
        look_seconds = (time.perf_counter() - looked) / self.config.validation.every_steps
        fitting = max(1, int(seconds / self._slowest(statistics.median(times) + look_seconds)))
        if self.rank == 0:
            self.plan.fix_steps(fitting)
        dist.barrier()
        return fitting

    def _timed(self, step: int) -> float:
        started = time.perf_counter()
        self._step(step, 10_000)
        return time.perf_counter() - started

    def _slowest(self, seconds: float) -> float:
        """The longest of all ranks' times."""
        longest = torch.tensor([seconds], dtype=torch.float64)
        dist.all_reduce(longest, op=dist.ReduceOp.MAX)
        return float(longest)

    def advance(self, step: int, steps: int, speed: Speedometer) -> bool:
        """Do one optimizer step and record it; returns whether any rank was asked to stop."""
        loss, norm, stop = self._step(step, steps)
        speed.step()
        if self.rank == 0:
            self._record(step + 1, steps, loss, norm, speed)
        return stop

    def _step(self, step: int, steps: int) -> tuple[float, float, bool]:
        """One optimizer step; returns the mean loss, the gradient norm, and whether any rank was asked to stop."""
        inputs, targets = self.loader.batch(step, self.rank, self.world)
        starts = range(0, len(inputs), self.config.batch.micro_batch_size)
        total = 0.0
        for start in starts:
            part = slice(start, start + self.config.batch.micro_batch_size)
            self.backend.begin(last=start == starts[-1])
            loss = self._loss(torch.from_numpy(inputs[part]), torch.from_numpy(targets[part])) / len(starts)
            self.backend.backward(loss)
            total += loss.item()
        shared = torch.tensor([total / self.world, self._stop_requested, memory_bytes()], dtype=torch.float64)
        dist.all_reduce(shared)
        mean_loss, stop, self.memory_bytes = shared.tolist()
        self._refuse_divergence("loss", mean_loss, step)
        norm = self.backend.clip_and_step(self._lr(step, steps))
        self._refuse_divergence("gradient norm", norm, step)
        return mean_loss, norm, stop > 0

    def _lr(self, step: int, steps: int) -> float:
        return self.config.schedule.rate(self.config.optimizer.lr, step, steps)

    def _refuse_divergence(self, what: str, value: float, step: int) -> None:
        """All ranks see the same value, so all stop; nothing of this step is saved."""
        if not math.isfinite(value):
            raise UserError(
                f"the {what} is {value} at step {step + 1}: the training diverged",
                f"The last checkpoint is from before it. Lower training.optimizer.lr (now {self.config.optimizer.lr:g})"
                " or training.optimizer.max_grad_norm, and run again.",
            )

    def _loss(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        logits_BTV = self.wrapped(inputs_BT)
        return cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())

    def _validate(self, step: int) -> None:
        loss = self._validation_loss()
        if self.rank == 0 and loss is not None:
            self.log.emit("train_validation", step=step, loss=loss)
            self.history.append({"step": step, "validation_loss": loss})

    def _validation_loss(self) -> float | None:
        """Mean loss on the same windows of the validation split every time, shared over the ranks."""
        totals = torch.zeros(2, dtype=torch.float64)
        with torch.no_grad():
            for inputs, targets in self.validation:
                logits_BTV = self.model(inputs)
                loss = cross_entropy(logits_BTV.flatten(0, 1), targets.flatten(), reduction="sum")
                totals += torch.tensor([loss, targets.numel()])
        dist.all_reduce(totals)
        return float(totals[0] / totals[1]) if totals[1] > 0 else None

    def _validation_batches(self, shards: TokenShards) -> list[tuple[Tensor, Tensor]]:
        length = self.config.batch.sequence_length
        first = shards.tokens("validation")[: VALIDATION_SEQUENCES * length + 1]
        tokens = torch.from_numpy(first.astype("int64"))
        windows = (len(tokens) - 1) // length
        inputs = tokens[: windows * length].view(windows, length)[self.rank :: self.world]
        targets = tokens[1 : windows * length + 1].view(windows, length)[self.rank :: self.world]
        size = self.config.batch.micro_batch_size
        parts = [slice(start, start + size) for start in range(0, len(inputs), size)]
        return [(inputs[part], targets[part]) for part in parts]

    def _resume(self) -> int:
        """Take up the newest whole checkpoint; returns the next step. Rank 0 chooses, so that all agree."""
        choice: list[Any] = [None, None]
        if self.rank == 0:
            newest, damaged = newest_checkpoint(self.vault)
            for line in damaged:
                self.log.emit("warning", message=line)
            if newest is not None:
                choice = [newest.name, newest.files]
        dist.broadcast_object_list(choice)
        if choice[0] is None:
            return 0
        checkpoint = Checkpoint(choice[0], choice[1], self.vault.below(choice[0]))
        state = checkpoint.state()
        refuse_other_run(state, self._state(state.step), checkpoint.name)
        into = self.scratch / ".fetched"
        if os.environ.get("LOCAL_RANK", "0") == "0":
            checkpoint.fetch("model.safetensors", into)  # once a node; the others find it there
        dist.barrier()
        self.model.load_state_dict(load_file(checkpoint.fetch("model.safetensors", into)))
        own = checkpoint.rank_file(self.rank)
        self.backend.load_state_dict(read_rank_state(checkpoint.fetch(own, into)))
        if self.rank == 0:
            lines = checkpoint.fetch(HISTORY, into).read_text().splitlines()
            self.history = [json.loads(line) for line in lines]
            self.log.emit("train_resumed", step=state.step, checkpoint=checkpoint.name)
        dist.barrier()
        shutil.rmtree(into, ignore_errors=True)
        return state.step

    def _save(self, step: int) -> None:
        started = time.perf_counter()
        save_checkpoint(
            self.vault, self.scratch, self._state(step), self.model, self.plan.end_of_text, self.backend.state_dict(),
            self.history, self.config.checkpoints.keep,
        )  # fmt: skip
        if self.rank == 0:
            self.log.emit("checkpoint_saved", step=step, seconds=round(time.perf_counter() - started, 3))

    def _state(self, step: int) -> TrainingState:
        return TrainingState(
            step=step,
            tokens=step * self.config.batch.tokens,
            world_size=self.world,
            backend=self.config.parallel.backend.name,
            seed=self.config.seed,
            data_fingerprint=self.fingerprint,
        )

    def _announce(self, steps: int, start: int) -> Speedometer:
        peak = torch.tensor([measure_peak_flops()], dtype=torch.float64)
        dist.all_reduce(peak)
        flops = flops_per_token(self.plan.model, self.plan.vocab_size, self.config.batch.sequence_length)
        if self.rank == 0:
            self.log.emit(
                "train_plan", steps=steps, start=start, tokens_per_step=self.config.batch.tokens,
                parameters=count_parameters(self.plan.model, self.plan.vocab_size), world_size=self.world,
                backend=self.config.parallel.backend.name, peak_flops=float(peak), flops_per_token=flops,
            )  # fmt: skip
        return Speedometer(self.config.batch.tokens, flops, float(peak))

    def _record(self, step: int, steps: int, loss: float, norm: float, speed: Speedometer) -> None:
        lr = self._lr(step - 1, steps)
        tokens = step * self.config.batch.tokens
        self.history.append({"step": step, "tokens": tokens, "loss": loss, "lr": lr, "grad_norm": norm})
        self.log.emit(
            "train_step", step=step, steps=steps, tokens=tokens, loss=loss, lr=lr, grad_norm=norm,
            tokens_per_second=round(speed.tokens_per_second, 1), mfu=round(speed.mfu, 4),
            memory_bytes=int(self.memory_bytes), seconds_left=round((steps - step) * speed.step_seconds, 1),
        )  # fmt: skip

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_requested = True
