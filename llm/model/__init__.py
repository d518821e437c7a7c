"""The model: a Llama decoder that knows nothing of files, devices or parallelism.

Its size is counted without torch; what needs torch is loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from llm.model.size import count_parameters, flops_per_token

if TYPE_CHECKING:
    from llm.model.attention import KeyValueCache
    from llm.model.decoder import Decoder, initialise

__all__ = ["Decoder", "KeyValueCache", "count_parameters", "flops_per_token", "initialise"]


def __getattr__(name: str) -> Any:
    """A name of the modules that need torch, loaded now."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llm.model import attention, decoder

    return getattr(attention if name == "KeyValueCache" else decoder, name)
