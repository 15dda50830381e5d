"""Labels from the registry to a sidecar that only who has evaluated a number can read."""

import numpy as np
import pytest
from publishing_tools import InLine
from server_tools import AMERICAN, GERMAN, numbers

from contactsync.directory import open_directory
from contactsync.directory.sidecar import open_sidecar, places
from contactsync.directory.sidecar_delta import entries_through, read_sidecar_delta
from contactsync.labels import KEYED_BYTES, context, unseal
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.tokens import TOKEN_BYTES, Tokens
from contactsync.voprf.server import evaluate


def publisher(operator):
    return Publisher(operator.folder, operator.registry, operator.keyring)


def label(operator, labels):
    """Give members labels, by number; None takes one away."""
    for number, text in labels.items():
        operator.registry.label(numbers(number), [None if text is None else text.encode()])


def outputs_of(operator, *members):
    """The first octets of each number's output, uint8[n, 42]."""
    epoch = operator.manifest().epoch
    key = operator.keyring.key_pair("people", epoch)
    return evaluate(key, numbers(*members).identifiers())[:, :KEYED_BYTES]


def read(operator, name, *members):
    """What who has evaluated these numbers, ascending, reads in the sidecar of a partition."""
    manifest = operator.manifest()
    partition = manifest.partitions[name]
    outputs = outputs_of(operator, *members)
    data = operator.folder.data
    with (
        open_directory(data / partition.base.sha256, expect=partition.directory) as directory,
        open_sidecar(data / partition.labels.file.sha256, expect=partition.labels.info(partition)) as sidecar,
    ):
        there = places(directory, [], Tokens.from_bytes(outputs))
        assert (there >= 0).all()
        entries = sidecar.entries(there)
    keys = np.ascontiguousarray(outputs[:, TOKEN_BYTES:])
    return unseal(keys, entries, context("people", manifest.epoch))


def test_a_label_is_read_by_who_evaluates_the_number(operator):
    operator.add(GERMAN, GERMAN + 1, AMERICAN)
    label(operator, {GERMAN: "@anna:example.org"})
    (outcome,) = operator.publish()
    assert outcome.evaluated == 3
    partitions = operator.manifest().partitions
    assert partitions["1"].labels is None
    assert (partitions["49"].labels.edition, partitions["49"].labels.size) == (1, 32)
    assert read(operator, "49", GERMAN, GERMAN + 1) == [b"@anna:example.org", b""]
    assert set(operator.manifest().files()) == operator.data_files()


def test_no_file_tells_who_has_a_label(operator):
    """Entries of members without one look as those with one do; none is in plain text."""
    operator.add(*range(GERMAN, GERMAN + 50))
    label(operator, {GERMAN + 7: "@anna:example.org"})
    operator.publish()
    octets = b"".join(path.read_bytes() for path in operator.folder.data.iterdir())
    assert b"anna" not in octets
    partition = operator.manifest().partitions["49"]
    with open_sidecar(
        operator.folder.data / partition.labels.file.sha256, expect=partition.labels.info(partition)
    ) as sidecar:
        entries = sidecar.entries(np.arange(50))
    assert len({row.tobytes() for row in entries}) == 50


def test_no_label_and_no_key_is_in_a_file_of_a_job(operator):
    """The spool has sealed labels: not the text, and not the keys that open them."""
    operator.add(GERMAN)
    label(operator, {GERMAN: "@anna:example.org"})
    executor, seen = InLine(), []

    def submit(function, job):
        if hasattr(job, "spool"):
            with open(job.spool, "rb") as file:  # noqa: PTH123
                seen.append(file.read())
        return InLine.submit(executor, function, job)

    executor.submit, plain = submit, executor
    operator.publish(executor=plain)
    (spool,) = seen
    key = outputs_of(operator, GERMAN)[0, TOKEN_BYTES:].tobytes()
    assert b"anna" not in spool
    assert key not in spool
    assert len(spool) == TOKEN_BYTES + 16 + 32


def test_the_first_label_of_a_partition_evaluates_its_members_again(operator):
    operator.add(GERMAN, GERMAN + 1, AMERICAN)
    operator.publish()
    label(operator, {GERMAN: "anna"})
    (outcome,) = operator.publish()
    assert outcome.evaluated == 2
    assert outcome.changed == ("49",)
    before, partition = operator.manifest(), operator.manifest().partitions["49"]
    assert (partition.edition, partition.labels.edition, partition.labels.size) == (1, 2, 16)
    assert before.partitions["1"].labels is None
    label(operator, {GERMAN: "bert"})
    (outcome,) = operator.publish()
    assert outcome.evaluated == 0


def test_a_changed_label_is_a_delta_and_leaves_the_base_alone(operator):
    operator.add(*range(GERMAN, GERMAN + 500))
    label(operator, {GERMAN + i: f"user{i}" for i in range(500)})
    operator.publish()
    first = operator.manifest().partitions["49"]
    label(operator, {GERMAN + 3: "renamed", GERMAN + 4: None})
    operator.publish()
    second = operator.manifest().partitions["49"]
    assert (second.base, second.edition, second.deltas) == (first.base, 1, ())
    (one,) = second.labels.deltas
    assert (one.from_edition, one.to_edition) == (1, 2)
    assert one.file.length < second.labels.file.length / 20
    data = operator.folder.data
    chain = [read_sidecar_delta(data / one.file.sha256, expect=one.file)]
    outputs = outputs_of(operator, GERMAN + 3, GERMAN + 4, GERMAN + 5)
    with (
        open_directory(data / second.base.sha256, expect=second.directory) as directory,
        open_sidecar(data / first.labels.file.sha256, expect=first.labels.info(first)) as old,
        open_sidecar(data / second.labels.file.sha256, expect=second.labels.info(second)) as new,
    ):
        there = places(directory, [], Tokens.from_bytes(outputs))
        through = entries_through(old, chain, there)
        assert np.array_equal(through, new.entries(there))
    keys = np.ascontiguousarray(outputs[:, TOKEN_BYTES:])
    assert unseal(keys, through, context("people", 1)) == [b"renamed", b"", b"user5"]


def test_members_who_join_and_leave_move_the_entries_of_others(operator):
    operator.add(*range(GERMAN, GERMAN + 300))
    label(operator, {GERMAN + i: f"user{i}" for i in range(300)})
    operator.publish()
    operator.add(*range(GERMAN + 300, GERMAN + 320))
    operator.registry.remove(numbers(*range(GERMAN, GERMAN + 20)))
    (outcome,) = operator.publish()
    assert outcome.evaluated == 20
    partition = operator.manifest().partitions["49"]
    assert len(partition.labels.deltas) == len(partition.deltas) == 1
    everybody = range(GERMAN + 20, GERMAN + 320)
    expected = [f"user{i}".encode() if i < 300 else b"" for i in range(20, 320)]
    assert read(operator, "49", *everybody) == expected


def test_a_longer_label_pads_all_of_its_partition_and_none_shrinks_again(operator):
    operator.add(GERMAN, GERMAN + 1)
    label(operator, {GERMAN: "anna"})
    operator.publish()
    label(operator, {GERMAN + 1: "b" * 40})
    operator.publish()
    labels = operator.manifest().partitions["49"].labels
    assert (labels.size, labels.deltas) == (48, ())
    label(operator, {GERMAN + 1: "b"})
    operator.publish()
    assert operator.manifest().partitions["49"].labels.size == 48
    assert read(operator, "49", GERMAN, GERMAN + 1) == [b"anna", b"b"]


def test_when_nobody_has_a_label_any_more_there_is_no_sidecar(operator):
    operator.add(GERMAN, GERMAN + 1)
    label(operator, {GERMAN: "anna"})
    operator.publish()
    label(operator, {GERMAN: None})
    operator.publish()
    assert operator.manifest().partitions["49"].labels is None
    assert set(operator.manifest().files()) <= operator.data_files()


def test_what_is_built_from_nothing_is_the_same(operator, tmp_path):
    """Labels of the same members give the same octets, whatever came before."""
    operator.add(*range(GERMAN, GERMAN + 100))
    label(operator, {GERMAN + i: f"user{i}" for i in range(50)})
    operator.publish()
    first = operator.manifest().partitions["49"].labels.file
    label(operator, {GERMAN + 1: "other"})
    operator.publish()
    label(operator, {GERMAN + 1: "user1"})
    operator.publish()
    third = operator.manifest().partitions["49"].labels
    assert third.file == first
    (operator.folder.data / first.sha256).unlink()
    operator.registry.depart()
    label(operator, {GERMAN + 99: "x"})
    label(operator, {GERMAN + 99: None})
    operator.publish()
    assert operator.manifest().partitions["49"].labels.file == first


def test_expunged_labels_begin_a_new_chain(operator):
    operator.add(*range(GERMAN, GERMAN + 200))
    label(operator, {GERMAN + i: f"user{i}" for i in range(200)})
    operator.publish()
    label(operator, {GERMAN + 5: "renamed"})
    operator.publish()
    old = operator.manifest().partitions["49"].labels
    assert old.deltas
    operator.registry.remove(numbers(GERMAN + 9))
    publisher(operator).publish(expunge=True)
    labels = operator.manifest().partitions["49"].labels
    assert labels.deltas == ()
    assert old.file.sha256 not in operator.data_files()
    assert operator.data_files() == set(operator.manifest().files())


def test_a_rotation_carries_labels_into_the_next_epoch(operator):
    operator.add(GERMAN, GERMAN + 1)
    label(operator, {GERMAN: "anna"})
    operator.publish()
    before = operator.manifest().partitions["49"].labels
    publisher(operator).publish(order=Order(Aim.ROTATE, 0))
    ahead = operator.manifest().next.partitions["49"].labels
    assert ahead.file != before.file
    operator.publish()
    manifest = operator.manifest()
    assert manifest.epoch == 2
    assert manifest.partitions["49"].labels.edition == 1
    assert manifest.partitions["49"].labels.file == ahead.file
    assert read(operator, "49", GERMAN, GERMAN + 1) == [b"anna", b""]


def test_a_lost_sidecar_is_built_again(operator):
    operator.add(GERMAN, GERMAN + 1)
    label(operator, {GERMAN: "anna"})
    operator.publish()
    labels = operator.manifest().partitions["49"].labels
    (operator.folder.data / labels.file.sha256).unlink()
    operator.publish()
    assert operator.manifest().partitions["49"].labels.file == labels.file
    assert labels.file.sha256 in operator.data_files()


@pytest.mark.parametrize("members", [1, 3])
def test_a_small_partition_has_a_sidecar_too(operator, members):
    operator.add(*range(GERMAN, GERMAN + members))
    label(operator, {GERMAN: "anna"})
    operator.publish()
    assert read(operator, "49", GERMAN) == [b"anna"]
