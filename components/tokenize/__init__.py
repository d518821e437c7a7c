"""Component tokenize: cut a validated corpus into token shards."""

from components.tokenize.component import tokenize

__all__ = ["tokenize"]
