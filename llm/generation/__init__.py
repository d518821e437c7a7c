"""Text from a checkpoint: `Sampling` says how tokens are drawn, `Generator` and `stream_text` give them one by one."""

from llm.generation.generator import GREEDY, Generator, stream_text
from llm.generation.sampling import Sampling

__all__ = ["GREEDY", "Generator", "Sampling", "stream_text"]
