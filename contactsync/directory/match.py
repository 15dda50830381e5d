"""Which tokens are in a directory: one question, four ways to answer it, one answer bit for bit.

| way | when | cost a token |
|---|---|---|
| `numpy_lookup` | the work is less than starting Numba would cost | 0.55 µs |
| `kernel_lookup` | few tokens against the directory (m < N/8): each one is looked up on the file | 45 ns |
| `grouped` | many: group by leading bits, then unpack each part of the directory once | 17–27 ns |
| `joined` | many, and they come sorted: decode 4 buckets at a time, merge in four streams | 3.7 ns of m + N |

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
from contactsync.directory.format import BUCKET_SLOT_BITS, BUCKET_SLOTS, Values
from contactsync.directory.pace import kernels_pay
from contactsync.directory.reader import Directory
from contactsync.tokens import Tokens

logger = logging.getLogger(__name__)

NUMPY_SECONDS = 0.55e-6  # a lookup without kernels
SPARSE = 8  # at N/8 tokens, a lookup each and unpacking every bucket cost the same
AT_ONCE = 1 << 15  # lookups whose NumPy temporaries stay in the cache
JOINED_BUCKETS = 4
GROUPED_BUCKETS_BITS = 4  # of one part: their table of slots is 256 KiB
PART_BITS = (9, 12)  # the fewest and most leading bits to group by

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
    probability `directory.false_positive_rate`. O(m) for m < N/8, else O(m + N); 9 bytes of memory a token,
    20 with many. `threads` share the tokens. The way taken goes to the log at level INFO.
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
        which = (some.key >> np.uint64(32 + BUCKET_SLOT_BITS)).astype(np.int64)
        found[a : a + AT_ONCE] = buckets.lookup(directory.span, some, which)
    return found


def kernel_lookup(tokens: Tokens, directory: Directory) -> Mask:
    """Look each token up, by a kernel."""
    from contactsync.kernels import elias_fano  # noqa: PLC0415 - loads Numba

    span, values = directory.span, directory.truncate(tokens)
    found = np.empty(len(tokens), np.bool_)
    elias_fano.lookup(*span.views(), span.start, span.count, span.wide, values.key, values.extra, found)
    return found


def grouped(tokens: Tokens, directory: Directory) -> Mask:
    """Group the tokens by their leading bits, and look each group up in an unpacked part of the directory."""
    from contactsync.kernels import elias_fano, sorting  # noqa: PLC0415 - loads Numba

    span, values = directory.span, directory.truncate(tokens)
    bucket_bits = directory.info.slot_bits - BUCKET_SLOT_BITS
    bits = min(bucket_bits, max(PART_BITS[0], min(PART_BITS[1], bucket_bits - GROUPED_BUCKETS_BITS)))
    shift = directory.info.slot_bits + 32 - bits
    offsets = np.zeros((1 << bits) + 1, np.int64)
    sorting.count_parts(values.key, shift, offsets)
    codes = np.empty(len(tokens), np.uint64)
    sorting.group(values.key, values.extra, span.wide, shift, offsets, codes)
    table = (BUCKET_SLOTS + 1 << (bucket_bits - bits)) + elias_fano.BEGIN_SLACK
    begin = np.empty(table, np.int32)
    hits = np.empty(len(tokens), np.bool_)
    elias_fano.probe(*span.views(), span.start, span.count, span.wide, codes, offsets, begin, hits)
    found = np.empty(len(tokens), np.bool_)
    sorting.ungroup(values.key, shift, offsets, hits, found)
    return found


def joined(tokens: Tokens, directory: Directory) -> Mask:
    """Merge tokens, sorted by their heads, with the directory."""
    from contactsync.kernels import merging  # noqa: PLC0415 - loads Numba

    span, values = directory.span, directory.truncate(tokens)
    codes, back = values.key, None
    if span.wide:
        values, back = _sorted_runs(values)
        codes = (values.key << np.uint64(8)) | values.extra
    groups = np.add.reduceat(span.count, np.arange(0, span.start.size, JOINED_BUCKETS))
    most = int(groups.max())
    found = np.empty(len(tokens), np.bool_)
    merging.join_buckets(
        *span.views(), span.start, span.count, span.wide, values.key, codes, JOINED_BUCKETS,
        np.empty(most, np.uint64), np.empty(most, np.uint8), found,
    )  # fmt: skip
    if back is not None:
        found[back] = found.copy()
    return found


def _sorted_runs(values: Values) -> tuple[Values, NDArray[np.int64] | None]:
    """Values sorted by key, sorted by (key, extra), and the order if it changed: keys repeat rarely."""
    key, extra = values.key, values.extra
    if not ((key[1:] == key[:-1]) & (extra[1:] < extra[:-1])).any():
        return values, None
    order = np.lexsort((extra, key))
    return Values(key[order], extra[order]), order


_WAYS: dict[Way, Callable[..., Mask]] = {
    Way.NUMPY_LOOKUP: numpy_lookup,
    Way.KERNEL_LOOKUP: kernel_lookup,
    Way.GROUPED: grouped,
    Way.JOINED: joined,
}
