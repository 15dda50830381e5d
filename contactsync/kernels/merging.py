"""Joining sorted lists: which codes of one are in the other, without a branch to mispredict."""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.kernels.elias_fano import decode_bucket
from contactsync.kernels.policy import inlined, kernel
from contactsync.kernels.sorting import code_of

Array = Any

_8 = np.uint64(8)
_44 = np.uint64(44)


@inlined
def _lower_bound(codes: Array, first: int, end: int, code: np.uint64) -> int:
    """The first place from `first` on whose code is not below `code`."""
    while first < end:
        middle = (first + end) >> 1
        if codes[middle] < code:
            first = middle + 1
        else:
            end = middle
    return first


@inlined
def _join(a: Array, a0: int, a_end: int, b: Array, b0: int, b_end: int, found: Array) -> None:
    """One stream to its end: found[i] for i in a0 … a_end - 1."""
    while a0 < a_end and b0 < b_end:
        x = a[a0]
        y = b[b0]
        found[a0] = x == y
        a0 += x <= y
        b0 += y < x
    while a0 < a_end:
        found[a0] = False
        a0 += 1


@inlined
def join_four(a: Array, a_first: int, a_end: int, b: Array, n: int, found: Array) -> None:
    """found[i] = whether a[i] is in b[:n], for i in a_first … a_end - 1; both ascend, a may repeat itself.

    A merge step depends on the one before, so one merge leaves the processor waiting. Four merges, of the
    four quarters of b, take turns. A step stores its verdict on a[i] whether or not it is final, and moves b
    on only past what is strictly smaller, so that the next copy of a[i] meets it too.
    """
    q1, q2, q3 = n >> 2, n >> 1, (n >> 1) + (n >> 2)
    if q1 == 0:
        _join(a, a_first, a_end, b, 0, n, found)
        return
    i0 = a_first
    e0 = _lower_bound(a, i0, a_end, b[q1])
    i1 = e0
    e1 = _lower_bound(a, i1, a_end, b[q2])
    i2 = e1
    e2 = _lower_bound(a, i2, a_end, b[q3])
    i3 = e2
    e3 = a_end
    j0, j1, j2, j3 = 0, q1, q2, q3
    while True:
        # So many steps cannot run over the end of any list.
        steps = min(e0 - i0, q1 - j0, e1 - i1, q2 - j1, e2 - i2, q3 - j2, e3 - i3, n - j3)
        if steps < 1:
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
            i0 += x0 <= y0
            i1 += x1 <= y1
            i2 += x2 <= y2
            i3 += x3 <= y3
            j0 += y0 < x0
            j1 += y1 < x1
            j2 += y2 < x2
            j3 += y3 < x3
    _join(a, i0, e0, b, j0, q1, found)
    _join(a, i1, e1, b, j1, q2, found)
    _join(a, i2, e2, b, j2, q3, found)
    _join(a, i3, e3, b, j3, n, found)


@kernel
def join(a: Array, b: Array, found: Array) -> None:
    """Found bool[m]: whether each of a uint64[m] is in b uint64[n]; both ascend, a may repeat. O(m + n)."""
    join_four(a, 0, a.size, b, b.size, found)


@kernel
def join_buckets(
    words: Array, halves: Array, octets: Array, start: Array, count: Array, wide: bool, drop: int,
    head: Array, tail: Array, group: int, decoded: Array, extra: Array, codes: Array, found: Array,
) -> None:  # fmt: skip
    """found[i] = whether a token is in the directory, for tokens in the order of their values, many of them.

    head uint64[m], tail uint16[m]; 32 - drop are the slot bits. `group` buckets at a time are decoded into
    scratch: decoded uint64 and extra uint8, as large as the fullest group. codes uint64, of any size, is
    scratch for the codes of the tokens.
    """
    less = np.uint64(drop)
    first = 0
    for b in range(0, start.size, group):
        n = 0
        last = min(b + group, start.size)
        for c in range(b, last):
            decode_bucket(words, halves, octets, start[c], c, count[c], wide, decoded, extra, n)
            n += count[c]
        if wide:
            for k in range(n):
                decoded[k] = (decoded[k] << _8) | np.uint64(extra[k])
        end = head.size
        if last < start.size:
            end = _lower_bound(head, first, head.size, np.uint64(last) << (_44 + less))
        while first < end:
            m = min(end - first, codes.size)
            for k in range(m):
                codes[k] = code_of(head[first + k], tail[first + k], less, wide)
            join_four(codes, 0, m, decoded, n, found[first : first + m])
            first += m
