"""Scalars modulo the group's order in batches: uint8[n, 32], little-endian, canonical (RFC 9496 §4.4).

Constant time in the values. `is_canonical` too compares every word of every row.
"""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from contactsync.ristretto255.engine import ENCODING_BYTES, ORDER, Rows, check_rows
from contactsync.ristretto255.start import default_engine

_WORDS_OF_ORDER = [ORDER >> 64 * i & (2**64 - 1) for i in range(4)]


def random(n: int) -> Rows:
    """Uniform nonzero scalars from the system's generator, uint8[n, 32] (RFC 9497 §2.1 RandomScalar)."""
    wide = np.frombuffer(secrets.token_bytes(64 * n), np.uint8).reshape(n, 64)
    drawn = reduce_wide(wide)
    zero = ~drawn.any(axis=1)
    if zero.any():  # one in 2^252
        drawn[zero] = random(int(zero.sum()))
    return drawn


def reduce_wide(wide: Rows) -> Rows:
    """uint8[n, 64] little-endian integers modulo the order."""
    return default_engine().scalar_reduce_wide(wide)


def multiply(a: Rows, b: Rows) -> Rows:
    """a[i] * b[i]; `b` may be one scalar for all, uint8[32]."""
    return default_engine().scalar_multiply(a, b)


def subtract(a: Rows, b: Rows) -> Rows:
    """a[i] - b[i]; `a` may be one scalar for all, uint8[32]."""
    return default_engine().scalar_subtract(a, b)


def invert(a: Rows) -> Rows:
    """1 / a[i], and 0 for 0, so that no error depends on a secret."""
    return default_engine().scalar_invert(a)


def is_canonical(rows: Rows) -> NDArray[np.bool_]:
    """Whether each row of uint8[n, 32] is an integer below the order (RFC 9497 §4.1 DeserializeScalar)."""
    check_rows(rows, ENCODING_BYTES)
    words = np.ascontiguousarray(rows).view("<u8")
    below = np.zeros(len(rows), np.bool_)
    equal = np.ones(len(rows), np.bool_)
    for i in (3, 2, 1, 0):
        below |= equal & (words[:, i] < _WORDS_OF_ORDER[i])
        equal &= words[:, i] == _WORDS_OF_ORDER[i]
    return below
