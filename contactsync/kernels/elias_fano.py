"""Elias-Fano buckets (docs/directory-format.md): encode, decode, and two ways to look values up.

Readers get a file as three views of the same bytes, `words` uint64, `halves` uint32 and `octets` uint8, and
buckets by their first word, `start` int64[b], and their `count` int64[b]. They check no bounds:
`directory.buckets.check` has proven that every read stays inside its bucket.

A value is `key` uint64, its slot and 32 remainder bits, and `extra` uint8, the next 8 bits in a `wide`
directory (40 remainder bits). Within one part of a directory (buckets that share their number's leading bits)
one uint64, the *code*, orders and compares values: the key, or if wide the low 64 bits of key and extra.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.kernels.bits import count_ones, prefetch, select, trailing_zeros
from contactsync.kernels.policy import inlined, kernel

Array = Any

SLOTS = 4096
BATCH = 32  # lookups under way at once: enough to hide the latency of memory, few enough for the L1 cache
BEGIN_SLACK = 64  # room after the table of `probe` for the zeros that pad a bitmap
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_SLOT_MASK = np.uint64(SLOTS - 1)
_LOW_16 = np.uint32(0xFFFF)
_8 = np.uint64(8)
_12 = np.uint64(12)
_32 = np.uint64(32)
_40 = np.uint64(40)


@kernel
def encode(
    key: Array, extra: Array, wide: bool, counts: Array, sizes: Array,
    words: Array, halves: Array, octets: Array,
) -> None:  # fmt: skip
    """Consecutive buckets of sorted distinct values, one after the other, into zeroed memory.

    key uint64[n], extra uint8[n]; counts and sizes int64[b]: values and 64-bit words of each.
    """
    at = 0
    start = 0
    for b in range(counts.size):
        n = counts[b]
        base = (start + 4) << 6
        low = 2 * (start + 4 + ((n + SLOTS + 63) >> 6))
        next8 = 4 * (low + n)
        block = 0
        for j in range(n):
            value = key[at + j]
            slot = np.int64((value >> _32) & _SLOT_MASK)
            while block < slot >> 8:
                block += 1
                halves[2 * start + (block >> 1)] |= np.uint32(j) << np.uint32(16 * (block & 1))
            bit = base + j + slot
            words[bit >> 6] |= _ONE << np.uint64(bit & 63)
            halves[low + j] = np.uint32(value)
            if wide:
                octets[next8 + j] = extra[at + j]
        while block < 15:
            block += 1
            halves[2 * start + (block >> 1)] |= np.uint32(n) << np.uint32(16 * (block & 1))
        halves[2 * start] |= np.uint32(n)
        at += n
        start += sizes[b]


@inlined
def decode_bucket(
    words: Array, halves: Array, octets: Array, start: int, number: int, n: int, wide: bool,
    key: Array, extra: Array, at: int,
) -> Any:  # fmt: skip
    """The values of one bucket into key[at : at + n], and extra if wide. Whether they ascend strictly."""
    word = start + 4
    low = 2 * (word + ((n + SLOTS + 63) >> 6))
    next8 = 4 * (low + n)
    base = np.uint64(number) << _12
    good: Any = True
    before = _ZERO
    last = np.uint8(0)
    j = 0
    position = 0
    while j < n:
        ones = words[word]
        while ones != _ZERO:
            slot = base + np.uint64(position + trailing_zeros(ones) - j)
            value = (slot << _32) | np.uint64(halves[low + j])
            if wide:
                octet = octets[next8 + j]
                good &= (value > before) | ((value == before) & (octet > last)) | (j == 0)
                last = octet
                extra[at + j] = octet
            else:
                good &= (value > before) | (j == 0)
            before = value
            key[at + j] = value
            j += 1
            ones &= ones - _ONE
        position += 64
        word += 1
    return good


@kernel
def decode(
    words: Array, halves: Array, octets: Array, start: Array, number: Array, count: Array, wide: bool,
    key: Array, extra: Array,
) -> int:  # fmt: skip
    """All values, in order: key uint64[sum(count)], extra uint8[sum(count)] (untouched unless wide).

    The place in the span of the first bucket whose values do not ascend strictly, or -1.
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
def _after_zeros(words: Array, bit: Any, zeros: Any) -> Any:
    """The position just after that many zeros, at least one, from a position on."""
    word = bit >> 6
    clear = ~words[word] & (_ALL << np.uint64(bit & 63))
    have = count_ones(clear)
    while have < zeros:
        zeros -= have
        word += 1
        clear = ~words[word]
        have = count_ones(clear)
    return (word << 6) + select(clear, zeros) + 1


@kernel
def lookup(  # noqa: C901 - four passes of one batch
    words: Array, halves: Array, octets: Array, start: Array, count: Array, wide: bool,
    codes: Array, offsets: Array, found: Array,
) -> None:  # fmt: skip
    """found[i] = whether codes[i] is there: for values grouped into parts, few against the file.

    offsets int64[parts + 1] says where in codes each part's values lie; a part is a power of two of buckets,
    and in a wide directory of no more than 4096. The values of a part may come in any order. Each lookup
    reads three cache lines one after the other; a batch of them asks for each line a pass before it is read.
    """
    firsts = np.empty(BATCH, np.int64)
    slots = np.empty(BATCH, np.int64)
    bits = np.empty(BATCH, np.int64)
    lows = np.empty(BATCH, np.int64)
    nexts = np.empty(BATCH, np.int64)
    parts = offsets.size - 1
    group = start.size // parts
    shift = _40 if wide else _32
    mask = np.uint64(group * SLOTS - 1)
    for part in range(parts):
        for i in range(offsets[part], offsets[part + 1], BATCH):
            m = min(BATCH, offsets[part + 1] - i)
            for k in range(m):
                slot = np.int64((codes[i + k] >> shift) & mask)
                b = part * group + (slot >> 12)
                slots[k] = slot & 4095
                firsts[k] = start[b]
                # Behind the bitmap: the first remainder, and the first of the next 8 bits.
                lows[k] = 2 * (start[b] + 4 + ((count[b] + SLOTS + 63) >> 6))
                nexts[k] = 4 * (lows[k] + count[b])
                prefetch(words, start[b])
            for k in range(m):
                block = slots[k] >> 8
                # Word `block` of the bucket's first 16; for block 0 that is the count, and the rank is 0.
                half = halves[2 * firsts[k] + (block >> 1)]
                rank = np.int64((half >> np.uint32(16 * (block & 1))) & _LOW_16)
                bits[k] = ((firsts[k] + 4) << 6) + (block << 8) + (rank if block > 0 else 0)
                prefetch(words, bits[k] >> 6)
                prefetch(words, (bits[k] >> 6) + 8)
            for k in range(m):
                bit = bits[k]
                if slots[k] & 255 > 0:
                    bit = _after_zeros(words, bit, slots[k] & 255)
                # The ones before are the values of the slots before.
                j = bit - ((firsts[k] + 4) << 6) - slots[k]
                bits[k] = bit
                lows[k] += j
                nexts[k] += j
                prefetch(halves, lows[k])
                if wide:
                    prefetch(octets, nexts[k])
            for k in range(m):
                bit = bits[k]
                low = lows[k]
                next8 = nexts[k]
                wanted = np.uint32(codes[i + k] >> (shift - _32))
                extra = np.uint8(codes[i + k])
                # The ones from here on are the values of the slot. Nearly always they end in this word and
                # are at most four: comparing four saves two mispredicted branches.
                ends = ~(words[bit >> 6] >> np.uint64(bit & 63))
                n = trailing_zeros(ends) if ends != _ZERO else 64
                hit = False
                if not wide and n <= 4 and n + (bit & 63) < 64 and low + 4 <= halves.size:
                    hit = (
                        ((halves[low] == wanted) & (n > 0))
                        | ((halves[low + 1] == wanted) & (n > 1))
                        | ((halves[low + 2] == wanted) & (n > 2))
                        | ((halves[low + 3] == wanted) & (n > 3))
                    )
                else:
                    while (words[bit >> 6] >> np.uint64(bit & 63)) & _ONE != _ZERO:
                        if halves[low] == wanted and (not wide or octets[next8] == extra):
                            hit = True
                        bit += 1
                        low += 1
                        next8 += 1
                found[i + k] = hit


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
    """found[i] = whether codes[i] is there: for values grouped into parts, many against the file.

    codes and offsets as for `lookup`. begin int32[4097 a bucket of a part + BEGIN_SLACK] is scratch: where
    each slot's remainders begin, unpacked from the bitmap once a part.
    """
    parts = offsets.size - 1
    group = start.size // parts
    shift = _40 if wide else _32
    mask = np.uint64(group * SLOTS - 1)
    for part in range(parts):
        b = part * group
        halfway = 2 * start[b]
        for g in range(group):
            # Zeros of the padding write behind the table, where the next bucket's comes.
            _begin_table(words, start[b + g], halfway, begin, g * (SLOTS + 1))
        for i in range(offsets[part], offsets[part + 1]):
            slot = np.int64((codes[i] >> shift) & mask)
            entry = slot + (slot >> 12)
            j = halfway + begin[entry]
            e = halfway + begin[entry + 1]
            hit = False
            if wide:
                wanted = np.uint32(codes[i] >> _8)
                bucket = b + (slot >> 12)
                # u8 number x of a bucket lies behind its n remainders.
                low = 2 * (start[bucket] + 4 + ((count[bucket] + SLOTS + 63) >> 6))
                next8 = 4 * (low + count[bucket]) - low
                for k in range(j, e):
                    hit |= (halves[k] == wanted) and octets[next8 + k] == np.uint8(codes[i])
            else:
                wanted = np.uint32(codes[i])
                if e - j > 4 or j + 4 > halves.size:
                    for k in range(j, e):
                        hit |= halves[k] == wanted
                else:
                    # Nearly every slot has at most four values: comparing four saves a mispredicted branch.
                    hit = (
                        ((halves[j] == wanted) & (j < e))
                        | ((halves[j + 1] == wanted) & (j + 1 < e))
                        | ((halves[j + 2] == wanted) & (j + 2 < e))
                        | ((halves[j + 3] == wanted) & (j + 3 < e))
                    )
            found[i] = hit
