"""A process group of one rank, and the smallest training in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from llm.storage import LocalObjects
from llm.training.trainer import Trainer
from tests.cases.training import trainers


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
    return trainers(tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> LocalObjects:
    """Where the trainer's checkpoints are."""
    return LocalObjects(tmp_path / "work")
