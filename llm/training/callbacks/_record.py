"""Every step goes into the history and, with the speed, into the run's events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llm.model import count_parameters, flops_per_token
from llm.runs.event_kinds import TrainPlan, TrainStep
from llm.training.callbacks._callback import Callback, StepDone
from llm.training.rank.meters import Speedometer

if TYPE_CHECKING:
    from llm.training.checkpoint.pieces import Group
    from llm.training.trainer import Trainer


class Record(Callback):
    """The history is what a resume continues; the events are what people see. Rank 0 writes both."""

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """Measure the machine's peak, and announce the training."""
        plan, config = trainer.plan, trainer.config
        (peak,) = trainer.mesh.sums(trainer.device.peak_flops())
        flops = flops_per_token(plan.model, plan.vocab_size, config.batch.sequence_length)
        if trainer.mesh.is_first:
            trainer.log.emit(TrainPlan(
                steps=steps, start=first, tokens_per_step=config.batch.tokens,
                parameters=count_parameters(plan.model, plan.vocab_size), world_size=trainer.mesh.ranks,
                backend=config.parallel.backend.name, peak_flops=peak, flops_per_token=flops,
            ))  # fmt: skip
        self._speed = Speedometer(flops, peak)

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """It writes numbers alone."""
        return False

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Record loss, rate and norm; speed, memory and the time that is left are events alone."""
        speed, before = self._speed, trainer.config.batch.tokens_before
        tokens = before(done.number)
        speed.step(tokens - before(done.number - 1))
        if not trainer.mesh.is_first:
            return
        norm = done.grad_norm if math.isfinite(done.grad_norm) else None  # too large for fp16
        line = {"step": done.number, "tokens": tokens, "loss": done.loss, "lr": done.lr, "grad_norm": norm}
        trainer.history.append(line | ({"skipped": True} if done.skipped else {}))
        trainer.log.emit(TrainStep(
            step=done.number, steps=done.steps, tokens=tokens, loss=done.loss, lr=done.lr,
            grad_norm=norm, skipped=done.skipped or None, tokens_per_second=round(speed.tokens_per_second, 1),
            mfu=round(speed.mfu, 4), memory_bytes=done.memory_bytes,
            seconds_left=round((before(done.steps) - tokens) / speed.tokens_per_second, 1),
            data_seconds=round(trainer.data_wait.take(), 4),
            checkpoint_seconds=round(trainer.checkpoint_wait.take(), 4) or None, **_of_groups(done.groups),
            device_seconds=round(done.device_seconds, 1), cost=trainer.config.budget.cost(done.device_seconds),
        ))  # fmt: skip


def _of_groups(groups: Sequence[Group]) -> dict[str, Any]:
    """The rates where they differ, and the loss scale where there is one."""
    rates = [float(group["lr"]) for group in groups if "lr" in group]
    scale = next((float(group["loss_scale"]) for group in groups if "loss_scale" in group), None)
    return {"rates": rates if len(set(rates)) > 1 else None, "loss_scale": scale}
