"""Faults of a device, told apart from ours by the words that CUDA, NCCL and torch use for them.

Out of memory is a wrong request: the same training would end there again. A broken GPU is the node's fault: the
training goes on elsewhere. A failed collective operation is mostly the consequence of another rank's end. All else,
such as an illegal memory access or a wrong use of NCCL, is a fault of ours.
Sources: the texts of `cudaGetErrorString` (CUDA Runtime API, "Error Handling"); "NCCL return codes" (NCCL user guide);
the log lines of torch's ProcessGroupNCCL.
"""

from __future__ import annotations

import re
import socket

from llm.errors import GristmillError, Preempted, UserError

OUT_OF_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (?:can't|not enough)"
)
BROKEN = re.compile(
    r"uncorrectable ECC error|uncorrectable NVLink error|hardware stack error|GPU is lost|has fallen off the bus"
    r"|CUDA-capable device\(s\) is/are busy or unavailable|over nvlink or a hardware error",
    re.IGNORECASE,
)
NCCL = re.compile(
    r"nccl(?:System|Remote|Internal)Error|NCCL.*(?:timed? ?out|timeout)|unhandled system error", re.IGNORECASE
)
NCCL_TIMEOUT = re.compile(r"\[Rank (\d+)\].*Watchdog caught collective operation timeout: WorkNCCL\(.*?OpType=(\w+)")
"""The rank that waited, and the operation."""
LAST_CHARACTERS = 20_000
"""Of a log: a fault that somebody survived long ago is not the end."""


def device_fault(text: str, rank: int | None, again: str) -> GristmillError | None:
    """The error if a device ended this rank, as its traceback or the end of the log says; None if it says none.

    `again` says where the training goes on.
    """
    text = text[-LAST_CHARACTERS:]
    who = "a rank" if rank is None else f"rank {rank}"
    host = socket.gethostname()
    if (found := BROKEN.search(text)) is not None:
        return Preempted(
            f"the device of {who} on {host} is broken: {found[0]}",
            "Take the node out (`kubectl cordon NODE`), and look for Xid in the log of its kernel.",
            again,
        )
    if (found := OUT_OF_MEMORY.search(text)) is not None:
        return UserError(
            f"{who} of the training on {host} has not enough memory: {found[0]}",
            "Lower training.batch.micro_batch_size, set training.compute.recompute=layers, or share more between the"
            " ranks (training.parallel.backend.name=fsdp, training.parallel.tensor).",
            again,
        )
    return None


def waited_in_vain(text: str, again: str) -> Preempted | None:
    """The error if NCCL's watchdog ended ranks that waited for others, as the end of the log says."""
    found = {int(rank): operation for rank, operation in NCCL_TIMEOUT.findall(text[-LAST_CHARACTERS:])}
    if not found:
        return None
    ranks, operation = ", ".join(map(str, sorted(found))), found[min(found)]
    return Preempted(
        f"a collective operation (NCCL {operation}) took too long: on {socket.gethostname()} rank {ranks} waited",
        "A rank that is not among these did not come: its node, or the network to it, has the fault.",
        again,
    )
