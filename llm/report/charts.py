"""Plots as SVG inside the page: text stays text, and the colours are those of the page.

matplotlib draws in stand-in colours, which are then replaced by the page's CSS variables, so that a plot follows the
reader's light or dark scheme. Equal data gives equal bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from llm.evaluation.words import direction, heading, title
from llm.words import scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, MODEL, OTHER, THIRD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
GOOD, BAD, UNSURE = "#070707", "#080808", "#090909"
VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--line", MODEL: "--model", OTHER: "--other", THIRD: "--third",
    GOOD: "--good", BAD: "--bad", UNSURE: "--unsure",
}  # fmt: skip
REFERENCES = ((OTHER, "D"), (THIRD, "s"), (MUTED, "^"))
"""Colour and marker of a metric's references, in their order."""
WIDTH_INCHES = 5.2
ROW_INCHES = 0.42
Row = Mapping[str, Any]


def loss_chart(training: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]]) -> str | None:
    """Training loss as a line, validation loss as points on one; (step, nats per token) each.

    None, as for the other charts, if there is too little to draw.
    """
    if len(training) < 2:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(*zip(*training, strict=True), color=MODEL, linewidth=1.1, label="training")
        if validation:
            axes.plot(*zip(*validation, strict=True), color=OTHER, linewidth=1.1, marker="o", markersize=4,
                      label="validation")  # fmt: skip
        _over_steps(axes)
        axes.set_ylabel("nats per token")
        axes.legend(frameon=False, labelcolor=INK)

    return _svg("Loss over the steps of the training", "loss", 2.9, draw)


def throughput_chart(speeds: Sequence[tuple[int, float]]) -> str | None:
    """Tokens a second over the steps."""
    if len(speeds) < 2:
        return None

    def draw(axes: Axes) -> None:
        axes.plot(*zip(*speeds, strict=True), color=MODEL, linewidth=1.1)
        axes.set_ylim(0, 1.12 * max(speed for _, speed in speeds))
        _over_steps(axes)
        axes.set_ylabel("tokens per second")
        axes.yaxis.set_major_formatter(lambda value, _: scaled(value))

    return _svg("Throughput over the steps of the training", "throughput", 2.9, draw)


def metric_chart(name: str, about: Row) -> str | None:
    """A metric overall and by domain: the model with its interval, and the metric's references on the same items."""
    rows = domain_rows(about)

    def draw(axes: Axes) -> None:
        for place, (_, row) in enumerate(rows):
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [place, place], color=MODEL, linewidth=2, solid_capstyle="butt")
        _scatter(axes, "model", [row["value"] for _, row in rows], MODEL, "o", 4)  # the model lies on top
        others = zip(about["overall"]["references"], cycle(REFERENCES), strict=False)
        for reference, (colour, marker) in others:
            _scatter(axes, reference, [row["references"].get(reference) for _, row in rows], colour, marker, 3)
        _name_rows(axes, [domain for domain, _ in rows])
        axes.set_xlabel(f"{heading(name, about['unit'])}, {direction(about['better'])}")
        axes.legend(frameon=False, labelcolor=INK, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))

    return _svg(f"{title(name)} by domain", f"metric-{name}", 1.3 + ROW_INCHES * len(rows), draw)


def domain_rows(about: Row) -> list[tuple[str, Row]]:
    """A metric's figures, overall first, then by domain."""
    return [("overall", about["overall"]), *sorted(about["domains"].items())]


def forest_chart(comparisons: Sequence[Row]) -> str | None:
    """The gate on one metric: each difference to the champion with its margin, or each value with its floor."""
    if not comparisons:
        return None
    floors = all(row["difference"] is None for row in comparisons)
    unit = comparisons[0].get("unit", "")

    def draw(axes: Axes) -> None:
        for place, row in enumerate(comparisons):
            _forest_row(axes, place, row, "candidate" if floors else "difference")
        if not floors:
            axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.margins(x=0.12)
        _name_rows(axes, [row["domain"] for row in comparisons])
        axes.set_xlabel(unit if floors else f"difference in {unit}" if unit else "difference")

    return _svg("The gate's comparisons", f"forest-{comparisons[0].get('metric')}",
                1.0 + ROW_INCHES * len(comparisons), draw)  # fmt: skip


def _forest_row(axes: Axes, place: int, row: Row, value: str) -> None:
    colour = GOOD if row["passed"] else BAD if row.get("failed", True) else UNSURE
    if row["rule"] != "none":
        mark = row["margin"] if value == "candidate" or row.get("better", "lower") == "lower" else -row["margin"]
        axes.plot([mark] * 2, [place - 0.32, place + 0.32], color=MUTED, linewidth=1.4, linestyle=(0, (2, 1.5)))
    if row[value] is None:
        return
    if value == "difference" and row["low"] is not None:
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
    axes.scatter([row[value]], [place], color=colour, s=34, zorder=3)


def _scatter(axes: Axes, label: str, values: Sequence[float | None], colour: str, marker: str, layer: int) -> None:
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    axes.scatter([value for value, _ in known], [place for _, place in known], color=colour, marker=marker, s=26,
                 label=label, zorder=layer)  # fmt: skip


def _over_steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.locator_params(axis="x", integer=True)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name if len(name) <= 24 else f"{name[:23]}…" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _svg(label: str, salt: str, height_inches: float, draw: Callable[[Axes], None]) -> str:
    """Draw on one pair of axes in the page's manner; returns an `<svg>` element with a label for screen readers."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": f"gristmill-{salt}", "font.size": 10, "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED, "grid.color": GRID,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.linewidth": 0.6,
        "axes.axisbelow": True, "text.parse_math": False,
    }  # fmt: skip
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's fonts show it
        figure: Figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        draw(figure.add_subplot())
        output = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(output, format="svg", transparent=True, metadata=nothing)
    return _for_the_page(output.getvalue(), label)


def _for_the_page(svg: str, label: str) -> str:
    """Only the element, in the page's colours and font, as wide as its place, naming no address."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every plot, and nothing refers to them
    for attribute in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {attribute}="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()
