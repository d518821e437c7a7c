"""Precision, recomputation, compilation and dropout: what they change, and what they must not."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch

from llm.errors import UserError
from llm.runs.event_kinds import TrainStep, Warned
from llm.storage import LocalObjects
from llm.training.backend._scale import FIRST_SCALE, GROWTH_STEPS, LossScale
from llm.training.callbacks._save import Save
from llm.training.checkpoint.find import newest_checkpoint
from llm.training.rank import device as device_module
from llm.training.rank.device import Cuda, device_of, unused_gpu
from llm.training.rank.float8 import to_float8
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
STEPS = 6


def losses(trainer: Trainer, first: int = 0) -> list[float]:
    return [trainer.step(step, STEPS).loss for step in range(first, STEPS)]


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
@pytest.mark.parametrize("how", [
    {"compute.recompute": "layers"}, {"compute.recompute": "operations"},
    {"compute.recompute": "layers", "compute.recompute_every": 2},
])  # fmt: skip
def test_recomputed_activations_change_no_bit(make_trainer: Make, how: dict[str, Any], backend: str):
    settings = {"parallel.backend": {"name": backend}}
    model = {"residual_dropout": 0.1, "attention_dropout": 0.1}
    plain = losses(make_trainer(settings, model=model))
    assert losses(make_trainer({**settings, **how}, model=model)) == plain


def test_recomputation_holds_fewer_activations(make_trainer: Make):
    def saved(how: str) -> int:
        trainer, sizes = make_trainer({"compute.recompute": how}), {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        inputs_BT, targets_BT = trainer.validate.batches[0]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.task(inputs_BT, targets_BT)
        return sum(sizes.values())

    assert saved("layers") < saved("none") / 2


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_fp16_trains_as_fp32_to_its_own_rounding(make_trainer: Make, backend: str):
    settings = {"parallel.backend": {"name": backend}}
    assert losses(make_trainer({**settings, "compute.precision": "fp16"})) == pytest.approx(
        losses(make_trainer(settings)), rel=2e-3
    )


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_a_step_that_overflows_is_skipped_and_the_training_goes_on(
    make_trainer: Make, workspace: LocalObjects, backend: str
):
    settings = {"parallel.backend": {"name": backend}, "compute.precision": "fp16", "checkpoints.every_steps": 3}
    trainer = make_trainer(settings)
    injected: list[int] = []

    def overflow(gradient: torch.Tensor) -> torch.Tensor:
        injected.append(len(injected))
        return gradient * math.inf if len(injected) == 5 else gradient  # the second step, of four micro-batches each

    trainer.model.model.norm.register_forward_hook(
        lambda module, inputs, output: (output.register_hook(overflow), None)[1]
    )
    before: dict[str, torch.Tensor] = {}
    for step in range(3):
        if step == 1:
            before = {name: tensor.clone() for name, tensor in trainer.backend.weights().items()}
        done = trainer.step(step, STEPS)
        assert done.skipped == (step == 1)
        if step == 1:
            assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.backend.weights().items())
    assert trainer.backend.groups()[-1] == {"loss_scale": FIRST_SCALE / 2, "loss_scale_steps": 1}


def test_a_skipped_step_is_told_and_its_scale_is_kept(make_trainer: Make, workspace: LocalObjects):
    settings = {"compute.precision": "fp16", "checkpoints.every_steps": 3}
    trainer = make_trainer(settings)
    trainer.model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    trainer.train(3)
    assert [(line["grad_norm"], line["skipped"]) for line in trainer.history if "loss" in line] == [(None, True)] * 3
    assert all(event.skipped and event.grad_norm is None for event in trainer.log.of_kind(TrainStep))
    assert newest_checkpoint(workspace)[0] is not None
    again = make_trainer(settings)
    again.train(3)
    assert again.backend.groups()[-1]["loss_scale"] == FIRST_SCALE / 8


def test_the_scale_grows_after_many_steps_without_an_overflow():
    scale = LossScale("fp16")
    fine = torch.tensor(1.0)
    for _ in range(GROWTH_STEPS):
        assert not scale.overflowed(fine)
    assert scale.scale == FIRST_SCALE * 2
    assert scale.overflowed(torch.tensor(math.nan))
    assert (scale.scale, scale.steps) == (FIRST_SCALE, 0)


def test_a_scale_of_one_skips_no_step_for_ever():
    scale = LossScale("fp16")
    skipped = [scale.overflowed(torch.tensor(math.nan)) for _ in range(18)]
    assert skipped == [True] * 16 + [False] * 2  # and the trainer refuses the norm
    assert scale.scale == 1.0


def test_each_rank_drops_by_itself(make_trainer: Make, monkeypatch: pytest.MonkeyPatch):
    trainer, seeds = make_trainer(model={"residual_dropout": 0.2}), list[int]()
    monkeypatch.setattr(trainer.device, "seed", seeds.append)
    for trainer.rank in (0, 1):  # ranks that share a sequence or a matrix have the same share of the data
        trainer.step(0, STEPS)
    assert seeds[0] != seeds[1]


def test_a_resumed_training_drops_the_same(make_trainer: Make):
    model = {"residual_dropout": 0.2, "attention_dropout": 0.2}
    settings = {"checkpoints.every_steps": 3, "length.steps": STEPS}
    whole = losses(make_trainer(settings, model=model))
    assert whole != losses(make_trainer(settings))
    stopped = make_trainer(settings, model=model)
    for step in range(3):
        stopped.step(step, STEPS)
    Save().save(stopped, 3)
    resumed = make_trainer(settings, model=model)
    resumed.train(STEPS)
    assert [line["loss"] for line in resumed.history if "loss" in line] == whole[3:]


def test_layers_that_share_weights_are_trained_and_saved_apart(make_trainer: Make, workspace: LocalObjects):
    from transformers import AutoModelForCausalLM

    trainer = make_trainer({"checkpoints.every_steps": 3}, model={"num_hidden_layers": 4, "num_unique_layers": 2})
    trainer.train(3)
    checkpoint, _ = newest_checkpoint(workspace)
    assert checkpoint is not None
    folder = Path(unquote(urlsplit(workspace.uri).path)) / checkpoint.name
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(1, 20)[None]
    trainer.task.eval()
    assert torch.allclose(theirs(ids).logits, trainer.model(ids), atol=1e-5)
    assert theirs.config.num_hidden_layers == 4
    again = make_trainer({"checkpoints.every_steps": 3}, model={"num_hidden_layers": 4, "num_unique_layers": 2})
    again.train(3)
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself, and a worker shows no warnings
@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_compiled_layers_train_alike(make_trainer: Make, backend: str):
    settings = {"parallel.backend": {"name": backend}}
    compiled = make_trainer({**settings, "compute.compile": True})
    assert losses(compiled) == pytest.approx(losses(make_trainer(settings)), rel=1e-4)


@pytest.mark.parametrize("how", [{}, {"compute.recompute": "operations"}])
def test_the_kernel_of_windows_trains_alike(make_trainer: Make, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("triton", reason="the package triton is not installed: `make kernels`")
    model = {"layer_types": ("sliding_attention", "full_attention"), "sliding_window": 5}
    trained = make_trainer({"compute.attention": "triton", **how}, model=model)
    assert [trained.step(step, STEPS).loss for step in range(2)] == pytest.approx(
        losses(make_trainer(model=model))[:2], rel=1e-5
    )


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(UserError, match=r"compute\.device=cuda, and torch sees no GPU"):
        device_of("cuda")
    assert device_of("auto").kind == "cpu"


def test_float8_is_refused_on_a_processor_without_it(make_trainer: Make, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"precision=fp8 on a CPU"):
        make_trainer({"compute.precision": "fp8"})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A100")
    with pytest.raises(UserError, match=r"precision=fp8 on A100, whose compute capability 8\.0 is below 8\.9"):
        Cuda().use("fp8")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert Cuda().use("fp8") is None


def test_float8_without_its_package_names_it(make_trainer: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(UserError, match=r"needs the package torchao: .*\n.*pip install 'gristmill\[fp8\]'"):
        to_float8(make_trainer().model)


def test_float8_learns_as_float32_to_its_own_rounding(make_trainer: Make):
    pytest.importorskip("torchao", reason="the extra fp8 is not installed")
    model = {"hidden_size": 32, "intermediate_size": 48}
    plain, coarse = make_trainer(model=model), make_trainer(model=model)
    names = list(coarse.task.named())
    to_float8(coarse.model, emulate=True)
    assert list(coarse.task.named()) == names
    assert type(coarse.model.model.layers[0].mlp.up_proj) is not torch.nn.Linear
    exact, rounded = losses(plain), losses(coarse)
    assert rounded == pytest.approx(exact, rel=2e-2)
    assert rounded != exact


def test_a_gpu_that_torch_does_not_see_is_said_unless_the_cpu_was_chosen(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device_module, "DRIVER", tmp_path / "none")
    assert unused_gpu("auto") is None
    monkeypatch.setattr(device_module, "DRIVER", tmp_path)
    assert unused_gpu("cpu") is None
    trainer = make_trainer({"length.steps": 1})
    trainer.train(1)
    (warning,) = trainer.log.of_kind(Warned)
    assert warning.message == unused_gpu("auto")
    assert re.search(r"a GPU here and torch does not see it.*: torch \S+ (has no CUDA|is for CUDA)", warning.message)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A10", 125e12), ("NVIDIA A10G", 70e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12), ("NVIDIA L40S", 362e12), ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12), ("NVIDIA GH200 480GB", 989e12), ("NVIDIA GeForce RTX 4090", 165e12),
    ],
)  # fmt: skip
def test_the_peak_of_a_gpu_is_that_of_its_own_name(name: str, peak: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    device = Cuda()
    assert device.peak_flops() == peak
    device._precision = "fp32"
    assert device.peak_flops() < peak / 1.8


def test_a_rank_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(
        UserError, match=r"rank 1 of this node has no GPU: torch sees 1\n.*training\.parallel\.processes"
    ):
        Cuda.meet(timedelta(seconds=1))
