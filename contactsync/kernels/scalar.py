"""Integers modulo ell = 2^252 + …, the order of the group (RFC 9496 §4.4), in lanes, at both widths.

A *scalar* is five Lanes(n) of 52-bit limbs, a0 … a4, with value Σ ai·2^(52i). Products are Montgomery
products with R = 2^260: montgomery(a, b) = a·b/R mod ell, for any a·b < R·ell. Constant time: no branch,
index or loop bound depends on a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contactsync.kernels.five_limbs import Constant, Limbs, constant, load_limbs, select, store_limbs
from contactsync.kernels.lanes import (
    Vector,
    Words,
    gather,
    lane_count,
    madhi,
    madlo,
    scatter,
    splat,
    stay_a_call,
    store,
    width_of,
    zero_mask,
)
from contactsync.kernels.policy import body, function, inlined, kernel

ORDER = 2**252 + 27742317777372353535851937790883648493

Scalar = Limbs

_MASK = 2**52 - 1
_NIBBLE = 15
_R = 2**260


def _limbs(value: int) -> Constant:
    a0, a1, a2, a3, a4 = (value >> 52 * i & _MASK for i in range(5))
    return a0, a1, a2, a3, a4


_ELL0, _ELL1, _ELL2, _ELL3, _ELL4 = _limbs(ORDER)
assert _ELL3 == 0
_MINUS_INVERSE = -pow(ORDER, -1, 2**52) % 2**52
_ZERO = _limbs(0)
_ONE = _limbs(1)
_R_MOD_ELL = _limbs(_R % ORDER)
_R_SQUARED = _limbs(_R * _R % ORDER)
INVERT_SCRATCH = 16 * 5
"""Words of scratch that `invert` needs for each lane, in addition to 5 for each row."""
_EXPONENT = np.array([ORDER - 2 >> i & _NIBBLE for i in range(252, -1, -4)], np.int64)


@inlined
def load_scalar(width: Any, rows: Words, offset: int, stride: int) -> Scalar:
    """Lane i: the 256-bit little-endian number at rows[offset + i * stride : … + 4]."""
    w0 = gather(width, rows, offset, stride)
    w1 = gather(width, rows, offset + 1, stride)
    w2 = gather(width, rows, offset + 2, stride)
    w3 = gather(width, rows, offset + 3, stride)
    return (
        w0 & _MASK,
        ((w0 >> 52) | (w1 << 12)) & _MASK,
        ((w1 >> 40) | (w2 << 24)) & _MASK,
        ((w2 >> 28) | (w3 << 36)) & _MASK,
        w3 >> 16,
    )


@inlined
def _store_scalar(rows: Words, offset: int, a: Scalar) -> None:
    """The inverse of load_scalar, to rows of four words; a is below 2^256."""
    a0, a1, a2, a3, a4 = a
    scatter(rows, offset, 4, a0 | (a1 << 52))
    scatter(rows, offset + 1, 4, (a1 >> 12) | (a2 << 40))
    scatter(rows, offset + 2, 4, (a2 >> 24) | (a3 << 28))
    scatter(rows, offset + 3, 4, (a3 >> 36) | (a4 << 16))


@inlined
def _is_zero(a: Scalar) -> Vector:
    return zero_mask(a[0] | a[1] | a[2] | a[3] | a[4])


@inlined
def _reduce_once(a: Scalar) -> Scalar:
    """The residue a - ell if a ≥ ell, else a. Takes limbs below 2^63, not carried, value below 2·ell."""
    a0, a1, a2, a3, a4 = a
    a1 = a1 + (a0 >> 52)
    a2 = a2 + (a1 >> 52)
    a3 = a3 + (a2 >> 52)
    a4 = a4 + (a3 >> 52)
    a0, a1, a2, a3 = a0 & _MASK, a1 & _MASK, a2 & _MASK, a3 & _MASK
    # a - ell. A limb that is below zero has its top bit set, and borrows.
    d0 = a0 - _ELL0
    d1 = a1 - _ELL1 - (d0 >> 63)
    d2 = a2 - _ELL2 - (d1 >> 63)
    d3 = a3 - (d2 >> 63)
    d4 = a4 - _ELL4 - (d3 >> 63)
    below = 0 - (d4 >> 63)
    return select(below, (a0, a1, a2, a3, a4), (d0 & _MASK, d1 & _MASK, d2 & _MASK, d3 & _MASK, d4 & _MASK))


@inlined
def _add_product(c: Scalar, over: Vector, a: Vector, b: Scalar) -> tuple[Scalar, Vector]:
    """The sum c + a·b for one limb a; `over` is the limb above c. Adds less than 2^53 to each limb."""
    c0, c1, c2, c3, c4 = c
    b0, b1, b2, b3, b4 = b
    c0 = madlo(c0, a, b0)
    c1 = madlo(madhi(c1, a, b0), a, b1)
    c2 = madlo(madhi(c2, a, b1), a, b2)
    c3 = madlo(madhi(c3, a, b2), a, b3)
    c4 = madlo(madhi(c4, a, b3), a, b4)
    return (c0, c1, c2, c3, c4), madhi(over, a, b4)


@inlined
def _step(c: Scalar, a: Vector, b: Scalar) -> Scalar:
    """(c + a·b + m·ell) / 2^52 with the m that makes it an integer (Montgomery's reduction, one limb)."""
    width = width_of(a)
    zero = splat(width, 0)
    c, over = _add_product(c, zero, a, b)
    # m = -c/ell mod 2^52. The multiply-add reads only the low 52 bits of c0.
    m = madlo(zero, c[0], splat(width, _MINUS_INVERSE))
    ell = splat(width, _ELL0), splat(width, _ELL1), splat(width, _ELL2), zero, splat(width, _ELL4)
    c, over = _add_product(c, over, m, ell)
    return c[1] + (c[0] >> 52), c[2], c[3], c[4], over


@function
def montgomery(a: Scalar, b: Scalar) -> Scalar:
    """a·b/R mod ell, canonical. Takes a·b < R·ell with limbs below 2^52, so any a, b below 2^256."""
    stay_a_call()
    zero = splat(width_of(a[0]), 0)
    c = zero, zero, zero, zero, zero
    # Each step adds less than 2^54 to a limb and moves it one down: limbs stay below 5·2^54.
    c = _step(c, a[0], b)
    c = _step(c, a[1], b)
    c = _step(c, a[2], b)
    c = _step(c, a[3], b)
    c = _step(c, a[4], b)
    return _reduce_once(c)


@inlined
def _sum(a: Scalar, b: Scalar) -> Scalar:
    return _reduce_once((a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4]))


@body
def signed_digits(width: Any, rows: Words, offset: int, stride: int, digits: Words) -> None:
    """The 64 digits in base 16, each -7 … 8, of canonical scalars at rows[offset + i * stride : … + 4].

    digits: 64·n words, digit 0 first. Negative digits are taken modulo 2^64.
    """
    n = lane_count(width)
    carried = splat(width, 0)
    for word in range(4):
        rest = gather(width, rows, offset + word, stride)
        for i in range(16):
            # 0 … 16. Above 8 it becomes negative and carries one, except the last, which is at most 2.
            digit = (rest & _NIBBLE) + carried
            carried = (digit + 7) >> 4
            store(digits, (16 * word + i) * n, digit - (carried << 4))
            rest = rest >> 4


@kernel
def multiply_add(
    width: Any, a: Words, a_stride: int, b: Words, b_stride: int, c: Words, c_stride: int, out: Words
) -> None:
    """out[i] = (a[i]·b[i] + c[i]) mod ell, canonical, for whole groups of lanes.

    Row i of a is the four words at i * a_stride, any number below 2^256. The same applies to b and c. A
    stride of 0 uses one row for all. (512 bits are reduced as upper·(2^256 mod ell) + lower.)
    """
    n = lane_count(width)
    one = constant(width, _ONE)
    r_squared = constant(width, _R_SQUARED)
    for i in range(0, out.size // 4, n):
        x = load_scalar(width, a, a_stride * i, a_stride)
        y = load_scalar(width, b, b_stride * i, b_stride)
        z = load_scalar(width, c, c_stride * i, c_stride)
        # (x·y + z)/R, then times R²/R
        _store_scalar(out, 4 * i, montgomery(_sum(montgomery(x, y), montgomery(z, one)), r_squared))


@kernel
def invert(width: Any, a: Words, out: Words, scratch: Words) -> None:
    """out[i] = 1/a[i] mod ell, and 0 for 0, for whole groups of lanes. a is canonical, rows of four words.

    The power of Fermat's theorem is computed once for each lane, from the product of all its values (P. L.
    Montgomery's trick). scratch: 5 words for each row, plus INVERT_SCRATCH·n.
    """
    n = lane_count(width)
    one = constant(width, _ONE)
    r = constant(width, _R_MOD_ELL)
    r_squared = constant(width, _R_SQUARED)
    groups = out.size // (4 * n)
    product = r
    for g in range(groups):
        store_limbs(scratch, g, product)
        x = montgomery(load_scalar(width, a, 4 * g * n, 4), r_squared)
        product = montgomery(product, select(_is_zero(x), r, x))
    # product^(ell - 2) by a fixed window. Only the exponent decides which power is read.
    power = r
    for j in range(16):
        store_limbs(scratch, groups + j, power)
        power = montgomery(power, product)
    inverse = r
    for digit in _EXPONENT:
        for _ in range(4):
            inverse = montgomery(inverse, inverse)
        inverse = montgomery(inverse, load_limbs(width, scratch, groups + digit))
    for g in range(groups - 1, -1, -1):
        x = montgomery(load_scalar(width, a, 4 * g * n, 4), r_squared)
        zero = _is_zero(x)
        result = montgomery(montgomery(inverse, load_limbs(width, scratch, g)), one)
        _store_scalar(out, 4 * g * n, select(zero, constant(width, _ZERO), result))
        inverse = montgomery(inverse, select(zero, r, x))
