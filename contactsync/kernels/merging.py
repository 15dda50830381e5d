"""Joins sorted lists: which codes of one are in the other, without branches that could be mispredicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.kernels.elias_fano import decode_bucket
from contactsync.kernels.policy import inlined, kernel
from contactsync.kernels.sorting import code_of

Array = Any

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_2 = np.uint64(2)
_8 = np.uint64(8)
_44 = np.uint64(44)


@inlined
def _lower_bound(codes: Array, first: Any, end: Any, code: np.uint64) -> Any:
    """The first place from `first` whose code is not below `code`."""
    while first < end:
        middle = (first + end) >> _ONE
        if codes[middle] < code:
            first = middle + _ONE
        else:
            end = middle
    return first


@inlined
def _join(a: Array, a0: Any, a_end: Any, b: Array, b0: Any, b_end: Any, found: Array) -> None:
    """Finish one stream: found[i] for i in a0 … a_end - 1."""
    while a0 < a_end and b0 < b_end:
        x = a[a0]
        y = b[b0]
        found[a0] = x == y
        a0 += _ONE if x <= y else _ZERO
        b0 += _ONE if y < x else _ZERO
    while a0 < a_end:
        found[a0] = False
        a0 += _ONE


@inlined
def join_four(a: Array, a_first: int, a_end: int, b: Array, n: int, found: Array) -> None:
    """found[i] = whether a[i] is in b[:n], for i in a_first … a_end - 1. Both ascend; a may have duplicates.

    A merge step depends on the one before, so a single merge leaves the processor waiting. Therefore four
    merges, of the four quarters of b, take turns. A step stores its result for a[i], final or not. It
    advances b only past strictly smaller values, so that a duplicate of a[i] meets the same value.
    """
    # Unsigned indices: for signed ones, Numba checks each time whether they count from the end.
    i0, i_end, j_end = np.uint64(a_first), np.uint64(a_end), np.uint64(n)
    q1, q2, q3 = j_end >> _2, j_end >> _ONE, (j_end >> _ONE) + (j_end >> _2)
    j0, j1, j2, j3 = _ZERO, q1, q2, q3
    if q1 == _ZERO:
        _join(a, i0, i_end, b, j0, j_end, found)
        return
    e0 = i1 = _lower_bound(a, i0, i_end, b[q1])
    e1 = i2 = _lower_bound(a, i1, i_end, b[q2])
    e2 = i3 = _lower_bound(a, i2, i_end, b[q3])
    while True:
        # This many steps cannot pass the end of any list.
        steps = min(e0 - i0, q1 - j0, e1 - i1, q2 - j1, e2 - i2, q3 - j2, i_end - i3, j_end - j3)
        if steps < _ONE:
            break
        for _ in range(steps):
            x0, y0 = a[i0], b[j0]
            x1, y1 = a[i1], b[j1]
            x2, y2 = a[i2], b[j2]
            x3, y3 = a[i3], b[j3]
            found[i0] = x0 == y0
            found[i1] = x1 == y1
            found[i2] = x2 == y2
            found[i3] = x3 == y3
            i0 += _ONE if x0 <= y0 else _ZERO
            i1 += _ONE if x1 <= y1 else _ZERO
            i2 += _ONE if x2 <= y2 else _ZERO
            i3 += _ONE if x3 <= y3 else _ZERO
            j0 += _ONE if y0 < x0 else _ZERO
            j1 += _ONE if y1 < x1 else _ZERO
            j2 += _ONE if y2 < x2 else _ZERO
            j3 += _ONE if y3 < x3 else _ZERO
    _join(a, i0, e0, b, j0, q1, found)
    _join(a, i1, e1, b, j1, q2, found)
    _join(a, i2, e2, b, j2, q3, found)
    _join(a, i3, i_end, b, j3, j_end, found)


@kernel
def join(a: Array, b: Array, found: Array) -> None:
    """Found bool[m]: whether each of a uint64[m] is in b uint64[n]. Both ascend; a may repeat. O(m + n)."""
    join_four(a, 0, a.size, b, b.size, found)


@kernel
def join_buckets(
    words: Array, halves: Array, octets: Array, start: Array, count: Array, wide: bool, drop: int,
    head: Array, tail: Array, group: int, decoded: Array, extra: Array, codes: Array, found: Array,
) -> int:  # fmt: skip
    """found[i] = whether a token is in the directory, for many tokens in the order of their values.

    head uint64[m], tail uint16[m]; there are 32 - drop slot bits. `group` buckets at a time are decoded into
    scratch: decoded uint64 and extra uint8, as large as the fullest group. codes uint64, of any size, is
    scratch for the codes of the tokens. Returns the index in the span of the first bucket whose values do not
    ascend strictly, or -1.
    """
    less = np.uint64(drop)
    first = 0
    for b in range(0, start.size, group):
        n = 0
        last = min(b + group, start.size)
        for c in range(b, last):
            if not decode_bucket(words, halves, octets, start[c], c, count[c], wide, decoded, extra, n):
                return c
            n += count[c]
        if wide:
            for k in range(n):
                decoded[k] = (decoded[k] << _8) | np.uint64(extra[k])
        end = head.size
        if last < start.size:
            bound = np.uint64(last) << (_44 + less)
            end = np.int64(_lower_bound(head, np.uint64(first), np.uint64(head.size), bound))
        while first < end:
            m = min(end - first, codes.size)
            for k in range(m):
                codes[k] = code_of(head[first + k], tail[first + k], less, wide)
            join_four(codes, 0, m, decoded, n, found[first : first + m])
            first += m
    return -1
