"""Entries of a sidecar of which only some buckets are fetched, each verified from the manifest alone.

The other side sees which buckets are fetched: always those of the directory's own list (ranges.py), all of
them, whatever matched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import PAGE_ENTRIES, bad
from contactsync.directory.ranges import BucketFetcher, Fetch
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout, check_page


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
        self._name = name
        self._fetcher = BucketFetcher(info, fetch, name)

    def read(self, numbers: Collection[int], counts: NDArray[np.int64]) -> SidecarPart:
        """The buckets of these numbers; `counts`, by ascending number, is what the directory's buckets have.

        Fetches three times: header and top table, index pages, entries.

        Raises BadDirectory if anything is not what the manifest says, or a bucket has not as many entries as
        the directory's has values; and whatever `fetch` raises.
        """
        self._fetcher.octets = 0
        layout, top = self._fetcher.top(SidecarLayout.unpack)
        ordered = sorted(numbers)
        records = self._fetcher.pages(layout, top, ordered, check_page)
        width = layout.entry_bytes
        places, digests = [], []
        for n, count in zip(ordered, counts.tolist(), strict=True):
            record, entry = records[n // PAGE_ENTRIES], n % PAGE_ENTRIES
            a, b = record["first"][0, entry : entry + 2].tolist()
            if b - a != count:
                raise bad(
                    self._name, f"bucket {n} has {b - a} entries for {count} tokens", "not-as-described"
                )
            places.append(range(layout.data_offset + a * width, layout.data_offset + b * width))
            digests.append(record["sha256"][0, entry].tobytes())
        parts = self._fetcher.buckets(ordered, places, digests)
        rows = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, width)
        first = np.cumsum(counts) - counts
        return SidecarPart(np.array(ordered, np.int64), first, rows, self._fetcher.octets)
