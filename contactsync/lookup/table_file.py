"""The file of rows that a server answers from: made from directories in one pass, verified, mapped.

Nothing in it is new: it is made from the directory files and sidecars alone, so whoever has those makes the
same octets and compares the root. It has no header, only the blocks of all rows that there are.
"""

from __future__ import annotations

import bisect
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
from contactsync.lookup.merkle import Nodes, as_nodes, parents, row_hash, with_paths
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
    fold_bits: int = 0,
) -> BuiltTable:
    """Write the rows of all directories of an edition, by partition, to a file, in blocks of 2^fold_bits.

    With the labels of those partitions that have `sidecars`. It has its name only once it is whole. Each
    directory is decoded twice, as the width follows from the largest row. Memory: some 60 MB, whatever the
    size; with labels some 100 up to 2^24 rows, then as much more as there are rows. The octets depend on the
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
    table = RowTable.of(infos, max(map(_most, directories.values()), default=0), entry_bytes, fold_bits)
    levels = []
    try:
        with durable.replacing(Path(path), mode=durable.PUBLIC_FILE) as file:
            for first, contents in _contents_in_order(table, directories, sidecars):
                blocks, nodes = _laid_out(contents, first, table)
                file.write(blocks.data)
                levels.append(nodes)
    except OSError as error:
        raise OurError(
            f"{path}: the rows cannot be written: {error.strerror or error}",
            hint="Check the free space and the permissions of that folder.",
        ) from error
    return BuiltTable(table, _whole(levels, table))


def open_table(path: str | os.PathLike[str], table: RowTable, root: bytes) -> Octets:
    """Map a file of rows, uint8[blocks, block_bytes], and verify all of it: a server answers from no other.

    Each content is hashed, and all hashes are compared with those that follow: about the time of a build. The
    file is unmapped when the array goes.

    Raises BadDirectory (not the rows of this root), BadInput (it cannot be opened).
    """
    mapped = map_file(path, "file of rows")
    name = Path(path).name
    if len(mapped) != table.file_bytes:
        raise bad(name, f"{len(mapped)} bytes instead of {table.file_bytes}", "wrong-length")
    layout = table.layout
    blocks = np.frombuffer(mapped, np.uint8).reshape(-1, layout.block_bytes)
    levels, contents = [], layout.block_rows * layout.content_bytes
    step = 1 << _block_bits(table)
    for first in range(0, table.total, step):
        there = blocks[first >> table.fold_bits : (first + step) >> table.fold_bits]
        rows = there[:, :contents].reshape(-1, layout.content_bytes)
        again, nodes = _laid_out(rows, first, table)
        if not np.array_equal(again, there):
            raise bad(name, "its Merkle paths are not those of its rows", "bad-hash")
        levels.append(nodes)
    if root_of(_whole(levels, table)) != root:
        raise bad(name, "its rows are not those of the root in the manifest", "bad-hash")
    return blocks


def _block_bits(table: RowTable) -> int:
    if table.entry_bytes:
        # A whole bucket at each place at least.
        return max(_LABELLED_BLOCK_BITS, table.depth, table.fold_bits + _BUCKET_ROW_BITS)
    return _BLOCK_BITS


def _most(directory: Directory) -> int:
    """How many values the largest row of a directory has. Raises BadInput if no VOPRF outputs make it."""
    most = 0
    step = 1 << (_BLOCK_BITS - _BUCKET_ROW_BITS)
    for begin in range(0, directory.info.layout.buckets, step):
        span = part(directory.span, slice(begin, begin + step))
        values = buckets.decode(span, directory.name, kernels=True)
        first, rows = begin << _BUCKET_ROW_BITS, span.start.size << _BUCKET_ROW_BITS
        edges = np.arange(first, first + rows, dtype=np.uint64) << np.uint64(32 + ROW_SLOT_BITS)
        starts = np.append(np.searchsorted(values.key, edges), len(values))
        most = max(most, int(np.diff(starts).max()))
    if most > MAX_ROW_COUNT:
        raise BadInput(
            f"{most} values share a row of 64 slots, so they are not VOPRF outputs",
            hint="A directory is built from tokens of evaluated identifiers.",
        )
    return most


def _contents_in_order(
    table: RowTable, directories: Mapping[str, Directory], sidecars: Mapping[str, Sidecar]
) -> Iterator[tuple[int, Octets]]:
    """The number of the first row, and the contents, of some rows after the others, by number.

    The rows of a block are as far from one another as can be. So the directories are read at 2^fold_bits
    places at once, and at each of them in order.
    """
    at_once = 1 << (_block_bits(table) - table.fold_bits)
    for first in range(0, table.blocks, at_once):
        many = min(at_once, table.blocks - first)
        starts = range(first, table.total, table.blocks)
        parts = [_contents(start, many, table, directories, sidecars) for start in starts]
        yield first << table.fold_bits, np.stack(parts, axis=1).reshape(-1, table.shape.content_bytes)


def _contents(
    first: int,
    many: int,
    table: RowTable,
    directories: Mapping[str, Directory],
    sidecars: Mapping[str, Sidecar],
) -> Octets:
    """Contents of rows that follow one another in the order of the partitions, from row `first` of all on."""
    parts = []
    names, starts = list(table.first), list(table.first.values())
    at, end = first, first + many
    while at < end:
        which = bisect.bisect_right(starts, at) - 1
        name, start = names[which], starts[which]
        until = min(end, start + table.rows(name))
        begin, stop = (at - start) >> _BUCKET_ROW_BITS, -(-(until - start) >> _BUCKET_ROW_BITS)
        skipped = at - start - (begin << _BUCKET_ROW_BITS)
        whole = _of_buckets(begin, stop, table, directories[name], sidecars.get(name))
        parts.append(whole[skipped : skipped + until - at])
        at = until
    return np.concatenate(parts)


def _of_buckets(
    begin: int, end: int, table: RowTable, directory: Directory, sidecar: Sidecar | None
) -> Octets:
    """Contents of the rows of some buckets of a directory."""
    from contactsync.kernels import rows as kernel  # noqa: PLC0415 - loads Numba

    shape, first = table.shape, begin << _BUCKET_ROW_BITS
    values = buckets.decode(part(directory.span, slice(begin, end)), directory.name, kernels=True)
    contents = np.zeros(((end - begin) << _BUCKET_ROW_BITS, shape.content_bytes), np.uint8)
    wide = shape.remainder_bits == 40
    fitted = kernel.encode(values.key, values.extra, wide, first, shape.bitmap_bytes, shape.most, contents)
    assert fitted < 0, "the rows were counted before"
    if sidecar is not None:
        entry = int(sidecar.first(np.array([begin]))[0])
        entries = sidecar.entries(np.arange(entry, entry + len(values)))
        _put_entries(contents, values, first, entries, table)
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


def _laid_out(contents: Octets, first: int, table: RowTable) -> tuple[Octets, Octets]:
    """The blocks of some rows, uint8[n >> fold_bits, block_bytes], and the nodes of the level above them.

    The last ones may end within a subtree.
    """
    layout = table.layout
    paths, nodes = with_paths(_leaves(contents, first, table), table.depth)
    path = paths[: len(contents)].reshape(len(contents), table.depth, HASH_BYTES)
    many = len(contents) >> table.fold_bits
    # A sibling serves all rows below the node that it is beside: it stands once in a block.
    siblings = [path[:: 1 << height, height].reshape(many, -1) for height in range(table.fold_bits)]
    onward = path[:: layout.block_rows, table.fold_bits :].reshape(many, -1)
    return np.concatenate([contents.reshape(many, -1), *siblings, onward], axis=1), nodes


def _leaves(contents: Octets, first: int, table: RowTable) -> Nodes:
    """The leaves of the rows from number `first` on, up to the end of a subtree."""
    width, octets = contents.shape[1], contents.tobytes()
    whats = [table.what(name) for name in table.slot_bits]
    numbers = np.arange(first, first + len(contents), dtype=np.uint32)
    leaves = bytearray()
    for at, partition in enumerate(table.partitions(numbers).tolist()):
        leaves += row_hash(whats[partition], first + at, octets[at * width : (at + 1) * width])
    return as_nodes(leaves + _ABSENT * (-len(contents) % (1 << table.depth)))


def _whole(levels: list[Octets], table: RowTable) -> bytes:
    """The file of the level. Its last nodes are of rows that are not there."""
    node = as_nodes(_ABSENT)
    for _ in range(table.depth):
        node = parents(np.concatenate([node, node]))
    there = table.heading + np.concatenate(levels).tobytes()
    return there + node.tobytes() * ((table.level_bytes - len(there)) // HASH_BYTES)
