"""The entry points of the group, on whole arrays of encodings, points and scalars, at either width.

Arrays are flat, C-contiguous, writable uint64, and contain whole groups of lanes; the caller pads them. An
*encoding* is four words (32 bytes, little-endian), row after row. *Points* are stored in groups of 20·n
words: coordinate by coordinate, limb by limb, lanes innermost (edwards.store_point). All kernels release the
GIL and allocate nothing. They are separate kernels, not one from bytes to bytes, because Numba compiles every
function again into each kernel that calls it.

Each kernel is constant time in the values of its arguments, unless its name says _vartime: only the sizes of
the arrays decide what is executed and which addresses are read.
"""

from __future__ import annotations

from typing import Any

from contactsync.kernels.edwards import (
    DIGITS,
    POINT_LIMBS,
    TABLE,
    add_cached_inlined,
    add_points,
    fill_table,
    identity,
    load_point,
    lookup,
    multiply_point,
    store_point,
    times_16,
)
from contactsync.kernels.field import (
    ONE,
    ZERO,
    from_words,
    invert,
    is_zero,
    mul,
    to_words,
)
from contactsync.kernels.five_limbs import constant, load_limbs, select, store_limbs
from contactsync.kernels.lanes import Words, gather, lane_count, load, scatter
from contactsync.kernels.policy import inlined, kernel
from contactsync.kernels.ristretto import (
    compress_double,
    decode_point,
    double_halves,
    encode_point,
    map_to_point,
)
from contactsync.kernels.scalar import signed_digits

SHARED_GROUPS = 128
"""Groups of lanes that share one inversion in `double_encode`."""
DOUBLE_ENCODE_SCRATCH = SHARED_GROUPS * 6 * 5
"""Words of scratch for `double_encode`, for each lane."""
SUMMED_GROUPS = 32
"""Groups of lanes that share one row of doublings in `multiscalar`."""


@inlined
def _load_bits(width: Any, rows: Words, offset: int, stride: int) -> Any:
    """Lane i: 255 bits of the number at rows[offset + i * stride : … + 4], and its top bit."""
    w0 = gather(width, rows, offset, stride)
    w1 = gather(width, rows, offset + 1, stride)
    w2 = gather(width, rows, offset + 2, stride)
    w3 = gather(width, rows, offset + 3, stride)
    return from_words(w0, w1, w2, w3), w3 >> 63


@inlined
def _store_encoding(rows: Words, offset: int, s: Any) -> None:
    w0, w1, w2, w3 = to_words(s)
    scatter(rows, offset, 4, w0)
    scatter(rows, offset + 1, 4, w1)
    scatter(rows, offset + 2, 4, w2)
    scatter(rows, offset + 3, 4, w3)


@kernel
def decode(width: Any, encodings: Words, points: Words, valid: Words) -> None:
    """Decode (RFC 9496 §4.3.1). valid: one word per row, all ones or 0. If 0, the point is the identity."""
    n = lane_count(width)
    for i in range(0, valid.size, n):
        s, top_bit = _load_bits(width, encodings, 4 * i, 4)
        point, mask = decode_point(s, top_bit)
        X, Y, Z, T = point
        neutral = identity(width)
        point = select(mask, X, neutral[0]), select(mask, Y, neutral[1]), Z, select(mask, T, neutral[3])
        store_point(points, i // n, point)
        scatter(valid, i, 1, mask)


@kernel
def encode(width: Any, points: Words, encodings: Words) -> None:
    """Encode (RFC 9496 §4.3.2)."""
    n = lane_count(width)
    for i in range(0, encodings.size // 4, n):
        _store_encoding(encodings, 4 * i, encode_point(load_point(width, points, i // n)))


@kernel
def derive(width: Any, uniform: Words, points: Words) -> None:
    """Element derivation (RFC 9496 §4.3.4) from rows of eight words: the sum of MAP of both halves."""
    n = lane_count(width)
    for i in range(0, uniform.size // 8, n):
        total = identity(width)
        for half in range(2):
            t, _ = _load_bits(width, uniform, 8 * i + 4 * half, 8)
            total = add_points(total, map_to_point(t))
        store_point(points, i // n, total)


@kernel
def add(width: Any, a: Words, b: Words, points: Words) -> None:
    """points[i] = a[i] + b[i]."""
    for group in range(points.size // (POINT_LIMBS * lane_count(width))):
        store_point(points, group, add_points(load_point(width, a, group), load_point(width, b, group)))


@kernel
def multiply(
    width: Any, points: Words, scalars: Words, stride: int, products: Words, table: Words, digits: Words
) -> None:
    """products[i] = scalars[i]·points[i]; points and products may be the same array.

    Row i of the scalars is the four words at i * stride, canonical. A stride of 0 uses one scalar for all.
    """
    n = lane_count(width)
    for group in range(points.size // (POINT_LIMBS * n)):
        signed_digits(width, scalars, group * n * stride, stride, digits)
        store_point(products, group, multiply_point(load_point(width, points, group), digits, table))


@kernel
def double_encode(width: Any, points: Words, encodings: Words, scratch: Words) -> None:
    """Encode 2·points[i], with one inversion for SHARED_GROUPS groups instead of a square root each."""
    n = lane_count(width)
    groups = encodings.size // (4 * n)
    one = constant(width, ONE)
    zero = constant(width, ZERO)
    for first in range(0, groups, SHARED_GROUPS):
        last = min(first + SHARED_GROUPS, groups)
        product = one
        for group in range(first, last):
            at = 6 * (group - first)
            E, F, G, H = double_halves(load_point(width, points, group))
            efgh = mul(mul(E, F), mul(G, H))
            store_limbs(scratch, at, E)
            store_limbs(scratch, at + 1, F)
            store_limbs(scratch, at + 2, G)
            store_limbs(scratch, at + 3, H)
            store_limbs(scratch, at + 4, efgh)
            store_limbs(scratch, at + 5, product)
            product = mul(product, select(is_zero(efgh), one, efgh))
        inverse = invert(product)
        for group in range(last - 1, first - 1, -1):
            at = 6 * (group - first)
            E = load_limbs(width, scratch, at)
            F = load_limbs(width, scratch, at + 1)
            G = load_limbs(width, scratch, at + 2)
            H = load_limbs(width, scratch, at + 3)
            efgh = load_limbs(width, scratch, at + 4)
            nothing = is_zero(efgh)
            own = select(nothing, zero, mul(inverse, load_limbs(width, scratch, at + 5)))
            inverse = mul(inverse, select(nothing, one, efgh))
            _store_encoding(encodings, 4 * group * n, compress_double((E, F, G, H), own))


@kernel
def multiscalar_vartime(
    width: Any, points: Words, scalars: Words, total: Words, tables: Words, digits: Words
) -> None:
    """Add Σ scalars[i]·points[i], over the rows of each lane, to the one group `total` (E. G. Straus).

    One row of doublings serves SUMMED_GROUPS groups. For public scalars only.
    """
    n = lane_count(width)
    groups = points.size // (POINT_LIMBS * n)
    for first in range(0, groups, SUMMED_GROUPS):
        count = min(SUMMED_GROUPS, groups - first)
        for g in range(count):
            row = (first + g) * n
            signed_digits(width, scalars, 4 * row, 4, digits[g * DIGITS * n : (g + 1) * DIGITS * n])
            fill_table(load_point(width, points, first + g), tables, g * TABLE)
        partial = identity(width)
        for i in range(DIGITS - 1, -1, -1):
            partial = times_16(partial)
            for g in range(count):
                digit = load(width, digits, (g * DIGITS + i) * n)
                cached = lookup(tables, g * TABLE, digit, SUMMED_GROUPS * TABLE)
                partial = add_cached_inlined(partial, cached)
        store_point(total, 0, add_points(load_point(width, total, 0), partial))
