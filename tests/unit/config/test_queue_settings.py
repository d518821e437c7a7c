"""Queue and priority of a training: they need a pool, and change nothing of what is made."""

from __future__ import annotations

import pytest

from llm.config import compose
from llm.errors import UserError
from llm.runs import run_name

ON_A_POOL = ("training.pool=cpu", "storage.uri=s3://bucket/prefix")


@pytest.mark.parametrize("key", ["queue", "priority"])
def test_a_queue_needs_a_pool(key: str):
    with pytest.raises(UserError) as raised:
        compose([f"training.{key}=team-a"])
    assert str(raised.value) == (
        f"training.{key}=team-a without a pool: only a training on a pool waits in a queue\n"
        f"  Name one with training.pool=…, or leave out training.{key}.\n"
        f"  For the pod of a step: pods.all.{key}, or pods.steps.STEP.{key}."
    )
    assert getattr(compose([*ON_A_POOL, f"training.{key}=team-a"]).training, key) == "team-a"


def test_the_name_of_a_queue_is_one_of_kubernetes():
    with pytest.raises(UserError, match=r"training\.queue='Team_A' is not allowed"):
        compose([*ON_A_POOL, "training.queue=Team_A"])


def test_the_same_training_in_another_queue_has_the_same_name():
    config = compose(ON_A_POOL)
    queued = compose([*ON_A_POOL, "training.queue=team-a", "training.priority=urgent"])
    assert run_name("pretrain", queued) == run_name("pretrain", config)
