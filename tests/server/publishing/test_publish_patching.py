"""Partitions that keep their base, with patches: what is published is what the members are, at any time."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from publishing_tools import InLine, copy_of, published, read_all_tokens
from server_tools import AMERICAN, GERMAN, Operator

from contactsync.audit.publication import audit_publication
from contactsync.audit.rebuild import audit_rebuild
from contactsync.audit.sources import FolderSource
from contactsync.directory import bounds, build, open_directory, truncate
from contactsync.directory.amending import Changes, amend
from contactsync.directory.delta import compose, read_delta, write_delta_of
from contactsync.directory.format import Values
from contactsync.publication.manifest import Manifest
from contactsync.server.publishing import patching
from contactsync.server.publishing.amending import AmendJob
from contactsync.server.publishing.job import BuildJob
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.rotation import Aim, Order
from contactsync.server.storage import token_log
from contactsync.server.storage.ports import Members
from contactsync.tokens import Tokens
from contactsync.voprf.server import evaluate

NUMBERS = [*range(GERMAN, GERMAN + 400), *range(AMERICAN, AMERICAN + 20)]
FROM = 100
"""Members; so that the Germans have patches, and the Americans have none."""


def members(*numbers):
    return Members("tel", np.array(sorted(numbers), np.uint64))


def patch_from(operator, count):
    lines = operator.folder.settings_file.read_text().splitlines()
    lines = [line for line in lines if not line.startswith("patched_from")]
    operator.folder.settings_file.write_text("\n".join([f"patched_from = {count}", *lines, ""]))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """So that few members are enough: for a screen, a log, and several patches before a base is due."""
    monkeypatch.setattr(token_log, "OPENED", 0)
    monkeypatch.setattr(bounds, "LEAST_SCREENED", 100)
    monkeypatch.setattr(patching, "SHARE", 2)


@pytest.fixture
def patched(operator):
    """An operator who has published four hundred Germans, whose base stays, and twenty Americans."""
    patch_from(operator, FROM)
    operator.add(*NUMBERS)
    operator.publish()
    return operator


def german(operator):
    return operator.manifest().partitions["49"]


def jobs(operator, **how):
    """Publish; the partitions that were made of what changed, and those of all tokens."""
    executor = InLine()
    Publisher(operator.folder, operator.registry, operator.keyring, executor=executor).publish(**how)
    return tuple(
        sorted({job.partition for job in executor.jobs if isinstance(job, kind)})
        for kind in (AmendJob, BuildJob)
    )


def stated(operator, work):
    """The SHA-256 of the directory that the files of the German partition make."""
    partition, data = german(operator), operator.folder.data
    with open_directory(data / partition.base.sha256, expect=partition.directory) as base:
        if partition.patches is None:
            return base.info.file.sha256
        files = partition.patches.files
        patches = [read_delta(data / one.file.sha256, expect=one.file) for one in files]
        whole = compose(patches)
        assert (whole.new_sha256, whole.new_count) == (partition.patches.state, partition.members)
        assert (whole.from_edition, whole.to_edition) == (partition.edition, partition.reached)
        return amend(work / "stated", base, Changes.between(whole.removed, whole.added)).file.sha256


def true(operator, work):
    """The same of all tokens of the register."""
    epoch = operator.manifest().epoch
    tokens = Tokens.concatenate(list(operator.registry.tokens("people", epoch, "49")))
    return build(work / "true", [tokens], remainder_bits=german(operator).remainder_bits).file.sha256


def change(rng, store):
    for _ in range(rng.randrange(1, 4)):
        some = members(*rng.sample(NUMBERS, rng.randrange(1, 6)))
        what = rng.choice(("add", "remove", "back"))
        if what != "add":
            store.remove(some)
        if what != "remove":
            store.add(some)


@pytest.mark.parametrize("seed", range(3))
def test_base_and_patches_are_the_members(patched, tmp_path, seed):
    rng, bases, most = random.Random(seed), set(), 0
    for turn in range(40):
        change(rng, patched.registry)
        patched.publish()
        manifest, partition = patched.manifest(), german(patched)
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest
        assert stated(patched, tmp_path) == true(patched, tmp_path), turn
        assert manifest.count == patched.registry.count("people")
        assert manifest.partitions["1"].patches is None
        bases.add(partition.base.sha256)
        most = max(most, 0 if partition.patches is None else len(partition.patches.files))
    assert 2 < len(bases) < 20
    assert 3 < most <= patching.MAX_PATCHES


def test_two_publishers_of_the_same_write_the_same(tmp_path):
    one = Operator(tmp_path / "one")
    patch_from(one, FROM)
    one.add(*NUMBERS)
    one.publish()
    other = copy_of(one, tmp_path / "other")
    for operator in (one, other):
        rng = random.Random(5)
        for _ in range(12):
            change(rng, operator.registry)
            operator.publish()
    assert german(one).patches is not None
    assert published(one) == published(other)
    one.close()
    other.close()


def test_a_publish_reads_no_token_of_who_stays_and_no_more_of_the_base_than_it_needs(patched, monkeypatch):
    patched.registry.remove(members(GERMAN))
    whole = []
    monkeypatch.setattr("contactsync.server.publishing.amending.open_directory", whole.append)
    assert jobs(patched) == (["49"], [])
    assert (len(german(patched).patches.files), whole) == (1, [])


def test_who_leaves_and_comes_back_makes_no_edition(patched):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    before = german(patched)
    patched.registry.remove(members(GERMAN + 1))
    patched.registry.add(members(GERMAN + 1))
    patched.publish()
    assert (german(patched), patched.manifest().edition) == (before, 2)


def test_a_base_is_written_anew_when_its_patches_are_long(patched, tmp_path):
    """By what changed alone, and with a delta from the base before; screens are of bases."""
    first = german(patched)
    for turn in range(30):
        patched.registry.remove(members(*range(GERMAN + 5 * turn, GERMAN + 5 * turn + 5)))
        patched.publish()
        partition = german(patched)
        if partition.patches is None:
            break
        assert (partition.base, partition.screen, partition.deltas) == (first.base, first.screen, ())
        assert 2 * sum(one.file.length for one in partition.patch_files) <= partition.base.length
    assert turn > 3
    assert (partition.edition, partition.count) == (turn + 2, 400 - 5 * (turn + 1))
    assert [(one.from_edition, one.to_edition) for one in partition.deltas] == [(1, turn + 2)]
    assert partition.screen != first.screen
    assert stated(patched, tmp_path) == true(patched, tmp_path)


def test_and_after_many_editions(patched, monkeypatch):
    monkeypatch.setattr(patching, "MOST_EDITIONS", 3)
    for turn in range(4):
        patched.registry.remove(members(GERMAN + turn))
        patched.publish()
    assert (german(patched).patches, german(patched).edition) == (None, 5)


def test_deltas_between_such_bases_are_few(patched, monkeypatch):
    """They name who left for as long as they are served."""
    monkeypatch.setattr(patching, "MOST_EDITIONS", 1)
    for turn in range(24):
        patched.registry.remove(members(GERMAN + turn))
        patched.publish()
    assert len(german(patched).deltas) == patching.DELTAS_OF_PATCHED


def test_without_the_setting_every_base_is_written_anew(patched, tmp_path):
    """So that clients which do not know patches are served again."""
    patched.registry.remove(members(GERMAN))
    patched.publish()
    assert german(patched).patches is not None
    patch_from(patched, 0)
    assert jobs(patched) == (["49"], [])
    assert (german(patched).patches, german(patched).count) == (None, 399)
    assert "critical" not in patched.manifest().to_bytes().decode()
    assert stated(patched, tmp_path) == true(patched, tmp_path)
    assert jobs(patched) == ([], [])


def test_bases_are_written_on_request(patched, tmp_path):
    """Once: the next change is a patch again. Where there are no patches, nothing is done."""
    assert jobs(patched, order=Order(Aim.REWRITE)) == ([], [])
    patched.registry.remove(members(GERMAN))
    patched.publish()
    assert german(patched).patches is not None
    assert jobs(patched, order=Order(Aim.REWRITE)) == (["49"], [])
    assert (german(patched).patches, german(patched).count, german(patched).edition) == (None, 399, 3)
    patched.registry.remove(members(GERMAN + 1))
    assert jobs(patched, order=Order(Aim.REWRITE)) == (["49"], [])
    assert german(patched).patches is None, "nor is one made of what has just changed"
    patched.registry.remove(members(GERMAN + 2))
    patched.publish()
    assert len(german(patched).patches.files) == 1
    assert stated(patched, tmp_path) == true(patched, tmp_path)


def test_patches_that_came_to_nothing_leave_the_base(patched):
    """And it is of the edition that it was of: who has it fetches nothing."""
    before = german(patched)
    patched.registry.remove(members(GERMAN))
    patched.publish()
    patched.registry.add(members(GERMAN))
    patched.publish()
    assert german(patched).patches.count == 400
    patch_from(patched, 0)
    patched.publish()
    assert (german(patched), patched.manifest().edition) == (before, 4)


def test_rows_are_made_of_bases(patched, tmp_path):
    """Whoever looks rows up has no patches: with private look-up, a partition has none."""
    patched.registry.remove(members(GERMAN))
    patched.publish()
    patched.folder.switch_private_lookup(on=True)
    patched.registry.remove(members(GERMAN + 1))
    patched.publish()
    assert german(patched).patches is None
    assert patched.manifest().rows is not None
    assert stated(patched, tmp_path) == true(patched, tmp_path)
    patched.folder.switch_private_lookup(on=False)
    patched.registry.remove(members(GERMAN + 2))
    patched.publish()
    assert len(german(patched).patches.files) == 1


def test_an_epoch_that_is_announced_has_bases_alone(patched, tmp_path):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    Publisher(patched.folder, patched.registry, patched.keyring).publish(order=Order(Aim.ROTATE, 999_999))
    patched.registry.remove(members(GERMAN + 1))
    patched.publish()
    manifest = patched.manifest()
    assert len(german(patched).patches.files) == 2
    assert manifest.next.partitions["49"].patches is None
    assert manifest.count == manifest.next.count == 418
    assert stated(patched, tmp_path) == true(patched, tmp_path)


def test_labels_end_patches(patched):
    """A sidecar has one entry for each value of a base."""
    patched.registry.remove(members(GERMAN))
    patched.publish()
    patched.registry.label(members(GERMAN + 1), [b"Ada"])
    patched.publish()
    assert (german(patched).patches, german(patched).labels.size) == (None, 16)


def test_an_expunge_leaves_no_file_that_names_who_left(patched, tmp_path):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    before = set(german(patched).files())
    Publisher(patched.folder, patched.registry, patched.keyring).publish(expunge=True)
    partition = german(patched)
    assert (partition.patches, partition.deltas) == (None, ())
    assert not {file.sha256 for file in before} & patched.data_files()
    assert stated(patched, tmp_path) == true(patched, tmp_path)


@pytest.mark.parametrize("what", ["a patch cut", "a patch changed", "a bucket of the base", "no base"])
def test_damaged_files_are_made_again_of_all_tokens(patched, tmp_path, what):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    partition, data = german(patched), patched.folder.data
    path = data / (partition.base if "base" in what else partition.patches.files[0].file).sha256
    octets = bytearray(path.read_bytes())
    if what == "no base":
        path.unlink()
    else:
        octets[-100] ^= 1
        path.write_bytes(octets[:-8] if what == "a patch cut" else octets)
    patched.registry.remove(members(GERMAN + 1))
    _, of_all = jobs(patched)
    assert of_all == ["49"]
    assert (german(patched).patches, german(patched).count) == (None, 398)
    assert stated(patched, tmp_path) == true(patched, tmp_path)


def test_damage_where_nothing_changes_is_found_after_a_few_publishes(patched, tmp_path):
    """Or the first to find it would be new clients, for as long as the base stays."""
    numbers = np.arange(GERMAN, GERMAN + 6000)
    patched.add(*numbers.tolist())
    patched.publish()
    info = german(patched).directory
    assert info.layout.buckets > 1
    key = patched.keyring.key_pair("people", 1)
    outputs = evaluate(key, [b"tel:+%d" % number for number in numbers.tolist()])
    buckets = truncate(Tokens.from_outputs(outputs), info.slot_bits, info.remainder_bits).bucket
    base = patched.folder.data / info.file.sha256
    octets = bytearray(base.read_bytes())
    octets[-100] ^= 1  # of the last bucket
    base.write_bytes(octets)
    made = []
    for number in numbers[buckets == 0][:9].tolist():
        patched.registry.remove(members(number))
        made.append(jobs(patched))
    assert made == [(["49"], [])] * 7 + [(["49"], ["49"])] + [(["49"], [])]
    assert stated(patched, tmp_path) == true(patched, tmp_path)


def test_a_log_that_was_given_up_ends_in_a_base(patched, tmp_path):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    read_all_tokens(patched)
    patched.registry.remove(members(GERMAN + 1))
    assert jobs(patched) == ([], ["49"])
    assert german(patched).patches is None
    assert stated(patched, tmp_path) == true(patched, tmp_path)
    patched.registry.remove(members(GERMAN + 2))
    assert jobs(patched) == (["49"], [])
    assert len(german(patched).patches.files) == 1


# ---- who checks it ----------------------------------------------------------------------------------------


def audited(operator, work):
    work.mkdir()
    return audit_publication(FolderSource(operator.folder.public), work)


def test_both_audits_find_it_right(patched, tmp_path):
    for turn in range(3):
        patched.registry.remove(members(GERMAN + turn))
        patched.publish()
    report = audited(patched, tmp_path / "audit")
    assert (report.exit_code, report.proven["patches"]) == (0, 3)
    (tmp_path / "rebuild").mkdir()
    report = audit_rebuild(patched.folder, patched.registry, patched.keyring, tmp_path / "rebuild")
    assert (report.exit_code, report.state("base")) == (0, "proven")


def forge(operator, change):
    """Publish an edition in which the last patch was changed, and is stated as it is."""
    data, manifest, partition = operator.folder.data, operator.manifest(), german(operator)
    *before, last = partition.patches.files
    forged = change(read_delta(data / last.file.sha256))
    file = write_delta_of(data / "new", forged)
    (data / "new").rename(data / file.sha256)
    patches = replace(partition.patches, files=(*before, replace(last, file=file)), count=forged.new_count)
    later = replace(
        manifest,
        edition=manifest.edition + 1,
        previous=manifest.sha256(),
        partitions=manifest.partitions | {"49": replace(partition, patches=patches)},
    )
    operator.repository.publish([later], operator.keyring.signers(), datetime.now(UTC))


def with_another(patch):
    """A patch by which somebody more has joined."""
    key, extra = np.uint64((1 << (patch.slot_bits + 32)) - 5), np.uint8(0)
    added = Values(np.append(patch.added.key, key), np.append(patch.added.extra, extra))
    return replace(patch, added=added, new_count=patch.new_count + 1)


def test_a_token_that_a_patch_plants_is_found_by_who_has_the_key(patched, tmp_path):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    forge(patched, with_another)
    assert audited(patched, tmp_path / "audit").exit_code == 0, "to all others it is like any token"
    (tmp_path / "rebuild").mkdir()
    report = audit_rebuild(patched.folder, patched.registry, patched.keyring, tmp_path / "rebuild")
    (found,) = [one for one in report.findings if one.rule == "base"]
    assert "1 published tokens belong to no member, 0 members are not published" in found.message


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda one: replace(one, removed=one.added, added=one.removed, new_count=one.old_count - 1),
            "removes a token that is not",
        ),
        (lambda one: replace(one, old_sha256="ab" * 32), "does not lead on"),
        (lambda one: replace(one, new_sha256="ab" * 32), "do not lead to what the manifest states"),
        (lambda one: replace(one, from_edition=one.from_edition - 1), "does not lead on"),
    ],
    ids=["contradicts", "another beginning", "another end", "another edition"],
)
def test_a_patch_that_does_not_lead_on_is_found_by_anybody(patched, tmp_path, change, why):
    patched.registry.remove(members(GERMAN))
    patched.publish()
    patched.add(GERMAN + 1000)
    patched.publish()

    forge(patched, change)
    (found,) = [one for one in audited(patched, tmp_path / "audit").findings if one.rule == "patches"]
    assert why in found.message
