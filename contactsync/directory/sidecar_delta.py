"""Deltas of sidecars: which entries left, which came and where, between two editions of a sidecar.

Entries that are not dropped fill the places that are not placed, in order; a changed entry is dropped and
placed. So a reader with an old sidecar and a chain of deltas finds each entry of the new one without writing
it. docs/directory-format.md ("The delta of a sidecar") has the bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.bounds import DELTA_BYTES
from contactsync.directory.files import check_whole, read_file, write_file
from contactsync.directory.format import DataFile, bad, check_version
from contactsync.directory.sidecar import Sidecar, checked
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout
from contactsync.labels import TAG_BYTES

MAGIC: Final = b"CSLBD\r\n\x1a"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sHBBI7Q32s32s")
TRAILER_BYTES: Final = DELTA_BYTES - HEADER.size  # 32


@dataclass(frozen=True, slots=True)
class SidecarDelta:
    """From one edition of a sidecar to another; checked.

    `dropped` int64[d] are places of the old one, `placed` int64[p] of the new one; both ascend. `entries`
    uint8[p, 16 + size] are those of the placed. `old_sha256` and `new_sha256` (hex) name the two files.
    """

    from_edition: int
    to_edition: int
    size: int
    slot_bits: int
    old_count: int
    new_count: int
    old_sha256: str
    new_sha256: str
    dropped: NDArray[np.int64]
    placed: NDArray[np.int64]
    entries: NDArray[np.uint8]

    def __str__(self) -> str:
        return f"delta of labels from edition {self.from_edition} to {self.to_edition}"

    def check_follows(self, sidecar: SidecarInfo) -> None:
        """Check that the delta leads on from this sidecar. Raises BadDirectory."""
        here = (self.size, self.slot_bits, self.old_count, self.old_sha256)
        if here != (sidecar.size, sidecar.slot_bits, sidecar.count, sidecar.file.sha256):
            raise bad(str(self), "it does not start from the stored sidecar", "not-following")


def check_chain(sidecar: SidecarInfo, chain: Sequence[SidecarDelta], reaches: SidecarInfo) -> None:
    """Check that a chain leads from one sidecar to the other, one delta after the other. Raises BadDirectory.

    An empty chain leads from a sidecar to itself.
    """
    here = sidecar
    for delta in chain:
        delta.check_follows(here)
        # Only what `check_follows` compares is known of what lies in between.
        file = DataFile(delta.new_sha256, 0, "")
        here = SidecarInfo(delta.new_count, delta.size, delta.slot_bits, "", file)
    last = (here.size, here.slot_bits, here.count, here.file.sha256)
    if last != (reaches.size, reaches.slot_bits, reaches.count, reaches.file.sha256):
        what = str(chain[-1]) if chain else "the stored sidecar"
        raise bad(what, "it does not lead to the sidecar that the manifest names", "not-following")


def entries_through(
    sidecar: Sidecar, chain: Sequence[SidecarDelta], places: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """The entries at m places of the edition that a chain leads to, uint8[m, 16 + size].

    The chain must be checked (`check_chain`). O(m log c) for c changes. Raises ValueError: a place that is
    none of that edition.
    """
    place = checked(places, chain[-1].new_count if chain else sidecar.count).astype(np.int64)
    entries = np.empty((len(place), sidecar.info.layout.entry_bytes), np.uint8)
    wanted = np.arange(len(place))
    for delta in reversed(chain):
        before = np.searchsorted(delta.placed, place)
        fresh = np.zeros(len(place), np.bool_)
        inside = before < len(delta.placed)
        fresh[inside] = delta.placed[before[inside]] == place[inside]
        entries[wanted[fresh]] = delta.entries[before[fresh]]
        # It is the so many-th that was kept; go past the dropped before it.
        kept = (place - before)[~fresh]
        place = kept + np.searchsorted(delta.dropped - np.arange(len(delta.dropped)), kept, "right")
        wanted = wanted[~fresh]
    entries[wanted] = sidecar.entries(place)
    return entries


# ---- files ------------------------------------------------------------------------------------------------


def write_sidecar_delta(
    path: str | os.PathLike[str], old: Sidecar, new: Sidecar, *, from_edition: int, to_edition: int
) -> DataFile | None:
    """Write the delta between two sidecars with the same size and slot bits. O(count).

    None, and no file, if it would be as large as the new sidecar itself, or size or slot bits differ: then
    the sidecar must be fetched whole. The same two sidecars and editions give the same bytes.
    """
    here, there = old.info, new.info
    if (here.size, here.slot_bits) != (there.size, there.slot_bits):
        return None
    dropped, placed = _differences(old, new)
    return write_differences(
        path, (here, there), (dropped, placed), new.entries, from_edition=from_edition, to_edition=to_edition
    )


def write_differences(
    path: str | os.PathLike[str],
    sidecars: tuple[SidecarInfo, SidecarInfo],
    differences: tuple[NDArray[np.int64], NDArray[np.int64]],
    entries: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    *,
    from_edition: int,
    to_edition: int,
) -> DataFile | None:
    """The same where the places are known that are dropped, and those that are placed; both ascend.

    `entries` gives those of the placed: uint8[p, 16 + size].
    """
    (here, there), (dropped, placed) = sidecars, differences
    length = _length(len(dropped), len(placed), there.size)
    if length >= there.file.length:
        return None
    header = HEADER.pack(
        MAGIC, VERSION, there.slot_bits, there.size, 0, from_edition, to_edition, here.count, there.count,
        len(dropped), len(placed), length,
        bytes.fromhex(here.file.sha256), bytes.fromhex(there.file.sha256),
    )  # fmt: skip
    parts = [header, dropped.astype("<u4").tobytes(), placed.astype("<u4").tobytes()]
    content = b"".join([*parts, entries(placed).tobytes()])
    return write_file(path, [content, hashlib.sha256(content).digest()])


def _differences(old: Sidecar, new: Sidecar) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the old one that are dropped, and those of the new one that are placed; ascending.

    An entry has its own key, so it occurs once in a sidecar, and values give both files their order: of the
    entries of a bucket, those that both files have are in the same order in both.
    """
    dropped, placed = [], []
    numbers = np.arange(old.info.layout.buckets + 1)
    edges = (itertools.pairwise(side.first(numbers).tolist()) for side in (old, new))
    for here, there in zip(*edges, strict=True):
        one, other = old.entries(np.arange(*here)), new.entries(np.arange(*there))
        kept, still = _common(one, other)
        gone, come = np.ones(len(one), np.bool_), np.ones(len(other), np.bool_)
        gone[kept], come[still] = False, False
        dropped.append(here[0] + np.flatnonzero(gone))
        placed.append(there[0] + np.flatnonzero(come))
    return np.concatenate(dropped), np.concatenate(placed)


def _common(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the entries that both of two buckets have are in either; both ascend."""
    codes, others = (np.ascontiguousarray(rows[:, :8]).view("<u8").reshape(-1) for rows in (one, other))
    order = np.argsort(others)
    at = np.searchsorted(others[order], codes)
    kept = np.flatnonzero(at < len(others))
    still = order[at[kept]]
    same = (one[kept] == other[still]).all(axis=1)
    kept, still = kept[same], still[same]
    if (np.diff(still) < 1).any():  # no sealed labels, or two that agree in 64 bits: all is written anew
        return kept[:0], still[:0]
    return kept, still


def read_sidecar_delta(path: str | os.PathLike[str], *, expect: DataFile | None = None) -> SidecarDelta:
    """Read and check a delta; `expect` is what the signed manifest says about the file.

    Raises BadDirectory (not that file, damaged, or its figures do not add up), BadInput (cannot be read).
    """
    name = Path(path).name
    data = read_file(path, expect)
    header = _header(data, name)
    at, places = HEADER.size, []
    for many, count, kind in (
        (header.dropped, header.old_count, "dropped"),
        (header.placed, header.new_count, "placed"),
    ):
        some = np.frombuffer(data, "<u4", many, at).astype(np.int64)
        if many and (int(np.diff(some).min(initial=1)) < 1 or int(some[-1]) >= count):
            raise bad(name, f"the {kind} places are out of order", "not-ascending")
        places.append(some)
        at += 4 * many
    entries = np.frombuffer(data, np.uint8, header.placed * (TAG_BYTES + header.size), at)
    return SidecarDelta(
        header.from_edition, header.to_edition, header.size, header.slot_bits,
        header.old_count, header.new_count, header.old_sha256.hex(), header.new_sha256.hex(),
        places[0], places[1], entries.reshape(header.placed, TAG_BYTES + header.size),
    )  # fmt: skip


class _LabelsHeader(NamedTuple):
    magic: bytes
    version: int
    slot_bits: int
    size: int
    zero: int
    from_edition: int
    to_edition: int
    old_count: int
    new_count: int
    dropped: int
    placed: int
    length: int
    old_sha256: bytes
    new_sha256: bytes

    def fault(self) -> tuple[str, str] | None:
        """What does not add up in the figures, and its refusal; None if they do."""
        for count in (self.old_count, self.new_count):
            if problem := SidecarLayout(count, self.size, self.slot_bits).problem():
                return problem
        if self.zero:
            return "a field that must be zero is not", "out-of-range"
        if self.from_edition >= self.to_edition:
            return f"it goes from edition {self.from_edition} to edition {self.to_edition}", "out-of-range"
        kept = self.old_count - self.dropped
        if kept < 0 or kept + self.placed != self.new_count:
            change = f"{self.old_count} entries less {self.dropped} and {self.placed} more"
            return f"{change} are not {self.new_count}", "malformed"
        if self.length != _length(self.dropped, self.placed, self.size):
            change = f"{self.dropped} dropped and {self.placed} placed entries"
            return f"{self.length} bytes for {change}", "malformed"
        return None


def _header(data: bytes, name: str) -> _LabelsHeader:
    """The header of a file that is whole; its counts are then bounded by the size of the file."""
    check_version(data, MAGIC, VERSION, name, "delta of labels")
    if len(data) < DELTA_BYTES:
        raise bad(name, f"{len(data)} bytes are too few for a delta of labels", "wrong-length")
    header = _LabelsHeader._make(HEADER.unpack_from(data))
    check_whole(data, header.length, TRAILER_BYTES, name)
    if fault := header.fault():
        raise bad(name, *fault)
    return header


def _length(dropped: int, placed: int, size: int) -> int:
    return DELTA_BYTES + 4 * (dropped + placed) + (TAG_BYTES + size) * placed
