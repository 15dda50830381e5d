"""Merkle trees as RFC 6962 hashes them (§2.1), and proofs about them, over hashes that are all at hand.

A proof is a list of hashes from the bottom up. Hashes have 32 octets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from contactsync.foundation.hash_trees import HASH_BYTES, leaf_hash, node_hash

__all__ = [
    "EMPTY",
    "HASH_BYTES",
    "MAX_PROOF",
    "MAX_SIZE",
    "leaf_hash",
    "node_hash",
    "root_of",
    "split",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY: Final = hashlib.sha256(b"").digest()
"""The root hash of a tree without leaves."""

MAX_SIZE: Final = 1 << 62
MAX_PROOF: Final = 63
"""Hashes in the longest proof that is read (C2SP tlog-witness)."""


def split(size: int) -> int:
    """The largest power of two below `size` (at least 2): how many leaves the left child has."""
    return 1 << (size - 1).bit_length() - 1


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root hash of a tree of these leaf hashes."""
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:  # an odd one out moves up as it is: the same as splitting at a power of two
        level = [
            node_hash(level[i], level[i + 1]) if i + 1 < len(level) else level[i]
            for i in range(0, len(level), 2)
        ]
    return level[0]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that leaf `index` of a tree is this one (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `new` leaves begins with that of `old` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old in {0, new}:
        whole = old_root == (EMPTY if old == 0 else new_root)
        return whole and not proof
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
