"""AES-SIV (RFC 5297, AEAD_AES_SIV_CMAC_256) of many short messages, each with its own key: four at a time.

Constant time in keys, messages and context: only sizes decide what is executed and which addresses are read.
"""

from __future__ import annotations

from contactsync.kernels.aes import (
    SCHEDULE_WORDS,
    STATE_WORDS,
    STATES,
    counter,
    double,
    encrypt,
    expand,
    gather_states,
    pattern,
    scatter_states,
)
from contactsync.kernels.lanes import Vector, Words
from contactsync.kernels.policy import inlined, kernel

KEY_WORDS = 4
SCRATCH_WORDS = 2 * SCHEDULE_WORDS
AT_ONCE = STATES


@kernel
def seal(keys: Words, plain: Words, entries: Words, context: Words, blocks: int, scratch: Words) -> None:
    """Tags and ciphertexts of n messages of 1 to 4 blocks of 16 octets; n is a multiple of 4.

    `keys`: 4 words each, K1 then K2. `plain`: 2 * blocks words each. `entries`: receives 2 + 2 * blocks words
    each. `context`: the one component of associated data, 2 words. `scratch`: SCRATCH_WORDS, which holds
    round keys afterwards. RFC 5297 §2.6, with S2V of §2.4 and CMAC of NIST SP 800-38B.
    """
    n, long = keys.size // KEY_WORDS, STATE_WORDS * blocks
    for first in range(0, n, STATES):
        at, out = first * long, first * (long + STATE_WORDS)
        _expand_both(keys, first, scratch)
        v = _s2v(plain, at, long, blocks, context, scratch)
        scatter_states(entries, out, long + STATE_WORDS, v)
        q = _first_counter(v)
        for block in range(blocks):
            text = gather_states(plain, at + STATE_WORDS * block, long)
            stream = encrypt(scratch, SCHEDULE_WORDS, counter(q, block))
            scatter_states(entries, out + STATE_WORDS * (block + 1), long + STATE_WORDS, text ^ stream)


@kernel
def unseal(keys: Words, entries: Words, opened: Words, context: Words, blocks: int, scratch: Words) -> None:
    """What n entries hold, each behind the tag that it ought to have: the caller compares the tags.

    Shapes as of `seal`; `opened`: receives 2 + 2 * blocks words each. RFC 5297 §2.7.
    """
    n, long = keys.size // KEY_WORDS, STATE_WORDS * (blocks + 1)
    for first in range(0, n, STATES):
        at = first * long
        _expand_both(keys, first, scratch)
        q = _first_counter(gather_states(entries, at, long))
        for block in range(1, blocks + 1):
            text = gather_states(entries, at + STATE_WORDS * block, long)
            stream = encrypt(scratch, SCHEDULE_WORDS, counter(q, block - 1))
            scatter_states(opened, at + STATE_WORDS * block, long, text ^ stream)
        scatter_states(opened, at, long, _s2v(opened, at + STATE_WORDS, long, blocks, context, scratch))


@inlined
def _expand_both(keys: Words, first: int, scratch: Words) -> None:
    """The round keys of K1, for S2V, and of K2, for CTR, of four messages."""
    expand(gather_states(keys, first * KEY_WORDS, KEY_WORDS), scratch, 0)
    expand(gather_states(keys, first * KEY_WORDS + STATE_WORDS, KEY_WORDS), scratch, SCHEDULE_WORDS)


@inlined
def _s2v(plain: Words, at: int, stride: int, blocks: int, context: Words, scratch: Words) -> Vector:
    """V of four messages, the first at `at`, each `stride` words after the one before. RFC 5297 §2.4."""
    # K1 of CMAC, for messages that fill their blocks: dbl(AES(zero))
    subkey = double(encrypt(scratch, 0, pattern(0, 0)))
    # D = AES-CMAC(K, <zero>); D = dbl(D) xor AES-CMAC(K, S1)
    d = double(encrypt(scratch, 0, subkey))
    d = d ^ encrypt(scratch, 0, subkey ^ pattern(context[0], context[1]))
    # T = Sn xorend D; V = AES-CMAC(K, T)
    v = pattern(0, 0)
    for block in range(blocks - 1):
        v = encrypt(scratch, 0, v ^ gather_states(plain, at + STATE_WORDS * block, stride))
    last = gather_states(plain, at + STATE_WORDS * (blocks - 1), stride)
    return encrypt(scratch, 0, v ^ last ^ d ^ subkey)


@inlined
def _first_counter(v: Vector) -> Vector:
    """Q = V bitand (1^64 || 0^1 || 1^31 || 0^1 || 1^31): its last 32 bits cannot overflow by 4."""
    return v & pattern(0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FF7F_FFFF_FF7F)


@kernel
def encrypt_blocks(keys: Words, blocks: Words, scratch: Words) -> None:
    """AES-128 of n blocks (2 words), each with its own key (2 words), in place; n is a multiple of 4."""
    for first in range(0, keys.size, STATES * STATE_WORDS):
        expand(gather_states(keys, first, STATE_WORDS), scratch, 0)
        state = encrypt(scratch, 0, gather_states(blocks, first, STATE_WORDS))
        scatter_states(blocks, first, STATE_WORDS, state)
