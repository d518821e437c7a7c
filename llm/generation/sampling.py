"""Choice of the next token from the logits.

The order is Hugging Face's: temperature, then top-k, then top-p, then one seeded draw. Temperature 0 is greedy.
Source of top-p: Holtzman et al. 2020, arXiv:1904.09751.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """Settings for drawing a continuation; raises UserError for a value outside its range."""

    temperature: float = 0.0
    """0: greedy, and the three below have no effect."""
    top_k: int | None = None
    """Only the k most likely tokens; None: all."""
    top_p: float | None = None
    """Only the smallest set of most likely tokens that together has this probability; None: all."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        _require(self.temperature >= 0, "temperature", self.temperature, "0 (greedy) or more")
        _require(self.top_k is None or self.top_k >= 1, "top_k", self.top_k, "1 or more")
        _require(self.top_p is None or 0 < self.top_p <= 1, "top_p", self.top_p, "above 0, at most 1")
        _require(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 - 1")


def next_token(logits_V: Tensor, sampling: Sampling, draws: torch.Generator) -> int:
    """The token chosen from one position's logits; of equally likely ones, greedy takes the lowest id."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    probabilities_V, ids_V = candidate_probabilities(logits_V, sampling)
    return int(ids_V[torch.multinomial(probabilities_V, 1, generator=draws)])


def candidate_probabilities(logits_V: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Probabilities and ids of the tokens that may be drawn, most likely first; the probabilities sum to 1."""
    scaled_V = logits_V.double() / sampling.temperature
    sorted_V, ids_V = torch.sort(scaled_V, descending=True, stable=True)
    if sampling.top_k is not None:
        sorted_V, ids_V = sorted_V[: sampling.top_k], ids_V[: sampling.top_k]
    probabilities_V = sorted_V.softmax(dim=0)
    if sampling.top_p is not None:
        before_V = probabilities_V.cumsum(dim=0) - probabilities_V
        kept = int((before_V < sampling.top_p).sum())
        probabilities_V, ids_V = probabilities_V[:kept], ids_V[:kept]
    return probabilities_V / probabilities_V.sum(), ids_V


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise UserError(f"{name}={value} is not possible", f"allowed: {allowed}")
