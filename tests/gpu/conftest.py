"""The same tests on the CPU and on a GPU: with `cpu` they run everywhere, with `cuda` where torch sees a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from llm.training.rank.device import Cuda, Device
from llm.training.trainer import Trainer
from tests.cases.training import trainers

Make = Callable[..., Trainer]
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, and say why."""
    found = torch.cuda.device_count()
    for item in items:
        for mark in item.iter_markers("gpu"):
            wanted = mark.kwargs.get("count", 1)
            if found < wanted:
                item.add_marker(pytest.mark.skip(reason=f"needs {wanted} GPU, and torch sees {found} here"))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a device, with this process as the only rank on it."""
    threads, bf16 = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    torch.set_num_threads(1)
    of = Cuda if request.param == "cuda" else Device
    of.meet(timedelta(minutes=1))
    yield request.param
    dist.destroy_process_group()
    torch.set_num_threads(threads)
    torch.backends.mkldnn.matmul.fp32_precision = bf16
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture
def make(device: str, tmp_path: Path) -> Make:
    """Build a trainer on the device, or on another that `compute.device` names."""
    build = trainers(tmp_path)

    def of(settings: Mapping[str, Any] | None = None, **more: Any) -> Trainer:
        return build({"compute.device": device, **(settings or {})}, **more)

    return of
