"""The gate's arithmetic and rules: what is compared, and which verdict follows.

Against a champion, each metric gives one comparison overall and one per domain: the paired difference, candidate minus
champion, with its bootstrap interval over clusters of items (`statistics/`). A difference is read in the metric's own
direction: what follows says "worse" for "higher" of a metric in which less is better.

* *superiority* overall: the whole interval lies on the better side of 0;
* *non-inferiority* in each domain, or overall too where `gate.metrics.NAME.overall` says so: the interval ends before
  it is worse by more than the margin (Piaggio et al. 2012, doi:10.1001/jama.2012.87802).

| verdict | when |
| --- | --- |
| FAIL | overall the whole interval is worse than 0 (or the margin), or in some domain worse than the margin |
| PASS | every comparison holds |
| INCONCLUSIVE | neither: the items cannot decide; the detectable effect says which difference they could have shown |

A metric that `gate.metrics` does not name is compared and shown, and decides nothing.

*Multiplicity.* PASS asks for all comparisons at once, an intersection-union test: each may be read at the full
level, and a wrong PASS stays below (1 - confidence) / 2 without a correction (Berger 1982,
doi:10.1080/00401706.1982.10487790). FAIL asks for any one of m, so the *word* FAIL in place of INCONCLUSIVE may be
wrong with probability up to m (1 - confidence) / 2; nothing is corrected, since both keep the champion.

Without a champion there is nothing to be paired with: absolute floors for the point estimates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from llm.config.sections import MetricRule
from llm.errors import UserError
from llm.evaluation.metric import OVERALL
from llm.evaluation.statistics.bootstrap import detectable_effect
from llm.evaluation.statistics.intervals import Intervals, weighted_mean

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Rule = Literal["superiority", "non-inferiority", "floor", "none"]


@dataclass(frozen=True)
class Comparison:
    """One line of the gate, in the metric's unit; `domain` may be "overall".

    `difference` is candidate minus champion. None: not known. The rule "none" informs, and decides nothing.
    """

    metric: str
    unit: str
    better: str
    item: str
    domain: str
    rule: Rule
    candidate: float | None
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    detectable_effect: float | None
    items: int
    effective_items: float | None
    passed: bool
    failed: bool
    unknown_because: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, numbers to six digits; what is not finite is None."""
        return {name: finite(value) if isinstance(value, float) else value for name, value in asdict(self).items()}


def finite(value: float | None) -> float | None:
    """The number to six digits; None if it is missing, infinite or not a number, for JSON knows none of these."""
    return round(value, 6) if value is not None and math.isfinite(value) else None


def compare(
    metric: str, about: Mapping[str, Any], pairs: pl.DataFrame, rule: MetricRule | None, intervals: Intervals
) -> list[Comparison]:
    """Compare a metric overall and per domain; `pairs` as of `pairing.pair_items`, `about` as in summary.json."""
    overall: Rule = "none" if rule is None else rule.overall
    domains: Rule = "none" if rule is None else "non-inferiority"
    margin = 0.0 if rule is None else rule.margin
    comparisons = [_compare(metric, about, OVERALL, pairs, overall, margin, intervals)]
    for (domain,), rows in pairs.group_by("domain", maintain_order=True):
        comparisons.append(_compare(metric, about, str(domain), rows, domains, margin, intervals))
    return comparisons


def check_floors(metric: str, about: Mapping[str, Any], rule: MetricRule) -> list[Comparison]:
    """Hold a metric's figures against its configured floors; raises UserError for a domain that it lacks."""
    domains = about["domains"]
    unknown = sorted(set(rule.domain_floors) - set(domains))
    if unknown:
        raise UserError(
            f"gate.metrics.{metric}.domain_floors names {', '.join(unknown)}: no such domain was evaluated",
            f"evaluated: {', '.join(sorted(domains))}",
        )
    floors = [] if rule.floor is None else [_floor(metric, about, OVERALL, about["overall"], rule.floor)]
    by_domain = sorted(rule.domain_floors.items())
    return floors + [_floor(metric, about, name, domains[name], floor) for name, floor in by_domain]


def decide(comparisons: Sequence[Comparison]) -> Verdict:
    """The verdict that follows from the comparisons that decide."""
    deciding = [comparison for comparison in comparisons if comparison.rule != "none"]
    if any(comparison.failed for comparison in deciding):
        return "FAIL"
    return "PASS" if all(comparison.passed for comparison in deciding) else "INCONCLUSIVE"


def _compare(
    metric: str, about: Mapping[str, Any], name: str, pairs: pl.DataFrame, rule: Rule, margin: float,
    intervals: Intervals,
) -> Comparison:  # fmt: skip
    candidate, champion = (pl.col(name).cast(pl.Float64) for name in ("candidate", "champion"))
    rows = pairs.with_columns(candidate, champion, difference=candidate - champion)  # unsigned integers would wrap
    estimate = weighted_mean(rows, intervals, "difference")
    if rule != "non-inferiority":
        margin = 0.0
    best, worst = _losses(estimate.low, estimate.high, about["better"])
    return Comparison(
        **_names(metric, about),
        domain=name,
        rule=rule,
        candidate=_mean(rows, "candidate"),
        champion=_mean(rows, "champion"),
        difference=estimate.value,
        low=estimate.low,
        high=estimate.high,
        margin=margin,
        detectable_effect=detectable_effect(estimate.standard_error, intervals.confidence),
        items=len(rows),
        effective_items=estimate.effective,
        passed=worst is not None and (worst <= margin if rule == "non-inferiority" else worst < margin),
        failed=best is not None and best > margin,
        unknown_because=estimate.unknown_because,
    )


def _losses(low: float | None, high: float | None, better: str) -> tuple[float | None, float | None]:
    """The interval of the difference as a loss of quality: its best and its worst end."""
    if low is None or high is None:
        return None, None
    return (low, high) if better == "lower" else (-high, -low)


def _floor(metric: str, about: Mapping[str, Any], name: str, figures: Mapping[str, Any], floor: float) -> Comparison:
    value = figures["value"]
    holds = value is not None and (value <= floor if about["better"] == "lower" else value >= floor)
    return Comparison(
        **_names(metric, about),
        domain=name,
        rule="floor",
        candidate=value,
        champion=None,
        difference=None,
        low=None,
        high=None,
        margin=floor,
        detectable_effect=None,
        items=int(figures["items"]),
        effective_items=None,
        passed=holds,
        failed=not holds,
    )


def _names(metric: str, about: Mapping[str, Any]) -> dict[str, str]:
    return {"metric": metric, "unit": about["unit"], "better": about["better"], "item": about["item"]}


def _mean(rows: pl.DataFrame, column: str) -> float:
    weights = rows["weight"].to_numpy().astype(np.float64)
    return float(rows[column].to_numpy() @ weights / weights.sum())
