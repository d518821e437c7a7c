"""The processor that a rank computes on: the only module that knows which it is.

A CPU's rank meets the others over gloo; a GPU's over NCCL, and over gloo for numbers that are on the host anyway.
"""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from llm.config.accelerators import by_torch_name
from llm.config.sections.training import FLOAT8
from llm.errors import UserError
from llm.model import Decoder

PEAK_SECONDS = 0.3
DRIVER = Path("/dev/nvidiactl")
"""There where the driver of NVIDIA is: in a pod, only if the pod has a GPU."""
PRODUCTS = 3
NO_BF16 = "training.compute.precision=bf16 has no effect: this processor has no arithmetic for it, so it is fp32"
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}
WITH_FLOAT8 = (8, 9)
"""Compute capability from which a GPU multiplies in float8 (Ada, Hopper)."""


class Device:
    """The CPU."""

    kind = "cpu"
    """Its name in torch."""
    peak_matrix = (1024, torch.float32)
    """Rows and type of the square matrices that measure the peak."""
    product = (512, torch.float32)
    """Those of the product that tells a slow device."""
    runs_ahead = False
    """Whether work goes on after the call that begins it, so that the host may begin more of it meanwhile."""

    @classmethod
    def meet(cls, timeout: timedelta) -> None:
        """Make the process group of all ranks; a collective that takes longer than `timeout` is an error."""
        os.environ["DS_ACCELERATOR"] = cls.kind  # DeepSpeed would take a GPU that it sees
        dist.init_process_group("gloo", timeout=timeout)

    def use(self, precision: str) -> str | None:
        """Compute in this precision from now on; returns a warning where the processor cannot.

        Raises UserError for fp8 on a processor without it.
        """
        if precision == "fp8":
            raise UserError(
                "training.compute.precision=fp8 on a CPU, which does not multiply in float8",
                "Train on a GPU that does (Ada, Hopper or later), or set training.compute.precision=bf16.",
            )
        if precision != "bf16":
            return None
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
        return None if computes_bf16() else NO_BF16

    def autocast(self, precision: str) -> AbstractContextManager[object]:
        """The forward pass in this precision, with weights in float32; bf16 on a CPU is a switch of its library."""
        return torch.autocast(self.kind, HALF[precision]) if precision == "fp16" else nullcontext()

    def in_float8(self, model: Decoder) -> None:
        """Let the layers of a model multiply in float8; a rehearsal on a CPU leaves them in bf16."""

    @staticmethod
    def be_deterministic() -> None:
        """Refuse operations that have no deterministic form; torch names them when they come."""
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True)
        # It finds faults, and takes a tenth of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def seed(self, number: int) -> None:
        """Let the random numbers of dropout begin here."""
        torch.manual_seed(number)

    def here(self, tensor: Tensor) -> Tensor:
        """A host's tensor on this device."""
        return tensor

    def read_later(self, work: dist.Work, *tensors: Tensor) -> Callable[[], list[float]]:
        """A function that waits for the values of these tensors as they are after a collective, and gives them all."""

        def read() -> list[float]:
            work.wait()
            return [float(value) for tensor in tensors for value in tensor.flatten()]

        return read

    def memory_bytes(self) -> int:
        """Largest resident memory of this rank so far."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def peak_flops(self) -> float:
        """Floating-point operations a second on square matrix products, measured: no data sheet tells it."""
        size, dtype = self.peak_matrix
        a, b = (torch.randn(size, size, device=self.kind, dtype=dtype) for _ in range(2))
        self._multiplied(a, b)
        best, started = 0.0, time.perf_counter()
        while time.perf_counter() - started < PEAK_SECONDS:
            before = time.perf_counter()
            self._multiplied(a, b)
            best = max(best, 2 * size**3 / (time.perf_counter() - before))
        return best

    def product_seconds(self) -> float:
        """The time of one product of square matrices, the same on all ranks: the best of a few."""
        size, dtype = self.product
        a, best = torch.ones(size, size, device=self.kind, dtype=dtype), math.inf
        for _ in range(PRODUCTS):
            before = time.perf_counter()
            self._multiplied(a, a)
            best = min(best, time.perf_counter() - before)
        return best

    def _multiplied(self, a: Tensor, b: Tensor) -> None:
        a @ b


class Cuda(Device):
    """A GPU of NVIDIA, that of the rank's number on its node."""

    kind = "cuda"
    peak_matrix = (8192, torch.bfloat16)
    product = (8192, torch.bfloat16)
    """Large enough that the start of a kernel does not count."""
    runs_ahead = True
    _precision = "bf16"

    @classmethod
    def meet(cls, timeout: timedelta) -> None:
        """Take this rank's GPU, and meet over NCCL; raises UserError if there are more ranks than GPUs."""
        number, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= found:
            raise UserError(
                f"rank {number} of this node has no GPU: torch sees {found}",
                "Set training.parallel.processes to the number of GPUs of a node, or training.compute.device=cpu.",
            )
        os.environ["DS_ACCELERATOR"] = cls.kind
        torch.cuda.set_device(number)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout, device_id=torch.device(cls.kind, number))

    def use(self, precision: str) -> str | None:
        """Products of float32 in TF32 where the autocast leaves them; its error is below that of bf16."""
        torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
        self._precision = precision
        self.peak_matrix = (8192, HALF.get(precision, torch.float32))
        if precision == "fp8" and (found := torch.cuda.get_device_capability()) < WITH_FLOAT8:
            raise UserError(
                f"training.compute.precision=fp8 on {torch.cuda.get_device_name()}, whose compute capability"
                f" {found[0]}.{found[1]} is below {WITH_FLOAT8[0]}.{WITH_FLOAT8[1]}: it does not multiply in float8",
                "Set training.compute.precision=bf16.",
            )
        if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            return NO_BF16
        return None

    def autocast(self, precision: str) -> AbstractContextManager[object]:
        """The forward pass in this precision, with weights in float32."""
        return torch.autocast(self.kind, HALF[precision]) if precision in HALF else nullcontext()

    def in_float8(self, model: Decoder) -> None:
        """By torchao; raises UserError without it."""
        import_module(FLOAT8).to_float8(model)

    def here(self, tensor: Tensor) -> Tensor:
        """Copied while the GPU works: from pinned memory."""
        return tensor.pin_memory().to(self.kind, non_blocking=True)

    def read_later(self, work: dist.Work, *tensors: Tensor) -> Callable[[], list[float]]:
        """They are copied when the GPU comes to it; a later copy would wait for all that was queued meanwhile."""
        work.wait()  # the stream waits, the host goes on
        values = torch.cat([tensor.detach().to(self.kind, torch.float64).flatten() for tensor in tensors])
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()

        def read() -> list[float]:
            copied.synchronize()
            found: list[float] = host.tolist()
            return found

        return read

    def memory_bytes(self) -> int:
        """Largest memory of torch's allocator so far."""
        return torch.cuda.max_memory_allocated()

    def peak_flops(self) -> float:
        """That of the data sheet in the training's precision (bf16 for fp8), else measured."""
        known = by_torch_name(torch.cuda.get_device_name())
        return super().peak_flops() if known is None else known.peak(self._precision)

    def _multiplied(self, a: Tensor, b: Tensor) -> None:
        a @ b
        torch.cuda.synchronize()


def device_of(name: str) -> Device:
    """The device of `training.compute.device`; raises UserError for a GPU that is not there."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UserError(
            "training.compute.device=cuda, and torch sees no GPU here",
            "Set training.compute.device=auto or cpu, or train on a pool of nodes with GPUs.",
        )
    return Cuda() if has_gpu and name != "cpu" else Device()


def unused_gpu(name: str) -> str | None:
    """The warning that `training.compute.device=auto` does not take the GPU that is here; None if there is none."""
    if name != "auto" or torch.cuda.is_available() or not DRIVER.exists():
        return None
    build = "has no CUDA" if torch.version.cuda is None else f"is for CUDA {torch.version.cuda}"
    return (
        f"there is a GPU here and torch does not see it, so the CPU computes: torch {torch.__version__} {build}."
        " In pods set training.compute.device=cuda, which takes the image with CUDA; or say training.compute.device=cpu"
    )


def computes_bf16() -> bool:
    """Whether a matrix product here is done in bf16 where it is asked for (torch: a processor with AVX-512)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
