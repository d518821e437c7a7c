"""Component evaluate: score a checkpoint on the test split."""

from components.evaluate.component import evaluate

__all__ = ["evaluate"]
