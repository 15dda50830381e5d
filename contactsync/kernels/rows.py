"""Rows of 64 slots for private look-ups, from the sorted values of a directory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.policy import kernel


@kernel
def encode(
    key: NDArray[np.uint64],
    extra: NDArray[np.uint8],
    wide: bool,
    first: int,
    bitmap_bytes: int,
    most: int,
    records: NDArray[np.uint8],
) -> int:
    """Write the values of rows `first` … first + n - 1 into `records`, uint8[n, w], zeros before.

    `key` uint64[m] and `extra` uint8[m] ascend strictly and lie in these rows; w is at least
    1 + bitmap_bytes + most * 4, or * 5 if `wide`; bitmap_bytes * 8 >= 64 + most. Returns the row, counted
    from `first`, of the first value that does not fit (a row has more than `most`); -1 if all do. O(m).
    """
    low = 1 + bitmap_bytes
    high = low + 4 * most
    row, i = np.int64(-1), 0
    for j in range(key.size):
        own = np.int64(key[j] >> np.uint64(38)) - first
        if own != row:
            row, i = own, 0
        if i == most:
            return int(row)
        # Value i of a row in slot s is bit s + i.
        bit = np.int64((key[j] >> np.uint64(32)) & np.uint64(63)) + i
        records[row, 1 + (bit >> 3)] |= np.uint8(1 << (bit & 7))
        word = key[j]
        for octet in range(4):
            records[row, low + 4 * i + octet] = np.uint8(word & np.uint64(0xFF))
            word >>= np.uint64(8)
        if wide:
            records[row, high + i] = extra[j]
        i += 1
        records[row, 0] = i
    return -1
