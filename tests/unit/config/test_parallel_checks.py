"""Parallel degrees that cannot work are refused before any work, with the rule that they break."""

from __future__ import annotations

import pytest

from llm.config import compose
from llm.errors import UserError

FSDP = ["training.parallel.backend.name=fsdp", "training.parallel.processes=4", "training.batch.micro_batch_size=1",
        "model.tie_word_embeddings=false"]  # fmt: skip
PREFIX = ["training.mask.name=prefix", "training.mask.tokens=8"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["tensor=2", "backend.name=torch"], r"backend\.name=torch has no tensor: .*tensor=2"),
        (["pipeline=2", "context=2", "backend.name=deepspeed"], "has no context or pipeline"),
        (["tensor=3"], "must be a multiple of 3, and there are 4"),
        (["tensor=2", "pipeline=4"], "must be a multiple of 8"),
        (["replicas=3"], "replicas=3 does not divide the 4 ranks"),
        (["stages_per_rank=2"], "without a pipeline"),
        (["pipeline=4", "stages_per_rank=2"], "needs 8 layers or more"),
        (["backend.name=deepspeed", "backend.zero_stage=0", "backend.offload=cpu"], "without ZeRO there is none"),
    ],
)
def test_degrees_are_refused_by_name(settings: list[str], words: str):
    with pytest.raises(UserError, match=words):
        compose((*FSDP, *(f"training.parallel.{setting}" for setting in settings)))


@pytest.mark.parametrize(
    ("degree", "settings", "words"),
    [
        ("tensor=4", ["model.num_key_value_heads=2"], r"tensor=4 does not divide model\.num_key_value_heads=2"),
        ("tensor=2", ["model.intermediate_size=705"], r"does not divide model\.intermediate_size"),
        ("tensor=2", ["training.loss.slice_tokens=64"], "already have parts of the vocabulary"),
        ("tensor=2", ["training.optimizer.name=adamw8bit"], "its states need whole rows"),
        ("context=2", ["training.batch.sequence_length=254", "training.batch.tokens=8128"], "is no multiple of 4"),
        ("pipeline=2", ["model.tie_word_embeddings=true"], "two stages would have the same weights"),
        ("pipeline=2", ["model.num_unique_layers=2"], "two stages would have the same weights"),
        ("pipeline=4", ["training.batch.micro_batch_size=16"], "4 or more micro-batches a step on each rank"),
        ("pipeline=2", ["training.compute.precision=fp16"], "its loss scale does not reach"),
        ("pipeline=2", ["training.optimizer.layer_decay=0.9"], "stages would have other groups"),
    ],
)
def test_what_a_degree_cannot_cut_is_named(degree: str, settings: list[str], words: str):
    with pytest.raises(UserError, match=words):
        compose((*FSDP, f"training.parallel.{degree}", *settings))


@pytest.mark.parametrize("degrees", [["tensor=2"], ["context=4"], ["pipeline=2", "stages_per_rank=2"], ["replicas=2"],
                                     ["tensor=2", "pipeline=2"], ["tensor=2", "context=2"]])  # fmt: skip
def test_what_works_is_taken(degrees: list[str]):
    config = compose((*FSDP, *(f"training.parallel.{degree}" for degree in degrees)))
    assert config.training.parallel.world_size == 4


def test_ranks_that_share_a_sequence_learn_from_as_many_positions_each():
    with pytest.raises(UserError, match=r"training.parallel.context=2 with training.mask.name=prefix"):
        compose([FSDP[0], "training.parallel.context=2", *PREFIX])
    compose([FSDP[0], "training.parallel.context=2", "training.mask.name=documents"])
    compose([FSDP[0], *PREFIX])


def test_a_prefix_leaves_something_to_learn():
    whole = [*PREFIX, "training.batch.sequence_length=8", "training.batch.tokens=8192"]
    compose(whole)
    with pytest.raises(UserError, match=r"training.mask.tokens=9 leaves nothing to learn"):
        compose([*whole, "training.mask.tokens=9"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["training.parallel.backend.name=deepspeed"], r"fp8 with training\.parallel\.backend\.name=deepspeed"),
        (["training.parallel.tensor=2"], r"fp8 with training\.parallel\.tensor=2"),
        (["model.intermediate_size=705"], r"fp8 with model\.intermediate_size=705.*\n  nearest: 704"),
    ],
)
def test_float8_is_refused_where_it_cannot_work(settings: list[str], words: str):
    compose((*FSDP, "training.compute.precision=fp8"))
    with pytest.raises(UserError, match=words):
        compose((*FSDP, "training.compute.precision=fp8", *settings))
