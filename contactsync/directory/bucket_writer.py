"""Writes a directory file bucket by bucket, whatever they come from; header and index come last."""

from __future__ import annotations

import hashlib
from typing import BinaryIO

import numpy as np
import xxhash
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.files import hash_file
from contactsync.directory.format import (
    BUCKET_HASH_BYTES,
    PAGE_ENTRIES,
    DirectoryInfo,
    Layout,
    Values,
    bucket_hash,
)


class BucketWriter:
    """Takes all buckets of a directory in their order, then makes the rest of the file.

    `kernels`: whether buckets are encoded by Numba.
    """

    def __init__(self, file: BinaryIO, slot_bits: int, remainder_bits: int, *, kernels: bool) -> None:
        self._file = file
        self._layout = Layout(0, slot_bits, remainder_bits, 0)
        self._kernels = kernels
        self._sizes: list[NDArray[np.int64]] = []
        self._fast: list[int] = []
        self._hashes: list[bytes] = []
        self.count = 0
        """Values so far."""
        file.seek(self._layout.data_offset)

    def encode(self, values: Values, numbers: NDArray[np.int64]) -> list[memoryview]:
        """The buckets of these ascending numbers, which have these values and no others; not written yet.

        Raises BadInput if one would hold more than 65,535 values.
        """
        octets, sizes = buckets.encode(values, numbers, self._layout.remainder_bits, kernels=self._kernels)
        ends = np.cumsum(sizes).tolist()
        return [octets.data[end - size : end] for size, end in zip(sizes.tolist(), ends, strict=True)]

    def write(self, encoded: list[memoryview], values: int) -> None:
        """Hash and write the next buckets, which hold so many values."""
        for bucket in encoded:
            self._fast.append(xxhash.xxh3_64_intdigest(bucket))
            self._hashes.append(bucket_hash(bucket))
            self._file.write(bucket)
        self._sizes.append(np.array([len(bucket) for bucket in encoded], np.int64))
        self.count += values

    def copy(
        self, octets: memoryview, sizes: NDArray[np.int64], fast: list[int], hashes: list[bytes], values: int
    ) -> None:
        """Write the next buckets as they are, with the hashes that were verified."""
        self._file.write(octets)
        self._sizes.append(sizes)
        self._fast += fast
        self._hashes += hashes
        self.count += values

    def finish(self) -> DirectoryInfo:
        """Write index, top table and header, and hash the file. Returns what the manifest must say."""
        layout = self._layout
        offsets = layout.data_offset + np.concatenate([[0], np.cumsum(np.concatenate(self._sizes))])
        layout = Layout(self.count, layout.slot_bits, layout.remainder_bits, int(offsets[-1]))
        top, index = layout.pack(), b""
        for number in range(layout.pages):
            page = np.zeros(1, layout.page_dtype)
            a, end = number * PAGE_ENTRIES, number * PAGE_ENTRIES + layout.page_buckets
            page["offset"] = offsets[a : end + 1]
            page["xxh3"] = self._fast[a:end]
            page["sha256"] = np.frombuffer(b"".join(self._hashes[a:end]), np.uint8).reshape(
                -1, BUCKET_HASH_BYTES
            )
            index += page.tobytes()
            top += hashlib.sha256(page.tobytes()).digest()
        self._file.seek(0)
        self._file.write(top + index)
        return DirectoryInfo(
            layout.count,
            layout.slot_bits,
            layout.remainder_bits,
            hashlib.sha256(top).hexdigest(),
            hash_file(self._file),
        )
