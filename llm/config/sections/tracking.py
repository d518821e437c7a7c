"""The tracking, and the prices of what a run takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from llm.config.sections.base import PositiveFloat, Section, Text
from llm.config.sections.cluster import LABEL_KEY

Price = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


def _resources(prices: dict[str, float]) -> dict[str, float]:
    for name in prices:
        if "/" not in name or not LABEL_KEY.fullmatch(name):
            raise ValueError(f"{name!r} is no resource of accelerators: write a name such as nvidia.com/gpu")
    return prices


def _label(name: str) -> str:
    if not LABEL_KEY.fullmatch(name):
        raise ValueError("it is no key of a label: write a name such as team or example.com/team")
    return name


class TrackingConfig(Section):
    """MLflow, and what else follows a run."""

    uri: str | None = None
    """Tracking server; None: SQLite and files next to the runs."""
    experiment: str = "gristmill"
    """MLflow experiment."""
    model: str = "gristmill"
    """Name of the registered model."""
    timeout_seconds: PositiveFloat = 10.0
    """How long an answer may take."""
    sinks: tuple[Text, ...] = ("mlflow",)
    """The sinks that follow the events of a run: names, or import paths `package.module:OBJECT`. The step register
    sends to MLflow in any case."""


class CostsConfig(Section):
    """Prices, for `gristmill costs` and the report. Without a price no money is shown."""

    cpu_hour: Price = 0.0
    """Price of a processor for an hour."""
    memory_gib_hour: Price = 0.0
    """Price of a GiB of memory for an hour."""
    accelerator_hour: Annotated[dict[str, Price], AfterValidator(_resources)] = Field(default_factory=dict)
    """Price of an accelerator for an hour, by the name of its resource: `{nvidia.com/gpu: 2.5}`."""
    currency: Text = "USD"
    """Currency of the prices; any word, it is only printed."""
    team_label: Annotated[str, AfterValidator(_label)] = "team"
    """Label of pods that names the team that pays."""

    @property
    def are_set(self) -> bool:
        """Whether there is any price above 0."""
        return any((self.cpu_hour, self.memory_gib_hour, *self.accelerator_hour.values()))
