"""Sorted entries to the file of a sidecar: each bucket is hashed as it passes; header and index come last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.files import hash_file
from contactsync.directory.format import bucket_hash
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout

Part = tuple[slice, NDArray[np.uint8]]
"""Some whole buckets that follow one another, and all of their entries in order, uint8[m, 16 + size]."""

PART_BYTES: Final = 32 << 20
"""About so many octets of entries are made at a time, or one bucket. Three or four times as many are used."""


def whole_buckets(layout: SidecarLayout, counts: NDArray[np.int64]) -> Iterator[tuple[slice, int, int]]:
    """As many whole buckets at a time as PART_BYTES has room for, one at least, and their places.

    `counts` int64[buckets] are how many entries each bucket has. The places end before the last figure.
    """
    end = np.cumsum(counts)
    room = PART_BYTES // layout.entry_bytes
    bucket = done = 0
    while bucket < len(counts):
        until = max(bucket + 1, int(np.searchsorted(end, done + room, "right")))
        last = int(end[until - 1])
        yield slice(bucket, until), done, last
        bucket, done = until, last


def write_entries(
    file: BinaryIO,
    layout: SidecarLayout,
    counts: NDArray[np.int64],
    parts: Iterable[Part],
    written: Callable[[int], None] = lambda _: None,
) -> SidecarInfo:
    """Write a sidecar into an empty file that can be read, too; what the manifest must say about it.

    `counts` int64[buckets] are how many entries each bucket has. `parts` have all buckets, in order; one part
    is in memory at a time. `written` is told how many entries there are after each. Raises OSError.
    """
    first = np.concatenate([[0], np.cumsum(counts)])
    hashes: list[bytes] = []
    file.seek(layout.data_offset)
    for numbers, entries in parts:
        at = 0
        for n in counts[numbers].tolist():
            hashes.append(bucket_hash(entries[at : at + n].data))
            at += n
        file.write(entries.data)
        written(int(first[numbers.stop]))
    top, index = layout.pack(), b""
    for number in range(layout.pages):
        a, k = number * layout.page_buckets, layout.page_buckets
        page = np.zeros(1, layout.page_dtype)
        page["first"] = first[a : a + k + 1]
        page["sha256"] = np.frombuffer(b"".join(hashes[a : a + k]), np.uint8).reshape(k, -1)
        index += page.tobytes()
        top += hashlib.sha256(page.tobytes()).digest()
    file.seek(0)
    file.write(top + index)
    return SidecarInfo(
        layout.count, layout.size, layout.slot_bits, hashlib.sha256(top).hexdigest(), hash_file(file)
    )
