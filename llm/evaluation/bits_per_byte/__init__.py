"""Bits per byte, a metric: how many bits a model needs for a byte of text that it never saw."""

from llm.evaluation.bits_per_byte.metric import METRIC

__all__ = ["METRIC"]
