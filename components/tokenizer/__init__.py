"""Component tokenizer: train the tokenizer on a corpus."""

from components.tokenizer.component import tokenizer

__all__ = ["tokenizer"]
