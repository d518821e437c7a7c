"""A training on one GPU: its losses are those of a CPU, and its meters say what is so."""

from __future__ import annotations

import math

import pytest
import torch

from llm.runs.event_kinds import TrainPlan, TrainStep
from llm.training.backend._scale import FIRST_SCALE
from llm.training.callbacks._save import Save
from llm.training.trainer import Trainer
from tests.gpu.conftest import Make

STEPS = 6
LARGER = {"hidden_size": 128, "intermediate_size": 192}


def losses(trainer: Trainer, first: int = 0) -> list[float]:
    return [trainer.step(step, STEPS).loss for step in range(first, STEPS)]


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_the_losses_are_those_of_a_cpu(make: Make, backend: str):
    settings = {"parallel.backend": {"name": backend}}
    on_device, on_cpu = losses(make(settings)), losses(make({**settings, "compute.device": "cpu"}))
    assert on_device == pytest.approx(on_cpu, rel=1e-4)
    assert on_device[-1] < on_device[0]


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 2e-2), ("fp16", 2e-3)])
def test_half_precision_trains_as_float32_to_its_own_rounding(make: Make, precision: str, tolerance: float):
    plain = losses(make())  # first: on a CPU, bf16 is a switch of the whole process
    trainer = make({"compute.precision": precision})
    assert losses(trainer) == pytest.approx(plain, rel=tolerance)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}


def test_a_step_that_overflows_in_fp16_is_skipped(make: Make):
    trainer = make({"compute.precision": "fp16"})
    trainer.model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    before = {name: tensor.clone() for name, tensor in trainer.backend.weights().items()}
    assert trainer.step(0, STEPS).skipped
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.backend.weights().items())
    assert trainer.backend.groups()[-1]["loss_scale"] == FIRST_SCALE / 2


@pytest.mark.parametrize("model", [{}, {"residual_dropout": 0.1, "attention_dropout": 0.1}], ids=["plain", "dropout"])
def test_two_deterministic_trainings_are_equal_to_the_bit(make: Make, model: dict[str, float]):
    settings = {"compute.deterministic": True, "compute.precision": "bf16"}
    first, second = make(settings, model=model), make(settings, model=model)
    assert losses(first) == losses(second)
    for name, tensor in first.backend.weights().items():
        assert torch.equal(tensor, second.backend.weights()[name]), name


@pytest.mark.parametrize("how", ["layers", "operations"])
def test_recomputed_activations_change_no_bit(make: Make, how: str):
    settings = {"compute.deterministic": True}
    assert losses(make({**settings, "compute.recompute": how})) == losses(make(settings))


def test_a_training_goes_on_from_a_checkpoint_of_the_device_on_a_cpu(make: Make):
    settings = {"checkpoints.every_steps": 3, "length.steps": STEPS}
    whole = losses(make(settings))
    stopped = make(settings)
    for step in range(3):
        stopped.step(step, STEPS)
    Save().save(stopped, 3)
    resumed = make({**settings, "compute.device": "cpu"})
    resumed.train(STEPS)
    assert [line["loss"] for line in resumed.history if "loss" in line] == pytest.approx(whole[3:], rel=1e-4)


def test_the_meters_say_what_is_so(make: Make, device: str):
    trainer = make(model=LARGER)
    trainer.train(STEPS)
    (plan,) = trainer.log.of_kind(TrainPlan)
    steps = trainer.log.of_kind(TrainStep)
    assert plan.peak_flops > 1e9
    assert all(0 <= step.mfu < 1 for step in steps)
    speed, mfu = steps[-1].tokens_per_second, steps[-1].mfu
    assert mfu == pytest.approx(speed * plan.flops_per_token / plan.peak_flops, abs=1e-4)
    weights = 4 * plan.parameters
    assert steps[-1].memory_bytes > 4 * weights, "weights, gradients and two moments"
    if device == "cuda":
        assert steps[-1].memory_bytes < torch.cuda.get_device_properties(0).total_memory


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself, and a worker shows no warnings
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_compiled_layers_train_alike(make: Make, backend: str):
    settings = {"parallel.backend": {"name": backend}}
    assert losses(make({**settings, "compute.compile": True})) == pytest.approx(losses(make(settings)), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.parametrize("mask", [{"name": "documents"}, {"name": "prefix", "tokens": 4}])
def test_a_mask_in_blocks_gives_the_losses_of_one_in_booleans(make: Make, mask: dict[str, object]):
    """FlexAttention's kernels want heads of 16 or more, which the smallest model has."""
    settings = {"mask": mask}
    on_cpu = losses(make({**settings, "compute.device": "cpu"}))
    assert losses(make(settings)) == pytest.approx(on_cpu, rel=1e-4)


@pytest.mark.parametrize("name", ["muon", "adamw8bit"])
def test_other_optimizers_train_as_on_a_cpu(make: Make, name: str):
    settings = {"optimizer": {"name": name, "lr": 1e-2}}
    on_cpu = losses(make({**settings, "compute.device": "cpu"}))
    assert losses(make(settings)) == pytest.approx(on_cpu, rel=1e-3)
