"""The engine: decodes several requests at the same time."""
