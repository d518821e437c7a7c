"""Shards: rows of tokens on disk, and the order in which a training reads them."""

from llm.data.shards.token_shards import ShardWriter, Tokens, TokenShards, token_type, write_meta

__all__ = ["ShardWriter", "TokenShards", "Tokens", "token_type", "write_meta"]
