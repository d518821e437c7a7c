"""All callbacks of a training, in the order in which they are called after a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.training.built import built
from llm.training.callbacks._callback import Callback
from llm.training.callbacks._record import Record
from llm.training.callbacks._save import Save
from llm.training.guards.hang import Beats
from llm.training.guards.slow import SlowRanks

if TYPE_CHECKING:
    from llm.config.sections.training import CallbackConfig
    from llm.training.trainer import Trainer


def added(configs: tuple[CallbackConfig, ...]) -> list[Callback]:
    """Those that the configuration names; raises UserError if a section builds something else."""
    remedy = "Let it return a llm.training.callbacks.Callback, as docs/extend/callback.md shows."
    return [built(f"training.callbacks, {config.name}", config.build(), Callback, remedy) for config in configs]


def in_order(trainer: Trainer) -> list[Callback]:
    """Those that measure, then those that may end the training; a checkpoint holds the results of all before it."""
    slow = trainer.config.guards.slow_rank_factor
    guards = [trainer.spikes, None if slow is None else SlowRanks(slow)]
    found = [Record(), trainer.validate, *trainer.added, *guards, Save(), trainer.budget, Beats()]
    return [callback for callback in found if callback is not None]
