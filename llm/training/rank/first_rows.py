"""The first weights of a training that starts from a checkpoint: each rank reads only the rows that it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from llm.model.foreign import WeightFiles
from llm.storage import Manifest
from llm.training.rank.task import Rows


@contextmanager
def first_rows(start: Manifest | None) -> Iterator[Rows | None]:
    """The rows of a checkpoint's parameters while the block lasts; None without a checkpoint. All ranks call it.

    Raises DamagedError for a file that is not what its manifest says.
    """
    if start is None:
        yield None
        return
    if os.environ.get("LOCAL_RANK", "0") == "0":  # once a node; the others find the files there
        start.verify()
    dist.barrier()
    with WeightFiles(start.folder) as files:
        yield files.rows
