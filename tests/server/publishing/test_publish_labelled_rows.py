"""Publishing rows with labels: stated, made anew when a label changes, kept if not, and taken out."""

import hashlib
import json
from contextlib import ExitStack

import numpy as np
import pytest
from server_tools import AMERICAN, GERMAN, numbers

from contactsync.directory import open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.labels import KEYED_BYTES, context, seal
from contactsync.lookup.table_file import build_table, open_table
from contactsync.publication.manifest import Manifest
from contactsync.server.publishing import looked_up
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.row_files import ensure_rows, row_file
from contactsync.tokens import TOKEN_BYTES
from contactsync.voprf.server import evaluate

MEMBERS = 150
SIZE = 32
LABELS = {GERMAN + i: f"@somebody{i}:example.org" for i in range(100)}  # the others have none


def label(operator, labels):
    for number, text in labels.items():
        operator.registry.label(numbers(number), [None if text is None else text.encode()])


def publish(operator, order=None, **more):
    return Publisher(operator.folder, operator.registry, operator.keyring).publish(order=order, **more)


@pytest.fixture
def labelled(operator):
    """Members of two partitions, one with labels; rows were switched on and published."""
    operator.folder.switch_private_lookup(on=True)
    operator.add(*range(GERMAN, GERMAN + MEMBERS), AMERICAN)
    label(operator, LABELS)
    operator.publish()
    return operator


def entry_of(operator, number, text):
    """Token and sealed label of a member, from the key and the text alone."""
    manifest = operator.manifest()
    key = operator.keyring.key_pair("people", manifest.epoch)
    output = evaluate(key, numbers(number).identifiers())[:, :KEYED_BYTES]
    keys = np.ascontiguousarray(output[:, TOKEN_BYTES:])
    (entry,) = seal(keys, [text.encode()], SIZE, context("people", manifest.epoch))
    return output[0, :TOKEN_BYTES].tobytes(), entry.tobytes()


def check_rows(operator, texts):
    """What is stated is what bases and sidecars give; each of the `texts` is in the row of its member."""
    manifest, data = operator.manifest(), operator.folder.data
    members = json.loads(manifest.to_bytes())
    assert ("labelled_rows" in members, "rows" in members) == (True, False)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    level = (data / manifest.rows.level.sha256).read_bytes()
    assert hashlib.sha256(level).digest() == manifest.rows.root
    compared = operator.folder.path / "compared"
    with ExitStack() as stack:
        bases, sidecars = {}, {}
        for name, one in manifest.partitions.items():
            bases[name] = stack.enter_context(open_directory(data / one.base.sha256, expect=one.directory))
            if one.labels is not None:
                sidecar = open_sidecar(data / one.labels.file.sha256, expect=one.labels.info(one))
                sidecars[name] = stack.enter_context(sidecar)
        assert set(sidecars) == {"49"}
        made = build_table(compared, bases, sidecars)
    assert (made.level, made.table.shape.most) == (level, manifest.rows.most)
    table = manifest.rows.table(manifest.partitions)
    assert (table.heading, table.width, dict(table.first)) == (
        made.table.heading,
        made.table.width,
        dict(made.table.first),
    )
    path = row_file(operator.folder.rows, "people", manifest.rows.root)
    records = open_table(path, table, manifest.rows.root)
    assert path.read_bytes() == compared.read_bytes()
    compared.unlink()
    row_bits = manifest.partitions["49"].slot_bits - 6
    for number, text in texts.items():
        token, entry = entry_of(operator, number, text)
        row = int.from_bytes(token[:8], "big") >> (64 - row_bits)
        assert entry in records[table.first["49"] + row].tobytes(), text
    return manifest


def rows_of(operator):
    return sorted(path.name for path in (operator.folder.rows / "people").iterdir())


def expected_rows(*manifests):
    return sorted(f"{one.rows.level.sha256}.rows" for one in manifests)


def test_rows_have_the_labels_of_the_partitions_with_some(labelled):
    without = {GERMAN + i: "" for i in range(100, MEMBERS)}
    manifest = check_rows(labelled, LABELS | without)
    assert manifest.rows.labelled
    assert manifest.partitions["1"].labels is None
    assert rows_of(labelled) == expected_rows(manifest)
    assert set(manifest.files()) == labelled.data_files()


def test_a_label_alone_makes_other_rows(labelled):
    first = labelled.manifest()
    label(labelled, {GERMAN + 3: "@renamed:example.org"})
    labelled.publish()
    second = check_rows(labelled, LABELS | {GERMAN + 3: "@renamed:example.org"})
    assert second.edition == 2
    assert second.partitions["49"].base == first.partitions["49"].base
    assert second.rows != first.rows
    assert rows_of(labelled) == expected_rows(first, second)
    _, was = entry_of(labelled, GERMAN + 3, LABELS[GERMAN + 3])
    old, new = (
        row_file(labelled.folder.rows, "people", one.rows.root).read_bytes() for one in (first, second)
    )
    assert (was in old, was in new) == (True, False)
    # A server that is one edition behind can still make those of the first.
    for manifest in (first, second):
        path = ensure_rows(labelled.folder.rows, manifest, labelled.folder.public)
        octets = path.read_bytes()
        path.unlink()
        assert ensure_rows(labelled.folder.rows, manifest, labelled.folder.public).read_bytes() == octets


def test_the_first_label_and_the_last_change_what_is_stated(operator):
    operator.folder.switch_private_lookup(on=True)
    operator.add(*range(GERMAN, GERMAN + 20), AMERICAN)
    operator.publish()
    before = operator.manifest()
    assert not before.rows.labelled
    label(operator, {GERMAN: LABELS[GERMAN]})
    operator.publish()
    check_rows(operator, {GERMAN: LABELS[GERMAN], GERMAN + 1: ""})
    label(operator, {GERMAN: None})
    operator.publish()
    after = operator.manifest()
    assert after.partitions["49"].labels is None
    assert (after.edition, after.rows) == (3, before.rows)


def test_what_has_not_changed_is_not_made_again(labelled, monkeypatch):
    def fail(*_arguments, **_named):
        pytest.fail("rows were made again")

    before = labelled.manifest()
    monkeypatch.setattr(looked_up, "make_rows", fail)
    [outcome] = publish(labelled)
    assert outcome.changed is None
    assert labelled.manifest() == before
    [outcome] = publish(labelled, Order(Aim.ANOTHER))
    assert outcome.edition == 2
    assert check_rows(labelled, LABELS).rows == before.rows


@pytest.mark.parametrize("lost", ["sidecar", "level", "rows", "all"])
def test_what_is_lost_is_made_again(labelled, lost):
    before = labelled.manifest()
    files = {
        "sidecar": labelled.folder.data / before.partitions["49"].labels.file.sha256,
        "level": labelled.folder.data / before.rows.level.sha256,
        "rows": row_file(labelled.folder.rows, "people", before.rows.root),
    }
    for name, path in files.items():
        if lost in (name, "all"):
            path.unlink()
    publish(labelled)
    assert check_rows(labelled, LABELS).rows == before.rows
    assert all(path.exists() for path in files.values())


def test_rows_that_an_earlier_version_made_without_labels(operator, monkeypatch):
    """They stand beside a partition with labels, until the next publish."""
    operator.folder.switch_private_lookup(on=True)
    operator.add(*range(GERMAN, GERMAN + MEMBERS), AMERICAN)
    label(operator, LABELS)
    with monkeypatch.context() as earlier:
        earlier.setattr(Manifest, "has_labels", False)
        operator.publish()
    old = operator.manifest()
    assert old.partitions["49"].labels is not None
    assert "rows" in json.loads(old.to_bytes())
    assert not old.rows.labelled
    [outcome] = operator.publish()
    assert (outcome.edition, outcome.changed) == (2, ())
    new = check_rows(operator, LABELS)
    assert new.partitions == old.partitions
    assert rows_of(operator) == expected_rows(old, new)
    [outcome] = operator.publish()
    assert outcome.changed is None


def test_a_rotation_seals_them_for_the_next_epoch(labelled):
    before = check_rows(labelled, LABELS)
    publish(labelled, Order(Aim.ROTATE, 0))
    labelled.publish()
    after = check_rows(labelled, LABELS)
    assert (before.epoch, after.epoch) == (1, 2)
    assert after.rows.root != before.rows.root


def files_with(operator, octets):
    """All files of the data folder that hold these octets."""
    paths = operator.folder.path.rglob("*")
    return {path.name for path in paths if path.is_file() and octets in path.read_bytes()}


@pytest.mark.parametrize("others", [True, False])
def test_expunging_leaves_nothing_of_a_label_that_was_taken_back(labelled, others):
    """Neither if others of its partition still have some, nor if it was the last."""
    if not others:
        label(labelled, dict.fromkeys(list(LABELS)[1:]))
        labelled.publish()
    first = labelled.manifest()
    _, entry = entry_of(labelled, GERMAN, LABELS[GERMAN])
    assert len(entry) == 48
    label(labelled, {GERMAN + 120: "@new:example.org" if others else None, GERMAN: None})
    labelled.publish()
    second = labelled.manifest()
    named = {
        first.partitions["49"].labels.file.sha256,
        f"{first.rows.level.sha256}.rows",
    }
    assert named <= files_with(labelled, entry), "a plain publish leaves it in older files"

    publish(labelled, expunge=True)
    assert files_with(labelled, entry) == set()
    after = labelled.manifest()
    assert after.rows.labelled == others
    assert after.edition >= second.edition
    assert rows_of(labelled) == expected_rows(after)
    assert labelled.data_files() == set(after.files())
    assert not {first.rows.level.sha256, first.partitions["49"].labels.file.sha256} & labelled.data_files()
    if others:
        check_rows(labelled, {GERMAN: "", GERMAN + 1: LABELS[GERMAN + 1], GERMAN + 120: "@new:example.org"})
