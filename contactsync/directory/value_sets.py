"""Small ascending sets of values: their algebra, and their bytes in a delta (docs/directory-format.md).

A set of c values of q + 32 bits (and 8 more with 40 remainder bits), compressed as Elias (1974) and Fano
(1971) do; h = the length of c in binary, l = q + 32 - h:

    u64[ceil((c + 2^h) / 64)]  for each h-bit number: a one per value that begins with it, then a zero
    u64[ceil(c l / 64)]        the l low bits of each value, one after the other
    u8[c]                      only with 40 remainder bits: the last 8 bits; then zeros to a multiple of 8
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import Values, bad

_ROWS = 1 << 16  # values whose low bits are laid out in one go: bounds the memory


def contains(those: Values, values: Values) -> NDArray[np.bool_]:
    """bool[n]: which of n values are in an ascending set of c. O(n log c)."""
    return ranks(those, values)[1]


def ranks(those: Values, values: Values) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """int64[n], how many of an ascending set of c are less than each value; bool[n], whether it is in it.

    O(n log c).
    """
    less = np.searchsorted(those.key, values.key).astype(np.int64)
    found = np.zeros(len(values), np.bool_)
    live = np.flatnonzero(less < len(those))
    while live.size:
        at = less[live]
        same = those.key[at] == values.key[live]
        found[live[same & (those.extra[at] == values.extra[live])]] = True
        # Values may agree in their key and differ in the last 8 bits: go past those that are less.
        live = live[same & (those.extra[at] < values.extra[live])]
        less[live] += 1
        live = live[less[live] < len(those)]
    return less, found


def union(first: Values, second: Values) -> Values:
    """Both of two disjoint sets, ascending."""
    key, extra = np.concatenate([first.key, second.key]), np.concatenate([first.extra, second.extra])
    order = np.lexsort((extra, key))
    return Values(key[order], extra[order])


def encoded_bytes(count: int, slot_bits: int, remainder_bits: int) -> int:
    """The size of an encoded set, a multiple of 8."""
    if count == 0:
        return 0
    high, low = _widths(count, slot_bits)
    words = -(-(count + (1 << high)) // 64) + -(-count * low // 64)
    return 8 * words + (-(-count // 8) * 8 if remainder_bits == 40 else 0)


def encode(values: Values, slot_bits: int, remainder_bits: int) -> bytes:
    """The bytes of an ascending set."""
    count = len(values)
    if count == 0:
        return b""
    high, low = _widths(count, slot_bits)
    bits = np.zeros(-(-(count + (1 << high)) // 64) * 64, np.uint8)
    bits[(values.key >> np.uint64(low)).astype(np.int64) + np.arange(count)] = 1
    parts = [np.packbits(bits, bitorder="little").tobytes()]
    for first in range(0, count, _ROWS):
        rows = values.key[first : first + _ROWS].astype("<u8").view(np.uint8).reshape(-1, 8)
        bits = np.unpackbits(rows, axis=1, count=low, bitorder="little")
        parts.append(np.packbits(bits, bitorder="little").tobytes())
    parts.append(bytes(-sum(map(len, parts)) % 8))
    if remainder_bits == 40:
        parts += [values.extra.tobytes(), bytes(-count % 8)]
    return b"".join(parts)


def decode(data: bytes, count: int, slot_bits: int, remainder_bits: int, name: str) -> Values:
    """The inverse of `encode`, for `encoded_bytes` of data.

    Raises BadDirectory unless it is, bit for bit, an ascending set of `count` values.
    """
    if count == 0:
        return Values(np.empty(0, np.uint64), np.empty(0, np.uint8))
    high, low = _widths(count, slot_bits)
    middle = -(-(count + (1 << high)) // 64) * 8
    end = middle + -(-count * low // 64) * 8
    place = np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8, middle), bitorder="little"))
    if place.size != count or int(place[-1]) - count + 1 >= 1 << high:
        raise bad(name, "its bitmap is inconsistent", "malformed")
    key = (place - np.arange(count)).astype(np.uint64) << np.uint64(low)
    key |= _fields(data[middle:end], count, low)
    extra = np.zeros(count, np.uint8)
    if remainder_bits == 40:
        extra = np.frombuffer(data, np.uint8, count, end)
    padding = int.from_bytes(data[end - 8 : end], "little") >> (64 - (-count * low % 64))
    if padding or any(data[end + count :]):
        raise bad(name, "its padding is not zero", "not-canonical")
    if not ((key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & (extra[1:] > extra[:-1]))).all():
        raise bad(name, "its values are not in ascending order", "not-ascending")
    return Values(key, extra)


def _widths(count: int, slot_bits: int) -> tuple[int, int]:
    """How many bits of a key are coded in unary, and how many are stored."""
    high = count.bit_length()
    return high, slot_bits + 32 - high


def _fields(data: bytes, count: int, width: int) -> NDArray[np.uint64]:
    """Unpack `count` numbers of `width` bits (at most 63) each."""
    padded = data + bytes(16)
    bit = np.arange(count, dtype=np.int64) * width
    octet, shift = bit >> 3, (bit & 7).astype(np.uint64)
    # A word begins at every octet; a number that does not fit in one has its last bits in the octet behind.
    words: NDArray[np.uint64] = np.ndarray(len(padded) - 8, "<u8", padded, strides=(1,))
    number: NDArray[np.uint64] = words[octet] >> shift
    spill = np.frombuffer(padded, np.uint8)[octet + 8].astype(np.uint64)
    number |= spill << np.uint64(1) << (np.uint64(63) - shift)
    number &= np.uint64((1 << width) - 1)
    return number
