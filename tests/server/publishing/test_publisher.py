"""From the registry to a published edition, on a real registry, keyring and repository."""

import contextlib
import errno
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from publishing_tools import InLine
from server_tools import AMERICAN, GERMAN, FolderFetcher, Operator

from contactsync.directory import DirectoryInfo, bounds, match, open_directory
from contactsync.directory.delta import read_delta
from contactsync.directory.screen import open_screen
from contactsync.foundation.errors import OurError
from contactsync.publication.history import MANIFESTS_KEPT, Position
from contactsync.publication.manifest import UnusablePartition
from contactsync.publication.tuf.follower import Follower
from contactsync.server.publishing import job, publisher, reading
from contactsync.server.settings import EDITIONS_SERVED, Busy, DataFolder
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate


def info_of(partition):
    return DirectoryInfo(
        partition.count,
        partition.slot_bits,
        partition.remainder_bits,
        partition.top_sha256,
        partition.base,
    )


def found(operator, partition, values, audience="people"):
    """Which of these numbers the published directory of a partition matches."""
    key = operator.keyring.key_pair(audience, operator.manifest(audience).epoch)
    tokens = Tokens.from_outputs(evaluate(key, values.identifiers()))
    path = operator.folder.data / partition.base.sha256
    with open_directory(path, expect=info_of(partition)) as directory:
        return match(tokens, directory).tolist()


def test_first_publish(operator, numbers):
    operator.add(GERMAN, GERMAN + 1, AMERICAN)
    (outcome,) = operator.publish()
    manifest = operator.manifest()
    assert (manifest.audience, manifest.epoch, manifest.edition, manifest.previous) == ("people", 1, 1, None)
    assert {code: p.count for code, p in manifest.partitions.items()} == {"1": 1, "49": 2}
    assert (outcome.evaluated, outcome.members, outcome.changed) == (3, 3, ("1", "49"))
    values = numbers(GERMAN, GERMAN + 1, GERMAN + 2, AMERICAN)
    assert found(operator, manifest.partitions["49"], values) == [False, True, True, False]
    assert found(operator, manifest.partitions["1"], values) == [True, False, False, False]
    assert set(manifest.files()) == operator.data_files()


def test_only_what_changed_is_evaluated_and_built(operator):
    operator.add(GERMAN, AMERICAN)
    operator.publish()
    first = operator.manifest()
    operator.add(GERMAN + 1)
    (outcome,) = operator.publish()
    second = operator.manifest()
    assert (outcome.evaluated, outcome.changed) == (1, ("49",))
    assert (second.edition, second.previous) == (2, first.sha256())
    assert second.partitions["1"] == first.partitions["1"]
    assert (second.partitions["49"].edition, second.partitions["49"].count) == (2, 2)
    operator.registry.remove(operator.registry.unevaluated("people", 9, "1", None, 10))
    (outcome,) = operator.publish()
    assert (outcome.evaluated, outcome.changed) == (0, ("1",))
    assert list(operator.manifest().partitions) == ["49"]


def test_nothing_changed(operator):
    operator.add(GERMAN)
    operator.publish()
    manifest, stamp = operator.manifest(), operator.repository.stamp()
    (outcome,) = operator.publish()
    assert outcome.changed is None
    assert operator.manifest() == manifest
    assert operator.repository.stamp() != stamp, "the metadata is signed anew"
    operator.add(GERMAN + 1)
    operator.registry.remove(operator.registry.unevaluated("people", 1, "49", None, 9))
    (outcome,) = operator.publish()
    assert outcome.changed is None, "touched, but the content is the same"
    assert operator.manifest() == manifest


def test_nobody(operator):
    operator.publish()
    assert operator.manifest().partitions == {}
    assert operator.manifest("business") is None
    operator.add(GERMAN)
    operator.publish()
    operator.registry.remove(operator.registry.unevaluated("people", 9, "49", None, 9))
    operator.publish()
    assert operator.manifest().partitions == {}
    assert operator.manifest().edition == 3


def test_audiences_have_their_own_key_and_members(operator, numbers):
    operator.add(GERMAN, GERMAN + 1)
    operator.add(GERMAN + 1, audience="business")
    operator.publish()
    people, business = operator.manifest(), operator.manifest("business")
    assert people.public_key != business.public_key
    assert people.count, business.count == (2, 1)
    values = numbers(GERMAN, GERMAN + 1)
    assert found(operator, business.partitions["49"], values, "business") == [False, True]
    operator.add(GERMAN + 2)
    operator.publish()
    assert operator.manifest("business") == business


def test_new_epoch(operator, numbers):
    operator.add(GERMAN, AMERICAN)
    operator.publish()
    first = operator.manifest()
    (outcome,) = operator.publish(new_epoch=True)
    second = operator.manifest()
    assert (second.epoch, second.edition, second.previous) == (2, 1, first.sha256())
    assert second.public_key != first.public_key
    assert outcome.evaluated == 2
    bases = [{p.base.sha256 for p in manifest.partitions.values()} for manifest in (first, second)]
    assert not bases[0] & bases[1]
    assert found(operator, second.partitions["49"], numbers(GERMAN)) == [True]
    assert not operator.keyring.has_seed("people", 1), "the old key could open archived directories"
    assert list(operator.registry.tokens("people", 1, "49")) == []
    assert set(first.files()) <= operator.data_files(), "a client may be downloading"


def test_a_registry_from_elsewhere_brings_no_tokens_of_another_key(operator, tmp_path, numbers):
    operator.add(GERMAN)
    operator.publish()
    other = Operator(tmp_path / "other")
    other.registry.close()
    operator.registry.close()
    shutil.copy(operator.folder.registry, other.folder.registry)
    for one in (operator, other):
        one.registry = type(one.registry)(one.folder.registry)
    (outcome,) = other.publish()
    assert outcome.evaluated == 1
    assert found(other, other.manifest().partitions["49"], numbers(GERMAN)) == [True]
    other.close()


def test_data_files_go_when_they_have_been_out_for_two_editions(operator):
    operator.add(GERMAN)
    operator.publish()
    first = set(operator.manifest().files())
    for edition, expected in ((2, True), (3, True), (4, False)):
        operator.add(GERMAN + edition)
        operator.publish()
        assert (first <= operator.data_files()) is expected
    kept = [manifest.edition for manifest in operator.repository.history("people", 99)]
    assert kept == [4, 3, 2, 1]


@pytest.mark.slow
def test_manifests_are_kept_as_long_as_a_client_may_walk_back_to_them(operator, tmp_path):
    """Across epochs, and also for a client that began before the last two publishes."""
    operator.add(AMERICAN)
    operator.publish()
    root = operator.repository.root_bytes()
    manifests, clients = [operator.manifest()], []
    for number in range(1, MANIFESTS_KEPT + 8):
        clients.append(
            Follower(tmp_path / f"{number}", "http://x", FolderFetcher(operator.folder.public), root)
        )
        assert clients[-1].manifest("people") == manifests[-1]
        operator.add(GERMAN + number)
        operator.publish(new_epoch=number in {20, 37})
        manifests.append(operator.manifest())
    kept = {path.name.partition(".")[0] for path in (operator.folder.public / "targets").iterdir()}
    most = MANIFESTS_KEPT + EDITIONS_SERVED - 1
    assert kept == {manifest.sha256() for manifest in manifests[-most:]}
    for number, manifest in enumerate(manifests[:-1], 1):
        one = Follower(tmp_path / f"{number}", "http://x", FolderFetcher(operator.folder.public), root)
        assert one.manifest("people") == manifests[-1]
        near = len(manifests) - number <= MANIFESTS_KEPT
        gap = one.unchecked("people")
        assert near == (gap is None)
        assert near or gap.since == Position(manifest.epoch, manifest.edition)


def test_same_members_keys_and_history_give_the_same_bytes(tmp_path):
    one = Operator(tmp_path / "one")
    shutil.rmtree(tmp_path / "two", ignore_errors=True)
    two = Operator(tmp_path / "two")
    one.keyring.new_seed("people", 1)
    shutil.copy(one.folder.keys / "voprf-people-1.json", two.folder.keys)
    one.add(*range(GERMAN, GERMAN + 500), AMERICAN)
    two.add(AMERICAN, *range(GERMAN + 300, GERMAN + 500))
    two.add(*range(GERMAN, GERMAN + 400))
    for edition in (1, 2):
        for operator in (one, two):
            operator.publish()
            operator.add(GERMAN + 1000 + edition)
        assert one.manifest().to_bytes() == two.manifest().to_bytes()
        files = [
            {name: data for name, data in operator.public_files().items() if not name.startswith("metadata")}
            for operator in (one, two)
        ]
        assert files[0] == files[1]


def test_many_members_in_chunks(operator, monkeypatch):
    monkeypatch.setattr(reading, "READ_AT_ONCE", 100)
    real = publisher.here

    @contextlib.contextmanager
    def here(*arguments):
        with real(*arguments) as pool:
            yield replace(pool, evaluated=30)

    monkeypatch.setattr(publisher, "here", here)
    operator.add(*range(GERMAN, GERMAN + 250), *range(AMERICAN, AMERICAN + 30))
    (outcome,) = operator.publish()
    assert outcome.evaluated == 280
    assert {code: p.count for code, p in operator.manifest().partitions.items()} == {"1": 30, "49": 250}


def test_who_joins_during_a_publish_is_in_this_edition_or_the_next(operator, monkeypatch):
    operator.add(GERMAN)
    real = job.build

    def build(*arguments, **options):
        info = real(*arguments, **options)
        operator_too.add(GERMAN + 1)
        return info

    operator_too = Operator.__new__(Operator)
    operator_too.registry = type(operator.registry)(operator.folder.registry)
    monkeypatch.setattr(job, "build", build)
    operator.publish(executor=InLine())
    monkeypatch.undo()
    assert operator.manifest().count == 1
    operator.publish()
    assert operator.manifest().count == 2
    operator_too.registry.close()


@pytest.mark.slow
def test_deltas_lead_from_each_edition_to_the_last(operator):
    operator.add(*range(GERMAN, GERMAN + 2000), AMERICAN)
    operator.publish()
    for edition in range(2, 6):
        operator.add(GERMAN + 10_000 + edition)
        operator.registry.remove(operator.registry.unevaluated("people", 9, "49", None, 1))
        operator.publish()
        if edition == 3:
            operator.add(AMERICAN + 1)
            operator.publish(), operator.publish()  # an edition in which 49 did not change
    german = operator.manifest().partitions["49"]
    assert [(delta.from_edition, delta.to_edition) for delta in german.deltas] == [
        (1, 2),
        (2, 3),
        (3, 5),
        (5, 6),
    ]
    state = {}
    for partition in operator.repository.history("people", 9):
        held = partition.partitions["49"]
        for delta in german.deltas:
            if delta.from_edition == held.edition:
                read = read_delta(
                    operator.folder.data / delta.file.sha256,
                    expect=delta.file,
                )
                assert read.old_sha256 == held.base.sha256
                assert (len(read.added), len(read.removed)) == (1, 1)
                state[held.edition] = read.new_sha256
    assert len(state) == 4
    assert german.base.sha256 == state[5]


@pytest.mark.slow
def test_the_chain_of_deltas_is_bounded(operator, monkeypatch):
    monkeypatch.setattr(job, "MAX_DELTAS", 3)
    operator.add(*range(GERMAN, GERMAN + 1000))
    for edition in range(1, 7):
        operator.add(GERMAN + 10_000 + edition)
        operator.publish()
    deltas = operator.manifest().partitions["49"].deltas
    assert [delta.to_edition for delta in deltas] == [4, 5, 6]


FEWEST = 5_000


@pytest.fixture
def screened(monkeypatch):
    """Screens from fewer members on than in earnest: 131,072 take a while to be evaluated."""
    monkeypatch.setattr(bounds, "LEAST_SCREENED", FEWEST)


@pytest.mark.slow
def test_the_screen_passes_every_member(operator, numbers, screened):
    operator.add(*range(GERMAN, GERMAN + FEWEST), AMERICAN)
    operator.publish()
    assert operator.manifest().partitions["1"].screen is None, "it has too few members"
    partition = operator.manifest().partitions["49"]
    key = operator.keyring.key_pair("people", 1)
    values = numbers(*range(GERMAN - 1000, GERMAN + FEWEST))
    tokens = Tokens.from_outputs(evaluate(key, values.identifiers()))
    screen = open_screen(operator.folder.data / partition.screen.sha256, info_of(partition))
    passed = screen.test(tokens)
    assert passed[1000:].all()
    assert passed[:1000].mean() < 0.05


def test_a_partition_with_too_many_members_for_a_screen_is_published_without(operator, screened, monkeypatch):
    monkeypatch.setattr(bounds, "_SLICE_BELOW", bounds.slice_bits(FEWEST + 2))
    operator.add(*range(GERMAN, GERMAN + FEWEST))
    operator.publish()
    assert operator.manifest().partitions["49"].screen is not None
    operator.add(GERMAN + FEWEST, GERMAN + FEWEST + 1)
    operator.publish()
    partition = operator.manifest().partitions["49"]
    assert (partition.count, partition.screen) == (FEWEST + 2, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "newer",
    [
        lambda old: replace(old, extra={"cards": 1}),
        lambda old: replace(old, partitions={"49": replace(old.partitions["49"], extra={"rows": [1]})}),
        lambda old: replace(
            old, unknown={"999": UnusablePartition("999", "is unknown", "unknown-family", {})}
        ),
    ],
    ids=["members", "members of a partition", "a partition"],
)
def test_an_older_program_does_not_publish_after_a_newer_one(operator, newer):
    operator.add(GERMAN)
    operator.publish()
    old = operator.manifest()
    published = replace(newer(old), edition=2, previous=old.sha256())
    operator.repository.publish([published], operator.keyring.signers(), datetime.now(UTC))
    operator.add(GERMAN + 1)
    files = operator.public_files()
    for options in ({}, {"new_epoch": True}):
        with pytest.raises(OurError, match="has content unknown to this version") as raised:
            operator.publish(**options)
        assert "update contactsync" in raised.value.hint
    assert operator.public_files() == files
    assert operator.manifest().sha256() == published.sha256()
    assert not operator.keyring.has_seed("people", 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["base", "screen", "delta"])
def test_a_lost_or_cut_data_file_is_made_again(operator, kind, screened):
    operator.add(*range(GERMAN, GERMAN + (FEWEST if kind == "screen" else 500)))
    operator.publish()
    operator.add(GERMAN + FEWEST)
    operator.publish()
    before = operator.manifest()
    partition = before.partitions["49"]
    file = {"base": partition.base, "screen": partition.screen, "delta": partition.deltas[0].file}[kind]
    path = operator.folder.data / file.sha256
    path.write_bytes(path.read_bytes()[:-1]) if kind == "base" else path.unlink()
    operator.publish()
    after = operator.manifest()
    assert set(after.files()) <= operator.data_files()
    assert after.partitions["49"].base == partition.base
    assert after.partitions["49"].screen == partition.screen
    # Base and screen come out as they were. What a delta led from may be gone for good.
    if kind == "base":
        assert after == before
    else:
        assert after.partitions["49"].deltas == ()
        assert (after.edition, after.partitions["49"].edition) == (3, 2)
    assert found(operator, partition, operator.registry.unevaluated("people", 9, "49", None, 5)) == [True] * 5


def test_other_remainder_bits_take_effect(operator):
    operator.add(GERMAN)
    operator.publish()
    text = operator.folder.settings_file.read_text()
    operator.folder.settings_file.write_text(text.replace("remainder_bits = 32", "remainder_bits = 40"))
    operator.publish()
    assert operator.manifest().partitions["49"].remainder_bits == 40


@pytest.mark.slow
def test_two_publishers(operator, monkeypatch):
    monkeypatch.setattr(publisher, "LOCK_WAIT", 0.2)
    with DataFolder(operator.folder.path).lock(), pytest.raises(Busy, match="another process"):
        operator.publish()


def test_the_key_must_be_the_published_one(operator):
    operator.add(GERMAN)
    operator.publish()
    files = operator.public_files()
    seed = operator.folder.keys / "voprf-people-1.json"
    seed.unlink()
    with pytest.raises(OurError, match="no key"):
        operator.publish()
    operator.keyring.new_seed("people", 1)
    with pytest.raises(OurError, match="not the key with which epoch 1"):
        operator.publish()
    assert operator.public_files() == files


def test_the_root_key_may_be_offline(operator):
    (operator.folder.keys / "tuf-root.json").unlink()
    operator.add(GERMAN)
    operator.publish()
    assert operator.manifest().count == 1


def test_without_a_signing_key_nothing_is_done(operator):
    operator.add(GERMAN)
    (operator.folder.keys / "tuf-targets.json").unlink()
    with pytest.raises(OurError, match="targets is not here"):
        operator.publish()
    assert operator.manifest() is None
    assert len(operator.registry.unevaluated("people", 1, "49", None, 9)) == 1


def test_an_old_root_is_renewed_by_a_publish(operator, monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=300)

    operator.publish()
    monkeypatch.setattr(publisher, "datetime", Later)
    operator.publish()
    assert operator.repository.root().version == 2
    assert operator.repository.root().expires > datetime.now(UTC) + timedelta(days=600)


def test_a_full_disk_leaves_the_old_edition(operator, monkeypatch):
    operator.add(GERMAN)
    operator.publish()
    manifest = operator.manifest()
    operator.add(GERMAN + 1)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr(job, "build", full)
    with pytest.raises(OurError, match=r"^building people 49: .*disk is full") as raised:
        operator.publish()
    assert "still served" in raised.value.hint
    assert operator.data_files() == set(manifest.files()), "what waited for the job is gone"
    assert operator.manifest() == manifest
    monkeypatch.undo()
    operator.publish()
    assert operator.manifest().count == 2
