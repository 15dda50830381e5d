"""The formats are listed once: who reads a book takes the list, and every text that repeats it is checked."""

import csv
import re
from pathlib import Path

import click
import pytest

from contactsync import contacts
from contactsync.commands.sync import sync
from contactsync.contacts import book, fields, formats, jcard, vcard, xmlbook
from contactsync.contacts.book import Entry, Number
from contactsync.sources import archives, read_address_books

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "address-books.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORDS = {word for one in formats.FORMATS for word in one.words}


def rows(page):
    """The formats that the table of docs/address-books.md names."""
    table = page.partition("| format | what is read |\n|---|---|\n")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()]


def test_a_new_format_is_one_entry(tmp_path, monkeypatch):
    def read(content):
        for line in content.sample[1:]:
            name, _, number = line.partition(" = ")
            yield Entry(name, (Number(number, "somewhere"),), "somewhere")

    dummy = formats.Format(
        wanted="Dummy",
        words=("Dummy",),
        begins=lambda content: content.data.startswith(b"DUMMY\n"),
        resembles=lambda _content: False,
        read=read,
    )
    path = tmp_path / "book"
    path.write_text("DUMMY\nAda = 0151 12345678\n")
    assert read_address_books([path], region="DE").contacts == []
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, dummy))
    (ada,) = read_address_books([path], region="DE").contacts
    assert (ada.name, ada.identifiers) == ("Ada", (b"tel:+4915112345678",))
    path.write_text("nothing\n")
    (unreadable,) = read_address_books([path], region="DE").unreadable
    assert unreadable.hint == "give CSV, vCard, one number or address per line, LDIF, jCard, xCard or Dummy"


def test_the_page_has_a_row_for_each_format_and_no_other():
    found = rows(PAGE)
    assert found[-4:] == ["`.vcf.gz`", "a zip", "a database", "a folder"]  # where books are found
    del found[-4:]
    for row in found:
        assert any(word in row for word in WORDS), row
    for word in WORDS:
        assert any(word in row for row in found), word


def help_of_sync():
    return sync.get_help(click.Context(sync))


TEXTS = {
    "README": README.partition("## Use it")[2].partition("```")[0],
    "help of sync": help_of_sync(),
    "docstring of contacts": contacts.__doc__,
}


@pytest.mark.parametrize("place", TEXTS)
def test_texts_that_list_the_formats_name_all(place):
    for word in WORDS:
        assert re.search(rf"\b{word}", TEXTS[place], re.IGNORECASE), word


def test_hints_ask_for_formats_that_there_are():
    wanted = {one.wanted for one in formats.FORMATS}
    for _, _, hint in formats._OTHERS:
        exported = r"export the contacts as ([^(]*)(?:\(in .*\))?$"
        asked = re.search(rf"save it as (.*?)(?:,|$)|{exported}|(unpack it)", hint)
        assert asked, hint
        if not asked[3]:
            assert set((asked[1] or asked[2]).strip().split(" or ")) <= wanted, hint


def test_the_limits_of_the_page_are_those_of_the_code():
    table = PAGE.partition("| what | limit | beyond it |\n|---|---|---|\n")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in row.split("|")] for row in table.splitlines()]
    stated = {what: limit for _, what, limit, *_ in cells}
    assert stated == {
        "one file": f"{book.MAX_FILE >> 20} MiB",
        "`.vcf` files in one folder": f"{book.MAX_FILES:,}",
        "nesting of folders": f"{book.MAX_DEPTH} levels",
        "contacts in one run": f"{book.MAX_ENTRIES:,}",
        "numbers of one contact": f"{book.MAX_NUMBERS:,}",
        "properties kept of one card (names, numbers)": f"{vcard._MAX_KEPT:,}",
        "a vCard line that matters, unfolded; a line of a list": f"{book.MAX_LINE >> 10} KiB",
        "nesting of cards": f"{book.MAX_NESTED} levels",
        "a CSV field": f"{csv.field_size_limit() >> 10} KiB",
        "lines of one CSV row": f"{book.MAX_ROW_LINES}",
        "a name": f"{book.MAX_NAME} characters",
        "a field with numbers": f"{fields._MOST >> 10} KiB",
        "a zip, when unpacked": f"{book.MAX_FILE >> 20} MiB",
        "the list of files in a zip": f"{archives._MAX_DIRECTORY >> 20} MiB",
        "a jCard": f"{jcard.MAX_JSON >> 20} MiB",
        "nesting of XML": f"{xmlbook._MAX_DEPTH} levels",
    }
