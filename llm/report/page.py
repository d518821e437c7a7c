"""The page itself: content and charts through one template, styles inside, nothing fetched."""

from __future__ import annotations

from pathlib import Path

from llm.report.charts import bits_chart, forest_chart, loss_chart, throughput_chart
from llm.report.content import Content, gather
from llm.report.figures import FILTERS
from llm.runs.folder import RunFolder
from llm.storage import write_atomically

TEMPLATES = Path(__file__).parent / "templates"


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` into the run folder and return its path; shows what is there, however the run ended."""
    write_atomically(folder.report, render(gather(folder)))
    return folder.report


def render(content: Content) -> str:
    """The report as one HTML document; equal content gives an equal page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    style = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    charts = {name: Markup(svg) for name, svg in draw(content).items()}  # noqa: S704 - drawn and escaped by matplotlib
    return environment.get_template("report.html.j2").render(run=content, charts=charts, style=style)


def draw(content: Content) -> dict[str, str]:
    """The charts for which there is something to draw, as SVG."""
    charts = {}
    if len(content.training_loss) > 1:
        charts["loss"] = loss_chart(content.training_loss, content.validation_loss)
    if len(content.speeds) > 1:
        charts["throughput"] = throughput_chart(content.speeds)
    if rows := content.rows():
        charts["bits"] = bits_chart(rows)
    if content.gate is not None and content.gate["comparisons"]:
        charts["forest"] = forest_chart(content.gate["comparisons"])
    return charts
