"""Private look-up by the second client: written from docs/lookup.md and docs/http-api.md alone.

The rows, where each stands, keys for both servers, and what is read of their answers, in plain Python.
AES is `cryptography`'s.
"""

import functools
import itertools
import json
import secrets
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from second_client import Directory, Problem, Service, check, ones, partition_of, sha256, xxhash
from second_client import bits as bits_of
from second_labels import Sidecar, aes, context_of, open_entry, xor

Json = dict[str, Any]
SIZES = (8, 64, 512)


@dataclass(frozen=True)
class Part:
    name: str
    q: int
    entry: int  # E_p
    first: int

    @property
    def rows(self) -> int:
        return 1 << (self.q - 6)


class Table:
    """The shape of all rows, as a manifest gives it ("The table", "In the manifest")."""

    def __init__(self, manifest: Json) -> None:
        kinds = [name for name in ("rows", "labelled_rows", "folded_rows") if name in manifest]
        check(len(kinds) == 1, "one kind of rows")
        check(not manifest["unusable"], "a partition that is not known, so no place of a row is")
        stated, folded = manifest[kinds[0]], kinds[0] == "folded_rows"
        more = {"fold", "labels"} if folded else set()
        check(set(stated) == {"level", "most"} | more, "the members of rows")
        self.fold = stated["fold"] if folded else 0
        self.labelled = stated["labels"] if folded else kinds[0] == "labelled_rows"
        check(type(self.fold) is int and self.fold in range(folded, 7), "f")
        check(isinstance(self.labelled, bool), "labels of folded rows")
        self.file, self.most = stated["level"], stated["most"]
        partitions = manifest["partitions"]
        for one in partitions.values():
            check(12 <= one["slot_bits"] <= 32, "q")
        ordered = sorted(partitions.items(), key=lambda item: (-item[1]["slot_bits"], item[0].encode()))
        self.parts, at = {}, 0
        for name, one in ordered:
            size = 16 + one["labels"]["size"] if self.labelled and "labels" in one else 0
            self.parts[name] = part = Part(name, one["slot_bits"], size, at)
            at += part.rows
        self.total = at
        (self.r,) = {one["remainder_bits"] for one in partitions.values()}
        check(self.r in (32, 40) and 0 < self.total <= 1 << 26 and 0 <= self.most <= 255, "r, T or M")
        least = max(-(-one["count"] // self.parts[name].rows) for name, one in partitions.items())
        check(least <= self.most <= max(one["count"] for one in partitions.values()), "M of the counts")
        self.b = (self.total - 1).bit_length()
        self.entry = max(part.entry for part in self.parts.values())
        check(bool(self.entry) == self.labelled, "labelled rows without labels")
        self.bitmap = -(-(64 + self.most) // 8)
        unit = 32 if self.fold else 8
        self.content = unit * -(-(1 + self.bitmap + self.most * (self.r // 8 + self.entry)) // unit)
        self.depth = max(0, self.b - 12)
        check(self.fold <= self.depth, "f of the depth")
        self.blocks = self.total >> self.fold
        self.width = self.content + 32 * self.depth
        self.root = self.file["sha256"]
        self.head = self._head()
        check(self.file["length"] == len(self.head) + (32 << min(12, self.b)), "the length of the level")

    def _head(self) -> bytes:
        version = [4, self.fold] if self.fold else [3 if self.labelled else 2]
        head = b"CSROWS" + bytes([*version, self.r, self.most])
        head += struct.pack("<H", len(self.parts))
        for part in self.parts.values():
            sizes = [part.q, part.entry] if self.labelled or self.fold else [part.q]
            head += bytes([*sizes, len(part.name)]) + part.name.encode()
        return head

    def level(self, file: bytes) -> list[bytes]:
        """The nodes of a level that is the one stated."""
        check(len(file) == self.file["length"] and sha256(file).hex() == self.root, "the level")
        check(xxhash.xxh3_64_hexdigest(file) == self.file["xxh3_64"], "xxh3_64 of the level")
        check(file.startswith(self.head), "the shape in the level")
        return [file[i : i + 32] for i in range(len(self.head), len(file), 32)]

    def number(self, i: int) -> int:
        """The number of row i of the table."""
        return i % self.blocks << self.fold | i // self.blocks

    def part_of(self, row: int) -> Part:
        i = (row & (1 << self.fold) - 1) * self.blocks + (row >> self.fold)
        return next(p for p in self.parts.values() if p.first <= i < p.first + p.rows)

    def row_of(self, name: str, token: int) -> int:
        """The number of the row of a token, which is a number of 80 bits."""
        part = self.parts[name]
        return self.number(part.first + (token >> (80 - (part.q - 6))))

    def leaf(self, row: int, content: bytes) -> bytes:
        if row >= self.total:
            return bytes(32)
        part = self.part_of(row)
        if self.labelled or self.fold:
            version = 4 if self.fold else 3
            said = bytes([version, part.q, part.entry, self.r, self.most, self.entry])
        else:
            said = bytes([2, part.q, self.r, self.most])
        return sha256(b"\0CSROWS" + said + struct.pack("<I", row) + content)

    def verifies(self, row: int, record: bytes, level: list[bytes]) -> bool:
        if len(record) != self.width:
            return False
        if row >= self.total:
            return not any(record)
        node, at = self.leaf(row, record[: self.content]), row
        for start in range(self.content, self.width, 32):
            sibling = record[start : start + 32]
            node = sha256(b"\1" + (sibling + node if at & 1 else node + sibling))
            at >>= 1
        return node == level[at]

    def read(self, row: int, record: bytes) -> list[tuple[int, int, bytes]]:
        """Slot, remainder and entry of each value; of a malformed row nothing."""
        n, m, width = record[0], self.most, self.part_of(row).entry
        bitmap = ones(bits_of(record[1 : 1 + self.bitmap]))
        if n > m or len(bitmap) != n or any(p - j > 63 for j, p in enumerate(bitmap)):
            return []
        at = 1 + self.bitmap
        high = struct.unpack_from(f"<{m}I", record, at)
        low = record[at + 4 * m : at + 5 * m] if self.r == 40 else bytes(m)
        at += m * self.r // 8
        entries = [record[at + i * self.entry : at + (i + 1) * self.entry] for i in range(m)]
        remainders = [h << 8 | low for h, low in zip(high, low, strict=True)] if self.r == 40 else list(high)
        slots = [p - j for j, p in enumerate(bitmap)]
        values = list(zip(slots, remainders, strict=False))
        if any(a >= b for a, b in itertools.pairwise(values)) or any(remainders[n:]):
            return []
        if any(any(entry[width if i < n else 0 :]) for i, entry in enumerate(entries)):
            return []
        if any(record[at + m * self.entry : self.content]) or (self.r == 40 and any(low[n:])):
            return []
        return [(*value, entry[:width]) for value, entry in zip(values, entries, strict=False)]

    def find(self, name: str, token: int, row: int, record: bytes) -> bytes | None:
        """The entry of a member, empty without labels; None of anybody else."""
        value = token >> (80 - self.parts[name].q - self.r)
        wanted = (value >> self.r & 63, value & ((1 << self.r) - 1))
        return next((e for slot, rest, e in self.read(row, record) if (slot, rest) == wanted), None)

    # What a server does, to compare: the same table from bases and sidecars.

    def make(
        self, directories: Mapping[str, Directory], sidecars: Mapping[str, Sidecar]
    ) -> tuple[int, bytes]:
        """The largest row, and the level of the table, which has its contents only."""
        leaves, most = [bytes(32)] * (1 << self.b), 0
        for name, part in self.parts.items():
            rows: list[list[tuple[int, bytes]]] = [[] for _ in range(part.rows)]
            for place, value in enumerate(directories[name].values()):
                entry = sidecars[name].entry(place) if name in sidecars else b""
                rows[value >> self.r >> 6].append((value, entry))
            most = max(most, *map(len, rows))
            for i, row in enumerate(rows):
                number = self.number(part.first + i)
                leaves[number] = self.leaf(number, self.row(row))
        for _ in range(self.depth):
            leaves = [sha256(b"\1" + leaves[i] + leaves[i + 1]) for i in range(0, len(leaves), 2)]
        return most, self.head + b"".join(leaves)

    def row(self, values: list[tuple[int, bytes]]) -> bytes:
        """The content of one row."""
        bitmap = sum(1 << ((value >> self.r & 63) + j) for j, (value, _) in enumerate(values))
        rests = [value & ((1 << self.r) - 1) for value, _ in values]
        spare = self.most - len(values)
        content = bytes([len(values)]) + bitmap.to_bytes(self.bitmap, "little")
        content += b"".join(struct.pack("<I", rest >> (self.r - 32)) for rest in rests) + bytes(4 * spare)
        if self.r == 40:
            content += bytes(rest & 255 for rest in rests) + bytes(spare)
        content += b"".join(entry.ljust(self.entry, b"\0") for _, entry in values)
        return content.ljust(self.content, b"\0")


# --- Batch ---


@functools.cache
def place(b: int, f: int, g: int, row: int) -> int:
    x, n = row >> f, b - f
    for j in range(3):
        m, t = struct.unpack_from("<II", sha256(f"contactsync place {g} {j}".encode()))
        x = (x * (m | 1) + t) % (1 << n)
        x ^= x >> -(-n // 2)
    return x << f | row & (1 << f) - 1


@functools.cache
def rows_at(b: int, f: int, g: int) -> list[int]:
    """The row at each place of a group."""
    found = [0] * (1 << b)
    for i in range(1 << b):
        found[place(b, f, g, i)] = i
    return found


def position_bits(b: int, k: int) -> int:
    return b - (k // 2).bit_length() + 1


def batches(n: int, b: int) -> list[int]:
    """Which batches are sent for n queries."""
    offered = [k for k in SIZES if position_bits(b, k) >= 3]
    check(offered, "too few rows for any batch")
    for k in offered:
        if k >= n:
            return [k]
    return [offered[-1]] * (1 << (-(-n // offered[-1]) - 1).bit_length())


def plan(b: int, f: int, k: int, wanted: Iterable[int]) -> tuple[list[int], set[int]]:
    """The position that each sub-database is asked for, and the rows that found a place."""
    bits, holders = position_bits(b, k), {}

    def choices(row: int) -> list[int]:
        return [g * (k // 2) + (place(b, f, g, row) >> bits) for g in range(3)]

    def settle(row: int, seen: set[int]) -> bool:
        for sub in choices(row):
            if sub not in seen:
                seen.add(sub)
                if sub not in holders or settle(holders[sub], seen):
                    holders[sub] = row
                    return True
        return False

    placed = {row for row in dict.fromkeys(wanted) if settle(row, set())}
    positions = [secrets.randbelow(1 << bits) for _ in range(3 * k // 2)]
    for sub, row in holders.items():
        positions[sub] = place(b, f, sub // (k // 2), row) & ((1 << bits) - 1)
    return positions, placed


def row_asked(b: int, f: int, k: int, sub: int, position: int) -> int:
    """Which row stands at a position of a sub-database."""
    g, u = divmod(sub, k // 2)
    return rows_at(b, f, g)[u << position_bits(b, k) | position]


# --- DPF ---

SIDES = {side: sha256(f"contactsync dpf 1 {side}".encode())[:16] for side in ("left", "right", "leaf")}


def hashed(side: str, seed: int) -> int:
    block = seed.to_bytes(16, "little")
    return int.from_bytes(xor(aes(SIDES[side], block), block), "little")


def even(x: int) -> int:
    return x & ~1


def child(side: str, node: int, correction: int, control: int) -> int:
    """One child of a node; `control` is the bit of this side."""
    return hashed(side, even(node)) ^ ((correction ^ control) if node & 1 else 0)


def make_keys(bits: int, index: int, random: bytes) -> tuple[bytes, bytes]:
    """Keys for servers 0 and 1 of a tree over 2^bits positions, from 32 random octets."""
    nodes = [int.from_bytes(random[:16], "little"), int.from_bytes(random[16:], "little")]
    if nodes[0] & 1 == nodes[1] & 1:
        nodes[1] ^= 1
    roots, rest = list(nodes), b""
    for level in range(max(0, bits - 7)):
        a = index >> (bits - 1 - level) & 1
        left = hashed("left", even(nodes[0])) ^ hashed("left", even(nodes[1]))
        right = hashed("right", even(nodes[0])) ^ hashed("right", even(nodes[1]))
        correction = even(left if a else right)
        controls = ((left & 1) ^ a ^ 1) | ((right & 1) ^ a) << 1
        side, control = ("right", controls >> 1) if a else ("left", controls & 1)
        nodes = [child(side, node, correction, control) for node in nodes]
        rest += correction.to_bytes(16, "little") + bytes([controls])
    last = hashed("leaf", even(nodes[0])) ^ hashed("leaf", even(nodes[1])) ^ 1 << (index % 128)
    rest += last.to_bytes(16, "little")
    return roots[0].to_bytes(16, "little") + rest, roots[1].to_bytes(16, "little") + rest


def expand(bits: int, key: bytes) -> int:
    """The selection bits of all positions, position 0 the lowest."""
    depth = max(0, bits - 7)
    check(len(key) == 32 + 17 * depth, "the length of a key")
    nodes = [int.from_bytes(key[:16], "little")]
    for at in range(16, 16 + 17 * depth, 17):
        correction, controls = int.from_bytes(key[at : at + 16], "little"), key[at + 16]
        check(correction & 1 == 0 and controls <= 3, "a correction")
        nodes = [
            child(side, node, correction, control)
            for node in nodes
            for side, control in (("left", controls & 1), ("right", controls >> 1))
        ]
    last, found = int.from_bytes(key[-16:], "little"), 0
    for i, node in enumerate(nodes):
        found |= (hashed("leaf", even(node)) ^ (last if node & 1 else 0)) << (128 * i)
    return found & ((1 << (1 << bits)) - 1)


# --- HTTP, and a sync ---


def ask(service: Service, manifest: Json, table: Table, keys: Iterable[bytes]) -> bytes:
    path = f"lookup/{manifest['audience']}/{table.root}"
    return service.request("POST", path, b"".join(keys), Content_Type="application/octet-stream")


def common(first: Service, second: Service, manifest: Json) -> Json:
    """The newest edition whose level the second server has: this one, or the one before."""
    for step in (True, False):
        table = Table(manifest)
        try:
            check(second.part(table.file, 0, 8) == table.head[:8], "the beginning of the level")
        except Problem as problem:
            if problem.status != 404 or not step:
                raise
        else:
            return manifest
        previous, key = manifest["previous"], manifest["public_key"]
        data = first.request("GET", f"tuf/targets/{previous}.{manifest['audience']}.json")
        check(sha256(data).hex() == previous, "the manifest before")
        before = json.loads(data)
        check(before["public_key"] == key, "the manifest before has another key")
        usable = {n: p for n, p in before["partitions"].items() if n.isdigit() and "critical" not in p}
        unusable = sorted(before["partitions"].keys() - usable.keys())
        manifest = before | {"partitions": usable, "unusable": unusable}
    raise AssertionError


def look_up(
    first: Service, second: Service, manifest: Json, outputs: Mapping[bytes, bytes]
) -> tuple[dict[bytes, str | None], set[bytes]]:
    """Members with their labels (None without one), and who waits. All of `outputs` count as new."""
    table = Table(manifest)
    level = table.level(first.data(table.file))
    tokens = {}
    for one, output in outputs.items():
        name = partition_of(one, manifest["partitions"])
        if name:
            token = int.from_bytes(output[:10], "big")
            tokens[one] = (name, token, table.row_of(name, token))
    left = list(dict.fromkeys(row for _, _, row in tokens.values()))
    asked, sent = [], []
    for k in batches(len(outputs), table.b):
        positions, placed = plan(table.b, table.fold, k, left)
        left = [row for row in left if row not in placed]
        bits = position_bits(table.b, k)
        pairs = [make_keys(bits, one, secrets.token_bytes(32)) for one in positions]
        asked.append([row_asked(table.b, table.fold, k, sub, one) for sub, one in enumerate(positions)])
        sent.append(tuple(zip(*pairs, strict=True)))
    answers = []
    for keys in sent:
        theirs = ask(second, manifest, table, keys[1])
        answers.append((theirs, ask(first, manifest, table, keys[0])))
    records = read_answers(table, level, asked, answers)
    found: dict[bytes, str | None] = {}
    for one, (name, token, row) in tokens.items():
        entry = table.find(name, token, row, records[row]) if row in records else None
        if entry is not None:
            label = open_entry(outputs[one][10:42], entry, context_of(manifest)) if entry else None
            found[one] = label or None
    return found, {one for one, (_, _, row) in tokens.items() if row in left}


def read_answers(
    table: Table, level: list[bytes], asked: list[list[int]], answers: list[tuple[bytes, bytes]]
) -> dict[int, bytes]:
    """The record of each row. Nothing of anything is read unless all of it verifies, dummies included."""
    records, holds = {}, True
    for rows, (one, other) in zip(asked, answers, strict=True):
        check(len(one) == len(other) == len(rows) * table.width, "the size of an answer")
        both = xor(one, other)
        for i, row in enumerate(rows):
            record = both[i * table.width : (i + 1) * table.width]
            holds &= table.verifies(row, record, level)
            if row < table.total:
                records[row] = record
    check(holds, "an answer, and all of it is discarded")
    return records
