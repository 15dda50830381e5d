"""What every store of members does with consent: opt-in, objection, the record of both, verification."""

import time
from datetime import timedelta

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput, OurError
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import MOST_TEXT, Added, Consented, Difference, Origin, today

APP = Origin("app 3.1", "anna")
YESTERDAY = today() - timedelta(days=1)
LONG_AGO = today() - timedelta(days=900)


@pytest.fixture
def one(people):
    return people.members(people.P[0])


@pytest.fixture
def two(people):
    return people.members(people.P[1], people.Q[0])


def state(store, members):
    return [(record.entry.audiences, record.entry.objections) for record in store.show(members)]


def log(store, members):
    (record,) = store.show(members)
    return [(one.audience, one.granted, one.source, one.by) for one in record.consents]


def give_tokens(store, audience, epoch, members):
    store.store_tokens(audience, epoch, members, np.full((len(members), 10), epoch, np.uint8))


def forbid(difference):
    raise BadInput(f"{difference.removed} would go")


def test_an_objection_ends_it_and_outlasts_every_import(store, one, people):
    store.add(one)
    give_tokens(store, "people", 1, one)
    store.settle(store.serial())
    assert store.consent(one, "people", granted=False, origin=APP) == Consented(1, 0, 0)
    assert (store.count("people"), list(store.tokens("people", 1, people.p))) == (0, [])
    assert store.touched(store.serial()) == [people.p]
    assert state(store, one) == [((), ("people", "business"))]
    assert store.add(one) == Added(0, 0, 1)
    assert store.add(one, "business") == Added(0, 0, 1)
    assert (store.count("people"), store.count("business")) == (0, 0)
    assert store.consent(one, "people", granted=False, origin=APP) == Consented(0, 1, 0)
    assert store.consent(one, "people", granted=True, origin=Origin("letter")) == Consented(1, 0, 0)
    assert state(store, one) == [(("people",), ("business",))]
    assert store.add(one) == Added(0, 1, 0)
    assert log(store, one) == [
        ("people", False, "app 3.1", "anna"),
        ("business", False, "app 3.1", "anna"),
        ("people", True, "letter", ""),
    ]


def test_who_leaves_people_leaves_business_unless_it_is_said(store, one, two):
    for members in (one, two):
        store.add(members)
        assert store.consent(members, "business", granted=True, origin=APP).changed == len(members)
        give_tokens(store, "people", 1, members)
        give_tokens(store, "business", 1, members)
    store.consent(one, "people", granted=False, origin=APP, only=True)
    store.consent(two, "people", granted=False, origin=APP)
    assert state(store, one) == [(("business",), ("people",))]
    assert state(store, two) == [((), ("people", "business"))] * 2
    assert (store.count_unevaluated("people", 1), store.count_unevaluated("business", 1)) == (0, 0)
    assert [record.tokens.keys() for record in store.show(one)] == [{("business", 1)}]


def test_leaving_business_leaves_people_alone(store, one, people):
    store.add(one)
    store.consent(one, "business", granted=True, origin=APP)
    store.settle(store.serial())
    store.consent(one, "business", granted=False, origin=APP)
    assert state(store, one) == [(("people",), ("business",))]
    assert store.touched(store.serial()) == [people.p]
    assert store.add(one, "business") == Added(0, 0, 1)


def test_nobody_joins_by_consent_who_is_not_known_but_anybody_may_object(store, one, two):
    assert store.consent(one, "business", granted=True, origin=APP) == Consented(0, 0, 1)
    assert store.show(one) == []
    assert store.touched(store.serial()) == []
    assert store.consent(two, "business", granted=False, origin=APP) == Consented(2, 0, 0)
    assert store.touched(store.serial()) == [], "no directory changes"
    assert store.add(two) == Added(2, 0, 0)
    assert store.add(two, "business") == Added(0, 0, 2)
    assert state(store, two) == [(("people",), ("business",))] * 2


def test_joining_by_default_leaves_no_record_and_opting_in_does(store, one):
    store.add(one, origin=APP)
    assert log(store, one) == []
    store.add(one, "business", origin=Origin("old shop"))
    store.add(one, "business", origin=Origin("again"))
    assert log(store, one) == [("business", True, "old shop", "")]
    store.remove(one, "business", origin=Origin("clean-up"))
    assert log(store, one)[1:] == [("business", False, "clean-up", "")]
    assert state(store, one) == [(("people",), ())], "a removal is no objection"
    (record,) = store.show(one)
    assert all(abs(change.at - time.time()) < 100 for change in record.consents)


def test_who_is_removed_is_forgotten_with_objections_and_records(store, one, two):
    store.add(one)
    store.consent(one, "business", granted=True, origin=APP)
    store.consent(two, "people", granted=False, origin=APP)
    assert store.remove(one) == 1
    assert store.remove(two) == 2
    assert store.show(one) == store.show(two) == []
    assert store.add(one) == Added(1, 0, 0)
    assert log(store, one) == []
    # Who leaves the only audience that they were in is forgotten, too.
    store.consent(one, "business", granted=True, origin=APP)
    store.remove(one, "business")
    store.remove(one, "people")
    assert store.show(one) == []
    store.add(one)
    assert log(store, one) == []


@pytest.mark.parametrize("source", ["", " ", "a\nb", "x" * (MOST_TEXT + 1)])
def test_a_source_can_be_read(source):
    with pytest.raises(BadInput, match="source"):
        Origin(source)


def test_the_day_of_verification(store, one, two):
    store.add(one)
    store.add(two, verified=LONG_AGO)

    def days(members):
        return [record.entry.verified for record in store.show(members)]

    assert days(one) == [today()]
    assert days(two) == [LONG_AGO] * 2
    store.add(one, verified=LONG_AGO)
    store.add(two, "business", verified=YESTERDAY)
    assert (days(one), days(two)) == ([today()], [YESTERDAY] * 2), "a later day counts"
    store.add(two)
    assert days(two) == [today()] * 2
    store.consent(one, "people", granted=False, origin=APP)
    for bad in (today() + timedelta(days=1), today() - timedelta(days=40_000)):
        with pytest.raises(BadInput, match="not a day"):
            store.add(one, verified=bad)


def test_an_objection_is_verified_like_a_member_and_expires_like_one(store, one, two):
    store.add(one, verified=LONG_AGO)
    store.add(two, verified=LONG_AGO)
    store.consent(one, "people", granted=False, origin=APP)
    store.consent(two, "people", granted=False, origin=APP)
    store.add(two, verified=YESTERDAY)
    assert store.expire(LONG_AGO) == 0
    assert store.expire(YESTERDAY, dry_run=True) == 1
    assert len(store.show(one)) == 1
    assert store.expire(YESTERDAY) == 1
    assert (store.show(one), len(store.show(two))) == ([], 2)
    assert store.add(one) == Added(1, 0, 0), "the number is somebody else's now"


def test_expiry_takes_members_of_every_kind_with_their_tokens(store, people):
    half = Members(people.kind, people.everyone.keys[::2])
    store.add(half, verified=LONG_AGO)
    store.add(half, "business", verified=LONG_AGO)
    rest = Members(people.kind, people.everyone.keys[1::2])
    store.add(rest)
    for members in (half, rest):
        give_tokens(store, "people", 1, members)
    assert store.expire(YESTERDAY) == len(half)
    assert (store.count("people"), store.count("business")) == (len(rest), 0)
    assert store.count_unevaluated("people", 1) == 0
    assert store.show(half) == []


def test_replacing_makes_the_audience_equal(store, people):
    keys = people.everyone.keys
    old, new = Members(people.kind, keys[:500]), Members(people.kind, keys[200:600])
    store.add(old)
    store.add(Members(people.kind, keys[:10]), "business")
    objecting = Members(people.kind, keys[[300, 599, 700]])
    store.consent(objecting, "people", granted=False, origin=APP)
    seen = []
    with pytest.raises(BadInput, match="200 would go"):
        store.replace(new, "people", allow=forbid)
    assert store.count("people") == 499
    found = store.replace(new, "people", allow=seen.append)
    assert found == Difference(before=499, removed=200, added=99, objected=2)
    assert seen == [found]
    entries = store.entries(people.kind, None, 10**6, "people")
    expected = set(new.identifiers()) - set(objecting.identifiers())
    assert [entry.identifier for entry in entries] == [i for i in new.identifiers() if i in expected]
    assert store.count("business") == 0, "an account that is gone is gone"
    assert state(store, objecting) == [((), ("people", "business"))] * 3
    assert store.replace(new, "people", allow=forbid_changes) == Difference(398, 0, 0, 2)


def forbid_changes(difference):
    assert (difference.removed, difference.added) == (0, 0)


def test_replacing_another_audience_leaves_the_first_alone(store, people):
    store.add(people.everyone)
    keys = people.everyone.keys
    store.add(Members(people.kind, keys[:20]), "business")
    store.replace(Members(people.kind, keys[10:30]), "business", origin=APP, allow=lambda _: None)
    assert (store.count("people"), store.count("business")) == (len(people.everyone), 20)
    assert log(store, Members(people.kind, keys[:1]))[1:] == [("business", False, "app 3.1", "anna")]


def test_nobody_replaces_anybody(store, people):
    store.add(people.everyone)
    with pytest.raises(BadInput, match="nobody"):
        store.replace(Members(people.kind, people.everyone.keys[:0]), "people", allow=lambda _: None)


def test_together_is_one_change_or_none(store, one, two):
    before = store.serial()
    with store.together():
        store.add(one)
        store.consent(one, "business", granted=True, origin=APP)
        store.add(two)
    assert store.serial() == before + 1

    def fail():
        with store.together():
            store.remove(one)
            store.remove(two)
            raise OurError("the machine is on fire")

    with pytest.raises(OurError):
        fail()
    assert state(store, one) == [(("people", "business"), ())]
    assert (store.count("people"), store.serial()) == (3, before + 1)


def test_everything_about_a_member(store, people):
    both = people.members(*people.P[:2])
    store.add(both, verified=YESTERDAY)
    one = people.members(people.P[0])
    store.consent(one, "business", granted=True, origin=APP)
    give_tokens(store, "people", 3, both)
    give_tokens(store, "people", 4, both)
    give_tokens(store, "business", 1, one)
    (record,) = store.show(one)
    assert record.entry.identifier == people.P[0]
    assert abs(record.entry.added - time.time()) < 100
    assert record.tokens == {
        ("people", 3): b"\3" * 10,
        ("people", 4): b"\4" * 10,
        ("business", 1): b"\1" * 10,
    }
    assert record.changed == {"people": 1, "business": 2}
    for secret in (people.P[0], record.entry.key, b"\3" * 10):
        assert str(secret) not in repr(record)


def test_entries_come_in_pages(store, people):
    store.add(people.everyone)
    some = Members(people.kind, people.everyone.keys[::3])
    store.add(some, "business")
    store.consent(Members(people.kind, people.everyone.keys[:1]), "people", granted=False, origin=APP)

    def all_of(audience, limit):
        found, after = [], None
        while page := store.entries(people.kind, after, limit, audience):
            found += page
            after = page[-1].key
        return found

    everyone = all_of(None, 77)
    assert [entry.identifier for entry in everyone] == people.everyone.identifiers()
    assert (everyone[0].audiences, everyone[0].objections) == ((), ("people", "business"))
    assert everyone[3].audiences == ("people", "business")
    assert [entry.key for entry in all_of("business", 10)] == some.keys.tolist()[1:]
    assert len(all_of("people", 10**6)) == len(people.everyone) - 1


def test_the_serial_of_a_change_of_an_audience_is_its_own(store, one, two):
    store.add(one)
    first = store.serial()
    store.consent(one, "business", granted=True, origin=APP)
    second = store.serial()
    store.add(two)
    store.consent(one, "business", granted=False, origin=APP)
    (record,) = store.show(one)
    assert record.changed == {"people": first, "business": second + 2}
    store.consent(one, "people", granted=False, origin=APP)
    (record,) = store.show(one)
    assert record.changed["people"] == store.serial()
    store.consent(one, "people", granted=True, origin=APP)
    assert store.show(one)[0].changed["people"] == store.serial()


@pytest.mark.slow
def test_many_at_once(store, handles):
    """More than fit into one statement, one question or one slice."""
    keys = np.arange(491510000000, 491510000000 + 70_001, dtype=np.uint64)
    members = Members("tel", keys)
    assert store.add(members).new == keys.size
    assert store.consent(members, "business", granted=True, origin=APP).changed == keys.size
    assert store.add(members) == Added(0, keys.size, 0)
    assert store.consent(Members("tel", keys[::2]), "people", granted=False, origin=APP).changed == 35_001
    assert store.add(members) == Added(0, 35_000, 35_001)
    assert (store.count("people"), store.count("business")) == (35_000, 35_000)
    assert store.remove(members) == keys.size
    assert KINDS["tel"].partitions() > set(store.partitions("people")) == set()


def test_who_was_never_in_an_audience_has_not_left_it(store, one, two):
    store.add(one)
    store.consent(one, "people", granted=False, origin=APP)
    assert store.show(one)[0].changed == {"people": store.serial()}
    store.consent(two, "people", granted=False, origin=APP)
    assert [record.changed for record in store.show(two)] == [{}, {}]
    store.remove(one)
    store.add(one, "business")
    store.consent(one, "people", granted=False, origin=APP)
    assert store.show(one)[0].changed == {"business": store.serial()}
