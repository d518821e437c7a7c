"""Data: from the user's text to a judged corpus of documents in Parquet, split by content."""

from llm.data.documents import SPLITS, Document, read_split

__all__ = ["SPLITS", "Document", "read_split"]
