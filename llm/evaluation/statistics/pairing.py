"""Two evaluations side by side, item by item: paired, or refused.

Documents differ far more than models do, so only differences on the same documents tell two models apart (a paired
standard error was 17 times smaller than an unpaired one here). Same means the same id (for a document a hash of its
text), in the same domain and cluster, with the same weight, measured under the same protocol of the metric. The
candidate decides which items count; a champion that was measured on more of them is cut to those.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from llm.errors import UserError
from llm.storage import Manifest

KEYS = ("id", "domain", "cluster", "weight")
REMEDY = "Score the champion again on this corpus: llm.evaluation.evaluate.rescore."


def covers(champion: Manifest, candidate: Manifest) -> bool:
    """Whether the champion's evaluation has every item of every metric of the candidate's, under the same protocol."""
    try:
        for metric in metrics_of(candidate):
            pair_items(candidate, champion, metric)
    except UnpairedError:
        return False
    return True


def pair_items(candidate: Manifest, champion: Manifest, metric: str) -> pl.DataFrame:
    """Rows (id, domain, cluster, weight, candidate, champion), by domain and id; the last two in the metric's unit.

    Raises UnpairedError if the champion lacks the metric or one of the candidate's items, or has another protocol.
    """
    theirs = metrics_of(champion).get(metric)
    if theirs is None:
        raise UnpairedError(f"the champion was not measured by {metric}", f"Its evaluation is {champion.id}.", REMEDY)
    ours = metrics_of(candidate)[metric]
    if ours["protocol"] != theirs["protocol"]:
        raise UnpairedError(
            f"candidate and champion were scored by different protocols of {metric}",
            f"candidate: {json.dumps(ours['protocol'])}",
            f"champion:  {json.dumps(theirs['protocol'])}",
            REMEDY,
        )
    rows = (
        items_of(candidate, metric)
        .select(*KEYS, candidate="value")
        .join(items_of(champion, metric).select(*KEYS, champion="value"), on=KEYS, how="left", validate="1:1")
    )
    missing = rows["champion"].null_count()
    if missing:
        item = f"{ours['item']}s"
        raise UnpairedError(
            f"candidate and champion were not scored on the same {item}: {missing} of {len(rows)} have no pair",
            f"metric {metric}; candidate: evaluation {candidate.id}; champion: evaluation {champion.id}",
            REMEDY,
        )
    return rows.sort("domain", "id")


def items_of(evaluation: Manifest, metric: str) -> pl.DataFrame:
    """The items of a metric of an evaluation; raises DamagedError.

    Earlier versions stored value and weight as the kind of number that the metric gave, so they become Float64 here.
    """
    items = pl.read_parquet(evaluation.file(items_file(metric)), glob=False)
    return items.with_columns(pl.col("value", "weight").cast(pl.Float64))


def items_file(metric: str) -> str:
    """The file in which an evaluation keeps the items of a metric."""
    return f"items/{metric}.parquet"


def metrics_of(evaluation: Manifest) -> dict[str, dict[str, Any]]:
    """The metrics of an evaluation; empty for one of an earlier version. Raises DamagedError."""
    summary = json.loads(evaluation.file("summary.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = summary.get("metrics", {})
    return found


class UnpairedError(UserError):
    """Two evaluations that cannot be compared item by item."""
