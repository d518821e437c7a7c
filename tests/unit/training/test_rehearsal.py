"""A rehearsal counts what a real step takes: memory by storages, traffic by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from click.testing import CliRunner
from torch._subclasses.fake_tensor import FakeTensorMode

from llm.cli.planning.rehearse import command
from llm.config import compose
from llm.errors import UserError
from llm.model import count_parameters
from llm.training.rehearsal.memory import Memory, states_of
from llm.training.rehearsal.rank import rehearse as rehearse_rank
from llm.training.rehearsal.rehearse import Rehearsed, bubble, distinct_ranks, rehearse
from llm.training.trainer import Trainer
from tests.cases.rehearsed import rehearsed_here
from tests.cases.training import MODEL, VOCABULARY

SMALL = ("model.hidden_size=64", "model.intermediate_size=96", "model.num_hidden_layers=4", "tokenizer.vocab_size=300",
         "model.max_position_embeddings=64", "training.batch.sequence_length=64", "training.batch.tokens=512",
         "training.batch.micro_batch_size=2", "model.tie_word_embeddings=false",
         "training.parallel.backend.name=fsdp")  # fmt: skip
Make = Callable[..., Trainer]


def rehearsed(*settings: str) -> Rehearsed:
    return rehearsed_here(compose((*SMALL, *settings)))


def test_memory_is_counted_by_storages_and_given_back():
    memory = Memory()
    weight = torch.zeros(100, 100, requires_grad=True)
    assert memory.watch([weight, weight.view(-1)]) == 40_000
    with memory:
        product = torch.ones(10, 100) @ weight
        again = product.view(-1)
        assert memory.live == 40_000 + 4_000 + 4_000  # the backward pass needs the ones; the view takes nothing
        product.sum().backward()
        assert memory.live >= 40_000 + 4_000 + 40_000
        del product, again
    assert memory.live == 80_000
    assert memory.peak >= 84_000


@pytest.mark.parametrize("settings", [{}, {"compute.recompute": "layers"}])
def test_a_fake_step_takes_the_memory_of_a_real_one(make_trainer: Make, settings: dict[str, object]):
    """The same step on real tensors: the peak agrees within a tenth."""
    trainer = make_trainer({"batch.micro_batch_size": 8, **settings})
    trainer.step(0, 4)
    inputs_BT, targets_BT = trainer.validate.batches[0]

    def peak(memory: Memory, forward: Callable[[], torch.Tensor]) -> int:
        before = memory.watch(trainer.task.parameters())
        with memory:
            forward().backward()  # type: ignore[no-untyped-call]
        return memory.peak - before

    real = peak(Memory(), lambda: trainer.task(inputs_BT, targets_BT))
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        task = trainer.task
        copies = {name: fake.from_tensor(tensor) for name, tensor in task.state_dict(keep_vars=True).items()}
        buffers = {name: fake.from_tensor(tensor) for name, tensor in task.named_buffers()}
        memory = Memory()
        memory.watch(copies.values())
        begun = memory.live
        with memory:
            arguments = (fake.from_tensor(inputs_BT), fake.from_tensor(targets_BT))
            torch.func.functional_call(task, copies | buffers, arguments).backward()  # type: ignore[no-untyped-call]
    assert memory.peak - begun == pytest.approx(real, rel=0.1)


def test_a_fake_step_of_fsdp_takes_the_memory_of_a_real_one(make_trainer: Make):
    """With weights that are gathered and given up, gradients, and the optimizer."""
    trainer = make_trainer({"parallel.backend": {"name": "fsdp"}, "batch.tokens": 32, "compute.recompute": "layers"})
    trainer.step(0, 4)
    memory, parameters = Memory(), list(trainer.task.parameters())
    memory.watch([*parameters, *(one.grad for one in parameters), *states_of(trainer.backend._optimizer)])
    with memory:
        trainer.step(1, 4)
    dist.destroy_process_group()
    found = rehearse_rank(MODEL, trainer.config, VOCABULARY, 0)
    assert found.peak == pytest.approx(memory.peak, rel=0.05)


def test_weights_that_are_given_up_are_not_counted_and_shapes_alone_take_nothing():
    memory = Memory()
    with memory:
        gathered = torch.ones(100)
        gathered.untyped_storage().resize_(0)
        assert (memory.live, memory.peak) == (0, 400)
        gathered.untyped_storage().resize_(800)
        assert (memory.live, memory.peak) == (800, 800)
        del gathered
        assert memory.live == 0
    size = memory.peak
    torch.ones(300).untyped_storage().resize_(8000)
    assert memory.peak == size


def test_all_ranks_together_have_the_parameters_once():
    config = compose((*SMALL, "training.parallel.processes=4", "training.parallel.pipeline=2"))
    first, last = rehearse(config)
    assert (first.rank, last.rank) == (0, 2)
    parameters = 2 * (first.parameters + last.parameters)
    assert parameters == count_parameters(config.model, config.tokenizer.vocab_size)
    assert first.weights == first.gradients == 4 * first.parameters
    assert first.states == pytest.approx(2 * first.weights, rel=0.01)


def test_what_fsdp_sends_is_what_one_counts_by_hand():
    """Each micro-batch: weights gathered for the forward pass and again for the backward pass, gradients scattered."""
    config = compose((*SMALL, "training.parallel.processes=2", "training.batch.micro_batch_size=4"))
    found = rehearsed_here(config)
    whole = 4 * count_parameters(config.model, config.tokenizer.vocab_size)
    assert found.sent["shard"] == pytest.approx(3 * whole / 2, rel=0.15)


def test_more_ranks_hold_less_and_recomputation_keeps_fewer_activations():
    two = rehearsed("training.parallel.processes=2")
    four = rehearsed("training.parallel.processes=4", "training.parallel.tensor=2")
    again = rehearsed("training.parallel.processes=2", "training.compute.recompute=layers")
    assert four.weights == pytest.approx(two.weights / 2, rel=0.05)
    assert again.activations < two.activations
    assert set(four.sent) == {"shard", "tensor"}


def test_a_pipeline_waits_as_its_schedule_says():
    one = compose((*SMALL, "training.parallel.processes=2", "training.parallel.pipeline=2")).training
    two = compose((*SMALL, "training.parallel.processes=2", "training.parallel.pipeline=2",
                   "training.parallel.stages_per_rank=2")).training  # fmt: skip
    assert bubble(one) == 1 / (4 + 1)  # 8 sequences, 4 micro-batches
    assert bubble(two) == 1 / (2 * 4 + 1)
    assert distinct_ranks(one) == [0, 1]


def test_the_first_error_is_the_one_that_the_machines_would_meet(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from llm.config.sections.training import LossConfig\n"
        "class Broken(LossConfig):\n"
        "    def compute(self, model, x_BTD, targets_BT):\n"
        "        return model.logits(x_BTD[..., 1:]).sum()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"rank 0 fails in its step(.|\n)*63"):
        list(rehearse(compose((*SMALL, "training.loss.name=broken:Broken"))))


def test_the_command_prints_memory_and_traffic():
    done = CliRunner().invoke(command, [*SMALL, "training.parallel.processes=2", "training.parallel.pipeline=2"])
    assert done.exit_code == 0
    assert "rank 1, " in done.output
    assert "pipeline waits" in done.output
    for name in ("deepspeed", "torch"):
        refused = CliRunner().invoke(command, [f"training.parallel.backend.name={name}"])
        assert isinstance(refused.exception, UserError)


@pytest.mark.parametrize("setting", ["training.optimizer.name=adamw8bit", "training.compute.precision=fp16"])
def test_settings_that_look_at_values_are_rehearsed(setting: str):
    found = rehearsed(setting)
    assert found.peak > found.weights + found.gradients + found.states > 0
