"""Parameters with a learning rate or a decay of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from llm.config import RunConfig, compose, deciding
from llm.errors import UserError
from llm.training.backend._optimizer import optimizer_of
from llm.training.optimizer import set_lr
from llm.training.trainer import Trainer
from tests.cases.training import training

Make = Callable[..., Trainer]
NAMES = ["model.embed_tokens.weight", "model.layers.0.mlp.weight", "model.layers.0.norm.weight",
         "model.layers.1.mlp.weight", "model.layers.1.norm.weight", "model.norm.weight", "lm_head.weight"]  # fmt: skip


class Named(nn.Module):
    """Parameters with the names of a decoder's, vectors where the name says norm."""

    def named_parameters(self, *args: Any, **settings: Any) -> Any:
        return self.given.items()

    def parameters(self, recurse: bool = True) -> Any:
        return iter(self.given.values())

    def __init__(self) -> None:
        super().__init__()
        self.given = {name: nn.Parameter(torch.ones(2) if "norm" in name else torch.ones(2, 2)) for name in NAMES}


def treatments(settings: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Rate at a schedule's rate of 1, and decay, by name."""
    model = Named()
    config = training({f"optimizer.{key}": value for key, value in settings.items()})
    optimizer = optimizer_of(config, model)
    set_lr(optimizer, 1.0)
    names = {id(parameter): name for name, parameter in model.given.items()}
    found = {
        names[id(one)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for one in group["params"]
    }
    assert sorted(found) == sorted(NAMES), "every parameter is in one group"
    return found


def test_the_first_match_wins_and_the_rest_is_as_before():
    found = treatments({"groups": [
        {"match": r"layers\.1\.", "lr_factor": 0.5}, {"match": "norm", "lr_factor": 3.0, "weight_decay": 0.2},
        {"match": "^lm_head", "weight_decay": 0.0},
    ]})  # fmt: skip
    assert found == {
        "model.embed_tokens.weight": (1.0, 0.1), "model.layers.0.mlp.weight": (1.0, 0.1),
        "model.layers.0.norm.weight": (3.0, 0.2), "model.layers.1.mlp.weight": (0.5, 0.1),
        "model.layers.1.norm.weight": (0.5, 0.0), "model.norm.weight": (3.0, 0.2), "lm_head.weight": (1.0, 0.0),
    }  # fmt: skip


def test_layers_far_from_the_head_learn_more_slowly():
    found = {name: rate for name, (rate, _) in treatments({"layer_decay": 0.5}).items()}
    assert [found[name] for name in NAMES] == [0.125, 0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    both = treatments({"layer_decay": 0.5, "groups": [{"match": "norm", "lr_factor": 3.0}]})
    assert both["model.layers.0.norm.weight"][0] == pytest.approx(0.75)


def test_without_groups_the_optimizer_is_as_it_was():
    optimizer = optimizer_of(training({}), Named())
    assert len(optimizer.param_groups) == 2
    assert not any("lr_factor" in group for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([{"match": "embd"}], "training.optimizer.groups[0].match=embd matches the name of no parameter"),
        (
            [{"match": "norm"}, {"match": r"layers\.0\.norm"}],
            r"groups[1].match=layers\.0\.norm: groups before it take all",
        ),
    ],
)
def test_a_group_that_gets_no_parameter_is_refused_by_its_pattern(groups: list[dict[str, Any]], words: str):
    with pytest.raises(UserError, match=re.escape(words)):
        treatments({"groups": groups})


def test_a_pattern_that_is_none_is_refused_before_any_work():
    with pytest.raises(UserError, match=r"(?s)training\.optimizer\.groups.*no regular expression: unterminated"):
        compose(["training.optimizer.groups=[{match: 'a['}]"])


def test_groups_are_in_the_recipe_only_if_they_are_set():
    plain = deciding(RunConfig().training.optimizer)
    assert not {"groups", "layer_decay"} & plain.keys()
    given = compose(["training.optimizer.groups=[{match: norm, lr_factor: 0.5}]", "training.optimizer.layer_decay=0.9"])
    assert deciding(given.training.optimizer) == deciding(compose().training.optimizer) | {
        "groups": [{"match": "norm", "lr_factor": 0.5, "weight_decay": None}], "layer_decay": 0.9,
    }  # fmt: skip


def test_a_factor_of_zero_leaves_the_parameters_as_they_are(make_trainer: Make):
    trainer = make_trainer({"optimizer.groups": [{"match": "embed_tokens|norm", "lr_factor": 0.0}]})
    before = {name: tensor.clone() for name, tensor in trainer.backend.weights().items()}
    trainer.train(3)
    for name, tensor in trainer.backend.weights().items():
        assert torch.equal(tensor, before[name]) == ("embed_tokens" in name or "norm" in name), name


@pytest.mark.parametrize("optimizer", ["muon", "adamw8bit"])
def test_every_optimizer_has_groups(optimizer: str):
    found = treatments({"name": optimizer, "layer_decay": 0.5, "groups": [{"match": "embed", "weight_decay": 0.7}]})
    assert found["model.embed_tokens.weight"] == (0.125, 0.7)
    assert found["model.layers.0.mlp.weight"] == (0.25, 0.1)
    assert found["model.norm.weight"] == (1.0, 0.0)
