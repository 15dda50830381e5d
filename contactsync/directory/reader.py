"""A directory file, mapped and checked. Nothing reads a value before every count and offset is proven."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.buckets import Span
from contactsync.directory.files import map_file
from contactsync.directory.format import (
    HEADER_BYTES,
    DataFile,
    DirectoryInfo,
    Layout,
    Values,
    bad,
    bucket_bytes,
    check_top,
    page_record,
    truncate,
)
from contactsync.directory.pace import kernels_pay
from contactsync.tokens import Tokens

CHECKED_AT_ONCE = 1024  # buckets whose bitmaps are checked in one go: bounds the memory of `check`


class Directory:
    """A checked directory. Use as a context manager, or call `close`.

    `name` is what errors call it; `info` is what a manifest says about it; `values()` gives its content,
    `match.match` compares with it.
    """

    def __init__(self, mapped: mmap.mmap, name: str, info: DirectoryInfo, span: Span) -> None:
        self.name = name
        self._mapped: mmap.mmap | None = mapped
        self._span: Span | None = span
        self.info = info

    @property
    def count(self) -> int:
        """How many values it holds."""
        return self.info.count

    @property
    def false_positive_rate(self) -> float:
        """The probability that a random other identifier matches."""
        return self.info.false_positive_rate

    @property
    def span(self) -> Span:
        """All buckets, for lookups and decoders."""
        if self._span is None:
            raise ValueError("the directory is closed")
        return self._span

    def truncate(self, tokens: Tokens) -> Values:
        """The values of tokens at this directory's width."""
        return truncate(tokens, self.info.slot_bits, self.info.remainder_bits)

    def values(self, *, chunk: int = 1 << 20) -> Iterator[Values]:
        """All values in ascending order, about `chunk` at a time (whole buckets). O(count).

        Raises BadDirectory if they are not in order: nothing before this proves that.
        """
        span = self.span
        step = max(1, chunk * span.start.size // max(1, self.count))
        kernels = kernels_pay(self.count * buckets.DECODE_SECONDS)
        for first in range(0, span.start.size, step):
            yield buckets.decode(part(span, slice(first, first + step)), self.name, kernels=kernels)

    def close(self) -> None:
        """Unmap the file. Arrays that `values` gave stay valid."""
        self._span = None
        mapped, self._mapped = self._mapped, None
        if mapped is not None:
            with contextlib.suppress(BufferError):  # somebody holds a span: unmapped when that goes
                mapped.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def part(span: Span, which: slice | NDArray[np.int64]) -> Span:
    """Some of a span's buckets."""
    return Span(span.words, span.start[which], span.number[which], span.count[which], span.remainder_bits)


def open_directory(
    path: str | os.PathLike[str],
    *,
    expect: DirectoryInfo | None,
    check: Literal["sha256", "xxh3"] = "sha256",
) -> Directory:
    """Map a directory file and check all of it: identity first, then structure.

    With `expect` (from the signed manifest) the file must be exactly that one. `check="sha256"` hashes it
    whole (about 0.6 ns a byte): trust rests on that. `check="xxh3"` is for a file that was verified when it
    was stored: header, top table and index by SHA-256, each bucket by its xxh3_64, about 8 times faster; that
    finds damage, not malice. Without `expect` every section is checked against the one before it.

    Raises BadDirectory (not that file, or malformed), BadInput (cannot be opened).
    """
    name = Path(path).name
    mapped = map_file(path, "directory")
    # After an error the traceback still holds views of the map: it is unmapped when they go.
    return Directory(mapped, name, *_admit(mapped, name, expect, check))


def _admit(
    mapped: mmap.mmap, name: str, expect: DirectoryInfo | None, check: Literal["sha256", "xxh3"]
) -> tuple[DirectoryInfo, Span]:
    """Everything that makes a mapped file a directory."""
    layout = Layout.unpack(mapped[:HEADER_BYTES], name)
    if layout.length != len(mapped):
        raise bad(name, f"{len(mapped)} bytes instead of {layout.length}", "wrong-length")
    top = mapped[: layout.index_offset]
    if expect is None:
        info = DirectoryInfo(
            layout.count,
            layout.slot_bits,
            layout.remainder_bits,
            hashlib.sha256(top).hexdigest(),
            DataFile(hashlib.sha256(mapped).hexdigest(), layout.length, xxhash.xxh3_64_hexdigest(mapped)),
        )
    else:
        info = expect
        check_top(layout, top, expect, name)
        if check == "sha256" and hashlib.sha256(mapped).hexdigest() != expect.file.sha256:
            raise bad(name, "not the file that the manifest names (SHA-256)", "bad-hash")
    offsets, fast = _index(mapped[: layout.data_offset], layout, name)
    if expect is None or check == "xxh3":
        _check_fast(mapped, offsets, fast, name)
    return info, _structure(np.frombuffer(mapped, "<u8"), layout, offsets, name)


def check_page(page: bytes, number: int, layout: Layout, top: bytes, name: str) -> NDArray[np.void]:
    """One index page, verified against the top table: a record of `Layout.page_dtype`.

    Raises BadDirectory: wrong hash; offsets that leave the data section, fall, or are no multiple of 8.
    """
    record = page_record(page, number, layout, top, name)
    offsets = record["offset"][0]
    smallest = bucket_bytes(0, layout.remainder_bits)
    rising = (offsets[1:] > offsets[:-1]) & (offsets[1:] - offsets[:-1] >= smallest) & (offsets[1:] % 8 == 0)
    if not (
        offsets[0] >= layout.data_offset
        and offsets[-1] <= layout.length
        and offsets[0] % 8 == 0
        and rising.all()
    ):
        raise bad(name, f"the offsets of index page {number} are out of order", "malformed")
    return record


def _index(head: bytes, layout: Layout, name: str) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """All bucket offsets, int64[buckets + 1], and fast checks, uint64[buckets], from verified pages."""
    offsets, fast = [], []
    end = layout.data_offset
    for number in range(layout.pages):
        at = layout.index_offset + number * layout.page_bytes
        record = check_page(head[at : at + layout.page_bytes], number, layout, head, name)
        if record["offset"][0, 0] != end:
            raise bad(name, f"index page {number} does not continue the one before", "malformed")
        end = record["offset"][0, -1]
        offsets.append(record["offset"][0, :-1].astype(np.int64))
        fast.append(record["xxh3"][0])
    if end != layout.length:
        raise bad(name, f"the buckets end at byte {end}, the file at {layout.length}", "malformed")
    return np.append(np.concatenate(offsets), np.int64(end)), np.concatenate(fast)


def _check_fast(mapped: mmap.mmap, offsets: NDArray[np.int64], fast: NDArray[np.uint64], name: str) -> None:
    """Check each bucket's xxh3_64."""
    places, checks = offsets.tolist(), fast.tolist()
    with memoryview(mapped) as view:
        for number, wanted in enumerate(checks):
            with view[places[number] : places[number + 1]] as bucket:
                if xxhash.xxh3_64_intdigest(bucket) != wanted:
                    raise bad(name, f"bucket {number} is damaged (xxh3)", "bad-hash")


def _structure(words: NDArray[np.uint64], layout: Layout, offsets: NDArray[np.int64], name: str) -> Span:
    """The checked span of all buckets."""
    start = offsets[:-1] >> 3
    count = words.view("<u2")[4 * start].astype(np.int64)
    span = Span(words, start, np.arange(layout.buckets), count, layout.remainder_bits)
    check_sizes(span, np.diff(offsets), name)
    total = int(count.sum())
    if total != layout.count:
        raise bad(name, f"its buckets hold {total} tokens, its header says {layout.count}", "malformed")
    for first in range(0, layout.buckets, CHECKED_AT_ONCE):
        buckets.check(part(span, slice(first, first + CHECKED_AT_ONCE)), name)
    return span


def check_sizes(span: Span, sizes: NDArray[np.int64], name: str) -> None:
    """Check that each bucket has the size that its count says. Raises BadDirectory."""
    right = buckets.bucket_sizes(span.count, span.remainder_bits) == sizes
    if not right.all():
        i = int(np.argmin(right))
        text = f"bucket {int(span.number[i])} says {int(span.count[i])} tokens in {int(sizes[i])} bytes"
        raise bad(name, text, "malformed")
