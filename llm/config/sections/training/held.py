"""The parts of the model that a rank holds while it trains: a backend says it, and the estimate counts with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """Numbers of ranks that share a kind (1: each rank has all of it), and what comes on top."""

    weights: int = 1
    gradients: int = 1
    states: int = 1
    copies: bool = False
    """Whether there is a float32 copy of the weights, shared as the states are."""
    gathers: bool = False
    """Whether shared weights are whole while a layer computes with them."""
    keeps_gathered: bool = False
    """Whether gathered weights stay whole to the end of the step."""
    on_host: frozenset[str] = frozenset()
    """The kinds that are in the memory of the host, where the device has its own: weights, gradients, states."""
    bucket_values: int = 0
    """Most gradients that are copied together to be sent."""
