"""The examples of the how-tos for the parts of a training work as the pages say."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from llm.config import TrainingConfig, compose
from llm.errors import Preempted
from llm.model.masks import dense
from llm.runs.event_kinds import MetricMeasured
from llm.runs.events import EventLog
from llm.storage import Store
from llm.training.schedule import learning_rate
from llm.training.train import training_recipe
from llm.training.trainer import Trainer
from tests.cases.extend import example, installed
from tests.cases.training import MODEL, VOCABULARY, token_shards

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
    assert chosen.optimizer.model_dump(exclude_defaults=True) == {"name": "sgd", "lr": 0.1, "momentum": 0.8}
    trainer = make_trainer({"optimizer": chosen.optimizer.model_dump()})
    trainer.train(12)
    losses = [line["loss"] for line in trainer.history if "loss" in line]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("chosen", ["loss"], indirect=True)
def test_the_loss_of_the_page_is_what_it_says_and_trains(chosen: TrainingConfig, make_trainer: Make):
    trainer = make_trainer({"loss": chosen.loss.model_dump()})
    x_BTD, targets_BT = torch.randn(2, 5, MODEL.hidden_size), torch.randint(0, VOCABULARY, (2, 5))
    targets_BT[0, :2] = -100
    probabilities = trainer.model.logits(x_BTD).softmax(-1).gather(-1, targets_BT.clamp(min=0)[..., None])[..., 0]
    expected = (-probabilities.log() * (1 - probabilities) ** 1.5)[targets_BT != -100].mean()
    assert chosen.loss.compute(trainer.model, x_BTD, targets_BT).item() == pytest.approx(expected.item(), rel=1e-5)
    losses = [trainer.step(number, 12).loss for number in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("chosen", ["mask"], indirect=True)
def test_the_mask_of_the_page_hides_all_but_the_last_and_the_first_positions(
    chosen: TrainingConfig, make_trainer: Make
):
    assert chosen.mask.model_dump() == {"name": "recent", "window": 64, "first": 4}
    trainer = make_trainer({"mask": {**chosen.mask.model_dump(), "window": 2, "first": 1}})
    ids_BT = torch.randint(1, VOCABULARY, (1, 8))
    seen_TS = dense(trainer.task.mask.mask(ids_BT, 0), 1, 8, 8, ids_BT.device)[0, 0]
    assert [seen_TS[5].tolist(), seen_TS[0].tolist()] == [
        [True, False, False, False, True, True, False, False], [True, *[False] * 7],
    ]  # fmt: skip
    losses = [trainer.step(number, 12).loss for number in range(12)]
    assert losses[-1] < losses[0]
    assert losses != [make_trainer().step(number, 12).loss for number in range(12)]


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


@pytest.mark.parametrize("chosen", ["backend"], indirect=True)
def test_the_backend_of_the_page_trains_and_its_checkpoint_is_read_by_ddp(
    chosen: TrainingConfig, make_trainer: Make, tmp_path: Path
):
    plain = {"parallel.backend": chosen.parallel.backend.model_dump(), "checkpoints.every_steps": 4}
    stopped = make_trainer({**plain, "length.steps": 12})
    stopped.request_stop(signal.SIGTERM)
    with pytest.raises(Preempted):
        stopped.train(12)
    gone_on = make_trainer({"parallel.backend": {"name": "torch"}})
    gone_on.train(12)
    (tmp_path / "straight").mkdir()
    straight = make_trainer({"parallel.backend": {"name": "torch"}}, (tmp_path / "straight").as_uri())
    straight.train(12)
    assert gone_on.history == straight.history


@pytest.mark.parametrize("chosen", ["schedule", "optimizer", "loss", "mask", "callback", "backend"], indirect=True)
def test_the_code_of_the_page_is_part_of_the_recipe(chosen: TrainingConfig, tmp_path: Path):
    recipe = training_recipe(MODEL, chosen, *token_shards(Store(tmp_path / "given")))
    assert {"linear.py", "sgd.py", "focal.py", "recent.py", "best_loss.py", "plain.py"} & {
        Path(path).name for path in recipe.parts["code"]
    }
