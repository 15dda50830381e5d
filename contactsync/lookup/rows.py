"""Rows: the pieces of directories that are looked up privately. docs/lookup.md, "Rows".

The content of a row. table.py says where rows stand, and how they prove themselves.

    u8        n, how many values the row has
    bits      for each of the 64 slots as many ones as it has values, then a zero; 64 + M bits, then zeros
    u32[M]    the first 32 remainder bits of the n values, in ascending order of the values, then zeros
    u8[M]     the next 8 (only with 40 remainder bits), then zeros
    u8[M][E]  only in a table with labels: the sealed label of each value, then zeros
              and zeros to a multiple of 8 octets, in blocks of 32
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import REMAINDER_BITS, truncate
from contactsync.foundation.errors import BadDirectory
from contactsync.labels import SIZES, TAG_BYTES
from contactsync.tokens import Tokens

ROW_SLOT_BITS = 6
ROW_SLOTS = 1 << ROW_SLOT_BITS
MAX_ROW_COUNT = 255  # its count is one octet; a row has 91 on average at most
ENTRY_BYTES = frozenset(TAG_BYTES + size for size in SIZES)


@dataclass(frozen=True, slots=True)
class RowShape:
    """The shape of the content of all rows of a table.

    `remainder_bits` of its directories; `most` is how many values the largest row has; `entry_bytes` of the
    longest sealed labels, 0 if no partition has any. A content takes a `multiple` of octets: 8, or 32 where
    rows stand in blocks, so that no vector of 32 of it is in two lines of a cache. Raises BadDirectory if no
    rows have such a shape.
    """

    remainder_bits: int
    most: int
    entry_bytes: int = 0
    multiple: int = 8

    def __post_init__(self) -> None:
        """Refuse what no rows can have, before anything is sized by it."""
        if self.remainder_bits not in REMAINDER_BITS or not 0 <= self.most <= MAX_ROW_COUNT:
            raise bad_rows(
                f"no rows have {self.remainder_bits} remainder bits and up to {self.most} values",
                "out-of-range",
            )
        if self.entry_bytes and self.entry_bytes not in ENTRY_BYTES:
            raise bad_rows(f"no label takes {self.entry_bytes} octets", "out-of-range")

    @property
    def bitmap_bytes(self) -> int:
        """Octets of a row's bitmap."""
        return (ROW_SLOTS + self.most + 7) // 8

    @property
    def entries_at(self) -> int:
        """Where the sealed labels begin."""
        return 1 + self.bitmap_bytes + self.most * (self.remainder_bits // 8)

    @property
    def content_bytes(self) -> int:
        """Octets of a content."""
        return -(-(self.entries_at + self.most * self.entry_bytes) // self.multiple) * self.multiple


@dataclass(frozen=True, slots=True)
class Places:
    """Where m tokens are, if a directory has them: `row` uint32[m], and in it `slot` uint8[m].

    `remainder` uint64[m] are the bits that a value there must have.
    """

    row: NDArray[np.uint32]
    slot: NDArray[np.uint8]
    remainder: NDArray[np.uint64]

    @classmethod
    def of(cls, tokens: Tokens, slot_bits: int, remainder_bits: int, first: int) -> Self:
        """Those of a directory whose row 0 is row `first` of all."""
        values = truncate(tokens, slot_bits, remainder_bits)
        remainder = values.key & np.uint64(0xFFFFFFFF)
        if remainder_bits == 40:
            remainder = remainder << np.uint64(8) | values.extra
        slot = values.key >> np.uint64(32)
        row = (slot >> np.uint64(ROW_SLOT_BITS)).astype(np.uint32) + np.uint32(first)
        return cls(row, (slot & np.uint64(ROW_SLOTS - 1)).astype(np.uint8), remainder)

    @classmethod
    def concatenate(cls, parts: Sequence[Places]) -> Self:
        """All of them, one after the other."""
        return cls(
            np.concatenate([np.empty(0, np.uint32), *(part.row for part in parts)]),
            np.concatenate([np.empty(0, np.uint8), *(part.slot for part in parts)]),
            np.concatenate([np.empty(0, np.uint64), *(part.remainder for part in parts)]),
        )

    def take(self, which: NDArray[np.int64]) -> Places:
        """Some of them, in that order."""
        return Places(self.row[which], self.slot[which], self.remainder[which])


@dataclass(frozen=True, slots=True)
class Rows:
    """What m verified rows hold, each filled up to the size of the largest.

    `number` uint32[m] which row it is; `count` int64[m], of which there are so many in front: `slot`
    uint8[m, M], within the row, and `remainder` uint64[m, M]. `entry` uint8[m, M, E] is the sealed label of
    each; E is 0 in a table without labels.
    """

    number: NDArray[np.uint32]
    count: NDArray[np.int64]
    slot: NDArray[np.uint8]
    remainder: NDArray[np.uint64]
    entry: NDArray[np.uint8]

    def take(self, places: NDArray[np.int64]) -> Rows:
        """The rows at some places, in that order and as often: those of a batch's queries."""
        return Rows(
            self.number[places],
            self.count[places],
            self.slot[places],
            self.remainder[places],
            self.entry[places],
        )

    def contains(self, wanted: Places) -> NDArray[np.bool_]:
        """Whether row i has what belongs at place i, and is the row of it: bool[m].

        A stranger's token matches as often as in the directory. Every value of every row is compared.
        """
        found: NDArray[np.bool_] = np.logical_or.reduce(self._same(wanted), axis=1)
        return found

    def entries(self, wanted: Places) -> NDArray[np.uint8]:
        """The sealed label of what belongs at place i in row i, uint8[m, E]; zeros where there is nothing.

        Every entry of every row is read.
        """
        mask = -self._same(wanted).astype(np.uint8)
        selected: NDArray[np.uint8] = np.bitwise_or.reduce(self.entry & mask[:, :, None], axis=1)
        return selected

    def _same(self, wanted: Places) -> NDArray[np.bool_]:
        """Which value of row i is the one at place i, bool[m, M]: one at most."""
        same: NDArray[np.bool_] = np.equal(self.slot, wanted.slot[:, None])
        same &= np.equal(self.remainder, wanted.remainder[:, None])
        same &= np.arange(self.slot.shape[1]) < self.count[:, None]
        same &= (self.number == wanted.row)[:, None]
        return same


def parse(
    content: NDArray[np.uint8],
    numbers: NDArray[np.uint32],
    shape: RowShape,
    entry_bytes: NDArray[np.int64],
) -> Rows:
    """The values of verified contents, uint8[m, content_bytes]. Shapes depend on `shape` alone.

    `entry_bytes` int64[m] is how long the sealed labels of each row's partition are. A malformed row, which
    only who signed the root can make, reads as a row without values.
    """
    m, most = len(content), shape.most
    count = content[:, 0].astype(np.int64)
    at = 1 + shape.bitmap_bytes
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
    if shape.remainder_bits == 40:
        remainder = remainder << np.uint64(8) | content[:, end : end + most]
        end += most
    entry = content[:, end : end + most * shape.entry_bytes].reshape(m, most, shape.entry_bytes)
    end += most * shape.entry_bytes

    there = np.arange(most) < count[:, None]
    value = np.where(there, slot.astype(np.uint64) << np.uint64(shape.remainder_bits) | remainder, 0)
    good = (count <= most) & (bits.sum(axis=1) == count)
    good &= ((slot < ROW_SLOTS) | ~there).all(axis=1)
    good &= ((value[:, 1:] > value[:, :-1]) | ~there[:, 1:]).all(axis=1)
    good &= ((remainder == 0) | there).all(axis=1) & (content[:, end:] == 0).all(axis=1)
    sealed = there[:, :, None] & (np.arange(shape.entry_bytes) < entry_bytes[:, None, None])
    good &= ((entry == 0) | sealed).all(axis=(1, 2))
    count = np.where(good, count, 0)
    return Rows(numbers, count, slot.astype(np.uint8), remainder, entry)


def bad_rows(what: str, refusal: str) -> BadDirectory:
    """The error for rows that are not what a manifest says, or that nobody can have made."""
    return BadDirectory(
        f"rows: {what}",
        hint="Fetch the manifest again. If that does not help, the publisher must publish it again.",
        refusal=refusal,
    )
