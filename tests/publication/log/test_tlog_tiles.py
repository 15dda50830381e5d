"""Tiles that are written as a log grows, and read by who believes none of them."""

import contextlib

import pytest
import rfc6962
from hypothesis import given, settings
from hypothesis import strategies as st

from contactsync.foundation.errors import BadReply, NetworkError
from contactsync.publication.log.checkpoint import Checkpoint
from contactsync.publication.log.merkle import EMPTY, leaf_hash, verify_consistency, verify_inclusion
from contactsync.publication.log.tiles import (
    WIDTH,
    HashReader,
    Tile,
    appended,
    bundle,
    newer_tiles,
    read_bundle,
    tiles_of,
)

ORIGIN = "contacts.example.org/log"


class Shelf:
    """The files of a log by their paths, and which were read."""

    def __init__(self):
        self.files = {}
        self.read_paths = []
        self.checkpoint = Checkpoint(ORIGIN, 0, EMPTY)

    def read(self, path):
        self.read_paths.append(path)
        try:
            return self.files[path]
        except KeyError:
            raise NetworkError(f"{path} is not there") from None

    def append(self, entries):
        self.checkpoint, files = appended(self.read, self.checkpoint, entries)
        for path, octets in files.items():
            assert path not in self.files or self.files[path] == octets, "a tile never changes"
        self.files |= files

    def reader(self):
        return HashReader(self.read, self.checkpoint)


def entries_of(count, first=0):
    return [f"entry {number}".encode() for number in range(first, first + count)]


class Fast:
    """RFC 6962's trees with what was computed kept: the text alone takes hours for 70,000 entries."""

    def __init__(self, entries):
        self.leaves = [rfc6962.sha256(b"\x00" + one) for one in entries]
        self.kept = {}

    def root(self, start, end):
        if (start, end) not in self.kept:
            if end - start == 1:
                return self.leaves[start]
            k = rfc6962.largest_power(end - start)
            both = self.root(start, start + k) + self.root(start + k, end)
            self.kept[start, end] = rfc6962.sha256(b"\x01" + both)
        return self.kept[start, end]


def test_names_are_those_of_the_specification():
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Tile(2, 0, 1).path == "tile/2/000.p/1"
    assert Tile(-1, 999, 255).path == "tile/entries/999.p/255"
    assert Tile(-1, 1000).path == "tile/entries/x001/000"


def test_a_log_of_70000_entries_has_the_tiles_of_the_specification():
    tiles = list(tiles_of(70_000))
    hashes = [tile for tile in tiles if tile.level >= 0]
    assert len([tile for tile in hashes if tile.level == 0 and tile.width == WIDTH]) == 273
    assert [tile for tile in hashes if tile.width != WIDTH] == [
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    assert Tile(1, 0) in hashes
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(-1, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == []


@given(st.integers(0, 200_000), st.integers(0, 70_000))
def test_newer_tiles_are_those_that_were_not_there(old, more):
    assert set(newer_tiles(old, old + more)) == set(tiles_of(old + more)) - set(tiles_of(old))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_a_log_that_grows_in_steps_is_the_one_of_the_text(steps):
    shelf, entries = Shelf(), []
    for step in steps:
        more = entries_of(step, len(entries))
        shelf.append(more)
        entries += more
        assert shelf.checkpoint.size == len(entries)
        assert shelf.checkpoint.root == (Fast(entries).root(0, len(entries)) if entries else rfc6962.MTH([]))
        for tile in tiles_of(len(entries)):
            part = slice(tile.index * WIDTH, tile.index * WIDTH + tile.width)
            if tile.level == -1:
                assert read_bundle(shelf.files[tile.path], tile.width) == entries[part]
            elif tile.level == 0:
                leaves = [leaf_hash(entry) for entry in entries[part]]
                assert shelf.files[tile.path] == b"".join(leaves)


@pytest.fixture(scope="module")
def large():
    """65,536 + 300 entries: three levels of tiles."""
    shelf = Shelf()
    entries = entries_of((1 << 16) + 300)
    shelf.append(entries[:65_000])
    shelf.append(entries[65_000:65_536])
    shelf.append(entries[65_536:])
    return shelf, entries, Fast(entries)


@pytest.mark.slow
def test_a_log_of_three_levels_is_the_one_of_the_text(large):
    shelf, entries, twin = large
    assert shelf.checkpoint.root == twin.root(0, len(entries))
    for index in (0, 255, 256, 65_535, 65_536, 65_791, 65_792, len(entries) - 1):
        proof = shelf.reader().inclusion(index)
        leaf = leaf_hash(entries[index])
        assert verify_inclusion(leaf, index, len(entries), proof, shelf.checkpoint.root)
        assert shelf.reader().entries(index, index + 1) == [entries[index]]
    for old in (1, 2, 255, 256, 257, 65_000, 65_535, 65_536, 65_537, len(entries)):
        reader = shelf.reader()
        assert reader.tree(old) == twin.root(0, old)
        proof = reader.consistency(old)
        root = shelf.checkpoint.root
        assert verify_consistency(old, twin.root(0, old), len(entries), root, proof)


@pytest.mark.slow
def test_a_proof_reads_few_tiles(large):
    shelf, _, _ = large
    shelf.read_paths.clear()
    shelf.reader().inclusion(1000)
    assert len(shelf.read_paths) <= 5
    shelf.read_paths.clear()
    shelf.reader().consistency(65_000)
    assert len(shelf.read_paths) <= 6


def test_all_proofs_of_small_logs_are_those_of_the_text():
    shelf, entries = Shelf(), entries_of(20)
    for size in range(1, 21):
        shelf.append(entries[size - 1 : size])
        for index in range(size):
            assert shelf.reader().inclusion(index) == rfc6962.PATH(index, entries[:size])
        for old in range(1, size + 1):
            assert shelf.reader().consistency(old) == rfc6962.PROOF(old, entries[:size])
            assert shelf.reader().tree(old) == rfc6962.MTH(entries[:old])


def everything(shelf):
    """What a reader can be asked of a log of 300 entries; each raises BadReply or gives the truth."""
    return [
        lambda: shelf.reader().inclusion(3),
        lambda: shelf.reader().inclusion(280),
        lambda: shelf.reader().consistency(40),
        lambda: shelf.reader().tree(270),
        lambda: shelf.reader().entries(3, 20),
        lambda: shelf.reader().entries(256, 300),
        lambda: appended(shelf.read, shelf.checkpoint, [b"more"])[0],
    ]


@pytest.mark.slow
def test_a_changed_byte_anywhere_in_a_tile_is_refused_where_it_is_used():
    shelf = Shelf()
    shelf.append(entries_of(300))
    good, asked = dict(shelf.files), everything(shelf)
    truth, reads = [ask() for ask in asked], list(paths_of(shelf))
    for path, octets in good.items():
        used = [number for number, paths in enumerate(reads) if path in paths]
        assert used, f"{path} is never read"
        for place in range(0, len(octets), 1 if len(octets) < 2000 else 3):
            bad = bytearray(octets)
            bad[place] ^= 1 << place % 8
            shelf.files[path] = bytes(bad)
            with pytest.raises(BadReply):
                asked[used[place % min(len(used), 2)]]()
        for number, ask in enumerate(asked):
            assert number in used or ask() == truth[number]
        shelf.files = dict(good)


def paths_of(shelf):
    """Which files each question reads."""
    for ask in everything(shelf):
        shelf.read_paths.clear()
        ask()
        yield set(shelf.read_paths)


@pytest.mark.parametrize("change", ["short", "long", "empty", "ragged", "double"])
def test_a_tile_of_another_length_is_refused(change):
    shelf = Shelf()
    shelf.append(entries_of(300))
    good = dict(shelf.files)
    for path, octets in good.items():
        bad = {
            "short": octets[:-32],
            "long": octets + bytes(32),
            "empty": b"",
            "ragged": octets[:-1],
            "double": octets + octets,
        }[change]
        shelf.files = good | {path: bad}
        outcomes = []
        for ask in everything(shelf):
            try:
                outcomes.append(ask())
            except BadReply:
                outcomes.append(BadReply)
        assert BadReply in outcomes, path


def test_tiles_of_a_fork_are_refused():
    honest, fork = Shelf(), Shelf()
    honest.append(entries_of(300))
    fork.append([*entries_of(10), *entries_of(290, 1000)])
    fork.checkpoint = honest.checkpoint
    for ask in everything(fork):
        with pytest.raises(BadReply):
            ask()


def test_a_checkpoint_of_another_size_or_root_finds_no_proof():
    shelf = Shelf()
    shelf.append(entries_of(300))
    for size, root in ((300, EMPTY), (299, shelf.checkpoint.root), (556, shelf.checkpoint.root)):
        reader = HashReader(shelf.read, Checkpoint(ORIGIN, size, root))
        with pytest.raises((BadReply, NetworkError)):
            reader.inclusion(3)


def test_a_size_beyond_all_bounds_costs_nothing():
    reader = HashReader(Shelf().read, Checkpoint(ORIGIN, 1 << 62, EMPTY))
    for ask in (lambda: reader.inclusion(1 << 61), lambda: reader.consistency(12345), lambda: reader.tree(3)):
        with pytest.raises(NetworkError):
            ask()


def test_what_was_never_in_the_log_is_not_asked_of_it():
    shelf = Shelf()
    shelf.append(entries_of(3))
    for ask in (lambda: shelf.reader().inclusion(3), lambda: shelf.reader().inclusion(-1)):
        with pytest.raises(ValueError, match="not an entry"):
            ask()
    with pytest.raises(ValueError, match="not a size"):
        shelf.reader().consistency(4)


@given(st.lists(st.binary(max_size=300), max_size=WIDTH))
def test_a_bundle_is_read_as_it_was_written(entries):
    assert read_bundle(bundle(entries), len(entries)) == entries
    for width in (len(entries) + 1, len(entries) - 1):
        if 0 <= width <= WIDTH:
            with pytest.raises(BadReply):
                read_bundle(bundle(entries), width)


@given(st.binary(max_size=200), st.integers(0, WIDTH))
def test_any_octets_are_a_bundle_or_refused(octets, width):
    with contextlib.suppress(BadReply):
        assert bundle(read_bundle(octets, width)) == octets
