"""What every store of members does, for members of every kind."""

import time

import numpy as np
import pytest

from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.publication.manifest import Manifest
from contactsync.server.storage.ports import Members
from contactsync.tokens import Tokens


def tokens_for(identifiers):
    """A token for each, that differs from the others'."""
    rows = np.zeros((len(identifiers), 10), np.uint8)
    for row, identifier in zip(rows, identifiers, strict=True):
        row[:] = np.frombuffer(hash(identifier).to_bytes(10, "big", signed=True), np.uint8)
    return rows


def stored(store, audience, epoch, partition):
    chunks = store.tokens(audience, epoch, partition)
    return [row.tobytes() for chunk in chunks for row in chunk.to_bytes()]


def put(store, audience, epoch, members):
    store.store_tokens(audience, epoch, members, tokens_for(members.identifiers()))


def pages(store, audience, epoch, partition, limit):
    """All unevaluated members of a partition, asked for page by page."""
    found, after = [], None
    while page := store.unevaluated(audience, epoch, partition, after, limit):
        assert len(page) <= limit
        found += page.identifiers()
        after = page.last
    return found


def test_a_batch_gives_its_identifiers_back(people):
    members = people.everyone
    assert sorted(members.identifiers()) == sorted({*people.P, *people.Q, *members.identifiers()})
    assert len(members) == len(set(members.identifiers()))
    keys = members.keys.tolist()
    assert keys == sorted(set(keys))
    assert members.last == keys[-1]
    assert Members.from_keys(people.kind, keys).identifiers() == members.identifiers()
    again = people.members(*reversed(members.identifiers()), *members.identifiers())
    assert again.keys.tolist() == keys


def test_a_batch_is_of_one_kind(handles):
    with pytest.raises(BadInput, match="several kinds"):
        Members.of([b"tel:+491511234567", b"acct:somebody"])


def test_members_are_a_set(store, people):
    a, b, *_ = people.P
    c = people.Q[0]
    assert store.add(people.members(a, c)).new == 2
    assert store.add(people.members(a, b)).new == 1
    assert store.count("people") == 3
    assert store.remove(people.members(a, people.P[5])) == 1
    assert store.count("people") == 2
    assert store.partitions("people") == [people.p, people.q]


def test_audiences_are_independent(store, people):
    a, b, *_ = people.P
    c = people.Q[0]
    store.add(people.members(a, b))
    assert store.count("business") == 0
    assert store.add(people.members(a, c), "business").new == 2
    assert store.add(people.members(a), "business").new == 0
    assert (store.count("people"), store.count("business")) == (2, 2)
    assert store.partitions("business") == [people.p, people.q]
    assert store.remove(people.members(a, b), "business") == 1
    assert (store.count("people"), store.count("business")) == (2, 1)
    assert store.remove(people.members(a, c)) == 2
    assert (store.count("people"), store.count("business")) == (1, 0)


@pytest.mark.parametrize("bad", [Members("tel", np.array([4915100000001, 5210123456, 210123456], np.uint64))])
def test_one_that_belongs_to_no_partition_refuses_the_batch(store, bad):
    with pytest.raises(BadInput):
        store.add(bad)
    assert store.count("people") == 0


def test_touched_until_settled(store, people):
    a, b, *_ = people.P
    c = people.Q[0]
    assert store.touched(store.serial()) == []
    store.add(people.members(a))
    first = store.serial()
    store.add(people.members(c))
    assert store.touched(first) == [people.p]
    assert store.touched(store.serial()) == [people.p, people.q]
    store.settle(first)
    assert store.touched(store.serial()) == [people.q]
    store.settle(store.serial())
    store.add(people.members(a, c))  # nothing new
    store.remove(people.members(b))  # nobody
    assert store.touched(store.serial()) == []
    store.remove(people.members(c))
    assert store.touched(store.serial()) == [people.q]


def test_a_change_after_the_serial_survives_settling(store, people):
    store.add(people.members(people.P[0]))
    serial = store.serial()
    store.add(people.members(people.P[1]))
    store.settle(serial)
    assert store.touched(store.serial()) == [people.p]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 7, 100, 10**6])
def test_unevaluated_is_asked_for_in_pages(store, people, limit):
    store.add(people.everyone)
    left = len(people.everyone)
    for partition, keys in KINDS[people.kind].by_partition(people.everyone.keys):
        members = Members(people.kind, keys)
        assert store.count_unevaluated("people", 1) == left
        assert pages(store, "people", 1, partition, limit) == members.identifiers()
        put(store, "people", 1, members)
        assert not store.unevaluated("people", 1, partition, None, 100)
        assert len(store.unevaluated("people", 2, partition, None, 10**6)) == len(members)
        assert len(stored(store, "people", 1, partition)) == len(members)
        left -= len(members)
    assert (left, store.count_unevaluated("people", 2)) == (0, len(people.everyone))
    store.remove(Members(people.kind, people.everyone.keys[:10]))
    assert store.count_unevaluated("people", 1) == 0


def test_tokens_come_back_as_stored(store, people):
    here = people.members(*people.P[:20])
    store.add(here)
    store.add(people.members(people.Q[0]))
    put(store, "people", 1, here)
    assert stored(store, "people", 1, people.p) == [row.tobytes() for row in tokens_for(here.identifiers())]
    for audience, epoch, partition in (
        ("people", 1, people.q),
        ("people", 2, people.p),
        ("business", 1, people.p),
    ):
        assert stored(store, audience, epoch, partition) == []
    (chunk,) = store.tokens("people", 1, people.p)
    assert isinstance(chunk, Tokens)


def test_tokens_go_with_the_member_and_with_the_epoch(store, people):
    a, b, *_ = people.P
    both = people.members(a, b)
    store.add(both)
    store.add(both, "business")
    for audience, epoch in (("people", 1), ("people", 2), ("business", 1)):
        put(store, audience, epoch, both)

    def held():
        return [
            len(stored(store, audience, epoch, people.p))
            for audience, epoch in (("people", 1), ("people", 2), ("business", 1))
        ]

    store.remove(people.members(a), "people")
    assert held() == [1, 1, 2]
    store.remove(people.members(a))
    assert held() == [1, 1, 1]
    store.drop_tokens("people", range(2))
    assert held() == [0, 1, 1]


def test_no_token_for_who_has_left_meanwhile(store, people):
    both = people.members(*people.P[:2])
    store.add(both)
    store.remove(people.members(people.P[0]))
    put(store, "people", 1, both)
    assert stored(store, "people", 1, people.p) == [tokens_for([people.P[1]]).tobytes()]


def test_no_token_for_who_has_left_since_they_were_read(store, people):
    a, b = sorted(people.P[:2], key=lambda one: people.members(one).keys[0])
    store.add(people.members(a, b))
    page = store.unevaluated("people", 1, people.p, None, 9)
    store.remove(people.members(a))
    put(store, "people", 1, page)
    assert stored(store, "people", 1, people.p) == [tokens_for([b]).tobytes()]
    # Nothing has changed since they were read, but they were read as members of another audience.
    put(store, "business", 1, store.unevaluated("people", 2, people.p, None, 9))
    assert stored(store, "business", 1, people.p) == []


@pytest.mark.slow
def test_tokens_go_to_those_that_they_are_of(store, people):
    store.add(people.everyone)
    for page in (people.members(*people.P[1::2]), people.members(*people.P)):
        put(store, "people", 1, page)
    put(store, "people", 1, people.members(*people.Q))
    shown = {
        one.entry.identifier: one.tokens["people", 1] for one in store.show(people.everyone) if one.tokens
    }
    assert shown == {one: tokens_for([one]).tobytes() for one in (*people.P, *people.Q)}
    assert sorted(stored(store, "people", 1, people.q)) == sorted(shown[one] for one in people.Q)


def test_kinds_live_side_by_side(store):
    telephone, handle = Members.of([b"tel:+491511234567"]), Members.of([b"acct:a", b"acct:b", b"acct:c"])
    assert [store.add(telephone).new, store.add(handle).new, store.add(handle, "business").new] == [1, 3, 3]
    assert (store.count("people"), store.count("business")) == (4, 3)
    names = {KINDS["acct"].partition_of(identifier) for identifier in handle.identifiers()}
    assert store.partitions("people") == ["49", *sorted(names)]
    assert store.touched(store.serial()) == ["49", *sorted(names)]
    put(store, "people", 1, telephone)
    assert store.count_unevaluated("people", 1) == 3
    put(store, "people", 1, handle)
    assert store.count_unevaluated("people", 1) == 0
    store.drop_tokens("people", range(2))
    assert store.count_unevaluated("people", 1) == 4
    assert store.remove(handle) == 3
    assert (store.count("people"), store.count("business")) == (1, 0)


def manifest(audience, edition, epoch=1):
    return Manifest(
        audience=audience,
        epoch=epoch,
        edition=edition,
        public_key=bytes(32),
        normalisation=1,
        partitions={},
        previous=None,
    )


def test_editions_are_found_by_the_changes_that_they_have(store, people):
    assert store.edition_of("people", 0) is None
    serials = []
    for member in people.P[:6]:
        store.add(people.members(member))
        serials.append(store.serial())
    store.settle(serials[1], [manifest("people", 1), manifest("business", 7, epoch=3)])
    store.settle(serials[3], [manifest("people", 2)])
    store.settle(serials[4], [manifest("people", 2)])  # published again, unchanged
    store.settle(serials[2], [manifest("people", 2)])  # signed elsewhere, and late
    found = [store.edition_of("people", serial) for serial in serials]
    assert [one and (one.epoch, one.edition) for one in found] == [(1, 1)] * 2 + [(1, 2)] * 3 + [None]
    assert store.edition_of("business", serials[0]).edition == 7
    assert abs(found[0].at - time.time()) < 100
    store.settle(serials[5], [manifest("people", 1, epoch=2)])
    assert store.edition_of("people", serials[5]).epoch == 2
