"""The device-hours of a training over its attempts, their price, and the cap that ends it with a checkpoint."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from llm.cli.runs.trainings import command
from llm.config import compose, deciding
from llm.config.sections.training.guards import BudgetConfig
from llm.errors import OutageError, Preempted, UserError
from llm.runs.event_kinds import BudgetSpent, TrainStep
from llm.runs.events import EventLog
from llm.storage import LocalObjects, Recipe, Store
from llm.training.checkpoint.find import newest_checkpoint
from llm.training.guards.budget import SPENT, device_seconds, in_words
from llm.training.identity import settle
from llm.training.trainer import Trainer
from tests.cases.training import training

Make = Callable[..., Trainer]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the budget goes on by an hour at each look."""
    now = iter(range(0, 10_000_000, 3600))
    monkeypatch.setattr("llm.training.guards.budget.time.monotonic", lambda: float(next(now)))


def stopped_after(trainer: Trainer, steps: int) -> None:
    """Train until a stop is asked for in this step."""
    inner = trainer.begin

    def step(number: int, of: int):
        if number == steps - 1:
            trainer.request_stop(signal.SIGTERM)
        return inner(number, of)

    trainer.begin = step  # type: ignore[method-assign]
    with pytest.raises(Preempted):
        trainer.train(12)


@pytest.mark.usefixtures("ticking")
def test_the_time_of_the_attempts_is_added_and_has_its_price(make_trainer: Make, workspace: LocalObjects):
    price = {"budget": {"price": 2.5}}
    stopped_after(first := make_trainer(price), 2)
    told = first.log.of_kind(TrainStep)
    assert [(event.device_seconds, event.cost) for event in told] == [(3600.0, 2.5), (7200.0, 5.0)]
    saved = device_seconds(workspace)
    assert saved == 4 * 3600, "with the save, and with the end"
    second = make_trainer()
    stopped_after(second, 3)
    (last,) = second.log.of_kind(TrainStep)[2:]
    assert (last.device_seconds, last.cost) == (saved + 3600.0, None)


@pytest.mark.usefixtures("ticking")
def test_all_ranks_count(make_trainer: Make):
    trainer = make_trainer()
    trainer.budget._ranks = 8
    assert trainer.step(0, 12).device_seconds == 8 * 3600


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (
            {"device_hours": 3},
            r"taken 3 device-hours, and is at step 3: training.budget.device_hours=3\n  A checkpoint",
        ),
        ({"money": 7.5, "price": 2.5}, r"taken 3 device-hours, which cost 7\.50, and is at step 3: .*money=7.5\n"),
        ({"device_hours": 2.5, "money": 6, "price": 2.5}, r"device_hours=2.5 and training.budget.money=6\n"),
    ],
)
def test_a_cap_ends_it_with_a_checkpoint_and_what_to_set(
    make_trainer: Make, workspace: LocalObjects, budget: dict[str, Any], words: str
):
    trainer = make_trainer({"budget": budget})
    with pytest.raises(UserError, match=words) as told:
        trainer.train(12)
    assert "Raise the cap" in str(told.value)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    assert newest.state().step == 3
    (event,) = trainer.log.of_kind(BudgetSpent)
    assert (event.step, event.device_seconds) == (3, 3 * 3600.0)
    again = make_trainer({"budget": budget})
    with pytest.raises(UserError, match="is at step 3"):
        again.train(12)
    assert len(again.log.of_kind(TrainStep)) == 3, "no step of the second attempt"
    raised = make_trainer({"budget": {"device_hours": 1000}})
    raised.train(12)
    assert [event.step for event in raised.log.of_kind(TrainStep)] == list(range(1, 13))


@pytest.mark.usefixtures("ticking")
def test_a_cap_that_the_last_step_reaches_is_no_error(make_trainer: Make):
    trainer = make_trainer({"budget": {"device_hours": 3}})
    trainer.train(3)
    assert not trainer.log.of_kind(BudgetSpent)
    make_trainer({"budget": {"device_hours": 3}}).train(3)


@pytest.mark.usefixtures("ticking")
def test_an_attempt_that_is_killed_loses_the_time_since_its_last_save(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({"checkpoints.every_steps": 2})
    trainer.budget.left = lambda _: None  # type: ignore[method-assign]
    inner = trainer.begin

    def step(number: int, of: int):
        if number == 3:
            raise KeyboardInterrupt
        return inner(number, of)

    trainer.begin = step  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.train(12)
    assert 2 * 3600 <= device_seconds(workspace) <= 3 * 3600


def test_a_store_that_does_not_take_the_ledger_ends_no_save(make_trainer: Make, monkeypatch: pytest.MonkeyPatch):
    """In it the other ranks would wait for the first one."""

    def out(*_: object, **options: object) -> None:
        raise OutageError("the store does not answer")

    trainer = make_trainer()
    monkeypatch.setattr(type(trainer.workspace), "write", out)
    trainer.budget.keep(trainer.workspace)


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"{}", b'{"device_seconds": null}', b'{"device_seconds": NaN}',
                                     b'{"device_seconds": -5}', b'{"device_seconds": "\xff"}'])  # fmt: skip
def test_a_ledger_that_cannot_be_read_begins_at_0(workspace: LocalObjects, damaged: bytes):
    workspace.write(SPENT, damaged)
    assert device_seconds(workspace) == 0.0


def test_the_budget_is_in_no_recipe_and_money_needs_a_price():
    capped = ["training.budget.price=2", "training.budget.money=100", "training.budget.device_hours=9"]
    assert deciding(compose(capped).training) == deciding(compose([]).training)
    for price in ("null", "0"):
        with pytest.raises(UserError, match=r"training.budget.money=5 is never reached: training.budget.price="):
            compose(["training.budget.money=5", f"training.budget.price={price}"])
    for wrong in ("device_hours=0", "money=-1", "price=-0.1", "price=.nan"):
        with pytest.raises(UserError, match=wrong.partition("=")[0]):
            compose([f"training.budget.{wrong}"])


def test_hours_and_money_are_said_in_words():
    assert in_words(5400, BudgetConfig()) == "1.5 device-hours"
    assert in_words(5400, BudgetConfig(price=2.0)) == "1.5 device-hours, which cost 3.00"
    assert in_words(5400, BudgetConfig(price=0.0)) == "1.5 device-hours, which cost 0.00"


def test_the_listing_shows_what_each_took(store: Store, log: EventLog):
    workspace = store.objects.below("training/one")
    settle(workspace, Recipe("training", {"lr": 1}), training({}), log)
    workspace.write(SPENT, json.dumps({"device_seconds": 5400}).encode())
    arguments = [f"storage.uri={store.root}", "training.budget.price=2"]
    assert "took 1.5 device-hours, which cost 3.00" in CliRunner().invoke(command, arguments).output
    (document,) = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)
    assert document["device_seconds"] == 5400


def test_a_training_that_begins_again_counts_from_0(store: Store, log: EventLog):
    workspace = store.objects.below("training/one")
    workspace.write(SPENT, json.dumps({"device_seconds": 5400}).encode())
    workspace.write("step-00000004/files.json", b"[]")
    settle(workspace, Recipe("training", {"lr": 1}), training({}), log)
    assert device_seconds(workspace) == 5400
    settle(workspace, Recipe("training", {"lr": 2}), training({"on_change": "anew"}), log)
    assert device_seconds(workspace) == 0
