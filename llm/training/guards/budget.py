"""The time that a training takes of its devices, over all its attempts, and the cap at which it ends.

    <workspace>/spent.json    {"device_seconds": 5400.0}: written with each save, and when the training is left

A device is the processor that a rank computes on. An attempt counts from the start of the first rank's process, times
the ranks; time in a queue does not count. A first rank that is killed (SIGKILL) loses its time since the last save.
"""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from llm.errors import GristmillError, UserError
from llm.runs.event_kinds import BudgetSpent
from llm.training.callbacks import Callback, StepDone
from llm.words import hours, money

if TYPE_CHECKING:
    from llm.config.sections.training.guards import BudgetConfig
    from llm.storage import Objects
    from llm.training.trainer import Trainer

SPENT = "spent.json"


def device_seconds(workspace: Objects) -> float:
    """The time of all attempts, as the last save says; 0 if nothing says it."""
    try:
        found = float(json.loads(workspace.read(SPENT) or b"{}")["device_seconds"])
    except (ValueError, TypeError, KeyError):
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0


def in_words(seconds: float, budget: BudgetConfig) -> str:
    """`2.1 device-hours`, and with a price `2.1 device-hours, which cost 8.40`."""
    cost = budget.cost(seconds)
    return f"{hours(seconds)} device-hours" + ("" if cost is None else f", which cost {money(cost)}")


class Budget(Callback):
    """The time of one training, which all ranks know alike."""

    def __init__(self, config: BudgetConfig, ranks: int, began: float | None = None) -> None:
        """`began`: when the process of this rank did, by `time.monotonic`; None: now."""
        self.config, self._ranks = config, ranks
        self._began = time.monotonic() if began is None else began
        self.before = 0.0
        """Device-seconds of the attempts before."""

    def own_seconds(self) -> float:
        """Time of this rank."""
        return time.monotonic() - self._began

    def total(self, seconds: float) -> float:
        """Device-seconds of all attempts, if the first rank has worked for so long."""
        return self.before + seconds * self._ranks

    def keep(self, workspace: Objects) -> None:
        """Write down what was spent until now; the first rank does.

        Where that fails, the checkpoint or what ends the training has more to say, and on all ranks.
        """
        document = {"device_seconds": round(self.total(self.own_seconds()), 3)}
        with suppress(GristmillError, OSError):
            workspace.write(SPENT, json.dumps(document).encode())

    def started(self, trainer: Trainer, first: int, steps: int) -> None:
        """Learn what the attempts before took; raises UserError if nothing is left."""
        self.before = trainer.mesh.agreed(lambda: device_seconds(trainer.workspace))
        if first < steps:
            self._refuse_if_spent(trainer, first, self.before)

    def needs_state(self, trainer: Trainer, done: int) -> bool:
        """It looks at the time alone."""
        return False

    def step_ended(self, trainer: Trainer, done: StepDone) -> None:
        """Raise UserError, on all ranks, if the step took the last of it; a checkpoint is there."""
        if done.stop_requested and not done.is_last:
            self._refuse_if_spent(trainer, done.number, done.device_seconds)

    def left(self, trainer: Trainer) -> None:
        """Write down what was spent."""
        if trainer.mesh.is_first:
            self.keep(trainer.workspace)

    def _refuse_if_spent(self, trainer: Trainer, step: int, seconds: float) -> None:
        """Raise UserError, with what to set, if so many device-seconds are as much as the training may take."""
        caps = self.config.reached(seconds)
        if not caps:
            return
        if trainer.mesh.is_first:
            cost = self.config.cost(seconds)
            trainer.log.emit(BudgetSpent(step=step, device_seconds=round(seconds, 1), cost=cost, caps=caps))
        raise UserError(
            f"the training has taken {in_words(seconds, self.config)}, and is at step {step:,}: {' and '.join(caps)}",
            "A checkpoint is saved. Raise the cap, or set it to null, and run again to go on from there.",
        )
