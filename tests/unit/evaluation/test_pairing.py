"""Items of two evaluations are paired whatever kind of number each of them stored."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from llm.evaluation.statistics.pairing import covers, items_file, pair_items
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import EvaluationCounts


def evaluation(store: Store, value: pl.Series, weight: pl.Series) -> Manifest:
    """An evaluation by the metric "right" of as many items as there are values."""
    names = [str(number) for number in range(len(value))]
    items = pl.DataFrame({"id": names, "domain": "x", "cluster": names, "weight": weight, "value": value})
    with store.stage("evaluation", Recipe(f"{value.dtype} {weight.dtype}", {})) as stage:
        (stage.path / "items").mkdir()
        items.write_parquet(stage.path / items_file("right"))
        (stage.path / "summary.json").write_text(json.dumps({"metrics": {"right": {"protocol": {}, "item": "word"}}}))
        return stage.commit(EvaluationCounts(figures={}, metrics={}))


@pytest.mark.parametrize(("ours", "theirs"), [(pl.Int64, pl.Float64), (pl.UInt8, pl.Float32), (pl.Boolean, pl.UInt32)])
def test_stored_items_of_other_kinds_of_numbers_are_paired(
    tmp_path: Path, ours: type[pl.DataType], theirs: type[pl.DataType]
):
    store = Store(str(tmp_path))
    low, high, ones = pl.Series([0, 1, 0]), pl.Series([1, 1, 1]), pl.Series([1, 1, 1])
    candidate = evaluation(store, low.cast(ours), ones.cast(ours))
    champion = evaluation(store, high.cast(theirs), ones.cast(theirs))
    rows = pair_items(candidate, champion, "right")
    assert (rows["candidate"] - rows["champion"]).to_list() == [-1.0, 0.0, -1.0]
    assert covers(champion, candidate)
