"""Syncs while two epochs overlap, and after it: when a client moves, what it sends, fetches and keeps."""

import json
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from simulated_service import Person, problem

from contactsync.client import epochs as module
from contactsync.client.cache import Cache
from contactsync.client.core.mode import AskedList
from contactsync.client.ledger import Ledger
from contactsync.client.moving import MARGIN, Move, choose, keep_move, recall_moves
from contactsync.foundation.errors import BadSignature, NetworkError, Refused

ANNA, BODO, CARL, DORA = "+491512345671", "+491512345672", "+447911123456", "+491512345674"
DAY = 86_400
WEEK = 7 * DAY


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The clients' clock; `clock[0]` seconds are added to it."""
    ahead = [0]

    class Clock:
        time = staticmethod(lambda: time.time() + ahead[0])

    monkeypatch.setattr(module, "time", Clock)
    return ahead


def in_a_week():
    return int(time.time()) + WEEK


def members(report):
    return {match.identifier for match in report.matches}


def sent(service):
    """Points by the epoch that they were sent for, since the last call; data files that were fetched."""
    points = Counter()
    for request in service.requests:
        if "/evaluate/" in request.path:
            points[int(request.path.rpartition("/")[2])] += len(request.body) // 32
    files = len(service.asked("/v1/data/"))
    service.requests.clear()
    return dict(points), files


def move_now(person, clock):
    """Let the time come that the client has drawn."""
    clock[0] = recall_moves(person.server.moves)["people"].at - int(time.time()) + 1


@pytest.fixture
def moved(service, person, clock):
    """A client of epoch 1 that has moved to the announced epoch 2; what came before is forgotten."""
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO, CARL)
    service.announce(ANNA, CARL, until=in_a_week())
    person.sync(ANNA, BODO, CARL)
    move_now(person, clock)
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition) == (2, 1)
    service.requests.clear()
    return person


@pytest.mark.slow
def test_a_client_moves_at_its_own_time_and_not_before(service, person, clock):
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO, CARL, cover=False)
    service.announce(ANNA, CARL, until=in_a_week())
    sent(service)
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition) == (1, 2)
    assert sent(service) == ({}, 0), "nothing of the next epoch yet"
    move = recall_moves(person.server.moves)["people"]
    assert (move.epoch, move.public_key, move.moved) == (2, service.next_key.public.hex(), False)
    assert time.time() - 60 < move.at < in_a_week() - WEEK // MARGIN + 60
    person.sync(ANNA, BODO, CARL, cover=False)
    assert recall_moves(person.server.moves)["people"] == move, "drawn once"
    move_now(person, clock)
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition) == (2, 1)
    assert members(report) == {f"tel:{ANNA}", f"tel:{CARL}"}
    assert (report.joined, report.left) == ([], []), "findings outlive the epoch"
    assert sent(service) == ({2: 8}, 2)
    clock[0] = 0
    assert person.sync(ANNA, BODO, CARL, cover=False).epoch == 2, "it does not go back"
    assert sent(service) == ({}, 0)


@pytest.mark.slow
def test_deltas_and_new_contacts_in_the_announced_epoch(service, moved):
    service.publish(ANNA, BODO, CARL)
    report = moved.sync(ANNA, BODO, CARL, DORA, cover=False)
    assert (report.epoch, report.edition) == (2, 2)
    assert members(report) == {f"tel:{ANNA}", f"tel:{BODO}", f"tel:{CARL}"}
    assert [match.identifier for match in report.joined] == [f"tel:{BODO}"]
    assert sent(service)[0] == {2: 8}


@pytest.mark.slow
@pytest.mark.parametrize("editions", [0, 1, 2])
def test_after_having_moved_the_promotion_costs_nothing(service, moved, editions):
    """`editions` of the announcement, with deltas, that the client saw after it had moved."""
    crowd = [f"+4915123457{number:03}" for number in range(300)]
    for number in range(editions):
        service.publish(ANNA, CARL, *crowd, *([BODO] if number else []))
        moved.sync(ANNA, BODO, CARL, cover=False)
    sent(service)
    service.promote()
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition) == (2, 1)
    assert members(report) == {f"tel:{ANNA}", f"tel:{CARL}"} | ({f"tel:{BODO}"} if editions == 2 else set())
    assert (report.joined, report.left, report.evaluated, report.withdrawn) == ([], [], 0, None)
    assert sent(service) == ({}, 0)
    assert not recall_moves(moved.server.moves)
    # From there on by deltas.
    service.publish(ANNA, CARL, *crowd)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert members(report) == {f"tel:{ANNA}", f"tel:{CARL}"}
    assert (report.edition, sent(service)[0]) == (2, {})


@pytest.mark.slow
def test_the_promotion_is_skipped(service, moved):
    """The client sees only edition 3 of the epoch: it goes on from edition 1, which it met on its walk."""
    crowd = [f"+4915123457{number:03}" for number in range(300)]
    service.publish(ANNA, CARL, *crowd)
    moved.sync(ANNA, BODO, CARL, cover=False)
    service.promote()
    service.publish(ANNA, CARL, *crowd, BODO)
    service.publish(CARL, *crowd, BODO)
    sent(service)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition) == (2, 3)
    assert members(report) == {f"tel:{BODO}", f"tel:{CARL}"}
    german = service.manifest.partitions["49"]
    fetched = {path.rpartition("/")[2] for path in service.asked("/v1/data/")}
    assert fetched == {delta.file.sha256 for delta in german.deltas}, "two deltas, no base"
    assert sent(service)[0] == {}


@pytest.mark.slow
def test_an_announced_edition_number_is_never_taken_for_one_of_the_epoch(service, moved):
    """Edition 3 of the announcement has Anna, edition 3 of the epoch has not: the numbers begin again."""
    service.publish(ANNA, CARL, DORA)
    service.publish(ANNA, CARL, BODO)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition) == (2, 3)
    assert members(report) == {f"tel:{ANNA}", f"tel:{BODO}", f"tel:{CARL}"}
    service.promote()
    service.publish(ANNA, CARL)
    service.publish(CARL)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition, service.manifest.partitions["44"].edition) == (2, 3, 1)
    assert members(report) == {f"tel:{CARL}"}


@pytest.mark.slow
def test_what_was_announced_last_was_not_seen(service, moved):
    """Tokens stay; the partition that changed unseen is fetched; the other one is not."""
    service.publish(ANNA, BODO, CARL)
    service.promote()
    sent(service)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert members(report) == {f"tel:{ANNA}", f"tel:{BODO}", f"tel:{CARL}"}
    assert sent(service) == ({}, 1)


@pytest.mark.slow
def test_a_client_that_comes_late(service, person):
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO, CARL)
    service.announce(ANNA, CARL, until=in_a_week())
    service.promote()
    sent(service)
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.edition, members(report)) == (2, 1, {f"tel:{ANNA}", f"tel:{CARL}"})
    assert (report.withdrawn, sent(service)) == (None, ({2: 8}, 2))


@pytest.mark.slow
def test_a_new_client_has_nothing_evaluated_twice(service, person):
    service.publish(ANNA, CARL)
    service.announce(ANNA, CARL, until=in_a_week())
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, members(report)) == (2, {f"tel:{ANNA}", f"tel:{CARL}"})
    service.promote()
    sent(service)
    person.sync(ANNA, BODO, CARL, cover=False)
    assert sent(service) == ({}, 0)


@pytest.mark.slow
def test_a_rotation_that_is_taken_back_costs_nobody_points(service, moved):
    service.take_back(ANNA, CARL, BODO)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.withdrawn) == (1, 2)
    assert members(report) == {f"tel:{ANNA}", f"tel:{BODO}", f"tel:{CARL}"}
    assert sent(service)[0] == {}, "the tokens of the epoch were kept"
    assert moved.sync(ANNA, BODO, CARL, cover=False).withdrawn is None, "said once"
    with Cache(moved.server.cache, moved.server.url) as cache:
        assert not cache.has_tokens("people", 2)


@pytest.mark.slow
@pytest.mark.parametrize("between", [True, False])
def test_another_key_after_a_rotation_was_taken_back(service, moved, clock, between):
    """`between`: the client has synced in between. Its tokens of the first key are used for nothing."""
    service.take_back(ANNA, CARL)
    if between:
        moved.sync(ANNA, BODO, CARL)
    service.announce(ANNA, CARL, until=in_a_week(), seed=1)
    report = moved.sync(ANNA, BODO, CARL)
    assert report.epoch == 1, "another rotation, another time"
    assert report.withdrawn == (None if between else 2)
    move_now(moved, clock)
    sent(service)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, members(report)) == (2, {f"tel:{ANNA}", f"tel:{CARL}"})
    assert (report.withdrawn, sent(service)[0]) == (None, {2: 8})


@pytest.mark.slow
@pytest.mark.parametrize("withdrawn_first", [True, False])
def test_an_emergency_after_the_client_has_moved(service, moved, withdrawn_first):
    """The epoch comes with another key than announced. Nothing that was prepared is used."""
    if withdrawn_first:
        service.take_back(ANNA, CARL)
    service.epoch, service.until = 2, None
    service.key = service.key_of(2, seed=5)
    service.publish(CARL, BODO, edition=1)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, report.withdrawn) == (2, 2)
    assert members(report) == {f"tel:{CARL}", f"tel:{BODO}"}
    assert sent(service) == ({2: 8}, 2)
    assert moved.sync(ANNA, BODO, CARL, cover=False).withdrawn is None


@pytest.mark.slow
@pytest.mark.parametrize("change", ["public_key", "until", "edition"])
def test_an_announcement_must_not_change(service, person, change):
    """The attack: another key for this client, from one edition to the next."""
    service.publish(ANNA, CARL)
    service.announce(ANNA, CARL, until=in_a_week())
    service.publish(ANNA, CARL, BODO)
    person.sync(ANNA)
    last = service.manifest
    other = {"public_key": service.key_of(7).public, "until": last.next.until + 1, "edition": 1}
    partitions = {name: replace(p, edition=1, deltas=()) for name, p in last.next.partitions.items()}
    after = replace(last.next, partitions=partitions, **{change: other[change]})
    service.manifest = replace(last, edition=4, previous=last.sha256(), next=after)
    service.repository.publish([service.manifest], service.signers, datetime.now(UTC))
    with pytest.raises(BadSignature, match="what was announced of epoch 2 changed"):
        person.sync(ANNA)


def test_clients_spread_over_the_overlap(service):
    """Many clients spread evenly over the overlap, but for its last quarter."""
    service.publish(ANNA, CARL)
    service.announce(ANNA, CARL, until=2_000_000_000)
    now = 2_000_000_000 - WEEK
    drawn = [choose(service.manifest, None, now=now, is_first=False).move.at - now for _ in range(4000)]
    latest = WEEK * (MARGIN - 1) // MARGIN
    assert 0 <= min(drawn) < latest / 100
    assert latest * 0.99 < max(drawn) <= latest
    by_eighth = Counter(at * 8 // (latest + 1) for at in drawn)
    assert all(400 < by_eighth[eighth] < 600 for eighth in range(8)), "500 each, if it is even"


@pytest.mark.parametrize(
    ("until", "latest"), [(1, 0), (1000, 0), (1001, 0), (1004, 3), (253_402_300_799, 253_402_300_799)]
)
def test_any_end_of_the_overlap(service, until, latest):
    """One that is over, or beyond any calendar: clients move at once, or never, and nothing breaks."""
    service.publish(ANNA)
    service.announce(ANNA, until=until)
    for _ in range(20):
        choice = choose(service.manifest, None, now=1000, is_first=False)
        assert 1000 <= choice.move.at <= 1000 + latest
        assert (choice.manifest.epoch == 2) is (choice.move.at == 1000)


@pytest.mark.slow
def test_a_damaged_record_of_the_time(service, moved):
    moved.server.moves.write_text("{")
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert members(report) == {f"tel:{ANNA}", f"tel:{CARL}"}
    assert sent(service)[0] == {}, "it may go back: the tokens of both are there"
    keep_move(moved.server.moves, "business", Move(5, "ab", 1))
    assert set(recall_moves(moved.server.moves)) == {"people", "business"}
    moved.server.moves.write_text(json.dumps({"audiences": {"people": {"epoch": "2"}}}))
    assert recall_moves(moved.server.moves) == {}


@pytest.mark.slow
def test_forget_takes_the_record_with_it(moved):
    assert moved.server.moves.exists()
    moved.state.forget(moved.server.folder)
    assert not moved.server.moves.exists()


@pytest.mark.slow
def test_contacts_that_left_the_book_go_when_the_old_epoch_is_over(service, moved):
    moved.sync(ANNA, CARL)
    with Cache(moved.server.cache, moved.server.url) as cache:
        assert cache.tokens("people", 1, [f"tel:{BODO}".encode()]).known.all()
    service.promote()
    moved.sync(ANNA, CARL)
    with Cache(moved.server.cache, moved.server.url) as cache:
        assert not cache.has_tokens("people", 1)


@pytest.mark.slow
def test_a_sync_that_is_cut_while_it_moves(service, person, clock):
    """From then on it stays with the next epoch, and sends the batch that was not answered, and no other."""
    service.publish(ANNA, CARL)
    person.sync(ANNA, BODO, CARL)
    service.announce(ANNA, CARL, until=in_a_week())
    person.sync(ANNA, BODO, CARL)
    move_now(person, clock)

    def cut(request, reply):
        if "/evaluate/" in request.path:
            reply.cut = 10

    service.tamper = cut
    with pytest.raises(NetworkError):
        person.sync(ANNA, BODO, CARL, cover=False)
    service.tamper = lambda *_: None
    sent(service)
    clock[0] = 0
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, members(report)) == (2, {f"tel:{ANNA}", f"tel:{CARL}"})
    assert sent(service)[0] == {2: 8}


@pytest.mark.slow
def test_a_cut_between_two_rounds_is_continued_after_the_promotion(service, person, clock):
    service.publish(ANNA, CARL)
    person.sync(ANNA)
    service.announce(ANNA, CARL, until=in_a_week())
    person.sync(ANNA)
    move_now(person, clock)
    service.tamper = lambda request, reply: setattr(reply, "cut", 9) if "/evaluate/" in request.path else None
    with pytest.raises(NetworkError):
        person.sync(ANNA, BODO, CARL, cover=False)
    with Cache(person.server.cache, person.server.url) as cache:
        (waiting,) = cache.unfinished_round("people", 2)
    service.tamper = lambda *_: None
    service.promote()
    sent(service)
    report = person.sync(ANNA, BODO, CARL, cover=False)
    assert (sent(service)[0], report.evaluated) == ({2: 8}, waiting.size)
    assert members(report) == {f"tel:{ANNA}", f"tel:{CARL}"}


@pytest.mark.slow
def test_killed_after_the_promoted_manifest_was_kept(service, moved, monkeypatch):
    """The numbers are changed in the next run: at worst files are fetched, and no point is sent."""
    service.publish(ANNA, CARL, DORA)
    moved.sync(ANNA, BODO, CARL, cover=False)
    service.promote()
    service.publish(ANNA, CARL, BODO)
    with monkeypatch.context() as patch:
        patch.setattr(Cache, "promote", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            moved.sync(ANNA, BODO, CARL, cover=False)
    sent(service)
    report = moved.sync(ANNA, BODO, CARL, cover=False)
    assert members(report) == {f"tel:{ANNA}", f"tel:{BODO}", f"tel:{CARL}"}
    assert sent(service)[0] == {}


@pytest.mark.slow
def test_a_promotion_in_the_middle_of_a_run(service, moved, clock):
    """The old epoch is refused with 409: the run begins again, in the epoch that is in force."""
    other = Person(moved.folder, service)
    other.sync(ANNA)
    keep_move(other.server.moves, "people", Move(2, service.next_key.public.hex(), 4_000_000_000))

    def promote_before_the_answer(request, reply):
        if request.path.endswith("/evaluate/people/1") and service.epoch == 1:
            service.promote()
            refusal = problem(409, "epoch-changed", "the current epoch is 2", epoch=2)
            reply.status, reply.headers, reply.body = refusal.status, refusal.headers, refusal.body

    service.tamper = promote_before_the_answer
    report = other.sync(ANNA, BODO, CARL, cover=False)
    assert (report.epoch, members(report)) == (2, {f"tel:{ANNA}", f"tel:{CARL}"})


# Screen mode: what lists tell


LIST = AskedList(2, 17, 3, b"seed", (1, 5, 9))


def ledger_of(tmp_path, *, edition):
    ledger = Ledger.open(tmp_path / "ledger.json", "http://x")
    ledger.record("people", "49", replace(LIST, edition=edition), total=32)
    ledger.record("people", "44", replace(LIST, epoch=1, edition=edition), total=32)
    return ledger


def test_a_list_that_was_not_answered_is_the_same_list_after_the_promotion(tmp_path):
    """It is asked for again, and not counted again. One of another edition is another list."""
    ledger = ledger_of(tmp_path, edition=3)
    ledger.promoted("people", 2, {"49": 3})
    again = Ledger.open(tmp_path / "ledger.json", "http://x")
    assert again.asked("people", 2) == {"49": replace(LIST, edition=1)}
    again.record("people", "49", replace(LIST, edition=1), total=32)
    assert [one.lists for one in again.told] == [1, 1]
    ledger = ledger_of(tmp_path, edition=4)
    ledger.promoted("people", 2, {"49": 3})
    assert ledger.asked("people", 2) == {"49": replace(LIST, edition=0)}, "it can be no list for edition 4"
    ledger.withdrawn("people", 2)
    assert ledger.asked("people", 2) == {}
    assert set(Ledger.open(tmp_path / "ledger.json", "http://x").asked("people", 1)) == {"44"}
    assert sum(one.lists for one in ledger.told) == 4, "what was told stays told"


SCREEN = {"privacy": "screen", "buckets": 16, "cover": False}


def told(person):
    ledger = Ledger.open(person.server.ledger, person.server.url)
    return [one.lists for one in ledger.told], ledger.odds()


@pytest.mark.slow
def test_a_rotation_costs_one_list_as_a_new_epoch_does(service, person, other_person, clock):
    """A client in screen mode stays until the epoch begins; a new one uses the announced epoch, and stays."""
    service.crowd = {"49": 400_000}
    service.publish(ANNA, CARL)
    assert person.sync(ANNA, BODO, **SCREEN).epoch == 1
    assert told(person) == ([1], {"49": 8.0})
    service.announce(ANNA, CARL, until=in_a_week())
    clock[0] = WEEK - 60
    report = person.sync(ANNA, BODO, **SCREEN)
    assert (report.epoch, report.edition, told(person)) == (1, 2, ([1], {"49": 8.0}))
    service.requests.clear()
    report = other_person.sync(ANNA, BODO, **SCREEN)
    assert (report.epoch, members(report), told(other_person)) == (2, {f"tel:{ANNA}"}, ([1], {"49": 8.0}))
    paths = [request.path for request in service.requests]
    first_point = next(i for i, path in enumerate(paths) if "/evaluate/" in path)
    screen = service.manifest.next.partitions["49"].screen.sha256
    assert paths.index(f"/v1/data/{screen}") < first_point, "files first, then points"
    service.promote()
    sent(service)
    report = other_person.sync(ANNA, BODO, **SCREEN)
    assert (report.epoch, report.edition, members(report)) == (2, 1, {f"tel:{ANNA}"})
    assert (sent(service), told(other_person)) == (({}, 0), ([1], {"49": 8.0}))
    report = person.sync(ANNA, BODO, **SCREEN)
    assert (report.epoch, members(report), told(person)) == (2, {f"tel:{ANNA}"}, ([2], {"49": 64.0}))


@pytest.mark.slow
def test_no_second_list_when_the_run_begins_again(service, moved):
    """Told once, the run is not repeated, in whichever of the two epochs: the error says to sync again."""
    service.publish(ANNA, CARL, BODO)
    session_told = []

    def refuse(request, reply):
        if "/evaluate/" in request.path:
            session_told.append(request.path)
            refusal = problem(409, "epoch-changed", "the current epoch is 1", epoch=1)
            reply.status, reply.headers, reply.body = refusal.status, refusal.headers, refusal.body

    service.tamper = refuse
    with pytest.raises(Refused):
        moved.sync(ANNA, BODO, CARL, DORA, cover=False)
    assert session_told == ["/v1/evaluate/people/2"], "no other epoch is tried without another manifest"
