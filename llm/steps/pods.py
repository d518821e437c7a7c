"""The settings of the steps' pods, held against the steps."""

from __future__ import annotations

from llm.config import RunConfig, nearest
from llm.errors import UserError
from llm.steps.registry import STEPS

REUSE, REPORT = "reuse", "report"
"""The tasks before and after all steps; each has a pod, and is no step."""
WITH_TORCH = ("train", "export")
"""The images in which an accelerator is of use."""


def check_pods(config: RunConfig) -> None:
    """Raise UserError for a step that is not there, and for an accelerator that a step would not use."""
    for name in config.pods.steps:
        if name not in STEPS and name not in (REUSE, REPORT):
            raise UserError(f"pods.steps.{name}: there is no step {name}", nearest(name, [*STEPS, REUSE, REPORT]))
    every = config.pods.all
    if every.accelerators is not None:
        raise UserError(
            f"pods.all.accelerators={every.accelerators}: most steps have no use for {every.accelerator}",
            "Name the step: pods.steps.train.accelerators=1, for example.",
        )
    for name, pod in config.pods.steps.items():
        if pod.accelerators is None:
            continue
        image = STEPS[name].image if name in STEPS else "registry"
        if image not in WITH_TORCH:
            raise UserError(
                f"pods.steps.{name}.accelerators={pod.accelerators}: the step {name} runs in the image {image},"
                f" which cannot use {pod.accelerator}",
                f"Leave it out: of use are accelerators for {', '.join(_with_torch())}.",
            )
        if name == "train" and config.training.pool is not None:
            raise UserError(
                f"pods.steps.train.accelerators={pod.accelerators}: with training.pool={config.training.pool} the step"
                " only follows the training",
                f"Leave it out: the pool {config.training.pool} says what the training's pods ask for.",
            )


def _with_torch() -> list[str]:
    return [name for name, step in STEPS.items() if step.image in WITH_TORCH]
