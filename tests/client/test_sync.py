"""A sync against a real server on a socket: what is found, what is sent, what is kept when it goes wrong."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from contactsync.client.cache import Cache
from contactsync.foundation.errors import (
    BadDirectory,
    BadProof,
    BadReply,
    BadSignature,
    ChoiceNeeded,
    ContactSyncError,
    NetworkError,
    OurError,
    Refused,
)
from contactsync.publication.manifest import Manifest
from contactsync.voprf.server import derive_key_pair

ANNA, BODO, CARL, DORA = "+491512345671", "+491512345672", "+447911123456", "+5511987654321"


def found(matches):
    return [match.identifier.removeprefix("tel:") for match in matches]


def test_first_sync_finds_the_members_and_nobody_else(service, person):
    service.publish(ANNA, CARL)
    report = person.sync(ANNA, BODO, CARL, DORA)
    assert found(report.matches) == [ANNA, CARL]
    assert (report.identifiers, report.new_identifiers, report.evaluated) == (4, 4, 8)
    assert (report.epoch, report.edition, report.joined, report.left) == (1, 1, [], [])
    assert "0 to 8 new numbers" in report.leak


@pytest.mark.slow
def test_second_sync_evaluates_only_what_is_new_and_downloads_nothing_again(service, person):
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO)
    service.requests.clear()
    report = person.sync(ANNA, BODO, cover=False)
    assert (report.new_identifiers, report.evaluated, found(report.matches)) == (0, 0, [ANNA])
    assert service.asked("/evaluate/") == service.asked("/data/") == []
    report = person.sync(ANNA, BODO, DORA)
    assert (report.new_identifiers, report.evaluated) == (1, 8)
    assert service.asked("/data/") == []


@pytest.mark.slow
def test_joined_and_left_compare_with_the_last_sync_across_epochs(service, person):
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO, CARL)
    service.publish(BODO, CARL)
    report = person.sync(ANNA, BODO, CARL, DORA)
    assert (found(report.joined), found(report.left)) == ([BODO], [ANNA])
    service.rotate(ANNA, CARL, DORA)
    report = person.sync(ANNA, BODO, CARL, DORA)
    assert report.new_identifiers == 4
    assert (found(report.joined), found(report.left)) == ([ANNA, DORA], [BODO])
    report = person.sync(ANNA, BODO, CARL, DORA)
    assert (report.joined, report.left) == ([], [])


@pytest.mark.slow
def test_only_partitions_of_the_book_are_fetched_when_asked_for(service, person):
    service.publish(ANNA, CARL, DORA)
    report = person.sync(ANNA, partitions="mine")
    assert len(service.asked("/data/")) == 1
    assert "+49" in report.leak
    report = person.sync(ANNA, partitions="mine")
    assert found(report.matches) == [ANNA]
    assert "+49" not in report.leak


@pytest.mark.slow
def test_numbers_of_a_country_without_members_are_no_matches(service, person):
    service.publish(ANNA)
    assert person.sync(CARL, "+33612345678").matches == []
    service.publish(ANNA, CARL)
    assert found(person.sync(CARL).joined) == [CARL]


@pytest.mark.slow
def test_two_fresh_syncs_share_no_point(service, person, other_person):
    service.publish(ANNA)
    points = []
    for one in (person, other_person):
        service.requests.clear()
        one.sync(ANNA, BODO)
        (body,) = [request.body for request in service.requests if request.method == "POST"]
        points.append({body[i : i + 32] for i in range(0, len(body), 32)})
    assert len(points[0]) == len(points[1]) == 8
    assert not points[0] & points[1]


def test_too_large_a_download_stops_before_anything_is_sent(service, person):
    service.publish(ANNA, CARL, DORA)
    with pytest.raises(ChoiceNeeded) as stopped:
        person.sync(ANNA, max_download=1000)
    assert "--partitions mine" in stopped.value.hint
    assert service.asked("/evaluate/") == service.asked("/data/") == []


@pytest.mark.slow
def test_a_large_book_goes_in_batches_and_what_was_proven_survives_a_cut(service, person, monkeypatch):
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 8)
    service.publish(ANNA)
    numbers = [f"+49151234567{i:02}" for i in range(20)]

    def cut(request, reply):
        if request.method == "POST" and len(service.asked("/evaluate/")) > 2:
            reply.cut = 100

    service.tamper = cut
    with pytest.raises(NetworkError):
        person.sync(*numbers)
    with Cache(person.server.cache, service.url) as cache:
        kept = cache.counts()["tokens"]
        assert cache.counts() == {"identifiers": kept, "matches": 0, "tokens": kept}
    assert 0 < kept <= 16
    service.tamper = lambda *_: None
    report = person.sync(*numbers)
    assert report.new_identifiers == 20 - kept


@pytest.mark.slow
def test_a_publish_during_the_sync_is_followed_once(service, person):
    service.publish(ANNA)

    def rotate(request, reply):
        if request.method == "GET" and "/targets/" in request.path and service.epoch == 1:
            service.rotate(ANNA, BODO)

    service.tamper = rotate
    report = person.sync(ANNA, BODO)
    assert (report.epoch, found(report.matches)) == (2, [ANNA, BODO])


@pytest.mark.slow
def test_an_epoch_that_is_always_over_is_an_error(service, person):
    service.publish(ANNA)
    service.epoch = 7
    with pytest.raises(Refused, match="current epoch"):
        person.sync(ANNA)


def flip(part, place):
    def tamper(request, reply):
        if part in request.path and reply.status < 300 and reply.body:
            body = bytearray(reply.body)
            body[place % len(body)] ^= 1
            reply.body = bytes(body)

    return tamper


def cut_off(part):
    def tamper(request, reply):
        if part in request.path:
            reply.cut = len(reply.body) // 2

    return tamper


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "error"),
    [
        (flip("timestamp.json", 300), BadSignature),
        (flip("snapshot.json", 200), BadSignature),
        (flip("people.json", 100), BadSignature),
        (flip("/data/", 70), BadDirectory),
        (flip("/data/", -1), BadDirectory),
        (flip("/evaluate/", -1), BadProof),
        (flip("/evaluate/", 0), (BadProof, BadReply)),
        (cut_off("/timestamp.json"), NetworkError),
        (cut_off("/evaluate/"), NetworkError),
    ],
)
def test_what_must_not_be_believed_changes_no_result(service, person, tamper, error):
    service.publish(ANNA)
    person.sync(ANNA)
    before = person.snapshot()
    service.publish(ANNA, BODO)
    service.tamper = tamper
    with pytest.raises(error) as raised:
        person.sync(ANNA, BODO)
    assert raised.value.hint
    after = person.snapshot()
    assert {name: after[name] for name in before if "cache" not in name.name} == {
        name: data for name, data in before.items() if "cache" not in name.name
    }
    service.tamper = lambda *_: None
    assert found(person.sync(ANNA, BODO).matches) == [ANNA, BODO]


@pytest.mark.slow
def test_an_evaluation_with_another_key_keeps_nothing(service, person):
    service.publish(ANNA)
    key, service.key = service.key, derive_key_pair(b"x" * 32, b"another key")
    with pytest.raises(BadProof):
        person.sync(ANNA)
    with Cache(person.server.cache, service.url) as cache:
        assert cache.counts()["tokens"] == 0
    service.key = key
    assert found(person.sync(ANNA).matches) == [ANNA]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: b"",
        lambda body: bytes(32) + body[32:],
        lambda body: b"\xff" * 32 + body[32:],
    ],
    ids=["short", "long", "empty", "identity", "not canonical"],
)
def test_a_reply_that_is_malformed(service, person, change):
    def tamper(request, reply):
        if request.method == "POST":
            reply.body = change(reply.body)

    service.publish(ANNA)
    service.tamper = tamper
    with pytest.raises(BadReply):
        person.sync(ANNA)


@pytest.mark.slow
def test_expired_metadata(service, person):
    service.publish(ANNA, when=datetime.now(UTC) - timedelta(days=8))
    with pytest.raises(BadSignature, match="expired"):
        person.sync(ANNA)
    service.publish(ANNA)
    assert found(person.sync(ANNA).matches) == [ANNA]


@pytest.mark.slow
def test_rolled_back_metadata(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    old = {p: p.read_bytes() for p in (service.folder / "metadata").iterdir()}
    service.publish(ANNA, BODO)
    person.sync(ANNA)
    for path, data in old.items():
        path.write_bytes(data)
    with pytest.raises(BadSignature, match="rolled back"):
        person.sync(ANNA)


def test_another_normalisation_profile_is_said(service, person, monkeypatch):
    service.publish(ANNA)
    monkeypatch.setattr("contactsync.client.session.PROFILE", 2)
    with pytest.raises(BadReply, match="profile"):
        person.sync(ANNA)


@pytest.mark.slow
def test_a_wrong_credential_is_refused_and_nothing_kept(service, person):
    service.publish(ANNA)
    before = person.snapshot()
    with pytest.raises(Refused) as refused:
        person.sync(ANNA, transport=person.transport("cs_wrong"))
    assert "credential" in refused.value.hint
    after = person.snapshot()
    cache = person.server.cache.name
    assert {str(path) for path in set(after) - set(before)} == {cache, f"{cache}-journal"}
    service.requests.clear()
    with pytest.raises(Refused):
        person.sync(ANNA, transport=person.transport(None))
    assert not any("authorization" in request.headers for request in service.requests)


@pytest.mark.slow
def test_a_held_file_that_rots_is_fetched_again(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    (path,) = person.server.data.iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert found(person.sync(ANNA, BODO).matches) == [ANNA]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


@pytest.mark.slow
def test_damage_shows_no_country_of_the_book(service, person):
    """All kept files are checked, whosever contact is new; else what is fetched again would tell."""
    service.publish(ANNA, "+12125550100")
    person.sync(ANNA)
    files = list(person.server.data.iterdir())
    assert len(files) == 2
    for path in files:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    service.requests.clear()
    person.sync(ANNA, BODO)
    assert {path.rpartition("/")[2] for path in service.asked("/data/")} == {path.name for path in files}


@pytest.mark.slow
def test_files_that_nothing_names_any_more_are_removed(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    before = {path.name for path in person.server.data.iterdir()}
    service.rotate(ANNA, BODO)
    person.sync(ANNA)
    assert before.isdisjoint(path.name for path in person.server.data.iterdir())


def test_one_sync_at_a_time(service, person):
    service.publish(ANNA)
    with person.server.lock(), pytest.raises(OurError, match="another contactsync"):
        person.sync(ANNA)
    person.sync(ANNA)


def test_a_damaged_cache_is_said_with_a_way_out(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    person.server.cache.write_bytes(b"not a database" * 100)
    with pytest.raises(OurError) as raised:
        person.sync(ANNA)
    assert "forget" in raised.value.hint


@pytest.mark.slow
def test_damage_anywhere_in_the_state_is_one_error_or_none(service, person):
    """Cut, emptied or overwritten: whatever the file, a sync works or says what to do."""
    service.publish(ANNA, CARL)
    person.sync(ANNA)
    whole = {p: p.read_bytes() for p in person.server.folder.rglob("*") if p.is_file() and not p.is_symlink()}
    for path, data in whole.items():
        for damage in (b"", data[: len(data) // 2], b"x" * len(data)):
            path.write_bytes(damage)
            outcome = None
            try:
                person.state.server(service.url)
                outcome = found(person.sync(ANNA, BODO).matches)
            except ContactSyncError as error:
                outcome = error.hint
            assert outcome == [ANNA] or isinstance(outcome, str), path
            assert outcome, path
            for other, content in whole.items():
                other.parent.mkdir(parents=True, exist_ok=True)
                other.write_bytes(content)


def test_everything_kept_is_private(service, person):
    service.publish(ANNA)
    person.sync(ANNA)
    files = [path for path in person.server.folder.rglob("*") if path.is_file()]
    assert len(files) > 6
    assert {path.stat().st_mode & 0o077 for path in [*files, person.server.folder]} == {0}


def with_unknown_partitions(service, **partitions):
    """Publish the current manifest again with these partitions replaced or added, as JSON."""
    value = json.loads(service.manifest.to_bytes())
    value["edition"] += 1
    value["previous"] = service.manifest.sha256()
    for name, members in partitions.items():
        value["partitions"][name] = value["partitions"].get(name.removeprefix("x"), {}) | members
    service.manifest = Manifest.from_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))


@pytest.mark.slow
def test_a_partition_that_needs_a_newer_program_is_not_nobody(service, person):
    """Its contacts are neither matches nor gone; the person is told, and all others are found."""
    service.publish(ANNA, CARL)
    assert found(person.sync(ANNA, CARL).matches) == [ANNA, CARL]
    with_unknown_partitions(service, **{"44": {"critical": ["hashes"], "hashes": 2}})
    report = person.sync(ANNA, CARL)
    assert (found(report.matches), report.left) == ([ANNA], [])
    (unusable,) = report.unusable
    assert (unusable.partition, unusable.identifiers) == ("44", 1)
    assert "hashes" in unusable.reason or "newer" in unusable.reason
    # Once it can be used again, nobody has joined.
    service.publish(ANNA, CARL)
    report = person.sync(ANNA, CARL)
    assert (found(report.matches), report.joined, report.unusable) == ([ANNA, CARL], [], [])
