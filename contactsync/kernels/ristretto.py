"""ristretto255 (RFC 9496) in lanes: Decode, Encode, the one-way map, and 'double and compress'.

Each line of the RFC's pseudocode is a comment above the line that does it. Group elements are points of
edwards.py; field elements and masks are those of field.py. Everything is constant time: where the RFC says
that decoding fails, a mask is returned.
"""

from __future__ import annotations

from contactsync.kernels.edwards import D, Point
from contactsync.kernels.field import (
    ONE,
    P,
    absolute,
    add,
    add_raw,
    canonical,
    carry,
    equal,
    is_negative,
    is_zero,
    limbs,
    mul,
    mul_raw,
    neg,
    negate_if,
    power_p58,
    square,
    square_raw,
    sub,
)
from contactsync.kernels.five_limbs import Limbs, constant, select
from contactsync.kernels.lanes import Vector, width_of, zero_mask
from contactsync.kernels.policy import body

_ALL_ONES = 2**64 - 1

# RFC 9496 §4.1
_D = limbs(D)
_SQRT_M1 = limbs(19681161376707505956807079304988542015446066515923890162744021073123829784752)
_SQRT_AD_MINUS_ONE = limbs(25063068953384623474111414158702152701244531502492656460079210482610430750235)
_INVSQRT_A_MINUS_D = limbs(54469307008909316920995813868745141605393597292927456921205312896311721017578)
_ONE_MINUS_D_SQ = limbs(1 - D * D)
_D_MINUS_ONE_SQ = limbs((D - 1) ** 2 % P)


@body
def sqrt_ratio_m1(u: Limbs, v: Limbs) -> tuple[Vector, Limbs]:
    """SQRT_RATIO_M1, RFC 9496 §4.2: whether u/v is a square, and a nonnegative root of u/v or of i·u/v."""
    i = constant(width_of(u[0]), _SQRT_M1)
    # r = (u * v^3) * (u * v^7)^((p-5)/8)
    v3 = mul(square(v), v)
    uv3 = mul(u, v3)
    r = mul(uv3, power_p58(mul(uv3, mul(v3, v))))
    # check = v * r^2
    check = mul(v, square(r))
    # correct_sign_sqrt = CT_EQ(check, u)
    correct_sign_sqrt = equal(check, u)
    # flipped_sign_sqrt = CT_EQ(check, -u)
    flipped_sign_sqrt = equal(check, neg(u))
    # flipped_sign_sqrt_i = CT_EQ(check, -u*SQRT_M1)
    flipped_sign_sqrt_i = equal(check, mul(neg(u), i))
    # r_prime = SQRT_M1 * r
    r_prime = mul(r, i)
    # r = CT_SELECT(r_prime IF flipped_sign_sqrt | flipped_sign_sqrt_i ELSE r)
    r = select(flipped_sign_sqrt | flipped_sign_sqrt_i, r_prime, r)
    # r = CT_ABS(r)
    r = absolute(r)
    # was_square = correct_sign_sqrt | flipped_sign_sqrt
    return correct_sign_sqrt | flipped_sign_sqrt, r


@body
def decode_point(s: Limbs, top_bit: Vector) -> tuple[Point, Vector]:
    """Decode, RFC 9496 §4.3.1: a point, and a mask of the lanes where the encoding is valid.

    s: limbs below 2^51, from `from_words`; top_bit: bit 255 of the encoding, 0 or 1.
    """
    width = width_of(top_bit)
    one = constant(width, ONE)
    # If the resulting value is >= p, decoding fails. If IS_NEGATIVE(s) returns TRUE, decoding fails.
    c = canonical(s)
    changed = (c[0] ^ s[0]) | (c[1] ^ s[1]) | (c[2] ^ s[2]) | (c[3] ^ s[3]) | (c[4] ^ s[4])
    well_formed = zero_mask(changed | top_bit | (s[0] & 1))
    # ss = s^2
    ss = square(s)
    # u1 = 1 - ss
    u1 = sub(one, ss)
    # u2 = 1 + ss
    u2 = add(one, ss)
    # u2_sqr = u2^2
    u2_sqr = square(u2)
    # v = -(D * u1^2) - u2_sqr
    v = sub(neg(mul(constant(width, _D), square(u1))), u2_sqr)
    # (was_square, invsqrt) = SQRT_RATIO_M1(1, v * u2_sqr)
    was_square, invsqrt = sqrt_ratio_m1(one, mul(v, u2_sqr))
    # den_x = invsqrt * u2
    den_x = mul(invsqrt, u2)
    # den_y = invsqrt * den_x * v
    den_y = mul(mul(invsqrt, den_x), v)
    # x = CT_ABS(2 * s * den_x)
    x = absolute(mul(add(s, s), den_x))
    # y = u1 * den_y
    y = mul(u1, den_y)
    # t = x * y
    t = mul(x, y)
    # If was_square is FALSE, IS_NEGATIVE(t) returns TRUE, or y = 0, decoding fails.
    valid = well_formed & was_square & ((is_negative(t) | is_zero(y)) ^ _ALL_ONES)
    return (x, y, one, t), valid


@body
def encode_point(p: Point) -> Limbs:
    """Encode, RFC 9496 §4.3.2: the field element s whose 32 bytes are the encoding."""
    x0, y0, z0, t0 = p
    width = width_of(x0[0])
    sqrt_m1 = constant(width, _SQRT_M1)
    # u1 = (z0 + y0) * (z0 - y0)
    u1 = mul(add(z0, y0), sub(z0, y0))
    # u2 = x0 * y0
    u2 = mul(x0, y0)
    # (_, invsqrt) = SQRT_RATIO_M1(1, u1 * u2^2)
    _, invsqrt = sqrt_ratio_m1(constant(width, ONE), mul(u1, square(u2)))
    # den1 = invsqrt * u1
    den1 = mul(invsqrt, u1)
    # den2 = invsqrt * u2
    den2 = mul(invsqrt, u2)
    # z_inv = den1 * den2 * t0
    z_inv = mul(mul(den1, den2), t0)
    # ix0 = x0 * SQRT_M1
    ix0 = mul(x0, sqrt_m1)
    # iy0 = y0 * SQRT_M1
    iy0 = mul(y0, sqrt_m1)
    # enchanted_denominator = den1 * INVSQRT_A_MINUS_D
    enchanted_denominator = mul(den1, constant(width, _INVSQRT_A_MINUS_D))
    # rotate = IS_NEGATIVE(t0 * z_inv)
    rotate = is_negative(mul(t0, z_inv))
    # x = CT_SELECT(iy0 IF rotate ELSE x0)
    x = select(rotate, iy0, x0)
    # y = CT_SELECT(ix0 IF rotate ELSE y0)
    y = select(rotate, ix0, y0)
    # den_inv = CT_SELECT(enchanted_denominator IF rotate ELSE den2)
    den_inv = select(rotate, enchanted_denominator, den2)
    # y = CT_SELECT(-y IF IS_NEGATIVE(x * z_inv) ELSE y)
    y = negate_if(is_negative(mul(x, z_inv)), y)
    # s = CT_ABS(den_inv * (z - y))
    return absolute(mul(den_inv, sub(z0, y)))


@body
def map_to_point(t: Limbs) -> Point:
    """MAP, RFC 9496 §4.3.4, of one field element."""
    width = width_of(t[0])
    one = constant(width, ONE)
    d = constant(width, _D)
    # r = SQRT_M1 * t^2
    r = mul(constant(width, _SQRT_M1), square(t))
    # u = (r + 1) * ONE_MINUS_D_SQ
    u = mul(add(r, one), constant(width, _ONE_MINUS_D_SQ))
    # v = (-1 - r*D) * (r + D)
    v = mul(sub(neg(one), mul(r, d)), add(r, d))
    # (was_square, s) = SQRT_RATIO_M1(u, v)
    was_square, s = sqrt_ratio_m1(u, v)
    # s_prime = -CT_ABS(s*t)
    s_prime = neg(absolute(mul(s, t)))
    # s = CT_SELECT(s IF was_square ELSE s_prime)
    s = select(was_square, s, s_prime)
    # c = CT_SELECT(-1 IF was_square ELSE r)
    c = select(was_square, neg(one), r)
    # N = c * (r - 1) * D_MINUS_ONE_SQ - v
    N = sub(mul(mul(c, sub(r, one)), constant(width, _D_MINUS_ONE_SQ)), v)
    # w0 = 2 * s * v
    w0 = mul(add(s, s), v)
    # w1 = N * SQRT_AD_MINUS_ONE
    w1 = mul(N, constant(width, _SQRT_AD_MINUS_ONE))
    # w2 = 1 - s^2
    w2 = sub(one, square(s))
    # w3 = 1 + s^2
    w3 = add(one, square(s))
    # return (w0*w3, w2*w1, w1*w3, w0*w2)
    return mul(w0, w3), mul(w2, w1), mul(w1, w3), mul(w0, w2)


# Encode without a square root ('double and compress', curve25519-dalek's double_and_compress_batch). For 2·P,
# the square root in Encode is a product of P's coordinates and one inverse, and inverses can be shared. With
# E, F, G, H as in a doubling, 2·P = (E·F, G·H, F·G, E·H).


@body
def double_halves(p: Point) -> Point:
    """(E, F, G, H) with 2·p = (EF, GH, FG, EH), the input of `compress_double`."""
    X, Y, Z, T = p
    # E = 2·X·Y, F = Z² + d·T², G = X² + Y², H = Z² - d·T²
    XY = mul_raw(X, Y)
    ZZ = square(Z)
    dTT = mul(square(T), constant(width_of(X[0]), _D))
    G = carry(add_raw(square_raw(X), square_raw(Y)))
    return carry(add_raw(XY, XY)), add(ZZ, dTT), G, sub(ZZ, dTT)


@body
def compress_double(halves: Point, inverse: Limbs) -> Limbs:
    """Encode(2·p): the field element whose bytes are the encoding. inverse is 1 / (E·F·G·H), or 0 for 0."""
    E, F, G, H = halves
    width = width_of(E[0])
    sqrt_m1 = constant(width, _SQRT_M1)
    EG = mul(E, G)
    FH = mul(F, H)
    # 1/z and 1/t of the doubled point, up to the factors that cancel below
    z_inv = mul(EG, inverse)
    t_inv = mul(FH, inverse)
    # rotate = IS_NEGATIVE(t * z_inv)
    rotate = is_negative(mul(EG, z_inv))
    x = select(rotate, G, E)
    y = select(rotate, neg(E), G)
    z = select(rotate, mul(F, sqrt_m1), H)
    factor = select(rotate, sqrt_m1, constant(width, _INVSQRT_A_MINUS_D))
    # y = CT_SELECT(-y IF IS_NEGATIVE(x * z_inv) ELSE y)
    y = negate_if(is_negative(mul(mul(z, x), z_inv)), y)
    # s = CT_ABS(den_inv * (z - y))
    return absolute(mul(sub(z, y), mul(factor, mul(y, t_inv))))
