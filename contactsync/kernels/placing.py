"""Where rows stand in the sub-databases of a batch: three permutations (docs/lookup.md, "Batch").

`permuted` is what a kernel that reads rows calls for each of them; `permute` is the same over many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.policy import inlined, kernel

ROUNDS = 3


@inlined
def permuted(row: int, bits: int, steps: NDArray[np.uint32], group: int) -> int:
    """π_group(row), both below 2^bits; `steps` uint32[3, ROUNDS, 2] is `batch.STEPS`."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    half = np.uint64((bits + 1) // 2)
    x = np.uint64(row)
    for turn in range(ROUNDS):
        # Less than 2^26 * 2^32 + 2^32.
        x = (x * np.uint64(steps[group, turn, 0]) + np.uint64(steps[group, turn, 1])) & mask
        x ^= x >> half
    return int(np.int64(x))


@kernel
def permute(first: int, bits: int, steps: NDArray[np.uint32], out: NDArray[np.uint32]) -> None:
    """Write π_g(first + j) to `out` uint32[3, n], for the rows first … first + n - 1 below 2^bits."""
    for group in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[group, j] = permuted(first + j, bits, steps, group)
