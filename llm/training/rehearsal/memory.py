"""The memory that tensors take while something runs, counted by their storages, real or fake.

Two things are no operations of a rank, and are watched by themselves. FSDP2 gives up gathered weights by a new size for
their storages (`UntypedStorage.resize_`). DTensor runs an operation on fake tensors of the whole size, to know what it
gives: these are nobody's memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Live bytes of all storages that were seen, and the most that there were at once.

    A storage is counted once, however many tensors look at it, until the last of them is gone.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._sizes: weakref.WeakKeyDictionary[Any, list[int]] = weakref.WeakKeyDictionary()
        """The bytes of each storage, in a list that outlives it."""
        self._passes_over = False
        self._around = ExitStack()

    def __enter__(self) -> Memory:
        """Begin to count; a storage may change its size from now on."""
        resize, propagate = torch.UntypedStorage.resize_, ShardingPropagator._propagate_tensor_meta_non_cached

        def resized(storage: Any, size: int) -> Any:
            found = resize(storage, size)
            if storage in self._sizes:
                self._take_size(storage)
            return found

        def propagated(*args: Any) -> Any:
            self._passes_over = True
            try:
                return propagate(*args)
            finally:
                self._passes_over = False

        self._replace(torch.UntypedStorage, resized, "resize_")
        self._replace(ShardingPropagator, propagated, "_propagate_tensor_meta_non_cached")
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        """End it."""
        self._around.close()
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def _replace(self, owner: type, function: Any, name: str) -> None:
        self._around.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, function)

    def watch(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors that were there before; returns their bytes."""
        before = self.live
        for tensor in tensors:
            self._count(tensor)
        return self.live - before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what an operation gives; that of a sharded tensor comes again as one of its local part."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        found = func(*args, **(kwargs or {}))
        for tensor in tree_iter(found):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return found

    def _count(self, tensor: Tensor) -> None:
        if isinstance(tensor, DTensor):
            tensor = tensor._local_tensor
        if self._passes_over or tensor.device.type == "meta":
            return
        storage = tensor.untyped_storage()
        if storage in self._sizes:
            return
        size = self._sizes[storage] = [0]
        self._take_size(storage)
        weakref.finalize(storage, self._gone, size)

    def _take_size(self, storage: Any) -> None:
        size = self._sizes[storage]
        self.live += storage.nbytes() - size[0]
        size[0] = storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _gone(self, size: list[int]) -> None:
        self.live -= size[0]


def states_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All tensors of an optimizer's states."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
