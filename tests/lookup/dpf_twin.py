"""The point functions of docs/lookup.md ("DPF") in plain integers: one key, one node, one block at a time."""

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEYS = {
    side: hashlib.sha256(b"contactsync dpf 1 " + side).digest()[:16] for side in (b"left", b"right", b"leaf")
}


def child(side, seed):
    """H_side(seed) = AES(seed) XOR seed, integers of 128 bits, little-endian."""
    block = Cipher(algorithms.AES(KEYS[side]), modes.ECB()).encryptor().update(seed.to_bytes(16, "little"))
    return int.from_bytes(block, "little") ^ seed


def depth(bits):
    return max(0, bits - 7)


def generate(index, bits, randomness):
    """Two keys, from 32 octets."""
    roots = [int.from_bytes(randomness[:16], "little"), int.from_bytes(randomness[16:], "little")]
    if roots[0] % 2 == roots[1] % 2:
        roots[1] ^= 1
    seeds, controls = [root & ~1 for root in roots], [root & 1 for root in roots]
    middle = b""
    for level in range(depth(bits)):
        a = index >> (bits - 1 - level) & 1
        keep, lose = (b"right", b"left") if a else (b"left", b"right")
        kept, lost = [child(keep, s) for s in seeds], [child(lose, s) for s in seeds]
        correction = (lost[0] ^ lost[1]) & ~1
        keep_bit, lose_bit = kept[0] & 1 ^ kept[1] & 1 ^ 1, lost[0] & 1 ^ lost[1] & 1
        left_bit, right_bit = (lose_bit, keep_bit) if a else (keep_bit, lose_bit)
        middle += correction.to_bytes(16, "little") + bytes([left_bit + 2 * right_bit])
        for s in (0, 1):
            corrected = kept[s] ^ (correction | keep_bit if controls[s] else 0)
            seeds[s], controls[s] = corrected & ~1, corrected & 1
    last = child(b"leaf", seeds[0]) ^ child(b"leaf", seeds[1]) ^ 1 << index % 128
    return [root.to_bytes(16, "little") + middle + last.to_bytes(16, "little") for root in roots]


def selects(key, bits, index):
    """The bit of one key at one index: down one path."""
    node = int.from_bytes(key[:16], "little")
    for level in range(depth(bits)):
        at = 16 + 17 * level
        correction, controls = int.from_bytes(key[at : at + 16], "little"), key[at + 16]
        a = index >> (bits - 1 - level) & 1
        below = child(b"right" if a else b"left", node & ~1)
        node = below ^ (correction | controls >> a & 1 if node & 1 else 0)
    leaf = child(b"leaf", node & ~1) ^ (int.from_bytes(key[-16:], "little") if node & 1 else 0)
    return leaf >> index % 128 & 1
