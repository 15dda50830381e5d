"""Rows, tree and batch in plain ints, written from docs/lookup.md alone. Nothing of the package is used."""

import hashlib
import itertools


def sha256(octets):
    return hashlib.sha256(octets).digest()


def ceil(a, b):
    return -(-a // b)


class Shape:
    """The geometry, by its formulas."""

    def __init__(self, q, r, M):
        self.q, self.r, self.M = q, r, M
        self.R = 2 ** (q - 6)
        self.B = ceil(64 + M, 8)
        self.C = 8 * ceil(1 + self.B + M * r // 8, 8)
        self.d = max(0, q - 18)
        self.W = self.C + 32 * self.d


def rows_of(values, q, r):
    """Row number → its values, as (slot in the row, remainder), ascending. Values are ints of q + r bits."""
    rows = [[] for _ in range(2 ** (q - 6))]
    for value in sorted(set(values)):
        slot = value >> r
        rows[slot // 64].append((slot % 64, value % 2**r))
    return rows


def content(shape, row):
    bitmap = 0
    at = 0
    for slot in range(64):
        for one in row:
            if one[0] == slot:
                bitmap |= 1 << at
                at += 1
        at += 1
    octets = bytes([len(row)]) + bitmap.to_bytes(shape.B, "little")
    first = b"".join((remainder >> (shape.r - 32)).to_bytes(4, "little") for _, remainder in row)
    octets += first.ljust(4 * shape.M, b"\0")
    if shape.r == 40:
        octets += bytes(remainder & 255 for _, remainder in row).ljust(shape.M, b"\0")
    return octets.ljust(shape.C, b"\0")


def leaf(shape, i, octets):
    return sha256(b"\x00CSROWS\x01" + bytes([shape.q, shape.r, shape.M]) + i.to_bytes(4, "little") + octets)


def node(left, right):
    return sha256(b"\x01" + left + right)


def heights(leaves):
    """All levels of the tree, the leaves first."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node(below[i], below[i + 1]) for i in range(0, len(below), 2)])
    return levels


def file_of_rows(values, q, r):
    """(shape, the file's records, the level, the root)."""
    rows = rows_of(values, q, r)
    shape = Shape(q, r, max(map(len, rows)))
    contents = [content(shape, row) for row in rows]
    tree = heights([leaf(shape, i, octets) for i, octets in enumerate(contents)])
    records = [
        octets + b"".join(tree[height][(i >> height) ^ 1] for height in range(shape.d))
        for i, octets in enumerate(contents)
    ]
    return shape, records, tree[shape.d], tree[-1][0]


def verifies(shape, i, record, level):
    node_ = leaf(shape, i, record[: shape.C])
    for height in range(shape.d):
        sibling = record[shape.C + 32 * height : shape.C + 32 * (height + 1)]
        node_ = node(sibling, node_) if i >> height & 1 else node(node_, sibling)
    return node_ == level[i >> shape.d]


def values_in(shape, octets):
    """What a verified content has, as (slot in the row, remainder); nothing if it is malformed."""
    n, bitmap = octets[0], int.from_bytes(octets[1 : 1 + shape.B], "little")
    places = [i for i in range(8 * shape.B) if bitmap >> i & 1]
    if n > shape.M or len(places) != n:
        return []
    found = []
    for j, place in enumerate(places):
        at = 1 + shape.B + 4 * j
        remainder = int.from_bytes(octets[at : at + 4], "little")
        if shape.r == 40:
            remainder = remainder << 8 | octets[1 + shape.B + 4 * shape.M + j]
        found.append((place - j, remainder))
    good = all(slot < 64 for slot, _ in found) and all(a < b for a, b in itertools.pairwise(found))
    # What is left must be zeros: as of these values, the content has no other form.
    return found if good and content(shape, found) == octets else []


# The batch


def constants(g, j):
    digest = sha256(f"contactsync place {g} {j}".encode())
    return int.from_bytes(digest[:4], "little") | 1, int.from_bytes(digest[4:8], "little")


def permuted(g, i, b):
    x = i
    for j in range(3):
        f, t = constants(g, j)
        x = (x * f + t) % 2**b
        x ^= x >> ceil(b, 2)
    return x


def place(g, i, b, k):
    """(sub-database within the group, position in it)."""
    return divmod(permuted(g, i, b), 2**b // (k // 2))
