"""Match against a directory of which only some buckets are fetched, each verified from the manifest alone.

The other side sees only which buckets are fetched. So decoys are fetched with them (`chosen`), in
numbers that do not depend on how many are wanted, and in order of their place in the file. Two lists with the
same wanted buckets among different decoys would show them: a repeated request includes the first list too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.buckets import Span
from contactsync.directory.format import (
    MAX_BUCKET_COUNT,
    PAGE_ENTRIES,
    Described,
    DirectoryInfo,
    Indexed,
    Layout,
    bad,
    bucket_bytes,
    bucket_hash,
    check_top,
    truncate,
)
from contactsync.directory.reader import check_page, check_sizes
from contactsync.tokens import Tokens

BUCKETS = 64
SEED_BYTES = 32

Fetch = Callable[[list[range]], list[bytes]]
"""fetch(places) -> exactly the bytes of the file at each of these places, which ascend."""


@dataclass(frozen=True, slots=True)
class RangeMatch:
    """What came of it; `octets` were fetched, index and all.

    In the order of the tokens: `found` bool[m], and `bucket` and `rank` int64[m], where each value is or
    would be. `counts` int64[b] is how many values each fetched bucket has, by ascending number.
    """

    found: NDArray[np.bool_]
    bucket: NDArray[np.int64]
    rank: NDArray[np.int64]
    counts: NDArray[np.int64]
    octets: int


L = TypeVar("L", bound=Indexed)


class BucketFetcher:
    """Fetches parts of a file of buckets that `info` describes, each verified; `octets` came so far.

    It fetches three times: `top`, then `pages`, then `buckets`. All raise BadDirectory if anything is not
    what the manifest says, and whatever `fetch` raises.
    """

    def __init__(self, info: Described, fetch: Fetch, name: str) -> None:
        self._info = info
        self._fetch = fetch
        self._name = name
        self.octets = 0

    def top(self, unpack: Callable[[bytes, str], L]) -> tuple[L, bytes]:
        """Header and top table: the layout, which `unpack` makes of the header, and the octets."""
        # Where they end follows from the manifest, before a byte is read.
        (top,) = self._read([range(self._info.layout.index_offset)])
        layout = unpack(top, self._name)
        check_top(layout, top, self._info, self._name)
        return layout, top

    def pages(
        self,
        layout: L,
        top: bytes,
        numbers: Iterable[int],
        check: Callable[[bytes, int, L, bytes, str], NDArray[np.void]],
    ) -> dict[int, NDArray[np.void]]:
        """The index pages of these buckets by their numbers; `check` makes a record of the octets of each."""
        pages = sorted({n // PAGE_ENTRIES for n in numbers})
        starts = [layout.index_offset + page * layout.page_bytes for page in pages]
        octets = self._read([range(start, start + layout.page_bytes) for start in starts])
        return {
            page: check(part, page, layout, top, self._name) for page, part in zip(pages, octets, strict=True)
        }

    def buckets(self, numbers: Sequence[int], places: list[range], digests: Sequence[bytes]) -> list[bytes]:
        """The buckets of these numbers, at these places, which ascend, with these hashes."""
        parts = self._read(places)
        for n, part, digest in zip(numbers, parts, digests, strict=True):
            if bucket_hash(part) != digest:
                raise bad(self._name, f"bucket {n} does not match the hash in the index", "bad-hash")
        return parts

    def _read(self, places: list[range]) -> list[bytes]:
        parts = self._fetch(places)
        for place, octets in zip(places, parts, strict=True):
            self.octets += len(octets)
            if len(octets) != len(place):
                raise bad(
                    self._name,
                    f"{len(octets)} bytes received instead of {len(place)} at {place.start}",
                    "wrong-length",
                )
        return parts


class RangeReader:
    """Reads single buckets of the directory that `info` describes, through `fetch`."""

    def __init__(self, info: DirectoryInfo, fetch: Fetch, *, name: str = "directory") -> None:
        self._info = info
        self._name = name
        self._fetcher = BucketFetcher(info, fetch, name)

    def match(self, tokens: Tokens, numbers: Collection[int]) -> RangeMatch:
        """Whether each of m tokens is in the directory, by fetching the buckets of these numbers.

        The buckets of all tokens (`buckets_of`) must be among them; `chosen` hides which they are.

        Raises BadDirectory if anything is not what the manifest says (a file replaced meanwhile, too), and
        whatever `fetch` raises.
        """
        self._fetcher.octets = 0
        layout, top = self._fetcher.top(Layout.unpack)
        span = self._span(layout, top, sorted(numbers))
        values = truncate(tokens, self._info.slot_bits, self._info.remainder_bits)
        place = np.searchsorted(span.number, values.bucket)
        rank, found = buckets.ranks(span, values, place)
        return RangeMatch(found, values.bucket, rank, span.count, self._fetcher.octets)

    def _span(self, layout: Layout, top: bytes, numbers: list[int]) -> Span:
        """Buckets, fetched, verified and checked."""
        records = self._fetcher.pages(layout, top, numbers, check_page)
        places, digests = [], []
        for n in numbers:
            record, entry = records[n // PAGE_ENTRIES], n % PAGE_ENTRIES
            places.append(range(*record["offset"][0, entry : entry + 2].tolist()))
            digests.append(record["sha256"][0, entry].tobytes())
            if len(places[-1]) > bucket_bytes(MAX_BUCKET_COUNT, layout.remainder_bits):
                raise bad(self._name, f"bucket {n} has {len(places[-1])} bytes", "malformed")
        parts = self._fetcher.buckets(numbers, places, digests)
        sizes = np.array([len(part) for part in parts], np.int64)
        words = np.frombuffer(b"".join(parts), "<u8")
        first = (np.cumsum(sizes) - sizes) // 8
        count = words.view("<u2")[4 * first].astype(np.int64)
        span = Span(words, first, np.array(numbers, np.int64), count, layout.remainder_bits)
        check_sizes(span, sizes, self._name)
        buckets.check(span, self._name)
        return span


def buckets_of(info: DirectoryInfo, tokens: Tokens) -> NDArray[np.int64]:
    """The bucket of each of m tokens, int64[m]."""
    return truncate(tokens, info.slot_bits, info.remainder_bits).bucket


def count_fetched(wanted: int, of: int, total: int = BUCKETS, asked: int = 0) -> int:
    """How many buckets are fetched when so many are wanted beside those asked for: all there are, at most.

    That is a multiple of `total` more than were asked for, and one even if none is wanted.
    """
    return min(of, asked + max(1, -(-wanted // total)) * total)


def chosen(
    wanted: Iterable[int], of: int, seed: bytes, *, total: int = BUCKETS, asked: Iterable[int] = ()
) -> list[int]:
    """The wanted buckets and their decoys, ascending: a multiple of `total` beside `asked`, or all there are.

    Decoys come from a sequence that `seed`, 32 secret bytes, decides: the leading bits of BLAKE2b of a
    counter, keyed. If a directory gets more or fewer slot bits, decoys stay where they were, like wanted
    buckets. Another question needs another seed. `asked` are the buckets of an earlier list for a question
    that was not answered: all of them are in this list too. `of` is a power of two.
    """
    if len(seed) != SEED_BYTES or total < 1:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, and at least one bucket is fetched")
    before = set(asked)
    numbers = before.union(wanted)
    many = count_fetched(len(numbers) - len(before), of, total, len(before))
    counter, shift = 0, 64 - (of.bit_length() - 1)
    while len(numbers) < many:
        digest = hashlib.blake2b(counter.to_bytes(8, "little"), key=seed, digest_size=8).digest()
        numbers.add(int.from_bytes(digest, "big") >> shift)
        counter += 1
    return sorted(numbers)


def at_width(numbers: Iterable[int], slot_bits: int, info: DirectoryInfo) -> list[int]:
    """The buckets of this directory that hold what those of one of other slot bits held."""
    more = info.slot_bits - slot_bits
    if more <= 0:
        return sorted({number >> -more for number in numbers})
    return [(number << more) + i for number in numbers for i in range(1 << more)]
