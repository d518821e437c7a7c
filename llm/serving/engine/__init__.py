"""The engine: decodes several requests in one batch."""
