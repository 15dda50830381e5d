"""The bytes of a sidecar: one sealed label for each value of a directory, in their order and in its buckets.

labels.py seals and opens entries. docs/directory-format.md ("The sidecar") is the text this follows.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import (
    BUCKET_HASH_BYTES,
    HEADER_BYTES,
    MAX_BUCKET_COUNT,
    MAX_SLOT_BITS,
    MIN_SLOT_BITS,
    DataFile,
    Indexed,
    bad,
    check_version,
    max_count,
    page_record,
)
from contactsync.labels import SIZES, TAG_BYTES

MAGIC: Final = b"CSLBL\r\n\x1a"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sHBBIQQQQQQ")
MOST_ENTRIES: Final = (1 << 32) - 1
"""Places are stated in 32 bits: a directory of more values has no sidecar."""


@dataclass(frozen=True, slots=True)
class SidecarInfo:
    """What a manifest says about one sidecar; enough to reject any other file.

    `count` entries of 16 + `size` octets, for a directory of `slot_bits`; `top_sha256` (hex) of its header
    and top table, from which single buckets are verified; `file` is the whole of it.
    """

    count: int
    size: int
    slot_bits: int
    top_sha256: str
    file: DataFile

    @property
    def layout(self) -> SidecarLayout:
        """Where the sections of the file must be."""
        return SidecarLayout(self.count, self.size, self.slot_bits)


@dataclass(frozen=True, slots=True)
class SidecarLayout(Indexed):
    """Where the sections of a sidecar lie: all of it follows from these three figures."""

    count: int
    size: int
    slot_bits: int

    @property
    def entry_bytes(self) -> int:
        """Octets of an entry: its tag and a label filled up."""
        return TAG_BYTES + self.size

    @property
    def page_bytes(self) -> int:
        """Size of every index page: where its buckets begin and end, and a hash for each."""
        return 4 * (self.page_buckets + 1) + BUCKET_HASH_BYTES * self.page_buckets

    @property
    def page_dtype(self) -> np.dtype[np.void]:
        """See `Indexed.page_dtype`; `first` is the number of the first entry of each bucket."""
        k = self.page_buckets
        return np.dtype([("first", "<u4", k + 1), ("sha256", "u1", (k, BUCKET_HASH_BYTES))])

    @property
    def length(self) -> int:
        """The length of the file."""
        return self.data_offset + self.count * self.entry_bytes

    def pack(self) -> bytes:
        """The 64 bytes of the header."""
        return HEADER.pack(
            MAGIC, VERSION, self.slot_bits, self.size, 0, self.count, self.buckets,
            self.pages, self.index_offset, self.data_offset, self.length,
        )  # fmt: skip

    @classmethod
    def unpack(cls, header: bytes, name: str) -> SidecarLayout:
        """Parse and check a header; `name` is what an error calls the file. Raises BadDirectory."""
        check_version(header, MAGIC, VERSION, name, "sidecar")
        if len(header) < HEADER_BYTES:
            raise bad(name, f"{len(header)} bytes are too few for the header of a sidecar", "wrong-length")
        _, _, slot_bits, size, _, count, *_ = HEADER.unpack_from(header)
        layout = cls(count, size, slot_bits)
        if problem := layout.problem():
            raise bad(name, *problem)
        if layout.pack() != header[:HEADER_BYTES]:
            raise bad(name, "the sections that the header states do not add up", "malformed")
        return layout

    def problem(self) -> tuple[str, str] | None:
        """Why no file can have these figures, and the refusal's word; None if one can."""
        if not MIN_SLOT_BITS <= self.slot_bits <= MAX_SLOT_BITS:
            return f"{self.slot_bits} slot bits are out of range", "out-of-range"
        if self.size not in SIZES:
            return f"labels of {self.size} octets are out of range", "out-of-range"
        if self.count > min(max_count(self.slot_bits), MOST_ENTRIES):
            return f"{self.count} entries are too many for {self.slot_bits} slot bits", "too-full"
        return None


def check_page(page: bytes, number: int, layout: SidecarLayout, top: bytes, name: str) -> NDArray[np.void]:
    """One index page, verified against the top table: a record of `SidecarLayout.page_dtype`.

    Raises BadDirectory: wrong hash; buckets that fall, leave the file or hold more than a bucket can.
    """
    record = page_record(page, number, layout, top, name)
    first = record["first"][0].astype(np.int64)
    sizes = np.diff(first)
    if int(sizes.min()) < 0 or int(sizes.max()) > MAX_BUCKET_COUNT or int(first[-1]) > layout.count:
        raise bad(name, f"the buckets of index page {number} are out of order", "malformed")
    return record
