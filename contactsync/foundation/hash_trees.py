"""Leaves and nodes of Merkle trees, told apart as in RFC 6962 §2.1. Hashes are SHA-256."""

from __future__ import annotations

import hashlib
from typing import Final

HASH_BYTES: Final = 32


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node with two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()
