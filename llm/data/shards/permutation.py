"""A seeded order of many items in which each place is computed by itself: nothing is stored, whatever their number.

A balanced Feistel network permutes the numbers below the next power of 4; a place that it sends beyond the items goes
through it again until it lands among them (cycle walking), which keeps the order a permutation. All of it is integer
arithmetic modulo 2**64, so that it is the same on every machine and with every version of the libraries.

Sources: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 4; the mixing function is the end of
SplitMix64 (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROUNDS = 8
"""Four make a Feistel network a pseudorandom permutation in theory; short halves need some more."""
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
Numbers = npt.NDArray[np.uint64]


class Permutation:
    """An order of the numbers below `size`, drawn from a seed and a second number such as the epoch."""

    def __init__(self, size: int, seed: int, stream: int) -> None:
        """Take a size of at least 1; the seeds may be any whole numbers that are not negative."""
        assert size > 0
        assert seed >= 0
        assert stream >= 0
        self.size = size
        self._half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._low = np.uint64((1 << int(self._half_bits)) - 1)
        self._keys = _keys(seed, stream)

    def __getitem__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The items at these places, each below the size."""
        items = self._shuffled(places.astype(np.uint64))
        beyond = np.flatnonzero(items >= self.size)
        while len(beyond):
            items[beyond] = again = self._shuffled(items[beyond])
            beyond = beyond[again >= self.size]
        return items.astype(np.int64)

    def _shuffled(self, numbers: Numbers) -> Numbers:
        left, right = numbers >> self._half_bits, numbers & self._low
        for key in self._keys:
            mixed = _mix(right + key)
            mixed &= self._low
            left ^= mixed
            left, right = right, left
        left <<= self._half_bits
        left |= right
        return left


def _keys(seed: int, stream: int) -> Numbers:
    """A key for each round: SplitMix64 from a start that all of both numbers decide."""
    start = 0
    for number in (seed, stream):
        while True:
            start = int(_mix(np.array([(start + (number & MASK) + GOLDEN) & MASK], dtype=np.uint64))[0])
            number >>= 64
            if not number:
                break
    steps = np.arange(1, ROUNDS + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return _mix(np.uint64(start) + steps)


def _mix(numbers: Numbers) -> Numbers:
    """Spread every bit of a number over all 64, in place: new arrays would take a third of the time."""
    shifted = numbers >> np.uint64(30)
    numbers ^= shifted
    numbers *= np.uint64(0xBF58476D1CE4E5B9)
    numbers ^= np.right_shift(numbers, np.uint64(27), out=shifted)
    numbers *= np.uint64(0x94D049BB133111EB)
    numbers ^= np.right_shift(numbers, np.uint64(31), out=shifted)
    return numbers
