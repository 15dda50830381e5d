"""A budget of points: shown, waited for if that is short, and nothing asked for twice when it is used up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from contactsync.client.quota import Quota, new_account, recall, remember
from contactsync.foundation.errors import NetworkError, OutOfQuota, Refused, ServerFailed

ANNA, BODO = "+491512345671", "+491512345672"
FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 +0000"
NUMBERS = [f"+49151{i:07}" for i in range(100)]


def points(service):
    return [len(request.body) // 32 for request in service.requests if request.method == "POST"]


@pytest.fixture
def slept(monkeypatch):
    slept = []
    monkeypatch.setattr("contactsync.client.patience.time.sleep", slept.append)
    return slept


@pytest.mark.slow
def test_the_budget_is_shown_and_kept(service, person):
    service.quota = {"left": 1000, "burst": 1024, "per_day": 256}
    service.publish(ANNA)
    assert person.sync(ANNA).quota == Quota(992, 1024, 256)
    (account,) = recall(person.server.quota).values()
    assert account.said == Quota(992, 1024, 256)
    assert account.spent == 8
    assert account.at.startswith("20")


@pytest.mark.slow
def test_a_sync_that_runs_out_says_when_and_goes_on_from_there(service, person, monkeypatch):
    monkeypatch.setattr("contactsync.client.core.round.MAX_BATCH", 32)
    service.quota = {"left": 70, "burst": 128, "per_day": 256}
    service.publish(*NUMBERS[:3])
    with pytest.raises(OutOfQuota) as out:
        person.sync(*NUMBERS)
    assert out.value.exit_code == 8
    assert (out.value.left, out.value.burst, out.value.per_day) == (6, 128, 256)
    assert out.value.retry_after == 26 * 86_400 // 256
    assert "6 of 128 points are left, 256 are restored each day" in str(out.value)
    assert "UTC" in out.value.hint
    assert points(service) == [32, 32, 32]
    assert recall(person.server.quota)["people"].said.left == 6
    # Later there is enough: the two batches that are missing, and a round for what is new since.
    service.quota["left"] = 128
    service.requests.clear()
    assert len(person.sync(*NUMBERS).matches) == 3
    assert points(service) == [32, 32, 8]


@pytest.mark.slow
def test_a_short_time_is_waited_for(service, person, slept):
    service.quota = {"left": 0, "burst": 1024, "per_day": 86_400}
    service.publish(ANNA)

    def refill(request, reply):
        if reply.status == 429:
            service.quota["left"] = 1000

    service.tamper = refill
    assert len(person.sync(ANNA).matches) == 1
    assert [one for one in slept if one > 1] == [8.0], "apart from the beat that requests keep"


@pytest.mark.slow
def test_no_cover_eats_the_last_quarter(service, person):
    """Once this client has used up the budget itself; and then it says so."""
    service.publish(ANNA)
    service.quota = {"left": 64, "burst": 64, "per_day": 1}
    sent = []
    for _ in range(8):
        service.requests.clear()
        report = person.sync(ANNA)
        sent.append(points(service))
        assert report.uncovered is (sent[-1] == [])
        assert ("nothing new to look up" in report.leak) is report.uncovered
    assert sent == [[8]] * 6 + [[], []]
    assert service.quota["left"] == 16
    # What is new is worth the last quarter.
    service.requests.clear()
    person.sync(ANNA, BODO)
    assert points(service) == [8]


@pytest.mark.slow
def test_a_cover_round_that_cannot_be_paid_fails_nothing(service, person):
    service.publish(ANNA)
    service.quota = {"left": 1024, "burst": 1024, "per_day": 256}
    person.sync(ANNA)
    service.quota["left"] = 0
    report = person.sync(ANNA)
    assert (len(report.matches), report.uncovered) == (1, True)
    service.quota["left"] = 1024
    service.requests.clear()
    assert not person.sync(ANNA).uncovered
    assert points(service) == [8]


@pytest.mark.slow
def test_a_pause_of_the_service_keeps_what_is_there_and_fails_no_sync_without_news(service, person):
    service.publish(ANNA, BODO)
    person.sync(ANNA)
    pausing = True

    def pause(request, reply):
        if pausing and request.method == "POST":
            reply.status = 503
            reply.headers = {"Content-Type": "application/problem+json", "Retry-After": "3000"}
            reply.body = b'{"type": "urn:contactsync:problem:paused", "detail": "too many"}'

    service.tamper = pause
    report = person.sync(ANNA)
    assert (len(report.matches), report.uncovered) == (1, True)
    with pytest.raises(ServerFailed, match="too many") as raised:
        person.sync(ANNA, BODO)
    assert (raised.value.kind, raised.value.exit_code) == ("paused", 4)
    assert "the sync continues there" in raised.value.hint
    pausing = False
    assert len(person.sync(ANNA, BODO).matches) == 2


@pytest.mark.slow
@pytest.mark.parametrize("cover", [True, False])
def test_a_wrong_credential_fails_a_sync_that_would_fetch_nothing(service, person, cover):
    service.quota = {"left": 0, "burst": 1024, "per_day": 256}
    service.publish()
    with pytest.raises(Refused) as refused:
        person.sync(ANNA, cover=cover, transport=person.transport("cs_wrong"))
    assert refused.value.kind == "bad-credential"


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "header",
    [{}, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, {"Retry-After": "soon"}, {"Retry-After": FAR}],
)
def test_a_proxy_that_is_busy_is_waited_for(service, person, slept, status, header):
    """A plain 429 of a proxy in between ended the sync."""
    service.publish(ANNA)
    turns = []

    def busy(request, reply):
        turns.append(request)
        if len(turns) % 2:
            reply.status, reply.body = status, b"<html>slow down</html>"
            reply.headers = dict(header)

    service.tamper = busy
    assert len(person.sync(ANNA).matches) == 1
    assert len(slept) > 5


def test_a_proxy_that_stays_busy_is_given_up(service, person, slept):
    service.publish(ANNA)

    def busy(_, reply):
        reply.status, reply.headers, reply.body = 429, {}, b""

    service.tamper = busy
    with pytest.raises((Refused, NetworkError, ServerFailed)):
        person.sync(ANNA)
    assert sum(slept) <= 120


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"RateLimit-Policy": '"points";q=10;w=0', "RateLimit": '"points";r=5;t=1'},
        {"RateLimit-Policy": '"points";q=10', "RateLimit": '"points";r=5;t=1'},
        {"RateLimit-Policy": '"requests";q=10;w=9', "RateLimit": '"requests";r=5'},
        {"RateLimit-Policy": "x" * 100_000, "RateLimit": '"points";r=5'},
        {"RateLimit-Policy": '"points";q=-1;w=5', "RateLimit": '"points";r=5'},
    ],
)
def test_fields_that_state_no_budget(fields):
    assert Quota.from_fields(fields) is None


@pytest.mark.parametrize("value", [None, [], {}, {"left": 1}, {"left": -1, "burst": 1, "per_day": 1},
    {"left": True, "burst": 1, "per_day": 1}, {"left": 1 << 60, "burst": 1, "per_day": 1}])  # fmt: skip
def test_what_is_no_budget(value):
    assert Quota.from_json(value) is None


def test_a_damaged_record_is_no_budget(tmp_path):
    path = tmp_path / "quota.json"
    assert recall(path) == {}
    first, second = new_account(Quota(1, 2, 3)), new_account(Quota(4, 5, 6)).used(7, None)
    remember(path, "people", first)
    remember(path, "business", second)
    assert recall(path) == {"people": first, "business": second}
    for damage in (b"", b"[]", b'{"audiences": 5}', b'{"audiences": {"people": {}}}'):
        path.write_bytes(damage)
        assert recall(path) == {}


def test_what_was_spent_comes_back_by_the_day(monkeypatch):
    account = new_account(Quota(100, 100, 50)).used(80, Quota(20, 100, 50))
    assert not account.covers(8)
    ago = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    later = replace(account, at=ago).used(0, Quota(0, 8, 1))
    assert later.spent == pytest.approx(30, abs=0.1)
    assert later.most == Quota(0, 100, 50), "figures that were stated once are not taken back"
    assert later.covers(8)
