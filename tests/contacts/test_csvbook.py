"""Tables: the exports of Google and Outlook, and what spreadsheets make of them."""

import csv
import io

import pytest

from contactsync.contacts import NO_NAME
from contactsync.contacts.book import MAX_ROW_LINES, Entry, Fault
from contactsync.contacts.formats import entries_of
from contactsync.sources import read_address_books

GOOGLE_OLD = (
    "Name,Given Name,Additional Name,Family Name,Yomi Name,Group Membership,E-mail 1 - Type,E-mail 1 - Value,"
    "Phone 1 - Type,Phone 1 - Value,Phone 2 - Type,Phone 2 - Value"
)
GOOGLE_NEW = (
    "First Name,Middle Name,Last Name,Phonetic First Name,Phonetic Middle Name,Phonetic Last Name,"
    "Name Prefix,Name Suffix,Nickname,File As,Organization Name,Organization Title,Birthday,Notes,Photo,"
    "Labels,E-mail 1 - Label,E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value,Phone 2 - Label,Phone 2 - Value"
)
OUTLOOK = [
    *("Title", "First Name", "Middle Name", "Last Name", "Suffix", "Company", "Assistant's Phone"),
    *("Business Fax", "Business Phone", "Business Phone 2", "Callback", "Car Phone", "Company Main Phone"),
    *("Home Fax", "Home Phone", "Home Phone 2", "ISDN", "Mobile Phone", "Other Fax", "Other Phone", "Pager"),
    *("Primary Phone", "Radio Phone", "TTY/TDD Phone", "Telex", "E-mail Address", "Notes"),
]
OUTLOOK_DE = [
    *("Anrede", "Vorname", "Weitere Vornamen", "Nachname", "Suffix", "Firma", "Telefon Assistent"),
    *("Fax geschäftlich", "Telefon geschäftlich", "Telefon geschäftlich 2", "Rückmeldung", "Autotelefon"),
    *("Telefon Firma", "Fax privat", "Telefon privat", "Telefon (privat)", "ISDN", "Mobiltelefon"),
    *("Weiteres Fax", "Weiteres Telefon", "Pager", "Haupttelefon", "Telex", "E-Mail-Adresse", "Notizen"),
]


def entries(data):
    data = data if isinstance(data, bytes) else data.encode()
    return [
        (found.name, [number.text for number in found.numbers])
        for found in entries_of(data)
        if isinstance(found, Entry)
    ]


def problems(data):
    return [found for found in entries_of(data.encode()) if isinstance(found, Fault)]


def table(header, *rows, separator=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, header, delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def test_google_before_2024():
    row = "Ada Lovelace,Ada,,Lovelace,,* myContacts,Home,ada@example.org,"
    phones = "Mobile,+49 151 1 ::: 030 2,Work,030 3"
    assert entries(f"{GOOGLE_OLD}\n{row}{phones}\n") == [("Ada Lovelace", ["+49 151 1", "030 2", "030 3"])]


def test_google_since_2024():
    row = 'Ada,King,Lovelace,,,,,,,,,,,"a note\nof two lines",,* myContacts,,,Mobile,+49 151 1,,'
    assert entries(f"{GOOGLE_NEW}\r\n{row}\r\n") == [("Ada King Lovelace", ["+49 151 1"])]


def test_google_names_that_are_missing():
    company = ",,,,,,,,,,Mills,,,,,,,,Work,030 1,,"
    nickname = ",,,,,,,,Ada,,Mills,,,,,,,,Work,030 2,,"
    mail = ",,,,,,,,,,,,,,,,,ada@example.org,Work,030 3,,"
    nothing = ",,,,,,,,,,,,,,,,,,Work,030 4,,"
    found = entries(f"{GOOGLE_NEW}\n{company}\n{nickname}\n{mail}\n{nothing}")
    assert [name for name, _ in found] == ["Mills", "Ada", "ada@example.org", ""]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_outlook(encoding, separator):
    person = {"First Name": "Jörg", "Last Name": "Krüger", "Company": "Mühle"}
    phones = {
        "Business Phone": "030 1", "Home Phone": "030 2", "Mobile Phone": "0151 3", "Car Phone": "030 4",
        "Home Fax": "030 5", "Assistant's Phone": "030 6", "Telex": "030 7", "Notes": "call\r\nme",
    }  # fmt: skip
    text = table(OUTLOOK, person | phones, separator=separator)
    found = entries(text.encode(encoding))
    assert found == [("Jörg Krüger", ["030 1", "030 4", "030 5", "030 2", "0151 3"])]


def test_outlook_in_german():
    person = {"Vorname": "Jörg", "Nachname": "Krüger", "Telefon Assistent": "030 1"}
    phones = {
        "Telefon geschäftlich": "030 2", "Telefon (privat)": "030 3", "Mobiltelefon": "0151 4",
        "Haupttelefon": "030 5", "Weiteres Telefon": "030 6", "Fax privat": "030 7",
    }  # fmt: skip
    found = entries(table(OUTLOOK_DE, person | phones, separator=";").encode("cp1252"))
    assert found == [("Jörg Krüger", ["030 2", "030 7", "030 3", "0151 4", "030 6", "030 5"])]


HEADERS = [
    *("name,phone", "Name;Telefon", "NAME\tTel.", "name|number", "full_name,phone_number", "name,MSISDN"),
    *("Contact Name,Mobile", '"Name","Phone"', "Display Name,E.164 phone", "Anzeigename;Handynummer"),
    *("nombre completo;teléfono móvil", "Nom complet,Téléphone"),
]


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_plain_tables(header):
    separator = next(sign for sign in ",;\t|" if sign in header)
    assert entries(f"{header}\nAda{separator}+49 151 1\n") == [("Ada", ["+49 151 1"])]


def test_a_table_with_numbers_alone():
    assert entries("phone\n+49 151 1\n\n030 2\n") == [("", ["+49 151 1"]), ("", ["030 2"])]
    book = read_address_books(["-"], region="DE", stdin=io.BytesIO(b"phone\n+49 151 12345678\n"))
    assert [contact.name for contact in book.contacts] == [NO_NAME]


def test_a_table_without_header():
    assert entries("Ada,+49 151 123\nBob,030 4567\n") == [("Ada", ["+49 151 123"]), ("Bob", ["030 4567"])]
    assert entries("+49 151 123;Ada\n030 4567;Bob\n") == [("Ada", ["+49 151 123"]), ("Bob", ["030 4567"])]


def test_what_excel_does():
    text = 'sep=;\r\nname;phone\r\nAda;"=""+49 151 1"""\r\nBob;\'030 2\r\n'
    assert entries(text) == [("Ada", ["+49 151 1"]), ("Bob", ["030 2"])]
    found = read_address_books(["-"], region="DE", stdin=io.BytesIO(b"name,phone\nAda,4.91512E+11\n"))
    assert found.unreadable[0].reason == "a spreadsheet made a decimal number of it"
    assert found.unreadable[0].place == "line 2"


def test_a_comment_before_the_header():
    assert entries("# my phones\nname,phone\nAda,030 1\n") == [("Ada", ["030 1"])]


def test_short_and_long_rows():
    text = "name,phone,mobile\nAda\nBob,030 1\nEve,030 2,0151 3,more,cells\n"
    assert entries(text) == [("Ada", []), ("Bob", ["030 1"]), ("Eve", ["030 2", "0151 3"])]


def test_places_are_lines_even_after_a_row_of_several():
    text = 'name,phone,note\nAda,+49 1,"x\ny\nz"\nBob,hello,\n'
    book = read_address_books(["-"], region="DE", stdin=io.BytesIO(text.encode()))
    assert [(u.place, u.reason) for u in book.unreadable] == [
        ("line 2", "too short for its country"),
        ("line 5", "not a phone number"),
    ]


@pytest.mark.parametrize("rows", [3, MAX_ROW_LINES + 100])
def test_a_quote_that_is_never_closed_costs_its_row(rows):
    people = [f"P{i},030 {i}" for i in range(rows)]
    text = "\n".join(["name,phone", *people[:2], '"Eve,030 1', *people[2:], ""])
    assert [name for name, _ in entries(text)] == [f"P{i}" for i in range(rows)]
    (problem,) = problems(text)
    assert problem.place == "line 4"
    assert "quotation mark" in problem.reason


def test_a_huge_field_costs_its_row():
    text = f"name,phone,note\nAda,030 1,\nEve,030 2,{'x' * 200_000}\nBob,030 3,\n"
    assert [name for name, _ in entries(text)] == ["Ada", "Bob"]
    assert [problem.place for problem in problems(text)] == ["line 3"]


def test_null_bytes_cost_nothing():
    assert entries("name,phone\nA\0da,030 1\n") == [("A\0da", ["030 1"])]


def test_a_second_number_in_one_field_is_read(tmp_path):
    path = tmp_path / "book.csv"
    path.write_text(
        "Name;Telefon\nAda;0171/1234567, 0171/7654321\nBob;030 1234567,,,123#\nCleo;030 1234567; ext. 12\n"
    )
    book = read_address_books([path], region="DE")
    assert book.contacts[0].identifiers == (b"tel:+491711234567", b"tel:+491717654321")
    assert book.unreadable == []
