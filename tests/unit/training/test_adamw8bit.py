"""States of 8 bits: their codes, and the training with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from llm.training.callbacks._save import Save
from llm.training.optimizer._adamw8bit import BlockwiseAdamW
from llm.training.optimizer._blocks import BLOCK, decode, encode, levels, nearest
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]
CPU = torch.device("cpu")
SETTINGS = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "smallest_matrix": 1}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("is_signed", [True, False])
def test_there_are_256_levels_and_zero_is_one(is_signed: bool):
    known = levels(is_signed, CPU)
    assert len(known.unique()) == 256
    assert {0.0, 1.0} <= set(known.tolist())
    assert (known.min() < 0) == is_signed


@pytest.mark.parametrize("columns", [1, 7, BLOCK, BLOCK + 3])
@pytest.mark.parametrize("is_signed", [True, False])
def test_a_value_becomes_the_nearest_level_of_its_block(columns: int, is_signed: bool):
    values = draw(3, columns) * torch.tensor([[1.0], [1e-20], [0.0]])
    values = values if is_signed else values.abs()
    codes, scales = encode(values, is_signed=is_signed)
    assert (codes.shape, codes.dtype, scales.shape) == (values.shape, torch.uint8, (3, -(-columns // BLOCK)))
    found = decode(codes, scales, is_signed=is_signed)
    for row in range(3):
        for first in range(0, columns, BLOCK):
            block, got = values[row, first : first + BLOCK], found[row, first : first + BLOCK]
            largest = block.abs().max()
            errors = (block[:, None] - levels(is_signed, CPU) * largest).abs().min(1).values
            assert torch.allclose((got - block).abs(), errors, rtol=1e-3, atol=float(largest) * 1e-6)
            if not is_signed:
                assert got.max() == largest
    assert torch.equal(encode(found, is_signed=is_signed)[0], codes)


@pytest.mark.parametrize("is_signed", [True, False])
def test_the_nearest_level_is_found_at_and_around_every_middle(is_signed: bool):
    known = levels(is_signed, CPU)
    middles = (known[:-1] + known[1:]) / 2
    upwards, downwards = (torch.nextafter(middles, torch.full_like(middles, end)) for end in (2.0, -2.0))
    numbers = torch.cat((middles, upwards, downwards, known, draw(100_000).clamp(-1, 1)))
    numbers = numbers if is_signed else numbers.abs()
    assert torch.equal(nearest(numbers, is_signed=is_signed).long(), torch.bucketize(numbers, middles))


def test_a_row_is_coded_by_itself():
    values = draw(5, 300)
    codes, scales = encode(values, is_signed=True)
    alone = encode(values[3:4], is_signed=True)
    assert torch.equal(codes[3:4], alone[0])
    assert torch.equal(scales[3:4], alone[1])


def test_a_small_divisor_does_not_become_zero():
    codes, scales = encode(torch.tensor([[1.0, 1e-12, 0.0]]), is_signed=False)
    first, second, third = decode(codes, scales, is_signed=False)[0].tolist()
    assert (first, third) == (1.0, 0.0)
    assert second > 0


def test_with_float32_states_it_is_adamw():
    ours, theirs = (torch.nn.Parameter(draw(6, 5)) for _ in range(2))
    mine = BlockwiseAdamW([{"params": [ours], "weight_decay": 0.1}], {**SETTINGS, "smallest_matrix": 31})
    other = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for step in range(10):
        ours.grad, theirs.grad = (draw(6, 5, seed=step) for _ in range(2))
        mine.step()
        other.step()
    assert mine.state[ours].keys() == {"step", "exp_avg", "exp_avg_sq_root"}
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_states_take_two_bytes_a_value_and_the_scales():
    parameter = torch.nn.Parameter(draw(8, 512))
    optimizer = BlockwiseAdamW([{"params": [parameter]}], SETTINGS)
    parameter.grad = draw(8, 512)
    optimizer.step()
    taken = sum(state.nbytes for kind, state in optimizer.state[parameter].items() if kind != "step")
    assert taken == parameter.numel() * (2 + 2 * 4 / BLOCK)


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
def test_it_trains_as_adamw_does(make_trainer: Make, backend: str):
    def loss(optimizer: dict[str, object]) -> float:
        trainer = make_trainer({"optimizer": {"lr": 1e-2, **optimizer}, "parallel.backend": {"name": backend}})
        return [trainer.step(step, 50).loss for step in range(50)][-1]

    assert loss({"name": "adamw8bit", "smallest_matrix": 1}) == pytest.approx(loss({"name": "adamw"}), rel=0.01)


@pytest.mark.parametrize("backend", ["torch", "fsdp"])
@pytest.mark.parametrize("optimizer", [{"name": "adamw8bit", "smallest_matrix": 1}, {"name": "muon"}], ids=str)
def test_a_resume_is_bit_for_bit(make_trainer: Make, backend: str, optimizer: dict[str, object]):
    settings = {"optimizer": {"lr": 1e-2, **optimizer}, "parallel.backend": {"name": backend}}
    whole = make_trainer(settings)
    for step in range(6):
        whole.step(step, 6)
        if step == 2:
            Save().save(whole, 3)
    resumed = make_trainer(settings)
    resumed.train(6)
    for name, tensor in whole.backend.weights().items():
        assert torch.equal(tensor, resumed.backend.weights()[name]), name
