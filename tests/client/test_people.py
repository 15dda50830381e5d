"""Whom a sync found, who joined, who left: by subscriber, whatever form of a number was registered."""

import pytest

from contactsync.client.people import Findings
from contactsync.contacts import AddressBook, Contact

W9, W = b"tel:+5491123456789", b"tel:+541123456789"
OTHER = b"tel:+4915112345678"
BOOK = AddressBook([Contact("Ana", (W9, OTHER), "line 1")])


def findings(members=(), settled=(W9, W, OTHER), were_members=(), were_none=()):
    sets = (frozenset(one) for one in (members, settled, were_members, were_none))
    return Findings(*sets)


def of(matches):
    return [(one.identifier.encode(), one.written.encode()) for one in matches]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([W9], [(W9, W9)]),
        ([W], [(W, W9)]),
        ([W, W9], [(W9, W9)]),
        ([OTHER, W], [(W, W9), (OTHER, OTHER)]),
        ([], []),
    ],
)
def test_a_subscriber_is_matched_once_by_the_form_that_is_written_if_it_can_be(members, expected):
    assert of(findings(members).people(BOOK)[0]) == expected


def test_the_written_form_is_named_if_a_contact_has_several():
    book = AddressBook([Contact("Ana", (W9, W), "line 1")])
    assert of(findings([W]).people(book)[0]) == [(W, W)]
    assert of(findings([W, W9]).people(book)[0]) == [(W9, W9)]


def test_two_contacts_with_a_form_each_are_two_contacts():
    book = AddressBook([Contact("Ana", (W9,), "line 1"), Contact("Ana at work", (W,), "line 2")])
    assert [one.name for one in findings([W]).people(book)[0]] == ["Ana", "Ana at work"]


def test_another_form_of_a_member_is_no_news():
    moved = findings(members=[W], were_members=[W9], were_none=[W])
    assert of(moved.people(BOOK)[1]) == of(moved.people(BOOK)[2]) == []


def test_who_was_none_in_any_form_has_joined():
    assert of(findings(members=[W], were_none=[W9, W]).people(BOOK)[1]) == [(W, W9)]


def test_a_form_that_was_never_looked_up_says_nothing_of_before():
    """As after the first sync of a program that knows the table: the member was one all the time."""
    assert of(findings(members=[W], were_none=[W9]).people(BOOK)[1]) == []


def test_who_is_no_longer_a_member_by_any_form_has_left():
    gone = findings(were_members=[W], were_none=[W9])
    assert of(gone.people(BOOK)[2]) == [(W, W9)]
    assert of(findings(members=[W9], were_members=[W]).people(BOOK)[2]) == []


def test_nobody_has_left_of_whom_it_is_not_known():
    assert of(findings(settled=[W9, OTHER], were_members=[W]).people(BOOK)[2]) == []
    assert of(findings(settled=[W9, OTHER], were_members=[W, W9]).people(BOOK)[2]) == []
