"""The tree over rows: leaves, level and paths. docs/lookup.md, "The tree".

A client keeps the *level* of at most 4,096 nodes. A row brings the path up to there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.hash_trees import HASH_BYTES, leaf_hash, node_hash

LEVEL_BITS = 12  # 4,096 nodes: 128 KiB, once per edition

Nodes = NDArray[np.uint8]
"""uint8[n, 32]: hashes of one level, from left to right."""


def row_hash(what: bytes, number: int, content: bytes) -> bytes:
    """The hash of row `number`; `what` names the kind and geometry of all rows."""
    return leaf_hash(what + number.to_bytes(4, "little") + content)


def as_nodes(hashes: bytes | bytearray) -> Nodes:
    """Hashes that follow one another, as uint8[n, 32]."""
    return np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES)


def parents(nodes: Nodes) -> Nodes:
    """The level above an even number of nodes: uint8[n / 2, 32]."""
    below = nodes.tobytes()
    each = [below[at : at + HASH_BYTES] for at in range(0, len(below), HASH_BYTES)]
    return as_nodes(b"".join(map(node_hash, each[::2], each[1::2])))


def with_paths(leaves: Nodes, depth: int) -> tuple[NDArray[np.uint8], Nodes]:
    """The path of each of n leaves, uint8[n, 32 * depth], and the level above, uint8[n / 2^depth, 32].

    n is a multiple of 2^depth. A path is the sibling of each node on the way up, the leaf's own first.
    """
    paths = np.empty((len(leaves), depth, HASH_BYTES), np.uint8)
    place = np.arange(len(leaves))
    nodes = leaves
    for height in range(depth):
        paths[:, height] = nodes[(place >> height) ^ 1]
        nodes = parents(nodes)
    return paths.reshape(len(leaves), depth * HASH_BYTES), nodes


def climb(node: bytes, number: int, path: bytes) -> bytes:
    """The node above leaf `number` to which a path leads."""
    for at in range(0, len(path), HASH_BYTES):
        sibling = path[at : at + HASH_BYTES]
        node = node_hash(sibling, node) if number & 1 else node_hash(node, sibling)
        number >>= 1
    return node
