"""The device that a training is planned for."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from llm.config.accelerators import ACCELERATORS, Accelerator
from llm.config.quantity import Memory, size_bytes
from llm.config.sections.base import Section
from llm.config.spelling import nearest

Share = Annotated[float, Field(gt=0.0, le=1.0)]


def _known(name: str) -> str:
    if name not in ACCELERATORS:
        raise ValueError(f"there is no device of that name in the table. {nearest(name, ACCELERATORS)}")
    return name


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PlanConfig(Section):
    """The device of each rank, for `gristmill plan`, and for `auto` in `training.batch.micro_batch_size` and
    `training.compute.recompute`.

    A training is not moved by it: it computes on what its machine or its pool has.
    """

    device: Annotated[str, AfterValidator(_known)] | None = None
    """Name of the device, such as `h100` (`docs/training.md` has the table); None: this machine's processors."""
    memory: Annotated[Memory, BeforeValidator(_as_text)] | None = None
    """Memory for each rank in place of the device's, such as `40Gi`; None: the device's, or a rank's share of this
    machine's."""
    memory_share: Share = 0.9
    """Share of that memory which a training's tensors may take. The rest is for the allocator, for libraries, and for
    the error of the estimate."""
    share_of_peak: Share = 0.4
    """Share of the device's peak arithmetic that the training reaches (MFU), waiting included: an assumption."""

    @property
    def accelerator(self) -> Accelerator | None:
        """The device, if one is named."""
        return None if self.device is None else ACCELERATORS[self.device]

    @property
    def memory_bytes(self) -> int | None:
        """Memory for each rank, if the device or the memory is named."""
        if self.memory is not None:
            return size_bytes(self.memory)
        return None if self.accelerator is None else self.accelerator.memory_bytes
