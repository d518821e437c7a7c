"""Ranks on several GPUs over NCCL: the losses of one rank, whatever they share. For CPUs it is in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from llm.runs.event_kinds import TrainStep
from llm.runs.events import EventLog
from tests.cases.training import run

GPUS = max(2, torch.cuda.device_count() & ~1)
"""An even number, so that the batch of the smallest training can be shared."""
pytestmark = pytest.mark.gpu(count=2)


def losses(folder: Path, settings: dict[str, Any]) -> list[float]:
    folder.mkdir()
    run(folder, {"compute.device": "cuda", "batch.tokens": 16 * 2 * GPUS, "batch.micro_batch_size": 1, **settings})
    return [event.loss for event in EventLog(folder / "events.jsonl").of_kind(TrainStep)]


@pytest.mark.parametrize(
    "shared",
    [
        {"backend": {"name": "torch"}}, {"backend": {"name": "fsdp"}},
        {"backend": {"name": "fsdp", "reshard_after_forward": False}}, {"backend": {"name": "fsdp"}, "replicas": 2},
        {"backend": {"name": "fsdp"}, "context": 2}, {"backend": {"name": "deepspeed", "zero_stage": 1}},
        {"backend": {"name": "deepspeed", "zero_stage": 2}},
    ],
    ids=["ddp", "fsdp", "fsdp without resharding", "hsdp", "context", "zero 1", "zero 2"],
)  # fmt: skip
def test_the_losses_are_those_of_one_rank(tmp_path: Path, shared: dict[str, Any]):
    many = {f"parallel.{key}": value for key, value in {"processes": GPUS, **shared}.items()}
    one = {"parallel.processes": 1, "parallel.backend": {"name": "torch"}}
    assert losses(tmp_path / "many", many) == pytest.approx(losses(tmp_path / "one", one), rel=1e-4)
