"""Rows, tree and batch in plain ints, written from docs/lookup.md alone. Nothing of the package is used."""

import hashlib
import itertools


def sha256(octets):
    return hashlib.sha256(octets).digest()


def ceil(a, b):
    return -(-a // b)


class Shape:
    """A table's geometry, by its formulas. `parts`: name → q; `labels`: name → E_p, if it has labels."""

    def __init__(self, parts, r, M, labels=None, f=0):
        self.r, self.M, self.f = r, M, f
        self.labels = labels or {}
        self.E = max(self.labels.values(), default=0)
        self.parts = sorted(parts.items(), key=lambda part: (-(2 ** (part[1] - 6)), part[0]))
        self.total = sum(2 ** (q - 6) for _, q in self.parts)
        self.b = 0
        while 2**self.b < self.total:
            self.b += 1
        self.B = ceil(64 + M, 8)
        a = 32 if f else 8
        self.C = a * ceil(1 + self.B + M * (r // 8 + self.E), a)
        self.D = max(0, self.b - 12)
        self.W = self.C + 32 * self.D

    @property
    def heading(self):
        head = bytes([self.r, self.M]) + len(self.parts).to_bytes(2, "little")
        if not self.E and not self.f:
            names = b"".join(bytes([q, len(name)]) + name.encode() for name, q in self.parts)
            return b"CSROWS\x02" + head + names
        names = (bytes([q, self.labels.get(name, 0), len(name)]) + name.encode() for name, q in self.parts)
        return (b"CSROWS\x04" + bytes([self.f]) if self.f else b"CSROWS\x03") + head + b"".join(names)

    def number(self, i):
        """The number of row i of the table, which its leaf has."""
        return i % (self.total // 2**self.f) * 2**self.f + i // (self.total // 2**self.f)

    def of(self, number):
        """The name and slot bits of the partition that has the row of a number; None if there is none."""
        if number >= self.total:
            return None
        blocks = self.total // 2**self.f
        i = number % 2**self.f * blocks + number // 2**self.f
        assert self.number(i) == number
        for name, q in self.parts:
            if i < 2 ** (q - 6):
                return name, q
            i -= 2 ** (q - 6)
        return None


def rows_of(values, q, r):
    """Row number → its values, as (slot in the row, remainder), ascending. Values are ints of q + r bits."""
    rows = [[] for _ in range(2 ** (q - 6))]
    for value in sorted(set(values)):
        slot = value >> r
        rows[slot // 64].append((slot % 64, value % 2**r))
    return rows


def content(shape, row, entries=()):
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
    octets += b"".join(entry.ljust(shape.E, b"\0") for entry in entries)
    return octets.ljust(shape.C, b"\0")


def leaf(shape, i, octets):
    found = shape.of(i)
    if found is None:
        return bytes(32)
    name, q = found
    kind = b"\x02" + bytes([q, shape.r, shape.M])
    if shape.E or shape.f:
        version = b"\x04" if shape.f else b"\x03"
        kind = version + bytes([q, shape.labels.get(name, 0), shape.r, shape.M, shape.E])
    return sha256(b"\x00CSROWS" + kind + i.to_bytes(4, "little") + octets)


def node(left, right):
    return sha256(b"\x01" + left + right)


def heights(leaves):
    """All levels of the tree, the leaves first."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node(below[i], below[i + 1]) for i in range(0, len(below), 2)])
    return levels


def file_of_rows(parts, r, entries=None, f=0):
    """(shape, the records, the file of the level, the root). `parts`: name → (q, values of q + r bits).

    `entries`: name → those of the sidecar, in the order of the values, of partitions with labels.
    """
    rows = {name: rows_of(values, q, r) for name, (q, values) in parts.items()}
    M = max(len(row) for each in rows.values() for row in each)
    lengths = {name: len(each[0]) for name, each in (entries or {}).items()}
    entries = {name: iter(each) for name, each in (entries or {}).items()}
    shape = Shape({name: q for name, (q, _) in parts.items()}, r, M, lengths, f)
    contents = [
        content(shape, row, list(itertools.islice(entries[name], len(row))) if name in entries else ())
        for name, _ in shape.parts
        for row in rows[name]
    ]
    in_order = [b""] * shape.total
    for i, octets in enumerate(contents):
        in_order[shape.number(i)] = octets
    contents = in_order
    leaves = [leaf(shape, i, octets) for i, octets in enumerate(contents)]
    tree = heights(leaves + [bytes(32)] * (2**shape.b - shape.total))
    records = [
        octets + b"".join(tree[height][(i >> height) ^ 1] for height in range(shape.D))
        for i, octets in enumerate(contents)
    ]
    level = shape.heading + b"".join(tree[shape.D])
    return shape, records, level, sha256(level)


def file_of_blocks(shape, records):
    """The file that a server keeps: of each block the contents, each sibling once, the path from it on."""
    parts = []
    for first in range(0, shape.total, 2**shape.f):
        block = records[first : first + 2**shape.f]
        parts += [record[: shape.C] for record in block]
        for height in range(shape.f):
            at = shape.C + 32 * height
            parts += [record[at : at + 32] for record in block[:: 2**height]]
        parts.append(block[0][shape.C + 32 * shape.f :])
    return b"".join(parts)


def verifies(shape, i, record, level):
    if shape.of(i) is None:
        return record == bytes(shape.W)
    node_ = leaf(shape, i, record[: shape.C])
    for height in range(shape.D):
        sibling = record[shape.C + 32 * height : shape.C + 32 * (height + 1)]
        node_ = node(sibling, node_) if i >> height & 1 else node(node_, sibling)
    return node_ == level[i >> shape.D]


def values_in(shape, octets, length=0):
    """What a verified content has, as (slot in the row, remainder), and the entries of `length` octets.

    Nothing if it is malformed.
    """
    n, bitmap = octets[0], int.from_bytes(octets[1 : 1 + shape.B], "little")
    places = [i for i in range(8 * shape.B) if bitmap >> i & 1]
    if n > shape.M or len(places) != n:
        return [], []
    found = []
    for j, place in enumerate(places):
        at = 1 + shape.B + 4 * j
        remainder = int.from_bytes(octets[at : at + 4], "little")
        if shape.r == 40:
            remainder = remainder << 8 | octets[1 + shape.B + 4 * shape.M + j]
        found.append((place - j, remainder))
    good = all(slot < 64 for slot, _ in found) and all(a < b for a, b in itertools.pairwise(found))
    at = 1 + shape.B + shape.M * (shape.r // 8)
    entries = [octets[at + shape.E * j :][:length] for j in range(n)]
    # What is left must be zeros: as of these values and entries, the content has no other form.
    return (found, entries) if good and content(shape, found, entries) == octets else ([], [])


# The batch


def constants(g, j):
    digest = sha256(f"contactsync place {g} {j}".encode())
    return int.from_bytes(digest[:4], "little") | 1, int.from_bytes(digest[4:8], "little")


def permuted(g, i, b, f=0):
    x, n = i // 2**f, b - f
    for j in range(3):
        m, t = constants(g, j)
        x = (x * m + t) % 2**n
        x ^= x >> ceil(n, 2)
    return x * 2**f + i % 2**f


def place(g, i, b, k, f=0):
    """(sub-database within the group, position in it)."""
    return divmod(permuted(g, i, b, f), 2**b // (k // 2))
