"""Component validate: judge a corpus by its expectation suite."""

from components.validate.component import validate

__all__ = ["validate"]
