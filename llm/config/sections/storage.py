"""The store."""

from __future__ import annotations

from llm.config.sections.base import Section, Text


class StorageConfig(Section):
    """Where products are kept."""

    uri: Text = "store"
    """Folder, `file://` or `s3://BUCKET/PREFIX` URI of the store. Keys, region and endpoint of S3 come from the
    environment, under the names that AWS's tools read: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL and so on."""
