"""Code that never takes part in a result, although every step imports it: the one list, with the reasons.

These packages carry settings, bytes, words and processes; they compute nothing that a product holds. Without this
border a new word in a message would train every model again. The border holds as long as none of these packages
computes: a test lets them import no library but those that carry. See docs/decisions/0011-code-of-a-recipe.md.
"""

from __future__ import annotations

COURSE = {
    "llm.cli": "takes the user's words",
    "llm.config": "its settings enter a recipe as values",
    "llm.errors": "says what is wrong",
    "llm.images": "names images",
    "llm.cluster": "says where the work is done",
    "llm.process": "starts and stops processes",
    "llm.report": "shows what was made",
    "llm.runner": "starts the steps",
    "llm.runs": "keeps what happened",
    "llm.steps": "hands each step its input",
    "llm.storage": "moves bytes, and checks that they are the same",
    "llm.telemetry": "switches off what libraries report to their makers",
    "llm.tracking": "shows what happened",
    "llm.words": "writes numbers for people",
}
"""Packages and modules that no recipe follows."""
CARRIERS = {
    "click": "takes the command line",
    "hydra": "composes settings",
    "omegaconf": "composes settings",
    "pydantic": "checks and carries values",
    "yaml": "reads and writes settings",
}
"""Libraries that every installation has; they carry values and decide no byte of a product."""

OF_TORCH = {"triton"}
"""Libraries that torch's build for CUDA brings, in the version that it needs; its build for processors has none. So the
launcher of a training on GPUs and its ranks have one recipe."""


def is_course(module: str) -> bool:
    """Whether a module lies in a package of the course."""
    return any(module == package or module.startswith(f"{package}.") for package in COURSE)
