"""edwards25519, -x² + y² = 1 + d·x²·y², in extended coordinates. One source for both widths.

A *point* is (X, Y, Z, T) with x = X/Z, y = Y/Z, x·y = T/Z. A *cached* point, ready to be added, is (Y + X, Y
- X, 2Z, 2d·T). The formulas are complete: they hold for every pair of points, including the identity and the
points of small order. They are add-2008-hwcd-3 and dbl-2008-hwcd of the Explicit-Formulas Database, for a =
-1. RFC 8032 §5.1.4 has the same.

Bounds: coordinates are elements of field.py. Before `as_factor`, E, F, G, H are sums of at most three raw
products and what `sub_raw` adds: below 2^62.9 at eight lanes, 3·(2^51 + 2^17) + 2^52 < 2^54 at one.
"""

from __future__ import annotations

from typing import Any

from contactsync.kernels.field import (
    ONE,
    ZERO,
    P,
    add,
    add_raw,
    as_factor,
    limbs,
    mul,
    mul_inlined,
    mul_raw,
    negate_if,
    square_raw,
    sub,
    sub_raw,
)
from contactsync.kernels.five_limbs import Limbs, constant, load_limbs, select, store_limbs
from contactsync.kernels.lanes import (
    Vector,
    Words,
    barrier,
    by_width,
    lane_count,
    load,
    row_width,
    spread,
    stay_a_call,
    store,
    width_of,
    zero_mask,
)
from contactsync.kernels.policy import body, function, inlined

Point = tuple[Limbs, Limbs, Limbs, Limbs]

D = -121665 * pow(121666, -1, P) % P
_TWICE_D = limbs(2 * D)

POINT_LIMBS = 20
TABLE = 8
"""Entries in a table of multiples: 1·P … 8·P."""
DIGITS = 64
"""Signed digits of a scalar in base 16, each -8 … 8."""


@inlined
def identity(width: Any) -> Point:
    """(0, 1, 1, 0)."""
    zero, one = constant(width, ZERO), constant(width, ONE)
    return zero, one, one, zero


@inlined
def load_point(width: Any, array: Words, index: int) -> Point:
    """Point (or cached point) number `index` of an array of points, each 20·n words."""
    return (
        load_limbs(width, array, 4 * index),
        load_limbs(width, array, 4 * index + 1),
        load_limbs(width, array, 4 * index + 2),
        load_limbs(width, array, 4 * index + 3),
    )


@inlined
def store_point(array: Words, index: int, point: Point) -> None:
    """The inverse of `load_point`."""
    store_limbs(array, 4 * index, point[0])
    store_limbs(array, 4 * index + 1, point[1])
    store_limbs(array, 4 * index + 2, point[2])
    store_limbs(array, 4 * index + 3, point[3])


@function
def to_cached(p: Point) -> Point:
    """The cached form of a point."""
    stay_a_call()
    X, Y, Z, T = p
    return add(Y, X), sub(Y, X), add(Z, Z), mul(T, constant(width_of(X[0]), _TWICE_D))


@body
def _sum_efgh(p: Point, cached: Point) -> tuple[Limbs, Limbs, Limbs, Limbs]:
    X, Y, Z, T = p
    y_plus_x, y_minus_x, z2, t2d = cached
    # A = (Y1 - X1)(Y2 - X2), B = (Y1 + X1)(Y2 + X2), C = T1·2d·T2, D = Z1·2·Z2
    A = mul_raw(as_factor(sub_raw(Y, X)), y_minus_x)
    B = mul_raw(as_factor(add_raw(Y, X)), y_plus_x)
    C = mul_raw(T, t2d)
    D_ = mul_raw(Z, z2)
    # E = B - A, F = D - C, G = D + C, H = B + A
    return (
        as_factor(sub_raw(B, A)),
        as_factor(sub_raw(D_, C)),
        as_factor(add_raw(D_, C)),
        as_factor(add_raw(B, A)),
    )


@body
def _double_efgh(p: Point) -> tuple[Limbs, Limbs, Limbs, Limbs]:
    X, Y, Z, _ = p
    # A = X1², B = Y1², C = 2·Z1². F and H have the opposite sign from the database, and so do all products.
    A = square_raw(X)
    B = square_raw(Y)
    C = square_raw(Z)
    XY = mul_raw(X, Y)
    # E = 2·X1·Y1, F = C + A - B, G = B - A, H = A + B
    F = sub_raw(add_raw(add_raw(C, C), A), B)
    return as_factor(add_raw(XY, XY)), as_factor(F), as_factor(sub_raw(B, A)), as_factor(add_raw(A, B))


@function
def add_cached(p: Point, cached: Point) -> Point:
    """The sum p + q, q cached, by calls."""
    stay_a_call()
    E, F, G, H = _sum_efgh(p, cached)
    return mul(E, F), mul(G, H), mul(F, G), mul(E, H)


@body
def add_points(p: Point, q: Point) -> Point:
    """The sum p + q."""
    return add_cached(p, to_cached(q))


@body
def double_without_t(p: Point) -> Point:
    """2·p without T, if a doubling follows. T of p is not read."""
    E, F, G, H = _double_efgh(p)
    return mul_inlined(E, F), mul_inlined(G, H), mul_inlined(F, G), p[3]


@body
def double(p: Point) -> Point:
    """2·p. T of p is not read."""
    E, F, G, H = _double_efgh(p)
    return mul_inlined(E, F), mul_inlined(G, H), mul_inlined(F, G), mul_inlined(E, H)


@body
def times_16(p: Point) -> Point:
    """16·p. T of p is not read."""
    for _ in range(3):
        p = double_without_t(p)
    return double(p)


@body
def add_cached_without_t(p: Point, cached: Point) -> Point:
    """The sum p + q without T, q cached, if a doubling follows."""
    E, F, G, H = _sum_efgh(p, cached)
    return mul_inlined(E, F), mul_inlined(G, H), mul_inlined(F, G), p[3]


@body
def add_cached_inlined(p: Point, cached: Point) -> Point:
    """The sum p + q, q cached, inlined, for the hot loops."""
    E, F, G, H = _sum_efgh(p, cached)
    return mul_inlined(E, F), mul_inlined(G, H), mul_inlined(F, G), mul_inlined(E, H)


@body
def from_cached_without_t(cached: Point) -> Point:
    """A cached point as (2X, 2Y, 2Z), without T."""
    y_plus_x, y_minus_x, z2, t2d = cached
    return sub(y_plus_x, y_minus_x), add(y_plus_x, y_minus_x), z2, t2d


@body
def restore_t(p: Point) -> Point:
    """(XZ, YZ, Z², XY): the same point with its T."""
    X, Y, Z, _ = p
    return mul(X, Z), mul(Y, Z), mul(Z, Z), mul(X, Y)


def scan(size: Vector, table: Words, first: int, spare: int) -> Point:
    """Entry `size`, 1 … 8, of the table that begins at point `first`, lane by lane; zeros for size 0.

    Reads the whole table. May write to point `spare` of it.
    """
    raise NotImplementedError


@inlined
def _or_masked(total: Limbs, mask: Vector, a: Limbs) -> Limbs:
    return (
        total[0] | (mask & a[0]),
        total[1] | (mask & a[1]),
        total[2] | (mask & a[2]),
        total[3] | (mask & a[3]),
        total[4] | (mask & a[4]),
    )


@inlined
def _scan_8(size: Vector, table: Words, first: int, _spare: int) -> Point:
    width = width_of(size)
    zero = constant(width, ZERO)
    y_plus_x, y_minus_x, z2, t2d = zero, zero, zero, zero
    for j in range(TABLE):
        mask = zero_mask(size ^ (j + 1))
        entry = load_point(width, table, first + j)
        y_plus_x = _or_masked(y_plus_x, mask, entry[0])
        y_minus_x = _or_masked(y_minus_x, mask, entry[1])
        z2 = _or_masked(z2, mask, entry[2])
        t2d = _or_masked(t2d, mask, entry[3])
    return y_plus_x, y_minus_x, z2, t2d


@inlined
def _scan_1(size: Vector, table: Words, first: int, spare: int) -> Point:
    # With one lane, all words of an entry have the same mask: four at a time make the scan four times
    # shorter.
    row = row_width(width_of(size))
    m1 = spread(zero_mask(size ^ 1))
    m2 = spread(zero_mask(size ^ 2))
    m3 = spread(zero_mask(size ^ 3))
    m4 = spread(zero_mask(size ^ 4))
    m5 = spread(zero_mask(size ^ 5))
    m6 = spread(zero_mask(size ^ 6))
    m7 = spread(zero_mask(size ^ 7))
    m8 = spread(zero_mask(size ^ 8))
    step = POINT_LIMBS
    for i in range(0, step, lane_count(row)):
        at = first * step + i
        chosen = (m1 & load(row, table, at)) | (m2 & load(row, table, at + step))
        chosen = chosen | (m3 & load(row, table, at + 2 * step)) | (m4 & load(row, table, at + 3 * step))
        chosen = chosen | (m5 & load(row, table, at + 4 * step)) | (m6 & load(row, table, at + 5 * step))
        chosen = chosen | (m7 & load(row, table, at + 6 * step)) | (m8 & load(row, table, at + 7 * step))
        store(table, spare * step + i, chosen)
    return load_point(width_of(size), table, spare)


by_width(scan, _scan_8, _scan_1)


@function
def lookup(table: Words, first: int, digit: Vector, spare: int) -> Point:
    """digit·P for each lane, cached. `table` contains 1·P … 8·P, cached, from point `first`.

    Constant time: the whole table is read, whatever the digits, -8 … 8, are. `spare` is a scratch point.
    """
    stay_a_call()
    negative = 0 - (digit >> 63)
    size = barrier((digit ^ negative) - negative)
    negative = barrier(negative)
    y_plus_x, y_minus_x, z2, t2d = scan(size, table, first, spare)
    # Digit 0: the identity, cached, is (1, 1, 2, 0).
    one = zero_mask(size) & 1
    y_plus_x = y_plus_x[0] | one, y_plus_x[1], y_plus_x[2], y_plus_x[3], y_plus_x[4]
    y_minus_x = y_minus_x[0] | one, y_minus_x[1], y_minus_x[2], y_minus_x[3], y_minus_x[4]
    z2 = z2[0] | (one + one), z2[1], z2[2], z2[3], z2[4]
    # -(x, y) = (-x, y): Y + X and Y - X are swapped, T changes its sign.
    return (
        select(negative, y_minus_x, y_plus_x),
        select(negative, y_plus_x, y_minus_x),
        z2,
        negate_if(negative, t2d),
    )


@body
def fill_table(p: Point, table: Words, first: int) -> None:
    """Write 1·p … 8·p, cached, to `table` from point `first`."""
    width = width_of(p[0][0])
    store_point(table, first, to_cached(p))
    multiple = p
    for j in range(1, TABLE):
        multiple = add_cached(multiple, load_point(width, table, first))
        store_point(table, first + j, to_cached(multiple))


@body
def multiply_point(p: Point, digits: Words, table: Words) -> Point:
    """Σ digits[i]·16^i · p, lane by lane. Constant time.

    digits: 64·n words, digit 0 first, each -8 … 8 as uint64; table: 9 points of scratch.
    """
    width = width_of(p[0][0])
    n = lane_count(width)
    fill_table(p, table, 0)
    total = from_cached_without_t(lookup(table, 0, load(width, digits, (DIGITS - 1) * n), TABLE))
    for i in range(DIGITS - 2, -1, -1):
        total = times_16(total)
        digit = load(width, digits, i * n)
        total = add_cached_without_t(total, lookup(table, 0, digit, TABLE))
    return restore_t(total)
