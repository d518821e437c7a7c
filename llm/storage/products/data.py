"""Corpus, verdict of the validation, tokenizer and token shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from llm.storage.products.counts import Counts, Part


class Amount(Part):
    """An amount of text."""

    documents: int
    """Number of documents."""
    bytes: int
    """Size of their text in UTF-8."""


class SplitAmount(Amount):
    """An amount of text, by domain too."""

    by_domain: Mapping[str, Amount]
    """The same by domain."""


class LeftOut(Part):
    """Documents that were left out for one reason."""

    documents: int
    """Number of documents."""
    first: Sequence[str]
    """Names of the first few."""


class CorpusCounts(Amount, Counts):
    """The text that ingest read, kept and left out."""

    kind: ClassVar[str] = "corpus"

    by_split: Mapping[str, SplitAmount]
    """The text that was kept, by split."""
    by_domain: Mapping[str, Amount]
    """The text that was kept, by domain."""
    read_documents: int
    """Number of documents before any was left out."""
    duplicates: Amount
    """Exact duplicates, which were left out."""
    rejected: Mapping[str, LeftOut]
    """The text that was left out for another reason, by reason."""


class ValidationCounts(Counts):
    """The verdict of the validation."""

    kind: ClassVar[str] = "validation"

    success: bool
    """Whether every expectation holds."""
    expectations: int
    """Number of expectations."""
    failed: Sequence[str]
    """One line for each expectation that does not hold."""


class TokenizerCounts(Counts):
    """The figures of a tokenizer."""

    kind: ClassVar[str] = "tokenizer"

    vocab_size: int
    """Number of entries, the special tokens among them."""
    documents_round_tripped: int
    """Documents of the validation split that encoding and decoding gave back byte for byte."""
    bytes_per_token: Mapping[str, float]
    """Mean length of a token on the validation split, by domain."""


class TokenAmount(Part):
    """An amount of text, in tokens too."""

    documents: int
    """Number of documents."""
    tokens: int
    """Number of tokens, one end of text a document among them."""
    bytes: int
    """Size of the text in UTF-8."""


class ShardsCounts(Counts):
    """The token shards, by split."""

    kind: ClassVar[str] = "shards"

    train: TokenAmount
    """The training split."""
    validation: TokenAmount
    """The validation split."""
