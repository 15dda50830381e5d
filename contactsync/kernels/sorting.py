"""Groups and sorts uniform 64-bit codes by their leading bits: radix sort, most significant digit first."""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.kernels.policy import inlined, kernel

Array = Any

MAX_BIN = 64  # values in one bin; with more, the codes are not uniform, and insertion would be quadratic
SUB_BITS = 10  # the first pass leaves about 2^10 codes per group, 8 KiB: the second stays in the L1 cache
MAX_BINS = 1 << 12
_ONE = np.uint64(1)
_8 = np.uint64(8)
_16 = np.uint64(16)
_LOW_8 = np.uint64(0xFF)


@kernel
def count_parts(head: Array, shift: int, offsets: Array) -> None:
    """Set offsets int64[parts + 1], zeroed, to where each part (head >> shift) begins when grouped."""
    by = np.uint64(shift)
    for i in range(head.size):
        offsets[(head[i] >> by) + _ONE] += 1
    for part in range(1, offsets.size):
        offsets[part] += offsets[part - 1]


@inlined
def code_of(head: np.uint64, tail: np.uint16, drop: np.uint64, wide: bool) -> np.uint64:
    """The code of a token in a directory with 32 - drop slot bits (elias_fano explains codes)."""
    if wide:
        return ((head >> drop) << _8) | ((((head << _16) | np.uint64(tail)) >> (drop + _8)) & _LOW_8)
    return head >> drop


@kernel
def group(head: Array, tail: Array, drop: int, wide: bool, shift: int, offsets: Array, codes: Array) -> None:
    """Set codes uint64[n] to the codes of the tokens, grouped by part; the order within a part is kept."""
    by = np.uint64(shift)
    less = np.uint64(drop)
    place = offsets.astype(np.uint64)
    for i in range(head.size):
        part = head[i] >> by
        codes[place[part]] = code_of(head[i], tail[i], less, wide)
        place[part] += _ONE


@kernel
def ungroup(head: Array, shift: int, offsets: Array, grouped: Array, out: Array) -> None:
    """out[i] = the entry of `grouped` for head[i]. It undoes `group` by repeating it, without an index."""
    by = np.uint64(shift)
    place = offsets.astype(np.uint64)
    for i in range(head.size):
        part = head[i] >> by
        out[i] = grouped[place[part]]
        place[part] += _ONE


@kernel
def ascending(key: Array) -> bool:
    """Whether keys are sorted (they may have duplicates). Stops at the first that is not."""
    for i in range(1, key.size):  # noqa: SIM110 - Numba has no generators in all()
        if key[i] < key[i - 1]:
            return False
    return True


@inlined
def _insertion(codes: Array, first: int, end: int) -> None:
    """Sort a few codes that are nearly in place."""
    for i in range(first + 1, end):
        code = codes[i]
        j = i - 1
        while j >= first and codes[j] > code:
            codes[j + 1] = codes[j]
            j -= 1
        codes[j + 1] = code


@inlined
def _spread(source: Array, target: Array, first: int, end: int, shift: int, bits: int, bins: Array) -> Any:
    """Scatter source[first:end] into target[first:end] by the `bits` bits above `shift`.

    bins[b] becomes the end of bin b. Returns the size of the largest bin.
    """
    by = np.uint64(shift)
    mask = (_ONE << np.uint64(bits)) - _ONE
    for b in range(1 << bits):
        bins[b] = 0
    for i in range(first, end):
        bins[np.int64((source[i] >> by) & mask)] += 1
    largest = 0
    place = first
    for b in range(1 << bits):
        size = bins[b]
        largest = max(largest, size)
        bins[b] = place
        place += size
    for i in range(first, end):
        code = np.int64((source[i] >> by) & mask)
        target[bins[code]] = source[i]
        bins[code] += 1
    return largest


@inlined
def _bits_for(count: int, each: int) -> int:
    """How many bits distribute `count` codes to about 2^each per bin."""
    bits = 0
    while (count >> (bits + each)) > 1 and (2 << bits) <= MAX_BINS:
        bits += 1
    return bits


@kernel
def sort_uniform(codes: Array, common: int, scratch: Array, groups: Array, bins: Array) -> bool:
    """Sort codes uint64[n] that share their first `common` bits and are uniform in the others. O(n).

    scratch uint64[n], groups and bins int64[MAX_BINS] are working memory. Returns False, with the codes in
    some order, if they are far from uniform: then sort them in another way.
    """
    n = codes.size
    if n < 2:
        return True
    # At least one bit: a shift by 64 is not defined.
    first_bits = max(1, _bits_for(n, SUB_BITS))
    shift = 64 - common - first_bits
    _spread(codes, scratch, 0, n, shift, first_bits, groups)
    begin = 0
    for g in range(1 << first_bits):
        end = groups[g]
        bits = _bits_for(end - begin, 1)
        largest = _spread(scratch, codes, begin, end, shift - bits, bits, bins)
        if largest > MAX_BIN:
            codes[begin:] = scratch[begin:]
            return False
        _insertion(codes, begin, end)
        begin = end
    return True
