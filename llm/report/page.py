"""The page itself: content and charts through the templates, styles inside, nothing fetched.

Each section is rendered on its own: one that cannot be drawn, because a product has another shape than this version
knows, says so in its place and the rest of the page stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llm.report.charts import domain_rows, forest_chart, loss_chart, metric_chart, throughput_chart
from llm.report.content import Content, gather
from llm.report.figures import FILTERS
from llm.report.headline import headline
from llm.runs.folder import RunFolder
from llm.storage import write_atomically

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading, and when there is something to say in it; the id names template and anchor."""

    id: str
    title: str
    is_shown: Callable[[Content], bool] = lambda content: True


SECTIONS = (
    Section("evaluation", "Evaluation", lambda content: content.evaluation is not None),
    Section("gate", "Gate", lambda content: content.gate is not None),
    Section("training", "Training", lambda content: bool(content.training.loss)),
    Section("samples", "Samples", lambda content: bool(content.samples)),
    Section("data", "Data", lambda content: content.corpus is not None),
    Section("tokenizer", "Tokenizer", lambda content: content.tokenizer is not None),
    Section("export", "Export", lambda content: bool(content.checks)),
    Section("steps", "Steps", lambda content: bool(content.attempt.steps)),
    Section("cluster", "On the cluster", lambda content: bool(content.on_cluster)),
    Section("lineage", "Lineage", lambda content: bool(content.manifests)),
    Section("repeat", "To repeat it"),
)
CHARTS: dict[str, Callable[..., str | None]] = {
    "loss": lambda content: loss_chart(content.training.loss, content.training.validation_loss),
    "throughput": lambda content: throughput_chart(content.training.speeds),
    "metric": lambda content, name: metric_chart(name, content.metrics[name]),
    "forest": lambda content, name: forest_chart(content.comparisons[name]),
}
"""Charts by name; those of a metric take its name too."""


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` into the run folder and return its path; shows the data that exist, however the run ended."""
    write_atomically(folder.report, render(gather(folder)))
    return folder.report


def render(content: Content) -> str:
    """The report as one HTML document; equal content gives an equal page."""
    from markupsafe import Markup

    environment = _environment(content)
    sections = [
        (section, Markup(_render_section(environment, section, content)))  # noqa: S704 - escaped by its template
        for section in SECTIONS
        if section.is_shown(content)
    ]
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    page = environment.get_template("report.html.j2")
    return page.render(headline=headline(content), sections=sections, style=style)


def _environment(content: Content) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def chart(name: str, *arguments: str) -> Markup | None:
        svg = CHARTS[name](content, *arguments)
        return None if svg is None else Markup(svg)  # noqa: S704 - drawn and escaped by matplotlib

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    environment.globals.update(run=content, chart=chart, domain_rows=domain_rows)
    return environment


def _render_section(environment: Environment, section: Section, content: Content) -> str:
    from jinja2 import UndefinedError

    try:
        return environment.get_template(f"{section.id}.html.j2").render()
    except (UndefinedError, LookupError, TypeError, ValueError, AttributeError) as error:
        content.notes.append(f"the section {section.title}, as a product has not the expected shape: {error}")
        return environment.get_template("not_shown.html.j2").render()
