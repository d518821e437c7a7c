"""Libraries that an import would load for features that we do not use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Let these libraries be missing for each import in the block, unless they are loaded already.

    For a library that takes them only where it finds them. It holds for all threads: no thread may need one meanwhile.
    """
    unloaded = [name for name in names if name not in sys.modules]
    for name in unloaded:
        sys.modules[name] = None  # type: ignore[assignment]  # so Python says that a module must not be imported
    try:
        yield
    finally:
        for name in unloaded:
            del sys.modules[name]
