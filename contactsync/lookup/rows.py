"""Rows: the pieces of a directory that are looked up privately. docs/lookup.md, "Rows".

A record is what a server keeps and answers with: a row's content, then its Merkle path.

    u8        n, how many values the row has
    bits      for each of the 64 slots as many ones as it has values, then a zero; 64 + M bits, then zeros
    u32[M]    the first 32 remainder bits of the n values, in ascending order of the values, then zeros
    u8[M]     the next 8 (only with 40 remainder bits), then zeros to a multiple of 8 octets
    hash[d]   the path, below the level that every client has
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import (
    MAX_SLOT_BITS,
    MIN_SLOT_BITS,
    REMAINDER_BITS,
    DirectoryInfo,
    truncate,
)
from contactsync.foundation.errors import BadDirectory
from contactsync.foundation.hash_trees import HASH_BYTES
from contactsync.lookup.merkle import LEVEL_BITS, Nodes, as_nodes, climb, root_of, row_hash
from contactsync.tokens import Tokens

ROW_SLOT_BITS = 6
ROW_SLOTS = 1 << ROW_SLOT_BITS
MAX_ROW_COUNT = 255  # its count is one octet; a row has 91 on average at most
_WHAT = b"CSROWS\x01"  # and the version


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of all rows of a directory, as a manifest will state it.

    `slot_bits` and `remainder_bits` of the directory; `most` is how many values its largest row has.
    Raises BadDirectory if no rows have such a shape.
    """

    slot_bits: int
    remainder_bits: int
    most: int

    def __post_init__(self) -> None:
        """Refuse what no rows can have, before anything is sized by it."""
        good = MIN_SLOT_BITS <= self.slot_bits <= MAX_SLOT_BITS and self.remainder_bits in REMAINDER_BITS
        if not (good and 0 <= self.most <= MAX_ROW_COUNT):
            raise _bad(
                f"no rows have {self.slot_bits} slot bits, {self.remainder_bits} remainder bits and up to "
                f"{self.most} values",
                "out-of-range",
            )

    @property
    def rows(self) -> int:
        """How many rows: 2^(slot_bits - 6)."""
        return 1 << (self.slot_bits - ROW_SLOT_BITS)

    @property
    def depth(self) -> int:
        """How many hashes the path of each row has."""
        return max(0, self.slot_bits - ROW_SLOT_BITS - LEVEL_BITS)

    @property
    def level_nodes(self) -> int:
        """How many nodes the level has: 4,096, or all leaves where those are fewer."""
        return self.rows >> self.depth

    @property
    def bitmap_bytes(self) -> int:
        """Octets of a row's bitmap."""
        return (ROW_SLOTS + self.most + 7) // 8

    @property
    def content_bytes(self) -> int:
        """Octets of a record before its path, a multiple of 8."""
        return (1 + self.bitmap_bytes + self.most * (self.remainder_bits // 8) + 7) // 8 * 8

    @property
    def width(self) -> int:
        """Octets of a record, a multiple of 8."""
        return self.content_bytes + HASH_BYTES * self.depth

    @property
    def what(self) -> bytes:
        """What the leaves of such rows are bound to, beside their numbers."""
        return _WHAT + bytes((self.slot_bits, self.remainder_bits, self.most))

    def check(self, info: DirectoryInfo) -> None:
        """Check that a directory can have such rows. Raises BadDirectory."""
        if (self.slot_bits, self.remainder_bits) != (info.slot_bits, info.remainder_bits):
            raise _bad("their slot and remainder bits are not those of the directory", "not-as-described")
        if not -(-info.count // self.rows) <= self.most <= info.count:
            raise _bad(
                f"{info.count} values do not make rows of up to {self.most} values", "not-as-described"
            )

    def row_of(self, tokens: Tokens) -> NDArray[np.uint32]:
        """The number of the row that has each token, if the directory has it: uint32[n]."""
        return (tokens.head >> np.uint64(64 - self.slot_bits + ROW_SLOT_BITS)).astype(np.uint32)


@dataclass(frozen=True, slots=True)
class Rows:
    """What m verified rows hold, each filled up to the size of the largest.

    `number` uint32[m] which row it is; `count` int64[m], of which there are so many in front: `slot`
    uint8[m, M], within the row, and `remainder` uint64[m, M].
    """

    geometry: Geometry
    number: NDArray[np.uint32]
    count: NDArray[np.int64]
    slot: NDArray[np.uint8]
    remainder: NDArray[np.uint64]

    def take(self, places: NDArray[np.int64]) -> Rows:
        """The rows at some places, in that order and as often: those of a batch's queries."""
        parts = (self.number[places], self.count[places], self.slot[places], self.remainder[places])
        return Rows(self.geometry, *parts)

    def contains(self, tokens: Tokens) -> NDArray[np.bool_]:
        """Whether row i has token i, which belongs there (`Geometry.row_of`): bool[m].

        A stranger's token matches as often as in the directory. Every place of every row is compared.
        """
        q, r = self.geometry.slot_bits, self.geometry.remainder_bits
        values = truncate(tokens, q, r)
        wanted = values.key & np.uint64(0xFFFFFFFF)
        if r == 40:
            wanted = wanted << np.uint64(8) | values.extra
        slot = (values.key >> np.uint64(32) & np.uint64(ROW_SLOTS - 1)).astype(np.uint8)
        same = (self.slot == slot[:, None]) & (self.remainder == wanted[:, None])
        same &= np.arange(self.geometry.most) < self.count[:, None]
        found: NDArray[np.bool_] = same.any(axis=1) & (self.number == self.geometry.row_of(tokens))
        return found

    def values(self, place: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The slots, within the directory, and remainders of one of the rows, ascending: uint64[n] both."""
        n = int(self.count[place])
        first = np.uint64(int(self.number[place]) << ROW_SLOT_BITS)
        return first + self.slot[place, :n].astype(np.uint64), self.remainder[place, :n]


def check_level(octets: bytes, geometry: Geometry, root: bytes) -> Nodes:
    """The level that a client keeps for an edition, verified: uint8[level_nodes, 32]. Raises BadDirectory."""
    if len(octets) != geometry.level_nodes * HASH_BYTES:
        raise _bad(f"{len(octets)} octets of hashes, not {geometry.level_nodes * HASH_BYTES}", "wrong-length")
    level = as_nodes(octets)
    if root_of(level) != root:
        raise _bad("the hashes do not match the root in the manifest", "bad-hash")
    return level


def read_rows(
    records: NDArray[np.uint8], numbers: NDArray[np.uint32], level: Nodes, geometry: Geometry
) -> Rows:
    """The rows of an answer: all verify against the level, or none is read.

    `records` uint8[m, width]; `numbers` uint32[m], which row each must be. The work is the same whatever the
    numbers and octets are: every record is hashed and compared before the one decision. A row that verifies
    and is malformed, which only who signed the root can make, reads as a row without values.

    Raises BadDirectory, whichever and however many do not verify: the answer as a whole is discarded.
    """
    if records.shape != (numbers.size, geometry.width) or records.dtype != np.uint8:
        raise _bad("an answer has another size than was asked for", "wrong-length")
    content = geometry.content_bytes
    kept = level.tobytes()
    wrong = 0
    for octets, number in zip(map(bytes, records), numbers.tolist(), strict=True):
        leaf = row_hash(geometry.what, number, octets[:content])
        at = (number >> geometry.depth) * HASH_BYTES
        wrong += climb(leaf, number, octets[content:]) != kept[at : at + HASH_BYTES]
    if wrong:
        raise BadDirectory(
            "the answer of the two servers does not match what was signed, so all of it was discarded",
            hint="One of the two servers is damaged, or lies. Tell both operators; do not try again at once.",
            refusal="bad-hash",
        )
    return _parse(records[:, :content], numbers, geometry)


def _parse(content: NDArray[np.uint8], numbers: NDArray[np.uint32], geometry: Geometry) -> Rows:
    """The values of verified rows. Shapes depend on the geometry alone."""
    m, most = len(content), geometry.most
    count = content[:, 0].astype(np.int64)
    at = 1 + geometry.bitmap_bytes
    bits = np.unpackbits(content[:, 1:at], axis=1, bitorder="little").astype(np.bool_)
    # The j-th one, at bit p, is value j in slot p - j. Zeros, and ones beyond the most, go to a spare place.
    rank = np.cumsum(bits, axis=1)
    place = np.where(bits & (rank <= most), rank - 1, most)
    slots = np.zeros((m, most + 1), np.int64)
    np.put_along_axis(slots, place, np.arange(bits.shape[1]) - place, axis=1)
    slot = slots[:, :most]

    low = np.ascontiguousarray(content[:, at : at + 4 * most]).view("<u4").reshape(m, most)
    remainder = low.astype(np.uint64)
    end = at + 4 * most
    if geometry.remainder_bits == 40:
        remainder = remainder << np.uint64(8) | content[:, end : end + most]
        end += most

    there = np.arange(most) < count[:, None]
    value = np.where(there, slot.astype(np.uint64) << np.uint64(geometry.remainder_bits) | remainder, 0)
    good = (count <= most) & (bits.sum(axis=1) == count)
    good &= ((slot < ROW_SLOTS) | ~there).all(axis=1)
    good &= ((value[:, 1:] > value[:, :-1]) | ~there[:, 1:]).all(axis=1)
    good &= ((remainder == 0) | there).all(axis=1) & (content[:, end:] == 0).all(axis=1)
    count = np.where(good, count, 0)
    return Rows(geometry, numbers, count, slot.astype(np.uint8), remainder)


def _bad(what: str, refusal: str) -> BadDirectory:
    return BadDirectory(
        f"rows: {what}",
        hint="Fetch the manifest again. If that does not help, the publisher must publish it again.",
        refusal=refusal,
    )
