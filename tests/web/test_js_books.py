"""Address books: both clients read them alike, and hostile ones keep the reader neither busy nor silent."""

import json
from pathlib import Path

import pytest
from javascript import needs_node, node

from contactsync.library.books import address_book

HOSTILE = Path(__file__).parent / "hostile.mjs"


@needs_node
@pytest.mark.slow
def test_hostile_books_are_read_in_time_and_what_is_not_read_is_reported():
    for line in node(HOSTILE).stdout.splitlines():
        found = json.loads(line)
        assert found["milliseconds"] < 8_000, found
        if found["name"] == "script":
            assert (found["contacts"], found["unreadable"]) == (1, 0)
        elif found["name"] not in {"commas", "backslashes", "unclosed"}:
            assert found["unreadable"] > 0, found


READ = Path(__file__).parent / "books.mjs"
# Headings in languages, columns that only their cells tell, lists, LDIF with groups and options.
BOOKS = {
    "courriel.csv": "Nom;Courriel;T\u00e9l. mobile\nAnn;ann@x.org;0151 12345678\nBob;;\n",
    "cells.csv": "Name,Foo\nAnn,ann@x.org\nBob,bob@x.org\n",
    "labels.csv": "Name,E-mail 1 - Label,E-mail 1 - Value\nAnn,Work,a@x.org ::: b@x.org\n",
    "one.csv": "Email\nann@x.org\nbob@x.org\n",
    "surname.csv": "Name,Vorname,Handy,E-Mail\nLee,Ann,0151 12345678,ann@x.org\n",
    "number.csv": "Name,Nummer,E-Mail\nAnn,12345678,ann@x.org\n",
    "list.txt": "Ann Lee <ann@mail.org>\nbob@x.org # at work\n+49 151 12345678\n",
    "book.ldif": """version: 1

dn: cn=Ann Lee,mail=ann@x.org
objectclass: top
objectclass: mozillaAbPersonAlpha
cn:: QW5uIMOcbGVl
mail: ann@x.org
mozillaSecondEmail: b@
 y.org
mobile;x-home: 0151 12345678
description:< file:///etc/passwd

# a comment
dn: cn=Friends
objectclass: groupOfNames
cn: Friends
member: cn=Ann Lee,mail=ann@x.org

dn: cn=nobody
givenName: Carl
sn: Young
telephoneNumber: not a number
""",
    "around.vcf": """BEGIN:VCARD
VERSION:3.0
FN:Around
TEL:#31#015112345671
TEL:*31#+4915112345672
TEL;TYPE="WORK,FAX":015112345673\\;\\;\\,\\;
TEL:(+49) 151 12345674
TEL:[+49] 151/12345675
TEL:?0151 12345676?
TEL:0151 12345677; 0151 12345678
TEL:015112345679,+4915112345680
TEL;TYPE="home:0151 12345681
END:VCARD
""",
    "marks.vcf": "".join(
        f"\ufeffBEGIN:VCARD\r\nVERSION:3.0\r\nFN:{name}\r\nTEL:0151 1234567{i}\r\nEND:VCARD\r\n"
        for i, name in enumerate(("Kim", "Lee"))
    ),
    "wrapped.vcf": """BEGIN:VADDRESSBOOK
BEGIN:VCARD
VERSION:3.0
FN:Vera
TEL;TYPE=CELL,pref:0151 12345678
END:VCARD
END:VADDRESSBOOK
""",
}
IN_OLD_CHARSETS = {
    "cp1251": "Имя;Фамилия;Мобильный телефон\nИван;Петров;0151 12345671\nОльга;Шульц;0151 12345672\n",
    "shift_jis": "姓,名,携帯電話\n山田,花子,0151 12345673\n",
    "cp1252": "Vorname;Nachname;Mobiltelefon\nJörg;Müller;0151 12345674\n",
}
OTHERS = {
    "card.json": '["vcard",[["fn",{},"text","Ann"],["tel",{},"uri","tel:+4915112345678"]]]',
    "list.json": '{"phone": "+4915112345678", "name": "Ann"}',
    "book.xml": "<?xml version='1.0'?>\n<name>phone</name>\n<phone>015112345678</phone>\n",
    "page.vcf": "<!DOCTYPE html>\n<title>Sign in</title>\n",
}


@needs_node
@pytest.mark.slow
def test_numbers_and_addresses_are_read_alike(tmp_path):
    texts = BOOKS | {f"{name}.csv": text for name, text in IN_OLD_CHARSETS.items()}
    paths = [tmp_path / name for name in texts]
    for path in paths:
        path.write_text(texts[path.name], IN_OLD_CHARSETS.get(path.stem) and path.stem, newline="")
    for path, found in zip(paths, json.loads(node(READ, *paths).stdout), strict=True):
        book = address_book(str(path), region="DE")
        ours = [[one.name, [i.decode() for i in one.identifiers]] for one in book.contacts]
        assert found == ours, path.name
        assert found, path.name


@needs_node
@pytest.mark.slow
def test_files_of_other_formats_are_named_as_that(tmp_path):
    paths = [tmp_path / name for name in OTHERS]
    for path in paths:
        path.write_text(OTHERS[path.name])
    for book in json.loads(node(READ, "--faults", *paths).stdout):
        assert book["contacts"] == []
        assert [one["place"] for one in book["unreadable"]] == ["file"]
