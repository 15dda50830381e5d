"""Publishing the rows for private look-up: switched on and off, made again, reused, taken out."""

import hashlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from publishing_tools import published
from row_blocks import put_in_blocks
from server_tools import AMERICAN, GERMAN, numbers

from contactsync.directory import build, open_directory
from contactsync.foundation.errors import OurError
from contactsync.lookup import table as tables
from contactsync.lookup.table_file import build_table, open_table
from contactsync.publication import row_building
from contactsync.publication.manifest import Manifest
from contactsync.server import row_files
from contactsync.server.checks import check_publication
from contactsync.server.publishing import looked_up
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.row_files import ensure_rows
from contactsync.tokens import Tokens

GERMANS = range(GERMAN, GERMAN + 300)


@pytest.fixture
def looked(operator):
    """An operator with members in two partitions, who has switched rows on and published."""
    operator.folder.switch_private_lookup(on=True)
    operator.add(*GERMANS, AMERICAN)
    operator.publish()
    return operator


@pytest.fixture
def in_blocks(monkeypatch):
    """Small tables are in blocks from now on, as large ones are."""
    put_in_blocks(monkeypatch)


def row_files_of(operator, audience="people"):
    return sorted(path.name for path in (operator.folder.rows / audience).iterdir())


def check_rows(operator, audience="people"):
    """What is stated is what the bases give, by the functions alone; everything is on the disk."""
    manifest = operator.manifest(audience)
    data = operator.folder.data
    level = (data / manifest.rows.level.sha256).read_bytes()
    assert hashlib.sha256(level).digest() == manifest.rows.root
    opened = {
        name: open_directory(data / one.base.sha256, expect=one.directory)
        for name, one in manifest.partitions.items()
    }
    made = build_table(operator.folder.path / "compared", opened, None, manifest.rows.fold_bits)
    assert (made.level, made.table.shape.most) == (level, manifest.rows.most)
    table = manifest.rows.table(manifest.partitions)
    assert dict(table.first) == dict(made.table.first)
    path = row_files.row_file(operator.folder.rows, audience, manifest.rows.root)
    open_table(path, table, manifest.rows.root)
    assert path.read_bytes() == (operator.folder.path / "compared").read_bytes()
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    return manifest


def test_a_new_installation_has_none(operator):
    operator.add(GERMAN)
    operator.publish()
    assert operator.folder.settings().private_lookup == 0
    assert operator.manifest().rows is None
    assert not operator.folder.rows.exists()


def test_the_switch_leaves_the_other_lines(operator):
    before = operator.folder.settings_file.read_text()
    operator.folder.switch_private_lookup(on=True)
    text = operator.folder.settings_file.read_text()
    assert text == before.replace("private_lookup = 0", "private_lookup = 1")
    operator.folder.switch_private_lookup(on=False)
    assert operator.folder.settings_file.read_text() == before
    operator.folder.settings_file.write_text("# mine\n[quota.default]\nburst = 5\n")
    operator.folder.switch_private_lookup(on=True)
    assert operator.folder.settings().private_lookup == 1
    assert operator.folder.settings().quotas["default"].burst == 5


def test_rows_of_all_partitions(looked):
    manifest = check_rows(looked)
    assert set(manifest.partitions) == {"1", "49"}
    assert manifest.rows.table(manifest.partitions).total == 128
    assert row_files_of(looked) == [f"{manifest.rows.level.sha256}.rows"]
    assert not check_publication(looked.folder, datetime.now(UTC))


def test_rows_of_a_large_table_are_in_blocks(in_blocks, looked):
    """Stated in a member of their own, which a client of an earlier version ignores."""
    manifest = check_rows(looked)
    assert manifest.rows.fold_bits == 2
    stated = json.loads(manifest.to_bytes())
    assert stated["folded_rows"]["fold"] == 2
    assert stated["folded_rows"]["labels"] is False
    assert not {"rows", "labelled_rows"} & stated.keys()
    assert not check_publication(looked.folder, datetime.now(UTC))
    [outcome] = looked.publish()
    assert outcome.changed is None


def test_rows_that_an_earlier_version_made_in_no_blocks(operator, monkeypatch):
    """They are served until the next publish, which states others of the same partitions."""
    monkeypatch.setattr(tables, "LEVEL_BITS", 4)  # or such small tables could be in no blocks at all
    operator.folder.switch_private_lookup(on=True)
    operator.add(*GERMANS, AMERICAN)
    operator.publish()
    old = check_rows(operator)
    assert "rows" in json.loads(old.to_bytes())
    assert not looked_up.lacks_rows(operator.folder, old)
    monkeypatch.setattr(tables, "_BLOCKS_BITS", 5)
    assert looked_up.lacks_rows(operator.folder, old)
    assert not check_publication(operator.folder, datetime.now(UTC))
    [outcome] = operator.publish()
    assert (outcome.edition, outcome.changed) == (2, ())
    new = check_rows(operator)
    assert new.partitions == old.partitions
    assert (old.rows.fold_bits, new.rows.fold_bits) == (0, 2)
    [outcome] = operator.publish()
    assert outcome.changed is None


def test_the_same_members_and_key_give_the_same_bytes(looked):
    before, manifest = published(looked), looked.manifest()
    [outcome] = looked.publish()
    assert outcome.changed is None
    assert looked.manifest() == manifest
    assert published(looked) == before


def test_switching_it_off_and_on_makes_editions_of_the_same_partitions(looked):
    first = looked.manifest()
    looked.folder.switch_private_lookup(on=False)
    assert looked_up.lacks_rows(looked.folder, first)
    [outcome] = looked.publish()
    off = looked.manifest()
    assert (outcome.edition, outcome.changed) == (2, ())
    assert off == replace(first, edition=2, previous=first.sha256(), rows=None)
    assert not looked_up.lacks_rows(looked.folder, off)
    # A client that is one edition behind still looks up in the first one.
    assert row_files_of(looked) == [f"{first.rows.level.sha256}.rows"]
    assert first.rows.level.sha256 in looked.data_files()

    looked.folder.switch_private_lookup(on=True)
    [outcome] = looked.publish()
    assert (outcome.edition, outcome.changed) == (3, ())
    assert check_rows(looked).rows == first.rows

    looked.folder.switch_private_lookup(on=False)
    for _ in range(3):
        looked.publish()
        Publisher(looked.folder, looked.registry, looked.keyring).publish(order=Order(Aim.ANOTHER))
    assert row_files_of(looked) == []
    assert first.rows.level.sha256 not in looked.data_files()


def test_an_edition_with_the_same_bases_makes_nothing(looked, monkeypatch):
    before = looked.manifest().rows
    monkeypatch.setattr(looked_up, "make_rows", None)
    [outcome] = Publisher(looked.folder, looked.registry, looked.keyring).publish(order=Order(Aim.ANOTHER))
    assert outcome.edition == 2
    assert looked.manifest().rows == before


def test_the_rows_of_two_editions_are_kept(looked):
    roots = [looked.manifest().rows.level.sha256]
    for new in range(1, 5):
        looked.add(GERMAN + 1000 + new)
        looked.publish()
        roots.insert(0, check_rows(looked).rows.level.sha256)
        assert row_files_of(looked) == sorted(f"{root}.rows" for root in roots[:2])
        assert set(roots[:3]) <= looked.data_files()
        assert not set(roots[3:]) & looked.data_files()
    kept = row_files.with_rows(looked.repository.history("people", 3))
    for manifest in kept:
        path = ensure_rows(looked.folder.rows, manifest, looked.folder.public)
        path.unlink()
        assert ensure_rows(looked.folder.rows, manifest, looked.folder.public).exists()


def test_expunging_leaves_nothing_of_who_was_removed(looked):
    """Neither the rows nor the level of an edition with a token of theirs."""
    old = looked.manifest().rows.level.sha256
    looked.registry.remove(numbers(GERMAN), "people")
    publisher = Publisher(looked.folder, looked.registry, looked.keyring)
    publisher.publish(expunge=True)
    new = check_rows(looked).rows.level.sha256
    assert new != old
    assert row_files_of(looked) == [f"{new}.rows"]
    assert old not in looked.data_files()


def test_a_level_that_is_lost_is_made_again(looked):
    manifest = looked.manifest()
    level = looked.folder.data / manifest.rows.level.sha256
    octets = level.read_bytes()
    for damage in (level.unlink, lambda: level.write_bytes(octets[:-1])):
        damage()
        [problem] = check_publication(looked.folder, datetime.now(UTC))
        assert "1 data files of people are missing" in problem
        assert looked_up.damaged_parts(looked.folder.data, manifest) == ["rows"]
        [outcome] = looked.publish()
        assert outcome.changed is None
        assert level.read_bytes() == octets
        assert looked.manifest() == manifest


def test_a_new_epoch_has_its_own_rows(looked):
    old = looked.manifest()
    looked.publish(new_epoch=True)
    new = check_rows(looked)
    assert (new.epoch, new.edition) == (2, 1)
    assert new.rows != old.rows
    assert row_files_of(looked) == sorted(f"{one.rows.level.sha256}.rows" for one in (old, new))


def rotate(operator, overlap):
    publisher = Publisher(operator.folder, operator.registry, operator.keyring)
    publisher.publish(order=Order(Aim.ROTATE, overlap))


def test_a_rotation_has_rows_of_the_epoch_in_force_until_it_ends(looked):
    before = looked.manifest()
    rotate(looked, 1)
    announced = check_rows(looked)
    assert announced.next is not None
    assert announced.rows == before.rows
    time.sleep(max(0, announced.next.until - time.time()) + 0.1)
    looked.add(GERMAN + 5000)
    looked.publish()
    # It began with what was announced, and went on with the new member.
    newest, begun, last = looked.repository.history("people", 3)
    assert [(one.epoch, one.edition) for one in (newest, begun, last)] == [(2, 2), (2, 1), (1, 2)]
    assert len({one.rows.level.sha256 for one in (newest, begun, last)}) == 3
    check_rows(looked)
    assert row_files_of(looked) == sorted(f"{one.rows.level.sha256}.rows" for one in (newest, begun))


def test_a_rotation_that_is_taken_back_keeps_the_rows(looked):
    before = looked.manifest()
    rotate(looked, 999_999)
    Publisher(looked.folder, looked.registry, looked.keyring).publish(order=Order(Aim.TAKE_BACK))
    after = check_rows(looked)
    assert (after.edition, after.next) == (3, None)
    assert after.rows == before.rows


def test_another_epoch_at_once_in_a_rotation(looked):
    rotate(looked, 999_999)
    looked.publish(new_epoch=True)
    after = check_rows(looked)
    assert (after.epoch, after.edition) == (3, 1)


def test_each_audience_has_its_own(looked):
    looked.add(*range(GERMAN, GERMAN + 40), audience="business")
    looked.publish()
    people, business = check_rows(looked), check_rows(looked, "business")
    assert people.rows != business.rows
    assert row_files_of(looked, "business") == [f"{business.rows.level.sha256}.rows"]
    assert people.edition == 1


def test_an_audience_without_members_has_none(operator):
    operator.folder.switch_private_lookup(on=True)
    operator.publish()
    assert operator.manifest().rows is None
    assert not operator.folder.rows.exists()
    assert not looked_up.lacks_rows(operator.folder, operator.manifest())


def test_partitions_that_have_no_table_stop_it_before_the_switch(looked, monkeypatch):
    """As a directory that was not made from VOPRF outputs."""
    before, files = looked.manifest(), published(looked)
    monkeypatch.setattr(row_building, "build_table", build_of_crowded)
    looked.add(GERMAN + 7777)
    with pytest.raises(
        OurError, match="people cannot have rows for private look-up: 300 values share"
    ) as raised:
        looked.publish()
    assert "--private-lookup no" in raised.value.hint
    assert looked.manifest() == before
    assert {name: data for name, data in published(looked).items() if name in files} == files
    monkeypatch.undo()
    looked.publish()
    check_rows(looked)


def build_of_crowded(path, *_):
    """What a publish meets if its tokens are no VOPRF outputs: 300 of them in one slot."""
    octets = np.zeros((300, 10), np.uint8)
    octets[:, 2:4] = np.arange(300, dtype=">u2").view(np.uint8).reshape(-1, 2)
    info = build(path.with_name("crowded"), [Tokens.from_bytes(octets)])
    with open_directory(path.with_name("crowded"), expect=info) as directory:
        return build_table(path, {"49": directory})
