"""Byte-level BPE tokenizers: training, encoding, token shards."""

from llm.tokenizer.bpe import END_OF_TEXT
from llm.tokenizer.tokenizer import Tokenizer, load

__all__ = ["END_OF_TEXT", "Tokenizer", "load"]
