"""One publisher: a lease with an owner, a generation and an expiry, without a clock that two must share."""

import json
import threading

import pytest

from contactsync.foundation.errors import OurError
from contactsync.server.objects import lease as leases
from contactsync.server.objects.folder import FolderObjects
from contactsync.server.objects.lease import NAME, Lease, LeaseLost, leased, owner_of, take
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.ports import CHANGES, Conflict, Headers, Unanswered
from contactsync.server.settings import Busy

SECONDS = 30.0


class Clock:
    """Time that passes when somebody sleeps. `meanwhile` is what happens elsewhere then."""

    def __init__(self, now=0.0):
        self.now = now
        self.meanwhile = lambda: None

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def objects(tmp_path):
    return FolderObjects(tmp_path / "store")


def taken(objects, owner, clock) -> Lease:
    return take(objects, owner, seconds=SECONDS, clock=clock, sleep=clock.sleep)


def content(objects):
    return json.loads(objects.read(NAME, 4096)[0])


def test_a_free_lease_is_taken_at_once_and_counts_its_owners(objects):
    clock = Clock()
    first = taken(objects, "a", clock)
    assert (first.generation, content(objects)["owner"]) == (1, "a")
    first.release()
    second = taken(objects, "b", clock)
    assert (second.generation, content(objects)["owner"], clock.now) == (2, "b", 0.0)
    second.check()
    with pytest.raises(LeaseLost):  # whoever has released it does not have it
        first.check()


def test_ones_own_lease_is_taken_at_once(objects):
    clock = Clock()
    killed = taken(objects, "a", clock)
    assert taken(objects, "a", clock).generation == 2
    assert clock.now == 0.0
    with pytest.raises(LeaseLost):
        killed.check()


def test_anothers_lease_is_waited_for_as_long_as_it_holds(objects):
    clock = Clock()
    lost = taken(objects, "a", clock)
    assert taken(objects, "b", clock).generation == 2
    assert SECONDS <= clock.now < SECONDS + 2
    with pytest.raises(LeaseLost) as raised:
        lost.check()
    assert raised.value.hint


def test_a_lease_that_is_renewed_is_not_waited_for(objects):
    clock = Clock()
    held = taken(objects, "a", clock)
    clock.meanwhile = held.check
    with pytest.raises(Busy, match="owner a, generation 1"):
        taken(objects, "b", clock)
    assert clock.now < SECONDS
    held.check()


@pytest.mark.parametrize("skew", [-86400.0, -5.0, 5.0, 86400.0])
def test_clocks_may_differ(objects, skew):
    """Neither a lease that seems to have ended is taken, nor is one for ever that ends tomorrow."""
    ours, theirs = Clock(), Clock(skew)
    held = taken(objects, "a", theirs)
    octets, tag = objects.read(NAME, 4096)
    stated = json.loads(octets)
    wrong = json.dumps(stated | {"expires": "1970-01-01T00:00:00Z" if skew < 0 else "2999-01-01T00:00:00Z"})
    held._tag = objects.replace(NAME, wrong.encode(), tag, Headers("application/json", CHANGES))

    def both():
        theirs.now += 1.0
        held.check()

    ours.meanwhile = both
    with pytest.raises(Busy):
        taken(objects, "b", ours)
    ours.meanwhile = lambda: None  # a dies
    begun = ours.now
    assert taken(objects, "b", ours).generation == 2
    assert SECONDS <= ours.now - begun < SECONDS + 2


def test_an_owner_that_slept_too_long_knows_it(objects):
    """A machine that was suspended does not go on, even before somebody else has taken over."""
    clock = Clock()
    held = taken(objects, "a", clock)
    clock.now += 0.95 * SECONDS
    with pytest.raises(LeaseLost):
        held.check()


def test_an_owner_ends_before_another_begins(objects, monkeypatch):
    """A request may be long on its way: the wait begins when its reply is there."""
    clock = Clock()
    held = taken(objects, "a", clock)
    real, renewed = objects.read, []

    def slow(*arguments):
        clock.now += 3.0
        if not renewed:  # the last sign of life of a
            renewed.append(clock.now)
            held.check()
        return real(*arguments)

    monkeypatch.setattr(objects, "read", slow)
    assert taken(objects, "b", clock).generation == 2
    assert clock.now - renewed[0] >= SECONDS


def test_an_owner_whose_store_does_not_answer_gives_up_in_time(objects, monkeypatch):
    clock = Clock()
    held = taken(objects, "a", clock)

    def unanswered(*_):
        raise Unanswered("no")

    monkeypatch.setattr(objects, "replace", unanswered)
    clock.now = 10.0
    with pytest.raises(Unanswered):  # it still holds, but what needs it must not go on without an answer
        held.check()
    clock.now = 0.91 * SECONDS
    with pytest.raises(LeaseLost):
        held.check()


def test_two_that_find_a_free_lease_do_not_both_get_it(objects):
    clock, other = Clock(), Clock()
    real = objects.create
    meantime = []

    def create(*arguments):
        monkey.undo()
        meantime.append(taken(objects, "b", other))
        return real(*arguments)

    monkey = pytest.MonkeyPatch()
    monkey.setattr(objects, "create", create)
    clock.meanwhile = lambda: [one.check() for one in meantime]
    with pytest.raises(Busy, match="owner b"):
        taken(objects, "a", clock)


@pytest.mark.parametrize(
    "octets", [b"", b"{}", b"[]", b'{"format": "contactsync-lease-1", "owner": 1}', b"\xff", b"[" * 4000]
)
def test_a_damaged_lease_is_refused(objects, octets):
    objects.create(NAME, octets, Headers("application/json", CHANGES))
    with pytest.raises(OurError, match="is damaged") as raised:
        taken(objects, "a", Clock())
    assert "delete" in raised.value.hint


def test_a_lease_that_claims_to_hold_for_ever_does_not(objects):
    stated = {"format": leases.FORMAT, "owner": "x", "generation": 3, "beat": 0, "seconds": 1e300}
    octets = json.dumps(stated | {"expires": "", "released": False}).encode()
    objects.create(NAME, octets, Headers("application/json", CHANGES))
    clock = Clock()
    assert taken(objects, "a", clock).generation == 4
    assert clock.now < leases.LONGEST + 2


@pytest.mark.slow
def test_a_lease_is_renewed_while_it_is_held(store_url):
    objects = open_objects(store_url)
    beaten = threading.Event()
    with leased(objects, "a", seconds=5) as held:
        beaten.wait(7.5)
        held.check()
        assert content(objects)["beat"] >= 3
        with pytest.raises(Busy, match="owner a"), leased(objects, "b", seconds=5):
            pass
    assert content(objects)["released"] is True
    with leased(objects, "b") as other:
        assert other.generation == 2


def test_owners_differ_by_folder(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert owner_of(one) == owner_of(one) != owner_of(other)


def test_a_store_that_changed_meanwhile_is_not_overwritten(objects):
    tag = objects.create("v1/a", b"1", Headers("", CHANGES))
    objects.replace("v1/a", b"2", tag, Headers("", CHANGES))
    with pytest.raises(Conflict):
        objects.replace("v1/a", b"3", tag, Headers("", CHANGES))
