"""SHA-512 (FIPS 180-4) in lanes, n messages at once, and the layout of messages in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.lanes import (
    Vector,
    Words,
    bswap,
    gather,
    lane_count,
    load,
    rotr,
    scatter,
    splat,
    store,
)
from contactsync.kernels.policy import inlined, kernel

Bytes = NDArray[np.uint8]

BLOCK_BYTES = 128
DIGEST_BYTES = 64
PADDING_BYTES = 17
"""The least padding: one byte 0x80, and 16 bytes for the length (FIPS 180-4 §5.1.2)."""

SCHEDULE_WORDS = 16
"""Words of scratch for `sha512`, for each lane."""
_ROUNDS = 80


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _root_fraction(number: int, degree: int) -> int:
    """The first 64 bits after the point in the root of a small number."""
    low, high = 0, number << 64
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= number << 64 * degree else (low, middle - 1)
    return low % 2**64


# FIPS 180-4 §4.2.3: cube roots of the first 80 primes; §5.3.5: square roots of the first 8 primes.
ROUND_CONSTANTS = np.array([_root_fraction(prime, 3) for prime in _primes(_ROUNDS)], np.uint64)
INITIAL_STATE = np.array([_root_fraction(prime, 2) for prime in _primes(8)], np.uint64)


@inlined
def _sum0(x: Vector) -> Vector:
    return rotr(x, 28) ^ rotr(x, 34) ^ rotr(x, 39)


@inlined
def _sum1(x: Vector) -> Vector:
    return rotr(x, 14) ^ rotr(x, 18) ^ rotr(x, 41)


@inlined
def _sigma0(x: Vector) -> Vector:
    return rotr(x, 1) ^ rotr(x, 8) ^ (x >> 7)


@inlined
def _sigma1(x: Vector) -> Vector:
    return rotr(x, 19) ^ rotr(x, 61) ^ (x >> 6)


@kernel
def sha512(width: Any, state: Words, blocks: Words, blocks_each: int, out: Words, schedule: Words) -> None:
    """out[i] = the digest of row i, for whole groups of lanes.

    state: 8 words, the initial hash value (INITIAL_STATE, or the value after blocks that all rows share);
    blocks: rows of `blocks_each` padded blocks, in their byte order; out: rows of 8 words, likewise;
    schedule: 16·n words of scratch. The time depends only on the sizes.
    """
    n = lane_count(width)
    row_words = 16 * blocks_each
    for i in range(0, out.size // 8, n):
        a, b, c, d, e, f, g, h = (
            splat(width, state[0]),
            splat(width, state[1]),
            splat(width, state[2]),
            splat(width, state[3]),
            splat(width, state[4]),
            splat(width, state[5]),
            splat(width, state[6]),
            splat(width, state[7]),
        )
        for block in range(blocks_each):
            for t in range(16):
                word = gather(width, blocks, i * row_words + 16 * block + t, row_words)
                store(schedule, t * n, bswap(word))
            before = a, b, c, d, e, f, g, h
            for t in range(_ROUNDS):
                # The sixteen words of the schedule that are still needed, W[t] … W[t + 15], are in a ring.
                w0 = load(width, schedule, (t & 15) * n)
                w1 = load(width, schedule, (t + 1 & 15) * n)
                w9 = load(width, schedule, (t + 9 & 15) * n)
                w14 = load(width, schedule, (t + 14 & 15) * n)
                store(schedule, (t & 15) * n, w0 + _sigma0(w1) + w9 + _sigma1(w14))
                # T1 = h + Σ1(e) + Ch(e, f, g) + K[t] + W[t]
                t1 = h + _sum1(e) + (g ^ (e & (f ^ g))) + (w0 + splat(width, ROUND_CONSTANTS[t]))
                # T2 = Σ0(a) + Maj(a, b, c)
                t2 = _sum0(a) + ((a & b) | (c & (a | b)))
                h, g, f, e, d, c, b, a = g, f, e, d + t1, c, b, a, t1 + t2
            a, b, c, d = a + before[0], b + before[1], c + before[2], d + before[3]
            e, f, g, h = e + before[4], f + before[5], g + before[6], h + before[7]
        scatter(out, 8 * i, 8, bswap(a))
        scatter(out, 8 * i + 1, 8, bswap(b))
        scatter(out, 8 * i + 2, 8, bswap(c))
        scatter(out, 8 * i + 3, 8, bswap(d))
        scatter(out, 8 * i + 4, 8, bswap(e))
        scatter(out, 8 * i + 5, 8, bswap(f))
        scatter(out, 8 * i + 6, 8, bswap(g))
        scatter(out, 8 * i + 7, 8, bswap(h))


@kernel
def frame(
    messages: Bytes,
    offsets: NDArray[np.int64],
    with_length: int,
    elements: Bytes,
    suffix: Bytes,
    hashed_before: int,
    rows: Bytes,
) -> None:
    """Lay out one message per row: [length] || message || [I2OSP(32, 2) || element] || suffix || padding.

    messages: all of them, message i from offsets[i] to offsets[i + 1]; with_length: 1 puts I2OSP(length, 2)
    first; elements: 32 bytes per row, or none at all; hashed_before: bytes in blocks before the row; rows: m
    bytes per row, where m is a multiple of 128 that is large enough. Not constant time in the messages'
    lengths.
    """
    count = offsets.size - 1
    for i in range(count):
        row_bytes = rows.size // count
        row = rows[i * row_bytes : (i + 1) * row_bytes]
        length = offsets[i + 1] - offsets[i]
        if length + 2 * with_length + (34 if elements.size else 0) + suffix.size + PADDING_BYTES > row_bytes:
            raise ValueError("a message does not fit its row")
        row[:] = 0
        at = 0
        if with_length:
            row[0] = length >> 8 & 255
            row[1] = length & 255
            at = 2
        for j in range(length):
            row[at + j] = messages[offsets[i] + j]
        at += length
        if elements.size:
            row[at + 1] = 32
            for j in range(32):
                row[at + 2 + j] = elements[32 * i + j]
            at += 34
        for j in range(suffix.size):
            row[at + j] = suffix[j]
        at += suffix.size
        row[at] = 0x80
        bits = 8 * (at + hashed_before)
        for j in range(8):
            row[row_bytes - 1 - j] = bits >> 8 * j & 255
