"""Buckets in NumPy: values to bytes, bytes to values, and the structure check that comes before either.

A bucket of n values (docs/directory-format.md, "Bucket"):

    u16[16]  word 0 = n; word i = values in the slots before block i of 256 slots
    u64[w]   per slot, as many ones as it has values, then a zero; w = ceil((n + 4096) / 64)
    u32[n]   the first 32 remainder bits, in order
    u8[n]    the next 8 (only with 40 remainder bits), then zeros to a multiple of 8
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import (
    BUCKET_SLOT_BITS,
    BUCKET_SLOTS,
    MAX_BUCKET_COUNT,
    RANK_BYTES,
    Values,
    bad,
)
from contactsync.foundation.errors import BadInput

BLOCKS = 16
ENCODE_SECONDS = 14e-9  # a value, without kernels
DECODE_SECONDS = 13e-9
BLOCK_SLOTS = BUCKET_SLOTS // BLOCKS
_U64 = np.uint64


@dataclass(frozen=True, slots=True)
class Span:
    """Whole buckets of a checked file: what lookups and decoders read.

    `words` uint64 over the file's bytes; `start` int64[b] the first word of each bucket; `number` int64[b]
    which bucket of the directory it is; `count` int64[b] how many values it has.
    """

    words: NDArray[np.uint64]
    start: NDArray[np.int64]
    number: NDArray[np.int64]
    count: NDArray[np.int64]
    remainder_bits: int

    @property
    def wide(self) -> bool:
        """Whether values have 40 remainder bits."""
        return self.remainder_bits == 40

    def views(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint8]]:
        """The file as words, halves and octets, as kernels read it."""
        return self.words, self.words.view(np.uint32), self.words.view(np.uint8)


def encode(
    values: Values, numbers: NDArray[np.int64], remainder_bits: int, *, kernels: bool
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The buckets of these numbers, int64[b] ascending, of their values, sorted and distinct, in one.

    The octets, and the size of each bucket (int64[b]). O(n).
    Raises BadInput if one bucket would hold more than 65,535 values: then they are no PRF outputs.
    """
    edges = numbers.astype(_U64) << _U64(32 + BUCKET_SLOT_BITS)
    starts = np.append(np.searchsorted(values.key, edges), len(values))
    counts = np.diff(starts)
    if counts.size and int(counts.max()) > MAX_BUCKET_COUNT:
        raise BadInput(
            f"{int(counts.max())} tokens share their first bits, so they are not VOPRF outputs",
            hint="A directory is built from tokens of evaluated identifiers.",
        )
    sizes = bucket_sizes(counts, remainder_bits)
    octets = np.zeros(int(sizes.sum()), np.uint8)
    if kernels:
        from contactsync.kernels import elias_fano  # noqa: PLC0415 - loads Numba

        views = octets.view(np.uint64), octets.view(np.uint32), octets
        elias_fano.encode(values.key, values.extra, remainder_bits == 40, counts, sizes // 8, *views)
    else:
        _encode(values, numbers, starts, octets, remainder_bits)
    return octets, sizes


def bucket_sizes(counts: NDArray[np.int64], remainder_bits: int) -> NDArray[np.int64]:
    """`bucket_bytes` of many."""
    tail = (counts * (remainder_bits // 8) + 7) // 8 * 8
    return RANK_BYTES + 8 * ((counts + BUCKET_SLOTS + 63) // 64) + tail


def _encode(
    values: Values,
    numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    octets: NDArray[np.uint8],
    remainder_bits: int,
) -> None:
    """What the kernel does, in NumPy."""
    counts = np.diff(starts)
    sizes = bucket_sizes(counts, remainder_bits)
    buckets = counts.size
    blocks = (numbers[:, None] * BLOCKS + np.arange(BLOCKS)).reshape(-1).astype(_U64) << _U64(40)
    below = np.searchsorted(values.key, blocks).reshape(buckets, BLOCKS)
    ranks = (below - starts[:-1, None]).astype("<u2")
    ranks[:, 0] = counts

    words = (counts + BUCKET_SLOTS + 63) // 64
    bitmap_starts = np.concatenate([[0], np.cumsum(words)])
    # Value j of a bucket in slot s sets bit j + s.
    shift = np.repeat(bitmap_starts[:-1] * 64 - starts[:-1], counts)
    slots = ((values.key >> _U64(32)) & _U64(BUCKET_SLOTS - 1)).astype(np.int64)
    bits = np.zeros(int(bitmap_starts[-1]) * 64, np.uint8)
    bits[shift + slots + np.arange(len(values))] = 1
    bitmap = np.packbits(bits, bitorder="little")
    low = values.key.astype("<u4").view(np.uint8)

    begin = 0
    for i, n in enumerate(counts.tolist()):
        bucket = octets[begin : begin + int(sizes[i])]
        begin += int(sizes[i])
        a, b = int(starts[i]), int(starts[i + 1])
        at = RANK_BYTES + 8 * int(words[i])
        bucket[:RANK_BYTES] = ranks[i].view(np.uint8)
        bucket[RANK_BYTES:at] = bitmap[8 * bitmap_starts[i] : 8 * bitmap_starts[i + 1]]
        bucket[at : at + 4 * n] = low[4 * a : 4 * b]
        if remainder_bits == 40:
            bucket[at + 4 * n : at + 5 * n] = values.extra[a:b]


def check(span: Span, name: str) -> None:
    """Prove that every read of `decode`, `lookup` and their kernels stays inside its bucket.

    The sizes and counts of the span are already checked against the index. Here: ranks ascend, each agrees
    with the bitmap, the bitmap has n ones and 4096 zeros and nothing after them. O(bytes of the bitmaps),
    about 0.1 ns a token.

    Raises BadDirectory, naming the first wrong bucket.
    """
    if not span.start.size:
        return
    ranks = span.words[span.start[:, None] + np.arange(4)].view("<u2").astype(np.int64)
    sizes = (span.count + BUCKET_SLOTS + 63) // 64
    base = np.concatenate([[0], np.cumsum(sizes)])
    inside = np.arange(base[-1]) + np.repeat(span.start + 4 - base[:-1], sizes)
    words = np.append(span.words[inside], _U64(0))
    ones = np.concatenate([[0], np.cumsum(np.bitwise_count(words), dtype=np.int64)])

    def ones_before(bit: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many ones a bucket's bitmap has before a bit position; int64[b, k] both."""
        word = base[:-1, None] + (bit >> 6)
        mask = (_U64(1) << (bit & 63).astype(_U64)) - _U64(1)
        before: NDArray[np.int64] = ones[word] - ones[base[:-1], None] + np.bitwise_count(words[word] & mask)
        return before

    ranks[:, 0] = 0
    good = (np.diff(ranks, axis=1) >= 0).all(axis=1) & (ranks[:, -1] <= span.count)
    # Where blocks 1 to 15 start, and where the bitmap ends.
    ends = np.append(
        ranks[:, 1:] + BLOCK_SLOTS * np.arange(1, BLOCKS), span.count[:, None] + BUCKET_SLOTS, axis=1
    )
    ends = np.where(good[:, None], ends, BLOCK_SLOTS)
    expected = np.append(ranks[:, 1:], span.count[:, None], axis=1)
    before = ones_before(ends)
    good &= (before == expected).all(axis=1)
    # A slot ends with its zero, so a block ends with one.
    good &= (ones_before(ends - 1) == before).all(axis=1)
    # No ones in the padding.
    good &= ones[base[1:]] - ones[base[:-1]] == span.count
    if not good.all():
        wrong = int(span.number[int(np.argmin(good))])
        raise bad(name, f"bucket {wrong} is inconsistent", "malformed")


def decode(span: Span, name: str, *, kernels: bool) -> Values:
    """All values of checked buckets, in order. O(n).

    Raises BadDirectory if they do not ascend strictly.
    """
    total = int(span.count.sum())
    key = np.empty(total, np.uint64)
    extra = np.zeros(total, np.uint8)
    if kernels:
        from contactsync.kernels import elias_fano  # noqa: PLC0415 - loads Numba

        wrong = elias_fano.decode(*span.views(), span.start, span.number, span.count, span.wide, key, extra)
    else:
        wrong = _decode(span, key, extra)
    if wrong >= 0:
        raise bad(name, f"the values of bucket {int(span.number[wrong])} are out of order", "not-ascending")
    return Values(key, extra)


def _decode(span: Span, key: NDArray[np.uint64], extra: NDArray[np.uint8]) -> int:
    """What the kernel does, in NumPy."""
    octets = span.words.view(np.uint8)
    begin = 0
    starts, numbers, counts = span.start.tolist(), span.number.tolist(), span.count.tolist()
    for start, number, n in zip(starts, numbers, counts, strict=True):
        at = 8 * start + RANK_BYTES
        low = at + 8 * ((n + BUCKET_SLOTS + 63) // 64)
        bits = np.unpackbits(octets[at:low], count=n + BUCKET_SLOTS, bitorder="little")
        slots = np.flatnonzero(bits).astype(np.uint64) - np.arange(n, dtype=np.uint64)
        slots += _U64(number << BUCKET_SLOT_BITS)
        key[begin : begin + n] = (slots << _U64(32)) | octets[low : low + 4 * n].view("<u4")
        if span.wide:
            extra[begin : begin + n] = octets[low + 4 * n : low + 5 * n]
        begin += n
    falls = (key[1:] < key[:-1]) | ((key[1:] == key[:-1]) & (extra[1:] <= extra[:-1]))
    if not falls.any():
        return -1
    return int(np.searchsorted(np.cumsum(span.count), int(np.argmax(falls)) + 1, "right"))


def lookup(span: Span, values: Values, which: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value is present; `which` int64[m] is the place of its bucket in the span. O(m).

    The values need not be sorted; about 0.5 µs each, without Numba.
    """
    return ranks(span, values, which)[1]


def ranks(
    span: Span, values: Values, which: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64[m], how many values of its bucket are less than each value, and bool[m], whether it is present.

    `which` int64[m] is the place of its bucket in the span. O(m); the values need not be sorted.
    """
    found = np.zeros(len(values), np.bool_)
    if not len(values) or not span.start.size:
        return np.zeros(len(values), np.int64), found
    start, count = span.start[which], span.count[which]
    slot = ((values.key >> _U64(32)) & _U64(BUCKET_SLOTS - 1)).astype(np.int64)
    block = slot // BLOCK_SLOTS
    rank = span.words.view("<u2")[4 * start + block].astype(np.int64)
    rank[block == 0] = 0
    bit = 64 * (start + 4) + rank + BLOCK_SLOTS * block
    bit = _after_zeros(span.words, bit, slot % BLOCK_SLOTS)
    # The ones before this bit are the values of the slots before.
    first = bit - 64 * (start + 4) - slot
    run = _after_zeros(span.words, bit, np.ones_like(bit)) - bit - 1

    low = 8 * (start + 4 + (count + BUCKET_SLOTS + 63) // 64)
    octets = span.words.view(np.uint8)
    wanted = values.key.astype(np.uint32)
    at = low // 4 + first
    below = first.copy()
    live = np.flatnonzero(run > 0)
    step = 0
    while live.size:
        there = octets.view("<u4")[at[live] + step]
        same, less = there == wanted[live], there < wanted[live]
        if span.wide and same.any():
            tied = live[same]
            next8 = octets[low[tied] + 4 * count[tied] + first[tied] + step]
            less[same] = next8 < values.extra[tied]
            same[same] = next8 == values.extra[tied]
        found[live[same]] = True
        below[live] += less
        step += 1
        live = live[(run[live] > step) & ~found[live]]
    return below, found


def _after_zeros(
    words: NDArray[np.uint64], bit: NDArray[np.int64], zeros: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each position: the one just after that many zeros from there on (itself for none). int64[m]."""
    word = bit >> 6
    need = zeros.copy()
    # Bits before the position count as ones.
    clear = ~words[word] & (~_U64(0) << (bit & 63).astype(_U64))
    live = np.flatnonzero(need > np.bitwise_count(clear))
    while live.size:
        need[live] -= np.bitwise_count(clear[live])
        word[live] += 1
        clear[live] = ~words[word[live]]
        live = live[need[live] > np.bitwise_count(clear[live])]
    # Select by binary descent: which bit of `clear` is the need-th set one.
    place = np.zeros_like(bit)
    rest = need.copy()
    for width in (32, 16, 8, 4, 2, 1):
        part = (clear >> place.astype(_U64)) & _U64((1 << width) - 1)
        inside = np.bitwise_count(part).astype(np.int64)
        up = rest > inside
        rest[up] -= inside[up]
        place[up] += width
    return np.where(zeros > 0, (word << 6) + place + 1, bit)
