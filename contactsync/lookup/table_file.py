"""The file of rows that a server answers from: made from directories in one pass, verified, mapped.

Nothing in it is new: it is made from the directory files and sidecars alone, so whoever has those makes the
same octets and compares the root. It has no header, only the records of all rows that there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.files import map_file
from contactsync.directory.format import BUCKET_SLOT_BITS, Values, bad
from contactsync.directory.reader import Directory, part
from contactsync.directory.sidecar import Sidecar
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.hash_trees import HASH_BYTES
from contactsync.lookup.merkle import as_nodes, parents, row_hash, with_paths
from contactsync.lookup.rows import MAX_ROW_COUNT, ROW_SLOT_BITS
from contactsync.lookup.table import RowTable, root_of

_BUCKET_ROW_BITS = BUCKET_SLOT_BITS - ROW_SLOT_BITS
_BLOCK_BITS = 14  # rows built at once: whole subtrees below the level, of up to 2^26 rows
_LABELLED_BLOCK_BITS = 10  # with labels a row takes ten times as much; more where a subtree is larger
_ABSENT = bytes(HASH_BYTES)
"""The leaf where no row is."""

Octets = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BuiltTable:
    """What a publisher states of the rows of an edition: the level binds all the rest."""

    table: RowTable
    level: bytes

    @property
    def root(self) -> bytes:
        """The hash of the level, 32 octets."""
        return root_of(self.level)


def build_table(
    path: str | os.PathLike[str],
    directories: Mapping[str, Directory],
    sidecars: Mapping[str, Sidecar] | None = None,
) -> BuiltTable:
    """Write the rows of all directories of an edition, by partition, to a file.

    With the labels of those partitions that have `sidecars`. It has its name only once it is whole. Each
    directory is decoded twice, as the width follows from the largest row. Memory: some 60 MB, whatever the
    size; with labels some 40 up to 2^22 rows, then as much more as there are rows. The octets depend on the
    values and entries alone.

    Raises BadDirectory (values out of order; directories that share no table; a sidecar of another one),
    BadInput (values that are no VOPRF outputs), OurError (the disk).
    """
    sidecars = sidecars or {}
    infos = {name: directory.info for name, directory in directories.items()}
    for name, sidecar in sidecars.items():
        if (sidecar.count, sidecar.info.slot_bits) != (infos[name].count, infos[name].slot_bits):
            raise bad(sidecar.name, "its labels are of another directory", "not-as-described")
    entry_bytes = {name: sidecar.info.layout.entry_bytes for name, sidecar in sidecars.items()}
    table = RowTable.of(infos, max(map(_most, directories.values()), default=0), entry_bytes)
    levels = []
    try:
        with durable.replacing(Path(path), mode=durable.PUBLIC_FILE) as file:
            for first, contents in _blocks(table, directories, sidecars):
                records = np.empty((len(contents), table.width), np.uint8)
                records[:, : table.shape.content_bytes] = contents
                records[:, table.shape.content_bytes :], nodes = _above(contents, first, table)
                file.write(records.data)
                levels.append(nodes)
    except OSError as error:
        raise OurError(
            f"{path}: the rows cannot be written: {error.strerror or error}",
            hint="Check the free space and the permissions of that folder.",
        ) from error
    return BuiltTable(table, _whole(levels, table))


def open_table(path: str | os.PathLike[str], table: RowTable, root: bytes) -> Octets:
    """Map a file of rows, uint8[total, width], and verify all of it: a server answers from no other.

    Each content is hashed, and each path compared with the one that follows: about the time of a build. The
    file is unmapped when the array goes.

    Raises BadDirectory (not the rows of this root), BadInput (it cannot be opened).
    """
    mapped = map_file(path, "file of rows")
    name = Path(path).name
    whole = table.total * table.width
    if len(mapped) != whole:
        raise bad(name, f"{len(mapped)} bytes instead of {whole}", "wrong-length")
    records = np.frombuffer(mapped, np.uint8).reshape(-1, table.width)
    levels, content = [], table.shape.content_bytes
    step = 1 << _block_bits(table)
    for first in range(0, table.total, step):
        block = records[first : first + step]
        paths, nodes = _above(block[:, :content], first, table)
        if not np.array_equal(paths, block[:, content:]):
            raise bad(name, "its Merkle paths are not those of its rows", "bad-hash")
        levels.append(nodes)
    if root_of(_whole(levels, table)) != root:
        raise bad(name, "its rows are not those of the root in the manifest", "bad-hash")
    return records


def _block_bits(table: RowTable) -> int:
    return max(_LABELLED_BLOCK_BITS, table.depth) if table.entry_bytes else _BLOCK_BITS


def _most(directory: Directory) -> int:
    """How many values the largest row of a directory has. Raises BadInput if no VOPRF outputs make it."""
    most = 0
    for first, rows, values in _groups(directory, _BLOCK_BITS):
        edges = np.arange(first, first + rows, dtype=np.uint64) << np.uint64(32 + ROW_SLOT_BITS)
        starts = np.append(np.searchsorted(values.key, edges), len(values))
        most = max(most, int(np.diff(starts).max()))
    if most > MAX_ROW_COUNT:
        raise BadInput(
            f"{most} values share a row of 64 slots, so they are not VOPRF outputs",
            hint="A directory is built from tokens of evaluated identifiers.",
        )
    return most


def _groups(directory: Directory, block_bits: int) -> Iterator[tuple[int, int, Values]]:
    """First row, how many rows, and the values of one group of buckets after the other: a block, or all."""
    step = 1 << (block_bits - _BUCKET_ROW_BITS)
    whole = directory.info.layout.buckets
    for first in range(0, whole, step):
        span = part(directory.span, slice(first, first + step))
        rows = min(step, whole - first) << _BUCKET_ROW_BITS
        yield first << _BUCKET_ROW_BITS, rows, buckets.decode(span, directory.name, kernels=True)


def _blocks(
    table: RowTable, directories: Mapping[str, Directory], sidecars: Mapping[str, Sidecar]
) -> Iterator[tuple[int, Octets]]:
    """The number of the first row, and the contents, of one block of rows after the other.

    Sizes descend and are powers of two, so that a group is a block, or divides one.
    """
    block_bits = _block_bits(table)
    waiting: list[Octets] = []
    first = many = 0
    for name in table.slot_bits:
        sidecar, entry = sidecars.get(name), 0
        for start, rows, values in _groups(directories[name], block_bits):
            contents = _contents(values, start, rows, table)
            if sidecar is not None:
                places = np.arange(entry, entry + len(values))
                _put_entries(contents, values, start, sidecar.entries(places), table)
                entry += len(values)
            waiting.append(contents)
            many += rows
            if many == 1 << block_bits:
                yield first, np.concatenate(waiting)
                waiting, first, many = [], first + many, 0
    if waiting:
        yield first, np.concatenate(waiting)


def _contents(values: Values, first: int, rows: int, table: RowTable) -> Octets:
    """Contents of so many rows of a directory, from its row `first` on, without labels."""
    from contactsync.kernels import rows as kernel  # noqa: PLC0415 - loads Numba

    shape = table.shape
    wide = shape.remainder_bits == 40
    contents = np.zeros((rows, shape.content_bytes), np.uint8)
    fitted = kernel.encode(values.key, values.extra, wide, first, shape.bitmap_bytes, shape.most, contents)
    assert fitted < 0, "the rows were counted before"
    return contents


def _put_entries(contents: Octets, values: Values, first: int, entries: Octets, table: RowTable) -> None:
    """Put the sealed labels of all values of some rows into their contents."""
    shape = table.shape
    row = (values.key >> np.uint64(32 + ROW_SLOT_BITS)).astype(np.int64) - first
    place = np.arange(len(row)) - np.searchsorted(row, row)
    there = np.zeros((len(contents), shape.most, shape.entry_bytes), np.uint8)
    there[row, place, : entries.shape[1]] = entries
    at = shape.entries_at
    contents[:, at : at + shape.most * shape.entry_bytes] = there.reshape(len(contents), -1)


def _above(contents: Octets, first: int, table: RowTable) -> tuple[Octets, Octets]:
    """The paths of a block's rows, uint8[n, 32 * depth], and the nodes of the level above them.

    The last block may end within a subtree.
    """
    width = contents.shape[1]
    octets = contents.tobytes()
    whats = [
        (start, table.what(name)) for name, start in table.first.items() if start < first + len(contents)
    ]
    leaves = bytearray()
    for (start, what), (end, _) in zip(whats, [*whats[1:], (first + len(contents), b"")], strict=True):
        for number in range(max(start, first), end):
            at = (number - first) * width
            leaves += row_hash(what, number, octets[at : at + width])
    leaves += _ABSENT * (-len(contents) % (1 << table.depth))
    paths, nodes = with_paths(as_nodes(bytes(leaves)), table.depth)
    return paths[: len(contents)], nodes


def _whole(levels: list[Octets], table: RowTable) -> bytes:
    """The file of the level. Its last nodes are of rows that are not there."""
    node = as_nodes(_ABSENT)
    for _ in range(table.depth):
        node = parents(np.concatenate([node, node]))
    there = table.heading + np.concatenate(levels).tobytes()
    return there + node.tobytes() * ((table.level_bytes - len(there)) // HASH_BYTES)
