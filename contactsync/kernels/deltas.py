"""The difference of two ascending sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.policy import kernel


@kernel
def difference(
    key: NDArray[np.uint64],
    extra: NDArray[np.uint8],
    other_key: NDArray[np.uint64],
    other_extra: NDArray[np.uint8],
    alone: NDArray[np.bool_],
    other_alone: NDArray[np.bool_],
) -> tuple[int, int]:
    """Walk through two strictly ascending lists of pairs (key, extra) in parallel, until one of them ends.

    Marks in `alone` bool[n] and `other_alone` bool[m] the pairs that only one list has. Returns how many of
    each were read: (i, j), where i = n or j = m. O(n + m).
    """
    i = j = 0
    while i < key.size and j < other_key.size:
        a, b = key[i], other_key[j]
        before = a < b or (a == b and extra[i] < other_extra[j])
        behind = b < a or (a == b and other_extra[j] < extra[i])
        alone[i] = before
        other_alone[j] = behind
        i += not behind
        j += not before
    return i, j
