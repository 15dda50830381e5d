"""What a builder can produce from N values: slot bits, the lengths of all files, and how full a screen is.

A client that knows only what a publisher states about its files checks that against these values, before
anything is planned, fetched or requested. docs/directory-format.md ("What can have been built") has the
formulas. The lengths of a base are `Layout.lengths`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from contactsync.directory.format import MAX_SLOT_BITS, DirectoryInfo, Layout, max_count, slot_bits_for
from contactsync.directory.sidecar_format import MOST_ENTRIES, SidecarLayout
from contactsync.directory.value_sets import encoded_bytes

MOST: Final = math.isqrt(1 << (2 * MAX_SLOT_BITS + 1))
"""The most values that a builder makes a directory of: 32 slot bits are due for them."""

DELTA_BYTES: Final = 168
"""A delta without its two sets: header and trailer."""

ERROR_RATE: Final = 0.01
SLICES: Final = 7  # ceil(log2(1 / ERROR_RATE))
SCREEN_HEADER_BYTES: Final = 40
LEAST_SCREENED: Final = 1 << 17
"""The fewest values that have a screen.

How many bits chance sets is all that tells a screen from a forged one. Of fewer values chance may set so many
more that a forged screen could pass many strangers, whose buckets the server would see.
"""

_WORDS: Final = 1 << 32  # a place in a slice is a number below this, modulo the bits of a slice
_SLICE_BELOW: Final = 1 << 31
_DEVIATIONS: Final = 8.0


def base_problem(info: DirectoryInfo) -> tuple[str, str] | None:
    """Why no builder makes a base of which this is true, and the refusal's word; None if one does."""
    problem = info.layout.problem()
    if problem is None and info.slot_bits != slot_bits_for(info.count):
        return f"{info.slot_bits} slot bits are not those of {info.count} tokens", "out-of-range"
    return problem


def delta_lengths(info: DirectoryInfo, *, last: bool) -> range:
    """Every length that a delta between editions of a base like `info` can have; multiples of 8.

    Something changed, so a value joined or left. A delta is smaller than the base that it leads to: `info`
    itself for the `last` one, else some base of the same slot and remainder bits.
    """
    q, r = info.slot_bits, info.remainder_bits
    below = info.file.length if last else Layout(math.isqrt(1 << (2 * q + 1)), q, r, 0).lengths[-1]
    return range(DELTA_BYTES + encoded_bytes(1, q, r), below, 8)


def patch_lengths(info: DirectoryInfo) -> range:
    """Every length that a patch of a base can have; multiples of 8.

    What two patches did may cancel out when they are merged, so it may be empty.
    """
    return range(DELTA_BYTES, info.file.length, 8)


def sidecar_length(count: int, size: int, slot_bits: int) -> int:
    """The length of the sidecar of so many values, with labels filled up to `size` octets."""
    return SidecarLayout(count, size, slot_bits).length


def sidecar_delta_lengths(count: int, size: int, slot_bits: int, *, last: bool) -> range:
    """Every length that a delta between sidecars of these figures can have; multiples of 4.

    Something changed, so an entry was dropped or placed. A delta is smaller than the sidecar that it leads
    to: this one for the `last` one, else some sidecar of the same size and slot bits.
    """
    most = count if last else min(max_count(slot_bits), MOST_ENTRIES)
    below = sidecar_length(most, size, slot_bits)
    return range(DELTA_BYTES + 4, below, 4)


def has_screen(count: int) -> bool:
    """Whether a partition of so many values has a screen: not a small one, and none of more than 1.5e9."""
    return count >= LEAST_SCREENED and slice_bits(count) < _SLICE_BELOW


def slice_bits(count: int) -> int:
    """Bits of a slice, by the arithmetic of pybloom-live's `BloomFilter`, in its order (they are doubles)."""
    return math.ceil((count * abs(math.log(ERROR_RATE))) / (SLICES * (math.log(2) ** 2)))


def screen_length(count: int) -> int:
    """The length of the screen of so many values."""
    return SCREEN_HEADER_BYTES + (SLICES * slice_bits(count) + 7) // 8


class Fill(NamedTuple):
    """The fewest and the most ones that a slice of an honest screen has."""

    least: float
    most: float


def screen_fill(count: int) -> Fill:
    """How many ones each slice of the screen of `count` values may have.

    Each value sets one bit of a slice, at a place that no publisher of honest tokens chooses: a number of 32
    bits modulo m. Of the m places, 2^32 mod m are hit by one number more than the others. The number of bits
    that stay zero has the mean and the variance of this occupancy (Kolchin, Sevast'yanov, Chistyakov: Random
    Allocations, 1978); eight standard deviations are exceeded once in 10^15 slices.
    """
    m = slice_bits(count)
    each, more = divmod(_WORDS, m)
    zeros = spread = pulled = 0.0
    for places, numbers in ((more, each + 1), (m - more, each)):
        load = count * numbers / _WORDS
        empty = math.exp(-load)
        zeros += places * empty
        spread += places * empty * (1 - empty)
        pulled += places * load * empty
    tolerance = _DEVIATIONS * math.sqrt(spread - pulled**2 / count)
    return Fill(m - zeros - tolerance, m - zeros + tolerance)
