"""edwards25519, -x² + y² = 1 + d·x²·y², in extended coordinates; the same source at both widths.

A *point* is (X, Y, Z, T) with x = X/Z, y = Y/Z, x·y = T/Z; a *cached* point, ready to be added, is
(Y + X, Y - X, 2Z, 2d·T). The formulas are complete: they hold for every pair of points, the identity and the
small-order points included. add-2008-hwcd-3 and dbl-2008-hwcd of the Explicit-Formulas Database, for a = -1;
RFC 8032 §5.1.4 has the same.

Bounds: coordinates are elements of field.py. E, F, G, H are sums of at most three raw products and a bias,
below 2^62.9 (or 2^113), as `carry` wants them.
"""

from __future__ import annotations

from typing import Any

from contactsync.kernels.field import (
    ONE,
    ZERO,
    Limbs,
    P,
    add,
    add_raw,
    carry,
    constant,
    limbs,
    load_element,
    mul,
    mul_inlined,
    mul_raw,
    negate_if,
    select,
    square_raw,
    store_element,
    sub,
    sub_raw,
)
from contactsync.kernels.lanes import (
    Vector,
    Words,
    barrier,
    lane_count,
    load,
    splat,
    stay_a_call,
    width_of,
    zero_mask,
)
from contactsync.kernels.policy import body, function, inlined

Point = tuple[Limbs, Limbs, Limbs, Limbs]

D = -121665 * pow(121666, -1, P) % P
_TWICE_D = limbs(2 * D)

POINT_LIMBS = 20
TABLE = 8
"""Entries of a table of multiples: 1·P … 8·P."""
DIGITS = 64
"""Signed digits of a scalar to the base 16, each -8 … 8."""


@inlined
def identity(width: Any) -> Point:
    """(0, 1, 1, 0)."""
    zero, one = constant(width, ZERO), constant(width, ONE)
    return zero, one, one, zero


@inlined
def load_point(width: Any, array: Words, index: int) -> Point:
    """Point (or cached point) number `index` of an array of points, each 20·n words."""
    return (
        load_element(width, array, 4 * index),
        load_element(width, array, 4 * index + 1),
        load_element(width, array, 4 * index + 2),
        load_element(width, array, 4 * index + 3),
    )


@inlined
def store_point(array: Words, index: int, point: Point) -> None:
    """Write what `load_point` reads."""
    store_element(array, 4 * index, point[0])
    store_element(array, 4 * index + 1, point[1])
    store_element(array, 4 * index + 2, point[2])
    store_element(array, 4 * index + 3, point[3])


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
    A = mul_raw(sub(Y, X), y_minus_x)
    B = mul_raw(add(Y, X), y_plus_x)
    C = mul_raw(T, t2d)
    D_ = mul_raw(Z, z2)
    # E = B - A, F = D - C, G = D + C, H = B + A
    return carry(sub_raw(B, A)), carry(sub_raw(D_, C)), carry(add_raw(D_, C)), carry(add_raw(B, A))


@body
def _double_efgh(p: Point) -> tuple[Limbs, Limbs, Limbs, Limbs]:
    X, Y, Z, _ = p
    # A = X1², B = Y1², C = 2·Z1². F and H have the other sign than in the database, and so have all products.
    A = square_raw(X)
    B = square_raw(Y)
    C = square_raw(Z)
    XY = mul_raw(X, Y)
    # E = 2·X1·Y1, F = C + A - B, G = B - A, H = A + B
    F = sub_raw(add_raw(add_raw(C, C), A), B)
    return carry(add_raw(XY, XY)), carry(F), carry(sub_raw(B, A)), carry(add_raw(A, B))


@function
def add_cached(p: Point, cached: Point) -> Point:
    """The sum p + q, q cached; as calls."""
    stay_a_call()
    E, F, G, H = _sum_efgh(p, cached)
    return mul(E, F), mul(G, H), mul(F, G), mul(E, H)


@body
def add_points(p: Point, q: Point) -> Point:
    """The sum p + q."""
    return add_cached(p, to_cached(q))


@body
def double_without_t(p: Point) -> Point:
    """2·p without T, for when a doubling follows. T of p is not read."""
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
    """The sum p + q without T, q cached, for when a doubling follows."""
    E, F, G, H = _sum_efgh(p, cached)
    return mul_inlined(E, F), mul_inlined(G, H), mul_inlined(F, G), p[3]


@body
def add_cached_inlined(p: Point, cached: Point) -> Point:
    """The sum p + q, q cached, for the loops that count."""
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


@inlined
def _or_masked(total: Limbs, mask: Vector, a: Limbs) -> Limbs:
    return (
        total[0] | (mask & a[0]),
        total[1] | (mask & a[1]),
        total[2] | (mask & a[2]),
        total[3] | (mask & a[3]),
        total[4] | (mask & a[4]),
    )


@function
def lookup(width: Any, table: Words, first: int, digit: Vector) -> Point:
    """digit·P for each lane, cached; `table` holds 1·P … 8·P cached, from point `first` on.

    Constant time: the whole table is read whatever the digits, -8 … 8, are.
    """
    stay_a_call()
    negative = 0 - (digit >> 63)
    size = barrier((digit ^ negative) - negative)
    negative = barrier(negative)
    # Digit 0: the identity, cached (1, 1, 2, 0).
    zero = splat(width, 0)
    none = zero_mask(size) & 1
    y_plus_x = (none, zero, zero, zero, zero)
    y_minus_x = (none, zero, zero, zero, zero)
    z2 = (none + none, zero, zero, zero, zero)
    t2d = (zero, zero, zero, zero, zero)
    for j in range(TABLE):
        mask = zero_mask(size ^ (j + 1))
        entry = 4 * (first + j)
        y_plus_x = _or_masked(y_plus_x, mask, load_element(width, table, entry))
        y_minus_x = _or_masked(y_minus_x, mask, load_element(width, table, entry + 1))
        z2 = _or_masked(z2, mask, load_element(width, table, entry + 2))
        t2d = _or_masked(t2d, mask, load_element(width, table, entry + 3))
    # -(x, y) = (-x, y): Y + X and Y - X change places, T its sign.
    return (
        select(negative, y_minus_x, y_plus_x),
        select(negative, y_plus_x, y_minus_x),
        z2,
        negate_if(negative, t2d),
    )


@body
def fill_table(p: Point, table: Words, first: int) -> None:
    """Write 1·p … 8·p, cached, from point `first` of `table` on."""
    width = width_of(p[0][0])
    store_point(table, first, to_cached(p))
    multiple = p
    for j in range(1, TABLE):
        multiple = add_cached(multiple, load_point(width, table, first))
        store_point(table, first + j, to_cached(multiple))


@body
def multiply_point(p: Point, digits: Words, table: Words) -> Point:
    """Σ digits[i]·16^i · p, lane by lane. Constant time.

    digits: 64·n words, digit 0 first, each -8 … 8 as uint64; table: 8 points of scratch.
    """
    width = width_of(p[0][0])
    n = lane_count(width)
    fill_table(p, table, 0)
    total = from_cached_without_t(lookup(width, table, 0, load(width, digits, (DIGITS - 1) * n)))
    for i in range(DIGITS - 2, -1, -1):
        total = times_16(total)
        total = add_cached_without_t(total, lookup(width, table, 0, load(width, digits, i * n)))
    return restore_t(total)
