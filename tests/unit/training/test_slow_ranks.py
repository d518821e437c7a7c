"""A rank that is slow by itself is named, once, and a moment's load is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from llm.config import compose, deciding
from llm.runs.event_kinds import RankSlow
from llm.runs.events import EventLog
from llm.tracking.progress import lasting_line
from llm.training.callbacks import StepDone
from llm.training.guards.slow import EVERY_STEPS, SlowRanks
from llm.training.trainer import Trainer

HOSTS = ["node-a", "node-b", "node-c"]


def trained(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, looks: Sequence[Sequence[float]], ranks: int = 3
) -> list[Any]:
    """The events of a training in which the ranks take these times, one line a look."""
    monkeypatch.setattr(
        "llm.training.guards.slow.dist.all_gather_object", lambda into, _: into.__setitem__(slice(None), HOSTS[:ranks])
    )
    given = iter(looks)
    mesh = SimpleNamespace(ranks=ranks, rank=0, is_first=True, sums=lambda *_: list(next(given)))
    trainer: Any = SimpleNamespace(mesh=mesh, device=SimpleNamespace(product_seconds=lambda: 1.0), log=log)
    guard = SlowRanks(2.0)
    guard.started(trainer, 0, 1000)
    for step in range(1, EVERY_STEPS * len(looks) + 1):
        guard.step_ended(trainer, StepDone(step, 1000, 1.0, 1.0, 1e-3, 0, stop_requested=False))
    return log.of_kind(RankSlow)


def test_a_rank_that_is_slow_three_times_in_a_row_is_named_with_its_node_once(log: EventLog, monkeypatch):
    (event,) = trained(log, monkeypatch, [(1.0, 1.1, 3.3)] * 5)
    assert (event.step, event.rank, event.host) == (3 * EVERY_STEPS, 2, "node-c")
    assert event.usual_seconds == pytest.approx(1.05)
    assert lasting_line(event) == "train      step 60: rank 2 on node-c takes 3.1 times the others' time"


def test_one_that_recovers_and_is_slow_again_is_named_again(log: EventLog, monkeypatch):
    slow, fast = (9.0, 1.0, 1.0), (1.0, 1.0, 1.0)
    assert not trained(log, monkeypatch, [slow, slow, fast, slow, slow])
    assert len(trained(log, monkeypatch, [slow] * 3 + [fast] + [slow] * 3)) == 2


def test_of_two_ranks_the_slow_one_is_named_and_one_alone_has_nobody_to_compare_with(log: EventLog, monkeypatch):
    (event,) = trained(log, monkeypatch, [(1.0, 2.5)] * 3, ranks=2)
    assert event.rank == 1
    assert len(trained(log, monkeypatch, [(5.0,)] * 3, ranks=1)) == 1, "no event more"


def test_a_node_on_which_all_are_slow_is_not_named(log: EventLog, monkeypatch):
    assert not trained(log, monkeypatch, [(3.0, 3.1, 2.9)] * 4)


def test_it_changes_no_loss_and_no_recipe(make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("llm.training.guards.slow.EVERY_STEPS", 1)
    plain, guarded = make_trainer(), make_trainer({"guards": {"slow_rank_factor": 1.5}})
    guarded.train(3)
    assert [plain.step(number, 3).loss for number in range(3)] == [
        line["loss"] for line in guarded.history if "loss" in line
    ]
    assert guarded.device.product_seconds() > 0
    set_ = compose(["training.guards.slow_rank_factor=3"]).training
    assert deciding(set_) == deciding(compose([]).training)
    for wrong in ("1", "0", "-2", ".inf"):
        with pytest.raises(Exception, match="slow_rank_factor"):
            compose([f"training.guards.slow_rank_factor={wrong}"])
