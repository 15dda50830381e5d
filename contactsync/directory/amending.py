"""A directory made of an earlier one and what changed: only buckets with a change are decoded and made again.

The bytes of a bucket depend on its values, the slot bits and the width alone. So all others are copied, with
their hashes. What is read is verified by SHA-256 in the memory from which it is copied then: the new
directory says nothing that the earlier one, which a manifest has named, did not say.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.bucket_writer import BucketWriter
from contactsync.directory.buckets import Span
from contactsync.directory.format import (
    HEADER_BYTES,
    PAGE_ENTRIES,
    DirectoryInfo,
    Layout,
    Values,
    bad,
    bucket_hash,
    check_top,
    slot_bits_for,
    truncate,
)
from contactsync.directory.pace import kernels_pay
from contactsync.directory.reader import Directory, check_page, check_sizes, part
from contactsync.directory.value_sets import contains, ranks, union
from contactsync.foundation import durable
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Changes:
    """Whether an earlier directory had some values, and whether a later one is to have them.

    `values` ascend strictly; `before` and `after` are bool[n].
    """

    values: Values
    before: NDArray[np.bool_]
    after: NDArray[np.bool_]

    @classmethod
    def of(
        cls, tokens: Tokens, before: NDArray[np.bool_], after: NDArray[np.bool_], info: DirectoryInfo
    ) -> Changes | None:
        """What becomes of distinct tokens in a directory as wide as `info`; None if two are one value."""
        values = truncate(tokens, info.slot_bits, info.remainder_bits)
        order = np.lexsort((values.extra, values.key))
        values = Values(values.key[order], values.extra[order])
        again = (values.key[1:] == values.key[:-1]) & (values.extra[1:] == values.extra[:-1])
        return None if again.any() else cls(values, before[order], after[order])

    @classmethod
    def between(cls, removed: Values, added: Values) -> Changes:
        """Those of two disjoint sets, both ascending: what leaves, and what joins."""
        values = union(removed, added)
        leaves = contains(removed, values)
        return cls(values, leaves, ~leaves)

    @property
    def removed(self) -> Values:
        """The values that leave."""
        return self._taken(self.before & ~self.after)

    @property
    def added(self) -> Values:
        """The values that join."""
        return self._taken(self.after & ~self.before)

    def among(self, first: int, end: int) -> Changes:
        """Those in buckets first … end - 1."""
        low, high = np.searchsorted(self.values.bucket, [first, end])
        some = Values(self.values.key[low:high], self.values.extra[low:high])
        return Changes(some, self.before[low:high], self.after[low:high])

    def _taken(self, which: NDArray[np.bool_]) -> Values:
        return Values(self.values.key[which], self.values.extra[which])


class Contradicted(Exception):
    """A directory has a value that is said not to be there (`adds`), or has none that is."""

    def __init__(self, *, adds: bool) -> None:
        super().__init__()
        self.adds = adds


def amend(path: str | os.PathLike[str], earlier: Directory, changes: Changes) -> DirectoryInfo:
    """Write the directory that an earlier one becomes, byte for byte as `build` makes it of its tokens.

    The slot bits must stay (`keeps_slot_bits`). Every value of the changes is looked up. O(changes) to
    encode, O(file) to copy and to hash.

    Raises Contradicted, and leaves no file; BadDirectory (the earlier one is not the file that its `info`
    describes, any more or since it was opened), BadInput (the values are no PRF outputs), OSError.
    """
    info, name = earlier.info, earlier.name
    assert keeps_slot_bits(info, changes), "other slot bits are due: build it anew"
    octets, layout = earlier.span.words.view(np.uint8), info.layout
    top, end = octets[: layout.index_offset].tobytes(), layout.data_offset
    check_top(Layout.unpack(top[:HEADER_BYTES], name), top, info, name)
    kernels = kernels_pay(min(info.count, len(changes.values) << 12) * buckets.ENCODE_SECONDS)
    with durable.replacing(Path(path), mode=durable.PUBLIC_FILE) as file:
        writer = BucketWriter(file, info.slot_bits, info.remainder_bits, kernels=kernels)
        for number in range(layout.pages):
            at = layout.index_offset + number * layout.page_bytes
            page = octets[at : at + layout.page_bytes].tobytes()
            record = check_page(page, number, layout, top, name)
            offsets = record["offset"][0].astype(np.int64)
            if offsets[0] != end:
                raise bad(name, f"index page {number} does not continue the one before", "malformed")
            end = int(offsets[-1])
            first = number * PAGE_ENTRIES
            some = _Buckets(octets[int(offsets[0]) : end].tobytes(), record, first, info.remainder_bits, name)
            _carry_on(writer, some, changes.among(first, first + layout.page_buckets), kernels=kernels)
        return writer.finish()


def keeps_slot_bits(info: DirectoryInfo, changes: Changes) -> bool:
    """Whether a directory with these changes has the slot bits of the earlier one."""
    count = info.count + int(changes.after.sum()) - int(changes.before.sum())
    return slot_bits_for(count) == info.slot_bits


class _Buckets:
    """The buckets of one index page, in memory of their own, and each verified by its SHA-256."""

    def __init__(
        self, octets: bytes, record: NDArray[np.void], first: int, remainder_bits: int, name: str
    ) -> None:
        offsets = record["offset"][0].astype(np.int64)
        self.octets = memoryview(octets)
        self.edges = (offsets - offsets[0]).tolist()
        self.fast = record["xxh3"][0].tolist()
        self.hashes = [digest.tobytes() for digest in record["sha256"][0]]
        self.name = name
        for i, digest in enumerate(self.hashes):
            if bucket_hash(self.octets[self.edges[i] : self.edges[i + 1]]) != digest:
                raise bad(name, f"bucket {first + i} is damaged (SHA-256)", "bad-hash")
        words = np.frombuffer(octets, "<u8")
        start = (offsets[:-1] - offsets[0]) >> 3
        count = words.view("<u2")[4 * start].astype(np.int64)
        self.span = Span(words, start, first + np.arange(start.size), count, remainder_bits)
        check_sizes(self.span, np.diff(offsets), name)


def _carry_on(writer: BucketWriter, some: _Buckets, changes: Changes, *, kernels: bool) -> None:
    """Write the buckets of a page with their changes."""
    span = some.span
    which = np.unique(changes.values.bucket) - span.number[0]
    made: list[memoryview] = []
    counts = span.count[which]
    if which.size:
        touched = part(span, which)
        buckets.check(touched, some.name)
        values, differences = _changed(buckets.decode(touched, some.name, kernels=kernels), changes)
        made = writer.encode(values, touched.number)
        counts += np.bincount(
            np.searchsorted(touched.number, changes.values.bucket), differences, which.size
        ).astype(np.int64)
    done = 0
    for i, place in enumerate([*which.tolist(), span.start.size]):
        if place > done:
            writer.copy(
                some.octets[some.edges[done] : some.edges[place]],
                np.diff(some.edges[done : place + 1]),
                some.fast[done:place],
                some.hashes[done:place],
                int(span.count[done:place].sum()),
            )
        if i < which.size:
            writer.write([made[i]], int(counts[i]))
        done = place + 1


def _changed(values: Values, changes: Changes) -> tuple[Values, NDArray[np.int64]]:
    """Values with their changes; int64[n], how many more each change makes. Raises Contradicted."""
    at, there = ranks(values, changes.values)
    if (there != changes.before).any():
        raise Contradicted(adds=bool((there & ~changes.before).any()))
    gone, new = at[changes.before & ~changes.after], at[changes.after & ~changes.before]
    new = new - np.searchsorted(gone, new)
    added = changes.added
    key = np.insert(np.delete(values.key, gone), new, added.key)
    extra = np.insert(np.delete(values.extra, gone), new, added.extra)
    return Values(key, extra), changes.after.astype(np.int64) - changes.before
