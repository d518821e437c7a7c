"""The export."""

from __future__ import annotations

from typing import Literal

from llm.config.sections.base import Fraction, PositiveFloat, PositiveInt, Section


class ExportConfig(Section):
    """Formats to export to, and how far they may be from the checkpoint."""

    onnx: tuple[Literal["fp32", "int4"], ...] = ("fp32", "int4")
    """ONNX models with KV cache to build."""
    hf_logit_tolerance: PositiveFloat = 1e-4
    """Largest difference of a logit between `transformers` and the checkpoint."""
    onnx_fp32_logit_tolerance: PositiveFloat = 1e-3
    """Largest difference of a logit between ONNX fp32 and the checkpoint."""
    onnx_int4_bits_per_token_tolerance: PositiveFloat = 0.15
    """Largest rise of the mean loss (bits per token) of ONNX int4 over the checkpoint."""
    onnx_int4_greedy_agreement: Fraction = 0.7
    """Smallest share of positions at which int4's most likely token is the checkpoint's."""
    check_documents: PositiveInt = 8
    """Validation documents on which formats are compared."""
    check_tokens: PositiveInt = 64
    """Tokens of each greedy continuation that is compared."""
    tensorrt: Literal["fp32", "fp16", "bf16"] | None = None
    """Precision of a TensorRT engine; None: no engine. Without TensorRT, a wanted engine is an error at the start."""
