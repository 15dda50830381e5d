"""The screen: a Bloom filter over the values of a directory, in the file format of pybloom-live.

A client that will not fetch a whole directory fetches its screen, about 9.6 bits a member, and drops the
contacts that do not pass: 99 % of those who are no members. Only large directories have one
(`bounds.has_screen`). docs/directory-format.md ("The screen") has the bytes.
`pybloom_live.BloomFilter.fromfile` reads the file; the key of a value is its text in hexadecimal
(`key_texts`).
"""

from __future__ import annotations

import collections
import hashlib
import os
import struct
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pybloom_live import BloomFilter
from pybloom_live.pybloom import make_hashfuncs

from contactsync.directory.bounds import (
    ERROR_RATE,
    LEAST_SCREENED,
    SLICES,
    has_screen,
    screen_fill,
    screen_length,
    slice_bits,
)
from contactsync.directory.files import read_file, write_file
from contactsync.directory.format import DataFile, DirectoryInfo, Values, bad, check_version, truncate
from contactsync.directory.reader import Directory
from contactsync.foundation.errors import BadInput
from contactsync.tokens import Tokens

if TYPE_CHECKING:
    from contactsync.kernels.lanes import Words

HEADER = struct.Struct(BloomFilter.FILE_FMT)
MAGIC = b"CSSCR\r\n\x1a"  # with a version behind it: how every later format begins
VERSION = 1  # the library's own file, which has no room for either

_IN_PYTHON = 4096  # keys; to load the kernels takes longer than to hash so many one by one
_AT_ONCE = 1 << 19  # keys
_THREADS = 4  # at most: then setting the bits takes as long


def build_screen(path: str | os.PathLike[str], directory: Directory) -> DataFile:
    """Write the screen of all values of a directory, in ascending order; 125 ns of CPU a value.

    The file is, byte for byte, what pybloom-live writes after it was given the same keys in the same order,
    for a capacity of exactly their number. Memory: the filter, and 15 MB for each thread and one more.

    Raises BadInput for a directory that has none (`bounds.has_screen`).
    """
    from contactsync.kernels import bloom  # noqa: PLC0415 - loads Numba

    capacity = directory.count
    if not has_screen(capacity):
        raise BadInput(
            f"{capacity} tokens are too {'few' if capacity < LEAST_SCREENED else 'many'} for a screen",
            hint="Publish this partition without a screen.",
        )
    bits = slice_bits(capacity)
    bitmap = np.zeros((SLICES * bits + 7) // 8, np.uint8)
    count = 0
    found = np.empty(_AT_ONCE, np.uint8)
    for _, many, position in _positions(directory.values(), directory.info, bits):
        count += bloom.set_bits(position, many, bits, bitmap, found)
    return write_file(path, [HEADER.pack(ERROR_RATE, SLICES, bits, capacity, count), bitmap.data])


class Screen:
    """A checked screen. `test` says which tokens may be in the directory."""

    def __init__(self, bitmap: NDArray[np.uint8], slice_bits: int, of: DirectoryInfo) -> None:
        self._bitmap = bitmap
        self._slice_bits = slice_bits
        self._of = of

    def test(self, tokens: Tokens) -> NDArray[np.bool_]:
        """bool[n]: True for every token that is in the directory, and for 1 % of the others.

        O(n): about 2 µs a token up to 4096 of them, 60 ns beyond.
        """
        values = truncate(tokens, self._of.slot_bits, self._of.remainder_bits)
        if len(values) <= _IN_PYTHON:
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

    Raises BadDirectory (not that file, malformed, not of that directory, of one that has none, or so full
    that too much would pass), BadInput (cannot be read).
    """
    name = Path(path).name
    data = read_file(path, expect)
    if data.startswith(MAGIC):
        check_version(data, MAGIC, VERSION, name, "screen")
    if len(data) < HEADER.size:
        raise bad(name, f"{len(data)} bytes are too few for a screen", "wrong-length")
    error_rate, slices, bits, capacity, count = HEADER.unpack_from(data)
    if error_rate != ERROR_RATE or slices != SLICES:
        raise bad(
            name, "not a screen of 1 % in 7 slices, the only kind that this program reads", "wrong-kind"
        )
    if capacity != of.count:
        raise bad(
            name, f"a screen for {capacity} tokens beside a directory of {of.count}", "not-as-described"
        )
    if not has_screen(capacity):
        raise bad(name, f"a directory of {capacity} tokens has no screen", "out-of-range")
    if bits != slice_bits(capacity):
        raise bad(name, f"{bits} bits a slice are wrong for {capacity} tokens", "out-of-range")
    if not 0 < count <= capacity:
        raise bad(name, f"{count} tokens counted in a screen for {capacity}", "out-of-range")
    if len(data) != screen_length(capacity):
        raise bad(name, f"{len(data)} bytes instead of {screen_length(capacity)}", "wrong-length")
    bitmap = np.frombuffer(data, np.uint8, offset=HEADER.size)
    _check_fill(bitmap, bits, capacity, name)
    return Screen(bitmap, bits, of)


def key_texts(values: Values, slot_bits: int, remainder_bits: int) -> list[str]:
    """What pybloom-live is given for each value: hexadecimal, with leading zeros to the directory's width."""
    bits = slot_bits + remainder_bits
    digits = -(-bits // 4)
    if remainder_bits == 32:
        return [f"{key:0{digits}x}" for key in values.key.tolist()]
    pairs = zip(values.key.tolist(), values.extra.tolist(), strict=True)
    return [f"{key << 8 | extra:0{digits}x}" for key, extra in pairs]


def _check_fill(bitmap: NDArray[np.uint8], slice_bits: int, count: int, name: str) -> None:
    """Refuse a bitmap in which the bits of any slice are not as many as `count` keys set.

    A full one would let every contact pass, and the server would see all their buckets.
    """
    bits = SLICES * slice_bits
    if bits % 8 and int(bitmap[-1]) >> (bits % 8):
        raise bad(name, "bits are set after the last slice", "not-canonical")
    fill = screen_fill(count)
    for number in range(SLICES):
        ones = _ones(bitmap, number * slice_bits, (number + 1) * slice_bits)
        if not fill.least <= ones <= fill.most:
            what = f"{ones} of {slice_bits} bits of slice {number} are set"
            refusal = "too-full" if ones > fill.most else "malformed"
            raise bad(name, f"{what}, which {count} tokens cannot have done", refusal)


def _ones(bitmap: NDArray[np.uint8], first: int, end: int) -> int:
    """How many of the bits first … end - 1 are set."""
    octets = bitmap[first >> 3 : (end + 7) >> 3]
    whole = octets.size // 8 * 8
    ones = int(np.bitwise_count(octets[:whole].view("<u8")).sum(dtype=np.int64))
    ones += int(np.bitwise_count(octets[whole:]).sum(dtype=np.int64))
    before = int(octets[0]) & ((1 << (first & 7)) - 1)
    behind = int(octets[-1]) >> (end & 7) if end & 7 else 0
    return ones - before.bit_count() - behind.bit_count()


def _positions(
    chunks: Iterator[Values], of: DirectoryInfo, slice_bits: int
) -> Iterator[tuple[int, int, NDArray[np.uint32]]]:
    """By the kernel, in order: (place of the first value, n values, their bits as uint32[7, n or more]).

    They are hashed ahead, by as many threads as there are processors: that is most of the work. What is given
    is overwritten when the next is taken.
    """
    from contactsync.kernels import bloom  # noqa: PLC0415 - loads Numba
    from contactsync.kernels.sha256 import BOTH  # noqa: PLC0415

    # salts = h(h(pack('I', i))), of which 7 slices need the first only
    digest = hashlib.sha256(struct.pack("<I", 0)).digest()
    salt = np.frombuffer(digest, ">u4").astype(np.uint64) * np.uint64(BOTH)
    layout = bloom.layout(of.slot_bits + 32, wide=of.remainder_bits == 40)

    def hashed(some: Values, room: tuple[NDArray[np.uint32], Words]) -> None:
        bloom.positions(bloom.WIDTH, some.key, some.extra, salt, layout, slice_bits, *room)

    pieces = (
        Values(values.key[first : first + _AT_ONCE], values.extra[first : first + _AT_ONCE])
        for values in chunks
        for first in range(0, len(values), _AT_ONCE)
    )
    threads = min(_THREADS, os.cpu_count() or 1)
    rooms = [(np.empty((SLICES, _AT_ONCE), np.uint32), bloom.scratch()) for _ in range(threads + 1)]
    ahead: collections.deque[tuple[Values, tuple[NDArray[np.uint32], Words], Future[None]]]
    ahead = collections.deque()
    place = 0
    with ThreadPoolExecutor(threads, "screen") as pool:
        while True:
            while rooms and (some := next(pieces, None)) is not None:
                room = rooms.pop()
                ahead.append((some, room, pool.submit(hashed, some, room)))
            if not ahead:
                return
            some, room, done = ahead.popleft()
            done.result()
            yield place, len(some), room[0]
            place += len(some)
            rooms.append(room)
