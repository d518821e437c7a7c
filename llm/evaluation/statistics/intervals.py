"""The figure of a metric's items with its interval: the weighted mean, resampled over clusters within domains.

Items of one cluster are not independent, so a cluster is one draw. A cluster that lies in several domains is a stratum
of its own ("code+prose").
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from llm.evaluation.statistics.bootstrap import Estimate, estimate_ratio


@dataclass(frozen=True)
class Intervals:
    """Settings of intervals; a product records them, so that the gate reads its intervals as the scores' were made."""

    confidence: float
    resamples: int
    seed: int


def weighted_mean(items: pl.DataFrame, intervals: Intervals, value: str = "value") -> Estimate:
    """Estimate the weighted mean of a column of items (columns domain, cluster, weight and that column)."""
    clusters = join_clusters(
        items.select("cluster", "domain", "weight", total=pl.col(value) * pl.col("weight").cast(pl.Float64))
    )
    return estimate_ratio(
        clusters["total"].to_numpy(), clusters["weight"].to_numpy(), clusters["domain"].to_list(),
        confidence=intervals.confidence, resamples=intervals.resamples, seed=intervals.seed,
    )  # fmt: skip


def join_clusters(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a cluster: numbers summed, domains joined by "+"; an item without relatives stays as it is.

    Ordered by cluster.
    """
    return (
        rows.group_by("cluster")
        .agg(pl.col("domain").unique().sort().str.join("+"), pl.exclude("cluster", "domain").sum())
        .sort("cluster")
    )
