"""Files of rows with labels: made from bases and sidecars, and from no other than those that are named."""

from dataclasses import replace

import numpy as np
import pytest

from contactsync.directory import build, open_directory
from contactsync.directory.sidecar_build import build_sidecar
from contactsync.foundation.errors import BadDirectory, BadInput, BadReply
from contactsync.lookup.table import check_level
from contactsync.publication.manifest import Manifest, Partition
from contactsync.publication.partition import Labels
from contactsync.server.row_files import ensure_rows, make_rows, open_rows, row_file
from contactsync.tokens import Tokens

COUNTS = {"49": 700, "1": 3_000, "44": 90}
SIZES = {"49": 32, "1": 16}  # nobody has a label in 44
TAG = 16


class Publication:
    """Bases and sidecars in a folder, rows with labels, and a manifest that states all of it."""

    def __init__(self, folder):
        self.folder, self.public = folder / "rows", folder / "public"
        self.data = self.public / "data"
        self.data.mkdir(parents=True)
        random = np.random.default_rng(5)
        partitions, self.made_of = {}, {}
        for name, count in COUNTS.items():
            tokens = Tokens.from_bytes(random.integers(0, 256, (count, 10), dtype=np.uint8))
            info = build(self.data / "new", [tokens])
            (self.data / "new").rename(self.data / info.file.sha256)
            figures = (info.slot_bits, info.remainder_bits, info.top_sha256, info.file)
            partitions[name] = Partition(name, 1, count, *figures)
            if name in SIZES:
                entries = random.integers(0, 256, (count, TAG + SIZES[name]), dtype=np.uint8)
                self.made_of[name] = tokens, entries
                partitions[name] = replace(partitions[name], labels=self.labels(partitions[name], entries))
        rows, level = make_rows(self.folder, "people", partitions, self.data, labelled=True, fold_bits=0)
        self.manifest = Manifest("people", 1, 1, bytes(32), 1, partitions, None, rows=rows)
        (self.data / rows.level.sha256).write_bytes(level)
        self.level = level
        self.path = row_file(self.folder, "people", rows.root)
        self.octets = self.path.read_bytes()

    def labels(self, partition, entries):
        """Those of a partition's members, whose sidecar is put in its place."""
        tokens, _ = self.made_of[partition.name]
        base = self.data / partition.base.sha256
        with open_directory(base, expect=partition.directory) as directory:
            chunk = (tokens, entries)
            made = build_sidecar(self.data / "new", directory, [chunk], size=SIZES[partition.name])
        (self.data / "new").rename(self.data / made.file.sha256)
        return Labels(1, made.size, made.top_sha256, made.file)

    def other_labels(self, name="49"):
        """The same but for one octet of one entry."""
        _, entries = self.made_of[name]
        changed = entries.copy()
        changed[7, 3] ^= 1
        return self.labels(self.manifest.partitions[name], changed)

    def sidecar(self, name="49"):
        return self.data / self.manifest.partitions[name].labels.file.sha256

    def ensure(self, manifest=None):
        return ensure_rows(self.folder, manifest or self.manifest, self.public)

    def without_labels(self):
        """The same edition with the rows of an earlier version; its level is among the data files."""
        partitions = self.manifest.partitions
        rows, level = make_rows(self.folder, "people", partitions, self.data, labelled=False, fold_bits=0)
        (self.data / rows.level.sha256).write_bytes(level)
        return replace(self.manifest, rows=rows)


@pytest.fixture
def made(tmp_path):
    return Publication(tmp_path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_made_is_what_is_stated(made):
    """With the entries of all partitions that have some, each in its own length."""
    rows = made.manifest.rows
    table = rows.table(made.manifest.partitions)
    assert dict(table.entry_bytes) == {"1": 32, "49": 48}
    assert table.shape.entry_bytes == 48
    check_level(made.level, table, rows.root)
    assert made.level[:7] == b"CSROWS\x03"
    assert open_rows(made.folder, made.manifest, made.public).shape == (table.total, table.width)
    for _, entries in made.made_of.values():
        assert all(entry.tobytes() in made.octets for entry in entries[:50])
    assert Manifest.from_bytes(made.manifest.to_bytes()) == made.manifest


@pytest.mark.parametrize("damage", ["gone", "cut", "a bit of a label", "without labels"])
def test_they_are_made_again(made, damage):
    """Rows without labels, too, that stand where those with labels are to be."""
    flipped = bytearray(made.octets)
    flipped[made.octets.index(made.made_of["49"][1][0].tobytes()) + 47] ^= 1
    plain = made.without_labels()
    plain_path = row_file(made.folder, "people", plain.rows.root)
    others = {"cut": made.octets[:-8], "a bit of a label": flipped, "without labels": plain_path.read_bytes()}
    made.path.unlink()
    if damage in others:
        made.path.write_bytes(others[damage])
    assert made.ensure() == made.path
    assert made.path.read_bytes() == made.octets
    assert names(made.path.parent) == sorted([made.path.name, plain_path.name])


def test_both_kinds_of_the_same_partitions_are_kept_apart(made):
    """They have other roots, and neither is right under the other's statement."""
    plain = made.without_labels()
    assert plain.rows.root != made.manifest.rows.root
    plain_path = row_file(made.folder, "people", plain.rows.root)
    assert made.ensure(plain) == plain_path
    assert plain_path.stat().st_size < made.path.stat().st_size / 3
    for manifest, labelled in ((made.manifest, False), (plain, True)):
        wrong = replace(manifest, rows=replace(manifest.rows, labelled=labelled))
        with pytest.raises(BadDirectory, match="not those of its directories") as raised:
            made.ensure(wrong)
        assert raised.value.refusal == "bad-hash"
        with pytest.raises(BadReply, match="impossible length"):
            Manifest.from_bytes(wrong.to_bytes())
    assert made.path.read_bytes() == made.octets


@pytest.mark.parametrize("name", ["49", "1"])
def test_a_sidecar_that_is_gone_is_said(made, name):
    made.path.unlink()
    made.sidecar(name).unlink()
    with pytest.raises(BadInput, match="cannot be opened") as raised:
        made.ensure()
    assert made.manifest.partitions[name].labels.file.sha256 in str(raised.value)
    assert names(made.path.parent) == []


@pytest.mark.parametrize("damage", ["one bit", "cut", "one entry", "of another partition", "a base"])
def test_a_sidecar_that_is_another_one_is_said(made, damage):
    made.path.unlink()
    octets = bytearray(made.sidecar().read_bytes())
    octets[-1] ^= 1
    others = {
        "one bit": bytes(octets),
        "cut": bytes(octets[:-48]),
        "one entry": (made.data / made.other_labels().file.sha256).read_bytes(),
        "of another partition": made.sidecar("1").read_bytes(),
        "a base": (made.data / made.manifest.partitions["49"].base.sha256).read_bytes(),
    }
    made.sidecar().write_bytes(others[damage])
    with pytest.raises(BadDirectory) as raised:
        made.ensure()
    assert made.manifest.partitions["49"].labels.file.sha256 in str(raised.value)
    with pytest.raises(BadDirectory):
        make_rows(made.folder, "people", made.manifest.partitions, made.data, labelled=True, fold_bits=0)
    assert names(made.path.parent) == []


def test_rows_without_labels_need_no_sidecar(made):
    plain = made.without_labels()
    octets = made.ensure(plain).read_bytes()
    made.ensure(plain).unlink()
    made.sidecar("49").unlink()
    made.sidecar("1").unlink()
    assert made.ensure(plain).read_bytes() == octets


def test_rows_of_other_labels_than_were_signed_are_not_served(made):
    """The sidecar that the manifest names is right, and the root is of rows with another entry."""
    partitions = dict(made.manifest.partitions)
    partitions["49"] = replace(partitions["49"], labels=made.other_labels())
    forged, level = make_rows(made.folder, "people", partitions, made.data, labelled=True, fold_bits=0)
    (made.data / forged.level.sha256).write_bytes(level)
    row_file(made.folder, "people", forged.root).unlink()
    manifest = replace(made.manifest, rows=forged)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    with pytest.raises(BadDirectory, match="not those of its directories") as raised:
        made.ensure(manifest)
    assert raised.value.hint
    assert names(made.path.parent) == [made.path.name]


def test_what_was_taken_out_of_service_is_not_made_again(made):
    made.path.unlink()
    (made.data / made.manifest.rows.level.sha256).unlink()
    with pytest.raises(BadInput, match="taken out of service"):
        made.ensure()
    assert names(made.path.parent) == []
