"""Rounds on a socket: a round that is cut tells no more than a whole one, and no news look like some."""

import itertools
import statistics
import time

import pytest
from simulated_service import problem

from contactsync.client.cache import Cache
from contactsync.client.core import matching
from contactsync.client.transport import Transport
from contactsync.foundation.errors import NetworkError

ANNA, BODO = "+491512345671", "+491512345672"
NUMBERS = [f"+49151{i:07}" for i in range(300)]


def points(service):
    """How many points each request for an evaluation had."""
    return [len(request.body) // 32 for request in service.requests if request.method == "POST"]


def cut_after(service, answered):
    """So many batches are answered, then the server breaks off."""

    def cut(request, reply):
        if request.method == "POST" and len(points(service)) > answered:
            reply.cut = 10

    service.tamper = cut


@pytest.mark.slow
def test_a_round_that_is_cut_again_and_again_tells_no_more_than_a_whole_one(service, person, monkeypatch):
    """Padded anew each time, six aborted rounds told the size of a book to within 0.1 %."""
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 32)
    service.publish(*NUMBERS[:3])
    asked = []
    for _ in range(4):
        service.requests.clear()
        cut_after(service, 3)
        with pytest.raises(NetworkError):
            person.sync(*NUMBERS)
        asked += points(service)[:3]
    service.tamper = lambda *_: None
    service.requests.clear()
    report = person.sync(*NUMBERS)
    asked += points(service)
    assert asked == [32] * 16 + [8], (
        "a round of 512, each batch answered once, whatever was cut; then no news"
    )
    assert len(report.matches) == 3
    with Cache(person.server.cache, service.url) as cache:
        assert cache.unfinished_round("people", 1) == []
        assert cache.counts()["tokens"] == 300


@pytest.mark.slow
def test_who_is_new_meanwhile_gets_a_round_of_their_own(service, person, monkeypatch):
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 32)
    service.publish(*NUMBERS[:3])
    cut_after(service, 1)
    with pytest.raises(NetworkError):
        person.sync(*NUMBERS[:100])
    service.tamper = lambda *_: None
    service.requests.clear()
    report = person.sync(*NUMBERS[:99], ANNA)  # one was removed from the book, one is new
    assert points(service) == [32, 32, 32, 8]
    assert len(report.matches) == 3
    assert report.identifiers == 100


def test_a_round_of_an_epoch_that_is_over_is_dropped(service, person, monkeypatch):
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 32)
    service.publish(*NUMBERS[:3])
    cut_after(service, 1)
    with pytest.raises(NetworkError):
        person.sync(*NUMBERS[:100])
    service.tamper = lambda *_: None
    service.rotate(*NUMBERS[:3])
    service.requests.clear()
    assert len(person.sync(*NUMBERS[:100]).matches) == 3
    assert points(service) == [32] * 4


@pytest.mark.slow
def test_a_sync_without_news_looks_like_one_with_up_to_eight_new(service, person, other_person):
    service.publish(ANNA)
    told = []
    for one, numbers in ((person, [ANNA]), (other_person, [ANNA, BODO])):
        one.sync(ANNA)
        service.requests.clear()
        report = one.sync(*numbers)
        told.append(([(r.method, r.path, len(r.body)) for r in service.requests], report.leak))
    assert told[0] == told[1]
    assert "0 to 8 new numbers" in told[0][1]
    (body,) = [request.body for request in service.requests if request.method == "POST"]
    assert len({body[i : i + 32] for i in range(0, len(body), 32)}) == 8
    service.requests.clear()
    leak = person.sync(ANNA, cover=False).leak
    assert "has nothing new to look up; nothing else about the address book" in leak
    assert points(service) == []


@pytest.mark.slow
def test_a_cover_round_that_is_cut_is_finished_like_a_real_one(service, person, other_person):
    """One POST is not answered, later all are: `[8]` against `[8, 8]` showed which it was."""
    service.publish(ANNA)
    seen = []
    for one, numbers in ((person, [ANNA]), (other_person, [ANNA, BODO])):
        one.sync(ANNA)
        service.requests.clear()
        cut_after(service, 0)
        with pytest.raises(NetworkError):
            one.sync(*numbers)
        service.tamper = lambda *_: None
        service.requests.clear()
        one.sync(*numbers)
        seen.append(points(service))
    assert seen[0] == seen[1] == [8, 8]


@pytest.mark.slow
@pytest.mark.parametrize("cover", [True, False])
def test_a_run_that_finishes_an_older_round_says_that_it_looked_up(service, person, cover):
    """Without a round of its own it said that nothing was looked up."""
    service.publish(ANNA)
    cut_after(service, 0)
    with pytest.raises(NetworkError):
        person.sync(ANNA, cover=cover)
    service.tamper = lambda *_: None
    service.quota = {"left": 8, "burst": 1024, "per_day": 256}
    report = person.sync(ANNA, cover=cover)
    assert len(report.matches) == 1
    assert "to 8 new numbers" in report.leak


@pytest.mark.slow
def test_a_round_whose_first_batch_fails_is_not_padded_anew(service, person, monkeypatch):
    """A new edition of a known epoch and a 404: four batches of the first round were left over, and paid."""
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 32)
    service.publish(*NUMBERS[:3])
    person.sync(ANNA)
    service.requests.clear()

    def once(request, reply):
        if request.method == "POST" and len(points(service)) == 1:
            service.publish(*NUMBERS[:4])
            other = problem(404, "not-found", "no such page")
            reply.status, reply.headers, reply.body = other.status, other.headers, other.body

    service.tamper = once
    person.sync(*NUMBERS[:100])
    assert points(service) == [32] + [32] * 4 + [8]
    with Cache(person.server.cache, service.url) as cache:
        assert cache.unfinished_round("people", 1) == []


@pytest.mark.slow
@pytest.mark.parametrize("lie", [{"left": 0}, {"burst": 8, "left": 0}, {"left": 0, "per_day": 1}])
def test_no_server_can_switch_cover_off_by_lying_about_the_budget(service, person, lie):
    service.publish(ANNA)
    service.quota = {"left": 1024, "burst": 1024, "per_day": 256}
    person.sync(ANNA)
    service.quota |= lie
    answer = service.evaluate

    def generous(request):
        stated, service.quota = service.quota, None
        reply = answer(request)
        service.quota = stated
        return reply

    service.evaluate = generous
    service.requests.clear()
    person.sync(ANNA)
    assert points(service) == [8]


def test_the_connection_is_closed_before_anything_is_matched(service, person, monkeypatch):
    """When it was closed told how long the match took."""
    order = []
    hang_up, match = Transport.hang_up, matching.match_partition
    monkeypatch.setattr(Transport, "hang_up", lambda self: order.append("closed") or hang_up(self))
    monkeypatch.setattr(
        "contactsync.client.privacy.download.match_partition",
        lambda *some: order.append("matched") or match(*some),
    )
    service.publish(ANNA)
    person.sync(ANNA, BODO)
    assert order == ["closed", "matched"]


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["download", "screen"])
def test_no_gap_between_requests_shows_how_large_the_book_is(service, person, other_person, privacy):
    """The gap between an answer and the next request was 61 ms for 100 contacts and 374 ms for 16,000."""
    service.crowd = {"49": 1_000_000}
    service.publish(ANNA)
    seen = []  # when a request came, and when it was answered
    answer = service.answer

    def timed(request):
        begun = time.perf_counter()
        reply = answer(request)
        seen.append((begun, time.perf_counter()))
        return reply

    service.answer = timed
    books = {
        "small": (person, [f"+49172{i:07}" for i in range(100)]),
        "large": (other_person, [f"+49172{i:07}" for i in range(16_000)]),
    }
    for one, numbers in books.values():
        one.sync(*numbers, privacy=privacy, leak_budget=1e300)
    gaps = {name: [] for name in books}
    for turn in range(9):
        for name, (one, numbers) in books.items():
            seen.clear()
            one.sync(*numbers, f"+49173{turn:07}", privacy=privacy, leak_budget=1e300)
            gaps[name].append([later[0] - earlier[1] for earlier, later in itertools.pairwise(seen)])
    assert len(gaps["small"][0]) == len(gaps["large"][0]) > 0
    for small, large in zip(zip(*gaps["small"], strict=True), zip(*gaps["large"], strict=True), strict=True):
        noise = max(
            statistics.quantiles(some, n=4)[2] - statistics.quantiles(some, n=4)[0] for some in (small, large)
        )
        difference = abs(statistics.median(small) - statistics.median(large))
        assert difference < max(3 * noise, 0.01), (gaps["small"], gaps["large"])
