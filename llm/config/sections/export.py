"""The export."""

from __future__ import annotations

from typing import Literal

from llm.config.sections.base import PositiveFloat, Section


class ExportConfig(Section):
    """Formats to export to, and how far int4 may be from the checkpoint."""

    onnx: tuple[Literal["fp32", "int4"], ...] = ("fp32", "int4")
    """ONNX models with KV cache to build."""
    onnx_int4_bits_per_token_tolerance: PositiveFloat = 0.15
    """Largest rise of the mean loss (bits per token) of ONNX int4 over the checkpoint."""
    tensorrt: Literal["fp32", "fp16", "bf16"] | None = None
    """Precision of a TensorRT engine; None: no engine. Without TensorRT, a wanted engine is an error at the start."""
