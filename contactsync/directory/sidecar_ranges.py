"""Entries of a sidecar of which only some buckets are fetched, each verified from the manifest alone.

The other side sees which buckets are fetched: always those of the directory's own list (ranges.py), all of
them, whatever matched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import PAGE_ENTRIES, bad
from contactsync.directory.ranges import Fetch
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout, check_page, check_top


@dataclass(frozen=True, slots=True)
class SidecarPart:
    """Some buckets of a sidecar, verified. `octets` were fetched, index and all."""

    number: NDArray[np.int64]
    first: NDArray[np.int64]
    rows: NDArray[np.uint8]
    octets: int

    def entries(self, numbers: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The entries at m ranks of m fetched buckets (RangeMatch has both): uint8[m, 16 + size]."""
        place = np.searchsorted(self.number, numbers)
        found: NDArray[np.uint8] = self.rows[self.first[place] + ranks]
        return found


class SidecarRangeReader:
    """Reads single buckets of the sidecar that `info` describes, through `fetch`."""

    def __init__(self, info: SidecarInfo, fetch: Fetch, *, name: str = "sidecar") -> None:
        self._info = info
        self._fetch = fetch
        self._name = name
        self._octets = 0

    def read(self, numbers: Collection[int], counts: NDArray[np.int64]) -> SidecarPart:
        """The buckets of these numbers; `counts`, by ascending number, is what the directory's buckets have.

        Fetches three times: header and top table, index pages, entries.

        Raises BadDirectory if anything is not what the manifest says, or a bucket has not as many entries as
        the directory's has values; and whatever `fetch` raises.
        """
        self._octets = 0
        layout = self._info.layout
        (top,) = self._read([range(layout.index_offset)])
        check_top(SidecarLayout.unpack(top, self._name), top, self._info, self._name)
        ordered = sorted(numbers)
        pages = sorted({n // PAGE_ENTRIES for n in ordered})
        starts = [layout.index_offset + page * layout.page_bytes for page in pages]
        octets = self._read([range(start, start + layout.page_bytes) for start in starts])
        records = {
            page: check_page(part, page, layout, top, self._name)
            for page, part in zip(pages, octets, strict=True)
        }
        edges, digests = [], []
        for n, count in zip(ordered, counts.tolist(), strict=True):
            record, entry = records[n // PAGE_ENTRIES], n % PAGE_ENTRIES
            a, b = record["first"][0, entry : entry + 2].tolist()
            if b - a != count:
                raise bad(
                    self._name, f"bucket {n} has {b - a} entries for {count} tokens", "not-as-described"
                )
            edges.append((a, b))
            digests.append(record["sha256"][0, entry].tobytes())
        width = layout.entry_bytes
        parts = self._read(
            [range(layout.data_offset + a * width, layout.data_offset + b * width) for a, b in edges]
        )
        for n, part, digest in zip(ordered, parts, digests, strict=True):
            if hashlib.sha256(part).digest() != digest:
                raise bad(self._name, f"bucket {n} does not match the hash in the index", "bad-hash")
        rows = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, width)
        return SidecarPart(np.array(ordered, np.int64), np.cumsum(counts) - counts, rows, self._octets)

    def _read(self, places: list[range]) -> list[bytes]:
        parts = self._fetch(places)
        for place, octets in zip(places, parts, strict=True):
            self._octets += len(octets)
            if len(octets) != len(place):
                raise bad(
                    self._name,
                    f"{len(octets)} bytes received instead of {len(place)} at {place.start}",
                    "wrong-length",
                )
        return parts
