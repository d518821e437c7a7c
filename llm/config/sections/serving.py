"""The serving."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from llm.config.sections.base import PositiveInt, Section


class ServingConfig(Section):
    """The model repository that Triton serves."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "gristmill"
    """Name of the model in Triton: letters, digits, `_`, `.` and `-`."""
    precision: Literal["fp32", "int4"] = "fp32"
    """Which ONNX model is served."""
    max_new_tokens: PositiveInt = 256
    """Most tokens that one request may ask for."""
    max_slots: PositiveInt = 8
    """Requests that decode at the same time; more wait in Triton's queue."""
