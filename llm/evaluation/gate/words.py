"""A gate's verdict for people: the lines that the command prints and the report shows.

Needs only gate.json, and nothing but Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.evaluation.words import counted, quantity, several


def verdict_in_words(gate: Mapping[str, Any]) -> list[str]:
    """Lines from a gate.json: the verdict and its consequence, each reason, then the difference that could be shown."""
    lines = [_headline(gate), *gate["reasons"]]
    if gate["verdict"] == "INCONCLUSIVE":
        comparisons = gate["comparisons"]
        unclear = [one for one in comparisons if not one["passed"] and one["rule"] != "none"]
        lines += [f"{_place(one, named=several(comparisons))}: {_detectable(one)}" for one in unclear]
        lines.append(
            "More test documents narrow the intervals: raise evaluation.max_bytes_per_domain or ingest more text."
        )
    return lines


def reason(comparison: Mapping[str, Any], confidence: float, *, named: bool = False) -> str:
    """One comparison of a gate.json in words, with its numbers; `named` puts the metric's name first."""
    place, unit, items = _place(comparison, named=named), comparison["unit"], _items(comparison)
    if comparison["rule"] == "floor":
        holds = "holds" if comparison["passed"] else "misses"
        return f"{place}: {quantity(comparison['candidate'], unit)} {holds} the floor of {comparison['margin']:g}"
    difference = quantity(comparison["difference"], unit, "+.4f")
    if comparison["low"] is None or comparison["high"] is None:
        return f"{place}: {items} cannot decide ({comparison['unknown_because']}); the difference is {difference}"
    interval = f"{confidence:.0%} interval {comparison['low']:+.4f} to {comparison['high']:+.4f}"
    return f"{place}: {_outcome(comparison)}: {difference}, {interval} over {items}"


def _place(comparison: Mapping[str, Any], *, named: bool) -> str:
    return f"{comparison['metric']}, {comparison['domain']}" if named else str(comparison["domain"])


def _items(comparison: Mapping[str, Any]) -> str:
    return counted(comparison["items"], comparison["item"])


def _outcome(comparison: Mapping[str, Any]) -> str:
    if comparison["rule"] == "non-inferiority":
        margin = f"worse by more than the margin of {comparison['margin']:g}"
        words = f"not {margin}", margin, f"may be {margin}"
    else:
        words = "better", "worse", "no certain difference"
    told = words[0] if comparison["passed"] else words[1] if comparison["failed"] else words[2]
    return f"{told} (shown, decides nothing)" if comparison["rule"] == "none" else told


def _headline(gate: Mapping[str, Any]) -> str:
    champion = gate["champion"]
    against = "the floors, as there is no champion yet" if champion is None else f"champion version {champion}"
    consequence = {
        "PASS": "the candidate may be promoted",
        "FAIL": "the candidate is not promoted",
        "INCONCLUSIVE": "the documents cannot decide, so the candidate is not promoted",
    }[gate["verdict"]]
    return f"{gate['verdict']} against {against}: {consequence}"


def _detectable(comparison: Mapping[str, Any]) -> str:
    if comparison["detectable_effect"] is None:
        return "detectable effect n/a"
    effect = quantity(comparison["detectable_effect"], comparison.get("unit", ""), ".4f")
    return f"a difference of {effect} would have been found four times in five"
