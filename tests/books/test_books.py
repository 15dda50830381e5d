"""Every case is read as a person would read it."""

import pytest

from books.cards import CARDS
from books.numbers import NUMBERS
from books.others import OTHERS
from books.reports import REPORTS
from books.tables import TABLES
from contactsync.sources import read_address_books

CASES = [*CARDS, *NUMBERS, *TABLES, *OTHERS, *REPORTS]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_book_is_read_as_a_person_would(case, tmp_path):
    book = read_address_books([case.write(tmp_path)], region=case.region)
    book.keep(["tel"])  # the cases are about numbers; tests/contacts/test_mails.py has addresses
    found = [
        (contact.name, identifier.decode().removeprefix("tel:") if identifier else None)
        for contact in book.contacts
        for identifier in contact.identifiers or (None,)
    ]
    assert sorted(found, key=str) == sorted(case.expect, key=str), case.why
    least, most = (case.reported, case.reported) if isinstance(case.reported, int) else case.reported
    assert least <= len(book.unreadable) <= most, [(u.place, u.reason) for u in book.unreadable]


def test_no_case_is_there_twice_and_each_says_where_it_is_from():
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source and case.why for case in CASES)
    assert sum(case.source.startswith("https://") for case in REPORTS) >= 40
