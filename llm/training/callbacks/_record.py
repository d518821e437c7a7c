"""Every step goes into the history and, with the speed, into the run's events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from llm.model import count_parameters, flops_per_token
from llm.runs.event_kinds import TrainPlan, TrainStep
from llm.training.callbacks._callback import Callback, StepDone
from llm.training.meters import Speedometer, measure_peak_flops

if TYPE_CHECKING:
    from llm.training.trainer import Trainer


class Record(Callback):
    """The history is what a resume continues; the events are what people see. Rank 0 writes both."""

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """Measure the machine's peak, and announce the training."""
        plan, config = trainer.plan, trainer.config
        peak = torch.tensor([measure_peak_flops()], dtype=torch.float64)
        dist.all_reduce(peak)
        flops = flops_per_token(plan.model, plan.vocab_size, config.batch.sequence_length)
        if trainer.rank == 0:
            trainer.log.emit(TrainPlan(
                steps=steps, start=first, tokens_per_step=config.batch.tokens,
                parameters=count_parameters(plan.model, plan.vocab_size), world_size=trainer.world,
                backend=config.parallel.backend.name, peak_flops=float(peak), flops_per_token=flops,
            ))  # fmt: skip
        self._speed = Speedometer(config.batch.tokens, flops, float(peak))

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Record loss, rate and norm; speed, memory and the time that is left are events alone."""
        speed = self._speed
        speed.step()
        if trainer.rank:
            return
        tokens = done.number * trainer.config.batch.tokens
        trainer.history.append(
            {"step": done.number, "tokens": tokens, "loss": done.loss, "lr": done.lr, "grad_norm": done.grad_norm}
        )
        trainer.log.emit(TrainStep(
            step=done.number, steps=done.steps, tokens=tokens, loss=done.loss, lr=done.lr,
            grad_norm=done.grad_norm, tokens_per_second=round(speed.tokens_per_second, 1), mfu=round(speed.mfu, 4),
            memory_bytes=done.memory_bytes,
            seconds_left=round((done.steps - done.number) * speed.step_seconds, 1),
        ))  # fmt: skip
