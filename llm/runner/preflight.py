"""What a run can know before its first step: found here a mistake costs a second, in its own step the training."""

from __future__ import annotations

from llm.config import RunConfig
from llm.data.validate import suite_path
from llm.export import tensorrt


def preflight(config: RunConfig) -> list[str]:
    """Warnings about what this machine will leave out; raises UserError for what a later step would refuse."""
    suite_path(config.validation.suite)
    skipped = tensorrt.skipped_because(config.export.tensorrt)
    return [] if skipped is None else [f"no TensorRT engine will be built: {skipped}"]
