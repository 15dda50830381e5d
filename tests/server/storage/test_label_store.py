"""Labels, and the keys that they are encrypted under, in every store and for members of every kind."""

from datetime import timedelta

import pytest
from label_rows import PEN, outputs_of

from contactsync.foundation.errors import BadInput, OurError
from contactsync.labels import KEYED_BYTES
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Consented, today
from contactsync.tokens import TOKEN_BYTES


def put(store, audience, epoch, members, width=KEYED_BYTES):
    store.store_tokens(audience, epoch, members, outputs_of(members.identifiers())[:, :width])


def labels_of(store, members):
    return {one.entry.identifier: one.label for one in store.show(members)}


def published(store, audience, epoch, partition):
    """Token, label key and label of each, as a publish reads them."""
    with store.snapshot():
        return sorted(
            (token.tobytes(), key.tobytes(), label)
            for tokens, keys, labels in store.outputs(audience, epoch, partition)
            for token, key, label in zip(tokens.to_bytes(), keys, labels, strict=True)
        )


def test_a_label_is_of_a_member_and_touches_the_partition(store, people):
    a, b, *_ = people.P
    both, c = people.members(a, b), people.Q[0]
    store.add(people.members(a, b, c))
    store.settle(store.serial())
    first, second = both.identifiers()
    assert store.label(both, [b"@anna:example.org", None]) == Consented(1, 1, 0)
    assert labels_of(store, both) == {first: b"@anna:example.org", second: None}
    assert store.touched(store.serial()) == [people.p]
    assert not store.unerased(), "nothing was there before"
    store.settle(store.serial())
    assert store.label(both, [b"@anna:example.org", None]) == Consented(0, 2, 0)
    assert store.touched(store.serial()) == []
    renamed = "Ännchen 🌻".encode()
    assert store.label(both, [renamed, b"x" * 64]) == Consented(2, 0, 0)
    assert labels_of(store, both) == {first: renamed, second: b"x" * 64}
    assert store.unerased(), "the old label may be in the files"
    assert people.p in store.departures(), "and in files that are served"
    assert store.label(both, [None, None]) == Consented(2, 0, 0)
    assert labels_of(store, both) == {first: None, second: None}
    assert store.touched(store.serial()) == [people.p]


def test_who_is_in_no_audience_has_no_label(store, people):
    a, b, c, *_ = people.P
    store.add(people.members(a))
    store.consent(people.members(b), "people", granted=False, origin=PEN)
    members = people.members(a, b, c)
    found = store.label(members, [b"somebody"] * 3)
    assert found == Consented(1, 0, 2)
    assert labels_of(store, members) == {a: b"somebody", b: None}


@pytest.mark.parametrize(
    "bad", [b"", b"x" * 65, b"two\nlines", b"\xff", b" space", "\u202e".encode(), b"nul\0"]
)
def test_what_is_no_label_changes_nothing(store, people, bad):
    members = people.members(*people.P[:2])
    store.add(members)
    serial = store.serial()
    with pytest.raises(BadInput, match="label"):
        store.label(members, [b"good", bad])
    with pytest.raises(BadInput, match="1 labels were given for 2 members"):
        store.label(members, [b"good"])
    assert store.serial() == serial
    assert set(labels_of(store, members).values()) == {None}


def leave(store, how, member):
    {
        "remove": lambda: store.remove(member),
        "remove from the last audience": lambda: store.remove(member, "people"),
        "object": lambda: store.consent(member, "people", granted=False, origin=PEN),
        "expire": lambda: store.expire(today() + timedelta(days=1)),
        "replace": lambda: store.replace(
            Members(member.kind, Members.of([OTHERS[member.kind]]).keys), "people", allow=lambda _: None
        ),
    }[how]()


OTHERS = {"tel": b"tel:+12025550123", "acct": b"acct:another"}


@pytest.mark.parametrize("how", ["remove", "remove from the last audience", "object", "expire", "replace"])
def test_the_label_goes_with_the_member(store, people, how):
    member = people.members(people.P[0])
    store.add(member)
    store.label(member, [b"anna"])
    put(store, "people", 1, member)
    store.settle(store.serial())
    leave(store, how, member)
    assert store.unerased()
    assert {record.label for record in store.show(member)} <= {None}
    assert store.labelled("people") == {}
    assert people.p in store.touched(store.serial())
    # Nothing comes back with the number: not the label, not its key.
    store.add(member)
    store.consent(member, "people", granted=True, origin=PEN)
    assert labels_of(store, member) == {people.P[0]: None}
    assert published(store, "people", 1, people.p) == []


def test_one_audience_of_two_is_left_with_the_label(store, people):
    member = people.members(people.P[0])
    store.add(member)
    store.add(member, "business")
    store.label(member, [b"anna"])
    store.remove(member, "business")
    assert labels_of(store, member) == {people.P[0]: b"anna"}
    assert (store.labelled("people"), store.labelled("business")) == ({people.p: 4}, {})
    store.consent(member, "business", granted=True, origin=PEN)
    store.consent(member, "people", granted=False, origin=PEN, only=True)
    assert (store.labelled("people"), store.labelled("business")) == ({}, {people.p: 4})
    store.consent(member, "people", granted=False, origin=PEN)
    assert store.labelled("business") == {}


def test_labelled_names_partitions_with_their_longest_label(store, people):
    p, q = people.members(*people.P[:3]), people.members(*people.Q[:2])
    store.add(p)
    store.add(q, "business")
    assert store.labelled("people") == {}
    store.label(p, [b"anna", "Änne".encode(), None])
    store.label(q, [b"x" * 40, b"shop"])
    assert store.labelled("people") == {people.p: 5}
    assert store.labelled("business") == {people.q: 40}
    assert store.labelled("business", [people.p]) == {}
    assert store.labelled("business", [people.p, people.q]) == {people.q: 40}


def test_tokens_with_label_keys(store, people):
    members = people.members(*people.P[:4])
    store.add(members)
    put(store, "people", 1, members)
    labels = [b"anna", None, "Ännchen, 🌻".encode(), None]
    store.label(members, labels)
    rows = outputs_of(members.identifiers())
    assert published(store, "people", 1, people.p) == sorted(
        (row[:TOKEN_BYTES].tobytes(), row[TOKEN_BYTES:].tobytes(), label or b"")
        for row, label in zip(rows, labels, strict=True)
    )
    # What wants the tokens alone gets them: a publish without labels, and a receipt.
    (chunk,) = store.tokens("people", 1, people.p)
    assert sorted(map(bytes, chunk.to_bytes())) == sorted(row[:TOKEN_BYTES].tobytes() for row in rows)
    assert {one.tokens["people", 1] for one in store.show(members)} == {
        row[:TOKEN_BYTES].tobytes() for row in rows
    }


def test_who_has_no_label_key_is_evaluated_again_where_keys_are_wanted(store, people):
    first, second = people.members(*people.P[:3]), people.members(*people.P[3:5])
    store.add(people.members(*people.P[:5], people.Q[0]))
    put(store, "people", 1, first, TOKEN_BYTES)
    put(store, "people", 1, second)

    def wanted(*, keyed):
        found, after = [], None
        while page := store.unevaluated("people", 1, people.p, after, 2, keyed=keyed):
            found, after = found + page.identifiers(), page.last
        return found

    assert wanted(keyed=False) == []
    assert wanted(keyed=True) == first.identifiers()
    assert store.count_unevaluated("people", 1) == 1
    assert store.count_unevaluated("people", 1, keyed=[people.p]) == 4
    assert store.count_unevaluated("people", 1, keyed=[people.q]) == 1
    with pytest.raises(OurError, match=r"3 tokens of partition .* without their label keys") as raised:
        published(store, "people", 1, people.p)
    assert "publish again" in raised.value.hint
    page = store.unevaluated("people", 1, people.p, None, 9, keyed=True)
    put(store, "people", 1, page)
    assert wanted(keyed=True) == []
    assert len(published(store, "people", 1, people.p)) == 5
    assert store.count_unevaluated("people", 1, keyed=[people.p]) == 1


def test_labels_are_read_in_pages_with_whom_they_are_of(store, people, monkeypatch):
    for module in ("sqlite.bulk._AT_ONCE", "postgres.registry.CHUNK"):
        monkeypatch.setattr(f"contactsync.server.storage.{module}", 64)
    members = people.members(*people.P)
    store.add(members)
    put(store, "people", 1, members)
    labels = [f"label {i}".encode() if i % 3 else None for i in range(len(members))]
    assert store.label(members, labels).changed == sum(label is not None for label in labels)
    rows = outputs_of(members.identifiers())
    assert published(store, "people", 1, people.p) == sorted(
        (row[:TOKEN_BYTES].tobytes(), row[TOKEN_BYTES:].tobytes(), label or b"")
        for row, label in zip(rows, labels, strict=True)
    )


def test_a_change_of_labels_is_done_or_undone_as_one(store, people):
    """What is set in a change that is undone was never there."""
    member = people.members(people.P[0])
    store.add(member)

    def undone(member, label):
        assert store.label(member, [label]).changed == 1
        store.label(member, [b"no label\0"])

    with pytest.raises(BadInput), store.together():
        undone(member, b"anna")
    assert labels_of(store, member) == {people.P[0]: None}
    with store.grouped():
        store.label(member, [b"bodo"])
        with pytest.raises(BadInput), store.together():
            undone(member, b"carl")
    assert labels_of(store, member) == {people.P[0]: b"bodo"}
