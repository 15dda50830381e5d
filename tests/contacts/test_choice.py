"""Whom to look up at all."""

import pytest

from contactsync.contacts.book import AddressBook, Contact
from contactsync.contacts.choice import People, Selection
from contactsync.foundation.errors import BadInput

ADA = Contact("Ada", (b"tel:+491", b"tel:+492"), "1", ("Choir", "Work"))
BOB = Contact("Bob", (b"tel:+493",), "2", ("work",))
EVE = Contact("Eve", (), "3")


def left(choice):
    book = AddressBook([ADA, BOB, EVE])
    choice.apply(book)
    assert book.left_out == 3 - len(book.contacts)
    return "".join(contact.name[0] for contact in book.contacts)


def test_a_choice_that_leaves_nobody_out_is_none():
    assert not Selection()
    assert left(Selection()) == "ABE"


def test_groups_in_any_spelling():
    assert left(Selection(("WORK",))) == "AB"
    assert left(Selection(("choir",))) == "A"
    with pytest.raises(BadInput, match="Chess"):
        left(Selection(("choir", "Chess")))


def test_a_shared_number_is_enough():
    shared = People.of([Contact("somebody", (b"tel:+492",), "")])
    assert left(Selection(only=[shared])) == "A"
    assert left(Selection(exclude=[shared])) == "BE"


def test_names_count_for_those_who_have_no_number():
    people = People.of([Contact("EVE", (), ""), Contact("Bob", (b"tel:+499",), "")], ["  ada  "])
    assert left(Selection(only=[people])) == "AE"


def test_all_conditions_hold_together():
    everybody = People.of([ADA, BOB, EVE])
    assert left(Selection(("work",), [everybody], [People.of([BOB])])) == "A"


def test_no_name_is_nobodys_name():
    assert People.of((), ["", "  "]).names == frozenset()
