"""Where blocks of rows stand in the sub-databases of a batch: permutations. docs/lookup.md, "Batch"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.policy import inlined

ROUNDS = 3


@inlined
def permuted(number: int, bits: int, steps: NDArray[np.uint32], group: int) -> int:
    """The place of a block in a group, both below 2^bits; `steps` uint32[3, ROUNDS, 2] is `batch.STEPS`."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    half = np.uint64((bits + 1) // 2)
    x = np.uint64(number)
    for turn in range(ROUNDS):
        # Less than 2^26 * 2^32 + 2^32.
        x = (x * np.uint64(steps[group, turn, 0]) + np.uint64(steps[group, turn, 1])) & mask
        x ^= x >> half
    return int(np.int64(x))
