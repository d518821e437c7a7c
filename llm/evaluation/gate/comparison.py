"""The gate's arithmetic and rules: what is compared, and which verdict follows.

Against a champion, one comparison overall and one per domain, each of the paired difference in bits per byte,
candidate minus champion (below 0 is better), with its bootstrap interval over documents (`bootstrap.py`):

* *superiority* overall: the whole interval lies below 0;
* *non-inferiority* in each domain: the interval's upper end is at most the margin (Piaggio et al. 2012,
  doi:10.1001/jama.2012.87802).

| verdict | when |
| --- | --- |
| FAIL | overall the whole interval lies above 0, or in some domain above the margin |
| PASS | every comparison holds |
| INCONCLUSIVE | neither: the documents cannot tell; the detectable effect says what they could have told |

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

from llm.config.sections import GateConfig
from llm.errors import UserError
from llm.evaluation.selection import join_origins
from llm.evaluation.statistics.bootstrap import FEWEST_DOCUMENTS, detectable_effect, estimate_ratio

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
OVERALL = "overall"


@dataclass(frozen=True)
class Comparison:
    """One line of the gate, in bits per byte; `domain` may be "overall".

    `difference` is candidate minus champion. None: not known.
    """

    domain: str
    rule: Literal["superiority", "non-inferiority", "floor"]
    candidate: float
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    detectable_effect: float | None
    documents: int
    passed: bool
    failed: bool

    def as_json(self) -> dict[str, Any]:
        """Plain values, numbers to six digits."""
        return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(self).items()}


def compare(pairs: pl.DataFrame, config: GateConfig) -> list[Comparison]:
    """Compare overall and per domain; `pairs` has the columns of `pairing.pair_documents`."""
    comparisons = [_compare(OVERALL, pairs, 0.0, config)]
    for (domain,), rows in pairs.group_by("domain", maintain_order=True):
        comparisons.append(_compare(str(domain), rows, config.non_inferiority_margin, config))
    return comparisons


def check_floors(summary: Mapping[str, Any], config: GateConfig) -> list[Comparison]:
    """Hold an evaluation's summary against the configured floors; raises UserError for a domain it lacks."""
    domains = summary["domains"]
    unknown = sorted(set(config.max_domain_bits_per_byte) - set(domains))
    if unknown:
        raise UserError(
            f"gate.max_domain_bits_per_byte names {', '.join(unknown)}: no such domain was evaluated",
            f"evaluated: {', '.join(sorted(domains))}",
        )
    floors = [_floor(OVERALL, summary["overall"], config.max_bits_per_byte)]
    by_domain = sorted(config.max_domain_bits_per_byte.items())
    return floors + [_floor(name, domains[name], floor) for name, floor in by_domain]


def decide(comparisons: Sequence[Comparison]) -> Verdict:
    """The verdict that follows from the comparisons."""
    if any(comparison.failed for comparison in comparisons):
        return "FAIL"
    return "PASS" if all(comparison.passed for comparison in comparisons) else "INCONCLUSIVE"


def _compare(name: str, rows: pl.DataFrame, margin: float, config: GateConfig) -> Comparison:
    clusters = join_origins(rows.select("origin", "domain", "bytes", "candidate", "champion"))
    sizes = clusters["bytes"].to_numpy().astype(np.float64)
    ours, theirs = (clusters[column].to_numpy() / math.log(2) for column in ("candidate", "champion"))
    estimate = estimate_ratio(
        ours - theirs, sizes, clusters["domain"].to_list(),
        confidence=config.confidence, resamples=config.bootstrap_resamples, seed=config.seed,
    )  # fmt: skip
    low, high = estimate.low, estimate.high
    superiority = name == OVERALL
    return Comparison(
        domain=name,
        rule="superiority" if superiority else "non-inferiority",
        candidate=float(ours.sum() / sizes.sum()),
        champion=float(theirs.sum() / sizes.sum()),
        difference=estimate.value,
        low=low,
        high=high,
        margin=margin,
        detectable_effect=detectable_effect(estimate.standard_error, config.confidence),
        documents=len(rows),
        passed=high is not None and (high < margin if superiority else high <= margin),
        failed=low is not None and low > margin,
    )


def _floor(name: str, figures: Mapping[str, Any], floor: float) -> Comparison:
    value = float(figures["bits_per_byte"])
    return Comparison(
        domain=name,
        rule="floor",
        candidate=value,
        champion=None,
        difference=None,
        low=None,
        high=None,
        margin=floor,
        detectable_effect=None,
        documents=int(figures["documents"]),
        passed=value <= floor,
        failed=value > floor,
    )


def reason(comparison: Comparison, confidence: float) -> str:
    """One comparison in words, with its numbers."""
    name = comparison.domain
    if comparison.rule == "floor":
        holds = "holds" if comparison.passed else "misses"
        return f"{name}: {comparison.candidate:.3f} bits per byte {holds} the floor of {comparison.margin:g}"
    if comparison.low is None or comparison.high is None:
        return (
            f"{name}: {_documents(comparison.documents)} cannot tell (an interval needs the weight of at least"
            f" {FEWEST_DOCUMENTS}); the difference is {comparison.difference:+.4f} bits per byte"
        )
    return (
        f"{name}: {_outcome(comparison)}: {comparison.difference:+.4f} bits per byte,"
        f" {confidence:.0%} interval {comparison.low:+.4f} to {comparison.high:+.4f}"
        f" over {_documents(comparison.documents)}"
    )


def _outcome(comparison: Comparison) -> str:
    if comparison.rule == "superiority":
        words = "better", "worse", "neither better nor worse for certain"
    else:
        margin = f"worse by more than the margin of {comparison.margin:g}"
        words = f"not {margin}", margin, f"may be {margin}"
    return words[0] if comparison.passed else words[1] if comparison.failed else words[2]


def _documents(number: int) -> str:
    return "1 document" if number == 1 else f"{number} documents"
