"""Scalars modulo the group's order in batches: uint8[n, 32], little-endian, canonical (RFC 9496 §4.4)."""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

ORDER = 2**252 + 27742317777372353535851937790883648493

Bytes2D = NDArray[np.uint8]


def _ints(rows: Bytes2D) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def _rows(values: list[int]) -> Bytes2D:
    data = b"".join(value.to_bytes(32, "little") for value in values)
    return np.frombuffer(data, np.uint8).reshape(len(values), 32)


def random(n: int) -> Bytes2D:
    """Uniform nonzero scalars from the system's generator, uint8[n, 32] (RFC 9497 §2.1 RandomScalar)."""
    wide = np.frombuffer(secrets.token_bytes(64 * n), np.uint8).reshape(n, 64)
    drawn = reduce_wide(wide)
    zero = ~drawn.any(axis=1)
    if zero.any():  # one in 2^252
        drawn = drawn.copy()
        drawn[zero] = random(int(zero.sum()))
    return drawn


def reduce_wide(wide: Bytes2D) -> Bytes2D:
    """uint8[n, 64] little-endian integers modulo the order."""
    return _rows([value % ORDER for value in _ints(wide)])


def multiply(a: Bytes2D, b: Bytes2D) -> Bytes2D:
    """a[i] * b[i]; canonical in and out."""
    return _rows([x * y % ORDER for x, y in zip(_ints(a), _ints(b), strict=True)])


def subtract(a: Bytes2D, b: Bytes2D) -> Bytes2D:
    """a[i] - b[i]; canonical in and out."""
    return _rows([(x - y) % ORDER for x, y in zip(_ints(a), _ints(b), strict=True)])


def invert(a: Bytes2D) -> Bytes2D:
    """1 / a[i]; of zero it is zero, so that no secret decides about an error."""
    return _rows([pow(x, ORDER - 2, ORDER) for x in _ints(a)])


def is_canonical(rows: Bytes2D) -> NDArray[np.bool_]:
    """Whether each uint8[n, 32] row is an integer below the order (RFC 9497 §4.1 DeserializeScalar)."""
    return np.array([value < ORDER for value in _ints(rows)], np.bool_)
