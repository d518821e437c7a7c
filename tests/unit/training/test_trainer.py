"""The loop of one rank, on the torch backend."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from llm.config.sections.training import CallbackConfig, OptimizerConfig
from llm.errors import Preempted, UserError
from llm.runs.event_kinds import TrainResumed, TrainStep, Warned
from llm.runs.events import EventLog
from llm.storage import LocalObjects
from llm.training.callbacks import Callback
from llm.training.checkpoint.find import newest_checkpoint
from llm.training.rank.measure import measure
from llm.training.trainer import Trainer
from tests.cases.training import VOCABULARY

Make = Callable[..., Trainer]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def test_the_loss_falls(make_trainer: Make):
    trainer = make_trainer()
    trainer.train(12)
    losses = [line["loss"] for line in trainer.history if "loss" in line]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.5


def test_what_is_trained_with_accumulation_equals_what_is_trained_without(make_trainer: Make):
    whole, parts = make_trainer({"batch.micro_batch_size": 8}), make_trainer({"batch.micro_batch_size": 2})
    for step in range(4):
        one, other = whole.step(step, 4), parts.step(step, 4)
        assert (one.loss, one.grad_norm) == pytest.approx((other.loss, other.grad_norm), rel=1e-4)
    for name, tensor in weights(parts).items():
        torch.testing.assert_close(tensor, weights(whole)[name], atol=1e-4, rtol=1e-3)


def test_a_step_is_what_plain_pytorch_does(make_trainer: Make):
    trainer = make_trainer({"optimizer.weight_decay": 0.5})
    start = weights(trainer)
    matrix, norm = "model.layers.0.mlp.up_proj.weight", "model.norm.weight"
    inputs, targets = (torch.from_numpy(part) for part in trainer.loader.batch(0))
    loss = torch.nn.functional.cross_entropy(trainer.model(inputs).flatten(0, 1), targets.flatten())
    gradients = dict(zip(start, torch.autograd.grad(loss, list(trainer.model.parameters())), strict=True))
    total = torch.sqrt(sum(gradient.square().sum() for gradient in gradients.values()))
    done = trainer.step(0, 12)
    assert done.loss == pytest.approx(loss.item(), rel=1e-5)
    assert done.grad_norm == pytest.approx(total.item(), rel=1e-4)
    # AdamW's first step is the sign of the gradient times the rate; matrices are decayed, vectors are not.
    for name, decay in ((matrix, 0.5), (norm, 0.0)):
        expected = start[name] * (1 - 1e-2 * decay) - 1e-2 * gradients[name].sign()
        clear = gradients[name].abs() > 1e-5  # smaller ones have a sign that rounding decides
        torch.testing.assert_close(weights(trainer)[name][clear], expected[clear], atol=2e-5, rtol=0)


def test_the_same_checkpoint_gives_the_same_weights_as_going_straight_on(
    make_trainer: Make, tmp_path: Path, workspace: LocalObjects
):
    straight = make_trainer({"checkpoints.every_steps": 4})
    straight.train(12)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    workspace.remove(f"{newest.name}/files.json")  # damage the last one: the one before it is used
    resumed = make_trainer({"checkpoints.every_steps": 4})
    resumed.train(12)
    events = EventLog(tmp_path / "events.jsonl")
    assert [event.step for event in events.of_kind(TrainResumed)] == [8]
    assert "step-00000012 is not used: files.json is missing or broken" in events.of_kind(Warned)[0].message
    assert all(torch.equal(tensor, weights(straight)[name]) for name, tensor in weights(resumed).items())
    assert resumed.history == straight.history


def test_a_training_that_stops_in_a_ramp_goes_on_in_it(make_trainer: Make, workspace: LocalObjects):
    ramp = [{"tokens": 2 * 16, "steps": 5}, {"tokens": 4 * 16, "steps": 3}]
    settings = {"batch.ramp": ramp, "checkpoints.every_steps": 3}
    straight = make_trainer(settings)
    straight.train(12)
    steps = [line for line in straight.history if "loss" in line]
    assert [line["tokens"] // 16 for line in steps] == [2, 4, 6, 8, 10, 14, 18, 22, 30, 38, 46, 54]
    assert newest_checkpoint(workspace)[0].state().tokens == 54 * 16  # type: ignore[union-attr]
    for name in ("step-00000009", "step-00000012"):
        workspace.remove(f"{name}/files.json")
    resumed = make_trainer(settings)  # from step 6, in the second part
    resumed.train(12)
    assert resumed.history == straight.history
    assert all(torch.equal(tensor, weights(straight)[name]) for name, tensor in weights(resumed).items())


def test_the_time_that_is_left_counts_tokens(make_trainer: Make, tmp_path: Path):
    make_trainer({"batch.ramp": [{"tokens": 2 * 16, "steps": 4}]}).train(12)
    for event in EventLog(tmp_path / "events.jsonl").of_kind(TrainStep):
        left = (4 * 2 + 8 * 8) * 16 - event.tokens
        assert event.seconds_left == pytest.approx(left / event.tokens_per_second, abs=0.06)


def test_a_signal_saves_at_the_end_of_the_step_and_says_how_to_go_on(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer()
    trainer.request_stop(signal.SIGTERM)
    with pytest.raises(Preempted, match="stopped on request at step 1 of 12"):
        trainer.train(12)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    assert newest.name == "step-00000001"


def test_a_loss_that_is_no_number_stops_before_anything_is_saved(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.model.norm.weight.fill_(float("inf"))
    diverged = r"the loss is nan at step 1: the training diverged(.|\n)*Lower training\.optimizer\.lr"
    with pytest.raises(UserError, match=diverged):
        trainer.train(12)
    assert newest_checkpoint(workspace) == (None, [])


def test_a_gradient_that_is_no_number_stops_before_anything_is_saved(make_trainer: Make, workspace: LocalObjects):
    trainer = make_trainer({"checkpoints.every_steps": 1})
    trainer.model.model.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(UserError, match=r"the gradient norm is (inf|nan) at step 1"):
        trainer.train(12)
    assert newest_checkpoint(workspace) == (None, [])


def test_the_validation_loss_is_the_mean_over_the_split(make_trainer: Make):
    trainer = make_trainer()
    tokens = torch.cat([inputs for inputs, _ in trainer.validate.batches])
    targets = torch.cat([targets for _, targets in trainer.validate.batches])
    expected = torch.nn.functional.cross_entropy(trainer.model(tokens).flatten(0, 1), targets.flatten())
    assert trainer.validate.loss(trainer) == pytest.approx(expected.item(), rel=1e-5)
    assert int(tokens.max()) < VOCABULARY


def test_minutes_fix_the_number_of_steps_once(make_trainer: Make):
    trainer = make_trainer({"length.steps": None, "length.minutes": 0.01})
    assert trainer.plan.steps() is None
    steps = measure(trainer)
    assert steps >= 1
    assert trainer.plan.steps() == steps


def test_a_checkpoint_is_a_model_that_transformers_loads(make_trainer: Make, workspace: LocalObjects):
    from transformers import AutoModelForCausalLM

    trainer = make_trainer()
    trainer.train(2)
    newest, _ = newest_checkpoint(workspace)
    assert newest is not None
    inputs = torch.arange(10)[None] % VOCABULARY
    peer = AutoModelForCausalLM.from_pretrained(workspace.root / newest.name).eval()
    torch.testing.assert_close(peer(inputs).logits, trainer.model(inputs), atol=1e-4, rtol=1e-4)


class BuildsNothing(CallbackConfig):
    """A section whose `build` forgets to return."""

    def build(self) -> None: ...


def test_a_callback_that_is_none_is_refused_by_its_name(make_trainer: Make):
    with pytest.raises(UserError, match=r":BuildsNothing: `build` gives NoneType in place of Callback"):
        make_trainer({"callbacks": [{"name": f"{__name__}:BuildsNothing"}]})


class BuildsNoOptimizer(OptimizerConfig):
    """The same for an optimizer."""

    def build(self, model: torch.nn.Module) -> None: ...


def test_an_optimizer_that_is_none_is_refused_by_its_name(make_trainer: Make):
    with pytest.raises(UserError, match=r":BuildsNoOptimizer: `build` gives NoneType in place of Optimizer"):
        make_trainer({"optimizer": {"name": f"{__name__}:BuildsNoOptimizer"}})


class KeepsASet(CallbackConfig):
    """Its callback's state is no JSON."""

    def build(self) -> Callback:
        made = Callback()
        made.state = lambda: {"seen": {1}}  # type: ignore[method-assign]
        return made


def test_a_state_that_a_checkpoint_cannot_hold_is_refused_by_its_callback(make_trainer: Make):
    trainer = make_trainer({"callbacks": [{"name": f"{__name__}:KeepsASet"}]})
    with pytest.raises(UserError, match=r"state of .*:KeepsASet cannot be saved: Object of type set is not JSON"):
        trainer.train(1)


@pytest.fixture
def own_precision() -> Iterator[None]:
    """The arithmetic of matrix products is a setting of the process."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    yield
    matmul.fp32_precision = before


@pytest.mark.usefixtures("own_precision")
@pytest.mark.parametrize(
    ("precision", "has_it", "warnings"), [("bf16", False, 1), ("bf16", True, 0), ("fp32", False, 0)]
)
def test_a_precision_that_the_processor_does_not_have_is_told(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch, precision: str, has_it: bool, warnings: int
):
    monkeypatch.setattr("llm.training.rank.device.computes_bf16", lambda: has_it)
    trainer = make_trainer({"compute.precision": precision})
    trainer.train(1)
    told = [event.message for event in trainer.log.of_kind(Warned)]
    assert len(told) == warnings
    assert all("precision=bf16 has no effect" in message for message in told)
