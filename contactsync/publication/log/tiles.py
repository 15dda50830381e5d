"""A log as files that never change (C2SP tlog-tiles), and proofs that are made from them.

A tile has up to 256 hashes of one level: tile/L/N has the hashes of level 8·L from number 256·N on. Level 0
has the hashes of leaves. Of a tile that is not full there is a file for each width that it had at a
checkpoint: tile/L/N.p/W. Entries themselves are in bundles of 256 in the same way, tile/entries/N, each after
its length in two octets.

Who reads tiles believes no hash before it gave the root hash that a checkpoint states: see `HashReader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.errors import BadReply
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import (
    EMPTY,
    HASH_BYTES,
    leaf_hash,
    node_hash,
    root_of,
    split,
)

WIDTH: Final = 256
_BITS: Final = 8
MAX_ENTRY: Final = 0xFFFF
MAX_BUNDLE: Final = WIDTH * (2 + MAX_ENTRY)

Read = Callable[[str], bytes]
"""The octets of a tile by its path. Raises an error of the tree."""


def _number(index: int) -> str:
    """1234067 → x001/x234/067."""
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03}")
    return "/".join(reversed(groups))


@dataclass(frozen=True, order=True, slots=True)
class Tile:
    """A tile: its level, or -1 for a bundle of entries; its number; how many hashes or entries it has."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Below the address of the log."""
        level = "entries" if self.level < 0 else str(self.level)
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_number(self.index)}{partial}"

    @property
    def most(self) -> int:
        """How many octets it can have."""
        return self.width * (2 + MAX_ENTRY if self.level < 0 else HASH_BYTES)


def tiles_of(size: int) -> Iterator[Tile]:
    """All tiles and bundles of a log of `size` entries."""
    for level, count in enumerate(_counts(size)):
        yield from _row(level, count)
        if level == 0:
            yield from _row(-1, count)


def newer_tiles(old: int, new: int) -> Iterator[Tile]:
    """The tiles and bundles of a log of `new` entries that one of `old` does not have."""
    before = [*_counts(old), *[0] * 8]
    for level, count in enumerate(_counts(new)):
        if count > before[level]:
            yield from _row(level, count, before[level] // WIDTH)
            if level == 0:
                yield from _row(-1, count, before[0] // WIDTH)


def _counts(size: int) -> Iterator[int]:
    """How many hashes each level of tiles has."""
    while size > 0:
        yield size
        size //= WIDTH


def _row(level: int, count: int, first: int = 0) -> Iterator[Tile]:
    for index in range(first, count // WIDTH):
        yield Tile(level, index)
    if count % WIDTH:
        yield Tile(level, count // WIDTH, count % WIDTH)


def bundle(entries: Iterable[bytes]) -> bytes:
    """A bundle of entries. An entry has at most 65,535 octets."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def read_bundle(octets: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. Raises BadReply unless there are `width`."""
    entries: list[bytes] = []
    place = 0
    while place < len(octets) and len(entries) < width:
        length = int.from_bytes(octets[place : place + 2], "big")
        entries.append(octets[place + 2 : place + 2 + length])
        place += 2 + length
    if place != len(octets) or len(entries) != width:
        raise BadReply("a bundle of the log is damaged")
    return entries


def appended(read: Read, old: Checkpoint, entries: Sequence[bytes]) -> tuple[Checkpoint, dict[str, bytes]]:
    """The log after these entries: its checkpoint, and the files that it has besides.

    `read` gives the tiles of the log as it was, which are checked. Raises BadReply: they are not of it.
    """
    reader = HashReader(read, old)
    rows: dict[int, list[bytes]] = {}
    started = old.size // WIDTH * WIDTH
    rows[-1] = reader.entries(started, old.size) + list(entries)
    rows[0] = [leaf_hash(entry) for entry in rows[-1]]
    size = old.size + len(entries)
    files: dict[str, bytes] = {}
    firsts = {-1: started, 0: started}
    level = 0
    while size >> _BITS * (level + 1):
        before = old.size >> _BITS * (level + 1)
        first = before // WIDTH * WIDTH
        kept = [reader.hash(level + 1, place) for place in range(first, before)]
        base = firsts[level]
        whole = size >> _BITS * (level + 1)
        made = [
            root_of(rows[level][number * WIDTH - base : (number + 1) * WIDTH - base])
            for number in range(before, whole)
        ]
        rows[level + 1], firsts[level + 1] = kept + made, first
        level += 1
    for tile in newer_tiles(old.size, size):
        place = tile.index * WIDTH - firsts[tile.level]
        part = rows[tile.level][place : place + tile.width]
        files[tile.path] = bundle(part) if tile.level < 0 else b"".join(part)

    def read_new(path: str) -> bytes:
        return files[path] if path in files else read(path)

    root = HashReader(read_new, Checkpoint(old.origin, size, EMPTY)).root()
    return Checkpoint(old.origin, size, root), files


class HashReader:
    """Hashes of a log from its tiles. None is given out before its tile gave the root of the checkpoint.

    A tile that is not full may be asked for at the width of the checkpoint alone: servers need no other.
    """

    def __init__(self, read: Read, checkpoint: Checkpoint) -> None:
        self._read = read
        self._checkpoint = checkpoint
        self._tiles: dict[Tile, list[bytes]] = {}
        self._proven = False
        self._counts = list(_counts(checkpoint.size))

    @property
    def used(self) -> Sequence[Tile]:
        """The tiles that were read."""
        return list(self._tiles)

    def root(self) -> bytes:
        """The root hash that the tiles on the right edge give, whether or not it is the checkpoint's."""
        return self._edge(self._checkpoint.size)

    def hash(self, level: int, index: int) -> bytes:
        """Hash `index` of level 8·`level`, of a subtree that is whole. Raises BadReply."""
        self._prove()
        return self._row_of(level, index)[index % WIDTH]

    def entries(self, start: int, end: int) -> list[bytes]:
        """Entries of one bundle, whose hashes are checked. Raises BadReply."""
        if start == end:
            return []
        tile = self._tile(-1, start // WIDTH)
        found = read_bundle(self._octets(tile), tile.width)
        for place, entry in enumerate(found):
            if leaf_hash(entry) != self.hash(0, tile.index * WIDTH + place):
                raise BadReply(f"entry {tile.index * WIDTH + place} is not the one that the log has")
        return found[start % WIDTH : (end - 1) % WIDTH + 1]

    def inclusion(self, index: int) -> list[bytes]:
        """The proof that leaf `index` is in the tree of the checkpoint."""
        if not 0 <= index < self._checkpoint.size:
            raise ValueError("not an entry of this log")
        return self._path(index, 0, self._checkpoint.size)

    def consistency(self, old: int) -> list[bytes]:
        """The proof that the tree of the checkpoint begins with that of its first `old` leaves."""
        size = self._checkpoint.size
        if not 0 <= old <= size:
            raise ValueError("not a size that this log had")
        return [] if old in {0, size} else self._subproof(old, 0, size, known=True)

    def tree(self, size: int) -> bytes:
        """The root hash of the first `size` leaves."""
        self._prove()
        return self._subtree(0, size) if size else EMPTY

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._subtree(middle, end)]
        return [*self._path(index, middle, end), self._subtree(start, middle)]

    def _subproof(self, old: int, start: int, end: int, *, known: bool) -> list[bytes]:
        """SUBPROOF of RFC 6962 §2.1.2, of leaves `start` to `end`; `old` counts from 0."""
        if old == end:
            return [] if known else [self._subtree(start, end)]
        middle = start + split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, known=known), self._subtree(middle, end)]
        return [*self._subproof(old, middle, end, known=False), self._subtree(start, middle)]

    def _subtree(self, start: int, end: int) -> bytes:
        """The hash over leaves `start` to `end`, which are a node of the tree."""
        self._prove()
        return self._node(start, end)

    def _node(self, start: int, end: int) -> bytes:
        count = end - start
        if count & (count - 1) == 0:
            return self._whole(start, count)
        middle = start + split(count)
        return node_hash(self._node(start, middle), self._node(middle, end))

    def _whole(self, start: int, count: int) -> bytes:
        """The hash over a power of two of leaves: from one row of one tile."""
        level, rest = divmod(count.bit_length() - 1, _BITS)
        first = start >> _BITS * level
        row = self._row_of(level, first)
        place = first % WIDTH
        return root_of(row[place : place + (1 << rest)])

    def _edge(self, size: int) -> bytes:
        return self._node(0, size) if size else EMPTY

    def _prove(self) -> None:
        if not self._proven:
            if self.root() != self._checkpoint.root:
                raise BadReply("the tiles of the log do not have the root hash of its checkpoint")
            self._proven = True

    def _tile(self, level: int, index: int) -> Tile:
        """The tile of the checkpoint's tree with this number."""
        row = max(level, 0)
        count = self._counts[row] if row < len(self._counts) else 0
        width = min(WIDTH, count - index * WIDTH)
        if width <= 0:
            raise BadReply("the log has no such tile")
        return Tile(level, index, width)

    def _row_of(self, level: int, index: int) -> list[bytes]:
        """The hashes of the tile in which hash `index` is, checked against the tile above it."""
        tile = self._tile(level, index // WIDTH)
        if tile not in self._tiles:
            octets = self._octets(tile)
            if len(octets) != tile.width * HASH_BYTES:
                raise BadReply(f"{tile.path} of the log has {len(octets):,} octets")
            row = [octets[place : place + HASH_BYTES] for place in range(0, len(octets), HASH_BYTES)]
            # A full tile is one hash of the level above. All others are on the right edge: in the root.
            if tile.width == WIDTH and root_of(row) != self.hash(level + 1, tile.index):
                raise BadReply(f"{tile.path} of the log does not have the hash that the log states")
            self._tiles[tile] = row
        return self._tiles[tile]

    def _octets(self, tile: Tile) -> bytes:
        octets = self._read(tile.path)
        if len(octets) > tile.most:
            raise BadReply(f"{tile.path} of the log has {len(octets):,} octets")
        return octets
