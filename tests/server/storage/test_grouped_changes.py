"""What every store of members does with changes in a group, and with answers that are kept beside them."""

import pytest

from contactsync.foundation.errors import BadInput
from contactsync.server.storage.answers import KeptAnswer
from contactsync.server.storage.records import Origin


def refused():
    return pytest.raises(BadInput, match="of no use")


KEPT = KeptAnswer(b"request", b"answer", 1_000)


def test_changes_in_a_group_are_their_own(store, people):
    a, b, c, *_ = people.P
    with store.grouped():
        store.add(people.members(a))
        first = store.serial()
        with refused(), store.together():
            store.add(people.members(b))
            raise BadInput("of no use")
        store.add(people.members(c))
    assert store.count("people") == 2
    assert {*store.show(people.members(a))[0].changed.values()} == {first}
    assert store.serial() > first
    assert store.touched(store.serial()) == [people.p]


def test_a_group_that_fails_leaves_nothing(store, people):
    before = store.serial()
    with refused(), store.grouped():
        store.add(people.members(people.P[0]))
        store.answers().keep({b"name": KEPT})
        raise BadInput("of no use")
    assert (store.count("people"), store.serial()) == (0, before)
    assert store.answers().find([b"name"]) == {}


def test_each_change_of_consent_in_a_group_is_kept(store, people):
    one = people.members(people.P[0])
    store.add(one)
    with store.grouped():
        for turn in range(4):
            store.consent(one, "business", granted=turn % 2 == 0, origin=Origin(f"app {turn}"))
    (record,) = store.show(one)
    assert [change.source for change in record.consents] == [f"app {turn}" for turn in range(4)]


def test_an_answer_stands_and_falls_with_its_change(store, people):
    answers = store.answers()
    with store.grouped():
        with store.together():
            store.add(people.members(people.P[0]))
            answers.keep({b"made": KEPT})
        with refused(), store.together():
            answers.keep({b"refused": KEPT})
            raise BadInput("of no use")
    assert answers.find([b"made", b"refused"]) == {b"made": KEPT}


def test_answers_are_replaced_dropped_and_swept(store):
    answers = store.answers()
    unknown = KeptAnswer(b"request", None, 999)
    names = [b"a", b"b", b"c"]
    answers.keep(dict.fromkeys(names, unknown))
    answers.keep({b"a": KEPT})
    answers.drop(b"b")
    assert answers.find(names) == {b"a": KEPT, b"c": unknown}
    answers.sweep(1_000)
    assert answers.find(names) == {b"a": KEPT}
    many = {bytes([n >> 8, n & 255]): KEPT for n in range(512)}
    answers.keep(many)
    assert answers.find(list(many)) == many
    assert answers.find([]) == {}
