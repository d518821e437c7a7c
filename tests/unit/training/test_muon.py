"""Muon against torch's own, and what it is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from llm.config import compose
from llm.errors import UserError
from llm.training.checkpoint.states import groups_of, load_groups
from llm.training.optimizer._muon import MuonWithAdamW, orthogonal
from llm.training.trainer import Trainer

Make = Callable[..., Trainer]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(16, 16), (24, 8), (8, 24)])
def test_a_matrix_becomes_orthogonal_and_keeps_its_singular_vectors(shape: tuple[int, int]):
    matrix = draw(*shape)
    found = orthogonal(matrix, 5)
    assert torch.linalg.svdvals(found).min() > 0.5
    assert torch.linalg.svdvals(found).max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ found @ v.T
    assert (inner - inner.diag().diag()).abs().max() < 1e-4
    assert torch.allclose(orthogonal(matrix * 1e3, 5), found, atol=1e-5)
    assert torch.equal(orthogonal(torch.zeros(shape), 5), torch.zeros(shape))


@pytest.mark.parametrize("shape", [(24, 8), (8, 24)])
def test_an_update_is_that_of_torch_to_the_rounding_of_bfloat16(shape: tuple[int, int]):
    ours, theirs = (torch.nn.Parameter(draw(*shape)) for _ in range(2))
    group = {"params": [ours], "weight_decay": 0.1, "momentum": 0.95, "newton_schulz_steps": 5}
    vector = torch.nn.Parameter(draw(3))
    both = (
        MuonWithAdamW([group, {"params": [vector]}], 0.02, (0.9, 0.95)),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    )
    before = ours.detach().clone()
    for step in range(4):
        ours.grad, theirs.grad = (draw(*shape, seed=step + 1) for _ in range(2))
        for optimizer in both:
            optimizer.step()
    assert (ours - theirs).abs().max() < 0.03 * (ours - before).abs().max()
    assert torch.equal(both[0].state[ours]["momentum_buffer"], both[1].state[theirs]["momentum_buffer"])


def test_only_matrices_of_layers_are_made_orthogonal(make_trainer: Make):
    trainer = make_trainer({"optimizer": {"name": "muon", "lr": 1e-2}}, model={"tie_word_embeddings": False})
    trainer.step(0, 12)
    kinds = {name.split("/", 1)[1]: name.split("/")[0] for name in trainer.backend.states()}
    names = {name for name, kind in kinds.items() if kind == "momentum_buffer"}
    assert names == {name for name, one in trainer.task.named().items() if ".layers." in name and one.dim() == 2}
    assert {"lm_head.weight", "model.embed_tokens.weight"} < kinds.keys() - names


def test_it_trains_at_the_rate_of_adamw(make_trainer: Make):
    def loss(name: str) -> float:
        trainer = make_trainer({"optimizer": {"name": name, "lr": 1e-2}})
        return [trainer.step(step, 40).loss for step in range(40)][-1]

    assert loss("muon") < 1.1 * loss("adamw")


@pytest.mark.parametrize("name", ["muon", "adamw8bit"])
def test_flat_shares_of_parameters_are_refused_by_name(name: str):
    deepspeed = "training.parallel.backend.name=deepspeed"
    for stage in (1, 2, 3):
        with pytest.raises(
            UserError, match=rf"name={name} needs parameters .*backend\.zero_stage={stage} give"
        ) as told:
            compose([f"training.optimizer.name={name}", deepspeed, f"training.parallel.backend.zero_stage={stage}"])
        assert "Set training.parallel.backend.name=torch or fsdp" in str(told.value)
    assert compose([f"training.optimizer.name={name}", deepspeed, "training.parallel.backend.zero_stage=0"])
    for other in ("torch", "fsdp"):
        assert compose([f"training.optimizer.name={name}", f"training.parallel.backend.name={other}"])


def test_a_stage_without_embedding_and_head_has_the_groups_of_all():
    stage = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(4, 4)])})
    config = compose(["training.parallel.backend.name=fsdp", "training.optimizer.name=muon"]).training.optimizer
    optimizer = config.build(stage)
    whole = config.build(torch.nn.ModuleDict({**stage, "embed_tokens": torch.nn.Embedding(9, 4)}))
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 0, 1]
    load_groups(optimizer, groups_of(whole))
    for parameter in stage.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(len(optimizer.state[parameter]) for parameter in stage.parameters())
