"""ristretto255 (RFC 9496) over batches of elements, in plain Python ints.

Encodings are uint8[n, 32], scalars uint8[n, 32] little-endian canonical. `Elements` is opaque.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.ristretto255 import scalars
from contactsync.ristretto255.expand import expand_message_xmd
from contactsync.ristretto255.scalars import ORDER

__all__ = [
    "GENERATOR", "IDENTITY", "ORDER", "Elements", "add", "decode", "encode", "expand_message_xmd",
    "from_uniform_bytes",
    "hash_to_group", "hash_to_scalar", "multiply", "multiply_base", "multiply_encode", "multiscalar_vartime",
    "scalars",
]  # fmt: skip

Bytes2D = NDArray[np.uint8]
_Point = tuple[int, int, int, int]

# RFC 9496 §4.1
_P = 2**255 - 19
_D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
_SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
_SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
_INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
_ONE_MINUS_D_SQ = (1 - _D * _D) % _P
_D_MINUS_ONE_SQ = (_D - 1) ** 2 % _P

_NEUTRAL: _Point = (0, 1, 1, 0)

IDENTITY = np.zeros(32, np.uint8)
IDENTITY.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Elements:
    """An opaque batch of n group elements."""

    points: tuple[_Point, ...]

    def __len__(self) -> int:
        return len(self.points)


def _sqrt_ratio(u: int, v: int) -> tuple[bool, int]:
    """SQRT_RATIO_M1, RFC 9496 §4.2."""
    v3 = v * v % _P * v % _P
    r = u * v3 % _P * pow(u * v3 % _P * v3 % _P * v % _P, (_P - 5) // 8, _P) % _P
    check = v * r % _P * r % _P
    minus_u = -u % _P
    flipped = check == minus_u
    if flipped or check == minus_u * _SQRT_M1 % _P:
        r = r * _SQRT_M1 % _P
    return check == u or flipped, min(r, _P - r) if r % 2 == (_P - r) % 2 else (r if r % 2 == 0 else _P - r)


def _decode_one(encoding: bytes) -> _Point | None:
    """Decode, RFC 9496 §4.3.1."""
    s = int.from_bytes(encoding, "little")
    if s >= _P or s & 1:
        return None
    ss = s * s % _P
    u1, u2 = 1 - ss, 1 + ss
    u2_sqr = u2 * u2 % _P
    v = (-(_D * u1 * u1) - u2_sqr) % _P
    was_square, invsqrt = _sqrt_ratio(1, v * u2_sqr % _P)
    den_x = invsqrt * u2 % _P
    x = 2 * s * den_x % _P
    x = _P - x if x & 1 else x
    y = u1 * invsqrt % _P * den_x % _P * v % _P
    t = x * y % _P
    return None if not was_square or t & 1 or y == 0 else (x, y, 1, t)


def _encode_one(point: _Point) -> bytes:
    """Encode, RFC 9496 §4.3.2."""
    x, y, z, t = point
    u1 = (z + y) * (z - y) % _P
    u2 = x * y % _P
    _, invsqrt = _sqrt_ratio(1, u1 * u2 % _P * u2 % _P)
    den1, den_inv = invsqrt * u1 % _P, invsqrt * u2 % _P
    z_inv = den1 * den_inv % _P * t % _P
    if t * z_inv % _P & 1:
        x, y, den_inv = y * _SQRT_M1 % _P, x * _SQRT_M1 % _P, den1 * _INVSQRT_A_MINUS_D % _P
    if x * z_inv % _P & 1:
        y = -y
    s = den_inv * (z - y) % _P
    return (_P - s if s & 1 else s).to_bytes(32, "little")


def _map(t: int) -> _Point:
    """MAP, RFC 9496 §4.3.4."""
    r = _SQRT_M1 * t % _P * t % _P
    u = (r + 1) * _ONE_MINUS_D_SQ % _P
    v = (-1 - r * _D) * (r + _D) % _P
    was_square, s = _sqrt_ratio(u, v)
    if was_square:
        c = -1
    else:
        s = s * t % _P
        s = s if s & 1 else -s
        c = r
    n = (c * (r - 1) * _D_MINUS_ONE_SQ - v) % _P
    w0, w1 = 2 * s * v % _P, n * _SQRT_AD_MINUS_ONE % _P
    w2, w3 = 1 - s * s, 1 + s * s
    return w0 * w3 % _P, w2 * w1 % _P, w1 * w3 % _P, w0 * w2 % _P


def _add(a: _Point, b: _Point) -> _Point:
    """RFC 8032 §5.1.4."""
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    m, q = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    c, d = 2 * _D * t1 % _P * t2, 2 * z1 * z2
    e, f, g, h = (q - m) % _P, (d - c) % _P, (d + c) % _P, (q + m) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(a: _Point) -> _Point:
    """RFC 8032 §5.1.4."""
    x, y, z, _ = a
    xx, yy = x * x, y * y
    h = (xx + yy) % _P
    e = (h - (x + y) ** 2) % _P
    g = (xx - yy) % _P
    f = (2 * z * z + g) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply_one(point: _Point, scalar: int) -> _Point:
    """A fixed window of four bits."""
    table = [_NEUTRAL, point]
    for _ in range(14):
        table.append(_add(table[-1], point))
    total = _NEUTRAL
    for shift in range(252, -1, -4):
        total = _double(_double(_double(_double(total))))
        total = _add(total, table[scalar >> shift & 15])
    return total


def _stack(rows: list[bytes], width: int) -> Bytes2D:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), width)


def decode(encodings: Bytes2D) -> tuple[Elements, NDArray[np.bool_]]:
    """uint8[n, 32] → elements and bool[n], whether each encoding is valid (RFC 9496 §4.3.1).

    Where it is not, the element is the identity. The identity's own encoding is valid here.
    """
    points = [_decode_one(row.tobytes()) for row in encodings]
    valid = np.array([point is not None for point in points], np.bool_)
    return Elements(tuple(point or _NEUTRAL for point in points)), valid


def encode(elements: Elements) -> Bytes2D:
    """uint8[n, 32] (RFC 9496 §4.3.2)."""
    return _stack([_encode_one(point) for point in elements.points], 32)


def from_uniform_bytes(uniform: Bytes2D) -> Elements:
    """uint8[n, 64] → elements by the one-way map (RFC 9496 §4.3.4)."""
    mask = 2**255 - 1
    halves = [(row[:32].tobytes(), row[32:].tobytes()) for row in uniform]
    return Elements(
        tuple(
            _add(_map(int.from_bytes(a, "little") & mask), _map(int.from_bytes(b, "little") & mask))
            for a, b in halves
        )
    )


def hash_to_group(messages: Sequence[bytes], dst: bytes) -> Elements:
    """hash_to_ristretto255 of each message with the domain separation tag `dst` (RFC 9380 App. B)."""
    return from_uniform_bytes(_stack([expand_message_xmd(message, dst, 64) for message in messages], 64))


def hash_to_scalar(messages: Bytes2D, dst: bytes) -> Bytes2D:
    """uint8[n, m] → scalars uint8[n, 32]: expand_message_xmd, then wide reduction (RFC 9497 §4.1)."""
    return scalars.reduce_wide(_stack([expand_message_xmd(row.tobytes(), dst, 64) for row in messages], 64))


def multiply(elements: Elements, factors: Bytes2D) -> Elements:
    """factors[i] * elements[i], or factors * elements[i] when `factors` is one scalar, uint8[32]."""
    values = [int.from_bytes(row.tobytes(), "little") for row in np.atleast_2d(factors)]
    if factors.ndim == 1:
        values *= len(elements)
    return Elements(
        tuple(_multiply_one(point, value) for point, value in zip(elements.points, values, strict=True))
    )


def multiply_encode(elements: Elements, factors: Bytes2D) -> Bytes2D:
    """encode(multiply(elements, factors)), uint8[n, 32]."""
    return encode(multiply(elements, factors))


def multiply_base(factors: Bytes2D) -> Elements:
    """factors[i] * generator, uint8[n, 32] in."""
    return multiply(Elements(_GENERATOR.points * len(factors)), factors)


def multiscalar_vartime(factors: Bytes2D, elements: Elements) -> Elements:
    """One element, the sum of factors[i] * elements[i]. Public data only: the time depends on it."""
    total = _NEUTRAL
    for point in multiply(elements, factors).points:
        total = _add(total, point)
    return Elements((total,))


def add(a: Elements, b: Elements) -> Elements:
    """a[i] + b[i]."""
    return Elements(tuple(_add(x, y) for x, y in zip(a.points, b.points, strict=True)))


GENERATOR = np.frombuffer(
    bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"), np.uint8
)
_GENERATOR, _ = decode(GENERATOR.reshape(1, 32))
