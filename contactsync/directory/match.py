"""Which tokens are in a directory: one question, four ways to answer it, one answer bit for bit.

| way | when | cost a token |
|---|---|---|
| `numpy_lookup` | the work is less than starting Numba would cost | 0.55 µs |
| `kernel_lookup` | few tokens against the directory (m < N/6): each one is looked up on the file | 30 ns |
| `grouped` | many: group by leading bits, then unpack each part of the directory once | 15–19 ns |
| `joined` | many, and they come sorted: decode 4 buckets at a time, merge in four streams | 2.5 ns of m + N |

(One thread, N = 10^7; docs/performance.md.) Grouping beats sorting the client and joining: it moves each
token once, and the way back goes through the same groups again, so no index travels along.
"""

from __future__ import annotations

import enum
import functools
import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.buckets import Span
from contactsync.directory.format import BUCKET_SLOT_BITS, BUCKET_SLOTS, bad
from contactsync.directory.pace import kernels_pay
from contactsync.directory.reader import Directory
from contactsync.tokens import Tokens

logger = logging.getLogger(__name__)

NUMPY_SECONDS = 0.55e-6  # a lookup without kernels
SPARSE = 6  # at N/6 tokens, a lookup each and unpacking every bucket cost the same
AT_ONCE = 1 << 15  # lookups whose NumPy temporaries stay in the cache
JOINED_BUCKETS = 4
JOINED_AT_ONCE = 1 << 16  # tokens
WORTH_GROUPING = 1 << 14  # lookups
PART_BUCKETS_BITS = 4  # of one part: their table of slots is 256 KiB
PART_BITS = (9, 12)  # the fewest and most leading bits to group by
MIN_CHUNK = 1 << 20  # tokens grouped at a time; or N of them, as each chunk unpacks every bucket again
WIDE_ALONE = 24  # slot bits up to which a value of 40 remainder bits is one uint64, and all of it in the head

Mask = NDArray[np.bool_]


class Way(enum.Enum):
    """How a match is made; `value` is what --verbose prints."""

    NUMPY_LOOKUP = "lookups by NumPy"
    KERNEL_LOOKUP = "lookups by kernel"
    GROUPED = "grouped, by kernel"
    JOINED = "sorted join, by kernel"


def match(tokens: Tokens, directory: Directory, *, threads: int = 1) -> Mask:
    """Whether each of m tokens is in the directory of N: bool[m], in the order of the tokens.

    Tokens may come in any order and more than once. A token that is not a member's matches with the
    probability `directory.false_positive_rate`. O(m) for m < N/6, else O(m + N); 10 bytes of memory a token,
    and no more than 10 N a thread beside the answer. `threads` share the tokens. The way goes to the log,
    level INFO. Raises BadDirectory if the values of a bucket are found to be out of order.
    """
    way = choose(tokens, directory)
    logger.info("match: %d tokens against %d: %s", len(tokens), directory.count, way.value)
    answer = functools.partial(_WAYS[way], directory=directory)
    if threads < 2 or len(tokens) < 2 * threads:
        return answer(tokens)
    edges = np.linspace(0, len(tokens), threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        parts = [Tokens(tokens.head[a:b], tokens.tail[a:b]) for a, b in itertools.pairwise(edges)]
        return np.concatenate(list(pool.map(answer, parts)))


def choose(tokens: Tokens, directory: Directory) -> Way:
    """The fastest way for this many tokens in this process."""
    if not kernels_pay(len(tokens) * NUMPY_SECONDS):
        return Way.NUMPY_LOOKUP
    if len(tokens) * SPARSE < directory.count:
        return Way.KERNEL_LOOKUP
    from contactsync.kernels import sorting  # noqa: PLC0415 - loads Numba

    # The head decides here: `joined` sees to the rest.
    return Way.JOINED if sorting.ascending(tokens.head) else Way.GROUPED


def numpy_lookup(tokens: Tokens, directory: Directory) -> Mask:
    """Look each token up, in NumPy."""
    found = np.empty(len(tokens), np.bool_)
    for a in range(0, len(tokens), AT_ONCE):
        some = directory.truncate(Tokens(tokens.head[a : a + AT_ONCE], tokens.tail[a : a + AT_ONCE]))
        found[a : a + AT_ONCE] = buckets.lookup(directory.span, some, some.bucket)
    return found


def kernel_lookup(tokens: Tokens, directory: Directory) -> Mask:
    """Look each token up, by a kernel; many are grouped first, so that neighbours meet the same pages."""
    from contactsync.kernels import elias_fano  # noqa: PLC0415 - loads Numba

    def answer(span: Span, codes: NDArray[np.uint64], offsets: NDArray[np.int64], found: Mask) -> None:
        elias_fano.lookup(*span.views(), span.start, span.count, span.wide, codes, offsets, found)

    if len(tokens) >= WORTH_GROUPING or (directory.span.wide and directory.info.slot_bits > WIDE_ALONE):
        return _by_groups(tokens, directory, min(_bucket_bits(directory), PART_BITS[0]), answer)
    values = directory.truncate(tokens)
    codes = (values.key << np.uint64(8)) | values.extra if directory.span.wide else values.key
    found = np.empty(len(tokens), np.bool_)
    answer(directory.span, codes, np.array([0, len(tokens)]), found)
    return found


def grouped(tokens: Tokens, directory: Directory) -> Mask:
    """Group the tokens by their leading bits, and look each group up in an unpacked part of the directory."""
    from contactsync.kernels import elias_fano  # noqa: PLC0415 - loads Numba

    # A few buckets a part: their table stays in the cache. But not too many parts to write to at once.
    bucket_bits = _bucket_bits(directory)
    bits = min(bucket_bits, max(PART_BITS[0], min(PART_BITS[1], bucket_bits - PART_BUCKETS_BITS)))
    buckets_of_part = directory.span.start.size >> bits
    begin = np.empty((BUCKET_SLOTS + 1) * buckets_of_part + elias_fano.BEGIN_SLACK, np.int32)

    def answer(span: Span, codes: NDArray[np.uint64], offsets: NDArray[np.int64], found: Mask) -> None:
        elias_fano.probe(*span.views(), span.start, span.count, span.wide, codes, offsets, begin, found)

    return _by_groups(tokens, directory, bits, answer)


def _bucket_bits(directory: Directory) -> int:
    """How many leading bits name a bucket."""
    return directory.info.slot_bits - BUCKET_SLOT_BITS


def _by_groups(
    tokens: Tokens,
    directory: Directory,
    bits: int,
    answer: Callable[[Span, NDArray[np.uint64], NDArray[np.int64], Mask], None],
) -> Mask:
    """Group tokens by their first bits, have each group answered, and put the answers back in order.

    A chunk at a time, so that memory does not grow with the tokens without bound.
    """
    from contactsync.kernels import sorting  # noqa: PLC0415 - loads Numba

    span = directory.span
    shift, drop = 64 - bits, 32 - directory.info.slot_bits
    if bits == 0:  # one bucket; a shift by 64 is not defined
        bits, shift = 1, 63
    chunk = min(len(tokens), max(MIN_CHUNK, directory.count))
    codes, hits = np.empty(chunk, np.uint64), np.empty(chunk, np.bool_)
    found = np.empty(len(tokens), np.bool_)
    for a in range(0, len(tokens), max(1, chunk)):
        head, tail = tokens.head[a : a + chunk], tokens.tail[a : a + chunk]
        offsets = np.zeros((1 << bits) + 1, np.int64)
        sorting.count_parts(head, shift, offsets)
        sorting.group(head, tail, drop, span.wide, shift, offsets, codes)
        parts = offsets if span.start.size > 1 else offsets[[0, -1]]
        answer(span, codes, parts, hits)
        sorting.ungroup(head, shift, offsets, hits, found[a : a + chunk])
    return found


def joined(tokens: Tokens, directory: Directory) -> Mask:
    """Merge tokens, sorted by their heads, with the directory."""
    from contactsync.kernels import merging  # noqa: PLC0415 - loads Numba

    span, order = directory.span, None
    if span.wide and directory.info.slot_bits > WIDE_ALONE:
        # A value has bits of the tail too: equal heads, which are rare, have to be in its order.
        head, tail = tokens.head, tokens.tail
        if ((head[1:] == head[:-1]) & (tail[1:] < tail[:-1])).any():
            order = np.lexsort((tail, head))
            tokens = tokens.take(order)
    groups = np.add.reduceat(span.count, np.arange(0, span.start.size, JOINED_BUCKETS))
    most = int(groups.max())
    found = np.empty(len(tokens), np.bool_)
    wrong = merging.join_buckets(
        *span.views(), span.start, span.count, span.wide, 32 - directory.info.slot_bits,
        tokens.head, tokens.tail, JOINED_BUCKETS,
        np.empty(most, np.uint64), np.empty(most, np.uint8), np.empty(JOINED_AT_ONCE, np.uint64), found,
    )  # fmt: skip
    if wrong >= 0:
        raise bad(directory.name, f"the values of bucket {wrong} are out of order", "not-ascending")
    if order is not None:
        found[order] = found.copy()
    return found


_WAYS: dict[Way, Callable[..., Mask]] = {
    Way.NUMPY_LOOKUP: numpy_lookup,
    Way.KERNEL_LOOKUP: kernel_lookup,
    Way.GROUPED: grouped,
    Way.JOINED: joined,
}
