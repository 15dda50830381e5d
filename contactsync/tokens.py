"""Output to token: the leading bits of an RFC 9497 output, which directories store and matching compares.

A directory of N tokens keeps q + r bits of each (docs/directory-format.md), at most 30 + 40. So 80 bits of an
output are kept in memory: a 64-bit head and a 16-bit tail, both big-endian. Sorting by (head, tail) sorts by
output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput

TOKEN_BYTES = 10

_RECORD = np.dtype([("head", ">u8"), ("tail", ">u2")])  # packed; a third of the time of slices of bytes


@dataclass(frozen=True, slots=True)
class Tokens:
    """n tokens: `head` uint64[n] is the first 64 bits, `tail` uint16[n] the next 16 (big-endian values)."""

    head: NDArray[np.uint64]
    tail: NDArray[np.uint16]

    @classmethod
    def from_outputs(cls, outputs: NDArray[np.uint8]) -> Tokens:
        """The tokens of outputs, uint8[n, 64] (any width of at least 10 is accepted). Raises BadInput."""
        return cls.from_bytes(np.ascontiguousarray(outputs[:, :TOKEN_BYTES]))

    @classmethod
    def from_bytes(cls, rows: NDArray[np.uint8]) -> Tokens:
        """The inverse of `to_bytes`: uint8[n, 10]. Raises BadInput where rows are shorter."""
        if rows.shape[1] < TOKEN_BYTES:
            raise BadInput(
                f"a token is made of {TOKEN_BYTES} octets, and {rows.shape[1]} are there",
                hint="report this: it should not happen",
                refusal="wrong-length",
            )
        records = np.ascontiguousarray(rows[:, :TOKEN_BYTES]).view(_RECORD).reshape(-1)
        return cls(records["head"].astype(np.uint64), records["tail"].astype(np.uint16))

    @classmethod
    def concatenate(cls, parts: Sequence[Tokens]) -> Tokens:
        """All parts in one, in order."""
        if not parts:
            return cls(np.empty(0, np.uint64), np.empty(0, np.uint16))
        return cls(np.concatenate([p.head for p in parts]), np.concatenate([p.tail for p in parts]))

    def to_bytes(self) -> NDArray[np.uint8]:
        """uint8[n, 10]: the first ten bytes of each output."""
        records = np.empty(len(self), _RECORD)
        records["head"], records["tail"] = self.head, self.tail
        return records.view(np.uint8).reshape(-1, TOKEN_BYTES)

    def take(self, which: NDArray[np.bool_] | NDArray[np.integer]) -> Tokens:
        """The tokens that a mask or an index array selects."""
        return Tokens(self.head[which], self.tail[which])

    def __len__(self) -> int:
        return int(self.head.size)
