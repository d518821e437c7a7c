"""Several machines without a pool: where they meet, and what that does not go with."""

from __future__ import annotations

import pytest

from llm.config import compose
from llm.errors import UserError
from llm.runs import run_name

TWO = ("training.parallel.nodes=2", "training.batch.micro_batch_size=1")
MEET = "training.parallel.rendezvous=node-0.lab:29400"
ON_A_POOL = ("training.pool=cpu", "storage.uri=s3://bucket/prefix")


def test_more_than_one_machine_needs_a_pool_or_a_place_to_meet():
    with pytest.raises(UserError, match=r"nodes=2 without a pool to take them from\n(.|\n)*rendezvous=HOST:PORT"):
        compose(TWO)
    assert compose([*TWO, MEET]).training.parallel.world_size == 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([MEET], "nodes=1 and training.pool=None: one machine meets nobody"),
        ([*TWO, MEET, *ON_A_POOL], "training.pool=cpu: a pool says itself where its pods meet"),
        ([*TWO, "training.parallel.rendezvous=29400"], "rendezvous='?29400'? is not allowed"),
        ([*TWO, "training.parallel.rendezvous=node:"], "rendezvous='node:' is not allowed"),
        ([*TWO, "training.parallel.rendezvous=node:0"], "rendezvous='node:0' is not allowed"),
        ([*TWO, "training.parallel.rendezvous=node:65536"], "rendezvous='node:65536' is not allowed"),
        ([*TWO, MEET, "training.stages=[{steps: 4, sequence_length: 64}]"], "each stage would wait for the other"),
        ([*TWO, "training.parallel.rendezvous=a;b:1"], "rendezvous='a;b:1' is not allowed"),
        ([*TWO, "training.parallel.rendezvous=knöten:1"], "rendezvous='knöten:1' is not allowed"),
        ([*TWO, "training.parallel.rendezvous="], "rendezvous='' is not allowed"),
    ],
)
def test_a_place_to_meet_that_leads_nowhere_is_refused(settings: list[str], said: str):
    with pytest.raises(UserError, match=said):
        compose(settings)


def test_the_same_training_elsewhere_has_the_same_name():
    other = compose([*TWO, "training.parallel.rendezvous=10.0.0.7:1"])
    assert run_name("pretrain", compose([*TWO, MEET])) == run_name("pretrain", other)
