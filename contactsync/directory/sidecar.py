"""A sidecar file, mapped and checked, and where the entry of a token is in it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.delta import Delta, compose
from contactsync.directory.files import map_file
from contactsync.directory.format import HEADER_BYTES, DataFile, Values, bad, bucket_hash, check_top
from contactsync.directory.reader import Directory
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout, check_page
from contactsync.directory.value_sets import ranks
from contactsync.tokens import Tokens

__all__ = ["Sidecar", "SidecarInfo", "SidecarLayout", "checked", "open_sidecar", "places", "ranks_in"]


class Sidecar:
    """A checked sidecar. Use as a context manager, or call `close`."""

    def __init__(
        self,
        mapped: mmap.mmap,
        name: str,
        info: SidecarInfo,
        first: NDArray[np.int64],
        hashes: NDArray[np.uint8],
    ) -> None:
        self.name = name
        self.info = info
        self._mapped: mmap.mmap | None = mapped
        self._first = first
        self._hashes = hashes

    @property
    def count(self) -> int:
        """How many entries it has."""
        return self.info.count

    def first(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of the first entry of each of b buckets, int64[b]; the number of buckets is the end."""
        return self._first[numbers]

    def entries(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The entries at m places, uint8[m, 16 + size]. Raises ValueError: a place that is none."""
        return self._rows()[checked(places, self.count)]

    def verified(self, first: int, end: int) -> NDArray[np.uint8]:
        """The entries of buckets first … end - 1, uint8[m, 16 + size], in memory of their own.

        Each bucket is verified there, by its SHA-256. Raises BadDirectory.
        """
        begin, until = self._first[[first, end]].tolist()
        rows = self._rows()[begin:until].copy()
        edges = (self._first[first : end + 1] - begin) * rows.shape[1]
        check_buckets(rows.reshape(-1).data, edges, self._hashes[first:end], first, self.name)
        return rows

    def _rows(self) -> NDArray[np.uint8]:
        """All entries, a view of the file: uint8[count, 16 + size]."""
        if self._mapped is None:
            raise ValueError("the sidecar is closed")
        layout = self.info.layout
        return np.frombuffer(self._mapped, np.uint8, offset=layout.data_offset).reshape(
            self.count, layout.entry_bytes
        )

    def close(self) -> None:
        """Unmap the file."""
        mapped, self._mapped = self._mapped, None
        if mapped is not None:
            with contextlib.suppress(BufferError):  # somebody holds a view: unmapped when that goes
                mapped.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def checked(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places of a sidecar of `count` entries, as they came. Raises ValueError."""
    if places.size and not (int(places.min()) >= 0 and int(places.max()) < count):
        raise ValueError(f"a place that is none of {count}")
    return places


def open_sidecar(
    path: str | os.PathLike[str],
    *,
    expect: SidecarInfo | None,
    check: Literal["sha256", "xxh3"] = "sha256",
) -> Sidecar:
    """Map a sidecar and check all of it: identity first, then structure.

    With `expect` (from the signed manifest) the file must be exactly that one: `check="sha256"` hashes it
    whole; `check="xxh3"`, for a file that was verified when it was stored, finds damage, not malice. Without
    `expect` every section is checked against the one before it.

    Raises BadDirectory (not that file, or malformed), BadInput (cannot be opened).
    """
    name = Path(path).name
    mapped = map_file(path, "sidecar")
    if expect is not None and len(mapped) != expect.file.length:
        raise bad(name, f"{len(mapped)} bytes instead of {expect.file.length}", "wrong-length")
    return Sidecar(mapped, name, *_admit(mapped, name, expect, check))


def _admit(
    mapped: mmap.mmap, name: str, expect: SidecarInfo | None, check: Literal["sha256", "xxh3"]
) -> tuple[SidecarInfo, NDArray[np.int64], NDArray[np.uint8]]:
    """Everything that makes a mapped file a sidecar."""
    layout = SidecarLayout.unpack(mapped[:HEADER_BYTES], name)
    if layout.length != len(mapped):
        raise bad(name, f"{len(mapped)} bytes instead of {layout.length}", "wrong-length")
    top = mapped[: layout.index_offset]
    if expect is None:
        info = SidecarInfo(
            layout.count,
            layout.size,
            layout.slot_bits,
            hashlib.sha256(top).hexdigest(),
            DataFile(hashlib.sha256(mapped).hexdigest(), layout.length, xxhash.xxh3_64_hexdigest(mapped)),
        )
    else:
        info = expect
        check_top(layout, top, expect, name)
        if check == "sha256" and hashlib.sha256(mapped).hexdigest() != expect.file.sha256:
            raise bad(name, "not the file that the manifest names (SHA-256)", "bad-hash")
        if check == "xxh3" and xxhash.xxh3_64_hexdigest(mapped) != expect.file.xxh3_64:
            raise bad(name, "damaged (xxh3)", "bad-hash")
    first, hashes, end = [np.zeros(1, np.int64)], [], 0
    for number in range(layout.pages):
        at = layout.index_offset + number * layout.page_bytes
        record = check_page(mapped[at : at + layout.page_bytes], number, layout, top, name)
        if int(record["first"][0, 0]) != end:
            raise bad(name, f"index page {number} does not continue the one before", "malformed")
        end = int(record["first"][0, -1])
        first.append(record["first"][0, 1:].astype(np.int64))
        hashes.append(record["sha256"][0])
    if end != layout.count:
        raise bad(name, f"its buckets hold {end} entries, its header says {layout.count}", "malformed")
    firsts = np.concatenate(first)
    digests = np.concatenate(hashes)
    if expect is None:
        with memoryview(mapped) as view:
            edges = layout.data_offset + firsts * layout.entry_bytes
            check_buckets(view, edges, digests, 0, name)
    return info, firsts, digests


def check_buckets(
    octets: memoryview, edges: NDArray[np.int64], hashes: NDArray[np.uint8], number: int, name: str
) -> None:
    """Check buckets, the first of which has this number, against their hashes, uint8[b, 32].

    `edges` int64[b + 1] are where they begin and end. Raises BadDirectory.
    """
    for i, (begin, end) in enumerate(itertools.pairwise(edges.tolist())):
        with octets[begin:end] as bucket:
            if bucket_hash(bucket) != hashes[i].tobytes():
                raise bad(name, f"bucket {number + i} does not match the hash in the index", "bad-hash")


def places(directory: Directory, deltas: Sequence[Delta], tokens: Tokens) -> NDArray[np.int64]:
    """int64[m]: the place of each token's entry in the sidecar of the edition that `deltas` lead to.

    The place is the rank of the token's value among all values of that edition: of `directory`, less the
    removed, with the added. -1 for a token that is no value of it. The deltas must be checked against the
    directory (`delta.check_against`). O((m + c) log c) for c changes.
    """
    values = directory.truncate(tokens)
    place, found = ranks_in(directory, values)
    if deltas:
        whole = compose(deltas)
        for those, sign in ((whole.added, 1), (whole.removed, -1)):
            less, inside = ranks(those, values)
            place += sign * less
            found = found | inside if sign > 0 else found & ~inside
    return np.where(found, place, -1)


def ranks_in(directory: Directory, values: Values) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64[m], how many values of a directory are less than each value; bool[m], whether it has it. O(m)."""
    span = directory.span
    below, found = buckets.ranks(span, values, values.bucket)
    return below + (np.cumsum(span.count) - span.count)[values.bucket], found
