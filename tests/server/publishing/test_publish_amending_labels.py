"""What is published with labels is the same, byte for byte, whether it is made of changes or of all."""

import random
from pathlib import Path

import numpy as np
import pytest
from publishing_tools import InLine, copy_of, published, read_all_tokens
from server_tools import AMERICAN, GERMAN, Operator, numbers
from test_publish_amending import change

from contactsync.directory import bounds, sidecar_writing
from contactsync.labels import KEYED_BYTES, TAG_BYTES
from contactsync.server.publishing import amending_labels, reading
from contactsync.server.publishing.amending import AmendJob
from contactsync.server.publishing.job import BuildJob
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.storage import token_log
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.tokens import TOKEN_BYTES

NUMBERS = [*range(GERMAN, GERMAN + 400), *range(AMERICAN, AMERICAN + 60)]
TEXTS = (b"a", b"b", b"@anna:example.org", b"x" * 32, None)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Else few members would be read at once where somebody left; and several parts of one bucket."""
    monkeypatch.setattr(token_log, "OPENED", 0)
    monkeypatch.setattr(bounds, "LEAST_SCREENED", 100)
    monkeypatch.setattr(sidecar_writing, "PART_BYTES", 1000)


def label(operator, text, *who):
    operator.registry.label(numbers(*who), [text] * len(who))


def begun(path):
    """An operator who has published labels in both audiences, and in both partitions."""
    operator = Operator(path)
    operator.add(*NUMBERS[::2], *NUMBERS[400:])
    operator.add(*NUMBERS[:20:2], audience="business")
    for i, number in enumerate(NUMBERS[:400:2]):
        label(operator, b"@user%d:example.org" % i, number)
    label(operator, b"uncle of all the others", AMERICAN)
    operator.publish()
    return operator


@pytest.fixture
def single(tmp_path):
    operator = begun(tmp_path / "one")
    yield operator
    operator.close()


@pytest.fixture
def twins(tmp_path):
    """An operator, and a copy of it that reads all outputs for each publish."""
    operator = begun(tmp_path / "one")
    Publisher(operator.folder, operator.registry, operator.keyring).publish(order=Order(Aim.ROTATE, 999_999))
    twin = copy_of(operator, tmp_path / "other")
    yield operator, twin
    operator.close()
    twin.close()


def built(operator, **how):
    """Publish, and how each partition of people was made: (amended, of all outputs), by name."""
    executor = InLine()
    Publisher(operator.folder, operator.registry, operator.keyring, executor=executor).publish(**how)
    return tuple(
        sorted({job.partition for job in executor.jobs if isinstance(job, kind) and job.audience == "people"})
        for kind in (AmendJob, BuildJob)
    )


def relabel(rng, store):
    for _ in range(rng.randrange(0, 4)):
        some = rng.sample(NUMBERS, rng.randrange(1, 6))
        store.label(numbers(*some), [rng.choice(TEXTS) for _ in some])


@pytest.mark.parametrize("seed", range(3))
def test_the_bytes_are_those_of_all_outputs(twins, seed):
    """Of two audiences, and of the epoch that one of them announces."""
    rngs, kinds = [random.Random(seed), random.Random(seed)], ([], [])
    for turn in range(8):
        for one, rng, forgets, made in zip(twins, rngs, (False, True), kinds, strict=True):
            if rng.random() < 0.7:
                change(rng, one.registry)
            relabel(rng, one.registry)
            if forgets:
                read_all_tokens(one)
            made.append(built(one))
        assert published(twins[0]) == published(twins[1]), turn
    assert sum(len(amended) for amended, _ in kinds[0]) > 8, "or this would compare a build with itself"
    assert not any(amended for amended, _ in kinds[1])
    assert twins[0].manifest().next.partitions["49"].labels.deltas


def test_nothing_is_read_but_what_changed(single, monkeypatch):
    """No output, no token, and no label but of who has another one now."""
    sealed = []
    real = amending_labels.seal
    monkeypatch.setattr(
        amending_labels, "seal", lambda keys, labels, *of: sealed.append(labels) or real(keys, labels, *of)
    )
    for name in ("outputs", "tokens"):
        monkeypatch.delattr(SqliteMembers.__mro__[1], name)
    monkeypatch.setattr(reading, "seal", None)
    statements = []
    single.add(GERMAN + 1)
    label(single, b"new", GERMAN)
    single.registry.remove(numbers(GERMAN + 2))
    single.registry._database.connection.set_trace_callback(statements.append)
    assert built(single) == (["49"], [])
    # Business, of which nobody joined, has one label of this partition that is another.
    assert [sorted(one) for one in sealed] == [[b"", b"new"], [b"new"]]
    assert not any("max(length(label))" in one for one in statements), "nor is the longest searched for"
    before = single.manifest().partitions["49"]
    assert (before.edition, before.labels.edition, len(before.labels.deltas)) == (2, 2, 1)


def test_labels_alone_leave_the_base(single):
    before = single.manifest().partitions["49"]
    label(single, b"renamed", GERMAN)
    label(single, None, GERMAN + 2)
    assert built(single) == (["49"], [])
    after = single.manifest().partitions["49"]
    assert (after.base, after.edition, after.deltas, after.screen) == (before.base, 1, (), before.screen)
    assert (after.labels.edition, len(after.labels.deltas)) == (2, 1)
    label(single, b"again", GERMAN)
    single.add(GERMAN + 1)
    assert built(single) == (["49"], [])
    last = single.manifest().partitions["49"]
    assert [(one.from_edition, one.to_edition) for one in last.labels.deltas] == [(1, 2), (2, 3)]
    assert last.edition == 3


def test_what_is_set_back_makes_no_edition(single):
    label(single, b"other", GERMAN)
    label(single, b"@user0:example.org", GERMAN)
    assert built(single) == (["49"], [])
    assert single.manifest().edition == 1
    assert built(single) == ([], []), "and it is settled"
    assert single.registry._database.all("SELECT * FROM label_changes_tel") == []


def test_who_leaves_and_comes_back_has_no_label(single):
    first = single.manifest().partitions["49"]
    single.registry.remove(numbers(GERMAN + 200))
    single.registry.add(numbers(GERMAN + 200))
    assert built(single) == (["49"], [])
    second = single.manifest().partitions["49"]
    assert (second.base, second.edition, second.labels.edition) == (first.base, 1, 2)
    label(single, b"@user100:example.org", GERMAN + 200)
    assert built(single) == (["49"], [])
    assert single.manifest().partitions["49"].labels.file == first.labels.file


def test_an_import_of_who_is_there_makes_no_edition(single):
    single.registry._touch("49", single.registry.serial())
    assert built(single) == (["49"], [])
    assert single.manifest().edition == 1


def test_a_label_that_is_longer_than_all_is_read_with_all(single):
    label(single, b"l" * 40, GERMAN)
    assert built(single) == ([], ["49"])
    assert single.manifest().partitions["49"].labels.size == 48
    label(single, b"short", GERMAN)
    assert built(single) == (["49"], [])
    assert single.manifest().partitions["49"].labels.size == 48, "it never shrinks"


def test_the_last_label_and_the_first(single):
    label(single, None, AMERICAN)
    assert built(single) == ([], ["1"])
    assert single.manifest().partitions["1"].labels is None
    single.add(AMERICAN + 200)
    assert built(single) == (["1"], [])
    label(single, b"one", AMERICAN + 1)
    assert built(single) == ([], ["1"])
    label(single, b"two", AMERICAN + 1)
    single.registry.remove(numbers(AMERICAN + 2))
    assert built(single) == (["1"], [])


def test_a_label_that_ends_in_a_publish_that_was_killed_is_not_lost(single, monkeypatch):
    """All labels go, so tokens are stored without keys; then they come back before a switch was made."""
    label(single, None, AMERICAN)
    single.add(AMERICAN + 200)
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "_build", None)
        with pytest.raises(TypeError):
            single.publish()
    label(single, b"uncle", AMERICAN + 3)
    assert built(single) == ([], ["1"])
    read_all_tokens(single)
    wanted = single.manifest().partitions["1"]
    single.registry._touch("1", single.registry.serial())
    assert built(single) == ([], ["1"])
    assert single.manifest().partitions["1"] == wanted


def test_a_publish_of_labels_that_was_never_switched_to_changes_nothing(single):
    """It noted the same base, beside another sidecar: nothing that changed before is forgotten."""
    label(single, b"renamed", GERMAN)
    Publisher(single.folder, single.registry, single.keyring).publish(elsewhere=lambda *_of: None)
    label(single, b"other", GERMAN + 2)
    assert built(single) == (["49"], [])
    amended = single.manifest().partitions["49"].labels.file
    (single.folder.data / amended.sha256).unlink()
    assert built(single) == ([], ["49"])
    assert single.manifest().partitions["49"].labels.file == amended


@pytest.mark.parametrize("which", ["sidecar", "base"])
@pytest.mark.parametrize("place", [70, 3000, -1])
def test_what_is_damaged_is_made_of_all_outputs(single, which, place):
    labels = single.manifest().partitions["49"].labels
    file = labels.file if which == "sidecar" else single.manifest().partitions["49"].base
    path = single.folder.data / file.sha256
    octets = bytearray(path.read_bytes())
    octets[place % len(octets)] ^= 1
    path.write_bytes(octets)
    label(single, b"renamed", GERMAN)
    assert built(single) == (["49"], ["49"])
    after = single.manifest().partitions["49"].labels
    assert (after.edition, len(after.deltas)) == (2, 0 if which == "sidecar" else 1)


def test_who_damages_a_sidecar_as_a_whole_gets_nothing_signed(single, monkeypatch):
    """It has the hash that is looked at first: what is copied is compared with its own."""
    labels = single.manifest().partitions["49"].labels
    path = single.folder.data / labels.file.sha256
    real = amending_labels.sidecar_changes

    def meanwhile(*given):
        octets = bytearray(path.read_bytes())
        octets[-5] ^= 1
        path.write_bytes(octets)  # the file that is mapped
        return real(*given)

    monkeypatch.setattr(amending_labels, "sidecar_changes", meanwhile)
    label(single, b"renamed", GERMAN)
    assert built(single) == (["49"], ["49"])


@pytest.mark.parametrize("what", ["sidecar", "delta"])
def test_what_is_lost_is_made_again(single, what):
    label(single, b"renamed", GERMAN + 102)
    single.publish()
    labels = single.manifest().partitions["49"].labels
    lost = labels.file if what == "sidecar" else labels.deltas[0].file
    (single.folder.data / lost.sha256).unlink()
    label(single, b"more", GERMAN + 104)
    assert built(single) == ([], ["49"])
    assert {one.sha256 for one in single.manifest().partitions["49"].files()} <= single.data_files()
    label(single, b"and more", GERMAN + 106)
    assert built(single) == (["49"], [])


def test_two_tokens_that_are_one_value_are_read_with_all(single, monkeypatch):
    (record,) = single.registry.show(numbers(AMERICAN))
    twin = np.zeros((1, KEYED_BYTES), np.uint8)
    twin[0, :TOKEN_BYTES] = np.frombuffer(record.tokens["people", 1], np.uint8)
    twin[0, TOKEN_BYTES - 1] ^= 1  # beyond the bits that a directory keeps
    single.add(AMERICAN + 100)
    real = SqliteMembers.store_tokens
    with monkeypatch.context() as patched:
        patched.setattr(
            SqliteMembers,
            "store_tokens",
            lambda self, audience, epoch, who, rows: real(self, audience, epoch, who, twin),
        )
        assert built(single) == (["1"], ["1"])
    label(single, b"the other one", AMERICAN)
    # What is published is the same still, if its own token is the lesser one: then the job is tried in vain.
    assert built(single)[1] == ["1"]
    single.registry.remove(numbers(AMERICAN))
    assert built(single)[1] == ["1"]
    assert single.manifest().partitions["1"].count == 60, "the other one is still there"


def test_an_expunged_partition_begins_anew(single):
    label(single, b"renamed", GERMAN)
    assert built(single, expunge=True) == ([], ["49"])
    assert single.manifest().partitions["49"].labels.deltas == ()
    label(single, b"again", GERMAN)
    assert built(single) == (["49"], [])


def test_a_partition_that_had_patches_and_gets_labels_is_made_of_all_tokens(operator, monkeypatch):
    settings = operator.folder.settings_file
    settings.write_text(settings.read_text().replace("patched_from = 131072", "patched_from = 100"))
    operator.add(*range(GERMAN, GERMAN + 2000))
    operator.publish()
    operator.registry.remove(numbers(GERMAN))
    operator.publish()
    assert operator.manifest().partitions["49"].patches is not None
    label(operator, b"anna", GERMAN + 1)
    assert built(operator) == ([], ["49"])
    assert operator.manifest().partitions["49"].patches is None
    label(operator, b"bert", GERMAN + 2)
    operator.registry.remove(numbers(GERMAN + 3))
    assert built(operator) == (["49"], [])
    assert operator.manifest().partitions["49"].patches is None


def test_more_labels_than_are_worth_it_are_read_with_all(single):
    label(single, b"many", *NUMBERS[100:200:2])
    assert built(single) == (["49"], [])
    label(single, b"more", *NUMBERS[100:202:2])
    assert built(single) == ([], ["49"])


def test_what_is_spooled_are_tokens_and_sealed_labels(single):
    seen = []

    class Looking(InLine):
        def submit(self, function, /, job):
            if isinstance(job, AmendJob) and job.audience == "people":
                seen.append(Path(job.spool).read_bytes())
            return super().submit(function, job)

    outputs = "SELECT token FROM tokens_tel WHERE audience = 1 AND key = ?"
    left = single.registry._database.one(outputs, GERMAN + 40)
    single.registry.remove(numbers(GERMAN + 40))
    single.add(GERMAN + 401)
    label(single, b"a secret text", GERMAN + 42)
    single.publish(executor=Looking())
    joined, renamed = (single.registry._database.one(outputs, one) for one in (GERMAN + 401, GERMAN + 42))
    (spool,) = seen
    assert spool.startswith(joined[:TOKEN_BYTES] + left[:TOKEN_BYTES])
    assert len(spool) == 2 * TOKEN_BYTES + 2 * (TOKEN_BYTES + TAG_BYTES + 32)
    assert renamed[:TOKEN_BYTES] in spool
    assert b"secret" not in spool
    assert not any(one[TOKEN_BYTES:] in spool for one in (joined, left, renamed))


def test_nothing_of_who_left_is_in_the_registry(single):
    """Of who was published with a label, was relabelled, or only joined: before the next publish."""
    single.add(GERMAN + 500)
    label(single, b"joined only", GERMAN + 500)
    label(single, b"relabelled", GERMAN)
    Publisher(single.folder, single.registry, single.keyring).publish(elsewhere=lambda *_of: None)
    gone = [GERMAN, GERMAN + 2, GERMAN + 500]
    database = single.registry._database
    assert {key for (key,) in database.all("SELECT key FROM label_changes_tel")} == {GERMAN, GERMAN + 500}
    rows = [database.one("SELECT token FROM tokens_tel WHERE audience = 1 AND key = ?", one) for one in gone]
    traces = [row[:TOKEN_BYTES] for row in rows] + [row[TOKEN_BYTES:] for row in rows]
    traces += [b"joined only", b"relabelled", b"@user1:example.org"]
    files = [single.folder.registry, single.folder.registry.with_name("registry.sqlite-wal")]
    assert all(any(one in path.read_bytes() for path in files if path.exists()) for one in traces)
    single.registry.remove(numbers(*gone))
    assert single.registry.erase() == ""
    assert not any(one in path.read_bytes() for one in traces for path in files if path.exists())
    keys = [number.to_bytes(6, "big") for number in gone]
    assert not any(key in path.read_bytes() for key in keys for path in files if path.exists())
    assert database.all("SELECT * FROM label_changes_tel") == []
