"""VerifyProof of RFC 9497 §2.2.2 for a few points, in Python's integers. All that it takes is public.

Points have the names of the RFC: A is the generator, B the public key, C are the blinded elements, D the
evaluated ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from contactsync.foundation.expand import expand_message_xmd
from contactsync.voprf.constants import HASH_TO_SCALAR_DST, NE, PROOF_BYTES, SEED_DST, Rows
from contactsync.voprf.few.field import P
from contactsync.voprf.few.group import D_INT, INVSQRT_A_MINUS_D_INT, ORDER, SQRT_M1_INT

Point = tuple[int, int, int, int]  # X, Y, Z, T

_IDENTITY: Final[Point] = (0, 1, 1, 0)
_GENERATOR: Final = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")
_ONE_ELEMENT: Final = NE.to_bytes(2, "big")


def proof_holds_vartime(blinded: Rows, evaluated: Rows, proof: bytes, public_key: bytes) -> bool:
    """Whether the proof shows that `evaluated` is `blinded`, uint8[n, 32] each, times the key's scalar.

    False as well for whatever is malformed: the engine then says what it is.
    """
    if len(proof) != PROOF_BYTES or blinded.shape != evaluated.shape:
        return False
    C, D = ([row.tobytes() for row in rows] for rows in (blinded, evaluated))
    A, B = _decode(_GENERATOR), _decode(public_key)
    points_C, points_D = [_decode(one) for one in C], [_decode(one) for one in D]
    c, s = (int.from_bytes(proof[at : at + 32], "little") for at in (0, 32))
    if A is None or B is None or None in points_C or None in points_D or max(c, s) >= ORDER:
        return False
    # (M, Z) = ComputeComposites(B, C, D)
    weights = _weights(public_key, C, D)
    M = _sum(weights, [one for one in points_C if one])
    Z = _sum(weights, [one for one in points_D if one])
    # t2 = ((s * A) + (c * B));  t3 = ((s * M) + (c * Z))
    t2, t3 = _sum([s, c], [A, B]), _sum([s, c], [M, Z])
    # challengeTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(a0), 2) || a0 || ... || "Challenge"
    parts = [public_key, *(_encode(one) for one in (M, Z, t2, t3))]
    transcript = b"".join(_ONE_ELEMENT + part for part in parts) + b"Challenge"
    # expectedC = G.HashToScalar(challengeTranscript);  return expectedC == c
    return _hash_to_scalar(transcript) == c


def _hash_to_scalar(data: bytes) -> int:
    return int.from_bytes(expand_message_xmd(data, HASH_TO_SCALAR_DST, 64), "little") % ORDER


def _weights(public_key: bytes, C: Sequence[bytes], D: Sequence[bytes]) -> list[int]:
    """The scalars d_i of the composites (RFC 9497 §2.2.1)."""
    # seedTranscript = I2OSP(len(Bm), 2) || Bm || I2OSP(len(seedDST), 2) || seedDST;  seed = Hash(...)
    transcript = _ONE_ELEMENT + public_key + len(SEED_DST).to_bytes(2, "big") + SEED_DST
    seed = hashlib.sha512(transcript).digest()
    head = len(seed).to_bytes(2, "big") + seed
    # compositeTranscript = I2OSP(len(seed), 2) || seed || I2OSP(i, 2) ||
    #   I2OSP(len(Ci), 2) || Ci || I2OSP(len(Di), 2) || Di || "Composite"
    return [
        _hash_to_scalar(head + i.to_bytes(2, "big") + _ONE_ELEMENT + Ci + _ONE_ELEMENT + Di + b"Composite")
        for i, (Ci, Di) in enumerate(zip(C, D, strict=True))
    ]


def _add(a: Point, b: Point) -> Point:
    """RFC 8032 §5.1.4, complete."""
    X1, Y1, Z1, T1 = a
    X2, Y2, Z2, T2 = b
    a_, b_ = (Y1 - X1) * (Y2 - X2) % P, (Y1 + X1) * (Y2 + X2) % P
    c, d = 2 * D_INT * T1 * T2 % P, 2 * Z1 * Z2 % P
    E, F, G, H = b_ - a_, d - c, d + c, b_ + a_
    return E * F % P, G * H % P, F * G % P, E * H % P


def _double(a: Point) -> Point:
    X1, Y1, Z1, _ = a
    a_, b_ = X1 * X1 % P, Y1 * Y1 % P
    H, G = a_ + b_, a_ - b_
    E, F = H - (X1 + Y1) ** 2 % P, 2 * Z1 * Z1 + G
    return E * F % P, G * H % P, F * G % P, E * H % P


def _sum(factors: Sequence[int], points: Sequence[Point]) -> Point:
    """The sum of factors[i] * points[i]: windows of four bits, whose doublings all share."""
    tables = []
    for point in points:
        table = [_IDENTITY, point]
        while len(table) < 16:
            table.append(_add(table[-1], point))
        tables.append(table)
    total = _IDENTITY
    for shift in range(252, -1, -4):
        for _ in range(4):
            total = _double(total)
        for factor, table in zip(factors, tables, strict=True):
            if digit := factor >> shift & 15:
                total = _add(total, table[digit])
    return total


def _sqrt_ratio_m1(u: int, v: int) -> tuple[bool, int]:
    """SQRT_RATIO_M1 (RFC 9496 §4.2)."""
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    correct, flipped, flipped_i = (check == one % P for one in (u, -u, -u * SQRT_M1_INT))
    if flipped or flipped_i:
        r = r * SQRT_M1_INT % P
    return correct or flipped, min(r, P - r, key=lambda one: one % 2)


def _decode(data: bytes) -> Point | None:
    """Decode (RFC 9496 §4.3.1); None for what is no encoding, and for that of the identity."""
    s = int.from_bytes(data, "little")
    if len(data) != NE or s >= P or s % 2 or s == 0:
        return None
    ss = s * s % P
    u1, u2 = (1 - ss) % P, (1 + ss) % P
    # v = -(D * u1^2) - u2_sqr
    v = (-D_INT * u1 * u1 - u2 * u2) % P
    # (was_square, invsqrt) = SQRT_RATIO_M1(1, v * u2_sqr)
    was_square, invsqrt = _sqrt_ratio_m1(1, v * u2 * u2 % P)
    den_x = invsqrt * u2 % P
    den_y = invsqrt * den_x * v % P
    # x = CT_ABS(2 * s * den_x);  y = u1 * den_y;  t = x * y
    x = 2 * s * den_x % P
    x = min(x, P - x, key=lambda one: one % 2)
    y = u1 * den_y % P
    t = x * y % P
    return None if not was_square or t % 2 or y == 0 else (x, y, 1, t)


def _encode(point: Point) -> bytes:
    """Encode (RFC 9496 §4.3.2)."""
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    _, invsqrt = _sqrt_ratio_m1(1, u1 * u2 * u2 % P)
    den1, den2 = invsqrt * u1 % P, invsqrt * u2 % P
    z_inv = den1 * den2 * t % P
    den_inv = den2
    # rotate = IS_NEGATIVE(t0 * z_inv)
    if t * z_inv % P % 2:
        x, y, den_inv = y * SQRT_M1_INT % P, x * SQRT_M1_INT % P, den1 * INVSQRT_A_MINUS_D_INT % P
    if x * z_inv % P % 2:
        y = -y % P
    s = den_inv * (z - y) % P
    return (P - s if s % 2 else s).to_bytes(NE, "little")
