"""Write what follows from the code: pages of configuration, events, command line; components; charts.

`make reference` writes them; with --check nothing is written, and stale pages are named (a unit test does that).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Set
from pathlib import Path

from reference import charts, cli, configuration
from reference.components import sources
from reference.meanings import describe

from llm.runs.event_kinds import EVENT_KINDS, Event
from llm.steps import STEPS

PROJECT = Path(__file__).resolve().parents[1]


def pages() -> Iterator[tuple[Path, str]]:
    """Path and content of every generated file."""
    yield PROJECT / "docs" / "configuration.md", configuration.page()
    yield PROJECT / "docs" / "cli.md", cli.page()
    yield PROJECT / "docs" / "events.md", events()
    components = PROJECT / "components"
    made = dict(sources(components))
    yield from made.items()
    for name in ("report", *STEPS):
        path = components / name / "component.py"
        yield path.with_name("README.md"), component_page(name, made.get(path) or path.read_text())
    yield from charts.pages()


def events() -> str:
    """Every kind of event with its fields, by the module that holds the kind."""
    describe(Event)
    lines = [
        "# Events",
        "",
        "Made from `llm/runs/event_kinds/` by `make reference`. The event log of a run is `events.jsonl` in its",
        "folder. It has one JSON object a line, with the time, the kind, and the fields of the kind. It feeds the",
        "progress line, the report and MLflow. A reader keeps a kind or a field that it does not know, since a later",
        "version wrote it.",
        "",
        "Every event has these fields:",
        "",
        *_fields(Event, Event.model_fields.keys()),
    ]
    module = None
    for kind, model in EVENT_KINDS.items():
        if model.__module__ != module:
            module = model.__module__
            lines += ["", f"## {(inspect.getdoc(sys.modules[module]) or '').rstrip('.')}"]
        lines += ["", f"### {kind}", "", f"`{model.__name__}`. {inspect.getdoc(model)}"]
        if own := model.model_fields.keys() - Event.model_fields.keys():
            lines += ["", *_fields(model, own)]
    return "\n".join(lines) + "\n"


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


def _fields(model: type[Event], names: Set[str]) -> Iterator[str]:
    yield from ("| field | type | meaning |", "| --- | --- | --- |")
    for name, field in model.model_fields.items():
        if name in names:
            kind = re.sub(r"\b(collections\.abc|typing)\.", "", inspect.formatannotation(field.annotation))
            yield f"| `{name}` | `{_cell(kind)}` | {_cell(field.description)} |"


def _cell(text: str | None) -> str:
    """Text in a cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|")


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
