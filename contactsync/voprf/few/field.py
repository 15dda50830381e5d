"""Arithmetic modulo p = 2^255 - 19 over lanes, with numpy alone: constant time in the values.

An element is a float64[n, 15] of integers, least significant limb first, in radix 2^17. *Loose* limbs are of
magnitude below 2^20, as sums of a few products are: 15 products of two of them, 19 times, are below 2^49, so
that float64 holds every intermediate result exactly. A product has limbs of magnitude below 2^18.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Limbs = NDArray[np.float64]

P: Final = 2**255 - 19
BITS: Final = 17
LIMBS: Final = 15
_RADIX: Final = float(1 << BITS)
_OF_RADIX: Final = 1 / _RADIX


def _folding() -> Limbs:
    """What limb i times limb j counts in limb k, float64[225, 15]: 2^255 = 19."""
    table = np.zeros((LIMBS, LIMBS, LIMBS))
    for i in range(LIMBS):
        for j in range(LIMBS):
            table[i, j, (i + j) % LIMBS] = 19 if i + j >= LIMBS else 1
    return table.reshape(LIMBS * LIMBS, LIMBS)


_FOLDING: Final = _folding()


def limbs(*values: int) -> Limbs:
    """Public values below p as elements."""
    return from_bytes(b"".join(value.to_bytes(32, "little") for value in values))


def from_bytes(data: bytes) -> Limbs:
    """Elements of 32 octets each, little-endian, without their highest bit."""
    octets = np.frombuffer(data, np.uint8).reshape(-1, 32)
    bits = np.unpackbits(octets, axis=1, bitorder="little")[:, : LIMBS * BITS].reshape(-1, LIMBS, BITS)
    return bits @ (2.0 ** np.arange(BITS))


def to_bytes(a: Limbs) -> NDArray[np.uint8]:
    """The canonical encodings, uint8[n, 32]."""
    whole = canonical(a).astype(np.uint32)
    bits = (whole[:, :, None] >> np.arange(BITS, dtype=np.uint32)).astype(np.uint8) & 1
    flat = np.zeros((len(a), 256), np.uint8)
    flat[:, :255] = bits.reshape(len(a), -1)
    return np.packbits(flat, axis=1, bitorder="little")


def canonical(a: Limbs) -> Limbs:
    """The same elements with limbs of 17 bits, below p."""
    a = a.copy()
    for _ in range(3):  # a value that is barely negative, or reaches 2^255, is so no more
        _carry_all(a)
    over = a.copy()
    over[:, 0] += 19
    # a + 19 reaches 2^255 exactly if a reaches p. Then that sum, without its highest bit, is a - p.
    reaches = _carry_once(over)
    return np.where(reaches[:, None] > 0, over, a)


def _carry_once(a: Limbs) -> Limbs:
    """Carry from limb to limb, in place; what leaves the last one, float64[n]."""
    carried = np.zeros(len(a))
    for i in range(LIMBS):
        a[:, i] += carried
        carried = np.floor(a[:, i] * _OF_RADIX)
        a[:, i] -= carried * _RADIX
    return carried


def _carry_all(a: Limbs) -> None:
    a[:, 0] += 19 * _carry_once(a)


def mul(a: Limbs, b: Limbs) -> Limbs:
    """The products of loose elements."""
    product: Limbs = (a[:, :, None] * b[:, None, :]).reshape(-1, LIMBS * LIMBS) @ _FOLDING
    # Below 2^49, then 2^36 + 2^17, then 2^23 + 2^17, then little more than 2^17.
    for _ in range(3):
        carried = np.floor(product * _OF_RADIX)
        product -= carried * _RADIX
        product[:, 1:] += carried[:, :-1]
        product[:, 0] += 19 * carried[:, -1]
    return product


def square_often(a: Limbs, times: int) -> Limbs:
    """a^(2^times)."""
    for _ in range(times):
        a = mul(a, a)
    return a


def power_p58(a: Limbs) -> Limbs:
    """a^((p - 5) / 8) = a^(2^252 - 3)."""
    a2 = mul(a, a)
    a9 = mul(a, square_often(a2, 2))
    a11 = mul(a9, a2)
    ones = mul(a9, mul(a11, a11))  # a^(2^5 - 1)
    chain = ones
    length = 5
    kept = {5: ones}
    for step in (5, 10, 20, 10, 50, 100, 50):
        chain = mul(square_often(chain, step), kept[step])
        length += step
        kept[length] = chain
    return mul(square_often(chain, 2), a)  # 2^250 - 1, then two more places: 2^252 - 4 + 1


def is_zero(a: Limbs) -> NDArray[np.bool_]:
    """Whether each is 0."""
    zero: NDArray[np.bool_] = (canonical(a) == 0).all(axis=1)
    return zero


def is_negative(a: Limbs) -> NDArray[np.bool_]:
    """IS_NEGATIVE: whether each is odd, as an integer below p (RFC 9496 §4.1)."""
    odd: NDArray[np.bool_] = canonical(a)[:, 0] % 2 == 1
    return odd


def select(which: NDArray[np.bool_], yes: Limbs, no: Limbs) -> Limbs:
    """CT_SELECT(yes IF which ELSE no)."""
    return np.where(which[:, None], yes, no)


def absolute(a: Limbs) -> Limbs:
    """CT_ABS."""
    return select(is_negative(a), -a, a)
