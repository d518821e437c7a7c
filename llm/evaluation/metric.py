"""The definition of a metric, and the way from a name in `evaluation.metrics` to it.

A metric measures *items* of held-out work: documents, questions, requests. It gives one row an item:

    id        it pairs two models' values; unique
    domain    the part of the test set; figures are given overall and by domain
    cluster   items that are not independent share it (documents made from one another, questions on one text)
    weight    how much the item counts, above 0: bytes of a document, 1 for a question; any kind of number
    value     the item's own figure in the metric's unit, finite; any kind of number, and yes counts as 1
    …         further columns of the metric's own, kept for its `details`

The figure of a set of items is the weighted mean of their values. With a weight such as bytes it is a ratio of
sums. Everything else follows from the rows, for every metric alike: intervals over clusters
(`statistics/`), the paired comparison with a champion (`gate/`), and the words of the report and the terminal.

A name is looked for in three places: a module of `llm.evaluation` with an object `METRIC`, an entry point of the group
`gristmill.metrics`, and an import path `package.module:OBJECT`. Modules of metrics are imported before the first step
of a run, so they load heavy libraries inside their functions. How-to: docs/extend/metric.md.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from llm.config import EvaluationConfig, GateConfig, import_named, nearest
from llm.errors import UserError
from llm.storage.recipe.sources import check_sources

if TYPE_CHECKING:
    import polars as pl

    from llm.generation import Generator

Better = Literal["lower", "higher"]
Figures = Mapping[str, float | int | None]
HOME = "llm.evaluation"
ENTRY_POINTS = "gristmill.metrics"
ATTRIBUTE = "METRIC"
OVERALL = "overall"
"""Name of the totals, which no domain may have."""
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Subject:
    """The subject of a metric: a model, and the documents of the test split that are scored.

    `documents` has the columns id, domain, cluster, text and bytes (of the text in UTF-8), by domain and id.
    """

    generator: Generator
    documents: pl.DataFrame
    window_tokens: int
    """Length of the windows that the model reads: that of its training sequences."""
    batch_size: int
    """Full windows in one forward pass."""
    progress: Callable[[str, int, int], None]
    """Takes the word for the items, how many are done, and how many there are."""

    def items(
        self, value: Sequence[float], weight: Sequence[float] | pl.Series | None = None, **columns: Any
    ) -> pl.DataFrame:
        """One row a document, in the documents' order; each counts the same if no weight is given."""
        import polars as pl

        return self.documents.select("id", "domain", "cluster").with_columns(
            weight=pl.lit(1) if weight is None else pl.Series(weight), value=pl.Series(value), **columns
        )


def nothing(subject: Subject, items: pl.DataFrame) -> Figures:
    """No figures."""
    return {}


@dataclass(frozen=True)
class Metric:
    """A figure of a model's quality; every field is shown, so none of them repeats another."""

    name: str
    """Lower-case letters, digits and `_`: the key in products, in MLflow (`test/NAME`) and in `gate.metrics`."""
    unit: str
    """In words, such as "errors per word"; a share of one is "share"."""
    better: Better
    """Which direction is an improvement."""
    measure: Callable[[Subject], pl.DataFrame]
    """The items of a subject."""
    about: str = ""
    """The meaning of the figure, in one or two sentences for the report."""
    item: str = "document"
    """The word for an item, in the singular."""
    weight_unit: str | None = None
    """Unit of the weights; None: items are counted."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """The way of measuring: two models are compared only if this is equal. Change it when the meaning changes."""
    references: Callable[[Subject, pl.DataFrame], Figures] = nothing
    """Other yardsticks for a set of items, in the metric's own unit: gzip for text, chance for an accuracy."""
    details: Callable[[Subject, pl.DataFrame], Figures] = nothing
    """Further figures of a set of items, each in its own unit."""

    def __post_init__(self) -> None:
        """Raise ValueError for a name that cannot be a key, and for what the products cannot hold."""
        if not NAME.fullmatch(self.name):
            raise ValueError(f"metric name {self.name!r}: use lower-case letters, digits and _")
        if self.better not in get_args(Better):
            raise ValueError(f"metric {self.name}: better={self.better!r} must be one of {', '.join(get_args(Better))}")
        for word in ("unit", "about", "item"):
            if not isinstance(getattr(self, word), str):
                raise ValueError(f"metric {self.name}: {word}={getattr(self, word)!r} must be a string")
        try:
            json.dumps(dict(self.protocol), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metric {self.name}: the protocol must be plain JSON: {error}") from error

    @property
    def sign(self) -> int:
        """Turns a difference into a loss of quality: positive is worse."""
        return 1 if self.better == "lower" else -1


def find_metrics(names: Sequence[str]) -> list[Metric]:
    """The metrics that the names choose; raises UserError for a name that finds none, or finds one twice."""
    found = [find_metric(name) for name in names]
    twice = sorted({metric.name for metric in found if [other.name for other in found].count(metric.name) > 1})
    if twice:
        raise UserError(f"evaluation.metrics names {', '.join(twice)} more than once", "Name each metric once.")
    return found


def find_metric(name: str) -> Metric:
    """The metric that a name chooses; raises UserError if there is none."""
    module_name, attribute = source_of(name)
    found = import_named(
        f"evaluation.metrics: {name}", module_name, attribute,
        "Write a name, or package.module:OBJECT. Install the package here, or name its folder in PYTHONPATH.",
    )  # fmt: skip
    if not isinstance(found, Metric):
        raise UserError(
            f"evaluation.metrics: {module_name}:{attribute} is a {type(found).__name__}, not a Metric",
            "Make it a llm.evaluation.metric.Metric, as docs/extend/metric.md shows.",
        )
    return found


def check_metrics(evaluation: EvaluationConfig, gate: GateConfig) -> None:
    """Raise UserError for a metric that is not there or has no source, or that only the gate names."""
    measured = [metric.name for metric in find_metrics(evaluation.metrics)]
    check_sources(source_of(name)[0] for name in evaluation.metrics)
    unmeasured = sorted(set(gate.metrics) - set(measured))
    if unmeasured:
        raise UserError(
            f"gate.metrics names {', '.join(unmeasured)}, and evaluation.metrics measures {', '.join(measured)}",
            "Add it to evaluation.metrics, or take it out of gate.metrics.",
        )


def source_of(name: str) -> tuple[str, str]:
    """Module and attribute that a name stands for; raises UserError if nothing has the name."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        return module, attribute
    if NAME.fullmatch(name) and _holds_metric(name):
        return f"{HOME}.{name}", ATTRIBUTE
    installed = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name in installed:
        return installed[name].module, installed[name].attr or ATTRIBUTE
    raise UserError(
        f"evaluation.metrics: there is no metric named {name}",
        f"{nearest(name, [*_ours(), *installed])} An import path package.module:OBJECT is allowed too.",
    )


def _ours() -> list[str]:
    import pkgutil

    return [module.name for module in pkgutil.iter_modules(importlib.import_module(HOME).__path__)
            if _holds_metric(module.name)]  # fmt: skip


def _holds_metric(name: str) -> bool:
    """Whether a module of ours has a metric, known from its text: to import them all would load torch."""
    spec = importlib.util.find_spec(f"{HOME}.{name}")
    if spec is None or spec.origin is None or name == "metric":
        return False
    assigned_or_imported = rf"^{ATTRIBUTE}\b|\bimport\b.*\b{ATTRIBUTE}\b"
    return re.search(assigned_or_imported, Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE) is not None


def check_items(metric: Metric, items: pl.DataFrame) -> pl.DataFrame:
    """The items in order, value and weight as Float64: a difference of unsigned integers would never be below 0.

    Raises UserError naming the metric and the first bad item.
    """
    import polars as pl

    if not isinstance(items, pl.DataFrame):
        raise UserError(
            f"the metric {metric.name} gave a {type(items).__name__}, not a polars DataFrame",
            "Let `measure` return subject.items(…), or a table of its own.",
        )
    missing = {"id", "domain", "cluster", "weight", "value"} - set(items.columns)
    if missing:
        raise UserError(f"the metric {metric.name} gave items without {', '.join(sorted(missing))}")
    if items.is_empty():
        raise UserError(f"the metric {metric.name} found nothing to measure", "Ingest more text.")
    for column in ("id", "domain", "cluster"):
        if items[column].has_nulls():
            raise UserError(
                f"the metric {metric.name} gave {items[column].null_count()} of {len(items)} items no {column}",
                "Give every item one.",
            )
    if OVERALL in items["domain"].cast(pl.String):
        raise UserError(f"the metric {metric.name} calls a domain {OVERALL}", "It is the name of the totals.")
    objects = [name for name, kind in items.schema.items() if kind == pl.Object]
    if objects:
        raise UserError(
            f"the metric {metric.name} gave Python objects in {', '.join(objects)}", "Give a column plain values."
        )
    if items["id"].n_unique() < len(items):
        raise UserError(f"the metric {metric.name} gave several items one id", "Give every item an id of its own.")
    numbers = items.with_columns(pl.col("value", "weight").cast(pl.Float64, strict=False))
    finite = numbers["value"].is_finite() & numbers["weight"].is_between(0, float("inf"), closed="none")
    bad = items.filter(~finite.fill_null(value=False))
    if not bad.is_empty():
        first = bad.row(0, named=True)
        raise UserError(
            f"the metric {metric.name} has no finite value or no positive weight for {len(bad)} of {len(items)}"
            f" {metric.item}s",
            f"The first is {first['id']}: value {first['value']}, weight {first['weight']}.",
        )
    return numbers.sort("domain", "id")


def check_figures(metric: Metric, what: str, figures: object) -> dict[str, float | int | None]:
    """The figures that `references` or `details` gave, as plain numbers; raises UserError for what is no figure."""
    if not isinstance(figures, Mapping):
        raise UserError(
            f"the {what} of the metric {metric.name} are a {type(figures).__name__}, not a mapping",
            "Return names with their numbers, or {}.",
        )
    checked: dict[str, float | int | None] = {}
    for name, value in figures.items():
        if not isinstance(name, str) or not isinstance(value, Real | None):
            raise UserError(
                f"the {what} of the metric {metric.name} have {name!r}: {value!r}",
                "A figure is a number or None, and its name is a string.",
            )
        checked[name] = value if value is None else int(value) if isinstance(value, Integral) else float(value)
    return checked
