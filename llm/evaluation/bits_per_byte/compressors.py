"""The bits per byte of general-purpose compressors on the same text, to compare a model with.

The documents of a domain are compressed as one stream, so that the compressor learns from one document for the
next, as the model learned from its training set. Both run at their strongest setting (`gzip -9`, `xz -9e`).
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence


def gzip_bits_per_byte(texts: Sequence[str]) -> float | None:
    """Bits of `gzip -9` per byte of the concatenated UTF-8 texts; None if there are no bytes."""
    data = "".join(texts).encode()
    return 8 * len(gzip.compress(data, compresslevel=9, mtime=0)) / len(data) if data else None


def xz_bits_per_byte(texts: Sequence[str]) -> float | None:
    """Bits of `xz -9e` per byte of the concatenated UTF-8 texts; None if there are no bytes."""
    data = "".join(texts).encode()
    return 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data) if data else None
