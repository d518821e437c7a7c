"""`training.batch.micro_batch_size=auto`: a number takes its place when the configuration is read.

So the run's folder, its name, the recipes and the pods know the number alone. It follows from the settings and from the
memory of the device, which does not depend on what is free at the moment: the same command gives the same number.
"""

from __future__ import annotations

import importlib
from typing import Any

from llm.config.sections import RunConfig

AUTO = "auto"
FINDER = "llm.training.estimate.fit"
"""It lies above `llm.config`, so it is imported by its name, when it is needed (as in `llm.config.named`)."""


def without_auto(document: Any) -> tuple[Any, bool]:
    """The document with a number in its place, and whether it was there."""
    training = document.get("training") if isinstance(document, dict) else None
    batch = training.get("batch") if isinstance(training, dict) else None
    if not isinstance(training, dict) or not isinstance(batch, dict) or batch.get("micro_batch_size") != AUTO:
        return document, False
    return {**document, "training": {**training, "batch": {**batch, "micro_batch_size": 1}}}, True


def with_largest(config: RunConfig, here: bool) -> RunConfig:
    """The configuration with the largest micro-batch that fits; raises UserError as `largest_micro_batch` does."""
    number = importlib.import_module(FINDER).largest_micro_batch(config, here)
    batch = config.training.batch.model_copy(update={"micro_batch_size": number})
    return config.model_copy(update={"training": config.training.model_copy(update={"batch": batch})})
