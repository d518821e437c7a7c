"""A gate's verdict for people: the lines that the command prints and the report shows.

Needs only gate.json, and nothing but Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verdict_in_words(gate: Mapping[str, Any]) -> list[str]:
    """Lines from a gate.json: the verdict and its consequence, then every reason, then what could have been told."""
    lines = [_headline(gate), *gate["reasons"]]
    if gate["verdict"] == "INCONCLUSIVE":
        lines += [_detectable(comparison) for comparison in gate["comparisons"] if not comparison["passed"]]
        lines.append(
            "More test documents narrow the intervals: raise evaluation.max_bytes_per_domain or ingest more text."
        )
    return lines


def _headline(gate: Mapping[str, Any]) -> str:
    champion = gate["champion"]
    against = "the floors, as there is no champion yet" if champion is None else f"champion version {champion}"
    consequence = {
        "PASS": "the candidate may be promoted",
        "FAIL": "the candidate is not promoted",
        "INCONCLUSIVE": "the documents cannot tell, so the candidate is not promoted",
    }[gate["verdict"]]
    return f"{gate['verdict']} against {against}: {consequence}"


def _detectable(comparison: Mapping[str, Any]) -> str:
    effect = comparison["detectable_effect"]
    if effect is None:
        return f"{comparison['domain']}: detectable effect n/a"
    found = f"a difference of {effect:.4f} bits per byte would have been found four times in five"
    return f"{comparison['domain']}: {found}"
