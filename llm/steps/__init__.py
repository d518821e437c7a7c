"""The steps of a run: one module each (`llm.steps.bodies`), behind the command and the KFP component.

The list of the steps loads nothing heavy; what runs one is loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from llm.steps.registry import STEPS, steps_of
from llm.steps.step import Context, Given, Product, Step

if TYPE_CHECKING:
    from llm.steps.components import figures, report_component, reuse_component, run_component
    from llm.steps.run import open_context, run_step

__all__ = [
    "STEPS",
    "Context",
    "Given",
    "Product",
    "Step",
    "figures",
    "open_context",
    "report_component",
    "reuse_component",
    "run_component",
    "run_step",
    "steps_of",
]


def __getattr__(name: str) -> Any:
    """A name of `llm.steps.run` or `llm.steps.components`, loaded now."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llm.steps import components, run

    return getattr(run if name in ("open_context", "run_step") else components, name)
