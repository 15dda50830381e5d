"""The screen: a Bloom filter over the values of a directory, in the file format of pybloom-live.

A client that will not fetch a whole directory fetches its screen, about 9.6 bits a member, and drops the
contacts that do not pass: 99 % of those who are no members. docs/directory-format.md ("Screen") has the
bytes. `pybloom_live.BloomFilter.fromfile` reads the file; the key of a value is its text in hexadecimal
(`key_texts`).
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pybloom_live import BloomFilter
from pybloom_live.pybloom import make_hashfuncs

from contactsync.directory.files import read_file, write_file
from contactsync.directory.format import DataFile, DirectoryInfo, Values, bad, check_version, truncate
from contactsync.directory.reader import Directory
from contactsync.foundation.errors import BadInput
from contactsync.tokens import Tokens

ERROR_RATE = 0.01
SLICES = 7  # ceil(log2(1 / ERROR_RATE))
HEADER = struct.Struct(BloomFilter.FILE_FMT)
MAGIC = b"CSSCR\r\n\x1a"  # with a version behind it: how every later format begins
VERSION = 1  # the library's own file, which has no room for either

_SHA256_FROM = 1 << 15  # bits of a slice from which pybloom-live hashes by SHA-256; below it by xxh128
_SHA256_BELOW = 1 << 31
_IN_PYTHON = 4096  # keys; to load the kernels takes longer than to hash so many one by one
_AT_ONCE = 1 << 20  # keys


def build_screen(path: str | os.PathLike[str], directory: Directory) -> DataFile:
    """Write the screen of all values of a directory, in ascending order; 60 ns a value.

    The file is, byte for byte, what pybloom-live writes after it was given the same keys in the same order,
    for a capacity of exactly their number (1 if there are none). Memory: the filter and 40 MB.

    Raises BadInput for more than 1.5e9 values, which pybloom-live would hash in another way.
    """
    capacity = max(1, directory.count)
    slice_bits = _slice_bits(capacity)
    if slice_bits >= _SHA256_BELOW:
        raise BadInput(
            f"{capacity} tokens are too many for a screen", hint="Publish this partition without a screen."
        )
    build = _build_by_library if slice_bits < _SHA256_FROM else _build_by_kernel
    count, bitmap = build(directory, slice_bits)
    return write_file(path, [HEADER.pack(ERROR_RATE, SLICES, slice_bits, capacity, count), bitmap])


class Screen:
    """A checked screen. `test` says which tokens may be in the directory."""

    def __init__(self, bitmap: NDArray[np.uint8], slice_bits: int, of: DirectoryInfo) -> None:
        self._bitmap = bitmap
        self._slice_bits = slice_bits
        self._of = of

    def test(self, tokens: Tokens) -> NDArray[np.bool_]:
        """bool[n]: True for every token that is in the directory, and for 1 % of the others.

        O(n): about 2 µs a token up to 4096 of them and in small screens, 60 ns beyond.
        """
        values = truncate(tokens, self._of.slot_bits, self._of.remainder_bits)
        if len(values) <= _IN_PYTHON or self._slice_bits < _SHA256_FROM:
            return self._test_in_python(values)
        from contactsync.kernels import bloom  # noqa: PLC0415 - loads Numba, which a small sync does not need

        found = np.empty(len(values), np.bool_)
        for first, count, position in _positions(iter([values]), self._of, self._slice_bits):
            bloom.test_bits(position, count, self._slice_bits, self._bitmap, found[first:])
        return found

    def _test_in_python(self, values: Values) -> NDArray[np.bool_]:
        """By pybloom-live's own hash functions."""
        hashes, _ = make_hashfuncs(SLICES, self._slice_bits)
        texts = key_texts(values, self._of.slot_bits, self._of.remainder_bits)
        flat = np.fromiter((bit for text in texts for bit in hashes(text)), np.int64, SLICES * len(texts))
        bits = flat.reshape(-1, SLICES) + self._slice_bits * np.arange(SLICES)
        octets = self._bitmap[bits >> 3]
        found: NDArray[np.bool_] = ((octets >> (bits & 7).astype(np.uint8)) & 1 == 1).all(axis=1)
        return found


def open_screen(path: str | os.PathLike[str], of: DirectoryInfo, *, expect: DataFile | None = None) -> Screen:
    """Read and check the screen of the directory `of`; `expect` is what the signed manifest says about it.

    Raises BadDirectory (not that file, malformed, not of that directory, or so full that too much would
    pass), BadInput (cannot be read).
    """
    name = Path(path).name
    data = read_file(path, expect)
    if data.startswith(MAGIC):
        check_version(data, MAGIC, VERSION, name, "screen")
    if len(data) < HEADER.size:
        raise bad(name, f"{len(data)} bytes are too few for a screen", "wrong-length")
    error_rate, slices, slice_bits, capacity, count = HEADER.unpack_from(data)
    if error_rate != ERROR_RATE or slices != SLICES:
        raise bad(
            name, "not a screen of 1 % in 7 slices, the only kind that this program reads", "wrong-kind"
        )
    if capacity != max(1, of.count):
        raise bad(
            name, f"a screen for {capacity} tokens beside a directory of {of.count}", "not-as-described"
        )
    if slice_bits != _slice_bits(capacity) or slice_bits >= _SHA256_BELOW:
        raise bad(name, f"{slice_bits} bits a slice are wrong for {capacity} tokens", "out-of-range")
    if count > of.count or (count == 0) != (of.count == 0):
        raise bad(name, f"{count} tokens counted in a screen for {capacity}", "out-of-range")
    size = HEADER.size + (SLICES * slice_bits + 7) // 8
    if len(data) != size:
        raise bad(name, f"{len(data)} bytes instead of {size}", "wrong-length")
    bitmap = np.frombuffer(data, np.uint8, offset=HEADER.size)
    _check_fill(bitmap, slice_bits, of.count, name)
    return Screen(bitmap, slice_bits, of)


def key_texts(values: Values, slot_bits: int, remainder_bits: int) -> list[str]:
    """What pybloom-live is given for each value: hexadecimal, with leading zeros to the directory's width."""
    bits = slot_bits + remainder_bits
    digits = -(-bits // 4)
    if remainder_bits == 32:
        return [f"{key:0{digits}x}" for key in values.key.tolist()]
    pairs = zip(values.key.tolist(), values.extra.tolist(), strict=True)
    return [f"{key << 8 | extra:0{digits}x}" for key, extra in pairs]


def _slice_bits(capacity: int) -> int:
    """Bits of a slice, by the arithmetic of `BloomFilter.__init__`, in its order (they are doubles)."""
    return math.ceil((capacity * abs(math.log(ERROR_RATE))) / (SLICES * (math.log(2) ** 2)))


def _check_fill(bitmap: NDArray[np.uint8], slice_bits: int, count: int, name: str) -> None:
    """Refuse a bitmap with far more or fewer ones than `count` keys set.

    A full one would let every contact pass, and the server would see all their buckets.
    """
    bits = SLICES * slice_bits
    if bits % 8 and int(bitmap[-1]) >> (bits % 8):
        raise bad(name, "bits are set behind the last slice", "not-canonical")
    octets = bitmap.size // 8 * 8
    ones = int(np.bitwise_count(bitmap[:octets].view("<u8")).sum(dtype=np.int64))
    ones += int(np.bitwise_count(bitmap[octets:]).sum(dtype=np.int64))
    expected = -bits * math.expm1(count * math.log1p(-1 / slice_bits))
    # The number of ones has a variance below bits / 8: this is more than twenty standard deviations.
    if abs(ones - expected) > 8 * math.sqrt(bits):
        refusal = "too-full" if ones > expected else "malformed"
        raise bad(name, f"{ones} of {bits} bits are set, which {count} tokens cannot have done", refusal)


def _build_by_library(directory: Directory, _slice_bits: int) -> tuple[int, bytes]:
    """Count and bitmap of a small screen."""
    reference = BloomFilter(max(1, directory.count), ERROR_RATE)
    for values in directory.values():
        for text in key_texts(values, directory.info.slot_bits, directory.info.remainder_bits):
            reference.add(text)
    return reference.count, reference.bitarray.tobytes()


def _build_by_kernel(directory: Directory, slice_bits: int) -> tuple[int, memoryview]:
    """Count and bitmap of a screen that hashes by SHA-256."""
    from contactsync.kernels import bloom  # noqa: PLC0415 - loads Numba

    bitmap = np.zeros((SLICES * slice_bits + 7) // 8, np.uint8)
    count = 0
    found = np.empty(_AT_ONCE, np.uint8)
    for _, many, position in _positions(directory.values(), directory.info, slice_bits):
        count += bloom.set_bits(position, many, slice_bits, bitmap, found)
    return count, bitmap.data


def _positions(
    chunks: Iterator[Values], of: DirectoryInfo, slice_bits: int
) -> Iterator[tuple[int, int, NDArray[np.uint32]]]:
    """By the kernel, in order: (place of the first value, n values, their bits as uint32[7, n or more])."""
    from contactsync.kernels import bloom  # noqa: PLC0415 - loads Numba
    from contactsync.kernels.sha256 import BOTH  # noqa: PLC0415

    # salts = h(h(pack('I', i))), of which 7 slices need the first only
    digest = hashlib.sha256(struct.pack("<I", 0)).digest()
    salt = np.frombuffer(digest, ">u4").astype(np.uint64) * np.uint64(BOTH)
    layout = bloom.layout(of.slot_bits + 32, wide=of.remainder_bits == 40)
    scratch = bloom.scratch()
    position = np.empty((SLICES, _AT_ONCE), np.uint32)
    place = 0
    for values in chunks:
        for first in range(0, len(values), _AT_ONCE):
            key, extra = values.key[first : first + _AT_ONCE], values.extra[first : first + _AT_ONCE]
            bloom.positions(bloom.WIDTH, key, extra, salt, layout, slice_bits, position, scratch)
            yield place, key.size, position
            place += key.size
