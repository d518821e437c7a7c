"""A process group of one rank, and the smallest training in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from llm.storage import LocalObjects, Store
from llm.training.plan import TrainingPlan
from llm.training.trainer import Trainer
from tests.cases.training import MODEL, token_shards, training


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """This process as the only rank; one thread, for matrices too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.fixture
def make_trainer(alone: None, tmp_path: Path) -> Callable[..., Trainer]:
    """Build a trainer of one rank, as the worker does; its workspace and its folder are `tmp_path / "work"`."""
    store = Store(tmp_path / "store")
    shards, tokenizer = token_shards(store)
    folder = tmp_path / "work"
    folder.mkdir()

    def make(settings: Mapping[str, Any] = {}, workspace: str = folder.as_uri()) -> Trainer:
        config = training({"parallel.processes": 1, **settings})
        plan = TrainingPlan(
            model=MODEL, training=config, shards=shards, tokenizer=tokenizer, end_of_text=0,
            store=store.objects.uri, workspace=workspace, recipe="", events=str(tmp_path / "events.jsonl"),
        )  # fmt: skip
        return Trainer(plan, folder)

    return make


@pytest.fixture
def workspace(tmp_path: Path) -> LocalObjects:
    """Where the trainer's checkpoints are."""
    return LocalObjects(tmp_path / "work")
