"""GF(2^255 - 19), or GF(p), in five 51-bit limbs. One source for both widths.

An *element* is five Lanes(n) a0 … a4, with value Σ ai·2^(51i), a0 ≤ 2^52 - 38 and a1 … a4 ≤ 2^52 - 2: each
limb is at most that of 2p. Every function takes and returns elements in these bounds, unless it says
otherwise.

A *factor* is what a multiplication takes: limbs below 2^52 at eight lanes, below 2^54 at one. Elements are
factors.

A *raw* value is a product, or a sum or difference of products, before it is carried: limbs below 2^63 at
eight lanes, below 2^54 at one. (At one lane, products are carried already, because a word has more bits than
IFMA reads.) `as_factor` turns it into a factor, and a single product into an element. `carry` turns any raw
value into an element with limbs below 2^51 + 2^17. Point formulas add and subtract raw products and carry
once: half the carries.

Only `mul_raw`, `square_raw`, `sub_raw` and `as_factor` differ between the widths. IFMA splits a product of
limbs at bit 52, but the radix of the limbs is 2^51: high halves count twice in the next limb.

A mask is a Lanes(n) of all ones or zero in each lane. Nothing here branches on a value.
"""

from __future__ import annotations

from typing import Any

from contactsync.kernels.five_limbs import Constant, Limbs, select
from contactsync.kernels.lanes import (
    Vector,
    by_width,
    madhi,
    madlo,
    mulwide,
    narrow,
    splat,
    stay_a_call,
    width_of,
    zero_mask,
)
from contactsync.kernels.policy import body, function, inlined

P = 2**255 - 19
MASK = 2**51 - 1
RADIX_BITS = 51
LIMBS = 5


def limbs(value: int) -> Constant:
    """A number modulo p as five 51-bit limbs, for `constant`."""
    a0, a1, a2, a3, a4 = (value % P >> RADIX_BITS * i & MASK for i in range(LIMBS))
    return a0, a1, a2, a3, a4


ZERO = limbs(0)
ONE = limbs(1)


# ---- what differs between the widths ----------------------------------------------------------------------


def mul_raw(a: Limbs, b: Limbs) -> Limbs:
    """The product of two factors, raw: below 2^60.1 at eight lanes, an element at one."""
    raise NotImplementedError


def square_raw(a: Limbs) -> Limbs:
    """The square of a factor, raw, like mul_raw(a, a)."""
    raise NotImplementedError


def sub_raw(r: Limbs, s: Limbs) -> Limbs:
    """The difference r - s, plus a multiple of p that keeps every limb positive.

    Eight lanes: s is below 2^62 - 2^16, the multiple below 2^62. One lane: s is an element, the multiple 2p.
    """
    raise NotImplementedError


def as_factor(r: Limbs) -> Limbs:
    """A raw value as a factor. At one lane it is one already."""
    raise NotImplementedError


@inlined
def _mul_raw_8(a: Limbs, b: Limbs) -> Limbs:
    a0, a1, a2, a3, a4 = a
    b0, b1, b2, b3, b4 = b
    z = a0 & 0
    # c[k] = Σ lo(ai·bj), i + j = k, and twice Σ hi(ai·bj), i + j = k - 1: at most 14 terms below 2^52.
    c9 = madhi(z, a4, b4)
    c9 = c9 + c9
    c8 = madhi(madhi(z, a3, b4), a4, b3)
    c8 = madlo(c8 + c8, a4, b4)
    c7 = madhi(madhi(madhi(z, a2, b4), a3, b3), a4, b2)
    c7 = madlo(madlo(c7 + c7, a3, b4), a4, b3)
    c6 = madhi(madhi(madhi(madhi(z, a1, b4), a2, b3), a3, b2), a4, b1)
    c6 = madlo(madlo(madlo(c6 + c6, a2, b4), a3, b3), a4, b2)
    c5 = madhi(madhi(madhi(madhi(madhi(z, a0, b4), a1, b3), a2, b2), a3, b1), a4, b0)
    c5 = madlo(madlo(madlo(madlo(c5 + c5, a1, b4), a2, b3), a3, b2), a4, b1)
    c4 = madhi(madhi(madhi(madhi(z, a0, b3), a1, b2), a2, b1), a3, b0)
    c4 = madlo(madlo(madlo(madlo(madlo(c4 + c4, a0, b4), a1, b3), a2, b2), a3, b1), a4, b0)
    c3 = madhi(madhi(madhi(z, a0, b2), a1, b1), a2, b0)
    c3 = madlo(madlo(madlo(madlo(c3 + c3, a0, b3), a1, b2), a2, b1), a3, b0)
    c2 = madhi(madhi(z, a0, b1), a1, b0)
    c2 = madlo(madlo(madlo(c2 + c2, a0, b2), a1, b1), a2, b0)
    c1 = madhi(z, a0, b0)
    c1 = madlo(madlo(c1 + c1, a0, b1), a1, b0)
    c0 = madlo(z, a0, b0)
    # 2^255 = 19 mod p. c0 + 19·c5 < (1 + 19·14)·2^52 < 2^60.1, and no other sum is larger.
    return c0 + c5 * 19, c1 + c6 * 19, c2 + c7 * 19, c3 + c8 * 19, c4 + c9 * 19


@inlined
def _square_raw_8(a: Limbs) -> Limbs:
    a0, a1, a2, a3, a4 = a
    z = a0 & 0
    # As above. h collects the halves that count twice as often as the rest, and is doubled on the way.
    c9 = madhi(z, a4, a4)
    c9 = c9 + c9
    h = madhi(z, a3, a4)
    c8 = h + h
    c8 = madlo(c8 + c8, a4, a4)
    h = madhi(z, a2, a4)
    h = madlo(madhi(h + h, a3, a3), a3, a4)
    c7 = h + h
    h = madhi(madhi(z, a1, a4), a2, a3)
    h = madlo(h + h, a2, a4)
    c6 = madlo(h + h, a3, a3)
    h = madhi(madhi(z, a0, a4), a1, a3)
    h = madlo(madlo(madhi(h + h, a2, a2), a1, a4), a2, a3)
    c5 = h + h
    h = madhi(madhi(z, a0, a3), a1, a2)
    h = madlo(madlo(h + h, a0, a4), a1, a3)
    c4 = madlo(h + h, a2, a2)
    h = madhi(z, a0, a2)
    h = madlo(madlo(madhi(h + h, a1, a1), a0, a3), a1, a2)
    c3 = h + h
    h = madhi(z, a0, a1)
    h = madlo(h + h, a0, a2)
    c2 = madlo(h + h, a1, a1)
    h = madlo(madhi(z, a0, a0), a0, a1)
    c1 = h + h
    c0 = madlo(z, a0, a0)
    return c0 + c5 * 19, c1 + c6 * 19, c2 + c7 * 19, c3 + c8 * 19, c4 + c9 * 19


# 2^11·p, limb for limb: 2^11·(2^51 - 19) and 2^11·(2^51 - 1), between 2^62 - 2^16 and 2^62.
_BIAS_0 = 2**11 * (2**51 - 19)
_BIAS_I = 2**11 * (2**51 - 1)
# 2p, limb for limb
_TWICE_P0 = 2**52 - 38
_TWICE_PI = 2**52 - 2


@inlined
def _sub_raw_8(r: Limbs, s: Limbs) -> Limbs:
    return (
        r[0] + _BIAS_0 - s[0],
        r[1] + _BIAS_I - s[1],
        r[2] + _BIAS_I - s[2],
        r[3] + _BIAS_I - s[3],
        r[4] + _BIAS_I - s[4],
    )


@inlined
def _sub_raw_1(r: Limbs, s: Limbs) -> Limbs:
    return (
        r[0] + _TWICE_P0 - s[0],
        r[1] + _TWICE_PI - s[1],
        r[2] + _TWICE_PI - s[2],
        r[3] + _TWICE_PI - s[3],
        r[4] + _TWICE_PI - s[4],
    )


@inlined
def carry(r: Limbs) -> Limbs:
    """Limbs below 2^63.8, the last below 2^63.5, as an element with limbs below 2^51 + 2^17."""
    r0, r1, r2, r3, r4 = r
    # Every limb passes its upper bits, below 2^13, to the next at once; the last passes 19·2^12.5 < 2^17.
    return (
        madlo(r0 & MASK, r4 >> 51, splat(width_of(r0), 19)),
        (r1 & MASK) + (r0 >> 51),
        (r2 & MASK) + (r1 >> 51),
        (r3 & MASK) + (r2 >> 51),
        (r4 & MASK) + (r3 >> 51),
    )


@inlined
def _as_they_are(r: Limbs) -> Limbs:
    return r


@inlined
def _carry_wide(r0: Any, r1: Any, r2: Any, r3: Any, r4: Any) -> Limbs:
    """Five Wide below 2^114.4, the last below 2^110.5, as an element."""
    # Every limb passes on what is above 51 bits, below 2^63.4, and the last one 19 times below 2^59.5. They
    # do so all at once, twice. Going limb by limb would make a chain of squares wait.
    return carry(
        (
            (narrow(r0) & MASK) + narrow(r4 >> 51) * 19,
            (narrow(r1) & MASK) + narrow(r0 >> 51),
            (narrow(r2) & MASK) + narrow(r1 >> 51),
            (narrow(r3) & MASK) + narrow(r2 >> 51),
            (narrow(r4) & MASK) + narrow(r3 >> 51),
        )
    )


@inlined
def _mul_raw_1(a: Limbs, b: Limbs) -> Limbs:
    a0, a1, a2, a3, a4 = a
    b0, b1, b2, b3, b4 = b
    # 2^255 = 19 mod p; 19·2^54 < 2^58.3.
    c1 = b1 * 19
    c2 = b2 * 19
    c3 = b3 * 19
    c4 = b4 * 19
    # Each limb is at most (1 + 4·19)·2^108 < 2^114.3; the last, without the 19, is 5·2^108 < 2^110.4.
    return _carry_wide(
        mulwide(a0, b0) + mulwide(a1, c4) + mulwide(a2, c3) + mulwide(a3, c2) + mulwide(a4, c1),
        mulwide(a0, b1) + mulwide(a1, b0) + mulwide(a2, c4) + mulwide(a3, c3) + mulwide(a4, c2),
        mulwide(a0, b2) + mulwide(a1, b1) + mulwide(a2, b0) + mulwide(a3, c4) + mulwide(a4, c3),
        mulwide(a0, b3) + mulwide(a1, b2) + mulwide(a2, b1) + mulwide(a3, b0) + mulwide(a4, c4),
        mulwide(a0, b4) + mulwide(a1, b3) + mulwide(a2, b2) + mulwide(a3, b1) + mulwide(a4, b0),
    )


@inlined
def _square_raw_1(a: Limbs) -> Limbs:
    a0, a1, a2, a3, a4 = a
    d0 = a0 + a0
    d1 = a1 + a1
    d2 = a2 + a2
    d3 = a3 + a3
    c3 = a3 * 19
    c4 = a4 * 19
    return _carry_wide(
        mulwide(a0, a0) + mulwide(d1, c4) + mulwide(d2, c3),
        mulwide(d0, a1) + mulwide(d2, c4) + mulwide(a3, c3),
        mulwide(d0, a2) + mulwide(a1, a1) + mulwide(d3, c4),
        mulwide(d0, a3) + mulwide(d1, a2) + mulwide(a4, c4),
        mulwide(d0, a4) + mulwide(d1, a3) + mulwide(a2, a2),
    )


by_width(mul_raw, _mul_raw_8, _mul_raw_1)
by_width(square_raw, _square_raw_8, _square_raw_1)
by_width(sub_raw, _sub_raw_8, _sub_raw_1)
by_width(as_factor, carry, _as_they_are)


# ---- what both widths share --------------------------------------------------------------------------------


@inlined
def add_raw(r: Limbs, s: Limbs) -> Limbs:
    """The sum r + s, limb by limb."""
    return r[0] + s[0], r[1] + s[1], r[2] + s[2], r[3] + s[3], r[4] + s[4]


@inlined
def mul_inlined(a: Limbs, b: Limbs) -> Limbs:
    """The product a · b, inlined, for the hot loops."""
    return as_factor(mul_raw(a, b))


@inlined
def square_inlined(a: Limbs) -> Limbs:
    """a², inlined, for the hot loops."""
    return as_factor(square_raw(a))


@function
def mul(a: Limbs, b: Limbs) -> Limbs:
    """The product a · b, as a call: half the code, and half the time to compile it."""
    stay_a_call()
    return as_factor(mul_raw(a, b))


@function
def square(a: Limbs) -> Limbs:
    """a², as a call."""
    stay_a_call()
    return as_factor(square_raw(a))


@inlined
def add(a: Limbs, b: Limbs) -> Limbs:
    """The sum a + b."""
    return carry(add_raw(a, b))


@inlined
def sub(a: Limbs, b: Limbs) -> Limbs:
    """The difference a - b."""
    return carry(sub_raw(a, b))


@inlined
def neg(a: Limbs) -> Limbs:
    """-a, computed as 2p - a. The bounds above are chosen so that this needs no carry."""
    return (
        _TWICE_P0 - a[0],
        _TWICE_PI - a[1],
        _TWICE_PI - a[2],
        _TWICE_PI - a[3],
        _TWICE_PI - a[4],
    )


@function
def canonical(a: Limbs) -> Limbs:
    """The representative below p; limbs below 2^51."""
    stay_a_call()
    a0, a1, a2, a3, a4 = carry(a)
    # Now a < 2p. q is 1 if a ≥ p, that is, if a + 19 carries out of bit 255.
    q = (a0 + 19) >> 51
    q = (a1 + q) >> 51
    q = (a2 + q) >> 51
    q = (a3 + q) >> 51
    q = (a4 + q) >> 51
    # a - q·p = a + 19·q without bit 255
    a0 = a0 + q * 19
    a1 = a1 + (a0 >> 51)
    a2 = a2 + (a1 >> 51)
    a3 = a3 + (a2 >> 51)
    a4 = a4 + (a3 >> 51)
    return a0 & MASK, a1 & MASK, a2 & MASK, a3 & MASK, a4 & MASK


@inlined
def is_zero(a: Limbs) -> Vector:
    """Mask of the lanes that are 0 modulo p."""
    c0, c1, c2, c3, c4 = canonical(a)
    return zero_mask(c0 | c1 | c2 | c3 | c4)


@inlined
def equal(a: Limbs, b: Limbs) -> Vector:
    """CT_EQ, RFC 9496 §4.1."""
    return is_zero(sub(a, b))


@inlined
def is_negative(a: Limbs) -> Vector:
    """IS_NEGATIVE, RFC 9496 §4.1, as a mask: the lowest bit of the canonical representative."""
    return 0 - (canonical(a)[0] & 1)


@inlined
def negate_if(mask: Vector, a: Limbs) -> Limbs:
    """CT_SELECT(-a IF mask ELSE a)."""
    return select(mask, neg(a), a)


@inlined
def absolute(a: Limbs) -> Limbs:
    """CT_ABS, RFC 9496 §4.1."""
    return negate_if(is_negative(a), a)


@function
def _square_times(a: Limbs, count: int) -> Limbs:
    """a^(2^count)."""
    stay_a_call()
    for _ in range(count):
        a = square_inlined(a)
    return a


@body
def _power_chain(x: Limbs) -> tuple[Limbs, Limbs]:
    """(x^(2^250 - 1), x^11): the beginning of all powers below. t_n is x^(2^n - 1)."""
    x2 = square(x)
    x9 = mul(_square_times(x2, 2), x)
    x11 = mul(x9, x2)
    t5 = mul(square(x11), x9)
    t10 = mul(_square_times(t5, 5), t5)
    t20 = mul(_square_times(t10, 10), t10)
    t40 = mul(_square_times(t20, 20), t20)
    t50 = mul(_square_times(t40, 10), t10)
    t100 = mul(_square_times(t50, 50), t50)
    t200 = mul(_square_times(t100, 100), t100)
    return mul(_square_times(t200, 50), t50), x11


@body
def power_p58(x: Limbs) -> Limbs:
    """x^((p - 5)/8) = x^(2^252 - 3)."""
    t250, _ = _power_chain(x)
    return mul(_square_times(t250, 2), x)


@body
def invert(x: Limbs) -> Limbs:
    """1 / x = x^(p - 2) = x^(2^255 - 21), and 0 for 0."""
    t250, x11 = _power_chain(x)
    return mul(_square_times(t250, 5), x11)


# ---- octets ------------------------------------------------------------------------------------------------


@inlined
def from_words(w0: Vector, w1: Vector, w2: Vector, w3: Vector) -> Limbs:
    """A 256-bit little-endian number without its top bit, limbs below 2^51. It may be p or more."""
    return (
        w0 & MASK,
        ((w0 >> 51) | (w1 << 13)) & MASK,
        ((w1 >> 38) | (w2 << 26)) & MASK,
        ((w2 >> 25) | (w3 << 39)) & MASK,
        (w3 >> 12) & MASK,
    )


@inlined
def to_words(a: Limbs) -> tuple[Vector, Vector, Vector, Vector]:
    """The canonical representative as a 256-bit little-endian number."""
    a0, a1, a2, a3, a4 = canonical(a)
    return a0 | (a1 << 51), (a1 >> 13) | (a2 << 38), (a2 >> 26) | (a3 << 25), (a3 >> 39) | (a4 << 12)
