"""The model: a Llama decoder that knows nothing of files, devices or parallelism."""

from llm.model.attention import KeyValueCache
from llm.model.decoder import Decoder, initialise
from llm.model.size import count_parameters, flops_per_token

__all__ = ["Decoder", "KeyValueCache", "count_parameters", "flops_per_token", "initialise"]
