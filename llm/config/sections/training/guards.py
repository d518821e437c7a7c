"""The guards of a training (`docs/training.md`, "Guards"), and the most that it may take (there, "What it costs")."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm.config.decides import ADDED, COURSE
from llm.config.sections.base import PositiveFloat, PositiveInt, Section

AboveOne = Annotated[float, Field(gt=1.0, allow_inf_nan=False)]


class GuardsConfig(Section):
    """The actions when a step is out of the ordinary."""

    spike_deviations: Annotated[PositiveFloat | None, ADDED] = None
    """Standard deviations above the mean of the last steps from which a loss or a gradient norm is a spike, and its
    update is skipped; None: every update is made."""
    spike_window: Annotated[int, Field(ge=4), ADDED] = 128
    """Steps that the mean and the deviation are taken from; nothing is judged until half of them are there."""
    stop_after_spikes: Annotated[PositiveInt, ADDED] = 10
    """Spikes one after another after which the training rolls back, or saves a checkpoint and ends."""
    rollback_steps: Annotated[PositiveInt | None, ADDED] = None
    """To roll back, the training goes on from the last multiple of so many steps before those spikes, with the batches
    that follow them; None: it ends."""
    stop_after_rollbacks: Annotated[PositiveInt, ADDED] = 3
    """Rollbacks of a training after which it ends as without them."""
    slow_rank_factor: Annotated[AboveOne | None, COURSE, ADDED] = None
    """Times the median of the others from which a rank is named as slow, by a product of matrices that each one does by
    itself every 20 steps; None: nobody looks."""
    hang_seconds: Annotated[PositiveFloat | None, COURSE, ADDED] = 300.0
    """Seconds without a step (and 20 usual steps) after which the stacks of all ranks are logged; None: never."""

    def rollback_point(self, step: int) -> int | None:
        """Steps done where the training goes on if the last spike in a row is this step; None: nowhere."""
        if self.spike_deviations is None or self.rollback_steps is None:
            return None
        return max(0, step - self.stop_after_spikes) // self.rollback_steps * self.rollback_steps


class BudgetConfig(Section):
    """The price of a training's devices, and the caps over all its attempts. A device is that of a rank."""

    price: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None = None
    """Price of a device for an hour, in any currency; None: hours are shown, and no money."""
    device_hours: PositiveFloat | None = None
    """Hours, summed over all ranks, after which the training saves a checkpoint and ends; None: no cap."""
    money: PositiveFloat | None = None
    """Money after which it does so, at `price`; None: no cap."""

    def cost(self, device_seconds: float) -> float | None:
        """The price of so much; None without a price."""
        return None if self.price is None else device_seconds / 3600 * self.price

    def reached(self, device_seconds: float) -> list[str]:
        """The caps that so much reaches, as settings."""
        taken = {"device_hours": device_seconds / 3600, "money": self.cost(device_seconds)}
        caps = {name: (value, getattr(self, name)) for name, value in taken.items()}
        return [
            f"training.budget.{name}={cap:g}"
            for name, (value, cap) in caps.items()
            if value is not None and cap is not None and value >= cap
        ]
