"""The file of rows that a server answers from: made from a directory in one pass, verified, mapped.

Nothing in it is new: it is made from the directory file alone, so whoever has that makes the same octets and
compares the root. It has no header, only the records, R times the width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.files import map_file
from contactsync.directory.format import BUCKET_SLOT_BITS, Values, bad
from contactsync.directory.reader import Directory, part
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.lookup.merkle import Nodes, as_nodes, root_of, row_hash, with_paths
from contactsync.lookup.rows import MAX_ROW_COUNT, ROW_SLOT_BITS, Geometry

BUCKET_ROW_BITS = BUCKET_SLOT_BITS - ROW_SLOT_BITS
GROUP_BUCKETS = 256  # built at once: 16,384 rows are whole subtrees below the level at up to 32 slot bits


@dataclass(frozen=True, slots=True)
class RowSet:
    """What a publisher states about the rows of a directory: `root` (32 octets) binds all the rest.

    `level` uint8[level_nodes, 32] is what each client fetches once for an edition.
    """

    geometry: Geometry
    root: bytes
    level: Nodes


def build_rows(path: str | os.PathLike[str], directory: Directory) -> RowSet:
    """Write the rows of a directory to a file that has its name only once it is whole.

    The directory is decoded twice, as the width follows from its largest row. Memory: some 60 MB, whatever
    the size. The octets depend on the values alone.

    Raises BadDirectory (its values are out of order), BadInput (they are no VOPRF outputs), OurError (the
    disk).
    """
    geometry = _geometry(directory)
    level = []
    try:
        with durable.replacing(Path(path), mode=durable.PUBLIC_FILE) as file:
            for first, values in _groups(directory):
                records, nodes = _group(values, first, geometry, _rows_at_once(directory))
                file.write(records.data)
                level.append(nodes)
    except OSError as error:
        raise OurError(
            f"{path}: the rows cannot be written: {error.strerror or error}",
            hint="Check the free space and the permissions of that folder.",
        ) from error
    whole = np.concatenate(level)
    return RowSet(geometry, root_of(whole), whole)


def _rows_at_once(directory: Directory) -> int:
    return min(GROUP_BUCKETS, directory.info.layout.buckets) << BUCKET_ROW_BITS


def _groups(directory: Directory) -> Iterator[tuple[int, Values]]:
    """The number of the first row, and the values, of one group of buckets after the other."""
    for first in range(0, directory.info.layout.buckets, GROUP_BUCKETS):
        span = part(directory.span, slice(first, first + GROUP_BUCKETS))
        yield first << BUCKET_ROW_BITS, buckets.decode(span, directory.name, kernels=True)


def _geometry(directory: Directory) -> Geometry:
    """The geometry of a directory's rows: counts them."""
    most, rows = 0, _rows_at_once(directory)
    for first, values in _groups(directory):
        edges = np.arange(first, first + rows, dtype=np.uint64) << np.uint64(32 + ROW_SLOT_BITS)
        starts = np.append(np.searchsorted(values.key, edges), len(values))
        most = max(most, int(np.diff(starts).max()))
    if most > MAX_ROW_COUNT:
        raise BadInput(
            f"{most} values share a row of 64 slots, so they are not VOPRF outputs",
            hint="A directory is built from tokens of evaluated identifiers.",
        )
    return Geometry(directory.info.slot_bits, directory.info.remainder_bits, most)


def _group(values: Values, first: int, geometry: Geometry, rows: int) -> tuple[NDArray[np.uint8], Nodes]:
    """Records of so many rows, uint8[rows, width], and the nodes of the level above them."""
    from contactsync.kernels import rows as kernel  # noqa: PLC0415 - loads Numba

    records = np.zeros((rows, geometry.width), np.uint8)
    wide = geometry.remainder_bits == 40
    fitted = kernel.encode(
        values.key, values.extra, wide, first, geometry.bitmap_bytes, geometry.most, records
    )
    assert fitted < 0, "the rows were counted before"
    records[:, geometry.content_bytes :], nodes = _above(records, first, geometry)
    return records, nodes


def _above(records: NDArray[np.uint8], first: int, geometry: Geometry) -> tuple[NDArray[np.uint8], Nodes]:
    """The paths of whole subtrees of rows, uint8[n, 32 * depth], and the nodes of the level above them."""
    content, width, what = geometry.content_bytes, geometry.width, geometry.what
    octets = records.tobytes()
    leaves = b"".join(
        row_hash(what, first + i, octets[i * width : i * width + content]) for i in range(len(records))
    )
    return with_paths(as_nodes(leaves), geometry.depth)


def open_rows(
    path: str | os.PathLike[str], geometry: Geometry, root: bytes
) -> tuple[NDArray[np.uint8], RowSet]:
    """Map a file of rows, uint8[R, width], and verify all of it: a server answers from no other.

    Each content is hashed, and each path compared with the one that follows: about the time of a build. The
    file is unmapped when the array goes.

    Raises BadDirectory (not the rows of this root), BadInput (it cannot be opened).
    """
    mapped = map_file(path, "file of rows")
    name = Path(path).name
    whole = geometry.rows * geometry.width
    if len(mapped) != whole:
        raise bad(name, f"{len(mapped)} bytes instead of {whole}", "wrong-length")
    records = np.frombuffer(mapped, np.uint8).reshape(-1, geometry.width)
    level, group, content = [], GROUP_BUCKETS << BUCKET_ROW_BITS, geometry.content_bytes
    for first in range(0, geometry.rows, group):
        paths, nodes = _above(records[first : first + group], first, geometry)
        if not np.array_equal(paths, records[first : first + group, content:]):
            raise bad(name, "its Merkle paths are not those of its rows", "bad-hash")
        level.append(nodes)
    rows = RowSet(geometry, root, np.concatenate(level))
    if root_of(rows.level) != root:
        raise bad(name, "its rows are not those of the root in the manifest", "bad-hash")
    return records, rows
