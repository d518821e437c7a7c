"""Component ingest: read the text into a corpus."""

from components.ingest.component import ingest

__all__ = ["ingest"]
