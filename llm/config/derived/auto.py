"""`training.batch.micro_batch_size=auto` and `training.compute.recompute=auto`: what is found takes their place.

It is found when the configuration is read. So the run's folder, its name, the recipes and the pods know what was found
alone. It follows from the settings and from the memory of the device, which does not depend on what is free at the
moment: the same command gives the same configuration.
"""

from __future__ import annotations

import importlib
from typing import Any

from llm.config.sections import RunConfig

AUTO = "auto"
BEFORE = {("compute", "recompute"): "none", ("batch", "micro_batch_size"): 1}
"""The keys of `training` that may be found, in this order, and their values until then."""
FINDER = "llm.training.estimate.fit"
"""It lies above `llm.config`, so it is imported by its name, when it is needed (as in `llm.config.named`)."""


def without_auto(document: Any) -> tuple[Any, list[str]]:
    """The document with values in the place of each `auto`, and the keys that had it."""
    asked = []
    for (section, key), value in BEFORE.items():
        training = document.get("training") if isinstance(document, dict) else None
        part = training.get(section) if isinstance(training, dict) else None
        if isinstance(training, dict) and isinstance(part, dict) and part.get(key) == AUTO:
            document = {**document, "training": {**training, section: {**part, key: value}}}
            asked.append(key)
    return document, asked


def with_found(config: RunConfig, asked: list[str], here: bool) -> RunConfig:
    """The configuration with what is found for these keys: the least recomputation, then the largest micro-batch.

    Raises UserError as `least_recompute` and `largest_micro_batch` do.
    """
    for key in asked:
        fit = importlib.import_module(FINDER)
        found = fit.least_recompute(config, here) if key == "recompute" else fit.largest_micro_batch(config, here)
        config = fit.with_settings(config, found)
    return config
