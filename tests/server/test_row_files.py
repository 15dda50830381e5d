"""Files of rows: made from the bases, verified, made again, and removed."""

import fcntl
import os
import stat
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest

from contactsync.directory import build
from contactsync.foundation.errors import BadDirectory, BadInput, ContactSyncError
from contactsync.lookup.table import check_level
from contactsync.publication import row_building
from contactsync.publication.manifest import Manifest, Partition
from contactsync.server import row_files
from contactsync.server.row_files import ensure_rows, make_rows, open_rows, remove_rows, row_file, with_rows
from contactsync.tokens import Tokens

COUNTS = {"49": 700, "1": 9_000}


class Publication:
    """Bases in a folder, the rows of them, and a manifest that states both."""

    def __init__(self, folder, counts=COUNTS, seed=1):
        self.folder, self.public = folder / "rows", folder / "public"
        data = self.public / "data"
        data.mkdir(parents=True)
        random = np.random.default_rng(seed)
        partitions = {}
        for name, count in counts.items():
            octets = random.integers(0, 256, (count, 10), dtype=np.uint8)
            info = build(data / "new", [Tokens.from_bytes(octets)])
            (data / "new").rename(data / info.file.sha256)
            partitions[name] = Partition(
                name, 1, count, info.slot_bits, info.remainder_bits, info.top_sha256, info.file
            )
        rows, self.level = make_rows(self.folder, "people", partitions, data, labelled=False, fold_bits=0)
        self.manifest = Manifest("people", 1, 1, bytes(32), 1, partitions, None, rows=rows)
        (data / rows.level.sha256).write_bytes(self.level)
        self.path = row_file(self.folder, "people", rows.root)

    def ensure(self):
        return ensure_rows(self.folder, self.manifest, self.public)


@pytest.fixture
def made(tmp_path):
    return Publication(tmp_path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_made_is_what_is_stated(made):
    rows = made.manifest.rows
    table = rows.table(made.manifest.partitions)
    check_level(made.level, table, rows.root)
    records = open_rows(made.folder, made.manifest, made.public)
    assert records.shape == (table.total, table.width)
    assert made.path.stat().st_size == records.size
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o644 & ~umask()
    assert names(made.path.parent) == [made.path.name]
    assert Manifest.from_bytes(made.manifest.to_bytes()) == made.manifest


def umask():
    found = os.umask(0)
    os.umask(found)
    return found


def test_the_file_that_is_right_stays(made):
    before = made.path.stat()
    assert made.ensure() == made.path
    assert (made.path.stat().st_ino, made.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "one bit", "of another edition"])
def test_any_other_is_made_again(made, tmp_path, damage):
    octets = made.path.read_bytes()
    if damage == "of another edition":
        other = Publication(tmp_path / "other", seed=2)
        octets_there = other.path.read_bytes()
    else:
        flipped = bytearray(octets)
        flipped[len(octets) // 2] ^= 1
        octets_there = {"cut": octets[:-8], "empty": b"", "one bit": bytes(flipped), "gone": None}[damage]
    made.path.unlink()
    if octets_there is not None:
        made.path.write_bytes(octets_there)
    assert made.ensure() == made.path
    assert made.path.read_bytes() == octets
    assert names(made.path.parent) == [made.path.name]


def test_it_is_made_in_a_folder_that_has_none(made):
    octets = made.path.read_bytes()
    made.path.unlink()
    made.path.parent.rmdir()
    made.folder.rmdir()
    assert made.ensure().read_bytes() == octets


def test_rows_that_are_not_those_of_the_directories_are_not_served(made):
    """An operator signed another root: whoever makes the rows from the bases sees it."""
    rows = made.manifest.rows
    for forged in (
        replace(rows, level=replace(rows.level, sha256="ab" * 32)),
        replace(rows, most=rows.most + 1),
    ):
        manifest = replace(made.manifest, rows=forged)
        # As if the right file stood in that place.
        octets = made.path.read_bytes()
        row_file(made.folder, "people", forged.root).write_bytes(octets)
        with pytest.raises(BadDirectory, match="not those of its directories") as raised:
            ensure_rows(made.folder, manifest, made.public)
        assert raised.value.refusal == "bad-hash"
        assert raised.value.hint
    assert ".making" not in names(made.path.parent)


def test_a_base_that_is_gone_or_damaged_is_said(made):
    made.path.unlink()
    base = made.public / "data" / made.manifest.partitions["49"].base.sha256
    octets = bytearray(base.read_bytes())
    octets[-1] ^= 1
    base.write_bytes(octets)
    with pytest.raises(BadDirectory):
        made.ensure()
    base.unlink()
    with pytest.raises(BadInput, match="cannot be opened"):
        made.ensure()
    assert names(made.path.parent) == []


def test_an_edition_without_rows(made):
    with pytest.raises(BadInput, match="has no rows") as raised:
        ensure_rows(made.folder, replace(made.manifest, rows=None), made.public)
    assert "--private-lookup yes" in raised.value.hint


def test_a_folder_that_cannot_be_written(made):
    made.path.unlink()
    made.path.parent.rmdir()
    made.path.parent.write_bytes(b"")
    with pytest.raises(ContactSyncError, match="the rows cannot be made") as raised:
        made.ensure()
    assert raised.value.hint


def test_of_several_at_once_one_makes_it(made, monkeypatch):
    built, found = [], []
    build_table = row_building.build_table
    monkeypatch.setattr(row_building, "build_table", lambda *of: built.append(of) or build_table(*of))
    made.path.unlink()
    threads = [Thread(target=lambda: found.append(made.ensure())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [made.path] * 4
    assert len(built) == 1


def test_what_killed_processes_left_goes(made):
    """A build ends what another one left; so does the removal, unless a build is running."""
    work = made.path.parent / ".making"
    work.mkdir()
    (work / ".rows.0123456789abcdef.part").write_bytes(b"x")
    remove_rows(made.folder, "people", [made.manifest.rows])
    assert names(made.path.parent) == [made.path.name]
    work.mkdir()
    lock = os.open(made.path.parent, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    remove_rows(made.folder, "people", [made.manifest.rows])
    assert work.is_dir()
    os.close(lock)
    made.path.unlink()
    assert made.ensure() == made.path
    assert names(made.path.parent) == [made.path.name]


def test_only_what_is_kept_stays(made, tmp_path):
    other = Publication(tmp_path / "other", seed=2)
    beside = row_file(made.folder, "people", other.manifest.rows.root)
    beside.write_bytes(other.path.read_bytes())
    remove_rows(made.folder, "people", [made.manifest.rows, other.manifest.rows])
    assert names(made.path.parent) == sorted([made.path.name, beside.name])
    remove_rows(made.folder, "people", [other.manifest.rows])
    assert names(made.path.parent) == [beside.name]
    remove_rows(made.folder, "people", [])
    assert names(made.path.parent) == []
    remove_rows(made.folder, "business", [])  # there never were any


def test_the_rows_of_two_editions_are_kept(made):
    """Of those that have rows: there may be one without them in between."""
    five = [replace(made.manifest, edition=edition) for edition in (5, 4, 3, 2, 1)]
    five[1] = replace(five[1], rows=None)
    assert [one.edition for one in with_rows(five)] == [5, 3]
    assert with_rows([five[1]]) == []


def test_what_was_taken_out_of_service_is_not_made_again(made):
    """Its manifest stays, and its bases may: the level is what goes with it."""
    made.path.unlink()
    (made.public / "data" / made.manifest.rows.level.sha256).unlink()
    with pytest.raises(BadInput, match="taken out of service"):
        made.ensure()
    assert not made.path.exists()


def test_what_is_taken_out_of_service_while_it_is_made_does_not_stay(made, monkeypatch):
    """`remove_rows` waits for nobody: the level goes, the old rows go, and only then these get their name."""
    made.path.unlink()
    rename = row_files.durable.rename

    def late(source, target):
        if target == made.path:
            (made.public / "data" / made.manifest.rows.level.sha256).unlink()
            remove_rows(made.folder, "people", [])
        rename(source, target)

    monkeypatch.setattr(row_files.durable, "rename", late)
    with pytest.raises(BadInput, match="taken out of service"):
        made.ensure()
    assert not made.path.exists()
