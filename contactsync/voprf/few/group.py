"""Points of ristretto255 over lanes (RFC 9496), with numpy alone: constant time in the values.

A batch of points is float64[4, n, 15]: X, Y, Z, T of extended coordinates, in limbs of `field`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.voprf.few.field import (
    LIMBS,
    Limbs,
    P,
    absolute,
    from_bytes,
    is_negative,
    is_zero,
    limbs,
    mul,
    power_p58,
    select,
    to_bytes,
)

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D_INT: Final = -121665 * pow(121666, -1, P) % P
SQRT_M1_INT: Final = pow(2, (P - 1) // 4, P)


def root_int(value: int) -> int:
    """The even square root of a public square modulo p."""
    root = pow(value, (P + 3) // 8, P)
    if root * root % P != value % P:
        root = root * SQRT_M1_INT % P
    return min(root, P - root, key=lambda one: one % 2)


INVSQRT_A_MINUS_D_INT: Final = root_int(pow(-1 - D_INT, -1, P))

_ONE: Final = limbs(1)
_D: Final = limbs(D_INT)
_SQRT_M1: Final = limbs(SQRT_M1_INT)
_INVSQRT_A_MINUS_D: Final = limbs(INVSQRT_A_MINUS_D_INT)
_SQRT_AD_MINUS_ONE: Final = limbs(P - root_int(-D_INT - 1))  # the odd root: RFC 9496 §4.1
_ONE_MINUS_D_SQ: Final = limbs((1 - D_INT**2) % P)
_D_MINUS_ONE_SQ: Final = limbs((D_INT - 1) ** 2 % P)

# Linear steps of the formulas, as matrices over (X, Y, Z, T) or over (A, B, C, D).
_BEFORE_DOUBLING: Final = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]], float)
_DOUBLED: Final = {"E": (1, 1, 0, -1), "F": (1, -1, 2, 0), "G": (1, -1, 0, 0), "H": (1, 1, 0, 0)}
_BEFORE_ADDING: Final = np.array([[-1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], float)
_ADDED: Final = {"E": (-1, 1, 0, 0), "F": (0, 0, -1, 1), "G": (0, 0, 1, 1), "H": (1, 1, 0, 0)}
_LEFT, _RIGHT = "EGFE", "FHGH"  # X3 = E*F, Y3 = G*H, Z3 = F*G, T3 = E*H
_AFTER_DOUBLING: Final = np.array([_DOUBLED[name] for name in _LEFT + _RIGHT], float)
_AFTER_ADDING: Final = np.array([_ADDED[name] for name in _LEFT + _RIGHT], float)
_WINDOW: Final = 4


def _linear(matrix: Limbs, rows: Limbs) -> Limbs:
    """The matrix times float64[k, n, 15], lane by lane."""
    mixed: Limbs = matrix @ rows.reshape(rows.shape[0], -1)
    return mixed.reshape(-1, *rows.shape[1:])


def _each(a: Limbs, b: Limbs) -> Limbs:
    """The products of float64[k, n, 15], as one batch."""
    return mul(a.reshape(-1, LIMBS), b.reshape(-1, LIMBS)).reshape(a.shape)


def double(points: Limbs) -> Limbs:
    """2 * each: RFC 8032 §5.1.4."""
    rows = _linear(_BEFORE_DOUBLING, points)
    # A = X1^2, B = Y1^2, C = 2*Z1^2, H = A+B, E = H-(X1+Y1)^2, G = A-B, F = C+G
    sides = _linear(_AFTER_DOUBLING, _each(rows, rows))
    return _each(sides[:4], sides[4:])


def ready_to_add(points: Limbs) -> Limbs:
    """(Y-X, Y+X, 2*d*T, 2*Z): what `add` takes on its right side."""
    ready = _linear(_BEFORE_ADDING, points)
    ready[2] = mul(ready[2], np.broadcast_to(limbs(2 * D_INT % P), ready[2].shape))
    ready[3] *= 2
    return ready


def add(points: Limbs, ready: Limbs) -> Limbs:
    """The sums with what is `ready_to_add`: RFC 8032 §5.1.4, complete."""
    # A = (Y1-X1)*(Y2-X2), B = (Y1+X1)*(Y2+X2), C = T1*2*d*T2, D = Z1*2*Z2
    # E = B-A, F = D-C, G = D+C, H = B+A
    sides = _linear(_AFTER_ADDING, _each(_linear(_BEFORE_ADDING, points), ready))
    return _each(sides[:4], sides[4:])


def identities(n: int) -> Limbs:
    """The identity, n times."""
    zero = np.zeros((n, LIMBS))
    one = np.repeat(_ONE, n, axis=0)
    return np.stack([zero, one, one, zero])


def multiply(points: Limbs, scalars: NDArray[np.uint8]) -> Limbs:
    """scalars[i] * points[i], uint8[n, 32] little-endian: 64 windows of four bits, from the top."""
    n = points.shape[1]
    multiples = [identities(n), points]
    ready = ready_to_add(points)
    for _ in range(2, 1 << _WINDOW):
        multiples.append(add(multiples[-1], ready))
    table = np.stack([ready_to_add(one) for one in multiples])
    digits = np.stack([scalars & 15, scalars >> 4], axis=2).reshape(n, 64)
    total = identities(n)
    for place in range(63, -1, -1):
        for _ in range(_WINDOW):
            total = double(total)
        # Every entry is read, and all but one are multiplied by 0.
        chosen = (digits[:, place] == np.arange(1 << _WINDOW)[:, None]).astype(float)
        total = add(total, np.einsum("wn,wcnl->cnl", chosen, table))
    return total


def _sqrt_ratio_m1(u: Limbs, v: Limbs) -> tuple[NDArray[np.bool_], Limbs]:
    """SQRT_RATIO_M1 (RFC 9496 §4.2)."""
    i = np.broadcast_to(_SQRT_M1, u.shape)
    # r = (u * v^3) * (u * v^7)^((p-5)/8)
    v3 = mul(mul(v, v), v)
    v7 = mul(mul(v3, v3), v)
    r = mul(mul(u, v3), power_p58(mul(u, v7)))
    # check = v * r^2
    check = mul(v, mul(r, r))
    # correct_sign_sqrt, flipped_sign_sqrt, flipped_sign_sqrt_i
    correct, flipped = is_zero(check - u), is_zero(check + u)
    flipped_i = is_zero(check + mul(u, i))
    # r = CT_SELECT(r_prime IF flipped_sign_sqrt | flipped_sign_sqrt_i ELSE r); r = CT_ABS(r)
    return correct | flipped, absolute(select(flipped | flipped_i, mul(i, r), r))


def _map(t: Limbs) -> Limbs:
    """MAP (RFC 9496 §4.3.4)."""
    n = len(t)
    one, d, i, one_minus_d_sq, d_minus_one_sq, sqrt_ad_minus_one = (
        np.repeat(constant, n, axis=0)
        for constant in (_ONE, _D, _SQRT_M1, _ONE_MINUS_D_SQ, _D_MINUS_ONE_SQ, _SQRT_AD_MINUS_ONE)
    )
    # r = SQRT_M1 * t^2
    r = mul(i, mul(t, t))
    # u = (r + 1) * ONE_MINUS_D_SQ
    u = mul(r + one, one_minus_d_sq)
    # v = (-1 - r*D) * (r + D)
    v = mul(-one - mul(r, d), r + d)
    # (was_square, s) = SQRT_RATIO_M1(u, v)
    was_square, s = _sqrt_ratio_m1(u, v)
    # s_prime = -CT_ABS(s*t);  s = CT_SELECT(s IF was_square ELSE s_prime)
    s = select(was_square, s, -absolute(mul(s, t)))
    # c = CT_SELECT(-1 IF was_square ELSE r)
    c = select(was_square, -one, r)
    # N = c * (r - 1) * D_MINUS_ONE_SQ - v
    N = mul(mul(c, r - one), d_minus_one_sq) - v
    # w0 = 2 * s * v;  w1 = N * SQRT_AD_MINUS_ONE;  w2 = 1 - s^2;  w3 = 1 + s^2
    w0, w1, ss = 2 * mul(s, v), mul(N, sqrt_ad_minus_one), mul(s, s)
    w2, w3 = one - ss, one + ss
    # Return (w0*w3, w2*w1, w1*w3, w0*w2)
    return _each(np.stack([w0, w2, w1, w0]), np.stack([w3, w1, w3, w2]))


def from_uniform_bytes(uniform: bytes) -> Limbs:
    """Element derivation from 64 octets each (RFC 9496 §4.3.4)."""
    halves = _map(from_bytes(uniform))  # the first and the second half of each, in turn
    return add(halves[:, 0::2], ready_to_add(halves[:, 1::2]))


def encode(points: Limbs) -> NDArray[np.uint8]:
    """The encodings, uint8[n, 32] (RFC 9496 §4.3.2)."""
    x0, y0, z0, t0 = points
    n = len(x0)
    one, i, invsqrt_a_minus_d = (
        np.repeat(constant, n, axis=0) for constant in (_ONE, _SQRT_M1, _INVSQRT_A_MINUS_D)
    )
    # u1 = (z0 + y0) * (z0 - y0);  u2 = x0 * y0
    u1, u2 = mul(z0 + y0, z0 - y0), mul(x0, y0)
    # (_, invsqrt) = SQRT_RATIO_M1(1, u1 * u2^2)
    _, invsqrt = _sqrt_ratio_m1(one, mul(u1, mul(u2, u2)))
    # den1 = invsqrt * u1;  den2 = invsqrt * u2;  z_inv = den1 * den2 * t0
    den1, den2 = mul(invsqrt, u1), mul(invsqrt, u2)
    z_inv = mul(mul(den1, den2), t0)
    # ix0 = x0 * SQRT_M1;  iy0 = y0 * SQRT_M1;  enchanted_denominator = den1 * INVSQRT_A_MINUS_D
    ix0, iy0, enchanted = mul(x0, i), mul(y0, i), mul(den1, invsqrt_a_minus_d)
    # rotate = IS_NEGATIVE(t0 * z_inv)
    rotate = is_negative(mul(t0, z_inv))
    x, y = select(rotate, iy0, x0), select(rotate, ix0, y0)
    den_inv = select(rotate, enchanted, den2)
    # y = CT_SELECT(-y IF IS_NEGATIVE(x * z_inv) ELSE y)
    y = select(is_negative(mul(x, z_inv)), -y, y)
    # s = CT_ABS(den_inv * (z - y))
    return to_bytes(absolute(mul(den_inv, z0 - y)))
