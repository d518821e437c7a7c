"""A measured difference between an exported model and its checkpoint, and the limit that it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.errors import UserError


@dataclass(frozen=True)
class Check:
    """One measurement; exactly one limit is given, or none if it only informs."""

    format: str
    what: str
    measured: float
    at_most: float | None = None
    at_least: float | None = None
    setting: str | None = None
    """Key of the configuration that holds the limit; None: it is fixed."""

    @property
    def passed(self) -> bool:
        """Whether the limit is kept; a measurement that is not a number never keeps one."""
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )

    def record(self) -> dict[str, Any]:
        """For checks.json; rounded to two digits, so that the last bits of float32 sums do not change its hash."""
        limits = {"at_most": self.at_most, "at_least": self.at_least}
        return {
            "format": self.format,
            "what": self.what,
            "measured": float(f"{self.measured:.2g}") if isinstance(self.measured, float) else self.measured,
            **{name: value for name, value in limits.items() if value is not None},
        }

    def __str__(self) -> str:
        """Format, measured value and tolerance in words."""
        limit = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        where = f" ({self.setting})" if self.setting else ""
        return f"{self.format}: {self.what} is {self.measured:.3g}, allowed: {limit}{where}"


def largest(differences: Sequence[np.floating[Any]]) -> float:
    """The largest of some differences; NaN if one of them is, which Python's `max` may drop."""
    return float(np.max(differences))


def require(checks: Sequence[Check]) -> None:
    """Raise UserError naming format, measured value and tolerance of every check that failed."""
    failed = [check for check in checks if not check.passed]
    if failed:
        raise UserError(
            "the exported model does not answer as its checkpoint does",
            *map(str, failed),
            f"Nothing was exported. {_remedy(failed)}",
        )


def _remedy(failed: Sequence[Check]) -> str:
    if any(check.setting for check in failed):
        return "A larger tolerance accepts it; so does leaving the format out (export.onnx=…)."
    if all(check.format == "huggingface" for check in failed):
        return "`transformers` computes something else from these weights: please report the model's configuration."
    return "Leave the format out (export.onnx=…, export.tensorrt=null)."
