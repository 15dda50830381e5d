"""The table: the rows of all partitions of an edition, one after the other. docs/lookup.md, "Rows".

One table for all of them, so that which partitions a client looks up in shows to nobody. A record is what two
servers answer: a row's content, then its Merkle path. Of a large table, servers keep blocks of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import MAX_SLOT_BITS, MIN_SLOT_BITS, DirectoryInfo
from contactsync.foundation.errors import BadDirectory
from contactsync.foundation.hash_trees import HASH_BYTES
from contactsync.lookup.answer import RowLayout
from contactsync.lookup.batch import MAX_FOLD_BITS, MAX_ROW_BITS
from contactsync.lookup.merkle import LEVEL_BITS, Nodes, as_nodes, climb, row_hash
from contactsync.lookup.rows import ROW_SLOT_BITS, Places, Rows, RowShape, bad_rows, parse
from contactsync.tokens import Tokens

_WHAT = b"CSROWS\x02"  # and the version
_LABELLED = b"CSROWS\x03"  # of a table with labels
_FOLDED = b"CSROWS\x04"  # of one in blocks, with labels or without
_BLOCK_MULTIPLE = 32
_BLOCKS_BITS = 14
"""At least so many blocks: of 512 rows that are wanted, four are of one block in one of 1,500 batches."""


@dataclass(frozen=True)
class RowTable:
    """Where the rows of an edition stand. Made by `of`.

    `slot_bits`: q of each partition, by name, in the order of the rows: the largest first, then by name.
    `entry_bytes`: octets of a sealed label, of the partitions that have labels in their rows. Rows stand in
    blocks of 2^fold_bits; 0 is the form of small tables, and was that of all.

    Rows are known by the *numbers* of their leaves. Those of a block follow one another, and are from all
    over the table: few of what one address book wants are in one block, whichever its partitions are.
    """

    slot_bits: Mapping[str, int]
    shape: RowShape
    entry_bytes: Mapping[str, int] = field(default_factory=dict)
    fold_bits: int = 0

    @classmethod
    def of(
        cls,
        directories: Mapping[str, DirectoryInfo],
        most: int,
        entry_bytes: Mapping[str, int] | None = None,
        fold_bits: int = 0,
    ) -> Self:
        """The table of the directories of an edition, by partition; its largest row has `most` values.

        `entry_bytes` of the partitions that have labels in their rows, if any. Raises BadDirectory if no such
        directories have one in blocks of 2^fold_bits.
        """
        entries = MappingProxyType(dict(entry_bytes or {}))
        remainder = {info.remainder_bits for info in directories.values()}
        good = all(MIN_SLOT_BITS <= info.slot_bits <= MAX_SLOT_BITS for info in directories.values())
        if len(remainder) != 1 or not good:
            raise bad_rows("they are of no partition, or of directories that differ", "out-of-range")
        ordered = sorted(directories.items(), key=lambda one: (-one[1].slot_bits, one[0]))
        slot_bits = MappingProxyType({name: info.slot_bits for name, info in ordered})
        multiple = {"multiple": _BLOCK_MULTIPLE} if fold_bits else {}
        shape = RowShape(remainder.pop(), most, max(entries.values(), default=0), **multiple)
        table = cls(slot_bits, shape, entries, fold_bits)
        if table.total > 1 << MAX_ROW_BITS:
            raise bad_rows(f"there are {table.total}, more than 2^{MAX_ROW_BITS}", "out-of-range")
        if not 0 <= fold_bits <= min(MAX_FOLD_BITS, table.depth):
            raise bad_rows(f"{table.total} are in no blocks of 2^{fold_bits}", "out-of-range")
        counts = {name: info.count for name, info in directories.items()}
        least = max(-(-counts[name] // table.rows(name)) for name in slot_bits)
        if not least <= most <= max(counts.values()):
            raise bad_rows(f"such directories have no rows of up to {most} values", "not-as-described")
        return table

    def rows(self, name: str) -> int:
        """How many rows a partition has."""
        return 1 << (self.slot_bits[name] - ROW_SLOT_BITS)

    @cached_property
    def first(self) -> Mapping[str, int]:
        """How many rows are before those of each partition."""
        starts, at = {}, 0
        for name in self.slot_bits:
            starts[name] = at
            at += self.rows(name)
        return MappingProxyType(starts)

    @cached_property
    def total(self) -> int:
        """How many rows there are."""
        return sum(map(self.rows, self.slot_bits))

    @property
    def blocks(self) -> int:
        """How many blocks there are: whole ones, as each partition has at least 2^MAX_FOLD_BITS rows."""
        return self.total >> self.fold_bits

    @property
    def row_bits(self) -> int:
        """The tree has 2^row_bits leaves, and batches as many places: the least that have room for all."""
        return (self.total - 1).bit_length()

    @property
    def depth(self) -> int:
        """How many hashes the path of each row has."""
        return max(0, self.row_bits - LEVEL_BITS)

    @property
    def level_nodes(self) -> int:
        """How many nodes the level has: 4,096, or all leaves where those are fewer."""
        return 1 << (self.row_bits - self.depth)

    @property
    def heading(self) -> bytes:
        """What a level begins with: the whole shape of the table.

        Without it, one root could be stated of two tables. A client would read the rows of one as those of
        the other, and fail or not by where its contacts are.
        """
        each = [
            bytes((bits, *self._labels(name), len(name))) + name.encode("ascii")
            for name, bits in self.slot_bits.items()
        ]
        fold = (self.fold_bits,) if self.fold_bits else ()
        numbers = bytes((*fold, self.shape.remainder_bits, self.shape.most))
        return self._version + numbers + len(each).to_bytes(2, "little") + b"".join(each)

    @property
    def level_bytes(self) -> int:
        """Octets of the file of the level: its heading, then the nodes."""
        return len(self.heading) + HASH_BYTES * self.level_nodes

    @property
    def width(self) -> int:
        """Octets of a record, a multiple of 8."""
        return self.shape.content_bytes + HASH_BYTES * self.depth

    @property
    def layout(self) -> RowLayout:
        """How the rows stand in a server's file."""
        path = HASH_BYTES * (self.depth - self.fold_bits)
        return RowLayout(self.row_bits, self.fold_bits, self.shape.content_bytes, path)

    @property
    def file_bytes(self) -> int:
        """Octets of that file."""
        return self.blocks * self.layout.block_bytes

    def what(self, name: str) -> bytes:
        """What the leaves of a partition are bound to, beside their numbers."""
        shape = self.shape
        widest = (shape.entry_bytes,) if self.entry_bytes or self.fold_bits else ()
        geometry = (self.slot_bits[name], *self._labels(name), shape.remainder_bits, shape.most, *widest)
        return self._version + bytes(geometry)

    @property
    def _version(self) -> bytes:
        if self.fold_bits:
            return _FOLDED
        return _LABELLED if self.entry_bytes else _WHAT

    def _labels(self, name: str) -> tuple[int, ...]:
        """What a table with labels, or in blocks, says of those of a partition."""
        return (self.entry_bytes.get(name, 0),) if self.entry_bytes or self.fold_bits else ()

    def places(self, name: str, tokens: Tokens) -> Places:
        """Where tokens of a partition are, if it has them."""
        found = Places.of(tokens, self.slot_bits[name], self.shape.remainder_bits, self.first[name])
        blocks, fold = np.uint32(self.blocks), np.uint32(self.fold_bits)
        return replace(found, row=found.row % blocks << fold | found.row // blocks)

    def partitions(self, numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Which partition each row is of, counted in the order of `slot_bits`: uint32[m] -> int64[m].

        There must be such rows.
        """
        inside = numbers & np.uint32((1 << self.fold_bits) - 1)
        row = (numbers >> np.uint32(self.fold_bits)) + inside * np.uint32(self.blocks)
        starts = np.array(list(self.first.values()), np.int64)
        return np.searchsorted(starts, row.astype(np.int64), "right") - 1


def usual_fold_bits(slot_bits: Iterable[int]) -> int:
    """In blocks of how many rows, 2 to the power of it, a publisher makes the table of such directories."""
    total = sum(1 << (bits - ROW_SLOT_BITS) for bits in slot_bits)
    return min(MAX_FOLD_BITS, max(0, total.bit_length() - 1 - _BLOCKS_BITS))


def root_of(level: bytes) -> bytes:
    """The root: the hash of the whole file of the level, by which it is named."""
    return hashlib.sha256(level).digest()


def check_level(octets: bytes, table: RowTable, root: bytes) -> Nodes:
    """The level that a client keeps for an edition, verified: uint8[level_nodes, 32]. Raises BadDirectory."""
    if len(octets) != table.level_bytes:
        raise bad_rows(f"{len(octets)} octets of hashes, not {table.level_bytes}", "wrong-length")
    if root_of(octets) != root:
        raise bad_rows("the hashes do not match the root in the manifest", "bad-hash")
    if not octets.startswith(table.heading):
        raise bad_rows("the hashes are of a table of another shape than the manifest's", "not-as-described")
    return as_nodes(octets[len(table.heading) :])


def read_records(
    records: NDArray[np.uint8], numbers: NDArray[np.uint32], level: Nodes, table: RowTable
) -> Rows:
    """The rows of an answer: all verify against the level, or none is read.

    `records` uint8[m, width]; `numbers` uint32[m], which row each must be; from `total` on there is none,
    and a record of zeros is right. The work is the same whatever the numbers and octets are: every record is
    hashed and compared before the one decision. A row that verifies and is malformed reads as a row without
    values.

    Raises BadDirectory, whichever and however many do not verify: the answer as a whole is discarded.
    """
    if records.shape != (numbers.size, table.width) or records.dtype != np.uint8:
        raise bad_rows("an answer has another size than was asked for", "wrong-length")
    content, kept = table.shape.content_bytes, level.tobytes()
    whats = [table.what(name) for name in table.slot_bits]
    absent = numbers >= table.total
    of = table.partitions(np.where(absent, np.uint32(0), numbers))
    nothing = bytes(table.width)
    wrong = 0
    for octets, number, partition, empty in zip(
        map(bytes, records), numbers.tolist(), of.tolist(), absent.tolist(), strict=True
    ):
        leaf = row_hash(whats[partition], number, octets[:content])
        at = (number >> table.depth) * HASH_BYTES
        bad = climb(leaf, number, octets[content:]) != kept[at : at + HASH_BYTES], octets != nothing
        wrong += bad[empty]
    if wrong:
        raise BadDirectory(
            "the answer of the two servers does not match what was signed, so all of it was discarded",
            hint="One of the two servers is damaged, or lies. Tell both operators; do not try again at once.",
            refusal="bad-hash",
        )
    entry_bytes = np.array([table.entry_bytes.get(name, 0) for name in table.slot_bits], np.int64)
    return parse(records[:, :content], numbers, table.shape, entry_bytes[of])
