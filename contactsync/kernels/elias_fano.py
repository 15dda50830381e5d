"""Elias-Fano buckets (docs/directory-format.md): encode, decode, and two ways to look up values.

Readers get a file as three views of the same bytes, `words` uint64, `halves` uint32 and `octets` uint8, and
buckets by their first word, `start` int64[b], and their `count` int64[b]. They do not check bounds:
`directory.buckets.check` has proven that every read stays inside its bucket.

A value is `key` uint64 (its slot and 32 remainder bits) and, in a `wide` directory (40 remainder bits),
`extra` uint8 (the next 8 bits). Within one part of a directory (buckets whose numbers share their leading
bits), one uint64, the *code*, orders and compares values: the key, or if wide the low 64 bits of key and
extra.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.kernels.bits import count_ones, prefetch, select, trailing_zeros
from contactsync.kernels.policy import inlined, kernel

Array = Any

SLOTS = 4096
AHEAD = 20  # other lookups between two steps of one lookup: enough to hide the latency of memory
RING = 64  # places for lookups in progress: a power of two, more than three times AHEAD
# The state of one: first word of the bucket, bit, first remainder, first of the next 8 bits.
FIRST, BIT, LOW, NEXT_8 = range(4)
WINDOW = 8  # words; a block of 256 slots nearly always ends within them
BEGIN_SLACK = 64  # room after the table of `probe` for the zeros that pad a bitmap
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_SLOT_MASK = np.uint64(SLOTS - 1)
_RING_MASK = np.uint64(RING - 1)
_LOW_8 = np.uint64(0xFF)
_LOW_16 = np.uint64(0xFFFF)
_SLOTS = np.uint64(SLOTS)
_WINDOW = np.uint64(WINDOW)
_2 = np.uint64(2)
_3 = np.uint64(3)
_4 = np.uint64(4)
_6 = np.uint64(6)
_8 = np.uint64(8)
_12 = np.uint64(12)
_15 = np.uint64(15)
_16 = np.uint64(16)
_63 = np.uint64(63)
_64 = np.uint64(64)
_32 = np.uint64(32)
_40 = np.uint64(40)


@kernel
def encode(
    key: Array, extra: Array, wide: bool, counts: Array, sizes: Array,
    words: Array, halves: Array, octets: Array,
) -> None:  # fmt: skip
    """Write consecutive buckets of sorted distinct values, one after the other, into zeroed memory.

    key uint64[n], extra uint8[n]; counts and sizes int64[b]: values and 64-bit words of each.
    """
    at = 0
    start = 0
    for b in range(counts.size):
        n = counts[b]
        ranks = halves[2 * start : 2 * start + 8]
        bitmap = words[start + 4 : start + 4 + ((n + SLOTS + 63) >> 6)]
        low = 2 * (start + 4 + bitmap.size)
        values, remainders = key[at : at + n], halves[low : low + n]
        for j in range(n):
            remainders[j] = np.uint32(values[j])
        if wide:
            octets[4 * (low + n) : 4 * (low + n) + n] = extra[at : at + n]
        ranks[0] = np.uint32(n)
        block = _ZERO
        # A word is written once, when the next one begins: 37 values share it on average.
        word = _ZERO
        ones = _ZERO
        for j in range(n):
            slot = (values[j] >> _32) & _SLOT_MASK
            while block < slot >> _8:
                block += _ONE
                ranks[block >> _ONE] |= np.uint32(j) << np.uint32(_16 * (block & _ONE))
            bit = np.uint64(j) + slot
            if bit >> _6 != word:
                bitmap[word] = ones
                ones = _ZERO
                word = bit >> _6
            ones |= _ONE << (bit & _63)
        bitmap[word] = ones
        while block < _15:
            block += _ONE
            ranks[block >> _ONE] |= np.uint32(n) << np.uint32(_16 * (block & _ONE))
        at += n
        start += sizes[b]


@inlined
def decode_bucket(
    words: Array, halves: Array, octets: Array, start: int, number: int, n: int, wide: bool,
    key: Array, extra: Array, at: int,
) -> Any:  # fmt: skip
    """Write the values of one bucket to key[at : at + n], and extra if wide. Return whether they ascend."""
    bitmap = words[start + 4 : start + 4 + ((n + SLOTS + 63) >> 6)]
    low = 2 * (start + 4 + bitmap.size)
    remainders = halves[low : low + n]
    next8 = octets[4 * (low + n) : 4 * (low + n) + n] if wide else octets[:0]
    keys = key[at : at + n]
    extras = extra[at : at + n] if wide else extra[:0]
    good: Any = True
    before = _ZERO
    last = np.uint8(0)
    j = _ZERO
    position = np.uint64(number) << _12
    for w in range(bitmap.size):
        ones = bitmap[w]
        while ones != _ZERO:
            slot = position + np.uint64(trailing_zeros(ones)) - j
            value = (slot << _32) | np.uint64(remainders[j])
            if wide:
                octet = next8[j]
                good &= (value > before) | ((value == before) & (octet > last)) | (j == _ZERO)
                last = octet
                extras[j] = octet
            else:
                good &= (value > before) | (j == _ZERO)
            before = value
            keys[j] = value
            j += _ONE
            ones &= ones - _ONE
        position += _64
    return good


@kernel
def decode(
    words: Array, halves: Array, octets: Array, start: Array, number: Array, count: Array, wide: bool,
    key: Array, extra: Array,
) -> int:  # fmt: skip
    """Write all values, in order: key uint64[sum(count)], extra uint8[sum(count)] (unchanged unless wide).

    Returns the index in the span of the first bucket whose values do not ascend strictly, or -1.
    """
    at = 0
    wrong = -1
    for b in range(start.size):
        good = decode_bucket(words, halves, octets, start[b], number[b], count[b], wide, key, extra, at)
        if not good and wrong < 0:
            wrong = b
        at += count[b]
    return wrong


@inlined
def _first_of(first: Any, n: Any) -> tuple[Any, Any]:
    """Where the remainders (index of a half) and their next 8 bits (of an octet) begin, bucket at `first`."""
    low = _2 * (first + _4 + ((n + _SLOTS + _63) >> _6))
    return low, _4 * (low + n)


@inlined
def _block_bit(halves: Array, first: Any, slot: Any) -> Any:
    """Where the bits of a slot's block begin, in the bucket that begins at word `first`."""
    block = slot >> _8
    # Word `block` of the bucket's first 16. For block 0 it is the count, and the rank is 0.
    half = np.uint64(halves[_2 * first + (block >> _ONE)])
    rank = (half >> (_16 * (block & _ONE))) & _LOW_16
    return ((first + _4) << _6) + (block << _8) + (rank if block > _ZERO else _ZERO)


@inlined
def _after_zeros(words: Array, bit: Any, zeros: Any) -> Any:
    """The position just after `zeros` zeros (at least one) from a position."""
    word = bit >> _6
    # Count the zeros before the position in the first word too, so that all words are treated alike.
    zeros += np.uint64(count_ones(~words[word] & ((_ONE << (bit & _63)) - _ONE)))
    if word + _WINDOW <= np.uint64(words.size):
        # A branch could not predict which word it is: skip the words that do not have enough zeros.
        have, passed, skipped = _ZERO, _ZERO, _ZERO
        for k in range(WINDOW):
            have += np.uint64(count_ones(~words[word + np.uint64(k)]))
            passed = have if have < zeros else passed
            skipped += _ONE if have < zeros else _ZERO
        zeros -= passed
        word += skipped
    clear = ~words[word]
    have = np.uint64(count_ones(clear))
    while have < zeros:
        zeros -= have
        word += _ONE
        clear = ~words[word]
        have = np.uint64(count_ones(clear))
    return (word << _6) + np.uint64(select(clear, zeros)) + _ONE


@inlined
def _ones_from(words: Array, bit: Any) -> Any:
    """The number of ones from a position to the next zero."""
    word = bit >> _6
    ends = ~(words[word] >> (bit & _63))
    n = np.uint64(trailing_zeros(ends)) if ends != _ZERO else _64
    reached = n + (bit & _63)
    while reached == _64:
        word += _ONE
        ends = ~words[word]
        reached = np.uint64(trailing_zeros(ends)) if ends != _ZERO else _64
        n += reached
    return n


@inlined
def _is_one(halves: Array, octets: Array, wide: bool, low: Any, next8: Any, wanted: Any, extra: Any) -> Any:
    """Whether one remainder is the wanted one."""
    return (halves[low] == wanted) & (octets[next8] == extra) if wide else halves[low] == wanted


@inlined
def _is_among(
    halves: Array, octets: Array, wide: bool, low: Any, next8: Any, n: Any, wanted: Any, extra: Any
) -> Any:
    """Whether the wanted remainder is among n remainders, from `low` and `next8`."""
    if n <= _4 and low + _4 <= np.uint64(halves.size) and next8 + _4 <= np.uint64(octets.size):
        # Nearly every slot has at most four values: comparing four saves a mispredicted branch.
        return (
            (_is_one(halves, octets, wide, low, next8, wanted, extra) & (n > _ZERO))
            | (_is_one(halves, octets, wide, low + _ONE, next8 + _ONE, wanted, extra) & (n > _ONE))
            | (_is_one(halves, octets, wide, low + _2, next8 + _2, wanted, extra) & (n > _2))
            | (_is_one(halves, octets, wide, low + _3, next8 + _3, wanted, extra) & (n > _3))
        )
    hit = False
    k = _ZERO
    while k < n:
        hit |= _is_one(halves, octets, wide, low + k, next8 + k, wanted, extra)
        k += _ONE
    return hit


@kernel
def lookup(
    words: Array, halves: Array, octets: Array, start: Array, count: Array, wide: bool,
    codes: Array, offsets: Array, found: Array,
) -> None:  # fmt: skip
    """found[i] = whether codes[i] is there. For values grouped into parts, few compared with the file.

    offsets int64[parts + 1] are the places in codes where each part's values begin. A part is a power of two
    of buckets, in a wide directory at most 4096. The values of a part may be in any order.

    Each lookup reads three cache lines, one after the other. So it is done in four steps, and each step
    prefetches the line that the next one reads. Between two steps of one lookup come steps of AHEAD others.
    This spreads the requests evenly, so that memory and CPU work at the same time.
    """
    on_way = np.empty((RING, 4), np.uint64)
    total = offsets[-1]
    group = start.size // (offsets.size - 1)
    shift = _40 if wide else _32
    mask = np.uint64(group * SLOTS - 1)
    part = 0
    # Unsigned indices throughout: for signed ones, Numba checks each time whether they count from the end.
    for i in range(total + 3 * AHEAD):
        if i < total:
            k = np.uint64(i)
            e = k & _RING_MASK
            while i >= offsets[part + 1]:
                part += 1
            b = np.uint64(part * group) + (((codes[k] >> shift) & mask) >> _12)
            first, n = np.uint64(start[b]), np.uint64(count[b])
            on_way[e, FIRST] = first
            on_way[e, LOW], on_way[e, NEXT_8] = _first_of(first, n)
            prefetch(words, first)
        if AHEAD <= i < total + AHEAD:
            k = np.uint64(i - AHEAD)
            e = k & _RING_MASK
            on_way[e, BIT] = _block_bit(halves, on_way[e, FIRST], (codes[k] >> shift) & _SLOT_MASK)
            # The block may end in the next line.
            prefetch(words, on_way[e, BIT] >> _6)
            prefetch(words, (on_way[e, BIT] >> _6) + _8)
        if 2 * AHEAD <= i < total + 2 * AHEAD:
            k = np.uint64(i - 2 * AHEAD)
            e = k & _RING_MASK
            slot = (codes[k] >> shift) & _SLOT_MASK
            if slot & _LOW_8 > _ZERO:
                on_way[e, BIT] = _after_zeros(words, on_way[e, BIT], slot & _LOW_8)
            # The ones before it are the values of earlier slots.
            j = on_way[e, BIT] - ((on_way[e, FIRST] + _4) << _6) - slot
            on_way[e, LOW] += j
            on_way[e, NEXT_8] += j
            prefetch(halves, on_way[e, LOW])
            prefetch(halves, on_way[e, LOW] + _3)
            if wide:
                prefetch(octets, on_way[e, NEXT_8])
                prefetch(octets, on_way[e, NEXT_8] + _3)
        if i >= 3 * AHEAD:
            k = np.uint64(i - 3 * AHEAD)
            e = k & _RING_MASK
            wanted, extra = np.uint32(codes[k] >> (shift - _32)), np.uint8(codes[k])
            n = _ones_from(words, on_way[e, BIT])
            low, next8 = on_way[e, LOW], on_way[e, NEXT_8] if wide else _ZERO
            found[k] = _is_among(halves, octets, wide, low, next8, n, wanted, extra)


@inlined
def _begin_table(words: Array, first: int, halfway: int, begin: Array, s: int) -> None:
    """begin[s + k] = the index, relative to `halfway`, of the first remainder of slot k of one bucket."""
    n = np.int64(words[first] & np.uint64(0xFFFF))
    word = first + 4
    low = 2 * (word + ((n + SLOTS + 63) >> 6)) - halfway
    begin[s] = low
    position = 0
    k = 0
    while k < SLOTS:
        zeros = ~words[word]
        while zeros != _ZERO:
            k += 1
            begin[s + k] = low + position + trailing_zeros(zeros) + 1 - k
            zeros &= zeros - _ONE
        position += 64
        word += 1


@kernel
def probe(
    words: Array, halves: Array, octets: Array, start: Array, count: Array, wide: bool,
    codes: Array, offsets: Array, begin: Array, found: Array,
) -> None:  # fmt: skip
    """found[i] = whether codes[i] is there. For values grouped into parts, many compared with the file.

    codes and offsets are as in `lookup`. begin int32[4097 for each bucket of a part + BEGIN_SLACK] is
    scratch: where each slot's remainders begin, unpacked from the bitmap once for each part.
    """
    parts = offsets.size - 1
    group = start.size // parts
    shift = _40 if wide else _32
    mask = np.uint64(group * SLOTS - 1)
    for part in range(parts):
        b = part * group
        halfway = 2 * start[b]
        for g in range(group):
            # Zeros in the padding write past the table, where the next bucket's table goes.
            _begin_table(words, start[b + g], halfway, begin, g * (SLOTS + 1))
        for i in range(offsets[part], offsets[part + 1]):
            slot = (codes[i] >> shift) & mask
            entry = slot + (slot >> _12)
            j = np.uint64(halfway + begin[entry])
            e = np.uint64(halfway + begin[entry + _ONE])
            wanted = np.uint32(codes[i] >> (shift - _32))
            extra = np.uint8(codes[i])
            next8 = _ZERO
            if wide:
                bucket = np.uint64(b) + (slot >> _12)
                # Octet number x of a bucket comes after its n remainders.
                n = np.uint64(count[bucket])
                low, octet = _first_of(np.uint64(start[bucket]), n)
                next8 = j + (octet - low)
            found[i] = _is_among(halves, octets, wide, j, next8, e - j, wanted, extra)
