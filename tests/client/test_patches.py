"""Patches lead on from a base that stays: a client finds what it would find in a base of each edition."""

import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from contactsync.client.core.held_records import pack_holding, unpack_holding
from contactsync.directory.delta import read_delta, write_delta_of
from contactsync.foundation.errors import BadDirectory, ChoiceNeeded

NUMBERS = [f"+49151{i:07}" for i in range(60)]
BOOK = NUMBERS[:50]


def found(report):
    return {match.identifier.removeprefix("tel:") for match in report.matches}


def german(service):
    return service.manifest.partitions["49"]


def fetched(service):
    """What was fetched since it was asked last: B for a base, S for a screen, and the editions of patches."""
    names, partition = {}, german(service)
    names[partition.base.sha256] = "B"
    if partition.screen is not None:
        names[partition.screen.sha256] = "S"
    names |= {one.file.sha256: "delta" for one in partition.deltas}
    patches = partition.patches.files if partition.patches else ()
    names |= {one.file.sha256: f"{one.from_edition}-{one.to_edition}" for one in patches}
    paths = service.asked("/data/")
    service.requests.clear()
    return list(dict.fromkeys(names.get(path.rpartition("/")[2], "other") for path in paths))


@pytest.mark.parametrize("which", ["all", "mine"])
def test_patches_alone_are_fetched_and_lead_to_who_is_there(patched, person, other_person, which):
    assert found(person.sync(*BOOK, partitions=which)) == set(NUMBERS[:30])
    assert fetched(patched) == ["B"]
    patched.publish(*NUMBERS[2:31])
    patched.publish(*NUMBERS[3:31], NUMBERS[45])
    report = person.sync(*BOOK, partitions=which)
    assert fetched(patched) == ["1-2", "2-3"]
    assert found(report) == {*NUMBERS[3:31], NUMBERS[45]}
    assert {one.identifier[4:] for one in report.joined} == {NUMBERS[30], NUMBERS[45]}
    assert {one.identifier[4:] for one in report.left} == set(NUMBERS[:3])
    assert report.members == german(patched).members == 2029
    again = person.sync(*BOOK, partitions=which)
    assert (found(again), again.joined, again.left, fetched(patched)) == (found(report), [], [], [])
    assert found(other_person.sync(*BOOK, partitions=which)) == found(report)
    assert fetched(patched) == ["B", "1-2", "2-3"]


def test_who_came_back_is_a_member_again(patched, person):
    person.sync(*BOOK)
    patched.publish(*NUMBERS[1:30])
    assert [one.identifier[4:] for one in person.sync(*BOOK).left] == [NUMBERS[0]]
    patched.publish(*NUMBERS[:30])
    report = person.sync(*BOOK)
    assert [one.identifier[4:] for one in report.joined] == [NUMBERS[0]]
    assert found(report) == set(NUMBERS[:30])


def test_merged_patches_take_the_place_of_those_that_are_held(patched, person):
    person.sync(*BOOK)
    for first in range(1, 5):
        patched.publish(*NUMBERS[first:30])
        person.sync(*BOOK)
    patched.requests.clear()
    patched.merge = 4
    patched.publish(*NUMBERS[5:32])
    assert found(person.sync(*BOOK)) == set(NUMBERS[5:32])
    assert fetched(patched) == ["2-6"]
    held = {path.name for path in person.server.data.iterdir()}
    partition = german(patched)
    assert held == {partition.base.sha256, *(one.file.sha256 for one in partition.patches.files)}


def test_a_base_that_is_written_anew_is_reached_by_a_delta_from_the_one_before(patched, person):
    person.sync(*BOOK)
    for first in range(1, 4):
        patched.publish(*NUMBERS[first:30])
    person.sync(*BOOK)
    patched.patched = frozenset()
    patched.publish(*NUMBERS[5:33])
    patched.requests.clear()
    report = person.sync(*BOOK)
    assert fetched(patched) == ["delta"]
    assert found(report) == set(NUMBERS[5:33])
    assert {one.identifier[4:] for one in report.left} == set(NUMBERS[3:5])
    assert german(patched).patches is None
    patched.patched = frozenset({"49"})
    patched.publish(*NUMBERS[6:33])
    assert found(person.sync(*BOOK)) == set(NUMBERS[6:33])
    assert fetched(patched) == ["5-6"]


def test_new_contacts_are_looked_up_in_the_base_and_its_patches(patched, person):
    person.sync(*NUMBERS[:3])
    patched.publish(*NUMBERS[1:32])
    person.sync(*NUMBERS[:3])
    patched.requests.clear()
    report = person.sync(*BOOK)
    assert (found(report), fetched(patched)) == (set(NUMBERS[1:32]), [])
    assert report.joined == []


@pytest.mark.slow
@pytest.mark.parametrize("behind", [0, 1, 31, 33, 500])
def test_however_many_editions_behind(patched, person, other_person, behind):
    rng, now = random.Random(behind), set(NUMBERS[:30])
    people = [person, other_person]
    for turn in range(behind + 1):
        if turn == 1 or not behind:
            person.sync(*BOOK)
        if turn:
            now ^= set(rng.sample(NUMBERS, 2))
            patched.merge = 8 if turn % 8 == 0 else 0
            patched.patched = frozenset({"49"} if turn % 100 else ())
            patched.publish(*sorted(now), when=datetime.now(UTC))
    for one in people:
        assert found(one.sync(*BOOK)) == now & set(BOOK)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_two_clients_at_random_times_agree_with_the_truth(patched, person, other_person, seed):
    rng, now, last = random.Random(seed), set(NUMBERS[:30]), {person: set(), other_person: set()}
    for _ in range(40):
        now = now ^ set(rng.sample(NUMBERS, rng.randrange(1, 6)))
        patched.merge = rng.choice((0, 0, 2, 3))
        patched.patched = frozenset({"49"} if rng.random() < 0.9 else ())
        patched.publish(*sorted(now))
        for one, known in list(last.items()):
            if rng.random() < 0.3:
                report = one.sync(*BOOK, partitions=rng.choice(("all", "mine")))
                truth = now & set(BOOK)
                assert found(report) == truth
                if known:
                    assert {match.identifier[4:] for match in report.joined} == truth - known
                    assert {match.identifier[4:] for match in report.left} == known - truth
                last[one] = truth


@pytest.mark.slow
def test_screen_mode_asks_for_one_list_while_the_base_stays(screened, person):
    assert found(person.sync(*BOOK, privacy="screen")) == set(NUMBERS[:30])
    assert fetched(screened) == ["S", "B"], "the screen, and ranges of the base"
    for first in range(1, 4):
        screened.publish(*NUMBERS[first : 32 + first])
        report = person.sync(*BOOK, privacy="screen")
        assert found(report) == set(NUMBERS[first : 32 + first])
        assert fetched(screened) == [f"{first}-{first + 1}"], "who joined and left is told by the patch alone"
        assert report.leak_odds == {"49": 2.0}
    # Another contact is another question: it is asked of the same base.
    report = person.sync(*NUMBERS[:52], privacy="screen")
    assert found(report) == set(NUMBERS[3:35])
    assert fetched(screened) == ["B"]


@pytest.mark.slow
def test_where_many_pass_the_screen_the_base_comes_and_the_patches_stay(screened, person):
    screened.publish(*NUMBERS[1:31])
    report = person.sync(*BOOK, privacy="screen", buckets=120)
    assert found(report) == set(NUMBERS[1:31])
    assert "B" in fetched(screened)
    screened.publish(*NUMBERS[2:31])
    assert found(person.sync(*BOOK, privacy="screen", buckets=120)) == set(NUMBERS[2:31])
    assert fetched(screened) == ["2-3"]


def test_what_is_allowed_counts_patches_too(patched, person):
    patched.publish(*NUMBERS[1:31])
    partition = german(patched)
    with pytest.raises(ChoiceNeeded, match="no file was fetched"):
        person.sync(*BOOK, max_download=partition.base.length + partition.patches.files[0].file.length)
    assert fetched(patched) == []


def test_a_base_that_is_written_anew_while_it_is_fetched(patched, person):
    """The server has removed what a client asks for: it looks for a newer manifest, and finds it."""
    patched.publish(*NUMBERS[1:31])
    gone = german(patched)

    def rewrite(request, _reply):
        if gone.patches.files[-1].file.sha256 in request.path and german(patched) == gone:
            patched.patched = frozenset()
            patched.publish(*NUMBERS[2:31])
            for file in gone.files():
                (patched.folder / "data" / file.sha256).unlink()
            reply = patched.answer(request)
            _reply.status, _reply.headers, _reply.body = reply.status, reply.headers, reply.body

    patched.tamper = rewrite
    assert found(person.sync(*BOOK)) == set(NUMBERS[2:31])
    assert german(patched) != gone


# ---- a server that means harm -----------------------------------------------------------------------------


def forge(service, change):
    """Publish an edition whose last patch was changed, and which is stated as it is."""
    data, partition = service.folder / "data", german(service)
    *before, last = partition.patches.files
    forged = change(read_delta(data / last.file.sha256))
    file = write_delta_of(data / "new", forged)
    (data / "new").rename(data / file.sha256)
    patches = replace(partition.patches, files=(*before, replace(last, file=file)))
    manifest = replace(
        service.manifest,
        edition=service.manifest.edition + 1,
        previous=service.manifest.sha256(),
        partitions={"49": replace(partition, patches=patches)},
    )
    service.repository.publish([manifest], service.signers, datetime.now(UTC))
    service.manifest = manifest


@pytest.mark.parametrize("book", [BOOK, ["+4930111111"]], ids=["a book", "a book of strangers"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda one: replace(one, new_sha256="ab" * 32), "do not lead"),
        (lambda one: replace(one, old_sha256="ab" * 32), "do not lead"),
        (lambda one: replace(one, old_count=one.old_count + 1, new_count=one.new_count + 1), "do not lead"),
        (lambda one: replace(one, from_edition=1), "do not lead"),
        (
            lambda one: replace(
                one,
                removed=one.added,
                added=one.removed,
                new_count=one.old_count + len(one.removed) - len(one.added),
            ),
            "do not lead|not present|already present",
        ),
    ],
    ids=["another end", "another beginning", "another count", "other editions", "turned round"],
)
def test_a_bad_patch_is_refused_whoever_is_in_the_book(patched, person, book, change, why):
    patched.publish(*NUMBERS[1:31])
    patched.publish(*NUMBERS[2:32])
    forge(patched, change)
    points = len(patched.asked("/evaluate/"))
    with pytest.raises(BadDirectory, match=why):
        person.sync(*book)
    assert len(patched.asked("/evaluate/")) == points, "before anything was asked"
    # An honest edition is taken again.
    patched.patched = frozenset()
    patched.publish(*NUMBERS[3:31])
    assert found(person.sync(*BOOK)) == set(NUMBERS[3:31])


def test_a_patch_that_takes_out_who_is_not_there_is_refused(patched, person):
    """Or the server could learn who has a contact of that token: by the error, or by what comes next."""
    patched.publish(*NUMBERS[1:31])
    patched.publish(*NUMBERS[2:31], NUMBERS[40])
    before = read_delta(patched.folder / "data" / german(patched).patches.files[0].file.sha256)
    # The one who left first is taken out once more.
    forge(patched, lambda one: replace(one, removed=before.removed))
    with pytest.raises(BadDirectory, match="not present"):
        person.sync("+4930111111")


@pytest.mark.parametrize("book", [BOOK, ["+4930111111"]], ids=["a book", "a book of strangers"])
def test_another_state_of_the_same_patches_is_found_by_everybody(patched, person, book):
    """Nothing is fetched then, and who has no contact there must find out, too."""
    patched.publish(*NUMBERS[1:31])
    person.sync(*book)
    partition = german(patched)
    patches = replace(partition.patches, state="ab" * 32)
    manifest = replace(
        patched.manifest,
        edition=3,
        previous=patched.manifest.sha256(),
        partitions={"49": replace(partition, patches=patches)},
    )
    patched.repository.publish([manifest], patched.signers, datetime.now(UTC))
    patched.manifest = manifest
    points = len(patched.asked("/evaluate/"))
    with pytest.raises(BadDirectory, match="do not lead"):
        person.sync(*book)
    with pytest.raises(BadDirectory, match="do not lead"):
        person.sync("+33123456789")
    assert len(patched.asked("/evaluate/")) == points


# ---- what is stored ---------------------------------------------------------------------------------------


def test_what_is_held_survives_being_written_down(patched, person):
    patched.publish(*NUMBERS[1:31])
    person.sync(*BOOK)
    from contactsync.client.cache import Cache

    with Cache(person.server.cache, person.server.url) as cache:
        (holding,) = cache.holdings("people", 1).values()
    assert len(holding.patches) == 1
    assert unpack_holding(pack_holding(holding)) == holding
    without = replace(holding, patches=())
    assert pack_holding(without).count("[") == pack_holding(holding).count("[") - 3, (
        "as versions before wrote it"
    )
    assert unpack_holding(pack_holding(without)) == without


def test_a_patch_that_is_damaged_on_the_disk_is_fetched_again(patched, person):
    patched.publish(*NUMBERS[1:31])
    person.sync(*BOOK)
    path = person.server.data / german(patched).patches.files[0].file.sha256
    path.write_bytes(path.read_bytes()[:-8])
    patched.publish(*NUMBERS[2:31])
    assert found(person.sync(*BOOK)) == set(NUMBERS[2:31])


# ---- editions that nobody can follow any more -------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rewritten", [False, True], ids=["the base stays", "by a delta, before"])
def test_after_a_gap_in_the_history_a_base_is_known_by_its_hash(patched, person, rewritten):
    """So who syncs twice a day, where there are 144 editions, fetches patches and no base."""
    person.sync(*BOOK)
    if rewritten:
        patched.patched = frozenset()
        patched.publish(*NUMBERS[:31])
        patched.patched = frozenset({"49"})
        patched.publish(*NUMBERS[:32])
        person.sync(*BOOK)
    for turn in range(40):
        patched.merge = 8 if turn % 8 == 7 else 0
        patched.publish(*NUMBERS[turn % 20 : 35])
    patched.requests.clear()
    report = person.sync(*BOOK)
    assert report.unchecked is not None
    assert found(report) == set(NUMBERS[19:35])
    assert "B" not in fetched(patched)
    assert found(person.sync(*NUMBERS)) == set(NUMBERS[19:35])
    assert fetched(patched) == []


@pytest.mark.slow
def test_after_a_gap_another_base_of_the_same_edition_is_another_base(patched, person, tmp_path):
    """A server that was restored from a backup and went on: the edition has the number, not the base."""
    shutil.copytree(patched.folder, tmp_path / "backup")
    before, contents = patched.manifest, {key: dict(one) for key, one in patched.contents.items()}
    patched.patched = frozenset()
    patched.publish(*NUMBERS[:33])
    person.sync(*BOOK)
    shutil.rmtree(patched.folder)
    shutil.copytree(tmp_path / "backup", patched.folder)
    patched.manifest, patched.contents = before, contents
    patched.publish(*NUMBERS[10:40])
    patched.patched = frozenset({"49"})
    for turn in range(40):
        patched.merge = 8 if turn % 8 == 7 else 0
        patched.publish(*NUMBERS[10 + turn % 5 : 40])
    assert german(patched).edition == 2, "as the one that was matched"
    patched.requests.clear()
    assert found(person.sync(*BOOK)) == set(NUMBERS[14:40])
    assert "B" in fetched(patched)
