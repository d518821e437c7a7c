"""Confidence intervals of ratios of sums (weighted means) by a bootstrap over documents.

The document is the unit of resampling: the tokens of one document are correlated, so resampling tokens would
claim far too much certainty (clustered errors, Miller 2024, arXiv:2411.00640). A resample is a
multinomial vector of counts, and its estimate the ratio of the resampled sums (Davison and Hinkley 1997,
"Bootstrap Methods and their Application"). Documents made from one another are one entry (`intervals.py`). The same
holds for the items of every metric.

*Strata.* The number of documents of each domain is chosen, not drawn, so the overall figure is resampled within
domains. A domain with a single document shows no spread of its own: such domains are joined, and if one is still
alone it joins the smallest other (collapsed strata, Cochran 1977, "Sampling Techniques", section 5A.12).

*Few documents.* The plain percentile interval is too narrow by about sqrt((n-1)/n) and by the normal's quantile
in place of Student's. Its levels are therefore moved out (the expanded percentile interval: Hesterberg 2015,
"What Teachers Should Know About the Bootstrap", arXiv:1411.5279), with n the effective number of
documents: many small documents do not make up for one that holds most of the weight (Kish 1965). There is no interval
below FEWEST_DOCUMENTS effective documents, and none without a whole degree of freedom: each stratum costs one of the
effective number. An unknown figure is not shown as certain.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FEWEST_DOCUMENTS = 5
_CHUNK_COUNTS = 4_000_000  # counts held at a time: 32 MB


@dataclass(frozen=True)
class Estimate:
    """A ratio with its interval and standard error, all finite; None where the documents are too few to know."""

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    effective: float
    """Equal documents that would weigh as much as these (Kish 1965)."""
    strata: int
    """Groups of documents that are resampled on their own."""

    @property
    def unknown_because(self) -> str | None:
        """Why there is no interval, for people; None if there is one."""
        if self.low is not None:
            return None
        if self.effective < FEWEST_DOCUMENTS or self.effective >= self.strata + 1:
            return f"an interval needs the weight of at least {FEWEST_DOCUMENTS}"
        return (
            f"by weight they are {self.effective:.1f} equal ones in {self.strata} domains,"
            " and an interval needs at least one more than there are domains"
        )


def estimate_ratio(
    numerators: Floats, denominators: Floats, strata: Sequence[str], *, confidence: float, resamples: int, seed: int
) -> Estimate:
    """Estimate sum(numerators) / sum(denominators) over documents drawn within `strata`.

    One entry a document in all three; denominators are positive. Deterministic for a seed, and the draws of a
    stratum depend on its name and size alone.
    """
    numerators, denominators = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    value = float(numerators.sum() / denominators.sum())
    groups = collapsed_strata(strata)
    effective = float(denominators.sum() ** 2 / np.square(denominators).sum())
    enough = effective >= FEWEST_DOCUMENTS and effective >= len(groups) + 1 and min(map(len, groups.values())) >= 2
    if not enough:
        return Estimate(value, None, None, None, effective, len(groups))
    sums_R2 = np.zeros((resamples, 2))
    for name, members in groups.items():
        pairs_N2 = np.stack([numerators[members], denominators[members]], axis=1)
        sums_R2 += resampled_sums(pairs_N2, resamples, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    ratios_R = sums_R2[:, 0] / sums_R2[:, 1]
    inflation = math.sqrt(effective / (effective - len(groups)))
    level = expanded_level(confidence, effective, len(groups))
    low, high = np.quantile(ratios_R, [level, 1 - level])
    standard_error = float(ratios_R.std(ddof=1)) * inflation
    return Estimate(value, float(low), float(high), standard_error, effective, len(groups))


def resampled_sums(values_NK: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Column sums of `resamples` draws of N rows with replacement; shape (resamples, K)."""
    n = len(values_NK)
    chunk = max(1, _CHUNK_COUNTS // n)
    sums_RK = np.empty((resamples, values_NK.shape[1]))
    for first in range(0, resamples, chunk):
        size = min(chunk, resamples - first)
        sums_RK[first : first + size] = rng.multinomial(n, np.full(n, 1 / n), size=size) @ values_NK
    return sums_RK


def expanded_level(confidence: float, effective_documents: float, strata: int = 1) -> float:
    """Tail probability at which to read the bootstrap quantiles; below (1 - confidence) / 2 for few documents."""
    from scipy.special import stdtrit

    tail = (1 - confidence) / 2
    freedom = max(effective_documents - strata, 1.0)
    factor = math.sqrt(effective_documents / freedom)
    return NormalDist().cdf(factor * float(stdtrit(freedom, tail)))


def detectable_effect(standard_error: float | None, confidence: float, power: float = 0.8) -> float | None:
    """Smallest true difference that a two-sided test at `confidence` finds with `power`: (z_{1-a/2} + z_power) SE.

    Source: Miller 2024, arXiv:2411.00640.
    """
    if standard_error is None:
        return None
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)) * standard_error


def collapsed_strata(strata: Sequence[str]) -> dict[str, list[int]]:
    """Positions of the documents by stratum, in which no stratum is alone with one if there are two documents."""
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(strata):
        groups.setdefault(name, []).append(position)
    single = sorted(name for name, members in groups.items() if len(members) == 1)
    if not single:
        return groups
    joined = sorted(position for name in single for position in groups.pop(name))
    if len(joined) == 1 and groups:
        smallest = min(groups, key=lambda name: (len(groups[name]), name))
        single.append(smallest)
        joined = sorted(joined + groups.pop(smallest))
    return groups | {"+".join(sorted(single)): joined}
