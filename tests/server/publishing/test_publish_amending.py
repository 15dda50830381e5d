"""What is published is the same, byte for byte, whether it is made of what changed or of all tokens."""

import errno
import os
import random
from pathlib import Path

import numpy as np
import pytest
from publishing_tools import InLine, copy_of, published, read_all_tokens
from server_tools import AMERICAN, GERMAN, Operator

from contactsync.directory import bounds
from contactsync.foundation import durable
from contactsync.server.publishing.amending import AmendJob
from contactsync.server.publishing.job import BuildJob
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.storage import token_log
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Origin

NUMBERS = [*range(GERMAN, GERMAN + 400), *range(AMERICAN, AMERICAN + 60)]


def members(*numbers):
    return Members("tel", np.array(sorted(numbers), np.uint64))


def publisher_of(operator, executor=None):
    return Publisher(operator.folder, operator.registry, operator.keyring, executor=executor)


def built(operator, **how):
    """Publish, and how each partition was made: (amended, of all tokens), by name."""
    executor = InLine()
    publisher_of(operator, executor).publish(**how)
    return tuple(
        sorted({job.partition for job in executor.jobs if isinstance(job, kind)})
        for kind in (AmendJob, BuildJob)
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Else few members would be read at once where somebody left."""
    monkeypatch.setattr(token_log, "OPENED", 0)


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """An operator, and a copy of it that reads all tokens for each publish; a partition has a screen."""
    monkeypatch.setattr(bounds, "LEAST_SCREENED", 100)
    operator = Operator(tmp_path / "one")
    operator.add(*NUMBERS[::2])
    operator.add(*NUMBERS[:20:2], audience="business")  # so that both have the same keys
    operator.publish()
    twin = copy_of(operator, tmp_path / "other")
    yield operator, twin
    operator.close()
    twin.close()


@pytest.fixture
def single(operator):
    """An operator who has published four hundred Germans and sixty Americans."""
    operator.add(*NUMBERS)
    operator.publish()
    return operator


def change(rng, store):
    """Some random changes; the same for the same state of `rng`."""
    for _ in range(rng.randrange(1, 6)):
        some = members(*rng.sample(NUMBERS, rng.randrange(1, 9)))
        what = rng.choice(("add", "add", "remove", "opt in", "object", "back"))
        if what == "add":
            store.add(some)
        elif what == "remove":
            store.remove(some)
        elif what == "back":
            store.remove(some)
            store.add(some)
        else:
            audience = "business" if what == "opt in" else "people"
            store.consent(some, audience, granted=what == "opt in", origin=Origin("app"))


@pytest.mark.parametrize("seed", range(3))
def test_the_bytes_are_those_of_all_tokens(twins, seed):
    rngs, kinds = [random.Random(seed), random.Random(seed)], ([], [])
    for turn in range(8):
        for one, rng, forgets, made in zip(twins, rngs, (False, True), kinds, strict=True):
            change(rng, one.registry)
            if forgets:
                read_all_tokens(one)
            made.append(built(one))
        assert published(twins[0]) == published(twins[1]), turn
    assert sum(len(amended) for amended, _ in kinds[0]) > 8, "or this would compare a build with itself"
    assert not any(amended for amended, _ in kinds[1])
    assert twins[0].manifest().partitions["49"].screen is not None


def test_it_is_so_in_an_epoch_that_is_only_announced(single):
    publisher_of(single).publish(order=Order(Aim.ROTATE, 999_999))
    single.add(GERMAN + 500)
    single.registry.remove(members(GERMAN))
    assert built(single) == (["49"], [])
    ahead = single.manifest().ahead()
    assert (single.manifest().count, ahead.count) == (460, 460)
    read_all_tokens(single)
    single.add(GERMAN + 501)
    assert built(single) == ([], ["49"])


def test_who_leaves_is_taken_out_without_reading_who_stays(single):
    """Again and again, with new keys for each edition."""
    for turn in range(3):
        single.registry.remove(members(GERMAN + turn))
        single.registry.remove(members(AMERICAN + turn))
        single.add(AMERICAN + 100 + turn)
        assert built(single) == (["1", "49"], [])
        assert (single.manifest().partitions["1"].count, single.manifest().count) == (60, 459 - turn)
        assert len(single.keyring.departed_keys()) == 1
    single.add(GERMAN)
    assert built(single) == (["49"], [])


def test_who_leaves_and_comes_back_makes_no_edition(single):
    single.registry.remove(members(GERMAN))
    single.registry.add(members(GERMAN))
    assert built(single) == (["49"], [])
    assert single.manifest().edition == 1
    assert built(single) == ([], []), "and it is settled"


def test_an_import_of_who_is_there_makes_no_edition(single):
    single.registry._touch("49", single.registry.serial())
    assert built(single) == (["49"], [])
    assert single.manifest().edition == 1


@pytest.mark.parametrize("what", ["damaged", "gone"])
def test_a_base_that_is_not_what_it_was_is_made_of_all_tokens(single, what):
    base = single.folder.data / single.manifest().partitions["49"].base.sha256
    octets = bytearray(base.read_bytes())
    if what == "damaged":
        octets[-100] ^= 1
        base.write_bytes(octets)
    else:
        base.unlink()
    single.add(GERMAN + 500)
    assert built(single) == (["49"] if what == "damaged" else [], ["49"])
    assert (single.manifest().count, single.manifest().partitions["49"].deltas) == (461, ())


def test_who_may_write_data_files_gets_nothing_signed(single):
    """A member more, or one less, in a base of the same length."""
    manifest = single.manifest()
    base = single.folder.data / manifest.partitions["49"].base.sha256
    before = base.read_bytes()
    forged = bytearray(before)
    forged[-90] ^= 1  # another remainder
    base.write_bytes(forged)
    single.add(GERMAN + 500)
    assert built(single) == (["49"], ["49"])
    single.registry.remove(members(GERMAN + 500))
    base.write_bytes(before)
    assert built(single) == (["49"], [])
    assert single.manifest().partitions["49"].base.sha256 == base.name


def test_an_expunged_partition_begins_anew(single):
    single.registry.remove(members(GERMAN))
    assert built(single, expunge=True) == ([], ["49"])
    assert single.manifest().partitions["49"].deltas == ()
    single.add(GERMAN)
    assert built(single) == (["49"], [])


def test_other_widths_and_labels_read_all_tokens(single):
    single.registry.label(members(GERMAN), [b"a label"])
    assert built(single) == ([], ["49"])
    single.add(AMERICAN + 100)
    assert built(single) == (["1"], [])
    settings = single.folder.path / "server.toml"
    settings.write_text(settings.read_text().replace("remainder_bits = 32", "remainder_bits = 40"))
    assert built(single) == ([], ["1", "49"])
    single.add(AMERICAN + 101)
    assert built(single) == (["1"], [])


def test_a_value_that_two_members_have_is_read_of_all_tokens(single, monkeypatch):
    """Two tokens may be one value of the directory: who leaves must not take the other along."""
    (record,) = single.registry.show(members(AMERICAN))
    twin = np.frombuffer(record.tokens["people", 1], np.uint8).reshape(1, -1).copy()
    twin[0, 9] ^= 1  # beyond the bits that a directory keeps
    single.add(AMERICAN + 100)
    real = type(single.registry).store_tokens
    monkeypatch.setattr(
        type(single.registry),
        "store_tokens",
        lambda self, audience, epoch, who, rows: real(
            self, audience, epoch, who, twin if who.keys.tolist() == [AMERICAN + 100] else rows
        ),
    )
    assert built(single) == (["1"], ["1"]), "the job refuses, and all are read"
    assert single.manifest().partitions["1"].count == 60, "one value for two"
    monkeypatch.undo()
    single.registry.remove(members(AMERICAN))
    assert built(single) == ([], ["1"]), "its base was noted for nobody"
    assert single.manifest().partitions["1"].count == 60, "the other one is still there"
    single.add(AMERICAN + 101)
    assert built(single) == (["1"], [])
    assert single.manifest().partitions["1"].count == 61


def test_more_members_that_call_for_other_slots_are_read_of_all_tokens(operator, monkeypatch):
    operator.add(*range(GERMAN, GERMAN + 5792))
    operator.publish()
    assert operator.manifest().partitions["49"].slot_bits == 12
    operator.add(GERMAN + 5792)
    assert built(operator) == (["49"], ["49"])
    assert operator.manifest().partitions["49"].slot_bits == 13
    operator.add(GERMAN + 5793)
    assert built(operator) == (["49"], [])


def test_everybody_leaves(single):
    single.registry.remove(members(*NUMBERS[400:]))
    assert built(single) == ([], ["1"])
    assert list(single.manifest().partitions) == ["49"]
    assert {row[2] for row in single.registry._bases()} == {"49"}


def test_many_who_left_one_by_one_are_not_opened_one_by_one(single, monkeypatch):
    """To read 400 tokens takes less time than to open what seven removals have sealed."""
    monkeypatch.undo()
    for number in range(GERMAN, GERMAN + 6):
        single.registry.remove(members(number))
    assert built(single) == (["49"], [])
    for number in range(GERMAN + 6, GERMAN + 13):
        single.registry.remove(members(number))
    assert built(single) == ([], ["49"])


def test_a_publisher_that_may_not_write_keys_publishes(single, monkeypatch):
    real = durable.write

    def write(path, *rest, **how):
        if path.parent == single.folder.keys:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        real(path, *rest, **how)

    monkeypatch.setattr(durable, "write", write)
    single.add(GERMAN + 500)
    assert built(single) == (["49"], [])
    assert single.registry.sealed_to() == set()
    single.registry.remove(members(GERMAN))
    assert built(single) == ([], ["49"])
    assert single.manifest().count == 460


def test_after_a_restore_all_tokens_are_read(single):
    """A copy of the registry without the keys for who left: what a backup has."""
    single.registry.remove(members(GERMAN))
    for path in single.folder.keys.glob("departed-*"):
        path.unlink()
    assert built(single) == ([], ["49"])
    single.registry.remove(members(GERMAN + 1))
    assert built(single) == (["49"], [])


def test_a_publish_that_was_prepared_and_never_signed_changes_nothing(single):
    """What it noted are bases that nobody is led to."""
    single.add(GERMAN + 500)
    publisher_of(single).publish(elsewhere=lambda *_of: None)
    single.add(GERMAN + 501)
    assert built(single) == (["49"], [])
    assert single.manifest().partitions["49"].count == 402
    assert len(single.registry._bases()) == 2


def test_no_token_of_who_left_is_in_the_registry(single):
    """Before the next publish, whether they were published or only joined: who has the files sees none."""
    single.add(GERMAN + 500)
    publisher_of(single).publish(elsewhere=lambda *_of: None)
    leaving = members(GERMAN, GERMAN + 500)
    tokens = [token for record in single.registry.show(leaving) for token in record.tokens.values()]
    files = [single.folder.registry, single.folder.registry.with_name("registry.sqlite-wal")]
    assert all(any(token in path.read_bytes() for path in files if path.exists()) for token in tokens)
    single.registry.remove(leaving)
    assert single.registry.erase() == ""
    assert not any(token in path.read_bytes() for token in tokens for path in files if path.exists())


def test_what_is_spooled_are_tokens_alone(single):
    seen = []

    class Looking(InLine):
        def submit(self, function, /, job):
            if isinstance(job, AmendJob):
                seen.append(Path(job.spool).read_bytes())
            return super().submit(function, job)

    (left,) = single.registry.show(members(GERMAN))
    single.registry.remove(members(GERMAN))
    single.add(GERMAN + 500)
    single.publish(executor=Looking())
    (joined,) = single.registry.show(members(GERMAN + 500))
    assert seen == [joined.tokens["people", 1] + left.tokens["people", 1]]
