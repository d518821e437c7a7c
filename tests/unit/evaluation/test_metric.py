"""A metric is found by its name, and its items are refused if they are none."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import llm
from llm.config import compose
from llm.errors import UserError
from llm.evaluation import metric
from llm.evaluation.bits_per_byte import METRIC
from llm.evaluation.metric import (
    Metric,
    check_figures,
    check_items,
    check_metrics,
    find_metric,
    find_metrics,
    source_of,
)

ITEMS = pl.DataFrame(
    {"id": ["b", "a"], "domain": ["code", "code"], "cluster": ["b", "a"], "weight": [1, 2], "value": [0.5, 1.0]}
)
OF_TRAINING = {"runs/event_kinds/training.py", "training/callbacks/_validate.py", "tracking/points.py",
               "tracking/progress.py"}  # fmt: skip
"""A meter of the validation split while a model is trained, which has the same unit."""
IMPORT_PATH = "llm.evaluation.bits_per_byte.metric:METRIC"


def test_a_metric_is_found_by_the_name_of_its_module():
    assert find_metrics(["bits_per_byte"]) == [METRIC]
    assert source_of("bits_per_byte") == ("llm.evaluation.bits_per_byte", "METRIC")


def test_a_metric_is_found_by_its_import_path():
    assert find_metric(IMPORT_PATH) is METRIC


def test_a_metric_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch):
    point = EntryPoint("theirs", IMPORT_PATH, metric.ENTRY_POINTS)
    monkeypatch.setattr(metric.importlib.metadata, "entry_points", lambda group: [point])
    assert find_metric("theirs") is METRIC


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bits_per_bite", r"there is no metric named bits_per_bite\n  Did you mean bits_per_byte\? An import path"),
        ("evaluate", r"there is no metric named evaluate"),
        ("metric", r"there is no metric named metric"),
        ("../x", r"there is no metric named ../x"),
        ("no_such_package.m:METRIC", r"no_such_package.m:METRIC cannot be imported: No module named 'no_such_package'"),
        ("llm.evaluation.bits_per_byte:OTHER", r"cannot be imported: .* has no attribute 'OTHER'\n  Write a name, or"),
        ("llm.evaluation.metric:NAME", r"llm.evaluation.metric:NAME is a Pattern, not a Metric\n  Make it"),
    ],
)
def test_a_name_without_a_metric_is_refused_with_what_is_allowed(name: str, message: str):
    with pytest.raises(UserError, match=message):
        find_metric(name)


def test_a_gate_by_a_metric_that_is_not_measured_is_refused_before_the_first_step():
    config = compose(["gate.metrics.accuracy.margin=0.1"])
    with pytest.raises(
        UserError, match=r"gate.metrics names accuracy, and evaluation.metrics measures bits_per_byte\n"
    ):
        check_metrics(config.evaluation, config.gate)
    check_metrics(compose().evaluation, compose().gate)


def test_a_metric_that_is_named_twice_is_refused():
    with pytest.raises(UserError, match=r"names bits_per_byte more than once"):
        find_metrics(["bits_per_byte", IMPORT_PATH])


@pytest.mark.parametrize("name", ["", "Accuracy", "a/b", "a.b", "1st"])
def test_a_name_that_cannot_be_a_key_is_refused(name: str):
    with pytest.raises(ValueError, match="use lower-case letters, digits and _"):
        Metric(name, "share", "higher", lambda subject: ITEMS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("better", "up", "better='up' must be one of lower, higher"),
        ("unit", None, "unit=None must be a string"),
        ("protocol", {"dtype": pl.Float64}, "the protocol must be plain JSON"),
        ("protocol", {"limit": float("nan")}, "the protocol must be plain JSON"),
    ],
)
def test_a_field_that_the_products_cannot_hold_is_refused(field: str, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        replace(METRIC, **{field: value})


@pytest.mark.parametrize("figures", [None, 0.5, {"chance": "half"}, {3: 0.5}, {"chance": [0.5]}])
def test_figures_that_are_none_are_refused_by_the_first(figures: object):
    with pytest.raises(UserError, match=r"the references of the metric bits_per_byte (are a|have)"):
        check_figures(METRIC, "references", figures)


def test_figures_of_any_kind_of_number_become_plain_numbers():
    figures = check_figures(METRIC, "details", {"a": np.float32(0.5), "b": np.int64(3), "c": None, "d": 2})
    assert figures == {"a": 0.5, "b": 3, "c": None, "d": 2}
    assert [type(value) for value in figures.values()] == [float, int, type(None), int]


def test_items_are_put_in_the_order_of_their_domains_and_ids():
    assert check_items(METRIC, ITEMS)["id"].to_list() == ["a", "b"]


@pytest.mark.parametrize("kind", [pl.UInt8, pl.UInt32, pl.Int64, pl.Boolean, pl.Float32])
def test_values_and_weights_become_floats_whatever_a_metric_gave(kind: type[pl.DataType]):
    items = check_items(METRIC, ITEMS.with_columns(value=pl.lit(1).cast(kind), weight=pl.lit(1).cast(kind)))
    assert items.schema["value"] == items.schema["weight"] == pl.Float64
    assert items["value"].to_list() == items["weight"].to_list() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (None, r"gave a NoneType, not a polars DataFrame"),
        ([0.5, 1.0], r"gave a list, not a polars DataFrame"),
        (ITEMS.with_columns(id=pl.Series(["a", None])), r"gave 1 of 2 items no id"),
        (ITEMS.with_columns(domain=pl.lit(None)), r"gave 2 of 2 items no domain"),
        (ITEMS.with_columns(cluster=pl.lit(None)), r"gave 2 of 2 items no cluster"),
        (ITEMS.with_columns(domain=pl.lit("overall")), r"calls a domain overall\n  It is the name of the totals"),
        (ITEMS.with_columns(seen=pl.Series([object(), object()], dtype=pl.Object)), r"gave Python objects in seen"),
        (ITEMS.drop("cluster", "value"), r"gave items without cluster, value"),
        (ITEMS[:0], r"found nothing to measure"),
        (ITEMS.with_columns(id=pl.lit("a")), r"gave several items one id"),
        (
            ITEMS.with_columns(value=pl.Series([0.5, float("nan")])),
            r"1 of 2 documents\n  The first is a: value nan",
        ),
        (ITEMS.with_columns(value=pl.Series([float("inf"), 1.0])), r"no finite value or no positive weight for 1 of 2"),
        (ITEMS.with_columns(value=pl.Series([None, 1.0])), r"The first is b: value None, weight 1"),
        (ITEMS.with_columns(weight=pl.Series([0, 1])), r"The first is b: value 0.5, weight 0"),
        (ITEMS.with_columns(value=pl.Series(["much", "1"])), r"The first is b: value much, weight 1"),
    ],
)
def test_items_that_are_none_are_refused_by_the_first(items: pl.DataFrame, message: str):
    with pytest.raises(UserError, match=message):
        check_items(METRIC, items)


def test_a_metric_is_named_in_its_own_room_and_in_the_configuration_only():
    package = Path(llm.__file__).parent
    naming = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.suffix in (".py", ".j2", ".css") and re.search("bits.(per.)?byte", path.read_text(encoding="utf-8"))
    }
    elsewhere = {name for name in naming if not name.startswith("evaluation/bits_per_byte/")}
    assert elsewhere - OF_TRAINING == {"config/renamed.py", "config/sections/evaluation.py"}


def test_finding_the_metrics_loads_no_heavy_library():
    program = (
        "import sys; from llm.evaluation.metric import find_metrics; find_metrics(['bits_per_byte']);"
        "print(sorted({'torch', 'polars', 'numpy', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.strip() == "[]"
