"""Byte-level BPE tokenizers: training, encoding, token shards."""

from llm.tokenizer.bpe import END_OF_TEXT
from llm.tokenizer.tokenizer import Tokenizer, load, refuse_other_tokenizer, tokenizer_of

__all__ = ["END_OF_TEXT", "Tokenizer", "load", "refuse_other_tokenizer", "tokenizer_of"]
