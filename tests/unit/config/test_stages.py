"""Stages of a training: their configurations, the layers that each copies, and what is refused before any work."""

from __future__ import annotations

import pytest

from llm.config import compose, deciding
from llm.config.derived.stages import source_layers, stages_of
from llm.errors import UserError

STAGES = "training.stages=[{steps: 5, num_hidden_layers: 2, sequence_length: 64}, {steps: 6, num_hidden_layers: 2}]"


@pytest.mark.parametrize(
    ("layers", "wanted", "expected"),
    [
        (2, 2, [0, 1]),
        (2, 4, [0, 1, 0, 1]),
        (2, 6, [0, 1, 0, 1, 0, 1]),
        (1, 3, [0, 0, 0]),
        (4, 6, [0, 1, 2, 1, 2, 3]),
        (4, 5, [0, 1, 2, 2, 3]),
        (32, 48, [*range(24), *range(8, 32)]),
    ],
)
def test_the_whole_stack_is_repeated_or_two_copies_overlap(layers: int, wanted: int, expected: list[int]):
    assert source_layers(layers, wanted) == expected


@pytest.mark.parametrize(("layers", "wanted"), [(4, 2), (2, 5), (3, 7)])
def test_a_depth_without_a_rule_is_refused(layers: int, wanted: int):
    with pytest.raises(
        UserError, match=rf"{layers} layers cannot grow .*={wanted}\n  allowed: {layers} to {2 * layers}"
    ):
        source_layers(layers, wanted)


def test_each_stage_has_its_shape_and_the_last_one_that_of_the_configuration():
    config = compose([STAGES, "training.seed=2147483647"])
    stages = stages_of(config)
    shapes = [(one.model.num_hidden_layers, one.training.batch.sequence_length) for one in stages]
    assert shapes == [(2, 64), (2, 128), (4, 128)]
    assert [one.training.length.steps for one in stages] == [5, 6, config.training.length.steps]
    assert [one.training.seed for one in stages] == [2147483647, 0, 1], "other windows in each"
    assert all(one.training.stages == () for one in stages)
    assert stages_of(compose()) == [compose()]


def test_a_training_without_stages_keeps_its_id():
    assert not {"stages", "grow"} & deciding(compose().training).keys()
    assert "stages" in deciding(compose([STAGES]).training)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["training.grow=true"], r"grow=true without training\.start_from"),
        (["training.stages=[{steps: 5}]"], r"stages\[0\] has 4 layers and sequences of 128 tokens, and"),
        (["training.stages=[{steps: 5, num_hidden_layers: 8}]"], "more layers or longer sequences than the one before"),
        (["training.stages=[{steps: 5, num_hidden_layers: 2, sequence_length: 256}]"], "and less of neither"),
        (["training.stages=[{steps: 5, num_hidden_layers: 3}]", "model.num_hidden_layers=7"], r"cannot grow to .*=7"),
        (["training.stages=[{steps: 5, sequence_length: 60}]"], r"stages\[0\]: training\.batch\.tokens=1024 is not a"),
        (
            [STAGES, "training.batch.ramp=[{tokens: 512, steps: 2}]", "training.batch.micro_batch_size=2"],
            "every stage would have the ramp",
        ),
        ([STAGES, "model.num_unique_layers=2"], "layers that share weights cannot be copied"),
        (["training.stages=[{steps: 0}]"], r"stages\.0\.steps"),
        (["training.stages=[{steps: 5, layers: 2}]"], r"stages"),
        (
            ["training.stages=[{steps: 5, num_hidden_layers: 3}]", "model.sliding_window=32",
             "model.layer_types=[sliding_attention,full_attention]", "model.attention_bias=qkv"],
            r"layer 2 has sliding_attention, and would be a copy of layer 1, which has full_attention",
        ),
    ],
)  # fmt: skip
def test_stages_that_cannot_work_are_refused(settings: list[str], words: str):
    with pytest.raises(UserError, match=words):
        compose(settings)
