"""The examples of the how-tos for schedules, optimizers and callbacks work as the pages say."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm.config import TrainingConfig, compose
from llm.errors import Preempted
from llm.runs.event_kinds import MetricMeasured
from llm.runs.events import EventLog
from llm.storage import Store
from llm.training.schedule import learning_rate
from llm.training.train import training_recipe
from llm.training.trainer import Trainer
from tests.cases.extend import example, installed
from tests.cases.training import MODEL, token_shards

Make = Callable[..., Trainer]


@pytest.fixture
def chosen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TrainingConfig]:
    """What the page's command sets, while the page's file is there."""
    page = example(request.param)
    with installed(page, tmp_path / "page"):
        yield compose(page.settings).training


@pytest.mark.parametrize("chosen", ["schedule"], indirect=True)
def test_the_schedule_of_the_page_gives_the_rates(chosen: TrainingConfig, make_trainer: Make):
    rates = [learning_rate(chosen.schedule, 1.0, step, 20) for step in range(20)]
    assert rates[:2] == [0.5, 1.0]  # the preset's warm-up of a tenth
    assert rates[2:] == pytest.approx([1 - 0.9 * step / 17 for step in range(18)])
    trainer = make_trainer({"schedule": chosen.schedule.model_dump()})
    assert [trainer.step(number, 20).lr for number in range(2)] == [pytest.approx(1e-2 * rate) for rate in rates[:2]]


@pytest.mark.parametrize("chosen", ["optimizer"], indirect=True)
def test_the_optimizer_of_the_page_trains(chosen: TrainingConfig, make_trainer: Make):
    assert chosen.optimizer.model_dump() == {"name": "sgd", "lr": 0.1, "max_grad_norm": 1.0, "momentum": 0.8}
    trainer = make_trainer({"optimizer": chosen.optimizer.model_dump()})
    trainer.train(12)
    losses = [line["loss"] for line in trainer.history if "loss" in line]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("chosen", ["callback"], indirect=True)
def test_the_callback_of_the_page_keeps_its_state_over_a_stop(
    chosen: TrainingConfig, make_trainer: Make, tmp_path: Path
):
    settings = {"callbacks": [callback.model_dump() for callback in chosen.callbacks]}
    stopped = make_trainer(settings)
    stopped.added[0].load({"best": 0.25})  # lower than any loss that comes
    stopped.request_stop(signal.SIGTERM)
    with pytest.raises(Preempted):
        stopped.train(12)
    make_trainer(settings).train(12)
    told = EventLog(tmp_path / "events.jsonl").of_kind(MetricMeasured)
    assert [(event.name, event.value) for event in told] == [("train/best_loss", 0.25)] * 3  # steps 5, 10 and 12


@pytest.mark.parametrize("chosen", ["schedule", "optimizer", "callback"], indirect=True)
def test_the_code_of_the_page_is_part_of_the_recipe(chosen: TrainingConfig, tmp_path: Path):
    recipe = training_recipe(MODEL, chosen, *token_shards(Store(tmp_path / "given")))
    assert {"linear.py", "sgd.py", "best_loss.py"} & {Path(path).name for path in recipe.parts["code"]}
