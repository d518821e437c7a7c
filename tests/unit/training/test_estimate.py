"""The estimate of a rank's memory agrees with the rehearsal, and with a real step where there is no rehearsal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm.config import compose
from llm.model import count_parameters
from llm.training.estimate.memory import fullest_rank, rank_memory
from llm.training.estimate.sizes import Sizes
from llm.training.rehearsal.memory import Memory, states_of
from llm.training.trainer import Trainer
from tests.cases.rehearsed import SMALL, rehearsed_here
from tests.cases.training import MODEL, VOCABULARY

WITHIN = 0.1
Make = Callable[..., Trainer]


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        ("training.batch.micro_batch_size=1 training.batch.tokens=128 tokenizer.vocab_size=2000", 0),
        ("training.compute.precision=bf16 training.compute.recompute=layers training.optimizer.name=adamw8bit", 0),
        ("training.parallel.processes=4 training.parallel.tensor=2 training.compute.precision=bf16", 0),
        ("training.parallel.processes=4 training.parallel.context=2 training.compute.recompute=operations", 0),
        ("training.parallel.pipeline=2 training.batch.micro_batch_size=2 training.batch.tokens=256", 1),
    ],
)
def test_it_is_within_a_tenth_of_the_rehearsal(settings: str, stage: int):
    config = compose([*SMALL, *settings.split()])
    sizes = Sizes(config.model, config.training, config.tokenizer.vocab_size, stage)
    expected, found = rehearsed_here(config, stage), rank_memory(sizes)
    assert found.weights == pytest.approx(expected.weights, rel=0.01)
    assert found.gradients == pytest.approx(expected.gradients, rel=0.01)
    assert found.states == pytest.approx(expected.states, rel=0.01)
    assert found.peak == pytest.approx(expected.peak, rel=WITHIN)


@pytest.mark.parametrize("settings", [{}, {"compute.recompute": "layers"}])
def test_without_a_rehearsal_it_is_within_a_tenth_of_a_real_step(make_trainer: Make, settings: dict[str, object]):
    trainer = make_trainer({"batch.micro_batch_size": 8, **settings})
    trainer.step(0, 4)
    memory, parameters = Memory(), list(trainer.task.parameters())
    memory.watch([*parameters, *(one.grad for one in parameters), *states_of(trainer.backend._optimizer)])
    with memory:
        trainer.step(1, 4)
    assert fullest_rank(MODEL, trainer.config, VOCABULARY).peak == pytest.approx(memory.peak, rel=WITHIN)


def bytes_of(*settings: str) -> dict[str, float]:
    """Weights, gradients and states of a rank, in bytes for a parameter of the model."""
    config = compose([*SMALL, "training.parallel.processes=2", *settings])
    found = fullest_rank(config.model, config.training, config.tokenizer.vocab_size)
    parameters = count_parameters(config.model, config.tokenizer.vocab_size)
    return {kind: getattr(found, kind) / parameters for kind in ("weights", "gradients", "states")}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["training.parallel.backend.name=torch"], (4, 4, 8)),
        (["training.parallel.backend.name=deepspeed", "training.parallel.backend.zero_stage=0"], (4, 4, 8)),
        (["training.parallel.backend.name=deepspeed"], (4, 4, 6)),
        (["training.parallel.backend.name=deepspeed", "training.parallel.backend.zero_stage=2"], (4, 2, 6)),
        ([], (2, 2, 4)),
        (["training.parallel.replicas=2"], (4, 4, 8)),
    ],
)
def test_a_rank_holds_what_its_backend_leaves_it(settings: list[str], expected: tuple[float, ...]):
    assert tuple(bytes_of(*settings).values()) == pytest.approx(expected, rel=0.02)


def test_in_bf16_a_processor_keeps_whole_values_and_a_gpu_half_of_them():
    config = compose([*SMALL, "training.compute.precision=bf16"])
    gpu, cpu = (
        fullest_rank(config.model, config.training, config.tokenizer.vocab_size, autocasts=autocasts).activations
        for autocasts in (True, False)
    )
    plain = compose([*SMALL])
    assert gpu < cpu == fullest_rank(plain.model, plain.training, plain.tokenizer.vocab_size).activations


def test_the_fullest_stage_is_the_one_that_counts():
    config = compose([*SMALL, "training.parallel.pipeline=2", "training.batch.micro_batch_size=1",
                      "tokenizer.vocab_size=20000"])  # fmt: skip
    found = fullest_rank(config.model, config.training, config.tokenizer.vocab_size)
    stages = [rank_memory(Sizes(config.model, config.training, 20000, stage)) for stage in (0, 1)]
    assert found == max(stages, key=lambda one: one.peak)
    assert found.stage == 1
