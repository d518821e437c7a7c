"""Write what follows from the code: `docs/configuration.md`, and every component with its README.

`make reference` writes them; with --check nothing is written, and stale pages are named (a unit test does that).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import yaml
from component_sources import sources

from llm.config import CONFIGS, RunConfig, compose, marked
from llm.steps import STEPS

PROJECT = Path(__file__).resolve().parents[1]


def pages() -> Iterator[tuple[Path, str]]:
    """Path and content of every generated file."""
    yield PROJECT / "docs" / "configuration.md", configuration()
    components = PROJECT / "components"
    made = dict(sources(components))
    yield from made.items()
    for name in ("report", *STEPS):
        path = components / name / "component.py"
        yield path.with_name("README.md"), component_page(name, made.get(path) or path.read_text())


def configuration() -> str:
    """Every key with what a run gets, what it decides and its meaning, by section; and the named settings."""
    lines = [
        "# Configuration",
        "",
        "Made from `llm/config/sections/` and `configs/` by `make reference`. Set a key with `KEY=VALUE` on the",
        "command line (`gristmill run pretrain training.lr=1e-3`).",
        "",
        "* *default* is what a run gets that sets nothing: `configs/config.yaml` and its named settings.",
        "* *decides* says what changes with the key: the `result`; the `input` that is read (its content decides the",
        "  result, not its place); only the `course` of the work (where, how fast, how often saved); or `nothing`",
        "  of it (names, addresses, ports). Recipes, the run's name and MLflow's parameters leave out the last two.",
        "",
        *_named_settings(),
    ]
    given = compose()
    settings: dict[str, list[str]] = {}
    for key, field, decides in marked(RunConfig):
        value = reduce(getattr, key.split("."), given)
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        row = f"| `{key}` | `{value!r}` | {decides.value} | {meaning} |"
        settings.setdefault(key.partition(".")[0], []).append(row)
    for name, field in RunConfig.model_fields.items():
        purpose = inspect.getdoc(field.annotation) or "" if isinstance(field.annotation, type) else ""
        head = ["| key | default | decides | meaning |", "| --- | --- | --- | --- |"]
        lines += ["", f"## {name}", "", purpose, "", *head, *settings[name]]
    return "\n".join(lines) + "\n"


def _named_settings() -> Iterator[str]:
    """A table of the groups below `configs/`: what each named setting sets."""
    chosen = yaml.safe_load((CONFIGS / "config.yaml").read_text())["defaults"]
    standard = {group: name for entry in chosen if isinstance(entry, dict) for group, name in entry.items()}
    yield "## Named settings"
    yield ""
    yield "A named setting is a set of keys. `GROUP=NAME` chooses one; a key on the command line wins over it."
    yield ""
    yield "| choose with | sets |"
    yield "| --- | --- |"
    for group in sorted(standard):
        for path in sorted((CONFIGS / group).glob("*.yaml")):
            keys = ", ".join(f"`{group}.{key}={value}`" for key, value in _leaves(yaml.safe_load(path.read_text())))
            note = " (the default)" if standard[group] == path.stem else ""
            yield f"| `{group}={path.stem}`{note} | {keys} |"


def _leaves(settings: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else value


def component_page(name: str, source: str) -> str:
    """What a component takes and gives, from its docstring."""
    document = re.search(r'"""(.*?)"""', source[source.index("def ") :], re.DOTALL)
    assert document is not None
    purpose, _, arguments = inspect.cleandoc(document[1]).partition("\n\nArgs:\n")
    arguments, _, returned = arguments.partition("\n\nReturns:\n")
    types = dict(re.findall(r"^    (\w+): (.+?),$", source, re.MULTILINE))
    rows = [
        f"| `{key}` | `{types[key]}` | {text} |"
        for key, text in re.findall(r"^ {4}(\w+): (.+)$", arguments, re.MULTILINE)
    ]
    reads = ", ".join(f"`{step}`" for step in STEPS[name].reads) if name in STEPS else ""
    lines = [f"# {name}", "", purpose, "", "| parameter | type | meaning |", "| --- | --- | --- |", *rows]
    if returned:
        lines += ["", f"Returns: {returned.strip()}"]
    lines += ["", f"Reads what {reads} made. " if reads else "", f"By hand: `gristmill {name} --run NAME`."]
    if name not in STEPS:
        lines[-2:] = ["", "The exit handler: it runs whatever happened. By hand: `gristmill report`."]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main() -> int:
    """Write the pages, or with --check name those that are stale; exit code 1 if there are any."""
    stale = [(path, text) for path, text in pages() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path, _ in stale:
            print(f"stale: {path.relative_to(PROJECT)}; run make reference", file=sys.stderr)
        return 1 if stale else 0
    for path, text in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
