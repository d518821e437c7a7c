"""The data: which text, its validation, its tokenizer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from llm.config.decides import ADDED, INPUT
from llm.config.sections.base import Fraction, Section, Text


class DataConfig(Section):
    """Which text, and how it is read."""

    path: Annotated[Text, INPUT] = "stdlib"
    """`stdlib` (the running interpreter's standard library), or a file, folder or glob on this machine."""
    domain: str | None = None
    """Domain of documents that do not carry one; None: `text` (`code` and `prose` for the standard library)."""
    licence: str | None = None
    """Licence of documents that do not carry one."""
    text_field: Text = "text"
    """Name of the field that holds the text in JSONL and Parquet."""
    validation_fraction: Fraction = 0.1
    """Share of the documents in the validation split."""
    test_fraction: Fraction = 0.1
    """Share of the documents in the test split, which only the evaluation reads."""
    max_rejected_fraction: Fraction = 0.05
    """Largest share of documents that may be binary or not UTF-8 before ingest refuses the whole input."""


class ValidationConfig(Section):
    """The rules that the corpus must satisfy."""

    suite: Text = "pretrain"
    """Name of a Great Expectations suite in `llm/config/settings/suites/`, or the path of a JSON file."""


class TokenizerConfig(Section):
    """The byte-level BPE tokenizer."""

    vocab_size: Annotated[int, Field(ge=257, le=1 << 20)] = 4096
    """Entries of the vocabulary, the 256 bytes and `<|endoftext|>` included; not the width of a layer."""
    adopted: Annotated[Text | None, INPUT, ADDED] = None
    """Tokenizer in place of one that is trained: its id or name in the store, or a folder with a tokenizer.json."""
