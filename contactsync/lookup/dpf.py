"""Distributed point functions: two keys, each of which looks random, whose expansions differ in one bit.

docs/lookup.md ("DPF") is the description; the construction is that of Boyle, Gilboa and Ishai (CCS 2016) over
XOR, ended early at 128 bits, with AES-128 under fixed keys (Matyas, Meyer and Oseas) as what doubles a seed.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.lookup.batch import MAX_ROW_BITS

Octets = NDArray[np.uint8]
Words = NDArray[np.uint64]

SEED: Final = 16
RANDOMNESS_BYTES: Final = 2 * SEED
"""For each index: a seed for each server."""
_LEAF_BITS: Final = 7
_LEVEL: Final = SEED + 1
_SIDES: Final = ("left", "right", "leaf")
FIXED_KEYS: Final = tuple(
    hashlib.sha256(f"contactsync dpf 1 {side}".encode()).digest()[:16] for side in _SIDES
)
"""Of nothing but these words: anybody can see that they were not chosen for a weakness."""
_LEFT, _RIGHT, _LEAF = range(3)
_ONE = np.uint64(1)


def levels(bits: int) -> int:
    """How many levels the tree for a domain of 2^bits has above its leaves of 128 bits."""
    return max(0, bits - _LEAF_BITS)


def key_length(bits: int) -> int:
    """Octets of a key for a domain of 2^bits. Raises BadInput."""
    return 2 * SEED + _LEVEL * levels(_checked(bits))


def selection_length(bits: int) -> int:
    """Octets of an expanded key. Below 8 rows, the highest bits of the one octet are 0. Raises BadInput."""
    return max(1, (1 << _checked(bits)) // 8)


def generate(
    indices: NDArray[np.uint32], bits: int, randomness: bytes | None = None
) -> tuple[Octets, Octets]:
    """Keys for two servers, of the functions that are 1 at one index each and 0 elsewhere below 2^bits.

    `indices`: uint32[m]. `randomness`: 32 octets for each, secret, used once; by default of the system. Gives
    uint8[m, key_length(bits)] twice: either alone says nothing of the index. Time and addresses do not depend
    on indices: arithmetic on whole arrays, and OpenSSL's AES. Raises BadInput.
    """
    key_length(bits)
    if indices.dtype != np.uint32 or indices.ndim != 1:
        raise BadInput("indices are no uint32[m]")
    if bits < 32 and (np.bitwise_or.reduce(indices, initial=np.uint32(0)) >> np.uint32(bits)).any():
        raise BadInput(f"an index is not below 2^{bits}", hint="ask for the domain that the rows need")
    m = len(indices)
    if randomness is None:
        randomness = secrets.token_bytes(RANDOMNESS_BYTES * m)
    if len(randomness) != RANDOMNESS_BYTES * m:
        raise BadInput(f"randomness has not {RANDOMNESS_BYTES} octets for each index")
    # node[s, i]: where the path to index i is in the tree of server s. Its first bit is the control bit.
    node = np.frombuffer(randomness, "<u8").reshape(m, 2, 2).transpose(1, 0, 2).copy()
    node[1, :, 0] ^= (node[0, :, 0] ^ node[1, :, 0] ^ _ONE) & _ONE  # the two roots' differ
    keys = np.empty((2, m, key_length(bits)), np.uint8)
    keys[:, :, :SEED] = node.view(np.uint8)
    at = SEED
    for bit in range(bits - 1, bits - 1 - levels(bits), -1):
        seed, control = _parts(node)
        goes_right = _spread(indices >> np.uint32(bit))
        left, right = _child(_LEFT, seed), _child(_RIGHT, seed)
        both_left, both_right = left[0] ^ left[1], right[0] ^ right[1]
        # Off the path the seeds become equal, and so do the control bits. On it, the bits become different.
        seed_correction = _chosen(goes_right, both_left, both_right)
        seed_correction[:, 0] &= ~_ONE
        left_bit = (both_left[:, 0] ^ goes_right[:, 0] ^ _ONE) & _ONE
        right_bit = (both_right[:, 0] ^ goes_right[:, 0]) & _ONE
        keys[:, :, at : at + SEED] = seed_correction.view(np.uint8)
        keys[:, :, at + SEED] = left_bit | right_bit << _ONE
        at += _LEVEL
        correction = seed_correction
        correction[:, 0] |= _chosen(goes_right[:, 0], right_bit, left_bit)
        node = _chosen(goes_right, right, left) ^ (correction & control)
    seed, _ = _parts(node)
    leaf = _child(_LEAF, seed)
    keys[:, :, at:] = (leaf[0] ^ leaf[1] ^ _unit(indices, bits)).view(np.uint8)
    return keys[0], keys[1]


def expand(keys: Octets, bits: int) -> Octets:
    """The selection bits of keys: uint8[m, selection_length(bits)], bit i in octet i // 8, lowest first.

    `keys`: uint8[m, key_length(bits)], from anybody. By a kernel where the CPU has AES-NI, else by OpenSSL:
    the same bits. Raises BadInput if a key is malformed; what is well-formed always expands.
    """
    check(keys, bits)
    from contactsync.kernels.policy import has_aes  # noqa: PLC0415 - loads Numba, which a client does not need

    selections = (expand_by_kernel if has_aes() else expand_by_openssl)(keys, bits)
    selections = selections[:, : selection_length(bits)]
    if bits < 3:
        selections &= np.uint8((1 << (1 << bits)) - 1)
    return selections


def check(keys: Octets, bits: int) -> None:
    """Refuse what is no array of keys for this domain. Raises BadInput."""
    length = key_length(bits)
    if keys.dtype != np.uint8 or keys.ndim != 2:
        raise BadInput("keys are no uint8[m, length]")
    if keys.shape[1] != length:
        raise BadInput(
            f"a key for 2^{bits} rows has {length} octets, not {keys.shape[1]}",
            hint="make the keys for the edition that they are sent to",
        )
    corrections = _corrections(keys, bits)
    for wrong, what in (
        (corrections[:, :, SEED] > 3, "control bits that are none of 0 to 3"),
        ((corrections[:, :, 0] & 1) != 0, "a correction of a seed whose first bit is set"),
    ):
        if wrong.any():
            key, level = np.argwhere(wrong)[0]
            raise BadInput(f"key {key} has, at level {level}, {what}", hint="see docs/lookup.md (DPF)")


def expand_by_kernel(keys: Octets, bits: int) -> Octets:
    """Whole leaves, by AES-NI, of checked keys: uint8[m, 16 << levels(bits)]."""
    from contactsync.kernels import dpf, lanes  # noqa: PLC0415 - loads Numba

    m, depth = len(keys), levels(bits)
    padded = -(-m // dpf.AT_ONCE) * dpf.AT_ONCE
    words = np.zeros((padded, 2 + 2 * depth, SEED), np.uint8)
    words[:m, 0], words[:m, -1] = keys[:, :SEED], keys[:, -SEED:]
    corrections = _corrections(keys, bits)
    for side in (_LEFT, _RIGHT):
        words[:m, 1 + side : -1 : 2] = corrections[:, :, :SEED]
        words[:m, 1 + side : -1 : 2, 0] |= corrections[:, :, SEED] >> side & 1
    round_keys = lanes.empty(dpf.SCHEDULES_WORDS)
    dpf.schedules(np.array(np.frombuffer(b"".join(FIXED_KEYS), np.uint64)), round_keys)
    selections = lanes.empty(padded * 2 << depth)
    dpf.expand_keys(words.view(np.uint64).reshape(-1), depth, round_keys, lanes.empty(8 << depth), selections)
    return selections.view(np.uint8).reshape(padded, SEED << depth)[:m]


def expand_by_openssl(keys: Octets, bits: int) -> Octets:
    """The same, level by level, of all keys at once."""
    m, depth = len(keys), levels(bits)
    node = keys[:, None, :SEED].copy().view("<u8")
    corrections = _corrections(keys, bits)
    for level in range(depth):
        seed, control = _parts(node)
        children = np.empty((m, 1 << level, 2, 2), np.uint64)
        for side in (_LEFT, _RIGHT):
            correction = corrections[:, level, :SEED].copy()
            correction[:, 0] |= corrections[:, level, SEED] >> side & 1
            children[:, :, side] = _child(side, seed) ^ (correction.view("<u8")[:, None] & control)
        node = children.reshape(m, 2 << level, 2)
    seed, control = _parts(node)
    leaves = _child(_LEAF, seed) ^ (keys[:, None, -SEED:].copy().view("<u8") & control)
    return leaves.view(np.uint8).reshape(m, SEED << depth)


def _checked(bits: int) -> int:
    if not 0 <= bits <= MAX_ROW_BITS:
        raise BadInput(f"a domain has 2^0 to 2^{MAX_ROW_BITS} rows, not 2^{bits}")
    return bits


def _corrections(keys: Octets, bits: int) -> Octets:
    """uint8[m, levels, 17]: for each level, the correction of the seed and the two control bits."""
    return keys[:, SEED:-SEED].reshape(len(keys), levels(bits), _LEVEL)


def _parts(node: Words) -> tuple[Words, Words]:
    """Seeds, and control bits as masks: [..., 2] and [..., 1]."""
    seed = node.copy()
    seed[..., 0] &= ~_ONE
    return seed, np.uint64(0) - (node[..., :1] & _ONE)


def _child(side: int, seed: Words) -> Words:
    """AES(seed) ^ seed under the fixed key of a side."""
    encryptor = Cipher(algorithms.AES(FIXED_KEYS[side]), modes.ECB()).encryptor()  # noqa: S305 - a permutation
    return np.frombuffer(encryptor.update(seed.tobytes()), "<u8").reshape(seed.shape) ^ seed


def _spread(bits: NDArray[np.uint32]) -> Words:
    """The lowest bit of each as a mask: uint32[m] -> uint64[m, 1]."""
    return (np.uint64(0) - (bits.astype(np.uint64) & _ONE))[:, None]


def _chosen(mask: Words, if_ones: Words, if_zero: Words) -> Words:
    return if_zero ^ ((if_ones ^ if_zero) & mask)


def _unit(indices: NDArray[np.uint32], bits: int) -> Words:
    """128 bits with the one that an index has in its leaf: uint64[m, 2]."""
    place = indices & np.uint32((1 << min(bits, _LEAF_BITS)) - 1)
    bit = _ONE << (place & np.uint32(63)).astype(np.uint64)
    high = _spread(place >> np.uint32(6))[:, 0]
    return np.stack([bit & ~high, bit & high], axis=1)
