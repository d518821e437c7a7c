"""Duplicates: equal texts, found and dropped."""

from llm.data.duplicates.exact import Deduplicator, unique

__all__ = ["Deduplicator", "unique"]
