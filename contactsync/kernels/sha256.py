"""SHA-256 (FIPS 180-4) of one block, two messages per lane: one in the low half, one in the high half."""

from __future__ import annotations

import numpy as np

from contactsync.kernels.lanes import (
    Vector,
    Width,
    Words,
    add32,
    lane_count,
    load,
    rotr32,
    shift32,
    splat,
    store,
)
from contactsync.kernels.policy import function
from contactsync.kernels.sha512 import INITIAL_STATE, ROUND_CONSTANTS

BLOCK_WORDS = 16
DIGEST_WORDS = 8
_ROUNDS = 64

BOTH = 0x1_0000_0001
"""Multiplied by a 32-bit word: the word in both halves."""

# FIPS 180-4 §4.2.2, §5.3.3: the same roots of the same primes as for SHA-512, to 32 bits instead of 64.
_K = (ROUND_CONSTANTS[:_ROUNDS] >> np.uint64(32)) * np.uint64(BOTH)
_H = (INITIAL_STATE >> np.uint64(32)) * np.uint64(BOTH)


@function
def one_block(width: Width, block: Words, digest: Words) -> None:
    """SHA-256 of messages that fill one padded block.

    `block`: 16 vectors, word t of all messages in vector t; it is overwritten. `digest` receives 8 vectors. A
    vector has n lanes, and so 2n messages (§6.2.2, with H(0) of §5.3.3).
    """
    n = lane_count(width)
    a, b, c, d = splat(width, _H[0]), splat(width, _H[1]), splat(width, _H[2]), splat(width, _H[3])
    e, f, g, h = splat(width, _H[4]), splat(width, _H[5]), splat(width, _H[6]), splat(width, _H[7])
    for t in range(_ROUNDS):
        word = load(width, block, (t & 15) * n)
        # T1 = h + Sigma1(e) + Ch(e, f, g) + K_t + W_t
        t1 = add32(h, rotr32(e, 6) ^ rotr32(e, 11) ^ rotr32(e, 25))
        t1 = add32(add32(t1, g ^ (e & (f ^ g))), add32(splat(width, _K[t]), word))
        # T2 = Sigma0(a) + Maj(a, b, c)
        t2 = add32(rotr32(a, 2) ^ rotr32(a, 13) ^ rotr32(a, 22), (a & b) | (c & (a | b)))
        h, g, f, e, d, c, b, a = g, f, e, add32(d, t1), c, b, a, add32(t1, t2)
        # W_(t+16) = sigma1(W_(t+14)) + W_(t+9) + sigma0(W_(t+1)) + W_t takes the place of W_t
        w1, w14 = load(width, block, ((t + 1) & 15) * n), load(width, block, ((t + 14) & 15) * n)
        sigma0 = rotr32(w1, 7) ^ rotr32(w1, 18) ^ shift32(w1, 3)
        sigma1 = rotr32(w14, 17) ^ rotr32(w14, 19) ^ shift32(w14, 10)
        w9 = load(width, block, ((t + 9) & 15) * n)
        store(block, (t & 15) * n, add32(add32(word, w9), add32(sigma0, sigma1)))
    store(digest, 0, _plus(width, a, 0))
    store(digest, n, _plus(width, b, 1))
    store(digest, 2 * n, _plus(width, c, 2))
    store(digest, 3 * n, _plus(width, d, 3))
    store(digest, 4 * n, _plus(width, e, 4))
    store(digest, 5 * n, _plus(width, f, 5))
    store(digest, 6 * n, _plus(width, g, 6))
    store(digest, 7 * n, _plus(width, h, 7))


@function
def _plus(width: Width, vector: Vector, i: int) -> Vector:
    return add32(vector, splat(width, _H[i]))
