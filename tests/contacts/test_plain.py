"""A list: one number a line, with comments."""

import io
import itertools
import time

import pytest

from contactsync.contacts import NO_NAME
from contactsync.contacts.book import MAX_LINE, Fault
from contactsync.contacts.formats import entries_of
from contactsync.contacts.plain import looks_like_number, read_list
from contactsync.sources import read_address_books


def read(text):
    return read_address_books(["-"], region="DE", stdin=io.BytesIO(text.encode()))


def test_numbers_comments_and_empty_lines():
    first = "# friends\n+49 151 12345678  # Ada\n\n0151 23456789\n"
    book = read(first + "  # none\n+1 415 555 2671 #12\ntel:+46-70-1740605\n")
    assert book.identifiers == [
        b"tel:+14155552671",
        b"tel:+46701740605",
        b"tel:+4915112345678",
        b"tel:+4915123456789",
    ]
    assert book.unreadable == []
    assert [contact.place for contact in book.contacts] == [
        "standard input: line 2",
        "standard input: line 4",
        "standard input: line 6",
        "standard input: line 7",
    ]


def test_a_line_that_is_no_number_costs_itself():
    book = read("+49 151 12345678\nhello\n030 123456\n")
    assert len(book.identifiers) == 2
    assert [(u.place, u.reason) for u in book.unreadable] == [("line 2", "not a phone number")]


def test_one_number_is_a_list():
    assert read("0151 12345678").identifiers == [b"tel:+4915112345678"]


def test_pauses_are_not_columns():
    book = read("+14155552671,123\n+14155552672,,4#\n")
    assert book.identifiers == [b"tel:+14155552671", b"tel:+14155552672"]


def test_a_line_that_is_too_long():
    (problem,) = read_list(["1" * (MAX_LINE + 1)])
    assert isinstance(problem, Fault)
    assert problem.place == "line 1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+49 151 12345678", True),
        ("(0151) 12345678", True),
        ("0151/12345678 x12", True),
        ("tel:+49-151-12345678;ext=1", True),
        ("\u202a+49 151\u00a012345678\u202c", True),
        ("\u0660\u0661\u0665\u0661", True),
        ("12", False),
        ("Ada", False),
        ("2024-01-01", False),
        ("1.12.1984", False),
        ("2024-01-01 00:00:00", False),
        ("30 days 12 hours", False),
        ("ada1815@example.org", False),
        ("", False),
    ],
)
def test_what_looks_like_a_number(text, expected):
    assert looks_like_number(text) is expected


NOTHING = [b"\xff\xfe", b"\xef\xbb\xbf", b"\0" * 100, b"\r\r\r", b"\x1e", b"#", b",", b'"']


@pytest.mark.parametrize("data", NOTHING)
def test_next_to_nothing(data):
    assert [type(found) for found in entries_of(data)] == [Fault]


def test_a_line_that_cannot_be_read_is_no_contact(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("+49 30 123456\nnobody\n0301\n")
    book = read_address_books([path], region=None)
    assert [contact.identifiers for contact in book.contacts] == [(b"tel:+4930123456",)]
    assert [entry.place for entry in book.unreadable] == ["line 2", "line 3"]


FIRST_LINES = [
    *("tel:+49-151-12345678", "tel:+4915112345678;ext=1", "Tel: 0151 12345678", "TEL 0151/12345678"),
    *("phone 0151 12345678", "Phone: (0151) 123 456 78", "Mobile 0151 12345678", "Handy: 0151 12345678"),
    *("number 0151 12345678", "Telefon (privat): 0151 12345678", "Tel: 0151 12345678 # Ada"),
]


@pytest.mark.parametrize("first", FIRST_LINES)
def test_a_first_line_with_a_number_is_not_a_header(first):
    befores = ("", "# my friends\n", "\n\n")
    afters = ("", "0151 23456789\n", "tel:+4915123456789\n", "phone 0151 23456789\n")
    for before, more in itertools.product(befores, afters):
        book = read(f"{before}{first}\n{more}")
        expected = [b"tel:+4915112345678", *([b"tel:+4915123456789"] if more else [])]
        assert (book.identifiers, book.unreadable) == (expected, []), (before, more)
        assert {contact.name for contact in book.contacts} == {NO_NAME}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("label", ["tel:", "Tel: ", "phone "])
def test_nor_is_one_with_a_name_beside_the_number(separator, label):
    rows = [("Ada", f"{label}+49 151 12345678"), ("Bob", f"{label}0151 23456789")]
    for order in (slice(None), slice(None, None, -1)):
        book = read("".join(separator.join(row[order]) + "\n" for row in rows))
        assert [(c.name, c.identifiers) for c in book.contacts] == [
            ("Ada", (b"tel:+4915112345678",)),
            ("Bob", (b"tel:+4915123456789",)),
        ]
        assert book.unreadable == []


def test_nor_is_one_with_a_label_beside_the_number():
    book = read("Mobil\t0151 12345678\nFestnetz\t0151 23456789\n")
    assert book.identifiers == [b"tel:+4915112345678", b"tel:+4915123456789"]


def test_a_first_line_whose_number_cannot_be_read_is_said():
    for first in ("Tel: 112", "tel:112", "WhatsApp: +49 151 1234567O"):
        book = read(f"{first}\n0151 23456789\n")
        assert book.identifiers == [b"tel:+4915123456789"]
        assert [u.place for u in book.unreadable] == ["line 1"]


HEADERS = [
    *("phone", "Tel. 1", "phone_2", "Phone 1 - Value", "E.164 phone", "Fax 2024", "phone_12345678"),
    *("tel +49", "Telefon (Stand 1.12.2024)", "phone,field 12345678", "phone,2024", "phone,cf_12345678"),
]


@pytest.mark.parametrize("header", HEADERS)
def test_figures_in_a_header_are_no_number(header):
    book = read(f"name,{header}\nAda,0151 12345678\n")
    assert [(c.name, c.identifiers) for c in book.contacts] == [("Ada", (b"tel:+4915112345678",))]
    assert book.unreadable == []


def test_a_header_that_holds_a_number_is_a_header_and_said():
    book = read("name,phone 0151 12345678\nAda,0151 23456789\n")
    assert [(c.name, c.identifiers) for c in book.contacts] == [("Ada", (b"tel:+4915123456789",))]
    (unreadable,) = book.unreadable
    assert (unreadable.place, unreadable.reason) == ("line 1", "a number in the header line")


def test_a_long_first_line_is_looked_through_in_time():
    begin = time.process_time()
    read("phone " + "1 a " * 16_000 + "\n0151 23456789\n")
    assert time.process_time() - begin < 1
