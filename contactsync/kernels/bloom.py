"""A Bloom filter compatible with pybloom-live, for keys that are hexadecimal numbers.

For a filter of 7 slices of 2^15 to 2^31 - 1 bits, pybloom-live hashes a key once, by SHA-256 of a 32-byte
salt and the key. Word j of the digest, little-endian and modulo the size of a slice, is the bit in slice j
(`make_hashfuncs` in its pybloom.py). Salt and key fit into one block of SHA-256.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.bits import prefetch
from contactsync.kernels.lanes import WIDTHS, Vector, Width, Words, empty, load, splat, store
from contactsync.kernels.policy import function, inlined, kernel
from contactsync.kernels.sha256 import BLOCK_WORDS, BOTH, DIGEST_WORDS, one_block

SLICES = 7
SALT_BYTES = 32
MIN_SLICE_BITS = 1 << 15
MAX_SLICE_BITS = (1 << 31) - 1

AHEAD = 16
"""How many bits later the line of a bit is needed that is fetched now."""

_LANES = 8  # on every CPU: LLVM splits vectors that are too wide
_AT_ONCE = 2 * _LANES
_LOW = 0xFFFFFFFF
_LEFT, _EXTRA_LEFT, _EXTRA_RIGHT, _LENGTH, _KEEP, _END = 0, 1, 2, 3, 4, 7


def layout(key_bits: int, *, wide: bool) -> NDArray[np.uint64]:
    """The layout of a key in the block of SHA-256, for keys of `key_bits` bits, and 8 bits more if `wide`.

    The key is its value in hexadecimal with leading zeros: ceil(key_bits / 4) digits, at most 16, and 2 more
    if
    `wide`.
    """
    digits = -(-key_bits // 4)
    spill = max(0, 4 * digits - 56)
    characters = digits + 2 * wide
    keep = (1 << 192) - (1 << (192 - 8 * characters))
    end = 0x80 << (184 - 8 * characters)
    words = [64 - 4 * digits, max(0, 56 - 4 * digits), spill, (SALT_BYTES + characters) * 8 * BOTH]
    for mask in (keep, end):
        words += [mask >> 128, mask >> 64 & (2**64 - 1), mask & (2**64 - 1)]
    return np.array(words, np.uint64)


def scratch() -> Words:
    """Working storage for `positions`."""
    return empty(_LANES * (BLOCK_WORDS + DIGEST_WORDS + 4))


@inlined
def _characters(nibbles: Vector) -> Vector:
    """The low 32 bits of each lane as 8 characters of `0-9a-f`, the first in the highest octet."""
    x = nibbles
    x = (x | (x << 16)) & 0x0000FFFF0000FFFF
    x = (x | (x << 8)) & 0x00FF00FF00FF00FF
    x = (x | (x << 4)) & 0x0F0F0F0F0F0F0F0F
    letter = ((x + 0x0606060606060606) >> 4) & 0x0101010101010101
    return x + 0x3030303030303030 + letter * 39


@inlined
def _put(block: Words, word: int, low: Vector, high: Vector) -> None:
    """Store words `word` and `word` + 1: `low` has 8 characters of the first keys, `high` of the others."""
    store(block, word * _LANES, (low >> 32) | (high & (_LOW << 32)))
    store(block, (word + 1) * _LANES, (low & _LOW) | (high << 32))


@inlined
def _part(
    width: Width, keys: Words, at: int, extras_at: int, layout: NDArray[np.uint64], third: int
) -> Vector:
    """Characters 8 * third to 8 * third + 7 of eight keys."""
    extra = load(width, keys, extras_at)
    if third == 2:
        nibbles = (extra << (32 - layout[_EXTRA_RIGHT])) & _LOW
    else:
        nibbles = load(width, keys, at) << layout[_LEFT]
        nibbles = nibbles | ((extra << layout[_EXTRA_LEFT]) >> layout[_EXTRA_RIGHT])
        nibbles = nibbles >> 32 if third == 0 else nibbles & _LOW
    return (_characters(nibbles) & layout[_KEEP + third]) | layout[_END + third]


@function
def _hash(
    width: Width,
    key: NDArray[np.uint64],
    extra: NDArray[np.uint8],
    first: int,
    salt: NDArray[np.uint64],
    layout: NDArray[np.uint64],
    scratch: Words,
) -> None:
    """The digests of 16 keys from `first`. Past the end, the last key is repeated."""
    digest = _LANES * BLOCK_WORDS
    keys = digest + _LANES * DIGEST_WORDS
    for i in range(_AT_ONCE):
        j = min(first + i, key.size - 1)
        scratch[keys + i] = key[j]
        scratch[keys + _AT_ONCE + i] = extra[j]
    high, extras = keys + _LANES, keys + _AT_ONCE
    for i in range(SALT_BYTES // 4):
        store(scratch, i * _LANES, splat(width, salt[i]))
    for third in range(3):
        _put(
            scratch, 8 + 2 * third,
            _part(width, scratch, keys, extras, layout, third),
            _part(width, scratch, high, extras + _LANES, layout, third),
        )  # fmt: skip
    store(scratch, 14 * _LANES, splat(width, np.uint64(0)))
    store(scratch, 15 * _LANES, splat(width, layout[_LENGTH]))
    one_block(width, scratch, scratch[digest:])


@inlined
def _position(scratch: Words, i: int, slice_: int, slice_bits: int) -> np.uint64:
    """The bit of the i-th of 16 keys in a slice."""
    word = scratch[_LANES * (BLOCK_WORDS + slice_) + (i & 7)] >> np.uint64(32 * (i >> 3))
    word = ((word & 0xFF00FF) << 8) | ((word >> 8) & 0xFF00FF)
    word = ((word << 16) | ((word >> 16) & 0xFFFF)) & _LOW
    return np.uint64(word % slice_bits)


@kernel
def positions(
    width: Width,
    key: NDArray[np.uint64],
    extra: NDArray[np.uint8],
    salt: NDArray[np.uint64],
    layout: NDArray[np.uint64],
    slice_bits: int,
    position: NDArray[np.uint32],
    scratch: Words,
) -> None:
    """Write the bit of each key in each slice to `position` uint32[7, n or more].

    Keys: uint64[n] and uint8[n], as in `layout`. `salt` uint64[8]: its words, times BOTH. Every position is
    less than `slice_bits`, whatever the keys are.
    """
    for first in range(0, key.size, _AT_ONCE):
        _hash(width, key, extra, first, salt, layout, scratch)
        for i in range(min(_AT_ONCE, key.size - first)):
            for slice_ in range(SLICES):
                position[slice_, first + i] = _position(scratch, i, slice_, slice_bits)


@kernel
def set_bits(
    position: NDArray[np.uint32],
    count: int,
    slice_bits: int,
    bitmap: NDArray[np.uint8],
    found: NDArray[np.uint8],
) -> int:
    """Add the first `count` keys of `position`, in order. Returns how many were new (`BloomFilter.add`).

    It works slice by slice, so that one slice at a time is in the cache: 4 times faster than key by key.
    `bitmap` uint8[ceil(7 * slice_bits / 8)] is changed in place; `found` uint8[count or more] is scratch.
    """
    found[:count] = 1
    for slice_ in range(SLICES):
        start = slice_ * slice_bits
        for i in range(count):
            # A large slice is in no cache: fetch what comes soon. The last ones ask for what was just used.
            prefetch(bitmap, (start + np.int64(position[slice_, min(i + AHEAD, count - 1)])) >> 3)
            bit = start + np.int64(position[slice_, i])
            octet, mask = bitmap[bit >> 3], np.uint8(1) << np.uint8(bit & 7)
            found[i] &= octet >> np.uint8(bit & 7)
            bitmap[bit >> 3] = octet | mask
    new = 0
    for i in range(count):
        new += not found[i] & 1
    return new


@kernel
def test_bits(
    position: NDArray[np.uint32],
    count: int,
    slice_bits: int,
    bitmap: NDArray[np.uint8],
    found: NDArray[np.bool_],
) -> None:
    """Write to `found` bool[count or more] whether all bits of each of the first `count` keys are set."""
    found[:count] = True
    for slice_ in range(SLICES):
        start = slice_ * slice_bits
        for i in range(count):
            bit = start + np.int64(position[slice_, i])
            found[i] &= (bitmap[bit >> 3] >> np.uint8(bit & 7)) & 1 == 1


WIDTH = WIDTHS[_LANES]
