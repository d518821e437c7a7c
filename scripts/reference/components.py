"""The sources of the components, made from the steps: `components/<step>/component.py` and its `__init__.py`.

Only a function's own source reaches a pod, so each component is spelled out in a file of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from llm.steps import STEPS, Step


def sources(components: Path) -> Iterator[tuple[Path, str]]:
    """Path and text of every file that is made for a step."""
    for step in STEPS.values():
        folder = components / step.name
        yield folder / "component.py", formatted(component(step))
        yield folder / "__init__.py", face(step)


def component(step: Step) -> str:
    """A function of the step's inputs and outputs, whose body hands them over to `run_component`."""
    inputs = {source: STEPS[source].makes for source in step.reads}
    made = step.makes
    parameters = [
        "config: str",
        *(f"{one.name}: Input[Artifact]" for one in inputs.values()),
        f"{made.name}: Output[{made.artifact}]",
        *(["metrics: Output[Metrics]"] if step.shows_figures else []),
    ]
    meanings = [
        "config: The run's resolved configuration, one YAML document.",
        *(f"{one.name}: Manifest {one.is_}." for one in inputs.values()),
        f"{made.name}: Manifest {made.is_}, written here.",
        *(["metrics: The manifest's figures."] if step.shows_figures else []),
    ]
    types = {
        made.artifact,
        "Output",
        *(["Artifact", "Input"] if inputs else []),
        *(["Metrics"] if step.shows_figures else []),
    }
    given = ", ".join(f'"{source}": {one.name}.path' for source, one in inputs.items())
    call = f'run_component("{step.name}", config, {{{given}}}, {made.name}.path)'
    lines = [
        f'"""Component {step.name}. Made from `llm/steps/bodies/{step.name}.py` by `make reference`."""',
        "",
        "from kfp import dsl",
        f"from kfp.dsl import {', '.join(sorted(types))}",
        "",
        "from components import images",
        "",
        "",
        f"@dsl.component(base_image=images.{step.image.upper()}, install_kfp_package=False)",
        f"def {step.name}(",
        *(f"    {parameter}," for parameter in parameters),
        f") -> {'int' if step.verdict else 'None'}:",
        f'    """{step.purpose}',
        "",
        "    Args:",
        *(f"        {meaning}" for meaning in meanings),
        *(["", "    Returns:", "        1 if the verdict is PASS, else 0."] if step.verdict else []),
        '    """',
        f"    from llm.steps import {'figures, ' if step.shows_figures else ''}run_component",
        *(["    from llm.storage.products import GateCounts"] if step.verdict else []),
        "",
        f"    {'manifest = ' if step.shows_figures or step.verdict else ''}{call}",
    ]
    if step.shows_figures:
        lines += ["    for name, value in figures(manifest).items():", "        metrics.log_metric(name, value)"]
    if step.verdict:
        lines.append("    return int(GateCounts.of(manifest).passed)")
    return "\n".join(lines) + "\n"


def face(step: Step) -> str:
    """The component's package."""
    purpose = step.purpose[0].lower() + step.purpose[1:]
    return (
        f'"""Component {step.name}: {purpose}"""\n\n'
        f"from components.{step.name}.component import {step.name}\n\n"
        f'__all__ = ["{step.name}"]\n'
    )


def formatted(source: str) -> str:
    """The source as `ruff format` leaves it."""
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=120", "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
