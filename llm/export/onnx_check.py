"""Whether an ONNX model answers as the checkpoint does: to rounding in fp32, within a budget of loss in int4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm.export.onnx_model import OnnxModel
from llm.export.reference import Reference, mean_loss_bits
from llm.export.tolerance import Check, largest

FP32_LOGIT_TOLERANCE = 1e-3
"""Largest difference of a logit between ONNX fp32 and the checkpoint.

Ten times that of `transformers`: ONNX Runtime's kernels are not torch's, and a deep model adds up their rounding.
"""
INT4_GREEDY_AGREEMENT = 0.7
"""Smallest share of positions at which int4's most likely token is the checkpoint's.

The small models of our image and of our tests have 0.77 and 0.92. Far fewer tokens would be another model, even where
its mean loss hardly rises.
"""


def check_fp32(folder: Path, references: Sequence[Reference]) -> list[Check]:
    """Logits and greedy continuations must be the checkpoint's.

    Where the checkpoint itself sees its two best tokens closer together than the logits' tolerance, either may come:
    the rest of that continuation is not compared, and the tie is counted.
    """
    name, model = folder.name, OnnxModel(folder)
    differences = [np.abs(model.logits(reference.ids) - reference.logits).max() for reference in references]
    found = model.greedy([r.prompt for r in references], [len(r.continuation) for r in references])
    parted = [parts_at(continuation, reference) for continuation, reference in zip(found, references, strict=True)]
    ties = sum(
        at is not None and reference.margins[at] <= FP32_LOGIT_TOLERANCE
        for at, reference in zip(parted, references, strict=True)
    )
    wrong = sum(at is not None for at in parted) - ties
    return [
        Check(name, "largest logit difference", largest(differences), at_most=FP32_LOGIT_TOLERANCE),
        Check(name, f"number of greedy continuations that differ, of {len(references)},", wrong, at_most=0),
        Check(name, "number of greedy continuations that part at a tie", ties),
    ]


def check_int4(folder: Path, references: Sequence[Reference], tolerance: float) -> list[Check]:
    """The mean loss may rise by the tolerance (bits per token), and the most likely token may differ at some places."""
    model = OnnxModel(folder)
    found = [model.logits(reference.ids) for reference in references]
    exact = [reference.logits for reference in references]
    rise = mean_loss_bits(found, references) - mean_loss_bits(exact, references)
    same = np.concatenate([a.argmax(axis=1) == b.argmax(axis=1) for a, b in zip(found, exact, strict=True)])
    return [
        Check(folder.name, "rise of the mean loss in bits per token", rise, at_most=tolerance,
              setting="export.onnx_int4_bits_per_token_tolerance"),
        Check(folder.name, "share of positions with the same most likely token", float(same.mean()),
              at_least=INT4_GREEDY_AGREEMENT),
    ]  # fmt: skip


def parts_at(continuation: Sequence[int], reference: Reference) -> int | None:
    """Position of the first token that is not the checkpoint's; None if all are."""
    if list(continuation) == reference.continuation:
        return None
    pairs = zip(continuation, reference.continuation, strict=False)
    end = min(len(continuation), len(reference.continuation) - 1)
    return next((at for at, (found, expected) in enumerate(pairs) if found != expected), end)
