"""`python -m bench sizes`: what the values of a directory take, and what smaller codes of them would take.

Sizes are bits a token, of real encodings of random tokens. `least` is log2 of how many sets of so many values
there are: no code takes less on average. `twice` and `half the slots` are the same format with a remainder
bit less or more (computed). A Golomb-Rice code of the gaps is written and read back; `in buckets` is the same
in pieces that can be fetched and verified alone, as ours. Times are ns of CPU a token to decode all, one
thread, medians of one run. The second table has the same for the changes of a delta.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from bench import harness
from bench.directory import chunks_of
from bench.harness import Contender, Row
from contactsync.directory import Directory, build, open_directory
from contactsync.directory.format import BUCKET_SLOTS, Layout, slot_bits_for
from contactsync.directory.value_sets import encoded_bytes
from contactsync.kernels.bits import trailing_zeros

PACKAGES = ("numba", "numpy")
FULLEST: Final = math.isqrt(1 << 39)
"""The most values that have 19 slot bits: 0.71 slots each; one more has 20 bits, and 1.41 slots each."""

COUNTS: Final = (100_000, FULLEST, FULLEST + 1, 1_000_000, 10_000_000)
CHANGES: Final = (100, 1000, 10_000)

_BUCKET_BITS: Final = 8 * 48  # of the index: where it begins, its fast check, its SHA-256
_COUNT_BITS: Final = 16
_PADDING_BITS: Final = 28 + 32  # on average, of the remainders and the bitmap of a bucket


# A Golomb-Rice code (Golomb 1966, Rice 1979): of each gap the k low bits and, beside them, the rest in unary.


@numba.njit(cache=False)
def _encode(gaps: Any, k: Any, ones: Any, low: Any) -> Any:
    """Write gaps uint64[n] into zeroed words: a zero for each and ones before it, and k bits of each."""
    bit, at, mask = 0, 0, (np.uint64(1) << np.uint64(k)) - np.uint64(1)
    for gap in gaps:
        for _ in range(gap >> np.uint64(k)):
            ones[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
            bit += 1
        bit += 1
        part, shift = gap & mask, np.uint64(at & 63)
        low[at >> 6] |= part << shift
        if (at & 63) + k > 64:
            low[(at >> 6) + 1] |= part >> (np.uint64(64) - shift)
        at += k
    return bit


@numba.njit(cache=False)
def _decode(k: Any, ones: Any, low: Any, key: Any) -> None:
    """Fill key uint64[n], each the sum of the gaps up to there."""
    mask = (np.uint64(1) << np.uint64(k)) - np.uint64(1)
    bit, at, total = 0, 0, np.uint64(0)
    for i in range(key.size):
        begin = bit
        zeros = ~ones[bit >> 6] >> np.uint64(bit & 63)
        while zeros == 0:
            bit = (bit | 63) + 1
            zeros = ~ones[bit >> 6]
        bit += trailing_zeros(zeros)
        high = np.uint64(bit - begin)
        bit += 1
        shift = np.uint64(at & 63)
        part = low[at >> 6] >> shift
        if (at & 63) + k > 64:
            part |= low[(at >> 6) + 1] << (np.uint64(64) - shift)
        at += k
        total += (high << np.uint64(k)) | (part & mask)
        key[i] = total


class Rice:
    """An ascending array of keys, as one Golomb-Rice code with the best parameter."""

    def __init__(self, key: NDArray[np.uint64]) -> None:
        self.gaps = np.diff(key, prepend=np.uint64(0))
        self.k = min(range(1, 63), key=self._bits)
        words = -(-self._bits(self.k) // 64) + 1
        self._ones, self._low = np.zeros(words, np.uint64), np.zeros(key.size * self.k // 64 + 2, np.uint64)
        unary = _encode(self.gaps, self.k, self._ones, self._low)
        self.bits = unary + key.size * self.k
        self._key = np.empty_like(key)
        self.decode()
        assert np.array_equal(self._key, key)

    def _bits(self, k: int) -> int:
        return self.gaps.size * (k + 1) + int((self.gaps >> np.uint64(k)).sum())

    def decode(self) -> None:
        """Read it back."""
        _decode(self.k, self._ones, self._low, self._key)

    def bits_in_buckets(self, key: NDArray[np.uint64], slot_bits: int) -> int:
        """The same in buckets of as many slots as ours, of whole octets, each with its count and a hash."""
        bucket_of = key >> np.uint64(32 + BUCKET_SLOTS.bit_length() - 1)
        first = np.flatnonzero(np.diff(bucket_of, prepend=~np.uint64(0)))
        gaps = self.gaps.copy()
        gaps[first] = key[first] & np.uint64((BUCKET_SLOTS << 32) - 1)
        each = np.add.reduceat((gaps >> np.uint64(self.k)).astype(np.int64) + self.k + 1, first)
        buckets = 1 << (slot_bits - BUCKET_SLOTS.bit_length() + 1)
        return int((-(-each // 8) * 8).sum()) + buckets * (_BUCKET_BITS + _COUNT_BITS)


def least_bits(count: int, value_bits: int) -> float:
    """What a set of `count` values of so many bits takes at least, in bits a value."""
    return value_bits - math.log2(count) + math.log2(math.e)


def other_slots(count: int, slot_bits: int, remainder_bits: int) -> float:
    """What our format takes with these bits, whether or not a builder may choose them."""
    layout = Layout(count, slot_bits, remainder_bits, 0)
    each = 8 * (32 + BUCKET_SLOTS // 8) + _PADDING_BITS
    return (8 * layout.data_offset + layout.buckets * each) / count + 1 + remainder_bits


def _row(directory: Directory, rounds: int) -> Row:
    info = directory.info
    n, q, r = info.count, info.slot_bits, info.remainder_bits
    key = np.concatenate([values.key for values in directory.values()])
    rice, last = Rice(key), r - 32  # of a wider value the last octet follows, as in a bucket
    contenders = {
        "ours": Contender(lambda: sum(len(values) for values in directory.values()), n),
        "rice": Contender(rice.decode, n),
    }
    ns = harness.interleaved(contenders, seconds=0, rounds=rounds, clock=time.process_time)
    sizes = {
        "file": info.bits_per_token,
        "twice the slots": other_slots(n, q + 1, r - 1),
        "half the slots": other_slots(n, q - 1, r + 1),
        "Golomb-Rice": rice.bits / n + last,
        "in buckets": rice.bits_in_buckets(key, q) / n + last,
        "least": least_bits(n, q + r),
    }
    saved = 1 - sizes["Golomb-Rice"] / sizes["file"]
    return (
        {"members": n, "r": r, "slots each": f"{2**q / n:.2f}"}
        | {name: f"{bits:.2f}" for name, bits in sizes.items()}
        | {"saved": f"{saved:.1%}"}
        | {"decode, ns": f"{ns['ours'] * 1e3:.1f}", "Golomb-Rice, ns": f"{ns['rice'] * 1e3:.1f}"}
    )


def run(counts: tuple[int, ...], rounds: int) -> list[Row]:
    """A row for each number of members and each width."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for r in (32, 40):
            for n in counts:
                path = Path(folder) / f"{n}-{r}"
                info = build(path, chunks_of(n), remainder_bits=r)
                with open_directory(path, expect=info) as directory:
                    rows.append(_row(directory, rounds))
                path.unlink()
    return rows


def changes(count: int, many: tuple[int, ...]) -> list[Row]:
    """A row for each number of values that join (or leave) a directory of `count` at once: bits of each."""
    q, r, rows = slot_bits_for(count), 32, []
    for c in many:
        drawn = np.concatenate([tokens.head for tokens in chunks_of(c, seed=3)])
        rice = Rice(np.unique(drawn >> np.uint64(64 - q - 32)))
        sizes = {
            "delta": encoded_bytes(c, q, r) * 8 / c,
            "Golomb-Rice": rice.bits / rice.gaps.size,
            "least": least_bits(c, q + r),
        }
        saved = 1 - sizes["Golomb-Rice"] / sizes["delta"]
        rows.append(
            {"members": count, "changes": c}
            | {name: f"{bits:.2f}" for name, bits in sizes.items()}
            | {"saved": f"{saved:.1%}"}
        )
    return rows


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench sizes", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows of both tables as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the tables into their section of a document")
    parser.add_argument("--quick", action="store_true", help="a million members at most, one round")
    options = parser.parse_args(arguments)
    rows = run(COUNTS[:-1] if options.quick else COUNTS, 1 if options.quick else 5)
    deltas = changes(1_000_000, CHANGES)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), harness.table(deltas), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, [*rows, *deltas])
    if options.markdown:
        text = f"{where}\n\n{harness.markdown(rows)}\n\n{harness.markdown(deltas)}"
        harness.update_section(options.markdown, "sizes", text)
