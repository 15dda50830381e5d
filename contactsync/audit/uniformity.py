"""Whether values are spread evenly: Pearson's chi-square test over the first and the last bits of values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

BITS: Final = 12
MOST_DEVIATIONS: Final = 6.5  # of a normal distribution: once in ten billion audits by chance
LEAST_EXPECTED: Final = 8.0
"""Values that each class of a chi-square test needs, so that its sum is distributed as it is taken to be."""


class Spread:
    """Counts of values by their first `BITS` bits, and by their last ones."""

    def __init__(self) -> None:
        self._first = np.zeros(1 << BITS, np.int64)
        self._last = np.zeros(1 << BITS, np.int64)

    @property
    def count(self) -> int:
        """How many values were counted."""
        return int(self._first.sum())

    def add(self, values: NDArray[np.uint64], width: int) -> None:
        """Count values uint64[n] of `width` bits, at least `BITS`."""
        first = (values >> np.uint64(width - BITS)).astype(np.int64)
        last = (values & np.uint64((1 << BITS) - 1)).astype(np.int64)
        self._first += np.bincount(first, minlength=1 << BITS)
        self._last += np.bincount(last, minlength=1 << BITS)

    def __iadd__(self, other: Self) -> Self:
        self._first += other._first
        self._last += other._last
        return self

    def histograms(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """What was counted, in words, with the counts."""
        yield "first bits", self._first
        yield "last bits", self._last


def deviation(counts: NDArray[np.int64]) -> float | None:
    """How far counts int64[2^k] are from even, in standard deviations of a normal distribution.

    None: they are too few. Classes are joined, neighbours first, until each should have `LEAST_EXPECTED`. Far
    too even counts as well: the absolute value is returned. (Wilson and Hilferty 1931: the cube root of a
    chi-square is nearly normal.)
    """
    total = int(counts.sum())
    classes = min(counts.size, 1 << max(0, int(math.log2(max(total, 1) / LEAST_EXPECTED))))
    if classes < 8:
        return None
    joined = counts.reshape(classes, -1).sum(axis=1)
    expected = total / classes
    chi_square = float(((joined - expected) ** 2).sum() / expected)
    freedom = classes - 1
    spread = 2 / (9 * freedom)
    return float(abs(((chi_square / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)))
