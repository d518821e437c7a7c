"""The fixtures of submitted runs, and a clock that does not wait."""

from __future__ import annotations

import pytest

from llm.cluster.patience import CLOCK
from tests.cases.submission_fixtures import api, kfp, no_cluster, pods
from tests.fakes.cluster import HandClock

__all__ = ["api", "kfp", "no_cluster", "pods"]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The commands wait by a clock of their own."""
    made = HandClock()
    monkeypatch.setattr(CLOCK, "now", made.now)
    monkeypatch.setattr(CLOCK, "sleep", made.sleep)
    return made
