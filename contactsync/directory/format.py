"""The bytes of a directory file: header, sizes, limits. docs/directory-format.md is the text this follows.

A directory is a sorted set of t-bit values, t = slot_bits + remainder_bits: the leading bits of tokens. The
first slot_bits name a slot, 4096 slots make a bucket, and a bucket stores per slot how many values it has
(unary) and their remainders (Elias 1974, Fano 1971: quasi-succinct sorted sets).
"""

from __future__ import annotations

import abc
import hashlib
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadDirectory
from contactsync.tokens import Tokens

MAGIC = b"CSDIR\r\n\x1a"
VERSION = 2
BUCKET_SLOT_BITS = 12
BUCKET_SLOTS = 1 << BUCKET_SLOT_BITS
RANK_BYTES = 32  # u16[16]: the count, then the ranks of blocks 1 to 15 of 256 slots
MAX_BUCKET_COUNT = 0xFFFF
MIN_SLOT_BITS = BUCKET_SLOT_BITS
MAX_SLOT_BITS = 32  # so that the slot and 32 remainder bits fit one uint64
REMAINDER_BITS = (32, 40)
PAGE_ENTRIES = 256
PAGE_HASH_BYTES = 32
BUCKET_HASH_BYTES = 32
HEADER = struct.Struct("<8sHBBIQQQQQQ")
HEADER_BYTES = HEADER.size  # 64


@dataclass(frozen=True, slots=True)
class DataFile:
    """What a manifest says about a file: `sha256` (64 hex digits) names it, `length` is in bytes.

    `xxh3_64` (16 hex digits) finds damage fast; it proves nothing against whoever chose the bytes.
    """

    sha256: str
    length: int
    xxh3_64: str


@dataclass(frozen=True, slots=True)
class DirectoryInfo:
    """What a manifest says about one directory file; enough to reject any other file.

    `count` values of `slot_bits` + `remainder_bits` bits; `top_sha256` (hex) of its header and top table,
    from which single buckets are verified; `file` is the whole of it.
    """

    count: int
    slot_bits: int
    remainder_bits: int
    top_sha256: str
    file: DataFile

    @property
    def layout(self) -> Layout:
        """Where the sections of the file must be."""
        return Layout(self.count, self.slot_bits, self.remainder_bits, self.file.length)

    @property
    def false_positive_rate(self) -> float:
        """The probability that a random other identifier matches: count / 2^(slot_bits + remainder_bits)."""
        return self.count / 2.0 ** (self.slot_bits + self.remainder_bits)

    @property
    def widths(self) -> tuple[int, int]:
        """Slot bits and remainder bits: what a delta must have to lead on from it."""
        return self.slot_bits, self.remainder_bits

    @property
    def bits_per_token(self) -> float:
        """Size of the whole file over its count, in bits."""
        return self.file.length * 8 / max(1, self.count)


@dataclass(frozen=True, slots=True)
class Values:
    """n truncated tokens: `key` uint64[n] = the first slot_bits + 32 bits, `extra` uint8[n] = the next 8.

    With 32 remainder bits `extra` is all zeros, so that (key, extra) orders and compares values at any width.
    """

    key: NDArray[np.uint64]
    extra: NDArray[np.uint8]

    def __len__(self) -> int:
        return int(self.key.size)

    @property
    def bucket(self) -> NDArray[np.int64]:
        """The number of each one's bucket, int64[n]: all but 12 of the slot bits."""
        return (self.key >> np.uint64(32 + BUCKET_SLOT_BITS)).astype(np.int64)


class Indexed(abc.ABC):
    """A file of buckets: a header, a top table of the hashes of index pages, these pages, and the buckets.

    A manifest hashes header and top table, these the pages, and the pages the buckets. So single buckets can
    be fetched and verified.
    """

    __slots__ = ()

    if TYPE_CHECKING:  # at run time they would be taken for the defaults of the fields of these names

        @property
        def slot_bits(self) -> int:
            """Of the directory."""

        @property
        def length(self) -> int:
            """Of the whole file."""

    @property
    def buckets(self) -> int:
        """How many buckets: 2^(slot_bits - 12)."""
        return 1 << (self.slot_bits - BUCKET_SLOT_BITS)

    @property
    def pages(self) -> int:
        """How many index pages."""
        return -(-self.buckets // PAGE_ENTRIES)

    @property
    def page_buckets(self) -> int:
        """Buckets of every index page (they are a power of two, so no page is shorter than another)."""
        return min(self.buckets, PAGE_ENTRIES)

    @property
    @abc.abstractmethod
    def page_bytes(self) -> int:
        """Size of every index page."""

    @property
    @abc.abstractmethod
    def page_dtype(self) -> np.dtype[np.void]:
        """One index page as a NumPy record, whose field `sha256` has the hash of each bucket."""

    @property
    def index_offset(self) -> int:
        """First byte of the first index page; header and top table end here."""
        return HEADER_BYTES + PAGE_HASH_BYTES * self.pages

    @property
    def data_offset(self) -> int:
        """First byte of the first bucket."""
        return self.index_offset + self.page_bytes * self.pages

    def cost_of(self, buckets: int) -> int:
        """About how many octets it takes to fetch this many buckets, or all, with what verifies them."""
        fetched = min(buckets, self.buckets)
        data = (self.length - self.data_offset) * fetched // self.buckets
        return self.index_offset + self.page_bytes * min(fetched, self.pages) + data


@dataclass(frozen=True, slots=True)
class Layout(Indexed):
    """Where the sections of a directory file lie: all of it follows from these four fields."""

    count: int
    slot_bits: int
    remainder_bits: int
    length: int

    @property
    def page_bytes(self) -> int:
        """Size of every index page: one offset more than buckets, then of each a fast check and a hash."""
        return 8 * (self.page_buckets + 1) + (8 + BUCKET_HASH_BYTES) * self.page_buckets

    @property
    def page_dtype(self) -> np.dtype[np.void]:
        """See `Indexed.page_dtype`; `offset` is where each bucket begins, and `xxh3` its fast check."""
        k = self.page_buckets
        return np.dtype(
            [("offset", "<u8", k + 1), ("xxh3", "<u8", k), ("sha256", "u1", (k, BUCKET_HASH_BYTES))]
        )

    def pack(self) -> bytes:
        """The 64 bytes of the header."""
        return HEADER.pack(
            MAGIC, VERSION, self.slot_bits, self.remainder_bits, BUCKET_SLOTS, self.count, self.buckets,
            self.pages, self.index_offset, self.data_offset, self.length,
        )  # fmt: skip

    @classmethod
    def unpack(cls, header: bytes, name: str) -> Layout:
        """Parse and check a header; `name` is what an error calls the file.

        Raises BadDirectory.
        """
        check_version(header, MAGIC, VERSION, name, "directory")
        if len(header) < HEADER_BYTES:
            raise bad(name, f"{len(header)} bytes are too few for a directory header", "wrong-length")
        _, _, slot_bits, remainder_bits, _, count, _, _, _, _, length = HEADER.unpack_from(header)
        layout = cls(count, slot_bits, remainder_bits, length)
        if problem := layout.problem():
            raise bad(name, *problem)
        # Everything else in the header is determined; one comparison checks that the counts add up.
        if layout.pack() != header[:HEADER_BYTES]:
            raise bad(name, "the sections that the header states do not add up", "malformed")
        return layout

    @property
    def lengths(self) -> range:
        """Every length that a file with these counts and bits can have; multiples of 8.

        Bitmap and remainders of each bucket are filled up to 8 octets, and how much that is depends on how
        the values spread. The least is always possible, the most where values and buckets suit each other;
        with one bucket they are one.
        """
        width = self.remainder_bits // 8
        fixed = self.data_offset + self.buckets * bucket_bytes(0, self.remainder_bits)
        least = -(-self.count // 64) + -(-self.count * width // 8)
        lost = 8 - math.gcd(8, width)  # octets at most, of the remainders of one bucket
        most = (self.count + 63 * self.buckets) // 64 + (self.count * width + lost * self.buckets) // 8
        return range(fixed + 8 * least, fixed + 8 * most + 1, 8)

    def problem(self) -> tuple[str, str] | None:
        """Why no file can have these figures, and the refusal's word; None if one can."""
        q, r = self.slot_bits, self.remainder_bits
        if not MIN_SLOT_BITS <= q <= MAX_SLOT_BITS or r not in REMAINDER_BITS:
            return f"{q} slot and {r} remainder bits are out of range", "out-of-range"
        if self.count > max_count(q):  # a directory of (nearly) all values matches everybody
            return f"{self.count} tokens are too many for {q} slot bits", "too-full"
        if self.length not in self.lengths:
            return f"{self.count} tokens do not make {self.length} bytes", "out-of-range"
        return None


def bad(name: str, what: str, refusal: str) -> BadDirectory:
    """The error for a file that is not what it should be; `refusal` is the vectors' word for it."""
    return BadDirectory(
        f"{name}: {what}",
        hint="Fetch the file again. If that does not help, the publisher must publish it again.",
        refusal=refusal,
    )


class Described(Protocol):
    """What a manifest says about a file of buckets."""

    @property
    def top_sha256(self) -> str:
        """Of header and top table, as hex."""

    @property
    def layout(self) -> Indexed:
        """Where the sections of the file must be."""


def check_top(layout: Indexed, top: bytes, expect: Described, name: str) -> None:
    """Check header and top table against the manifest. Raises BadDirectory."""
    if layout != expect.layout:
        raise bad(name, "its header does not match the manifest", "not-as-described")
    if hashlib.sha256(top).hexdigest() != expect.top_sha256:
        raise bad(name, "its top table does not match the manifest", "bad-hash")


def page_record(page: bytes, number: int, layout: Indexed, top: bytes, name: str) -> NDArray[np.void]:
    """An index page, verified against the top table, as a record. Raises BadDirectory."""
    at = HEADER_BYTES + PAGE_HASH_BYTES * number
    if hashlib.sha256(page).digest() != top[at : at + PAGE_HASH_BYTES]:
        raise bad(name, f"index page {number} does not match the hash in the top table", "bad-hash")
    return np.frombuffer(page, layout.page_dtype)


def check_version(data: bytes | memoryview, magic: bytes, version: int, name: str, kind: str) -> None:
    """Check that a file begins with the magic of its kind (8 bytes), then the version that is known (u16).

    This comes before everything else: a newer version may have another length, header and meaning.

    Raises BadDirectory: no such file, or of a version that this program does not know.
    """
    if len(data) < len(magic) + 2:
        raise bad(name, f"{len(data)} bytes are too few for a {kind}", "wrong-length")
    if data[: len(magic)] != magic:
        raise bad(name, f"not a contactsync {kind} (wrong magic)", "wrong-kind")
    (found,) = struct.unpack_from("<H", data, len(magic))
    if found != version:
        newer = "Update contactsync: the publisher uses a newer version."
        older = "The publisher must update contactsync and publish again."
        raise BadDirectory(
            f"{name}: {kind} format {found}; this program only reads format {version}",
            hint=newer if found > version else older,
            refusal="unknown-version",
        )


def slot_bits_for(count: int) -> int:
    """The slot bits of a directory of `count` values: log2(count) rounded, at least 12.

    In integers: the least q >= 12 with count^2 <= 2^(2q+1).
    """
    q = MIN_SLOT_BITS
    while count * count > 1 << (2 * q + 1):
        q += 1
    return q


def max_count(slot_bits: int) -> int:
    """The most values that a directory of so many slot bits may hold: two a slot on average."""
    return 2 << slot_bits


def bucket_words(count: int) -> int:
    """How many 64-bit words the unary bitmap of a bucket of `count` values has."""
    return (count + BUCKET_SLOTS + 63) // 64


def bucket_bytes(count: int, remainder_bits: int) -> int:
    """The size of a bucket of `count` values, a multiple of 8."""
    return RANK_BYTES + 8 * bucket_words(count) + (count * (remainder_bits // 8) + 7) // 8 * 8


def truncate(tokens: Tokens, slot_bits: int, remainder_bits: int) -> Values:
    """The values of tokens at a directory's width. O(n)."""
    key = tokens.head >> np.uint64(32 - slot_bits)
    if remainder_bits == 32:
        return Values(key, np.zeros(len(tokens), np.uint8))
    if slot_bits <= 24:  # all in the head
        return Values(key, (tokens.head >> np.uint64(24 - slot_bits)).astype(np.uint8))
    # Bits [slot_bits + 32, slot_bits + 40) of the 80: `low` is the last 64 of them.
    low = (tokens.head << np.uint64(16)) | tokens.tail
    return Values(key, (low >> np.uint64(40 - slot_bits)).astype(np.uint8))


def bucket_hash(bucket: bytes | memoryview) -> bytes:
    """What an index page keeps of a bucket to verify it: its SHA-256."""
    return hashlib.sha256(bucket).digest()
