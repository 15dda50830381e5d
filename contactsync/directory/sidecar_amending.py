"""A sidecar made of an earlier one and the entries that changed: all others are copied, bucket by bucket.

What is copied is verified by its SHA-256 in the memory from which it is copied, as in amending.py. What comes
of it is, byte for byte, what `build_sidecar` makes of all entries.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.amending import Changes, Contradicted
from contactsync.directory.format import Values
from contactsync.directory.reader import Directory
from contactsync.directory.sidecar import Sidecar, ranks_in
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout
from contactsync.directory.sidecar_writing import Part, whole_buckets, write_entries
from contactsync.directory.value_sets import contains, ranks
from contactsync.foundation import durable
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class SidecarChanges:
    """What leads from one sidecar to another.

    `dropped` int64[d] are places of the old one, `placed` int64[p] of the new one; both ascend. `entries`
    uint8[p, 16 + size] are those of the placed. A changed entry is dropped and placed.
    """

    dropped: NDArray[np.int64]
    placed: NDArray[np.int64]
    entries: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.dropped) + len(self.placed)


def sidecar_changes(
    sidecar: Sidecar,
    directory: Directory,
    changes: Changes,
    tokens: Tokens,
    entries: NDArray[np.uint8],
) -> SidecarChanges:
    """What changes in a sidecar where `changes` have led from its directory to a later one.

    `tokens` are n of the later `directory`, with their `entries` uint8[n, 16 + size]: all that joined, and
    those of others that may be new. They come in any order. An entry that is as it was is no change.

    Raises Contradicted: they do not fit the directory, or two are one value.
    """
    added, removed = changes.added, changes.removed
    values = directory.truncate(tokens)
    order = np.lexsort((values.extra, values.key))
    values, entries = Values(values.key[order], values.extra[order]), entries[order]
    again = (values.key[1:] == values.key[:-1]) & (values.extra[1:] == values.extra[:-1])
    place, there = ranks_in(directory, values)
    joins = contains(added, values)
    gone, stays = ranks_in(directory, removed)
    were = directory.count - len(added) + len(removed)
    if again.any() or not there.all() or np.count_nonzero(joins) < len(added) or sidecar.count != were:
        raise Contradicted(adds=False)
    if stays.any():
        raise Contradicted(adds=True)
    before = place - ranks(added, values)[0] + ranks(removed, values)[0]
    gone = gone - ranks(added, removed)[0] + np.arange(len(removed))
    changed = joins.copy()
    changed[~joins] = (sidecar.entries(before[~joins]) != entries[~joins]).any(axis=1)
    dropped = np.sort(np.concatenate([gone, before[changed & ~joins]]))
    return SidecarChanges(dropped, place[changed], entries[changed])


def amend_sidecar(
    path: str | os.PathLike[str], sidecar: Sidecar, directory: Directory, changes: SidecarChanges
) -> SidecarInfo:
    """Write the sidecar of a directory that an earlier one becomes. O(file) to copy and to hash.

    Raises Contradicted, and leaves no file; BadDirectory (the earlier one is damaged), OSError.
    """
    counts, size = directory.span.count, sidecar.info.size
    layout = SidecarLayout(directory.count, size, directory.info.slot_bits)
    with durable.replacing(Path(path), mode=durable.PUBLIC_FILE) as file:
        return write_entries(file, layout, counts, _parts(sidecar, layout, counts, changes))


def _parts(
    sidecar: Sidecar, layout: SidecarLayout, counts: NDArray[np.int64], changes: SidecarChanges
) -> Iterator[Part]:
    for numbers, first, end in whole_buckets(layout, counts):
        old = sidecar.verified(numbers.start, numbers.stop)
        begin, until = sidecar.first(np.array([numbers.start, numbers.stop])).tolist()
        low, high = np.searchsorted(changes.dropped, [begin, until])
        kept = np.ones(len(old), np.bool_)
        kept[changes.dropped[low:high] - begin] = False
        low, high = np.searchsorted(changes.placed, [first, end])
        stay = np.ones(end - first, np.bool_)
        stay[changes.placed[low:high] - first] = False
        if np.count_nonzero(kept) != np.count_nonzero(stay):
            raise Contradicted(adds=False)
        new = np.empty((end - first, layout.entry_bytes), np.uint8)
        new[stay], new[~stay] = old[kept], changes.entries[low:high]
        yield numbers, new
